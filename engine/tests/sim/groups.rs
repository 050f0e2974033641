//! An independent account of limit groups: no event gives a buyer more units than a drop allows in
//! all drops of its group together.
//!
//! In these simulations the limits are not edited, and no drop without a group has one.

use std::collections::{BTreeMap, BTreeSet};

use domain::DropEvent;
use domain::values::{BuyerId, DropId, LimitGroup, Position, Pseudonym};
use infrastructure::codec::RecordedEvent;

/// A buyer of a group, after each position at which the units moved.
type History = Vec<(Position, i64)>;

#[derive(Debug, Default)]
pub struct Groups {
    /// The group of each drop that has one, and the limit of the drop.
    drops: BTreeMap<DropId, (LimitGroup, i64)>,
    taken: BTreeMap<(LimitGroup, Pseudonym), History>,
    /// The pseudonym of each buyer in each group.
    known: BTreeMap<(LimitGroup, String), Pseudonym>,
}

impl Groups {
    /// Adds an event, which may take units only within the limit.
    pub fn enter(&mut self, recorded: &RecordedEvent) {
        if let DropEvent::DropScheduled(event) | DropEvent::DropDrafted(event) = &recorded.event
            && let Some(group) = &event.terms.limit_group
        {
            let limit = event
                .terms
                .max_per_buyer
                .map_or(i64::MAX, |max| max.get().into());
            self.drops.insert(recorded.drop_id, (group.clone(), limit));
        }
        let Some((group, limit)) = self.drops.get(&recorded.drop_id).cloned() else {
            return;
        };
        let Some(buyer) = recorded.event.buyer() else {
            return;
        };
        if let Some(private) = &recorded.private
            && let Some(buyer_id) = &private.buyer_id
        {
            let name = (group.clone(), buyer_id.comparable().to_string());
            let known = *self.known.entry(name).or_insert(buyer);
            assert_eq!(
                known, buyer,
                "two pseudonyms in a group, at {}",
                recorded.position
            );
        }
        let more = units(&recorded.event);
        let history = self.taken.entry((group, buyer)).or_default();
        let after = history.last().map_or(0, |(_, units)| *units) + more;
        assert!(after >= 0, "more units returned than taken");
        let is_allowed = more <= 0 || after <= limit;
        assert!(
            is_allowed,
            "{after} of {limit} units, at {}",
            recorded.position
        );
        history.push((recorded.position, after));
    }

    /// The units that a buyer may still take in a drop.
    pub fn room(&self, drop_id: DropId, buyer: Pseudonym) -> i64 {
        let Some((group, limit)) = self.drops.get(&drop_id) else {
            return i64::MAX;
        };
        let history = self.taken.get(&(group.clone(), buyer));
        let taken = history.and_then(|history| history.last());
        limit - taken.map_or(0, |(_, units)| *units)
    }

    /// Every allowance of a buyer in a drop within the window; empty if the drop has no group.
    pub fn allowances(
        &self,
        drop_id: DropId,
        buyer_id: &BuyerId,
        window: (Position, Position),
    ) -> BTreeSet<i64> {
        let Some((group, _)) = self.drops.get(&drop_id) else {
            return BTreeSet::new();
        };
        let name = (group.clone(), buyer_id.comparable().to_string());
        let known = self.known.get(&name).copied();
        self.allowances_of(drop_id, known, window)
    }

    pub fn allowances_of(
        &self,
        drop_id: DropId,
        buyer: Option<Pseudonym>,
        (from, to): (Position, Position),
    ) -> BTreeSet<i64> {
        let Some((group, limit)) = self.drops.get(&drop_id) else {
            return BTreeSet::new();
        };
        let history = buyer.and_then(|buyer| self.taken.get(&(group.clone(), buyer)));
        let history = history.map_or(&[][..], Vec::as_slice);
        let before = history.iter().rev().find(|(at, _)| *at <= from);
        let within = history.iter().filter(|(at, _)| (from..=to).contains(at));
        let units = within.map(|(_, units)| *units);
        let first = before.map_or(0, |(_, units)| *units);
        let allowance = |taken: i64| (limit - taken).max(0);
        [first].into_iter().chain(units).map(allowance).collect()
    }

    /// The number of events that took units in a drop of a group.
    pub fn events(&self) -> usize {
        self.taken.values().map(Vec::len).sum()
    }
}

/// The units that an event gives to its buyer; negative if it takes some back.
fn units(event: &DropEvent) -> i64 {
    match event {
        DropEvent::HoldPlaced(event) => i64::from(event.quantity.get()),
        DropEvent::HoldChanged(event) => event.units_added(),
        DropEvent::HoldExpired(event) => -i64::from(event.quantity.get()),
        DropEvent::HoldReleased(event) => -i64::from(event.quantity.get()),
        DropEvent::PurchaseRefunded(event) => -i64::from(event.quantity.get()),
        DropEvent::DropScheduled(_)
        | DropEvent::DropDrafted(_)
        | DropEvent::DropRescheduled(_)
        | DropEvent::DropStarted(_)
        | DropEvent::DropEnded(_)
        | DropEvent::DropPublished(_)
        | DropEvent::DropPaused(_)
        | DropEvent::DropResumed(_)
        | DropEvent::DropCancelled(_)
        | DropEvent::CodesCreated(_)
        | DropEvent::HoldExtended(_)
        | DropEvent::PurchaseConfirmed(_)
        | DropEvent::StockAdjusted(_)
        | DropEvent::WaitlistJoined(_)
        | DropEvent::WaitlistLeft(_) => 0,
    }
}
