//! The drops of each limit group, which share the limit per buyer.

use std::collections::HashMap;

use domain::DropEvent;
use domain::values::{DropId, LimitGroup, Pseudonym};
use infrastructure::codec::RecordedEvent;

use crate::buyers::Buyers;
use crate::top_purchasers::BuyerKey;

/// Every drop of each group. A drop that has lost its rows stays: it has no units.
#[derive(Debug, Default)]
pub(super) struct Groups(HashMap<LimitGroup, Vec<DropId>>);

impl Groups {
    /// Adds the drop, if the event schedules one with a group.
    pub(super) fn apply(&mut self, recorded: &RecordedEvent) {
        let (DropEvent::DropScheduled(event) | DropEvent::DropDrafted(event)) = &recorded.event
        else {
            return;
        };
        if let Some(group) = &event.terms.limit_group {
            let drops = self.0.entry(group.clone()).or_default();
            if !drops.contains(&recorded.drop_id) {
                drops.push(recorded.drop_id);
            }
        }
    }

    /// Returns the units that a buyer holds or has purchased in all drops of a group. A buyer has
    /// one pseudonym in all of them.
    pub(super) fn taken(&self, group: &LimitGroup, buyer: Pseudonym, buyers: &Buyers) -> u32 {
        let drops = self.0.get(group).map_or(&[][..], Vec::as_slice);
        let keys = drops.iter().map(|&drop_id| BuyerKey { drop_id, buyer });
        keys.fold(0, |sum: u32, key| sum.saturating_add(buyers.taken(&key)))
    }
}
