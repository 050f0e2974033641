//! The challenge among the terms of a drop in requests.

use domain::values::{Challenge, ChallengeKind, Difficulty};
use schemars::JsonSchema;
use serde::Deserialize;

/// The difficulty of a challenge whose request names none.
const DEFAULT_DIFFICULTY: i64 = 4;

/// A challenge in a request: the kind of work, and how much of it.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewChallenge")]
pub(super) struct ChallengeBody {
    kind: ChallengeKind,
    /// How much work: 1 is some 256,000 iterations of PBKDF2 with SHA-256 on average.
    #[serde(default = "default_difficulty")]
    #[schemars(extend("default" = DEFAULT_DIFFICULTY))]
    difficulty: Difficulty,
}

impl ChallengeBody {
    pub(super) fn challenge(self) -> Challenge {
        let Self { kind, difficulty } = self;
        Challenge { kind, difficulty }
    }
}

fn default_difficulty() -> Difficulty {
    Difficulty::new(DEFAULT_DIFFICULTY).expect("is within the bounds")
}
