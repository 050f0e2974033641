//! The notifications that follow from the log.
//!
//! Promise: decided from the log alone, so every server and every start has the same ones. An event
//! is one notification for all of its readers; a buyer's list is merged when it is read. No
//! personal data: buyers are known by their pseudonyms.
//! Limit: the newest [`MOST_KEPT`] of the last [`KEPT_DAYS`] days, and of these the newest
//! [`MOST_OF_DROP`] about the stock of one drop; some 200 bytes each.
//!
//! Source: docs/decisions/0070-notifications-fan-out-on-read.md.

mod facts;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use domain::DropEvent;
use domain::values::{CatalogueId, DropId, OrderId, Position, Pseudonym, ShowStock, Timestamp};
use infrastructure::codec::{RecordedEvent, RecordedOrderEvent};
use infrastructure::erasure::Erased;
use infrastructure::feed::{Committed, Readmitted, ReadmittedOrder};
use infrastructure::ports::Observer;
use webhooks::kind::Kind;
use webhooks::notices::Notices;

pub use self::facts::Facts;
use self::facts::{of_drop_event, of_order_event};
use crate::drops::terms_in;
use crate::merge::merged;

/// The most notifications that are kept.
pub const MOST_KEPT: usize = 500_000;
/// How long a notification is kept.
pub const KEPT_DAYS: i64 = 30;
/// The most notifications about the start and the stock of one drop that are kept: a drop may sell
/// out each time that a hold expires.
pub const MOST_OF_DROP: usize = 100;

const MILLIS_PER_DAY: i64 = 24 * 60 * 60 * 1_000;

/// Identifies a notification, and orders all of them.
pub type Key = (Position, Kind);

/// One notification, the same for all of its readers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    pub position: Position,
    pub kind: Kind,
    pub recorded_at: Timestamp,
    /// The drop concerned; `None` if it is about a whole order.
    pub drop_id: Option<DropId>,
    pub audience: Audience,
    pub facts: Facts,
}

/// The readers of a notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// The followers of the creator that the drop had, if it was in every list, and the buyers
    /// with a reminder of it.
    Drop(DropId, Option<CatalogueId>),
    /// A buyer of the drop.
    Buyer(DropId, Pseudonym),
    /// The buyer of the order.
    Order(OrderId),
}

impl Notification {
    #[must_use]
    pub const fn key(&self) -> Key {
        (self.position, self.kind)
    }

    /// Returns its id in the API: unique within a log.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}-{}", self.position, self.kind.name())
    }

    /// Returns the creator whose followers are notified.
    #[must_use]
    pub const fn creator_id(&self) -> Option<&CatalogueId> {
        match &self.audience {
            Audience::Drop(_, creator_id) => creator_id.as_ref(),
            Audience::Buyer(..) | Audience::Order(_) => None,
        }
    }
}

/// Parses the id of a notification.
#[must_use]
pub fn parse_id(id: &str) -> Option<Key> {
    let (position, kind) = id.split_once('-')?;
    let key = (Position(position.parse().ok()?), kind.parse().ok()?);
    // Numbers have one spelling each.
    (format!("{}-{}", key.0, Kind::name(key.1)) == id).then_some(key)
}

/// The sources of a reader's notifications: creators and drops, each after a position, and the
/// reader's own pseudonyms and orders.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    pub creators: Vec<(CatalogueId, Position)>,
    pub drops: Vec<(DropId, Position)>,
    pub buyers: Vec<(DropId, Pseudonym)>,
    pub orders: Vec<OrderId>,
}

/// Follows the engine, after [`Notices`]. Clones share their state.
#[derive(Debug, Clone, Default)]
pub struct Notifications {
    notices: Notices,
    state: Arc<RwLock<State>>,
}

type Keys = BTreeSet<Key>;

