//! What must be true of every history, however it came to be. Shares no code with the domain where it counts units:
//! a mistake there must not excuse itself here.

use std::collections::{BTreeMap, BTreeSet};

use domain::decide::Subject;
use domain::event::{LeaveCause, ReleaseCause};
use domain::private::Private;
use domain::values::{
    DropId, HoldId, KeyDigest, PaymentReference, Position, Pseudonym, PurchaseId, Sequence,
    Timestamp, WaitlistId,
};
use domain::{DropAggregate, DropEvent, Refusal};
use engine::{CommandError, Request};
use infrastructure::codec::RecordedEvent;
use infrastructure::log::StoredEvent;

use super::World;
use super::client::Asked;
use super::fleet::Life;
use super::line::Lines;
use super::tally::Tally;
use crate::support::build::{assert_is_chain, decoded};

/// Panics at the first promise that this history breaks.
pub fn everything(world: &World, stored: &[StoredEvent], lives: &[Life]) {
    assert_is_chain(stored);
    sequences_are_dense(stored);
    let events = decoded(stored);
    let ledger = Ledger::of(&events);
    ledger.nothing_is_overdue();
    ledger.nobody_waits_for_what_is_there();
    aggregates_agree(&events, &ledger);
    buyers_are_who_they_were(&events);
    let asked = world.asked.lock().unwrap();
    let recorded = Recorded::of(&events, &world.stock.lock().unwrap());
    for asked in asked.iter() {
        answer_is_in_the_log(asked, &ledger, &events);
        refusal_was_true(asked, &ledger, &events);
        no_payment_is_hidden(asked, &ledger, &events);
        decided_at_the_right_time(asked);
    }
    keys_name_one_thing(&asked, &recorded);
    nothing_came_of_what_was_turned_away(&asked, &recorded);
    for life in lives {
        followed_the_log(life, stored, &events);
    }
    world.count(|tally| count(tally, &events));
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
}

impl HoldRow {
    /// Asked for while the hold lasted, and recorded then or later.
    fn was_in_time(&self, asked_at: Timestamp, recorded_at: Timestamp) {
        assert!(asked_at >= self.placed_at, "before the hold was placed");
        assert!(asked_at < self.expires_at, "when the hold was over");
        assert!(asked_at <= recorded_at, "recorded before it was asked");
    }
}

/// Units of one drop, counted with plain arithmetic.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Units {
    total: i64,
    held: i64,
    sold: i64,
}

/// The whole history, accounted for once more.
#[derive(Default)]
struct Ledger {
    units: BTreeMap<DropId, Units>,
    holds: BTreeMap<HoldId, HoldRow>,
    /// After each position at which a drop's units moved: what was available.
    available: BTreeMap<DropId, Vec<(Position, i64)>>,
    scheduled: BTreeMap<DropId, Position>,
    /// Where and when each drop was cancelled.
    cancelled: BTreeMap<DropId, (Position, Timestamp)>,
    resolved: BTreeMap<HoldId, Position>,
    lines: Lines,
}

impl Ledger {
    fn of(events: &[RecordedEvent]) -> Self {
        let mut ledger = Self::default();
        for recorded in events {
            let before = ledger.available_now(recorded.drop_id);
            ledger.lines.enter(recorded, before);
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
            DropEvent::DropScheduled(event) => {
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
                };
                assert!(
                    self.holds.insert(event.hold_id, row).is_none(),
                    "held twice"
                );
            }
            DropEvent::PurchaseConfirmed(event) => {
                let row = self.end(event.hold_id, End::Purchased, recorded);
                row.was_in_time(event.purchased_at, now);
                let units_of_hold = row.units;
                self.units.entry(drop_id).or_default().sold += units_of_hold;
                assert!(
                    !self.cancelled.contains_key(&drop_id),
                    "sold when cancelled"
                );
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
                assert_eq!(event.expired_at, row.expires_at, "on its own deadline");
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
            | DropEvent::WaitlistJoined(_)
            | DropEvent::WaitlistLeft(_) => {}
        }
    }

