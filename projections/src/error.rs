//! The errors of projections, with the projection's name and the position.

use domain::values::Position;
use infrastructure::error::LogError;

/// Why a fold cannot apply an event: a sentence about the event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CannotApply(pub &'static str);

/// Why a replay cannot continue.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// History cannot contain this event.
    #[error(transparent)]
    CannotApply(#[from] CannotApply),
    /// Rows that do not fit into memory cannot be stored on disk.
    #[error("cannot use a scratch file in the temporary directory")]
    Scratch(#[from] std::io::Error),
}

/// Why a table cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The table cannot be read.
    #[error("cannot read the table {table}")]
    Sql {
        table: &'static str,
        #[source]
        source: sqlx::Error,
    },
    /// The table's rows cannot be stored on disk.
    #[error("cannot use a scratch file in the temporary directory")]
    Scratch(#[from] std::io::Error),
}

/// Why a projection did not advance.
#[derive(Debug, thiserror::Error)]
pub enum ProjectionError {
    /// The event after the checkpoint cannot be applied. The projection has stopped and does not
    /// skip the event.
    #[error("projection {name} stopped at position {position}: {reason}")]
    Stopped {
        name: &'static str,
        /// The event that cannot be applied.
        position: Position,
        reason: String,
    },
    /// Another version of this program folded the table. The projection has stopped and does not
    /// change the table.
    #[error(
        "projection {name} stopped: its rows are of version {found} of its fold, and this program folds version {version}; \
         run `holdfast projections rebuild {name}`"
    )]
    OtherVersion {
        name: &'static str,
        /// The table's checkpoint.
        checkpoint: Position,
        /// The version of the rows.
        found: i32,
        /// The version of this program's fold.
        version: i32,
    },
    /// The tables cannot be read or written at present.
    #[error("projection {name} cannot reach its tables")]
    Tables {
        name: &'static str,
        #[source]
        source: sqlx::Error,
    },
    #[error("projection {name} cannot read the log")]
    Log {
        name: &'static str,
        #[source]
        source: LogError,
    },
}
