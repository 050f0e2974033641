//! When a drop is on sale, and which of its start and end are recorded.
//!
//! Promise: derived from the drop's events alone. A start and an end alternate, and each is
//! recorded once.
//! Limit: decisions about holds do not depend on it; they compare the clock with the terms.
//!
//! Source: docs/decisions/0062-facts-of-orders-and-drops.md.

use serde::{Deserialize, Serialize};

use crate::terms::DropTerms;
use crate::values::Timestamp;

/// The present sale of a drop: one period in which holds can be placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sale {
    /// The first instant of the sale.
    pub from: Timestamp,
    /// The first instant after it; `None`: no end.
    pub over: Option<Timestamp>,
    /// `DropStarted` is recorded.
    pub is_started: bool,
    /// `DropEnded` is recorded.
    pub is_ended: bool,
}

/// The next fact of a sale, and the time from which it is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaleFact {
    Started(Timestamp),
    Ended(Timestamp),
}

impl SaleFact {
    /// Returns the time from which it is true.
    #[must_use]
    pub const fn at(self) -> Timestamp {
        match self {
            Self::Started(at) | Self::Ended(at) => at,
        }
    }
}

impl Sale {
    /// The sale of a drop that is scheduled at `at`.
    #[must_use]
    pub fn scheduled(terms: &DropTerms, at: Timestamp) -> Self {
        Self {
            from: terms.starts_at.max(at),
            over: terms.ends_at.map(|ends_at| ends_at.max(at)),
            is_started: false,
            is_ended: false,
        }
    }

    /// The sale after an edit at `at`: the same one with another end; or a new one, if the drop
    /// starts only after the edit, or is open again after its end.
    #[must_use]
    pub fn rescheduled(self, terms: &DropTerms, at: Timestamp) -> Self {
        // A recorded fact is true, even if the clock of the edit is behind it.
        let at = match (self.is_started, self.is_ended, self.over) {
            (true, true, Some(over)) => at.max(over),
            (true, _, _) => at.max(self.from),
            (false, _, _) => at,
        };
        let next = Self::scheduled(terms, at);
        let was_over = self.over.is_some_and(|over| over <= at);
        let is_over = next.over.is_some_and(|over| over <= at);
        let had_begun = self.from <= at;
        if !had_begun || terms.starts_at > at || (was_over && !is_over) {
            // An edit of anything else leaves a future sale as it is.
            return next;
        }
        let over = match was_over && is_over {
            true => self.over,
            false => next.over,
        };
        Self { over, ..self }
    }

    /// Returns the fact that is recorded next. A sale without any time has none.
    #[must_use]
    pub fn next(&self) -> Option<SaleFact> {
        if !self.is_started {
            let is_any = self.over.is_none_or(|over| over > self.from);
            return is_any.then_some(SaleFact::Started(self.from));
        }
        let over = self.over.filter(|_| !self.is_ended)?;
        Some(SaleFact::Ended(over))
    }
}
