//! Invariants of every log that a simulation produces. Units are counted without domain code, so
//! that a mistake there cannot hide itself here.

mod responses;

use std::collections::{BTreeMap, BTreeSet};

use domain::event::{LeaveCause, ReleaseCause};
use domain::private::Private;
use domain::values::{
    DropId, HoldId, KeyDigest, Position, Pseudonym, PurchaseId, Quantity, Sequence, Timestamp,
    WaitlistId,
};
use domain::{DropAggregate, DropEvent};
use engine::SaleChange;
use infrastructure::codec::RecordedEvent;
use infrastructure::log::StoredEvent;

use self::responses::{
    acknowledged_payment_is_recorded, decided_at_the_right_time, refusal_was_true,
    rejected_requests_were_not_recorded, response_is_in_the_log,
};
use super::client::SentRequest;
use super::fleet::Life;
use super::groups::Groups;
use super::pauses::Pauses;
use super::tally::Tally;
use super::waitlist::Waitlists;
use super::{World, orders};
use crate::support::build::{LONGEST_HOLD, assert_is_chain, decoded};
use crate::support::request::Request;

/// Panics at the first broken invariant of this log.
pub fn everything(world: &World, stored: &[StoredEvent], lives: &[Life]) {
    assert_is_chain(stored);
    sequences_are_dense(stored);
    let events = decoded(stored);
    let ledger = Ledger::of(&events);
    ledger.nothing_is_overdue();
    ledger.no_entry_waits_for_available_units();
    aggregates_agree(&events, &ledger);
    buyers_keep_their_pseudonyms(&events);
    let sent = world.sent.lock().unwrap();
    let recorded = Recorded::of(&events, &world.stock.lock().unwrap());
    for sent in sent.iter() {
        response_is_in_the_log(sent, &ledger, &events);
        refusal_was_true(sent, &ledger, &events);
        acknowledged_payment_is_recorded(sent, &ledger, &events);
        decided_at_the_right_time(sent);
    }
    keys_identify_one_result(&sent, &recorded);
    rejected_requests_were_not_recorded(&sent, &recorded);
    for life in lives {
        followed_the_log(life, stored, &events);
    }
    orders::check(world, stored, &events, lives);
    world.count(|tally| count(tally, &events));
    world.count(|tally| tally.in_groups += ledger.groups.events());
}

fn sequences_are_dense(stored: &[StoredEvent]) {
    let mut last = BTreeMap::<_, Sequence>::new();
    for event in stored {
        let stream = (event.aggregate_type.to_string(), event.aggregate_id.clone());
        let last = last.entry(stream).or_default();
        *last = last.next();
        assert_eq!(event.sequence, *last, "at {}", event.position);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Purchased,
    Released,
    Expired,
}

#[derive(Debug)]
struct HoldRow {
    drop_id: DropId,
    placed: Position,
    units: i64,
    placed_at: Timestamp,
    expires_at: Timestamp,
    end: Option<End>,
    purchase: Option<PurchaseId>,
    /// Units that were refunded.
    refunded: i64,
}

impl HoldRow {
    /// The request arrived while the hold lasted, and was recorded then or later.
    fn was_in_time(&self, sent_at: Timestamp, recorded_at: Timestamp) {
        assert!(sent_at >= self.placed_at, "before the hold was placed");
        assert!(sent_at < self.expires_at, "when the hold was over");
        assert!(sent_at <= recorded_at, "recorded before it was sent");
    }
}

/// Units of one drop, counted with plain arithmetic.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Units {
    total: i64,
    held: i64,
    sold: i64,
}

/// An independent account of the whole log.
#[derive(Default)]
struct Ledger {
    units: BTreeMap<DropId, Units>,
    holds: BTreeMap<HoldId, HoldRow>,
    /// After each position at which a drop's units moved: the available units.
    available: BTreeMap<DropId, Vec<(Position, i64)>>,
    scheduled: BTreeMap<DropId, Position>,
    /// The position and time of each drop's cancellation.
    cancelled: BTreeMap<DropId, (Position, Timestamp)>,
    resolved: BTreeMap<HoldId, Position>,
    waitlists: Waitlists,
    pauses: Pauses,
    groups: Groups,
}

