//! Why a database that responds records nothing, in words that its operator can act on.
//!
//! Promise: [`Unwritable::of`] finds the reason in any error of a log, so that a readiness probe
//! can name it.
//! Limit: a server that does not respond has no reason; it is unreachable.

use std::error::Error;
use std::io;
use std::iter::successors;

use crate::sqlstate::SqlState;

/// Why a database that responds records nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    /// The server is in recovery.
    #[error("the server is in recovery (a standby)")]
    Standby,
    /// `default_transaction_read_only` is on.
    #[error(
        "transactions are read-only: default_transaction_read_only is on for the database, the role \
         or the server"
    )]
    ReadOnly,
    /// Fewer synchronous standbys than `HOLDFAST_REQUIRE_SYNC` requires.
    #[error(
        "fewer synchronous standbys than HOLDFAST_REQUIRE_SYNC requires: see \
         synchronous_standby_names and pg_stat_replication"
    )]
    Standbys,
}

impl Unwritable {
    /// Returns the stable name that programs compare.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Standby => "standby",
            Self::ReadOnly => "read_only",
            Self::Standbys => "synchronous_standbys",
        }
    }

    /// Returns the change that an operator has to make.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Standby => {
                "set DATABASE_URL to the primary, or to all hosts, separated by commas"
            }
            Self::ReadOnly => "set it to off, for example with ALTER DATABASE",
            Self::Standbys => "attach them, or lower HOLDFAST_REQUIRE_SYNC",
        }
    }

    /// Returns the reason that `error`, or a cause of it, gives.
    #[must_use]
    pub fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        successors(Some(error), |error| (*error).source()).find_map(Self::given_by)
    }

    fn given_by(error: &(dyn Error + 'static)) -> Option<Self> {
        if let Some(reason) = error.downcast_ref::<Self>() {
            return Some(*reason);
        }
        // The cause inside an `io::Error` is not among its sources.
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return io.get_ref().and_then(|inner| Self::of(inner));
        }
        let code = error.downcast_ref().and_then(SqlState::of)?;
        match code {
            code if code.is_read_only() => Some(Self::ReadOnly),
            code if code.is_missing_standbys() => Some(Self::Standbys),
            _ => None,
        }
    }
}

impl From<Unwritable> for sqlx::Error {
    /// An error of the connection: another one may lead to a server that accepts writes.
    fn from(reason: Unwritable) -> Self {
        Self::Io(io::Error::other(reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::LogError;
    use crate::sqlstate::is_of_connection;

    #[test]
    fn reason_is_found_below_the_errors_of_a_log() {
        for reason in [
            Unwritable::Standby,
            Unwritable::ReadOnly,
            Unwritable::Standbys,
        ] {
            let error = LogError::Unavailable(sqlx::Error::from(reason).into());
            assert_eq!(Unwritable::of(&error), Some(reason));
            assert!(error.is_away());
        }
        assert!(is_of_connection(&Unwritable::ReadOnly.into()));
        let lost = sqlx::Error::Io(io::ErrorKind::ConnectionReset.into());
        assert_eq!(Unwritable::of(&lost), None);
    }
}
