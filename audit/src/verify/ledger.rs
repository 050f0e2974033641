//! What the log says of drops, kept as an accountant would: by arithmetic that may go wrong where the engine's panics.
//!
//! Promise: a log that is not objected to is one that every engine loads, and in which every rule
//! held: units are conserved and never negative; a hold is resolved at most once, by its buyer, in
//! time; what is sold costs what it cost when it was held; holds are placed while the drop is on
//! sale, for as long and as many units as its terms say, within each buyer's limit and throttle; a
//! place in line is settled at most once; in a cancelled drop nothing happens but what the
//! cancellation brings with it (see [`super::closing`]).
//! Limit: memory grows with drops, with holds that are not resolved and with places that wait, not
//! with the log. What a buyer took in all, and whether an id was used again, is known at the end
//! only. That the line was served in order is not checked.

use std::io;

use domain::DropEvent;
use domain::event::{
    HoldExpired, HoldPlaced, HoldReleased, LeaveCause, PurchaseConfirmed, ReleaseCause,
    WaitlistJoined, WaitlistLeft,
};
use domain::values::{DropId, HoldId, Money, Position, Pseudonym, Sequence, Timestamp, WaitlistId};
use hashbrown::{HashMap, HashSet};
use infrastructure::codec::RecordedEvent;

use super::Check;
use super::account::{Account, on_sale, within_one_hold};
use super::clocks::{ClockSigns, Clocks};
use super::closing::Cancelled;
use super::takings::{Rules, Taking, Takings, Way};
use crate::distinct::{Distinct, Kind, key_within};
use crate::violation::{Fault, Violation, expect};

/// How far the clock of another program may be from the log's, in milliseconds. The engine's own times are exact.
const TOLERANCE: i64 = 60_000;

#[derive(Debug)]
struct OpenHold {
    drop_id: DropId,
    buyer: Pseudonym,
    quantity: u32,
    expires_at: Timestamp,
    /// When its placement was recorded.
    recorded_at: Timestamp,
    /// Of one unit.
    price: Money,
    placed: Position,
}

#[derive(Debug)]
struct OpenPlace {
    taken: Position,
    drop_id: DropId,
    hold_id: HoldId,
    buyer: Pseudonym,
    quantity: u32,
}

/// What is no violation, but should be known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    /// Purchases recorded when their holds were over, though decided in time by another program's clock.
    pub late_purchases: u64,
    /// Events decided more than a minute away from when they were recorded, and the first of them.
    pub far: u64,
    /// The first of those.
    pub first_far: Option<Position>,
    /// What tells of wrong clocks.
    pub clocks: ClockSigns,
}

/// Every drop.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    drops: HashMap<DropId, Account>,
    holds: HashMap<HoldId, OpenHold>,
    places: HashMap<WaitlistId, OpenPlace>,
    /// Who waits where: in one place of a drop at most.
    waiting: HashSet<(DropId, Pseudonym)>,
    times: Times,
    clocks: Clocks,
    ids: Distinct,
    takings: Takings,
}

impl Ledger {
    /// Drops that there are.
    pub(super) fn drops(&self) -> usize {
        self.drops.len()
    }

    /// Holds that are not resolved.
    pub(super) fn open_holds(&self) -> usize {
        self.holds.len()
    }

    /// What is to be known of times.
    pub(super) const fn times(&self) -> Times {
        Times {
            clocks: self.clocks.signs,
            ..self.times
        }
    }

    /// Takes the next sequence of a drop's stream.
    pub(super) fn follows(&mut self, drop_id: DropId, sequence: Sequence) -> Check {
        let account = self.drops.entry(drop_id).or_default();
        super::follows(&mut account.sequence, sequence)
    }

    /// Passes over a void event, which keeps its place in the stream.
    pub(super) fn pass_over(&mut self, drop_id: DropId, sequence: Sequence) {
        let account = self.drops.entry(drop_id).or_default();
        account.sequence = account.sequence.max(sequence);
    }

