//! Distributes committed batches, in order, to all followers of the log in this process.
//!
//! Promise: a follower that requests the events after its position gets every event, once, in
//! order: from memory when it is close behind, otherwise from the log.
//! Limit: memory keeps the newest [`RECENT_EVENTS`] only.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use domain::values::{DropId, OrderId, Position};
use tokio::sync::watch;

use crate::codec::{Recorded, RecordedEvent, RecordedOrderEvent, read_any};
use crate::error::LogError;
use crate::log::{EventLog, Head, StoredEvent};
use crate::quarantine::{RefusedEvent, Voided, Voids};

/// Events kept in memory for followers that are close behind.
pub const RECENT_EVENTS: usize = 50_000;

/// Consecutive events that are in the log, and the head after them.
#[derive(Debug, Default)]
pub struct Committed {
    /// Events of drops, in position order. Events of foreign streams are omitted, so positions may
    /// have gaps; of a drop, only void and withheld events are missing.
    pub events: Vec<RecordedEvent>,
    /// Events of orders, in position order; those of a void position or of an order in quarantine
    /// are omitted.
    pub orders: Vec<RecordedOrderEvent>,
    /// Events that were not applied because their drop is in quarantine, in position order.
    pub withheld: Vec<(Position, DropId)>,
    /// Events that were not applied because their order is in quarantine, in position order.
    pub withheld_orders: Vec<(Position, OrderId)>,
    /// Drops and orders that enter quarantine with this batch, and the event that caused it.
    pub quarantined: Vec<Arc<RefusedEvent>>,
    /// Positions that were declared void.
    pub voided: Vec<Voided>,
    /// The head of the log after this batch.
    pub head: Head,
}

/// All events of a drop, to be applied from the first: one of its positions was declared void.
#[derive(Debug)]
pub struct Readmitted {
    pub drop_id: DropId,
    /// Its events without the void ones, up to the head, or up to the next one that cannot be
    /// applied.
    pub events: Vec<RecordedEvent>,
    /// The next event that cannot be applied, if any: the drop then stays in quarantine.
    pub refused: Option<Arc<RefusedEvent>>,
    /// Observers already know the events up to this position.
    pub observed: Position,
}

/// All events of an order, to be applied from the first; as [`Readmitted`].
#[derive(Debug)]
pub struct ReadmittedOrder {
    pub order_id: OrderId,
    /// Its events without the void ones, up to the head, or up to the next one that cannot be
    /// applied.
    pub events: Vec<RecordedOrderEvent>,
    /// The next event that cannot be applied, if any: the order then stays in quarantine.
    pub refused: Option<Arc<RefusedEvent>>,
    /// Observers already know the events up to this position.
    pub observed: Position,
}

/// The newest committed batches. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Feed {
    recent: Arc<RwLock<Recent>>,
    exceptions: Arc<RwLock<Exceptions>>,
    head: Arc<watch::Sender<Head>>,
}

/// Events of the log that are not applied.
#[derive(Debug, Default)]
struct Exceptions {
    voids: Voids,
    /// The position from which on nothing of a drop is applied.
    quarantined: BTreeMap<DropId, Position>,
    /// The same for orders.
    quarantined_orders: BTreeMap<OrderId, Position>,
}

#[derive(Debug, Default)]
struct Recent {
    /// The position before the first kept batch.
    start: Position,
    batches: VecDeque<Arc<Committed>>,
    weight: usize,
}

impl Feed {
    /// A feed of a log that has been read up to `head`.
    #[must_use]
    pub fn starting_at(head: Head) -> Self {
        let feed = Self::default();
        feed.write(|recent| recent.start = head.position);
        feed.head.send_replace(head);
        feed
    }

    /// Adds the next committed batch, and wakes the waiting followers.
    pub fn publish(&self, committed: &Arc<Committed>) {
        if !(committed.voided.is_empty() && committed.quarantined.is_empty()) {
            let mut exceptions = self.change_exceptions();
            for voided in &committed.voided {
                exceptions.voids.add(voided.clone());
            }
            for refused in &committed.quarantined {
                exceptions.quarantine(refused);
            }
        }
        self.write(|recent| recent.push(Arc::clone(committed)));
        self.head.send_replace(committed.head);
    }

    /// Records that a drop is applied again, up to the next refused event, if any, and wakes the
    /// waiting followers.
    pub fn readmit(&self, readmitted: &Readmitted) {
        self.admit(readmitted.refused.as_deref(), |exceptions| {
            exceptions.quarantined.remove(&readmitted.drop_id);
        });
    }