    fn available_now(&self, drop_id: DropId) -> i64 {
        let units = self.units.get(&drop_id).copied().unwrap_or_default();
        units.total - units.held - units.sold
    }

    /// Whoever is still in line wants more than there is. A cancelled drop has no line.
    fn nobody_waits_for_what_is_there(&self) {
        for drop_id in self.units.keys() {
            let next = self.lines.next(*drop_id, self.available_now(*drop_id));
            assert_eq!(next, None, "forgotten in the line of {drop_id}");
        }
    }

    fn end(&mut self, hold_id: HoldId, end: End, recorded: &RecordedEvent) -> &HoldRow {
        let row = self
            .holds
            .get_mut(&hold_id)
            .expect("a hold that was placed");
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
            assert!(row.end.is_some(), "hold {hold_id} was forgotten: {row:?}");
        }
    }

    /// Everything that was available in a drop at some position of the window.
    fn available_within(&self, drop_id: DropId, (from, to): (Position, Position)) -> BTreeSet<i64> {
        let history = self.available.get(&drop_id).map_or(&[][..], Vec::as_slice);
        let before = history.iter().rev().find(|(position, _)| *position <= from);
        let within = history.iter().filter(|(at, _)| (from..=to).contains(at));
        before.into_iter().chain(within).map(|(_, n)| *n).collect()
    }
}

/// The domain's own account comes to the same.
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

/// Inside a drop, a buyer is one pseudonym for good, and what is said of them in private is what the payload commits to.
fn buyers_are_who_they_were(events: &[RecordedEvent]) {
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
        | DropEvent::DropRescheduled(_)
        | DropEvent::DropCancelled(_)
        | DropEvent::HoldExpired(_)
        | DropEvent::HoldReleased(_)
        | DropEvent::PurchaseConfirmed(_)
        | DropEvent::StockAdjusted(_)
        | DropEvent::WaitlistLeft(_) => None,
    }
}

/// What the log holds, by what it was asked with.
#[derive(Default)]
struct Recorded {
    keys: BTreeMap<(Option<DropId>, KeyDigest), Vec<Position>>,
    purchases: BTreeMap<HoldId, Vec<PurchaseId>>,
    /// What somebody must have asked an engine for, without a key.
    wishes: BTreeSet<Wish>,
}

/// A request that needs no key, because it can come true only once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wish {
    Purchase(HoldId),
    Release(HoldId),
    Cancel(DropId),
    Leave(WaitlistId),
}

