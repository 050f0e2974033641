//! The last loss that the log records, for clients that remember more than the log has.
//!
//! Promise: while the loss is recent, a 404 for an id reports it, and so does a read at a position
//! beyond the head. Limit: an id that never existed gets the same report.

use std::sync::OnceLock;

use domain::values::{Position, Timestamp};
use serde_json::{Value, json};

use super::{Code, Problem};

/// For how long a loss is reported, in milliseconds.
const REPORTED_MS: i64 = 30 * 86_400_000;

/// A cut of the log, or the accepted loss of a restored one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogCut {
    /// The last position that was kept.
    pub position: Position,
    /// How many events were lost.
    pub events: u64,
    /// When it was recorded.
    pub cut_at: Timestamp,
}

/// Global for the same reason as the counters of problems.
static LAST: OnceLock<LogCut> = OnceLock::new();

/// Makes problems report `cut`. Called once, before the first request.
pub fn report(cut: LogCut) {
    let _first = LAST.set(cut);
}

/// The last cut, while it is reported.
fn recent() -> Option<LogCut> {
    let cut = *LAST.get()?;
    let age = chrono::Utc::now().timestamp_millis() - cut.cut_at.millis();
    (age < REPORTED_MS).then_some(cut)
}

impl LogCut {
    fn sentence(self) -> String {
        let Self {
            position,
            events,
            cut_at,
        } = self;
        format!(
            "At {cut_at} the log was restored to position {position}, and {events} events after it \
             were lost: ids and positions of these events are not valid any more."
        )
    }

    fn member(self) -> Value {
        json!({ "position": self.position, "events": self.events, "cut_at": self.cut_at })
    }
}

impl Code {
    /// Reports whether the problem is about an id that a lost event may have had.
    const fn is_of_an_id(self) -> bool {
        matches!(
            self,
            Self::DropNotFound
                | Self::HoldNotFound
                | Self::PurchaseNotFound
                | Self::OrderNotFound
                | Self::WaitlistEntryNotFound
        )
    }
}

impl Problem {
    /// 503 for a read at a position that the log does not reach: of another log, or of a part that
    /// was lost. The log ends at `head`; this server has applied it up to `known`.
    pub(crate) fn beyond_head(position: Position, head: Position, known: Position) -> Self {
        let detail = format!(
            "The log ends at position {head}, so no response has position {position}: the position \
             is of another log, or the log was restored to an earlier moment. Read without \
             at_least."
        );
        Self::unavailable(detail)
            .with("reason", "beyond_head")
            .with("position", known.0)
            .with("head", head.0)
            .with_cut(recent())
    }

    /// The same problem, with the last cut if its id may have been lost in it.
    pub(super) fn with_cut_of_ids(self) -> Self {
        match self.code.is_of_an_id() {
            true => self.with_cut(recent()),
            false => self,
        }
    }

    fn with_cut(mut self, cut: Option<LogCut>) -> Self {
        let Some(cut) = cut else {
            return self;
        };
        self.detail = format!("{} {}", self.detail, cut.sentence());
        self.with("log_cut", cut.member())
    }
}
