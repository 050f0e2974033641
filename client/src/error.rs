//! What can go wrong between this side and a server, each told in one precise line.
//!
//! Limit: a refusal is here too, as the [`Problem`] the server answered with; the caller decides whether it is an error.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

/// Why a call brought no answer that could be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is not one that this side can speak to.
    #[error("cannot use {address} as the server's address: {reason}")]
    Address {
        /// As it was given.
        address: String,
        /// Completes "because it …".
        reason: String,
    },
    /// No admin key was given and none lies in the data directory.
    #[error(
        "there is no admin key: give --admin-key or HOLDFAST_ADMIN_KEY, or the server's --data-dir (cannot read {path})"
    )]
    NoKey {
        /// Where it was looked for.
        path: PathBuf,
        /// Why it could not be read.
        source: std::io::Error,
    },
    /// The key cannot be sent in a header.
    #[error("the admin key must be visible ASCII characters, at least one")]
    InvalidKey,
    /// The certificate authorities to trust cannot be used.
    #[error("cannot read certificate authorities from {path}")]
    Authorities {
        /// Where they were looked for.
        path: PathBuf,
        /// Why they cannot be used.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A signal came first.
    #[error("interrupted")]
    Interrupted,
    /// A drop that was created for the occasion could not be cancelled.
    #[error("the drop {name:?} is left behind; cancel it in the dashboard")]
    LeftBehind {
        /// The drop's name.
        name: String,
        /// Why it could not be cancelled.
        source: Box<ClientError>,
    },
    /// The process may not open as many sockets as were asked for.
    #[error(
        "{needed} open files are needed and this process may have {allowed}: raise `ulimit -n` or use fewer --connections"
    )]
    OpenFiles {
        /// Files needed.
        needed: u64,
        /// The hard limit.
        allowed: u64,
    },
    /// The server could not be reached, or went away before it answered.
    #[error("no answer from {server}")]
    Connection {
        /// Its address.
        server: String,
        /// What the network said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The server did not answer in time. Whether it acted is unknown.
    #[error("no answer from {server} within {} s", after.as_secs_f32())]
    Timeout {
        /// Its address.
        server: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The result cannot be written to standard output.
    #[error("cannot write")]
    Output(#[source] std::io::Error),
    /// The server answered with a problem.
    #[error("the server answered {0}")]
    Problem(Problem),
    /// The server answered with something that this side cannot read.
    #[error("cannot read the server's answer, {what}")]
    Unreadable {
        /// What was expected.
        what: &'static str,
        /// Why it is not that.
        source: serde_json::Error,
    },
}

/// An `application/problem+json` answer, as far as this side acts on it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The stable name of the problem; empty if the answer was no problem document.
    #[serde(default)]
    pub code: String,
    /// One sentence for people.
    #[serde(default)]
    pub detail: String,
    /// How long the server asks to be left alone.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.status)?;
        for (separator, text) in [(" ", &self.code), (": ", &self.detail)] {
            if !text.is_empty() {
                write!(f, "{separator}{text}")?;
            }
        }
        Ok(())
    }
}

impl ClientError {
    /// The problem that the server answered with, if it answered with one.
    #[must_use]
    pub const fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            Self::Address { .. }
            | Self::NoKey { .. }
            | Self::InvalidKey
            | Self::Authorities { .. }
            | Self::Interrupted
            | Self::LeftBehind { .. }
            | Self::OpenFiles { .. }
            | Self::Connection { .. }
            | Self::Timeout { .. }
            | Self::Output(_)
            | Self::Unreadable { .. } => None,
        }
    }

    /// Whether the same call, sent again, may well succeed: the server was away, silent, or said 503.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Connection { .. } | Self::Timeout { .. } => true,
            Self::Problem(problem) => problem.status == 503,
            Self::Address { .. }
            | Self::NoKey { .. }
            | Self::InvalidKey
            | Self::Authorities { .. }
            | Self::Interrupted
            | Self::LeftBehind { .. }
            | Self::OpenFiles { .. }
            | Self::Output(_)
            | Self::Unreadable { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use terminal::text::one_line;

    use super::*;

    #[test]
    fn a_chain_of_causes_is_one_line_and_says_nothing_twice() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = ClientError::Connection {
            server: "http://127.0.0.1:1".into(),
            source: Box::new(refused),
        };
        assert_eq!(
            one_line(&error),
            "no answer from http://127.0.0.1:1: connection refused"
        );
    }

    #[test]
    fn only_an_absent_or_busy_server_is_worth_another_try() {
        let answered = |status| {
            ClientError::Problem(Problem {
                status,
                code: String::new(),
                detail: String::new(),
                retry_after: None,
            })
        };
        assert!(answered(503).is_passing());
        assert!(!answered(500).is_passing());
        assert!(!answered(409).is_passing());
    }
}
