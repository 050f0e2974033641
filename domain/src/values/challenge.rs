//! The challenge of a drop: work that a buyer's device does before units are set aside.

use serde::{Deserialize, Serialize};

use super::Difficulty;

/// The form of a challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ChallengeKind {
    /// A search for a number by trial, which costs computing time and nothing else.
    ProofOfWork,
}

/// The challenge that a buyer solves for each hold, order and waitlist entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Challenge {
    /// The form of the challenge.
    pub kind: ChallengeKind,
    /// How much work it is.
    pub difficulty: Difficulty,
}
