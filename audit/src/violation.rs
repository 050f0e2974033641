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
    /// The stream, if the violation concerns one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamName>,
    pub reason: String,
    /// The expected value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// The found value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
}

/// A stream of the log; in JSON its aggregate's id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct StreamName {
    noun: &'static str,
    id: String,
}

impl StreamName {
    #[must_use]
    pub fn new(aggregate_type: &str, id: impl Into<String>) -> Self {
        let noun = match aggregate_type {
            domain::AGGREGATE_TYPE => "drop",
            domain::order::AGGREGATE_TYPE => "order",
            _ => "stream",
        };
        let id = id.into();
        Self { noun, id }
    }

    pub(super) fn of_drop(drop_id: DropId) -> Self {
        Self::new(domain::AGGREGATE_TYPE, drop_id.to_string())
    }
}

impl From<StreamName> for String {
    fn from(stream: StreamName) -> Self {
        stream.id
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.noun, self.id)
    }
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
        if let Some(stream) = &self.stream {
            text.push_str(&format!(" ({stream})"));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_is_named_by_its_aggregate_in_text_and_by_its_id_in_json() {
        for (aggregate_type, expected) in [
            ("Drop", "drop 7"),
            ("Order", "order 7"),
            ("Invoice", "stream 7"),
        ] {
            let violation = Violation {
                stream: Some(StreamName::new(aggregate_type, "7")),
                ..Violation::at(Position(3), "gap")
            };
            assert_eq!(
                violation.to_string(),
                format!("position 3: gap ({expected})")
            );
            let json = serde_json::to_value(&violation).unwrap();
            assert_eq!(json["stream"], "7");
        }
    }
}
