//! Incidents of the log itself: what an operator did to repair it, recorded as events.
//!
//! These events belong to one stream of their own (`Log`), not to a drop. A voided position keeps
//! its place in the chain and in its stream; every reader leaves out its effect.

use serde::{Deserialize, Serialize};

use crate::values::{Position, Reason, Timestamp};

/// The aggregate type of incidents.
pub const AGGREGATE_TYPE: &str = "Log";
/// The one stream of incidents.
pub const STREAM: &str = "incidents";
/// The event type of [`LogEvent::PositionVoided`].
pub const POSITION_VOIDED: &str = "PositionVoided";
/// The event type of [`LogEvent::TailCut`].
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
    /// Why, in the operator's words. It stays in the log: name no person.
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
    /// The hash of the head that was removed, so that its copy can be recognised.
    pub removed_head: String,
    /// Why, in the operator's words. It stays in the log: name no person.
    pub reason: Reason,
    /// When the tail was removed.
    pub cut_at: Timestamp,
}

impl LogEvent {
    /// The event type that the log files it under.
    #[must_use]
    pub const fn event_type(&self) -> &'static str {
        match self {
            Self::PositionVoided(_) => POSITION_VOIDED,
            Self::TailCut(_) => TAIL_CUT,
        }
    }
}