impl Ledger {
    fn of(events: &[RecordedEvent]) -> Self {
        let mut ledger = Self::default();
        for recorded in events {
            let before = ledger.available_now(recorded.drop_id);
            ledger.waitlists.enter(recorded, before, &ledger.groups);
            ledger.pauses.enter(recorded);
            ledger.groups.enter(recorded);
            ledger.enter(recorded);
            let units = ledger.units[&recorded.drop_id];
            let available = units.total - units.held - units.sold;
            assert!(
                available >= 0 && units.held >= 0 && units.sold >= 0,
                "oversold at {}: {units:?}",
                recorded.position
            );
            let history = ledger.available.entry(recorded.drop_id).or_default();
            history.push((recorded.position, available));
        }
        ledger
    }

    fn enter(&mut self, recorded: &RecordedEvent) {
        let (drop_id, now) = (recorded.drop_id, recorded.recorded_at);
        let units = self.units.entry(drop_id).or_default();
        match &recorded.event {
            DropEvent::DropScheduled(event) | DropEvent::DropDrafted(event) => {
                units.total = i64::from(event.total_stock.get());
                assert_eq!(event.scheduled_at, now);
                assert!(self.scheduled.insert(drop_id, recorded.position).is_none());
            }
            DropEvent::StockAdjusted(event) => {
                units.total += i64::from(event.delta);
                assert_eq!(event.adjusted_at, now);
                assert_eq!(i64::from(event.stock.total), units.total);
                assert_eq!(i64::from(event.stock.held), units.held);
                assert_eq!(i64::from(event.stock.sold), units.sold);
            }
            DropEvent::HoldPlaced(event) => {
                units.held += i64::from(event.quantity.get());
                assert_eq!(event.placed_at, now);
                let row = HoldRow {
                    drop_id,
                    placed: recorded.position,
                    units: i64::from(event.quantity.get()),
                    placed_at: event.placed_at,
                    expires_at: event.expires_at,
                    end: None,
                    purchase: None,
                    refunded: 0,
                };
                assert!(
                    self.holds.insert(event.hold_id, row).is_none(),
                    "held twice"
                );
            }
            DropEvent::HoldExtended(event) => {
                let row = self.open(event.hold_id, recorded);
                row.was_in_time(event.extended_at, now);
                assert_eq!(event.previous_expires_at, row.expires_at);
                assert!(event.expires_at > row.expires_at, "shortened");
                let longest = row.placed_at.plus_seconds(LONGEST_HOLD);
                assert!(event.expires_at <= longest, "extended too far");
                row.expires_at = event.expires_at;
            }
            DropEvent::HoldChanged(event) => {
                let row = self.open(event.hold_id, recorded);
                row.was_in_time(event.changed_at, now);
                assert_eq!(i64::from(event.previous_quantity.get()), row.units);
                let more = i64::from(event.quantity.get()) - row.units;
                assert_ne!(more, 0, "nothing changed");
                row.units += more;
                self.units.entry(drop_id).or_default().held += more;
            }
            DropEvent::PurchaseConfirmed(event) => {
                let row = self.end(event.hold_id, End::Purchased, recorded);
                row.was_in_time(event.purchased_at, now);
                let units_of_hold = row.units;
                row.purchase = Some(event.purchase_id);
                self.units.entry(drop_id).or_default().sold += units_of_hold;
                assert!(
                    !self.cancelled.contains_key(&drop_id),
                    "sold when cancelled"
                );
            }
            DropEvent::PurchaseRefunded(event) => {
                assert_eq!(event.refunded_at, now);
                let row = self.holds.get_mut(&event.hold_id).expect("a hold");
                assert_eq!(row.drop_id, drop_id);
                assert_eq!(row.purchase, Some(event.purchase_id));
                let back = i64::from(event.quantity.get());
                assert_eq!(event.amount.amount, 19_999 * back);
                row.refunded += back;
                assert!(row.refunded <= row.units, "refunded twice");
                let units = self.units.entry(drop_id).or_default();
                units.sold -= back;
                units.total -= if event.restocked { 0 } else { back };
            }
            DropEvent::HoldReleased(event) => {
                let row = self.end(event.hold_id, End::Released, recorded);
                row.was_in_time(event.released_at, now);
                let cancelled = self.cancelled.get(&drop_id).map(|(_, at)| *at);
                let is_called_off = event.cause == ReleaseCause::DropCancelled;
                assert_eq!(is_called_off, cancelled.is_some());
                assert!(cancelled.is_none_or(|at| event.released_at == at));
            }
            DropEvent::HoldExpired(event) => {
                let row = self.end(event.hold_id, End::Expired, recorded);
                assert_eq!(event.expired_at, row.expires_at, "not on its own deadline");
                assert!(now >= row.expires_at, "expired early");
                let cancelled = self.cancelled.get(&drop_id);
                assert!(cancelled.is_none_or(|(_, at)| event.expired_at <= *at));
            }
            DropEvent::DropCancelled(event) => {
                assert_eq!(event.cancelled_at, now);
                let first = self.cancelled.insert(drop_id, (recorded.position, now));
                assert!(first.is_none(), "cancelled twice");
            }
            DropEvent::DropRescheduled(_)
            | DropEvent::DropStarted(_)
            | DropEvent::DropEnded(_)
            | DropEvent::DropPublished(_)
            | DropEvent::DropPaused(_)
            | DropEvent::DropResumed(_)
            | DropEvent::WaitlistJoined(_)
            | DropEvent::WaitlistLeft(_)
            | DropEvent::CodesCreated(_) => {}
        }
    }

