//! The accounts of all drops. Plain arithmetic, so that a wrong log is reported where the engine
//! would panic.
//!
//! Promise: every engine can load a log that passes, and every rule held in it: units are conserved
//! and never negative; a hold is resolved at most once, by its buyer, in time; a purchase has the
//! price of its hold; holds are placed while the drop is on sale, for the time and quantity of its
//! terms, and changed in place within them, within each buyer's limit, which the drops of a limit
//! group share, and throttle; access codes are used within their time and number of uses
//! ([`super::codes`]); a waitlist entry is settled at most once; in a cancelled drop only refunds
//! and the consequences of the cancellation follow (see [`super::closing`]); orders are whole
//! ([`orders`]), and their money has one outcome ([`payments`]).
//! Limit: memory grows with drops, codes, unresolved holds and waiting entries, not with the log.
//! Excesses per buyer, excessive refunds and repeated ids are found only at the end. The order
//! in which the waitlist was served is not checked.

mod due;
mod holds;
mod orders;
mod payments;

use std::io;

use domain::DropEvent;
use domain::order::OrderEvent;
use domain::sale::{Sale, SaleFact};
use domain::values::{
    CodeDigest, DropId, HoldId, LimitGroup, Money, OrderId, Position, Pseudonym, RefundId,
    Sequence, Timestamp, WaitlistId,
};
use hashbrown::{HashMap, HashSet};
use infrastructure::codec::{RecordedEvent, RecordedOrderEvent};

use self::orders::Orders;
pub use self::payments::PaymentCounts;
use super::Check;
use super::account::Account;
use super::buyer_actions::{ActionKind, BuyerAction, BuyerActions, Rules, Scope};
use super::clocks::{ClockSigns, Clocks};
use super::closing::Cancelled;
use super::refunds::Refunds;
use crate::distinct::{Distinct, Kind, key_within};
use crate::violation::{Fault, StreamName, Violation, expect};

/// Tolerated difference between another program's clock and the log's, in milliseconds. The
/// engine's own times are exact.
const TOLERANCE: i64 = 60_000;

#[derive(Debug)]
struct OpenHold {
    drop_id: DropId,
    buyer: Pseudonym,
    quantity: u32,
    placed_at: Timestamp,
    expires_at: Timestamp,
    /// When the hold was recorded as placed.
    recorded_at: Timestamp,
    /// The price of one unit.
    price: Money,
    placed: Position,
    /// The order that it belongs to.
    order_id: Option<OrderId>,
    /// It replaces an expired hold of the order, which was paid late.
    is_late: bool,
    code: Option<CodeDigest>,
}

#[derive(Debug)]
struct OpenEntry {
    joined: Position,
    drop_id: DropId,
    hold_id: HoldId,
    buyer: Pseudonym,
    quantity: u32,
    code: Option<CodeDigest>,
}

/// Observations about times that are not violations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    /// Purchases recorded after their hold's deadline, although decided in time by another
    /// program's clock.
    pub late_purchases: u64,
    /// Events decided more than a minute away from their recorded time.
    pub far: u64,
    /// The position of the first of those.
    pub first_far: Option<Position>,
    /// Signs of wrong clocks.
    pub clocks: ClockSigns,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    drops: HashMap<DropId, Account>,
    holds: HashMap<HoldId, OpenHold>,
    entries: HashMap<WaitlistId, OpenEntry>,
    /// Waiting buyers; each has at most one entry in a drop.
    waiting: HashSet<(DropId, Pseudonym)>,
    orders: Orders,
    times: Times,
    clocks: Clocks,
    ids: Distinct,
    actions: BuyerActions,
    groups: HashMap<Scope, LimitGroup>,
    refunds: Refunds,
    refund_batch: RefundBatch,
}

/// The refund that was recorded last. Its events of several drops follow each other, with its id.
#[derive(Debug, Default)]
struct RefundBatch {
    id: Option<RefundId>,
    last: Position,
    /// Those of its drops.
    drops: Vec<DropId>,
}

impl RefundBatch {
    fn begin(&mut self, id: RefundId, position: Position) {
        (self.id, self.last) = (Some(id), position);
        self.drops.clear();
    }