    /// As [`Feed::readmit`], for an order.
    pub fn readmit_order(&self, readmitted: &ReadmittedOrder) {
        self.admit(readmitted.refused.as_deref(), |exceptions| {
            exceptions.quarantined_orders.remove(&readmitted.order_id);
        });
    }

    fn admit(&self, refused: Option<&RefusedEvent>, remove: impl FnOnce(&mut Exceptions)) {
        let mut exceptions = self.change_exceptions();
        remove(&mut exceptions);
        if let Some(refused) = refused {
            exceptions.quarantine(refused);
        }
        drop(exceptions);
        // The head is the same: it has moved past the event that ended the quarantine already, and
        // may not move again for hours.
        self.head.send_modify(|_| {});
    }

    /// Reports whether a drop is in quarantine.
    #[must_use]
    pub fn is_quarantined(&self, drop_id: DropId) -> bool {
        self.exceptions().quarantined.contains_key(&drop_id)
    }

    /// Reports whether an order is in quarantine.
    #[must_use]
    pub fn is_order_quarantined(&self, order_id: OrderId) -> bool {
        self.exceptions().quarantined_orders.contains_key(&order_id)
    }

    /// Reports whether the event at a position is void.
    #[must_use]
    pub fn is_void(&self, position: Position) -> bool {
        self.exceptions().voids.contains(position)
    }

    /// The drops that have a position declared void by an event after `after`, up to `until`.
    #[must_use]
    pub fn voided_between(&self, after: Position, until: Position) -> BTreeSet<DropId> {
        let exceptions = self.exceptions();
        let within = exceptions
            .voids
            .iter()
            .filter(|voided| after < voided.at && voided.at <= until);
        within.filter_map(Voided::drop_id).collect()
    }

    /// Discards the kept batches, which contain personal data: followers read the log, which may
    /// have lost some of it since.
    pub fn forget(&self) {
        let head = self.head().position;
        self.write(|recent| {
            *recent = Recent {
                start: head,
                ..Recent::default()
            }
        });
    }

    /// The head known to this process.
    #[must_use]
    pub fn head(&self) -> Head {
        *self.head.borrow()
    }

