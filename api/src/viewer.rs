//! The readers of drops, and the parts of a drop that each of them sees.
//!
//! Promise: these functions alone decide which drops exist for a reader, in which lists they are,
//! and if their stock has numbers. Limit: positions, and thereby the number of events of the whole
//! shop, are public.
//!
//! Source: docs/decisions/0075-visibility-and-levels-are-decided-once.md.

use domain::terms::DropTerms;
use domain::values::{ShowStock, Timestamp};
use projections::drop_body::DropBody;
use projections::live_stock::LiveStockRow;
use projections::views::DropView;

/// The reader of a drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Viewer {
    /// Anyone.
    Public,
    /// An administrator or an auditor.
    Staff,
}

impl Viewer {
    /// Returns true if the drop exists for this reader: its state, page, stream and purchasers.
    pub(crate) fn finds(self, terms: &DropTerms) -> bool {
        self == Self::Staff || terms.are_found()
    }

    /// Returns true if the drop is in this reader's lists.
    pub(crate) fn lists(self, terms: &DropTerms) -> bool {
        self == Self::Staff || terms.are_listed()
    }

    /// Returns true if this reader sees how many units there are.
    pub(crate) fn sees_numbers(self, terms: &DropTerms) -> bool {
        self == Self::Staff || terms.show_stock == ShowStock::Exact
    }

    /// [`Viewer::lists`] for a row.
    pub(crate) fn lists_row(self, row: &LiveStockRow) -> bool {
        self.lists(&row.terms)
    }

    /// Renders the drop as of `now`.
    pub(crate) fn body(self, drop: &DropView, now: Timestamp) -> DropBody<'_> {
        match self.sees_numbers(&drop.row.terms) {
            true => DropBody::new(drop, now),
            false => DropBody::with_level(drop, now),
        }
    }
}