    /// A hold that is changed.
    fn open(&mut self, hold_id: HoldId, recorded: &RecordedEvent) -> &mut HoldRow {
        let is_cancelled = self.cancelled.contains_key(&recorded.drop_id);
        assert!(!is_cancelled, "changed when cancelled");
        let row = self.holds.get_mut(&hold_id).expect("the hold was placed");
        assert_eq!(row.drop_id, recorded.drop_id);
        assert_eq!(row.end, None, "changed when resolved");
        row
    }

    fn available_now(&self, drop_id: DropId) -> i64 {
        let units = self.units.get(&drop_id).copied().unwrap_or_default();
        units.total - units.held - units.sold
    }

    /// Every remaining waitlist entry requests more than is available. A cancelled drop has no
    /// entries.
    fn no_entry_waits_for_available_units(&self) {
        for drop_id in self.units.keys() {
            if self.pauses.is_paused(*drop_id) {
                continue;
            }
            let available = self.available_now(*drop_id);
            let next = self.waitlists.next(*drop_id, available, &self.groups);
            assert_eq!(next, None, "an entry of {drop_id} was not served");
        }
    }

    fn end(&mut self, hold_id: HoldId, end: End, recorded: &RecordedEvent) -> &mut HoldRow {
        let row = self.holds.get_mut(&hold_id).expect("the hold was placed");
        assert_eq!(row.drop_id, recorded.drop_id);
        assert_eq!(row.end, None, "resolved twice, at {}", recorded.position);
        row.end = Some(end);
        self.resolved.insert(hold_id, recorded.position);
        self.units.entry(recorded.drop_id).or_default().held -= row.units;
        row
    }

    /// The simulation ended long after every deadline.
    fn nothing_is_overdue(&self) {
        for (hold_id, row) in &self.holds {
            assert!(
                row.end.is_some(),
                "hold {hold_id} was never resolved: {row:?}"
            );
        }
    }

    /// Every number of available units in a drop within the window.
    fn available_within(&self, drop_id: DropId, (from, to): (Position, Position)) -> BTreeSet<i64> {
        let history = self.available.get(&drop_id).map_or(&[][..], Vec::as_slice);
        let before = history.iter().rev().find(|(position, _)| *position <= from);
        let within = history.iter().filter(|(at, _)| (from..=to).contains(at));
        before.into_iter().chain(within).map(|(_, n)| *n).collect()
    }
}

/// The domain's own account gives the same numbers.
fn aggregates_agree(events: &[RecordedEvent], ledger: &Ledger) {
    let mut drops = BTreeMap::<DropId, DropAggregate>::new();
    for recorded in events {
        let drop = drops.entry(recorded.drop_id).or_default();
        drop.evolve(&recorded.event);
        assert!(drop.stock().is_conserved());
        assert_eq!(drop.sequence(), recorded.sequence);
    }
    for (drop_id, drop) in drops {
        let (stock, units) = (drop.stock(), ledger.units[&drop_id]);
        let found = Units {
            total: stock.total.into(),
            held: stock.held.into(),
            sold: stock.sold.into(),
        };
        assert_eq!(found, units);
    }
}

/// Within a drop, a buyer has one permanent pseudonym, and its personal data matches the commitment
/// in the payload.
fn buyers_keep_their_pseudonyms(events: &[RecordedEvent]) {
    let mut known = BTreeMap::new();
    for recorded in events {
        let commitment = recorded.private.as_ref().map(Private::commitment);
        assert_eq!(recorded.event.commitment(), commitment);
        let buyer_id = recorded
            .private
            .as_ref()
            .and_then(|private| private.buyer_id.as_ref());
        if let (Some(buyer), Some(buyer_id)) = (introduces(&recorded.event), buyer_id) {
            let name = (recorded.drop_id, buyer_id.comparable());
            assert_eq!(*known.entry(name).or_insert(buyer), buyer);
        }
    }
}

