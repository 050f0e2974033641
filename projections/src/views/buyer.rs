//! One buyer over all drops, found by the shop's identifier.

use std::cmp::Reverse;

use domain::values::{BuyerId, DropId, DropName, Pseudonym, Timestamp};

use super::{EntryView, HoldView, Views};
use crate::buyers::BuyerAt;
use crate::top_purchasers::BuyerKey;

/// What one buyer did in one drop.
#[derive(Debug, Clone, PartialEq)]
pub struct BuyerInDrop {
    pub drop_id: DropId,
    pub name: DropName,
    /// The identifier as the drop recorded it.
    pub buyer_id: BuyerId,
    /// Units in holds that are not resolved.
    pub held: u64,
    /// Units purchased and not refunded.
    pub kept: u64,
    /// Units purchased and refunded.
    pub refunded: u64,
    /// Newest first, purchased ones included.
    pub holds: Vec<HoldView>,
    /// Newest first.
    pub entries: Vec<EntryView>,
    /// Older holds or entries are left out.
    pub has_more: bool,
}

impl Views {
    /// Returns the drops in which a buyer held units or waited, newest drop first: those after
    /// `after`, which is the time and id of a drop.
    #[must_use]
    pub fn drops_of_buyer(
        &self,
        buyer_id: &BuyerId,
        after: Option<(Timestamp, DropId)>,
    ) -> Vec<BuyerKey> {
        let hot = self.read();
        let entries = hot.buyers.all_of(buyer_id).into_iter();
        let listed = |entry| {
            let BuyerKey { drop_id, buyer } = hot.buyers.key_at(entry);
            let drop = hot.drops.get(drop_id)?;
            Some((drop.row.scheduled_at, drop_id, buyer))
        };
        let mut drops: Vec<_> = entries.filter_map(listed).collect();
        drop(hot);
        drops.retain(|&(at, drop_id, _)| after.is_none_or(|after| (at, drop_id) < after));
        drops.sort_unstable_by_key(|&key| Reverse(key));
        let drops = drops.into_iter();
        drops
            .map(|(_, drop_id, buyer)| BuyerKey { drop_id, buyer })
            .collect()
    }

    /// Returns the pseudonyms of a buyer. With `is_account`, ids that only case folding makes equal
    /// to it are other buyers.
    #[must_use]
    pub fn pseudonyms(&self, buyer_id: &BuyerId, is_account: bool) -> Vec<(DropId, Pseudonym)> {
        let hot = self.read();
        let is_own = |entry: &BuyerAt| {
            let row = hot.buyers.row_at(*entry).filter(|_| is_account);
            row.is_none_or(|row| row.buyer_id.spelling() == buyer_id.spelling())
        };
        let entries = hot.buyers.all_of(buyer_id).into_iter().filter(is_own);
        let keys = entries.map(|entry| hot.buyers.key_at(entry));
        keys.map(|key| (key.drop_id, key.buyer)).collect()
    }

    /// Returns the shop's identifier of a pseudonym; `None` after an erasure.
    #[must_use]
    pub fn buyer_id(&self, drop_id: DropId, buyer: Pseudonym) -> Option<BuyerId> {
        let key = BuyerKey { drop_id, buyer };
        self.read().buyers.get(&key).map(|row| row.buyer_id)
    }

    /// Returns what a buyer of [`Views::drops_of_buyer`] did in one drop, with at most `most` holds
    /// and as many waitlist entries. `None` if the buyer was erased in the meantime.
    #[must_use]
    pub fn buyer_in_drop(&self, key: BuyerKey, most: usize) -> Option<BuyerInDrop> {
        let hot = self.read();
        let entry = hot.buyers.find(&key)?;
        let drop = hot.drops.get(key.drop_id)?;
        let buyer = hot.buyers.row_at(entry)?;
        let mut holds = hot.holds.newest_of(entry, most + 1, &hot.buyers);
        let mut entries = hot.waitlists.newest_of(&key, most + 1);
        let has_more = holds.len() > most || entries.len() > most;
        holds.truncate(most);
        entries.truncate(most);
        let (kept, refunded) = match hot.purchasers.get(&key) {
            Some(row) => (row.kept(), row.refunded),
            None => (0, 0),
        };
        let holds = holds.into_iter();
        let entries = entries.into_iter();
        Some(BuyerInDrop {
            drop_id: key.drop_id,
            name: drop.row.terms.name.clone(),
            buyer_id: buyer.buyer_id,
            held: u64::from(hot.buyers.taken_at(entry)).saturating_sub(kept),
            kept,
            refunded,
            holds: holds
                .filter_map(|(hold_id, found)| self.hold_view(&hot, hold_id, found))
                .collect(),
            entries: entries.filter_map(|id| hot.entry_view(id)).collect(),
            has_more,
        })
    }
}
