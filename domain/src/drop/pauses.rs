//! The pauses of a drop: periods in which its sale is interrupted.
//!
//! Promise: pauses do not overlap, and no unit is held in one; both are asserted.
//! Limit: 17 bytes for each pause, because a pause can be reverted.
//!
//! Source: docs/decisions/0082-drops-are-drafted-and-paused.md.

use serde::{Deserialize, Serialize};

use super::DropAggregate;
use crate::event::{DropPaused, DropPublished, DropResumed};
use crate::sale::Sale;
use crate::status::Interruption;
use crate::values::Timestamp;

/// Every pause, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pauses(Vec<Pause>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Pause {
    paused_at: Timestamp,
    /// True once the sale was resumed.
    is_over: bool,
}

impl Pauses {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl DropAggregate {
    /// Returns true if the drop was created as a draft and is not published.
    #[must_use]
    pub fn is_draft(&self) -> bool {
        self.terms().is_some_and(|terms| terms.draft)
    }

    /// Returns since when the sale is interrupted.
    #[must_use]
    pub fn paused_at(&self) -> Option<Timestamp> {
        let last = self.pauses.0.last().filter(|pause| !pause.is_over);
        last.map(|pause| pause.paused_at)
    }

    /// Returns the interruption of the sale.
    #[must_use]
    pub fn interruption(&self) -> Interruption {
        match (self.cancelled_at, self.paused_at()) {
            (Some(_), _) => Interruption::Cancelled,
            (None, Some(_)) => Interruption::Paused,
            (None, None) => Interruption::None,
        }
    }

    pub(super) fn published(&mut self, event: &DropPublished) {
        assert!(self.is_draft(), "a drop was published that is no draft");
        assert!(
            self.cancelled_at.is_none(),
            "a cancelled drop was published"
        );
        assert!(!event.terms.draft, "a published drop is a draft");
        assert!(
            event.total_stock.get() == self.stock.total,
            "a drop was published with a different stock than it has"
        );
        self.terms.push(event.terms.clone());
        self.sales
            .push(Sale::scheduled(&event.terms, event.published_at));
    }

    pub(super) fn paused(&mut self, event: DropPaused) {
        self.assert_is_selling("the drop was paused");
        assert!(self.cancelled_at.is_none(), "a cancelled drop was paused");
        self.pauses.0.push(Pause {
            paused_at: event.paused_at,
            is_over: false,
        });
    }

    pub(super) fn resumed(&mut self, _: DropResumed) {
        assert!(self.cancelled_at.is_none(), "a cancelled drop was resumed");
        let pause = self.pauses.0.last_mut().filter(|pause| !pause.is_over);
        pause
            .expect("a drop was resumed that is not paused")
            .is_over = true;
    }

    pub(super) fn unpause(&mut self) {
        self.pauses.0.pop().expect("a pause to revert");
    }

    pub(super) fn unresume(&mut self) {
        let pause = self.pauses.0.last_mut();
        pause.expect("a resumption to revert").is_over = false;
    }

    /// Asserts that units can be held.
    pub(super) fn assert_is_selling(&self, what: &str) {
        assert!(!self.is_draft(), "{what} in a draft");
        assert!(self.paused_at().is_none(), "{what} in a paused drop");
    }
}
