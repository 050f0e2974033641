//! The meaning of PostgreSQL's error codes (SQLSTATE), and of errors that have none.
//!
//! Promise: this is the only module that interprets them. Other modules use the names below, each
//! of which stands for a next step of the caller.
//! Limit: a name is as wide as its caller needs, so the names overlap. The codes are listed in the
//! appendix "PostgreSQL Error Codes" of the PostgreSQL manual.

use std::borrow::Cow;
use std::fmt;

/// The code of an error that the server reported. Its first two characters are the class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlState<'a>(Cow<'a, str>);

/// Classes of a server that is temporarily unable to respond: connection (08), read-only or
/// transaction ended (25), not set up for this user yet (28, 3D), rolled back because of others
/// (40), out of resources (53), object not in the required state (55), shutting down (57), file
/// errors (58). A failover causes all of them. So does a missing synchronous standby.
const TEMPORARY: [&str; 10] = [
    "08",
    "25",
    "28",
    "3D",
    "40",
    "53",
    "55",
    "57",
    "58",
    MISSING_STANDBYS,
];

/// Events ahead of the server's own clock; see migrations/0008_clock.sql.
const FROM_FUTURE: &str = "TF001";
/// Fewer synchronous standbys than required; see migrations/0027_appends.sql.
const MISSING_STANDBYS: &str = "TF002";
const PROTOCOL_VIOLATION: &str = "08P01";
const READ_ONLY: &str = "25006";
const UNKNOWN_STATEMENT: &str = "26000";
const DUPLICATE_STATEMENT: &str = "42P05";
const INSUFFICIENT_PRIVILEGE: &str = "42501";
const TOO_MANY_CONNECTIONS: &str = "53300";
const UNDEFINED_TABLE: &str = "42P01";
const UNDEFINED_COLUMN: &str = "42703";
const LOCK_NOT_AVAILABLE: &str = "55P03";

impl<'a> SqlState<'a> {
    /// The code of `error`; `None` if the server did not report it.
    #[must_use]
    pub fn of(error: &'a sqlx::Error) -> Option<Self> {
        let code = error.as_database_error().and_then(|error| error.code());
        code.map(Self)
    }

    /// Reports whether the server is temporarily unable to respond.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        self.is_in(&TEMPORARY)
    }

    /// Reports whether the error is about the connection and not about the request. Servers report
    /// classes 08 (connection) and 57P (shutting down or starting) while they stop or start, and
    /// 25006 (read-only) when they are not the primary any more.
    #[must_use]
    pub fn is_of_connection(&self) -> bool {
        self.is_in(&["08", "57P"]) || self.0 == READ_ONLY
    }

    /// Reports whether the server objects to a row: to a value (22) or by a constraint (23).
    #[must_use]
    pub fn rejects_row(&self) -> bool {
        self.is_in(&["22", "23"])
    }

    /// Reports whether the server objects to the request itself: to a row, or to the statement and
    /// its rights (42, except for a prepared statement that a pooled session already has).
    #[must_use]
    pub fn rejects_request(&self) -> bool {
        self.rejects_row() || (self.is_in(&["42"]) && self.0 != DUPLICATE_STATEMENT)
    }

    /// Reports whether the events are ahead of the server's own clock.
    #[must_use]
    pub fn is_from_future(&self) -> bool {
        self.0 == FROM_FUTURE
    }

    /// Reports whether the transaction may not write.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.0 == READ_ONLY
    }

    /// Reports whether fewer synchronous standbys are in force than the caller requires.
    #[must_use]
    pub fn is_missing_standbys(&self) -> bool {
        self.0 == MISSING_STANDBYS
    }

    /// Reports whether the server, the database or the role has no free connection.
    #[must_use]
    pub fn is_without_connections(&self) -> bool {
        self.0 == TOO_MANY_CONNECTIONS
    }

    /// Reports whether the role lacks a privilege.
    #[must_use]
    pub fn is_not_permitted(&self) -> bool {
        self.0 == INSUFFICIENT_PRIVILEGE
    }

    /// Reports whether the server ended the statement because of a lock timeout: nothing was
    /// written, and the session continues.
    #[must_use]
    pub fn is_lock_timeout(&self) -> bool {
        self.0 == LOCK_NOT_AVAILABLE
    }

    /// Reports whether a table or a column does not exist.
    #[must_use]
    pub fn is_missing_name(&self) -> bool {
        [UNDEFINED_TABLE, UNDEFINED_COLUMN].contains(&&*self.0)
    }

    /// Reports whether a prepared statement belongs to another session: it is missing here, or
    /// already exists.
    #[must_use]
    pub fn is_of_other_session(&self) -> bool {
        [UNKNOWN_STATEMENT, DUPLICATE_STATEMENT].contains(&&*self.0)
    }

    /// Reports whether the peer does not accept a message of the protocol.
    #[must_use]
    pub fn is_protocol_violation(&self) -> bool {
        self.0 == PROTOCOL_VIOLATION
    }

    /// Each item is the beginning of a code: a class, or more.
    fn is_in(&self, classes: &[&str]) -> bool {
        classes.iter().any(|class| self.0.starts_with(class))
    }
}

impl<'a> From<&'a str> for SqlState<'a> {
    fn from(code: &'a str) -> Self {
        Self(Cow::Borrowed(code))
    }
}

impl fmt::Display for SqlState<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reports whether the database is unreachable or temporarily unable to respond.
#[must_use]
pub fn is_temporary(error: &sqlx::Error) -> bool {
    SqlState::of(error).map_or_else(
        || {
            is_broken_connection(error)
                || matches!(error, sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed)
        },
        |code| code.is_temporary(),
    )
}

/// Reports whether `error` is about the connection and not about the request.
#[must_use]
pub fn is_of_connection(error: &sqlx::Error) -> bool {
    SqlState::of(error).map_or_else(
        || is_broken_connection(error),
        |code| code.is_of_connection(),
    )
}

/// Reports whether this end could not use the connection, or had none in time.
const fn is_broken_connection(error: &sqlx::Error) -> bool {
    matches!(
        error,
        sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failover_errors_do_not_reject_an_append() {
        for code in [
            "08000", "08001", "08003", "08004", "08006", "08007", "08P01", // connections
            "0A000", "26000", "42P05", // prepared statements of another session
            "25006", "25001", "25P02", "25P03", // read-only, or a transaction that was ended
            "28000", "28P01", "3D000", // a promoted server that is not set up yet
            "40001", "40003", "40P01", // a standby's recovery came first, or a deadlock
            "53000", "53100", "53200", "53300", "53400", // out of resources
            "55000", "55006", "55P03", // not in a state to, or locked
            "57000", "57014", "57P01", "57P02", "57P03", "57P04", "57P05", // shutting down
            "58000", "58030", "58P01", // files
            "XX000", "XX001", "XX002", "TF002",
        ] {
            assert!(!SqlState::from(code).rejects_request(), "{code}");
        }
        for code in ["22P02", "22001", "23001", "23505", "42501", "42P01"] {
            assert!(SqlState::from(code).rejects_request(), "{code}");
        }
    }
}