/// The buyer whom this event may introduce.
fn introduces(event: &DropEvent) -> Option<Pseudonym> {
    match event {
        DropEvent::HoldPlaced(event) => Some(event.buyer),
        DropEvent::WaitlistJoined(event) => Some(event.buyer),
        DropEvent::DropScheduled(_)
        | DropEvent::DropDrafted(_)
        | DropEvent::DropRescheduled(_)
        | DropEvent::DropStarted(_)
        | DropEvent::DropEnded(_)
        | DropEvent::DropPublished(_)
        | DropEvent::DropPaused(_)
        | DropEvent::DropResumed(_)
        | DropEvent::DropCancelled(_)
        | DropEvent::HoldExtended(_)
        | DropEvent::HoldChanged(_)
        | DropEvent::HoldExpired(_)
        | DropEvent::HoldReleased(_)
        | DropEvent::PurchaseConfirmed(_)
        | DropEvent::PurchaseRefunded(_)
        | DropEvent::StockAdjusted(_)
        | DropEvent::WaitlistLeft(_)
        | DropEvent::CodesCreated(_) => None,
    }
}

/// The log's contents by the requests that caused them.
#[derive(Default)]
struct Recorded {
    keys: BTreeMap<(Option<DropId>, KeyDigest), Vec<Position>>,
    purchases: BTreeMap<HoldId, Vec<PurchaseId>>,
    /// Requests without a key that must have been sent to an engine.
    keyless: BTreeSet<KeylessRequest>,
}

/// A request that needs no key, because it can succeed only once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum KeylessRequest {
    Purchase(HoldId),
    Release(HoldId),
    Extend(HoldId),
    Change(HoldId, Quantity),
    Cancel(DropId),
    Sale(DropId, SaleChange),
    Leave(WaitlistId),
}

impl Recorded {
    fn of(events: &[RecordedEvent], stock: &BTreeSet<Position>) -> Self {
        let mut found = Self::default();
        let ordered = orders::ordered_holds(events);
        let is_ordered = |cause: &KeylessRequest| match cause {
            KeylessRequest::Purchase(hold_id) | KeylessRequest::Extend(hold_id) => {
                ordered.contains(hold_id)
            }
            KeylessRequest::Release(_)
            | KeylessRequest::Change(..)
            | KeylessRequest::Cancel(_)
            | KeylessRequest::Sale(..)
            | KeylessRequest::Leave(_) => false,
        };
        for recorded in events {
            let request_without_key = keyless_cause(recorded)
                .filter(|cause| !stock.contains(&recorded.position) && !is_ordered(cause));
            found.keyless.extend(request_without_key);
            let position = recorded.position;
            let scope = Some(recorded.drop_id);
            let key = match &recorded.event {
                DropEvent::DropScheduled(event) | DropEvent::DropDrafted(event) => {
                    event.key.map(|key| (None, key))
                }
                DropEvent::HoldPlaced(event) => event.key.map(|key| (scope, key)),
                DropEvent::StockAdjusted(event) => event.key.map(|key| (scope, key)),
                DropEvent::PurchaseRefunded(event) => event.key.map(|key| (scope, key)),
                DropEvent::WaitlistJoined(event) => event.key.map(|key| (scope, key)),
                DropEvent::PurchaseConfirmed(event) => {
                    let of_hold = found.purchases.entry(event.hold_id).or_default();
                    of_hold.push(event.purchase_id);
                    None
                }
                DropEvent::HoldReleased(_)
                | DropEvent::DropRescheduled(_)
                | DropEvent::DropStarted(_)
                | DropEvent::DropEnded(_)
                | DropEvent::DropPublished(_)
                | DropEvent::DropPaused(_)
                | DropEvent::DropResumed(_)
                | DropEvent::DropCancelled(_)
                | DropEvent::HoldExtended(_)
                | DropEvent::HoldChanged(_)
                | DropEvent::HoldExpired(_)
                | DropEvent::WaitlistLeft(_)
                | DropEvent::CodesCreated(_) => None,
            };
            if let Some(key) = key {
                found.keys.entry(key).or_default().push(position);
            }
        }
        for (key, positions) in &found.keys {
            assert_eq!(positions.len(), 1, "{key:?} was recorded more than once");
        }
        for (hold_id, purchases) in &found.purchases {
            assert_eq!(purchases.len(), 1, "{hold_id} was bought more than once");
        }
        found
    }
}