    /// Every drop.
    pub(super) fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.drops.values()
    }

    /// Where open holds of cancelled drops were placed that came before the hold at the place that
    /// `last` returns.
    pub(super) fn open_of_cancelled(
        &self,
        last: fn(&Cancelled) -> Position,
    ) -> impl Iterator<Item = Position> {
        let holds = self.holds.values().map(|hold| (hold.drop_id, hold.placed));
        holds.filter_map(move |(drop_id, at)| self.before(drop_id, at, last))
    }

    /// The same for waitlist entries.
    pub(super) fn waiting_of_cancelled(
        &self,
        last: fn(&Cancelled) -> Position,
    ) -> impl Iterator<Item = Position> {
        let places = self.places.values();
        let places = places.map(|place| (place.drop_id, place.taken));
        places.filter_map(move |(drop_id, at)| self.before(drop_id, at, last))
    }

    fn before(
        &self,
        drop_id: DropId,
        at: Position,
        last: fn(&Cancelled) -> Position,
    ) -> Option<Position> {
        let cancelled = self.drops.get(&drop_id)?.cancelled.as_ref()?;
        (at < last(cancelled)).then_some(at)
    }

    /// Checks what happened to a drop. `is_old` tells that it was stored in a former form, by a program with other rules about
    /// the length of holds.
    pub(super) fn check(&mut self, recorded: &RecordedEvent, is_old: bool) -> Check {
        let drop_id = recorded.drop_id;
        self.note_time(recorded);
        match &recorded.event {
            DropEvent::DropScheduled(event) => {
                let total = i64::from(event.total_stock.get());
                let account = self.drops.entry(drop_id).or_default();
                if account.terms.is_some() {
                    return Err(format!("drop {drop_id} was scheduled twice").into());
                }
                (account.total, account.available) = (total, total);
                account.set_terms(&event.terms)?;
            }
            DropEvent::DropRescheduled(event) => {
                self.open_account(drop_id)?.set_terms(&event.terms)?;
            }
            DropEvent::DropCancelled(event) => {
                let cancelled = Cancelled::at(event.cancelled_at);
                self.open_account(drop_id)?.cancelled = Some(cancelled);
            }
            DropEvent::HoldPlaced(event) => self.placed(recorded, event, is_old)?,
            DropEvent::HoldExpired(event) => self.expired(recorded, event)?,
            DropEvent::HoldReleased(event) => self.released(recorded, event)?,
            DropEvent::PurchaseConfirmed(event) => self.purchased(recorded, event)?,
            DropEvent::StockAdjusted(event) => self.open_account(drop_id)?.adjusted(event)?,
            DropEvent::WaitlistJoined(event) => self.joined(recorded, event)?,
            DropEvent::WaitlistLeft(event) => self.left(drop_id, event)?,
        }
        self.account(drop_id)?.check_units()
    }

    /// Keeps what can be judged at the end only.
    ///
    /// # Errors
    /// When a scratch file cannot be written.
    pub(super) fn keep(&mut self, recorded: &RecordedEvent) -> io::Result<()> {
        let (drop_id, position) = (recorded.drop_id, recorded.position);
        if let Some(key) = recorded.event.key() {
            self.ids
                .add(Kind::Key, key_within(drop_id, key), position)?;
        }
        match &recorded.event {
            DropEvent::HoldPlaced(event) => {
                self.ids.add(Kind::Hold, event.hold_id, position)?;
                let way = match event.waitlist_entry {
                    Some(_) => Way::Offered,
                    None => Way::Asked,
                };
                self.keep_taking(recorded, way, event.quantity.get(), event.placed_at)
            }
            DropEvent::PurchaseConfirmed(event) => {
                self.ids.add(Kind::Purchase, event.purchase_id, position)
            }
            DropEvent::StockAdjusted(event) => {
                self.ids
                    .add(Kind::Adjustment, event.adjustment_id, position)
            }
            DropEvent::WaitlistJoined(event) => {
                self.ids.add(Kind::Place, event.entry_id, position)?;
                self.keep_taking(recorded, Way::Joined, event.quantity.get(), event.joined_at)
            }
            DropEvent::HoldExpired(event) => {
                let at = event.expired_at;
                self.keep_taking(recorded, Way::GivenBack, event.quantity.get(), at)
            }
            DropEvent::HoldReleased(event) => {
                let at = event.released_at;
                self.keep_taking(recorded, Way::GivenBack, event.quantity.get(), at)
            }
            DropEvent::DropScheduled(_)
            | DropEvent::DropRescheduled(_)
            | DropEvent::DropCancelled(_)
            | DropEvent::WaitlistLeft(_) => Ok(()),
        }
    }

    fn keep_taking(
        &mut self,
        recorded: &RecordedEvent,
        way: Way,
        units: u32,
        at: Timestamp,
    ) -> io::Result<()> {
        let drop_id = recorded.drop_id;
        let watched = self
            .drops
            .get(&drop_id)
            .filter(|account| account.is_watched);
        let Some((account, buyer)) = watched.zip(recorded.event.buyer()) else {
            return Ok(());
        };
        let rules = account.terms.as_ref().map(Rules::of).unwrap_or_default();
        self.takings.add(Taking {
            drop_id,
            buyer,
            position: recorded.position,
            way,
            units,
            at,
            rules,
        })
    }

    /// Judges what was kept: the first id that was used again, and the first buyer who took too much.
    ///
    /// # Errors
    /// When a scratch file cannot be read.
    pub(super) fn judge_kept(self) -> io::Result<Vec<Violation>> {
        let repeat = self.ids.first_repeat()?;
        let repeat = repeat.map(|repeat| Violation::at(repeat.position, repeat.to_string()));
        let excess = self.takings.first_excess()?;
        let excess = excess.map(|(taking, fault)| Violation {
            stream: Some(taking.drop_id.to_string()),
            ..fault.at(taking.position)
        });
        Ok(repeat.into_iter().chain(excess).collect())
    }

    fn note_time(&mut self, recorded: &RecordedEvent) {
        let Some(decided_at) = recorded.event.decided_at() else {
            return;
        };
        let apart = recorded.recorded_at.millis() - decided_at.millis();
        if apart.abs() > TOLERANCE {
            self.times.far += 1;
            self.times.first_far.get_or_insert(recorded.position);
        }
    }

    fn placed(&mut self, recorded: &RecordedEvent, event: &HoldPlaced, is_old: bool) -> Check {
        let drop_id = recorded.drop_id;
        let quantity = event.quantity.get();
        if self.holds.contains_key(&event.hold_id) {
            return Err(format!("hold {} was placed twice", event.hold_id).into());
        }
        if let Some(entry_id) = event.waitlist_entry {
            let place = self.settle(entry_id, drop_id, event.buyer, quantity)?;
            expect("hold of the place", place.hold_id, event.hold_id)?;
        }
        let account = self.open_account(drop_id)?;
        account.available -= i64::from(quantity);
        account.held += i64::from(quantity);
        account.open += 1;
        // That more is held than there is says more than how it came about.
        account.check_units()?;
        let terms = account.terms()?;
        on_sale(terms, event.placed_at)?;
        within_one_hold(terms, quantity)?;
        if !is_old {
            let over_at = event.placed_at.plus_seconds(terms.hold_seconds.get());
            expect("expires_at", over_at, event.expires_at)?;
        }
        let hold = OpenHold {
            drop_id,
            buyer: event.buyer,
            quantity,
            expires_at: event.expires_at,
            recorded_at: recorded.recorded_at,
            price: terms.price,
            placed: recorded.position,
        };
        self.holds.insert(event.hold_id, hold);
        Ok(())
    }

    fn expired(&mut self, recorded: &RecordedEvent, event: &HoldExpired) -> Check {
        let hold = self.resolve(
            event.hold_id,
            recorded.drop_id,
            event.buyer,
            event.quantity.get(),
        )?;
        expect("expired_at", hold.expires_at, event.expired_at)?;
        if recorded.recorded_at < hold.expires_at {
            return Err(format!(
                "hold {} expired at {}, before its time, {}",
                event.hold_id, recorded.recorded_at, hold.expires_at
            )
            .into());
        }
        if let Some(cancelled) = &mut self.account(recorded.drop_id)?.cancelled {
            cancelled.expired(event.expired_at, hold.placed)?;
        }
        self.clocks
            .expired(recorded.position, recorded.recorded_at, hold.expires_at);
        self.give_back(&hold)
    }

    fn released(&mut self, recorded: &RecordedEvent, event: &HoldReleased) -> Check {
        let hold = self.resolve(
            event.hold_id,
            recorded.drop_id,
            event.buyer,
            event.quantity.get(),
        )?;
        let by_cancelling = event.cause == ReleaseCause::DropCancelled;
        // A cancellation ends a hold when it is recorded; that it has ended may be recorded at any
        // time after.
        let recorded_at = match by_cancelling {
            true => event.released_at,
            false => recorded.recorded_at,
        };
        in_time(
            &hold,
            event.hold_id,
            "released",
            event.released_at,
            recorded_at,
        )?;
        let account = self.account(recorded.drop_id)?;
        account.check_cause(by_cancelling)?;
        if let Some(cancelled) = &mut account.cancelled {
            cancelled.released(event.released_at, hold.placed)?;
        }
        self.give_back(&hold)
    }

    fn purchased(&mut self, recorded: &RecordedEvent, event: &PurchaseConfirmed) -> Check {
        let hold = self.resolve(
            event.hold_id,
            recorded.drop_id,
            event.buyer,
            event.quantity.get(),
        )?;
        in_time(
            &hold,
            event.hold_id,
            "purchased",
            event.purchased_at,
            recorded.recorded_at,
        )?;
        self.times.late_purchases += u64::from(recorded.recorded_at >= hold.expires_at);
        self.clocks
            .purchased(recorded.position, recorded.recorded_at, hold.recorded_at);
        let amount = hold.price.amount.checked_mul(i64::from(hold.quantity));
        let total = Money {
            amount: amount.ok_or_else(|| Fault::from("the total is too large".to_owned()))?,
            currency: hold.price.currency,
        };
        expect("total", written(total), written(event.total))?;
        let account = self.open_account(recorded.drop_id)?;
        account.held -= i64::from(hold.quantity);
        account.sold += i64::from(hold.quantity);
        Ok(())
    }

    fn joined(&mut self, recorded: &RecordedEvent, event: &WaitlistJoined) -> Check {
        let drop_id = recorded.drop_id;
        let account = self.open_account(drop_id)?;
        let terms = account.terms()?;
        on_sale(terms, event.joined_at)?;
        within_one_hold(terms, event.quantity.get())?;
        account.waiting += 1;
        let place = OpenPlace {
            taken: recorded.position,
            drop_id,
            hold_id: event.hold_id,
            buyer: event.buyer,
            quantity: event.quantity.get(),
        };
        if self.places.insert(event.entry_id, place).is_some() {
            return Err(format!("place {} was taken twice", event.entry_id).into());
        }
        if !self.waiting.insert((drop_id, event.buyer)) {
            return Err(format!("buyer {} waits in two places", event.buyer).into());
        }
        Ok(())
    }

    fn left(&mut self, drop_id: DropId, event: &WaitlistLeft) -> Check {
        let place = self.settle(event.entry_id, drop_id, event.buyer, event.quantity.get())?;
        let by_cancelling = event.cause == LeaveCause::DropCancelled;
        let account = self.account(drop_id)?;
        account.check_cause(by_cancelling)?;
        match &mut account.cancelled {
            Some(cancelled) => cancelled.removed(event.left_at, place.taken),
            None => Ok(()),
        }
    }

    /// The place, which waited until now.
    fn settle(
        &mut self,
        entry_id: WaitlistId,
        drop_id: DropId,
        buyer: Pseudonym,
        quantity: u32,
    ) -> Result<OpenPlace, Fault> {
        let place = self.places.remove(&entry_id).ok_or_else(|| {
            format!("place {entry_id} is settled, but it does not wait: it was never taken, or settled before")
        })?;
        expect("drop of the place", place.drop_id, drop_id)?;
        expect("buyer of the place", place.buyer, buyer)?;
        expect("quantity of the place", place.quantity, quantity)?;
        self.waiting.remove(&(drop_id, buyer));
        self.account(drop_id)?.waiting -= 1;
        Ok(place)
    }

    /// The hold, which was open until now.
    fn resolve(
        &mut self,
        hold_id: HoldId,
        drop_id: DropId,
        buyer: Pseudonym,
        quantity: u32,
    ) -> Result<OpenHold, Fault> {
        let hold = self.holds.remove(&hold_id).ok_or_else(|| {
            format!("hold {hold_id} is resolved, but it is not open: it was never placed, or resolved before")
        })?;
        expect("drop of the hold", hold.drop_id, drop_id)?;
        expect("buyer of the hold", hold.buyer, buyer)?;
        expect("quantity of the hold", hold.quantity, quantity)?;
        self.account(drop_id)?.open -= 1;
        Ok(hold)
    }

    fn give_back(&mut self, hold: &OpenHold) -> Check {
        let account = self.account(hold.drop_id)?;
        account.held -= i64::from(hold.quantity);
        account.available += i64::from(hold.quantity);
        Ok(())
    }

    fn account(&mut self, drop_id: DropId) -> Result<&mut Account, Fault> {
        self.drops
            .get_mut(&drop_id)
            .filter(|account| account.terms.is_some())
            .ok_or_else(|| format!("drop {drop_id} was never scheduled").into())
    }

    /// The drop, in which something happened that cannot happen any more once it is cancelled.
    fn open_account(&mut self, drop_id: DropId) -> Result<&mut Account, Fault> {
        let account = self.account(drop_id)?;
        if account.cancelled.is_some() {
            return Err(format!("drop {drop_id} was cancelled before").into());
        }
        Ok(account)
    }
}

/// That a hold was not over: by the clock of whoever decided, and, give or take what clocks differ, by the log's.
fn in_time(
    hold: &OpenHold,
    hold_id: HoldId,
    what: &str,
    at: Timestamp,
    recorded_at: Timestamp,
) -> Check {
    let over_at = hold.expires_at;
    if at >= over_at {
        return Err(
            format!("hold {hold_id} was {what} at {at}, but it was over at {over_at}").into(),
        );
    }
    if recorded_at.millis() >= over_at.millis() + TOLERANCE {
        return Err(format!(
            "that hold {hold_id} was {what} was recorded at {recorded_at}, more than a minute after it was over at {over_at}"
        )
        .into());
    }
    Ok(())
}

fn written(money: Money) -> String {
    format!("{} {}", money.amount, money.currency.code())
}
