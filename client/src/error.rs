//! Errors between a client and a server, each described in one precise line.
//!
//! Limit: a refusal is included, as the [`Problem`] that the server returned; the caller decides
//! whether it is an error.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::address::ServerAddress;

/// Why a call returned no usable response.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The client cannot use the address.
    #[error("cannot use {address} as the server's address: {reason}")]
    Address {
        address: String,
        /// Completes "because it …".
        reason: String,
    },
    /// No admin key was given, and the data directory contains none.
    #[error(
        "no admin key: set --admin-key or HOLDFAST_ADMIN_KEY, or the server's --data-dir (cannot read {path})"
    )]
    NoKey {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the admin key must be visible ASCII characters, at least one")]
    InvalidKey,
    /// The certificate authorities cannot be read.
    #[error("cannot read certificate authorities from {path}")]
    Authorities {
        path: PathBuf,
        source: Box<dyn Error + Send + Sync>,
    },
    /// Ctrl-C or SIGTERM ended the command.
    #[error("interrupted")]
    Interrupted,
    /// A drop that the command created could not be cancelled.
    #[error("the drop {name:?} was not cancelled; cancel it in the dashboard")]
    LeftBehind {
        name: String,
        source: Box<ClientError>,
    },
    /// The process may not open as many sockets as requested.
    #[error(
        "{needed} open files are needed, but this process is limited to {allowed}: raise `ulimit -n` or use fewer --connections"
    )]
    OpenFiles {
        needed: u64,
        /// The highest limit that could be set.
        allowed: u64,
    },
    /// The server could not be reached, or closed the connection before it responded.
    #[error("no response from {server}")]
    Connection {
        server: String,
        source: Box<dyn Error + Send + Sync>,
    },
    /// The server did not respond in time. It may have processed the request.
    #[error("no response from {server} within {} s", after.as_secs_f32())]
    Timeout { server: String, after: Duration },
    #[error("cannot write")]
    Output(#[source] std::io::Error),
    /// The server returned a problem.
    #[error("the server returned {0}")]
    Problem(Problem),
    /// The server returned a body that the client cannot parse.
    #[error("cannot parse the server's response as {what}")]
    Unreadable {
        /// The expected content.
        what: &'static str,
        source: serde_json::Error,
    },
}

/// An `application/problem+json` response, reduced to the members that clients use.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Problem {
    pub status: u16,
    /// The stable code of the problem; empty if the response was not a problem document.
    #[serde(default)]
    pub code: String,
    /// One sentence for people.
    #[serde(default)]
    pub detail: String,
    /// The server's `Retry-After`.
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
    pub(super) fn connection(
        server: &ServerAddress,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::Connection {
            server: server.to_string(),
            source: source.into(),
        }
    }

    /// Returns true if the settings alone are at fault, on any server.
    #[must_use]
    pub const fn is_of_settings(&self) -> bool {
        matches!(
            self,
            Self::Address { .. } | Self::NoKey { .. } | Self::InvalidKey | Self::Authorities { .. }
        )
    }

    /// The problem that the server returned, if it returned one.
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

    /// Reports whether the same call may succeed when sent again: the server was unreachable,
    /// silent, or returned 503.
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
    fn chain_of_causes_is_one_line_without_repetition() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = ClientError::Connection {
            server: "http://127.0.0.1:1".into(),
            source: Box::new(refused),
        };
        assert_eq!(
            one_line(&error),
            "no response from http://127.0.0.1:1: the connection was refused"
        );
    }

    #[test]
    fn only_an_unreachable_or_busy_server_is_retried() {
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