fn keyless_cause(recorded: &RecordedEvent) -> Option<KeylessRequest> {
    match &recorded.event {
        DropEvent::PurchaseConfirmed(event) => Some(KeylessRequest::Purchase(event.hold_id)),
        DropEvent::HoldReleased(event) if event.cause == ReleaseCause::Buyer => {
            Some(KeylessRequest::Release(event.hold_id))
        }
        DropEvent::HoldExtended(event) => Some(KeylessRequest::Extend(event.hold_id)),
        DropEvent::HoldChanged(event) => {
            Some(KeylessRequest::Change(event.hold_id, event.quantity))
        }
        DropEvent::DropCancelled(_) => Some(KeylessRequest::Cancel(recorded.drop_id)),
        DropEvent::DropPublished(_) => Some(KeylessRequest::Sale(
            recorded.drop_id,
            SaleChange::Publish(None),
        )),
        DropEvent::DropPaused(_) => Some(KeylessRequest::Sale(recorded.drop_id, SaleChange::Pause)),
        DropEvent::DropResumed(_) => {
            Some(KeylessRequest::Sale(recorded.drop_id, SaleChange::Resume))
        }
        DropEvent::WaitlistLeft(event) if event.cause == LeaveCause::Buyer => {
            Some(KeylessRequest::Leave(event.entry_id))
        }
        DropEvent::WaitlistLeft(_)
        | DropEvent::WaitlistJoined(_)
        | DropEvent::HoldReleased(_)
        | DropEvent::DropScheduled(_)
        | DropEvent::DropDrafted(_)
        | DropEvent::DropRescheduled(_)
        | DropEvent::DropStarted(_)
        | DropEvent::DropEnded(_)
        | DropEvent::HoldPlaced(_)
        | DropEvent::HoldExpired(_)
        | DropEvent::PurchaseRefunded(_)
        | DropEvent::StockAdjusted(_)
        | DropEvent::CodesCreated(_) => None,
    }
}

fn keyless_request(request: &Request) -> Option<KeylessRequest> {
    match request {
        Request::ConfirmPurchase { hold_id, .. } => Some(KeylessRequest::Purchase(*hold_id)),
        Request::ReleaseHold { hold_id } => Some(KeylessRequest::Release(*hold_id)),
        Request::ExtendHold { hold_id, .. } => Some(KeylessRequest::Extend(*hold_id)),
        Request::ChangeHold { hold_id, quantity } => {
            Some(KeylessRequest::Change(*hold_id, *quantity))
        }
        Request::CancelDrop { drop_id } => Some(KeylessRequest::Cancel(*drop_id)),
        Request::ChangeSale { drop_id, change } => Some(KeylessRequest::Sale(*drop_id, *change)),
        Request::LeaveWaitlist { entry_id } => Some(KeylessRequest::Leave(*entry_id)),
        Request::JoinWaitlist { .. }
        | Request::ScheduleDrop { .. }
        | Request::RescheduleDrop { .. }
        | Request::AdjustStock { .. }
        | Request::SetStock { .. }
        | Request::RefundPurchase { .. }
        | Request::PlaceHold { .. } => None,
    }
}

fn key_of(request: &Request) -> Option<(Option<DropId>, KeyDigest)> {
    match request {
        Request::ScheduleDrop { key, .. } => key.map(|key| (None, key)),
        Request::PlaceHold { drop_id, key, .. }
        | Request::AdjustStock { drop_id, key, .. }
        | Request::RefundPurchase { drop_id, key, .. }
        | Request::JoinWaitlist { drop_id, key, .. } => key.map(|key| (Some(*drop_id), key)),
        Request::LeaveWaitlist { .. }
        | Request::SetStock { .. }
        | Request::RescheduleDrop { .. }
        | Request::CancelDrop { .. }
        | Request::ChangeSale { .. }
        | Request::ExtendHold { .. }
        | Request::ChangeHold { .. }
        | Request::ReleaseHold { .. }
        | Request::ConfirmPurchase { .. } => None,
    }
}

