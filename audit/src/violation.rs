//! A violation of the log: its position and stream, the expected and the found value.

use std::fmt;
use std::io;

use domain::values::{DropId, Position};
use infrastructure::log::Hash;
use serde::Serialize;

use terminal::text::visible;

/// The first violation of a log, or of a table derived from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    pub position: Position,
    /// The drop or other stream, if the violation concerns one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    pub reason: String,
    /// The expected value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// The found value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
}

impl Violation {
    /// A violation at `position`.
    #[must_use]
    pub fn at(position: Position, reason: impl Into<String>) -> Self {
        Fault::from(reason.into()).at(position)
    }

    /// Returns the violation with the lower position; `self` if they are equal.
    #[must_use]
    pub fn or_earlier(self, other: Self) -> Self {
        match other.position < self.position {
            true => other,
            false => self,
        }
    }

    fn text(&self) -> String {
        let mut text = format!("position {}: {}", self.position, self.reason);
        if let Some(expected) = &self.expected {
            text.push_str(&format!(": expected {expected}"));
        }
        if let Some(found) = &self.found {
            text.push_str(&format!(", found {found}"));
        }
        match &self.stream {
            Some(stream) if stream.parse::<DropId>().is_ok() => {
                text.push_str(&format!(" (drop {stream})"));
            }
            Some(stream) => text.push_str(&format!(" (stream {stream})")),
            None => {}
        }
        text
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The log's writer may have inserted control characters that imitate other lines.
        f.write_str(&visible(&self.text()))
    }
}

/// Why verification ended early.
#[derive(Debug)]
pub enum Stop {
    /// The log violates a rule.
    Violated(Box<Violation>),
    /// A scratch file cannot be written.
    Scratch(io::Error),
}

impl From<Violation> for Stop {
    fn from(violation: Violation) -> Self {
        Self::Violated(Box::new(violation))
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Scratch(error)
    }
}

/// A hash of the log at a position, as kept by someone outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub position: Position,
    /// The hash of the log up to the position.
    pub hash: Hash,
    /// The source of the claim, for people.
    pub source: String,
}

/// A fault of one event.
#[derive(Debug, Clone)]
pub struct Fault {
    reason: String,
    values: Option<(String, String)>,
}

impl From<String> for Fault {
    fn from(reason: String) -> Self {
        let values = None;
        Self { reason, values }
    }
}

impl Fault {
    pub(super) fn at(self, position: Position) -> Violation {
        let (expected, found) = self.values.unzip();
        Violation {
            position,
            stream: None,
            reason: self.reason,
            expected,
            found,
        }
    }
}

pub(super) fn expect<T: PartialEq + fmt::Display>(
    what: &str,
    expected: T,
    found: T,
) -> Result<(), Fault> {
    if expected == found {
        Ok(())
    } else {
        Err(differs(what, expected, found))
    }
}

pub(super) fn differs<T: fmt::Display>(what: &str, expected: T, found: T) -> Fault {
    Fault {
        reason: what.to_owned(),
        values: Some((expected.to_string(), found.to_string())),
    }
}