impl Recorded {
    fn of(events: &[RecordedEvent], stock: &BTreeSet<Position>) -> Self {
        let mut found = Self::default();
        for recorded in events {
            let wish = wish_behind(recorded).filter(|_| !stock.contains(&recorded.position));
            found.wishes.extend(wish);
            let position = recorded.position;
            let scope = Some(recorded.drop_id);
            let key = match &recorded.event {
                DropEvent::DropScheduled(event) => event.key.map(|key| (None, key)),
                DropEvent::HoldPlaced(event) => event.key.map(|key| (scope, key)),
                DropEvent::StockAdjusted(event) => event.key.map(|key| (scope, key)),
                DropEvent::WaitlistJoined(event) => event.key.map(|key| (scope, key)),
                DropEvent::PurchaseConfirmed(event) => {
                    let of_hold = found.purchases.entry(event.hold_id).or_default();
                    of_hold.push(event.purchase_id);
                    None
                }
                DropEvent::HoldReleased(_)
                | DropEvent::DropRescheduled(_)
                | DropEvent::DropCancelled(_)
                | DropEvent::HoldExpired(_)
                | DropEvent::WaitlistLeft(_) => None,
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

fn wish_behind(recorded: &RecordedEvent) -> Option<Wish> {
    match &recorded.event {
        DropEvent::PurchaseConfirmed(event) => Some(Wish::Purchase(event.hold_id)),
        DropEvent::HoldReleased(event) if event.cause == ReleaseCause::Buyer => {
            Some(Wish::Release(event.hold_id))
        }
        DropEvent::DropCancelled(_) => Some(Wish::Cancel(recorded.drop_id)),
        DropEvent::WaitlistLeft(event) if event.cause == LeaveCause::Buyer => {
            Some(Wish::Leave(event.entry_id))
        }
        DropEvent::WaitlistLeft(_)
        | DropEvent::WaitlistJoined(_)
        | DropEvent::HoldReleased(_)
        | DropEvent::DropScheduled(_)
        | DropEvent::DropRescheduled(_)
        | DropEvent::HoldPlaced(_)
        | DropEvent::HoldExpired(_)
        | DropEvent::StockAdjusted(_) => None,
    }
}

fn wish_of(request: &Request) -> Option<Wish> {
    match request {
        Request::ConfirmPurchase { hold_id, .. } => Some(Wish::Purchase(*hold_id)),
        Request::ReleaseHold { hold_id } => Some(Wish::Release(*hold_id)),
        Request::CancelDrop { drop_id } => Some(Wish::Cancel(*drop_id)),
        Request::LeaveWaitlist { entry_id } => Some(Wish::Leave(*entry_id)),
        Request::JoinWaitlist { .. }
        | Request::ScheduleDrop { .. }
        | Request::RescheduleDrop { .. }
        | Request::AdjustStock { .. }
        | Request::AskAboutBuyer { .. }
        | Request::PlaceHold { .. } => None,
    }
}

fn key_of(request: &Request) -> Option<(Option<DropId>, KeyDigest)> {
    match request {
        Request::ScheduleDrop { key, .. } => key.map(|key| (None, key)),
        Request::PlaceHold { drop_id, key, .. }
        | Request::AdjustStock { drop_id, key, .. }
        | Request::JoinWaitlist { drop_id, key, .. } => key.map(|key| (Some(*drop_id), key)),
        Request::LeaveWaitlist { .. }
        | Request::RescheduleDrop { .. }
        | Request::CancelDrop { .. }
        | Request::AskAboutBuyer { .. }
        | Request::ReleaseHold { .. }
        | Request::ConfirmPurchase { .. } => None,
    }
}

/// An event without an id or a key of its own: two nodes that record it at the same millisecond on the same head write the
/// same bytes, and the one that did not hear of its append takes the other's for its own, which it is in all but name.
fn may_be_anybodys(event: &DropEvent) -> bool {
    match event {
        DropEvent::HoldReleased(_)
        | DropEvent::DropCancelled(_)
        | DropEvent::DropRescheduled(_)
        | DropEvent::WaitlistLeft(_) => true,
        // An offer has the id that was drawn when its place was taken.
        DropEvent::HoldPlaced(event) => event.waitlist_entry.is_some(),
        DropEvent::DropScheduled(_)
        | DropEvent::WaitlistJoined(_)
        | DropEvent::HoldExpired(_)
        | DropEvent::PurchaseConfirmed(_)
        | DropEvent::StockAdjusted(_) => false,
    }
}

/// What was acknowledged stands in the log, word for word, where the answer said.
fn answer_is_in_the_log(asked: &Asked, ledger: &Ledger, events: &[RecordedEvent]) {
    let Ok(answer) = &asked.outcome else { return };
    for event in answer.events() {
        let at = events.binary_search_by_key(&event.position, |event| event.position);
        assert_eq!(&events[at.expect("acknowledged and not there")], event);
        assert!(
            event.position > asked.window.0 || may_be_anybodys(&event.event),
            "recorded before it was asked: {asked:?}"
        );
    }
    match answer.subject {
        Subject::Drop | Subject::Adjustment(_) | Subject::Buyer(_) => {}
        Subject::Hold(hold_id) | Subject::Purchase(hold_id) => {
            let row = ledger.holds.get(&hold_id).expect("a hold in the log");
            assert!(row.placed <= answer.position());
        }
        Subject::Waitlist(entry_id) => {
            let taken = ledger.lines.taken(entry_id).expect("a place in the log");
            assert!(taken <= answer.position());
        }
    }
}

/// The bound of two seconds, a jump that is not noticed, and the uncertainty of a comparison on a slow log.
const MOST_OFF_MS: i64 = 2_600;

/// Whatever the clocks did meanwhile, nothing was decided at a time that was far from the right one.
fn decided_at_the_right_time(asked: &Asked) {
    let at = match &asked.outcome {
        Ok(answer) => answer.at,
        Err(CommandError::Refused { at, .. }) => *at,
        Err(_) => return,
    };
    let (from, to) = asked.times;
    let possible = from.plus_millis(-MOST_OFF_MS)..=to.plus_millis(MOST_OFF_MS);
    assert!(possible.contains(&at), "{at} {possible:?} {asked:?}");
}

/// A payment that was acknowledged is the one that the purchase was recorded with.
fn no_payment_is_hidden(asked: &Asked, ledger: &Ledger, events: &[RecordedEvent]) {
    let (
        Ok(_),
        Request::ConfirmPurchase {
            hold_id,
            payment_reference: Some(sent),
        },
    ) = (&asked.outcome, &asked.request)
    else {
        return;
    };
    assert_eq!(
        recorded_payment(ledger, events, *hold_id),
        Some(sent),
        "{asked:?}"
    );
}

/// The payment reference that the purchase of a hold was recorded with.
fn recorded_payment<'a>(
    ledger: &Ledger,
    events: &'a [RecordedEvent],
    hold_id: HoldId,
) -> Option<&'a PaymentReference> {
    let bought = ledger.resolved[&hold_id];
    let bought = events.iter().find(|event| event.position == bought)?;
    bought.private.as_ref()?.payment_reference.as_ref()
}

/// A refusal was true at some moment between question and answer.
fn refusal_was_true(asked: &Asked, ledger: &Ledger, events: &[RecordedEvent]) {
    let Err(CommandError::Refused { refusal, .. }) = &asked.outcome else {
        return;
    };
    // A cancellation ends a hold before that is recorded.
    let resolved_as = |hold_id: &HoldId, end: End| {
        let row = &ledger.holds[hold_id];
        assert_eq!(row.end, Some(end), "{asked:?}");
        let cancelled = ledger.cancelled.get(&row.drop_id);
        let cancelled = cancelled.map_or(Position(u64::MAX), |(position, _)| *position);
        ledger.resolved[hold_id].min(cancelled)
    };
    match (refusal, &asked.request) {
        // While offers are to be made, less than is there may be held directly.
        (
            Refusal::SoldOut {
                requested,
                available,
            },
            Request::PlaceHold { drop_id, .. },
        ) => {
            let seen = ledger.available_within(*drop_id, asked.window);
            let most = seen.last().copied().unwrap_or_default();
            assert!(available < requested && i64::from(*available) <= most);
        }
        (Refusal::WaitlistFull { .. }, Request::JoinWaitlist { .. }) => {}
        (Refusal::InsufficientStock { available, .. }, Request::AdjustStock { drop_id, .. }) => {
            let seen = ledger.available_within(*drop_id, asked.window);
            assert!(seen.contains(&i64::from(*available)), "{seen:?} {asked:?}");
        }
        (Refusal::HoldPurchased { .. }, Request::ReleaseHold { hold_id }) => {
            assert!(resolved_as(hold_id, End::Purchased) <= asked.window.1);
        }
        (Refusal::HoldReleased { .. }, Request::ConfirmPurchase { hold_id, .. }) => {
            assert!(resolved_as(hold_id, End::Released) <= asked.window.1);
        }
        (
            Refusal::PaymentReferenceConflict { .. },
            Request::ConfirmPurchase {
                hold_id,
                payment_reference: Some(sent),
            },
        ) => {
            assert!(resolved_as(hold_id, End::Purchased) <= asked.window.1);
            assert_ne!(recorded_payment(ledger, events, *hold_id), Some(sent));
        }
        (
            Refusal::HoldExpired { expired_at },
            Request::ReleaseHold { hold_id } | Request::ConfirmPurchase { hold_id, .. },
        ) => {
            assert_eq!(*expired_at, ledger.holds[hold_id].expires_at);
            assert!(resolved_as(hold_id, End::Expired) <= asked.window.1);
        }
        (Refusal::NotSoldOut { available, .. }, Request::JoinWaitlist { drop_id, .. }) => {
            let seen = ledger.available_within(*drop_id, asked.window);
            let most = seen.last().copied().unwrap_or_default();
            assert!(i64::from(*available) <= most, "{seen:?} {asked:?}");
        }
        (Refusal::AlreadyWaiting { .. }, Request::JoinWaitlist { .. }) => {}
        (Refusal::AlreadyOffered { hold_id }, Request::LeaveWaitlist { .. }) => {
            assert!(ledger.holds[hold_id].placed <= asked.window.1);
        }
        (Refusal::StaleVersion { .. }, Request::RescheduleDrop { .. }) => {}
        (Refusal::Ended { cancelled, .. }, _) => assert!(*cancelled),
        (
            Refusal::DropNotFound | Refusal::HoldNotFound | Refusal::IdempotencyKeyReused,
            Request::PlaceHold { .. }
            | Request::AdjustStock { .. }
            | Request::ScheduleDrop { .. }
            | Request::JoinWaitlist { .. },
        ) => panic!("nobody asks so in this simulation: {asked:?}"),
        other => panic!("a refusal that cannot be: {other:?}"),
    }
}

/// Whoever asks again with the same key is told of the same thing, wherever they ask.
fn keys_name_one_thing(asked: &[Asked], recorded: &Recorded) {
    let mut told = BTreeMap::new();
    for asked in asked {
        let (Some(key), Ok(answer)) = (key_of(&asked.request), &asked.outcome) else {
            continue;
        };
        assert!(
            recorded.keys.contains_key(&key),
            "acknowledged and not there"
        );
        let subject = (answer.drop_id, format!("{:?}", answer.subject));
        let before = told.entry(key).or_insert_with(|| subject.clone());
        assert_eq!(*before, subject, "{key:?}");
    }
}

/// Unavailable, overloaded and refused mean that nothing was recorded.
fn nothing_came_of_what_was_turned_away(asked: &[Asked], recorded: &Recorded) {
    let may_be_recorded =
        |asked: &Asked| matches!(asked.outcome, Ok(_) | Err(CommandError::Undecided));
    let possible = || asked.iter().filter(|asked| may_be_recorded(asked));
    let keys: BTreeSet<_> = possible()
        .filter_map(|asked| key_of(&asked.request))
        .collect();
    for key in recorded.keys.keys() {
        assert!(keys.contains(key), "{key:?} was turned away, and recorded");
    }
    let wishes: BTreeSet<_> = possible()
        .filter_map(|asked| wish_of(&asked.request))
        .collect();
    for wish in &recorded.wishes {
        assert!(
            wishes.contains(wish),
            "{wish:?} was turned away, and recorded"
        );
    }
}

/// An engine's observer was told of every event once, in order, and of nothing else.
fn followed_the_log(life: &Life, stored: &[StoredEvent], events: &[RecordedEvent]) {
    let mut expected = events.iter();
    let mut head = Position::default();
    for committed in life.seen.batches() {
        assert!(committed.head.position >= head, "followers went back");
        head = committed.head.position;
        let at = usize::try_from(head.0).unwrap();
        let found = at.checked_sub(1).map(|last| stored[last].head());
        assert_eq!(found.unwrap_or_default(), committed.head);
        for told in &committed.events {
            assert_eq!(expected.next(), Some(told), "once and in order");
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
            DropEvent::PurchaseConfirmed(_) => tally.purchases += 1,
            DropEvent::HoldReleased(_) => tally.releases += 1,
            DropEvent::HoldExpired(_) => tally.expiries += 1,
            DropEvent::DropCancelled(_) => tally.cancellations += 1,
            DropEvent::StockAdjusted(_) => tally.adjustments += 1,
            DropEvent::DropRescheduled(_) => tally.edits += 1,
            DropEvent::WaitlistJoined(_) => tally.joined += 1,
            DropEvent::WaitlistLeft(_) => tally.left += 1,
            DropEvent::DropScheduled(_) => {}
        }
    }
}