#[derive(Debug, Default)]
struct State {
    all: BTreeMap<Key, Arc<Notification>>,
    by_creator: HashMap<CatalogueId, Keys>,
    by_drop: HashMap<DropId, Keys>,
    by_buyer: HashMap<(DropId, Pseudonym), Keys>,
    by_order: HashMap<OrderId, Keys>,
    drops: HashMap<DropId, Announced>,
    position: Position,
    newest_at: Timestamp,
}

/// The terms of a drop that concern its notifications.
#[derive(Debug, Clone, Default)]
pub(crate) struct Announced {
    creator_id: Option<CatalogueId>,
    /// The drop exists for the public.
    is_found: bool,
    has_exact_stock: bool,
    starts_at: Timestamp,
    is_paused: bool,
    /// The start in the present pause, not announced before its end.
    started_in_pause: Option<Timestamp>,
}

impl Announced {
    /// Follows the pauses and the start.
    const fn follow(&mut self, event: &DropEvent) {
        if let DropEvent::DropPaused(_) = event {
            self.is_paused = true;
        } else if let DropEvent::DropResumed(_) = event {
            self.is_paused = false;
            self.started_in_pause = None;
        } else if let DropEvent::DropStarted(event) = event
            && self.is_paused
        {
            self.started_in_pause = Some(event.started_at);
        }
    }

    /// Returns the start that `event` announces: followers are sent "started" when they can buy, so
    /// for a start in a pause at its end.
    fn start_announced_by(&self, event: &DropEvent) -> Option<Timestamp> {
        if let DropEvent::DropStarted(event) = event {
            Some(event.started_at).filter(|_| !self.is_paused)
        } else if let DropEvent::DropResumed(event) = event {
            // An edit in the pause may have moved the start, which is then still to come.
            self.started_in_pause
                .filter(|_| self.starts_at <= event.resumed_at)
        } else {
            None
        }
    }
}

impl Notifications {
    /// Follows the engine with these notices, which observe it first.
    #[must_use]
    pub fn new(notices: Notices) -> Self {
        Self {
            notices,
            state: Arc::default(),
        }
    }

    /// Returns the position up to which all events are applied.
    #[must_use]
    pub fn position(&self) -> Position {
        self.read().position
    }

