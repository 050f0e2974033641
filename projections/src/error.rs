//! What can go wrong in a projection, with its name and the position.

use domain::values::Position;
use infrastructure::error::LogError;

/// Why a fold cannot apply an event: a sentence about the event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CannotApply(pub &'static str);

/// Why a projection did not advance.
#[derive(Debug, thiserror::Error)]
pub enum ProjectionError {
    /// The event after its checkpoint cannot be applied: it has stopped there, and skips nothing.
    #[error("projection {name} stopped at position {position}: {reason}")]
    Stopped {
        /// Which projection.
        name: &'static str,
        /// The event that cannot be applied.
        position: Position,
        /// Why.
        reason: String,
    },
    /// Its tables cannot be read or written now.
    #[error("projection {name} cannot reach its tables")]
    Tables {
        /// Which projection.
        name: &'static str,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// The log cannot be read.
    #[error("projection {name} cannot read the log")]
    Log {
        /// Which projection.
        name: &'static str,
        /// Why.
        #[source]
        source: LogError,
    },
}
