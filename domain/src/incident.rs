//! Incidents of the log: repairs by an operator, recorded as events.
//!
//! These events have their own stream (`Log`), which belongs to no drop. A void position stays in
//! the chain and in its stream; every reader ignores its effect.

use serde::{Deserialize, Serialize};

use crate::values::{Position, Reason, Timestamp};

pub const AGGREGATE_TYPE: &str = "Log";
/// The only stream of incidents.
pub const STREAM: &str = "incidents";
pub const POSITION_VOIDED: &str = "PositionVoided";
pub const TAIL_CUT: &str = "TailCut";
/// The version of both payload schemas.
pub const VERSION: &str = "1.0";

/// One recorded repair of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum LogEvent {
    /// The event at a position has no effect.
    PositionVoided(PositionVoided),
    /// The end of the log was removed.
    TailCut(TailCut),
}

/// See [`LogEvent::PositionVoided`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PositionVoided {
    /// The position without effect; always before the position of this event.
    pub position: Position,
    /// The operator's reason. It stays in the log: do not name a person.
    pub reason: Reason,
    /// When it was declared void.
    pub voided_at: Timestamp,
}

/// See [`LogEvent::TailCut`]. It is the first event after the cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TailCut {
    /// The last position that was kept.
    pub position: Position,
    /// How many events were removed.
    pub events: u64,
    /// The hash of the removed head, so that its copy can be recognised.
    pub removed_head: String,
    /// The operator's reason. It stays in the log: do not name a person.
    pub reason: Reason,
    /// When the tail was removed.
    pub cut_at: Timestamp,
}

impl LogEvent {
    #[must_use]
    pub const fn event_type(&self) -> &'static str {
        match self {
            Self::PositionVoided(_) => POSITION_VOIDED,
            Self::TailCut(_) => TAIL_CUT,
        }
    }
}