    /// Returns one notification; `None` if it is not kept any more.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<Arc<Notification>> {
        self.read().all.get(&key).cloned()
    }

    /// Returns at most `most` notifications for a reader, newest first, before `before`. `None` if
    /// the reader has no such notification.
    #[must_use]
    pub fn newest(
        &self,
        sources: &Sources,
        before: Option<Key>,
        most: usize,
        now: Timestamp,
    ) -> Option<Vec<Arc<Notification>>> {
        let state = self.read();
        let oldest = oldest_at(now);
        if let Some(before) = before {
            let known = state.all.get(&before)?;
            (known.recorded_at >= oldest && sources.include(known)).then_some(())?;
        }
        let found = state.before(sources, before, Position(0));
        let found = found.take_while(|found| found.recorded_at >= oldest);
        Some(found.take(most).map(Arc::clone).collect())
    }

    /// Returns the newest `most` notifications for a reader of events after `after`, up to `until`,
    /// oldest first.
    #[must_use]
    pub fn between(
        &self,
        sources: &Sources,
        after: Position,
        until: Position,
        most: usize,
    ) -> Vec<Arc<Notification>> {
        let state = self.read();
        let before = (Position(until.0.saturating_add(1)), Kind::ALL[0]);
        let found = state.before(sources, Some(before), after);
        let mut found: Vec<_> = found.take(most).map(Arc::clone).collect();
        found.reverse();
        found
    }

    /// Returns the notifications of all readers about events after `after`, oldest first; and the
    /// position up to which they are complete.
    #[must_use]
    pub fn since(&self, after: Position) -> (Vec<Arc<Notification>>, Position) {
        let state = self.read();
        let first = (Position(after.0.saturating_add(1)), Kind::ALL[0]);
        let found = state.all.range(first..).map(|(_, found)| Arc::clone(found));
        (found.collect(), state.position)
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn oldest_at(now: Timestamp) -> Timestamp {
    now.plus_millis(-KEPT_DAYS * MILLIS_PER_DAY)
}

impl Sources {
    /// Returns true if the reader is notified.
    fn include(&self, notification: &Notification) -> bool {
        let is_after = |after: Position| notification.position > after;
        match &notification.audience {
            Audience::Drop(drop_id, creator_id) => {
                let mut creators = self.creators.iter();
                let mut drops = self.drops.iter();
                creators.any(|(id, after)| Some(id) == creator_id.as_ref() && is_after(*after))
                    || drops.any(|(id, after)| id == drop_id && is_after(*after))
            }
            Audience::Buyer(drop_id, buyer) => self.buyers.contains(&(*drop_id, *buyer)),
            Audience::Order(order_id) => self.orders.contains(order_id),
        }
    }
}

impl State {
    /// Returns the notifications for a reader of events after `after`, newest first, before
    /// `before`.
    fn before<'a>(
        &'a self,
        sources: &'a Sources,
        before: Option<Key>,
        after: Position,
    ) -> impl Iterator<Item = &'a Arc<Notification>> {
        let until = before.map_or(Bound::Unbounded, Bound::Excluded);
        let keys = move |keys: Option<&'a Keys>, since: Position| {
            let first = (Position(since.max(after).0.saturating_add(1)), Kind::ALL[0]);
            // A range whose start is behind its end would panic.
            let is_empty = before.is_some_and(|before| before <= first);
            let keys = keys.filter(|_| !is_empty);
            let keys = keys.map(|keys| keys.range((Bound::Included(first), until)).rev());
            keys.into_iter().flatten().copied()
        };
        let none = Position(0);
        let creators = sources.creators.iter();
        let creators = creators.map(move |(id, since)| keys(self.by_creator.get(id), *since));
        let drops = sources.drops.iter();
        let drops = drops.map(move |(id, since)| keys(self.by_drop.get(id), *since));
        let buyers = sources.buyers.iter();
        let buyers = buyers.map(move |buyer| keys(self.by_buyer.get(buyer), none));
        let orders = sources.orders.iter();
        let orders = orders.map(move |id| keys(self.by_order.get(id), none));
        let sequences = creators.chain(drops).chain(buyers).chain(orders);
        merged(sequences).filter_map(|key| self.all.get(&key))
    }

    fn add(&mut self, notification: Notification) {
        let key = notification.key();
        match &notification.audience {
            Audience::Drop(drop_id, creator_id) => {
                let keys = self.by_drop.entry(*drop_id).or_default();
                keys.insert(key);
                let surplus = keys.first().filter(|_| keys.len() > MOST_OF_DROP).copied();
                if let Some(id) = creator_id {
                    self.by_creator.entry(id.clone()).or_default().insert(key);
                }
                self.all.insert(key, Arc::new(notification));
                if let Some(surplus) = surplus {
                    self.remove(surplus);
                }
                return;
            }
            Audience::Buyer(drop_id, buyer) => {
                let keys = self.by_buyer.entry((*drop_id, *buyer)).or_default();
                keys.insert(key);
            }
            Audience::Order(order_id) => {
                self.by_order.entry(*order_id).or_default().insert(key);
            }
        }
        self.all.insert(key, Arc::new(notification));
    }

    fn remove(&mut self, key: Key) {
        let Some(notification) = self.all.remove(&key) else {
            return;
        };
        match &notification.audience {
            Audience::Drop(drop_id, creator_id) => {
                take_out(&mut self.by_drop, drop_id, key);
                if let Some(id) = creator_id {
                    take_out(&mut self.by_creator, id, key);
                }
            }
            Audience::Buyer(drop_id, buyer) => {
                take_out(&mut self.by_buyer, &(*drop_id, *buyer), key);
            }
            Audience::Order(order_id) => take_out(&mut self.by_order, order_id, key),
        }
    }

    /// Removes the notifications that `is_stale` names. Reads all: for rare occasions.
    fn remove_where(&mut self, is_stale: impl Fn(&Notification) -> bool) {
        let stale = self.all.iter().filter(|(_, found)| is_stale(found));
        let stale: Vec<Key> = stale.map(|(key, _)| *key).collect();
        for key in stale {
            self.remove(key);
        }
    }

    /// Removes old and surplus notifications.
    fn prune(&mut self) {
        let oldest = oldest_at(self.newest_at);
        while let Some((key, first)) = self.all.first_key_value()
            && (first.recorded_at < oldest || self.all.len() > MOST_KEPT)
        {
            self.remove(*key);
        }
    }

    fn apply(&mut self, recorded: &RecordedEvent, notices: &Notices) {
        if let Some(terms) = terms_in(&recorded.event) {
            let announced = Announced {
                creator_id: terms.creator_id.clone().filter(|_| terms.are_listed()),
                is_found: terms.are_found(),
                has_exact_stock: terms.show_stock == ShowStock::Exact,
                starts_at: terms.starts_at,
                ..self.drops.remove(&recorded.drop_id).unwrap_or_default()
            };
            self.drops.insert(recorded.drop_id, announced);
        }
        let announced = match self.drops.get_mut(&recorded.drop_id) {
            Some(announced) => {
                let before = announced.clone();
                announced.follow(&recorded.event);
                before
            }
            None => Announced::default(),
        };
        for (kind, audience, facts) in of_drop_event(recorded, notices, &announced) {
            self.add(Notification {
                position: recorded.position,
                kind,
                recorded_at: recorded.recorded_at,
                drop_id: Some(recorded.drop_id),
                audience,
                facts,
            });
        }
        self.newest_at = self.newest_at.max(recorded.recorded_at);
    }

    fn apply_order(&mut self, recorded: &RecordedOrderEvent) {
        if let Some((kind, facts)) = of_order_event(&recorded.event) {
            self.add(Notification {
                position: recorded.position,
                kind,
                recorded_at: recorded.recorded_at,
                drop_id: None,
                audience: Audience::Order(recorded.order_id),
                facts,
            });
        }
        self.newest_at = self.newest_at.max(recorded.recorded_at);
    }
}

