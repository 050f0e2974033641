//! What can go wrong in a projection, with its name and the position.

use domain::values::Position;
use infrastructure::error::LogError;

/// Why a fold cannot apply an event: a sentence about the event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CannotApply(pub &'static str);

/// Why a replay cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// History cannot contain this event.
    #[error(transparent)]
    CannotApply(#[from] CannotApply),
    /// There is no room for rows that do not fit into memory.
    #[error("cannot use a scratch file in the temporary directory")]
    Scratch(#[from] std::io::Error),
}

/// Why a table cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It cannot be read.
    #[error("cannot read the table {table}")]
    Sql {
        /// Which one.
        table: &'static str,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// There is no room for its rows.
    #[error("cannot use a scratch file in the temporary directory")]
    Scratch(#[from] std::io::Error),
}

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
    /// Its table was folded by another version of this program: it has stopped there, and touches nothing.
    #[error(
        "projection {name} stopped: its rows are of version {found} of its fold, and this program folds version {version}; \
         run `holdfast projections rebuild {name}`"
    )]
    OtherVersion {
        /// Which projection.
        name: &'static str,
        /// How far its table has read.
        checkpoint: Position,
        /// The version of the rows.
        found: i32,
        /// Ours.
        version: i32,
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