    /// Adds an event of a drop. Returns true if it belongs to the same refund as the one before.
    fn goes_on(&mut self, id: RefundId, drop_id: DropId, position: Position) -> bool {
        let is_next = self.id == Some(id) && self.last.next() == position;
        let goes_on = is_next && !self.drops.contains(&drop_id);
        if !goes_on {
            self.begin(id, position);
        }
        self.last = position;
        self.drops.push(drop_id);
        goes_on
    }

    /// Skips a void event.
    fn skip(&mut self, position: Position) {
        if self.last.next() == position {
            self.last = position;
        }
    }
}

impl Ledger {
    pub(super) fn drops(&self) -> usize {
        self.drops.len()
    }

    pub(super) fn open_holds(&self) -> usize {
        self.holds.len()
    }

    /// The observations about times.
    pub(super) const fn times(&self) -> Times {
        Times {
            clocks: self.clocks.signs,
            ..self.times
        }
    }

    /// Checks and takes the next sequence of a drop's stream.
    pub(super) fn follows(&mut self, drop_id: DropId, sequence: Sequence) -> Check {
        let account = self.drops.entry(drop_id).or_default();
        super::follows(&mut account.sequence, sequence)
    }

    /// Skips a void event, which counts in its stream.
    pub(super) fn skip_void(&mut self, drop_id: DropId, sequence: Sequence, position: Position) {
        self.refund_batch.skip(position);
        let account = self.drops.entry(drop_id).or_default();
        account.sequence = account.sequence.max(sequence);
        self.orders.dues.skip(drop_id);
    }