    /// A receiver that is notified when the head moves, and when a quarantine ends.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Head> {
        self.head.subscribe()
    }

    /// The events after `after`: whole batches from memory, or up to `limit` events from `log`.
    /// Empty at the head.
    ///
    /// # Errors
    /// [`LogError`] when the log had to be read and that failed.
    pub async fn after<L: EventLog>(
        &self,
        log: &L,
        after: Position,
        limit: usize,
    ) -> Result<Vec<Arc<Committed>>, LogError> {
        if let Some(batches) = self.recent_after(after, limit) {
            return Ok(batches);
        }
        // No further than the engine, which determines the events that cannot be applied.
        let known = self.head().position.0.saturating_sub(after.0);
        let limit = limit.min(usize::try_from(known).unwrap_or(limit));
        if limit == 0 {
            return Ok(vec![]);
        }
        let stored = log.read(after, limit).await?;
        let Some(last) = stored.last() else {
            return Ok(vec![]);
        };
        let mut committed = Committed {
            head: last.head(),
            events: Vec::with_capacity(stored.len()),
            ..Committed::default()
        };
        let exceptions = self.exceptions();
        for event in &stored {
            exceptions.sort_in(event, &mut committed);
        }
        Ok(vec![Arc::new(committed)])
    }

    fn exceptions(&self) -> RwLockReadGuard<'_, Exceptions> {
        self.exceptions
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn change_exceptions(&self) -> RwLockWriteGuard<'_, Exceptions> {
        self.exceptions
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn recent_after(&self, after: Position, limit: usize) -> Option<Vec<Arc<Committed>>> {
        let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner);
        if after < recent.start {
            return None;
        }
        let first = recent
            .batches
            .partition_point(|batch| batch.head.position <= after);
        // A position inside a batch is read from the log: followers stop at batch ends, so this is
        // rare.
        let starts_here = first
            .checked_sub(1)
            .map_or(recent.start, |i| recent.batches[i].head.position);
        if first < recent.batches.len() && starts_here != after {
            return None;
        }
        let mut events = 0;
        let batches = recent.batches.iter().skip(first).take_while(|batch| {
            let fits = events < limit;
            events += batch.weight();
            fits
        });
        Some(batches.cloned().collect())
    }

    fn write(&self, change: impl FnOnce(&mut Recent)) {
        change(&mut self.recent.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Exceptions {
    fn quarantine(&mut self, refused: &RefusedEvent) {
        if let Some(drop_id) = refused.drop_id {
            self.quarantined.insert(drop_id, refused.position);
        }
        if let Some(order_id) = refused.order_id {
            self.quarantined_orders.insert(order_id, refused.position);
        }
    }

    /// Adds a stored event to the applied or the withheld ones; a void one to neither.
    fn sort_in(&self, stored: &StoredEvent, committed: &mut Committed) {
        let position = stored.position;
        if self.voids.contains(position) {
            return;
        }
        match read_any(stored) {
            Ok(None) => {}
            Ok(Some(Recorded::Order(recorded))) => {
                let from = self.quarantined_orders.get(&recorded.order_id);
                if from.is_some_and(|from| *from <= position) {
                    let withheld = (position, recorded.order_id);
                    committed.withheld_orders.push(withheld);
                } else {
                    committed.orders.push(recorded);
                }
            }
            Ok(Some(Recorded::Drop(recorded))) => {
                let from = self.quarantined.get(&recorded.drop_id);
                if from.is_some_and(|from| *from <= position) {
                    committed.withheld.push((position, recorded.drop_id));
                } else {
                    committed.events.push(recorded);
                }
            }
            Err(refused) => {
                let drop_id = refused.drop_id;
                committed
                    .withheld
                    .extend(drop_id.map(|drop_id| (position, drop_id)));
                let order_id = refused.order_id;
                committed
                    .withheld_orders
                    .extend(order_id.map(|order_id| (position, order_id)));
            }
        }
    }
}

impl Committed {
    /// Its share of the kept events. A batch of foreign streams has no events, but still counts, so
    /// that it is discarded eventually.
    fn weight(&self) -> usize {
        (self.events.len() + self.orders.len()).max(1)
    }
}

impl Recent {
    fn push(&mut self, committed: Arc<Committed>) {
        self.weight += committed.weight();
        self.batches.push_back(committed);
        while self.weight > RECENT_EVENTS {
            let Some(oldest) = self.batches.pop_front() else {
                break;
            };
            self.weight -= oldest.weight();
            self.start = oldest.head.position;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty_until(position: u64) -> Arc<Committed> {
        let head = Head {
            position: Position(position),
            ..Head::default()
        };
        Arc::new(Committed {
            head,
            ..Committed::default()
        })
    }

    #[test]
    fn batches_without_events_do_not_accumulate() {
        let mut recent = Recent::default();
        let most = RECENT_EVENTS as u64;
        for position in 1..=most + 10 {
            recent.push(empty_until(position));
        }
        assert_eq!(recent.batches.len(), RECENT_EVENTS);
        assert_eq!(recent.start, Position(10));
    }

    #[test]
    fn discarded_batches_are_read_from_the_log() {
        let feed = Feed::default();
        feed.publish(&empty_until(2));
        feed.forget();
        let kept = |after: u64| {
            feed.recent_after(Position(after), 10)
                .map(|batches| batches.len())
        };
        assert_eq!((kept(0), kept(2)), (None, Some(0)));
        feed.publish(&empty_until(5));
        assert_eq!((kept(0), kept(2), kept(5)), (None, Some(1), Some(0)));
    }

    #[test]
    fn end_of_a_quarantine_wakes_the_followers_that_wait_for_it() {
        let feed = Feed::starting_at(Head::default());
        let mut head = feed.watch();
        head.borrow_and_update();
        let drop_id = DropId(uuid::Uuid::from_u128(1));
        feed.readmit(&Readmitted {
            drop_id,
            events: vec![],
            refused: None,
            observed: Position(0),
        });
        assert!(head.has_changed().unwrap());
        head.borrow_and_update();
        let order_id = OrderId(uuid::Uuid::from_u128(2));
        feed.readmit_order(&ReadmittedOrder {
            order_id,
            events: vec![],
            refused: None,
            observed: Position(0),
        });
        assert!(head.has_changed().unwrap());
    }

    #[test]
    fn followers_get_whole_batches_and_nothing_at_the_head() {
        let feed = Feed::default();
        for position in [2, 5, 9] {
            feed.publish(&empty_until(position));
        }
        let heads = |after: u64, limit: usize| {
            let batches = feed.recent_after(Position(after), limit)?;
            Some(batches.iter().map(|batch| batch.head.position.0).collect())
        };
        assert_eq!(heads(9, 10), Some(vec![]));
        assert_eq!(heads(2, 10), Some(vec![5, 9]));
        assert_eq!(heads(0, 1), Some(vec![2]));
        let inside: Option<Vec<u64>> = heads(3, 10);
        assert_eq!(inside, None, "inside a batch, so it is read from the log");
    }
}
