//! The public state of drops that do not show everything: since when it has been the same, and
//! since when the drop has been listed.
//!
//! Promise: derived from the log alone, so all nodes agree. Under `show_stock: level`, holds and
//! sales that leave the level as it is do not move the position that the public sees: otherwise it
//! would count them.
//! Limit: drops that are public and show their stock have no entry.

use std::collections::HashMap;

use domain::DropEvent;
use domain::stock_level::StockLevel;
use domain::values::{DropId, Position, ShowStock};

use crate::live_stock::LiveStockRow;

/// The state that the public sees, apart from the terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    terms_version: u32,
    level: StockLevel,
    waitlist_length: u32,
    is_listed: bool,
    is_paused: bool,
}

impl Seen {
    pub(super) fn of(row: &LiveStockRow) -> Self {
        Self {
            terms_version: row.terms_version,
            level: StockLevel::of(row.stock, &row.terms),
            waitlist_length: row.waitlist_length,
            is_listed: row.terms.are_listed(),
            is_paused: row.paused_at.is_some(),
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Since {
    /// `None`: the position of its last event.
    shown: Option<Position>,
    listed: Option<Position>,
}

/// The drops with an entry.
#[derive(Debug, Default)]
pub(super) struct Shown(HashMap<DropId, Since>);

impl Shown {
    /// Follows an event of a drop, which had the state `before`; `None`: it is new.
    pub(super) fn follow(
        &mut self,
        drop_id: DropId,
        event: &DropEvent,
        position: Position,
        before: Option<Seen>,
        row: &LiveStockRow,
    ) {
        let shows_level = row.terms.show_stock == ShowStock::Level;
        let is_edit = matches!(
            event,
            DropEvent::DropRescheduled(_) | DropEvent::DropPublished(_)
        );
        // Most events are about drops that show everything.
        if !shows_level && !is_edit {
            return;
        }
        let after = Seen::of(row);
        let mut since = self.0.get(&drop_id).copied().unwrap_or_default();
        if is_edit && after.is_listed && before.is_some_and(|before| !before.is_listed) {
            since.listed = Some(position);
        }
        since.shown = match (shows_level, since.shown) {
            (false, _) => None,
            (true, Some(shown)) if before == Some(after) => Some(shown),
            (true, _) => Some(position),
        };
        if since.shown.is_some() || since.listed.is_some() {
            self.0.insert(drop_id, since);
        } else {
            self.0.remove(&drop_id);
        }
    }

    pub(super) fn remove(&mut self, drop_id: DropId) {
        self.0.remove(&drop_id);
    }

    /// Returns the position of the drop's present public state, if that is not its last event,
    /// and the one from which it is listed, if an edit has listed it.
    pub(super) fn of(&self, drop_id: DropId) -> (Option<Position>, Option<Position>) {
        if self.0.is_empty() {
            return (None, None);
        }
        let since = self.0.get(&drop_id).copied().unwrap_or_default();
        (since.shown, since.listed)
    }
}