fn take_out<K: Hash + Eq>(index: &mut HashMap<K, Keys>, at: &K, key: Key) {
    if let Some(keys) = index.get_mut(at) {
        keys.remove(&key);
        if keys.is_empty() {
            index.remove(at);
        }
    }
}

impl Observer for Notifications {
    fn committed(&mut self, committed: &Arc<Committed>) {
        let mut state = self.write();
        for recorded in &committed.orders {
            state.apply_order(recorded);
        }
        for recorded in &committed.events {
            state.apply(recorded, &self.notices);
        }
        state.prune();
        state.position = committed.head.position;
    }

    fn erased(&mut self, erased: &[Erased]) {
        let mut state = self.write();
        for Erased { drop_id, buyer } in erased {
            // The id of an order stands where that of a drop does.
            let order_id = OrderId(drop_id.0);
            let of_buyer = state.by_buyer.get(&(*drop_id, *buyer));
            let of_order = state.by_order.get(&order_id);
            let keys = of_buyer.into_iter().chain(of_order).flatten();
            for key in keys.copied().collect::<HashSet<Key>>() {
                state.remove(key);
            }
        }
    }

    /// Its notifications are in lists again, but streams have passed their positions.
    fn readmitted(&mut self, readmitted: &Readmitted) {
        let mut state = self.write();
        state.remove_where(|found| found.drop_id == Some(readmitted.drop_id));
        for recorded in &readmitted.events {
            state.apply(recorded, &self.notices);
        }
        state.prune();
    }

    fn order_readmitted(&mut self, readmitted: &ReadmittedOrder) {
        let mut state = self.write();
        let of_order = Audience::Order(readmitted.order_id);
        state.remove_where(|found| found.drop_id.is_none() && found.audience == of_order);
        for recorded in &readmitted.events {
            state.apply_order(recorded);
        }
        state.prune();
    }
}