/// An event without an id or a key of its own: two nodes that record it at the same millisecond on
/// the same head write the same bytes, and the one whose append got no response treats the other's
/// event as its own, which has the same effect.
fn may_belong_to_any_node(event: &DropEvent) -> bool {
    match event {
        DropEvent::HoldReleased(_)
        | DropEvent::HoldExtended(_)
        | DropEvent::HoldChanged(_)
        | DropEvent::DropCancelled(_)
        | DropEvent::DropRescheduled(_)
        | DropEvent::DropStarted(_)
        | DropEvent::DropEnded(_)
        | DropEvent::DropPublished(_)
        | DropEvent::DropPaused(_)
        | DropEvent::DropResumed(_)
        | DropEvent::WaitlistLeft(_)
        | DropEvent::CodesCreated(_) => true,
        // An offer has the id that was drawn when its entry joined.
        DropEvent::HoldPlaced(event) => event.waitlist_entry.is_some(),
        DropEvent::DropScheduled(_)
        | DropEvent::DropDrafted(_)
        | DropEvent::WaitlistJoined(_)
        | DropEvent::HoldExpired(_)
        | DropEvent::PurchaseConfirmed(_)
        | DropEvent::PurchaseRefunded(_)
        | DropEvent::StockAdjusted(_) => false,
    }
}

/// Retries with the same key get the same result on every node.
fn keys_identify_one_result(sent: &[SentRequest], recorded: &Recorded) {
    let mut earlier = BTreeMap::new();
    for sent in sent {
        let (Some(key), Ok(answer)) = (key_of(&sent.request), &sent.outcome) else {
            continue;
        };
        assert!(
            recorded.keys.contains_key(&key),
            "acknowledged but not in the log"
        );
        let subject = (answer.drop_id, format!("{:?}", answer.subject));
        let before = earlier.entry(key).or_insert_with(|| subject.clone());
        assert_eq!(*before, subject, "{key:?}");
    }
}

/// An engine's observer received every event once, in order, and nothing else.
fn followed_the_log(life: &Life, stored: &[StoredEvent], events: &[RecordedEvent]) {
    let mut expected = events.iter();
    let mut head = Position::default();
    for committed in life.seen.batches() {
        assert!(committed.head.position >= head, "observers went back");
        head = committed.head.position;
        let at = usize::try_from(head.0).unwrap();
        let found = at.checked_sub(1).map(|last| stored[last].head());
        assert_eq!(found.unwrap_or_default(), committed.head);
        for observed in &committed.events {
            assert_eq!(
                expected.next(),
                Some(observed),
                "each event once and in order"
            );
        }
        assert!(
            expected
                .clone()
                .next()
                .is_none_or(|next| next.position > head),
            "skipped one"
        );
    }
    if life.survived {
        assert_eq!(Some(head), stored.last().map(|event| event.position));
    }
}

fn count(tally: &mut Tally, events: &[RecordedEvent]) {
    let mut buyers = BTreeSet::<(DropId, Pseudonym)>::new();
    for recorded in events {
        match &recorded.event {
            DropEvent::HoldPlaced(event) => {
                tally.holds += 1;
                tally.offers += usize::from(event.waitlist_entry.is_some());
                if recorded.private.is_some() && !buyers.insert((recorded.drop_id, event.buyer)) {
                    tally.introductions += 1;
                }
            }
            DropEvent::HoldExtended(_) => tally.extensions += 1,
            DropEvent::HoldChanged(_) => tally.changes += 1,
            DropEvent::PurchaseConfirmed(_) => tally.purchases += 1,
            DropEvent::PurchaseRefunded(_) => tally.refunds += 1,
            DropEvent::HoldReleased(_) => tally.releases += 1,
            DropEvent::HoldExpired(_) => tally.expiries += 1,
            DropEvent::DropCancelled(_) => tally.cancellations += 1,
            DropEvent::StockAdjusted(_) => tally.adjustments += 1,
            DropEvent::DropRescheduled(_) => tally.edits += 1,
            DropEvent::DropStarted(_) => tally.starts += 1,
            DropEvent::WaitlistJoined(_) => tally.joined += 1,
            DropEvent::WaitlistLeft(_) => tally.left += 1,
            DropEvent::DropPublished(_) => tally.publications += 1,
            DropEvent::DropPaused(_) => tally.pauses += 1,
            DropEvent::DropResumed(_) => tally.resumptions += 1,
            DropEvent::DropScheduled(_)
            | DropEvent::DropDrafted(_)
            | DropEvent::DropEnded(_)
            | DropEvent::CodesCreated(_) => {}
        }
    }
}