    pub(super) fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.drops.values()
    }

    /// Returns the positions of open holds of cancelled drops that were placed before the position
    /// that `last` returns.
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
        let entries = self.entries.values();
        let entries = entries.map(|entry| (entry.drop_id, entry.joined));
        entries.filter_map(move |(drop_id, at)| self.before(drop_id, at, last))
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

    /// Checks an event of a drop. `is_old`: it was stored in an old version, by a program with
    /// other rules for the length of holds.
    pub(super) fn check(&mut self, recorded: &RecordedEvent, is_old: bool) -> Check {
        let drop_id = recorded.drop_id;
        self.check_due(recorded)?;
        self.note_time(recorded);
        match &recorded.event {
            DropEvent::DropScheduled(event) | DropEvent::DropDrafted(event) => {
                let total = i64::from(event.total_stock.get());
                let account = self.drops.entry(drop_id).or_default();
                if account.terms.is_some() {
                    return Err(format!("drop {drop_id} was scheduled twice").into());
                }
                (account.total, account.available) = (total, total);
                let is_draft = matches!(recorded.event, DropEvent::DropDrafted(_));
                expect("draft", is_draft, event.terms.draft)?;
                account.set_terms(&event.terms)?;
                if let Some((scope, name)) = account.group.zip(event.terms.limit_group.as_ref()) {
                    self.groups.entry(scope).or_insert_with(|| name.clone());
                }
                account.sale = Some(Sale::scheduled(&event.terms, event.scheduled_at));
            }
            DropEvent::DropRescheduled(event) => {
                let account = self.open_account(drop_id)?;
                expect("draft", account.terms()?.draft, event.terms.draft)?;
                account.set_terms(&event.terms)?;
                let sale = account.sale;
                account.sale =
                    sale.map(|sale| sale.rescheduled(&event.terms, event.rescheduled_at));
            }
            DropEvent::DropPublished(event) => self.open_account(drop_id)?.published(event)?,
            DropEvent::DropPaused(event) => self.open_account(drop_id)?.paused(*event)?,
            DropEvent::DropResumed(_) => self.open_account(drop_id)?.resumed()?,
            DropEvent::DropStarted(event) => {
                let fact = SaleFact::Started(event.started_at);
                self.open_account(drop_id)?
                    .sale_fact(fact, recorded.recorded_at)?;
            }
            DropEvent::DropEnded(event) => {
                let fact = SaleFact::Ended(event.ended_at);
                self.open_account(drop_id)?
                    .sale_fact(fact, recorded.recorded_at)?;
            }
            DropEvent::DropCancelled(event) => {
                if let Some(at) = recorded.event.ends_holds_early(recorded.recorded_at) {
                    let recorded_at = recorded.recorded_at;
                    return Err(format!(
                        "it ends holds at {at}, later than its recording at {recorded_at}"
                    )
                    .into());
                }
                let cancelled = Cancelled::at(event.cancelled_at);
                self.open_account(drop_id)?.cancelled = Some(cancelled);
            }
            DropEvent::HoldPlaced(event) => self.placed(recorded, event, is_old)?,
            DropEvent::HoldExtended(event) => self.extended(recorded, event)?,
            DropEvent::HoldChanged(event) => self.changed(recorded, event)?,
            DropEvent::HoldExpired(event) => self.expired(recorded, event)?,
            DropEvent::HoldReleased(event) => self.released(recorded, event)?,
            DropEvent::PurchaseConfirmed(event) => self.purchased(recorded, event)?,
            DropEvent::PurchaseRefunded(event) => self.account(drop_id)?.refunded(event)?,
            DropEvent::StockAdjusted(event) => self.open_account(drop_id)?.adjusted(event)?,
            DropEvent::WaitlistJoined(event) => self.joined(recorded, event)?,
            DropEvent::WaitlistLeft(event) => self.left(drop_id, event)?,
            DropEvent::CodesCreated(event) => self.open_account(drop_id)?.codes.created(event)?,
        }
        self.account(drop_id)?.check_units()
    }

    /// Keeps the ids of an order's event, which are judged at the end.
    ///
    /// # Errors
    /// When a scratch file cannot be written.
    pub(super) fn keep_order(&mut self, recorded: &RecordedOrderEvent) -> io::Result<()> {
        let position = recorded.position;
        match &recorded.event {
            OrderEvent::OrderPlaced(event) => match event.key {
                Some(key) => {
                    let key = uuid::Uuid::from_bytes(key.bytes());
                    self.ids.add(Kind::OrderKey, key, position)
                }
                None => Ok(()),
            },
            OrderEvent::PaymentStarted(event) => {
                self.ids.add(Kind::Payment, event.payment_id, position)
            }
            OrderEvent::PaymentSucceeded(event) => {
                let intent = uuid::Uuid::from_bytes(event.intent.bytes());
                self.ids.add(Kind::Intent, intent, position)
            }
            OrderEvent::RefundRequested(event) => {
                self.refund_batch.begin(event.refund_id, position);
                self.ids.add(Kind::Refund, event.refund_id, position)
            }
            OrderEvent::OrderPaid(_)
            | OrderEvent::OrderCancelled(_)
            | OrderEvent::OrderExpired(_)
            | OrderEvent::OrderFulfilled(_)
            | OrderEvent::PaymentFailed(_)
            | OrderEvent::PaymentArrivedLate(_)
            | OrderEvent::RefundSettled(_) => Ok(()),
        }
    }

    /// Keeps the facts that are judged at the end.
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
                // The units of a late sale were requested when its order was placed.
                let is_late = event.order_id.is_some_and(|id| self.orders.is_paid(id));
                let kind = match event.waitlist_entry.is_some() || is_late {
                    true => ActionKind::Offered,
                    false => ActionKind::Requested,
                };
                self.keep_action(recorded, kind, event.quantity.get(), event.placed_at)
            }
            DropEvent::PurchaseConfirmed(event) => {
                self.refunds.purchased(recorded, event)?;
                self.ids.add(Kind::Purchase, event.purchase_id, position)
            }
            DropEvent::PurchaseRefunded(event) => {
                if !self
                    .refund_batch
                    .goes_on(event.refund_id, drop_id, position)
                {
                    self.ids.add(Kind::Refund, event.refund_id, position)?;
                }
                self.refunds.refunded(recorded, event)?;
                let at = event.refunded_at;
                self.keep_action(recorded, ActionKind::Returned, event.quantity.get(), at)
            }
            DropEvent::StockAdjusted(event) => {
                self.ids
                    .add(Kind::Adjustment, event.adjustment_id, position)
            }
            DropEvent::WaitlistJoined(event) => {
                self.ids
                    .add(Kind::WaitlistEntry, event.entry_id, position)?;
                self.keep_action(
                    recorded,
                    ActionKind::Joined,
                    event.quantity.get(),
                    event.joined_at,
                )
            }
            DropEvent::HoldChanged(event) => {
                let (units, at) = (event.units_added(), event.changed_at);
                let kind = match units > 0 {
                    true => ActionKind::Added,
                    false => ActionKind::Returned,
                };
                let units = u32::try_from(units.unsigned_abs()).unwrap_or(u32::MAX);
                self.keep_action(recorded, kind, units, at)
            }
            DropEvent::HoldExpired(event) => {
                let at = event.expired_at;
                self.keep_action(recorded, ActionKind::Returned, event.quantity.get(), at)
            }
            DropEvent::HoldReleased(event) => {
                let at = event.released_at;
                self.keep_action(recorded, ActionKind::Returned, event.quantity.get(), at)
            }
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
            | DropEvent::WaitlistLeft(_)
            | DropEvent::CodesCreated(_) => Ok(()),
        }
    }

    fn keep_action(
        &mut self,
        recorded: &RecordedEvent,
        kind: ActionKind,
        units: u32,
        at: Timestamp,
    ) -> io::Result<()> {
        let drop_id = recorded.drop_id;
        let Some((account, buyer)) = self.drops.get(&drop_id).zip(recorded.event.buyer()) else {
            return Ok(());
        };
        let rules = account.terms.as_ref().map(Rules::of).unwrap_or_default();
        let action = BuyerAction {
            scope: Scope::of_drop(drop_id),
            drop_id,
            buyer,
            position: recorded.position,
            kind,
            units,
            at,
            rules,
        };
        let mut of_drop = rules;
        if let Some(scope) = account.group {
            self.actions.add(BuyerAction {
                scope,
                rules: rules.limit(),
                ..action
            })?;
            // The throttle counts the holds of the drop alone.
            of_drop = rules.without_limit();
        }
        match account.has_rules {
            true => self.actions.add(BuyerAction {
                rules: of_drop,
                ..action
            }),
            false => Ok(()),
        }
    }

    /// Where a buyer of this drop has one pseudonym: the drop, or its limit group.
    pub(super) fn scope_of(&self, drop_id: DropId) -> Scope {
        let group = self.drops.get(&drop_id).and_then(|account| account.group);
        group.unwrap_or(Scope::of_drop(drop_id))
    }

    /// Judges the kept facts: returns the first repeated id, the first excess of a buyer, and the
    /// first excessive refund.
    ///
    /// # Errors
    /// When a scratch file cannot be read.
    pub(super) fn judge_kept(self) -> io::Result<Vec<Violation>> {
        let repeat = self.ids.first_repeat()?;
        let repeat = repeat.map(|repeat| Violation::at(repeat.position, repeat.to_string()));
        let excess = self.actions.first_excess(&self.groups)?;
        let excess = excess.map(|(action, fault)| Violation {
            stream: Some(StreamName::of_drop(action.drop_id)),
            ..fault.at(action.position)
        });
        let refunds = self.refunds.first_excess()?;
        Ok(repeat.into_iter().chain(excess).chain(refunds).collect())
    }

    fn note_time(&mut self, recorded: &RecordedEvent) {
        let decided_at = recorded.event.decided_at();
        self.note_decision(decided_at, recorded.recorded_at, recorded.position);
    }

    fn note_decision(
        &mut self,
        decided_at: Option<Timestamp>,
        recorded_at: Timestamp,
        position: Position,
    ) {
        let apart = decided_at.map_or(0, |at| recorded_at.millis() - at.millis());
        if apart.abs() > TOLERANCE {
            self.times.far += 1;
            self.times.first_far.get_or_insert(position);
        }
    }

    fn account(&mut self, drop_id: DropId) -> Result<&mut Account, Fault> {
        self.drops
            .get_mut(&drop_id)
            .filter(|account| account.terms.is_some())
            .ok_or_else(|| format!("drop {drop_id} was never scheduled").into())
    }

    /// The account of a drop, for events that are impossible once it is cancelled.
    fn open_account(&mut self, drop_id: DropId) -> Result<&mut Account, Fault> {
        let account = self.account(drop_id)?;
        if account.cancelled.is_some() {
            return Err(format!("drop {drop_id} was cancelled before").into());
        }
        Ok(account)
    }
}

/// Checks that a hold was not over: by the deciding clock and, within the tolerance, by the log's.
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
            format!("hold {hold_id} was {what} at {at}, but its deadline was {over_at}").into(),
        );
    }
    if recorded_at.millis() >= over_at.millis() + TOLERANCE {
        return Err(format!(
            "hold {hold_id} was recorded as {what} at {recorded_at}, more than a minute after its deadline {over_at}"
        )
        .into());
    }
    Ok(())
}

fn written(money: Money) -> String {
    format!("{} {}", money.amount, money.currency.code())
}
