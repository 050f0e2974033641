//! Which drops a product and a creator have: an index of the log.
//!
//! Promise: the cost of a list is that of its page, however many drops the shop has. It has only
//! the drops that every list shows: the one decision about that for products and creators.
//! Limit: some 150 bytes for each drop that names a product or a creator.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use domain::DropEvent;
use domain::terms::DropTerms;
use domain::values::{CatalogueId, DropId, Timestamp};
use infrastructure::codec::RecordedEvent;
use infrastructure::feed::{Committed, Readmitted};
use infrastructure::ports::Observer;

/// When a drop was scheduled, and its id: newest first.
type Key = Reverse<(Timestamp, DropId)>;

/// Follows the engine. Clones share their state.
#[derive(Debug, Clone, Default)]
pub struct DropsOf(Arc<RwLock<State>>);

/// The drops of a list.
#[derive(Debug, Clone, Copy)]
pub enum Of<'a> {
    Product(&'a CatalogueId),
    Creator(&'a CatalogueId),
}

#[derive(Debug, Default)]
struct State {
    drops: HashMap<DropId, Listed>,
    by_product: HashMap<CatalogueId, BTreeSet<Key>>,
    by_creator: HashMap<CatalogueId, BTreeSet<Key>>,
}

/// A drop as its last terms describe it.
#[derive(Debug, Clone)]
struct Listed {
    scheduled_at: Timestamp,
    product_id: Option<CatalogueId>,
    creator_id: Option<CatalogueId>,
}

impl DropsOf {
    /// Returns up to `most` drops, newest first, that follow `after`, the time at which a drop was
    /// scheduled and its id.
    #[must_use]
    pub fn page(&self, of: Of<'_>, after: Option<(Timestamp, DropId)>, most: usize) -> Vec<DropId> {
        let state = self.read();
        let keys = match of {
            Of::Product(id) => state.by_product.get(id),
            Of::Creator(id) => state.by_creator.get(id),
        };
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(Reverse(after)));
        let keys = keys.map(|keys| keys.range((from, Bound::Unbounded)));
        let keys = keys.into_iter().flatten();
        keys.take(most).map(|Reverse((_, id))| *id).collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Returns the terms that an event sets.
pub(crate) const fn terms_in(event: &DropEvent) -> Option<&DropTerms> {
    match event {
        DropEvent::DropScheduled(event) | DropEvent::DropDrafted(event) => Some(&event.terms),
        DropEvent::DropRescheduled(event) => Some(&event.terms),
        DropEvent::DropPublished(event) => Some(&event.terms),
        DropEvent::DropCancelled(_)
        | DropEvent::DropStarted(_)
        | DropEvent::DropEnded(_)
        | DropEvent::DropPaused(_)
        | DropEvent::DropResumed(_)
        | DropEvent::HoldPlaced(_)
        | DropEvent::HoldExtended(_)
        | DropEvent::HoldChanged(_)
        | DropEvent::HoldExpired(_)
        | DropEvent::HoldReleased(_)
        | DropEvent::PurchaseConfirmed(_)
        | DropEvent::PurchaseRefunded(_)
        | DropEvent::StockAdjusted(_)
        | DropEvent::CodesCreated(_)
        | DropEvent::WaitlistJoined(_)
        | DropEvent::WaitlistLeft(_) => None,
    }
}

impl State {
    fn apply(&mut self, recorded: &RecordedEvent) {
        let Some(terms) = terms_in(&recorded.event) else {
            return;
        };
        let before = self.remove(recorded.drop_id);
        let scheduled_at = if let DropEvent::DropScheduled(event) | DropEvent::DropDrafted(event) =
            &recorded.event
        {
            event.scheduled_at
        } else if let Some(before) = before {
            before.scheduled_at
        } else {
            return;
        };
        let drop = Listed {
            scheduled_at,
            product_id: terms.product_id.clone().filter(|_| terms.are_listed()),
            creator_id: terms.creator_id.clone().filter(|_| terms.are_listed()),
        };
        let key = Reverse((drop.scheduled_at, recorded.drop_id));
        if let Some(id) = &drop.product_id {
            self.by_product.entry(id.clone()).or_default().insert(key);
        }
        if let Some(id) = &drop.creator_id {
            self.by_creator.entry(id.clone()).or_default().insert(key);
        }
        self.drops.insert(recorded.drop_id, drop);
    }

    fn remove(&mut self, drop_id: DropId) -> Option<Listed> {
        let drop = self.drops.remove(&drop_id)?;
        let key = Reverse((drop.scheduled_at, drop_id));
        let of_product = drop
            .product_id
            .as_ref()
            .map(|id| (&mut self.by_product, id));
        let of_creator = drop
            .creator_id
            .as_ref()
            .map(|id| (&mut self.by_creator, id));
        for (index, id) in of_product.into_iter().chain(of_creator) {
            if let Some(keys) = index.get_mut(id) {
                keys.remove(&key);
                if keys.is_empty() {
                    index.remove(id);
                }
            }
        }
        Some(drop)
    }
}

impl Observer for DropsOf {
    fn committed(&mut self, committed: &Arc<Committed>) {
        self.change(|state| {
            for recorded in &committed.events {
                state.apply(recorded);
            }
            // A drop in quarantine is in no list.
            for drop_id in committed
                .quarantined
                .iter()
                .filter_map(|refused| refused.drop_id)
            {
                state.remove(drop_id);
            }
        });
    }

    fn readmitted(&mut self, readmitted: &Readmitted) {
        self.change(|state| {
            state.remove(readmitted.drop_id);
            if readmitted.refused.is_none() {
                for recorded in &readmitted.events {
                    state.apply(recorded);
                }
            }
        });
    }
}
