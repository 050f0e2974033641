//! What can be said against a log: what, where, what was expected and what was found.

use std::fmt;
use std::io;

use domain::values::{DropId, Position};
use infrastructure::log::Hash;
use serde::Serialize;

use terminal::text::visible;

/// The first thing that is wrong with a log, or with what was made from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Where.
    pub position: Position,
    /// In which drop, or other stream, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// What.
    pub reason: String,
    /// What should be there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
}

impl Violation {
    /// Something at `position` that is not as it should be.
    #[must_use]
    pub fn at(position: Position, reason: impl Into<String>) -> Self {
        Fault::from(reason.into()).at(position)
    }

    /// Of two the one at the earlier position; at the same one, this.
    #[must_use]
    pub fn or_earlier(self, other: Self) -> Self {
        match other.position < self.position {
            true => other,
            false => self,
        }
    }

    fn in_words(&self) -> String {
        let mut words = format!("position {}: {}", self.position, self.reason);
        if let Some(expected) = &self.expected {
            words.push_str(&format!(": expected {expected}"));
        }
        if let Some(found) = &self.found {
            words.push_str(&format!(", found {found}"));
        }
        match &self.stream {
            Some(stream) if stream.parse::<DropId>().is_ok() => {
                words.push_str(&format!(" (drop {stream})"));
            }
            Some(stream) => words.push_str(&format!(" (stream {stream})")),
            None => {}
        }
        words
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Who wrote the log may have put anything into it, such as a line that looks like another.
        f.write_str(&visible(&self.in_words()))
    }
}

/// Why a log was not verified.
#[derive(Debug)]
pub enum Stop {
    /// It is wrong.
    Violated(Box<Violation>),
    /// There is no room for scratch files.
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

/// What somebody outside claims: that the log held this hash at this position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Where.
    pub position: Position,
    /// What the history up to there comes to.
    pub hash: Hash,
    /// Who says so, for people.
    pub source: String,
}

/// What is wrong with one event.
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
