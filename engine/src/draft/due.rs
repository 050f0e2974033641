//! Events of a draft that are not a request's own: due work, consequences of a request, and
//! expiries that a request must not wait for.
//!
//! Promise: due work takes at most a share of each batch (see [`Draft::has_share`]), so requests
//! never wait behind a million expiries. Consequences of a request are in the same batch, right
//! after it, up to the same number of events, so a small drop is closed, and a freed unit offered,
//! before any caller gets a response.
//! Limit: the remainder becomes due work and is recorded by later batches.
//!
//! Source: docs/decisions/0029-consequences-are-due-work.md.

use domain::command::{ExpireHold, LeaveWaitlist, ServeWaitlist};
use domain::decide::Decision;
use domain::drop::HoldStatus;
use domain::order::OrderStatus;
use domain::order::pay::PaymentReport;
use domain::values::{
    BuyerId, CodeDigest, DropId, HoldId, IntentDigest, OrderId, Pseudonym, Timestamp,
};
use domain::{DropAggregate, Refusal};

use super::{Draft, Times};
use crate::request::{
    CancelOrder, ChangeHold, ConfirmPurchase, ExtendHold, LookUpBuyer, PlaceHold, PurchaseOrder,
    RecordPayment, ReleaseHold, StartPayment,
};
use crate::state::{DropState, Due, State};
use crate::submission::{AnyRequest, Submitted};

/// Maximum expiries that are recorded ahead of their turn for one request.
const MOST_EXPIRED: usize = 512;
/// A waitlist that requests more units than this is served by due work only, not ahead of a
/// request.
const SHORT_WAITLIST: u64 = 64;

impl Draft {
    /// Reports whether more due work fits, of which a batch takes up to `share` events.
    pub(crate) fn has_share(&self, share: usize) -> bool {
        self.due < share && self.has_room()
    }

    /// Records work that was due by `until`.
    pub(crate) fn record_due(
        &mut self,
        state: &mut State,
        due: Due,
        until: Timestamp,
        now: Timestamp,
    ) {
        self.due += self.record_and_count(state, due, until, now);
    }

    /// Records due work and returns the number of its events: the end of an order has one for each
    /// of its items. Work that finds nothing to do counts as one, because looking takes time too.
    fn record_and_count(
        &mut self,
        state: &mut State,
        due: Due,
        until: Timestamp,
        now: Timestamp,
    ) -> usize {
        let before = self.pending.len();
        self.record(state, due, until, now);
        (self.pending.len() - before).max(1)
    }

    /// Records the consequences of a drop's last event, up to `share` events per batch.
    pub(super) fn follow_up(
        &mut self,
        state: &mut State,
        drop_id: DropId,
        now: Timestamp,
        share: usize,
    ) {
        while self.followed < share
            && self.has_room()
            && let Some(due) = state.consequence(drop_id, now)
        {
            self.followed += self.record_and_count(state, due, now, now);
        }
    }

    /// Records those expiries of a drop that would cause `request` to be refused: they were due
    /// when it arrived and have not had their turn yet.
    pub(super) fn expire_for(&mut self, state: &mut State, request: &AnyRequest, times: Times) {
        match request {
            AnyRequest::PlaceHold(Submitted { request, .. }) => {
                let PlaceHold {
                    drop_id,
                    buyer_id,
                    quantity,
                    pass,
                    ..
                } = request;
                self.expire_in_group(state, *drop_id, buyer_id, times);
                self.expire_for_hold(state, *drop_id, buyer_id, quantity.get(), times);
                self.expire_for_code(state, *drop_id, pass.code, times);
            }
            AnyRequest::PlaceOrder(Submitted { request, .. }) => {
                for line in request.lines() {
                    // The order is decided with the next batch.
                    if !self.has_room() {
                        return;
                    }
                    let (drop_id, units) = (line.drop_id, line.units);
                    self.expire_in_group(state, drop_id, &request.buyer_id, times);
                    self.expire_for_hold(state, drop_id, &request.buyer_id, units, times);
                    let code = request.pass_for(drop_id).code;
                    self.expire_for_code(state, drop_id, code, times);
                }
            }
            AnyRequest::PurchaseOrder(Submitted {
                request: PurchaseOrder { order_id, .. },
                ..
            })
            | AnyRequest::CancelOrder(Submitted {
                request: CancelOrder { order_id },
                ..
            })
            | AnyRequest::StartPayment(Submitted {
                request: StartPayment { order_id, .. },
                ..
            }) => self.expire_order(state, *order_id, times),
            AnyRequest::RecordPayment(Submitted { request, .. }) => {
                self.expire_order(state, request.order_id, times);
                self.expire_for_late_payment(state, request, times);
            }
            AnyRequest::AdjustStock(Submitted { request, .. }) => {
                self.expire_for_adjustment(state, request.drop_id, request.delta.into(), times);
            }
            AnyRequest::SetStock(Submitted { request, .. }) => {
                let present = state.drop(request.drop_id);
                let present = present.map_or(0, |drop| drop.aggregate.stock().total);
                let delta = i64::from(request.total.get()) - i64::from(present);
                self.expire_for_adjustment(state, request.drop_id, delta, times);
            }
            AnyRequest::JoinWaitlist(Submitted { request, .. }) => {
                let drop_id = request.drop_id;
                self.expire_in_group(state, drop_id, &request.buyer_id, times);
                if state.may_be_overdue(drop_id, times.arrived) {
                    self.expire_of_buyer(state, drop_id, &request.buyer_id, times);
                }
                self.expire_for_code(state, drop_id, request.pass.code, times);
            }
            AnyRequest::LookUpBuyer(Submitted {
                request: LookUpBuyer {
                    drop_id, buyer_id, ..
                },
                ..
            }) => {
                self.expire_in_group(state, *drop_id, buyer_id, times);
                if state.may_be_overdue(*drop_id, times.arrived) {
                    self.expire_of_buyer(state, *drop_id, buyer_id, times);
                }
            }
            AnyRequest::ChangeHold(Submitted { request, .. }) => {
                self.expire_for_change(state, request, times);
            }
            // A refusal because a hold has expired must rest on a recorded expiry: otherwise
            // another node, with a clock behind ours, could still sell the hold.
            AnyRequest::ReleaseHold(Submitted {
                request: ReleaseHold { hold_id },
                ..
            })
            | AnyRequest::ExtendHold(Submitted {
                request: ExtendHold { hold_id, .. },
                ..
            })
            | AnyRequest::ConfirmPurchase(Submitted {
                request: ConfirmPurchase { hold_id, .. },
                ..
            }) => {
                self.expire_hold(state, *hold_id, times);
            }
            AnyRequest::ScheduleDrop(_)
            | AnyRequest::RescheduleDrop(_)
            | AnyRequest::ChangeSale(_)
            | AnyRequest::CancelDrop(_)
            | AnyRequest::RefundPurchase(_)
            | AnyRequest::FulfilOrder(_)
            | AnyRequest::RefundOrder(_)
            | AnyRequest::SettleRefund(_)
            | AnyRequest::CreateCodes(_)
            | AnyRequest::LeaveWaitlist(_) => {}
        }
    }

    /// A late payment may buy the items of an expired order, as a new order may hold them.
    fn expire_for_late_payment(
        &mut self,
        state: &mut State,
        request: &RecordPayment,
        times: Times,
    ) {
        let order = state.orders.get(request.order_id);
        let order = order.map(|order| &order.aggregate);
        let intent = IntentDigest::new(&request.provider, &request.reference);
        let Some(order) = order.filter(|order| {
            order.progress().status == OrderStatus::Expired
                && order.payments().success(intent).is_none()
                && matches!(request.report, PaymentReport::Succeeded { .. })
        }) else {
            return;
        };
        for item in order.items().to_vec() {
            // The payment is decided with the next batch.
            if !self.has_room() {
                return;
            }
            let (drop_id, units) = (item.drop_id, item.quantity.get());
            let found = state.drop(drop_id).and_then(|drop| {
                let hold = drop.aggregate.hold(item.hold_id)?;
                let code = drop.aggregate.code_of(hold.id);
                Some((drop.aggregate.buyer_of(&hold), code))
            });
            let Some((buyer, code)) = found else { continue };
            self.expire_in_others(state, drop_id, buyer, times);
            if state.may_be_overdue(drop_id, times.arrived) {
                self.expire_overdue_of(state, drop_id, buyer, times);
                self.expire_for_units(state, drop_id, units, times);
                self.expire_for_code(state, drop_id, code, times);
            }
        }
    }

    fn expire_for_hold(
        &mut self,
        state: &mut State,
        drop_id: DropId,
        buyer_id: &BuyerId,
        units: u32,
        times: Times,
    ) {
        if !state.may_be_overdue(drop_id, times.arrived) {
            return;
        }
        self.expire_of_buyer(state, drop_id, buyer_id, times);
        self.expire_for_units(state, drop_id, units, times);
    }

    fn expire_for_change(&mut self, state: &mut State, request: &ChangeHold, times: Times) {
        let hold_id = request.hold_id;
        self.expire_hold(state, hold_id, times);
        let found = state.drop_of(hold_id).and_then(|drop| {
            let hold = drop.aggregate.hold(hold_id)?;
            let more = request.quantity.get().checked_sub(hold.quantity.get())?;
            let is_held = hold.status == HoldStatus::Held;
            is_held.then(|| (drop.id, drop.aggregate.buyer_of(&hold), more))
        });
        let Some((drop_id, buyer, more)) = found.filter(|(.., more)| *more > 0) else {
            return;
        };
        self.expire_in_others(state, drop_id, buyer, times);
        if state.may_be_overdue(drop_id, times.arrived) {
            self.expire_overdue_of(state, drop_id, buyer, times);
            self.expire_for_units(state, drop_id, more, times);
        }
    }

    /// Lets a drop know the units of a buyer in the other drops of its limit group, after the
    /// expired holds there are recorded: they count towards the limit per buyer as well.
    fn expire_in_group(
        &mut self,
        state: &mut State,
        drop_id: DropId,
        buyer_id: &BuyerId,
        times: Times,
    ) {
        if let Some(buyer) = state.brief(drop_id, buyer_id) {
            self.expire_in_others(state, drop_id, buyer, times);
        }
    }

    fn expire_in_others(
        &mut self,
        state: &mut State,
        drop_id: DropId,
        buyer: Pseudonym,
        times: Times,
    ) {
        for other in state.taken_in_others(drop_id, buyer) {
            if state.may_be_overdue(other, times.arrived) {
                self.expire_overdue_of(state, other, buyer, times);
            }
        }
    }

    /// Records expired holds of a drop until `units` may be held directly.
    fn expire_for_units(&mut self, state: &mut State, drop_id: DropId, units: u32, times: Times) {
        let lacks = |drop: &DropState| {
            drop.aggregate.available_for_direct_holds(times.now) < units
                && drop.aggregate.waitlist().wanted() <= SHORT_WAITLIST
        };
        self.expire_while(state, drop_id, times, lacks);
    }

    /// Records expired holds of a drop until the code has a use left, if it is spent.
    fn expire_for_code(
        &mut self,
        state: &mut State,
        drop_id: DropId,
        code: Option<CodeDigest>,
        times: Times,
    ) {
        let Some(code) = code.filter(|_| state.may_be_overdue(drop_id, times.arrived)) else {
            return;
        };
        let is_spent = |drop: &DropState| {
            let known = drop.aggregate.codes().find(code);
            known.is_some_and(|known| known.left == 0)
        };
        self.expire_while(state, drop_id, times, is_spent);
    }

    fn expire_for_adjustment(
        &mut self,
        state: &mut State,
        drop_id: DropId,
        delta: i64,
        times: Times,
    ) {
        if delta < 0 && state.may_be_overdue(drop_id, times.arrived) {
            let units = delta.unsigned_abs();
            let lacks = |drop: &DropState| u64::from(drop.aggregate.stock().available) < units;
            self.expire_while(state, drop_id, times, lacks);
        }
    }

    /// Ends an order whose deadline has passed, or of which a drop was cancelled: as for a hold, a
    /// refusal must rest on the recorded end.
    fn expire_order(&mut self, state: &mut State, order_id: OrderId, times: Times) {
        let order = state.orders.get(order_id);
        let Some(order) = order.filter(|order| order.aggregate.is_pending()) else {
            return;
        };
        let holds = order.aggregate.items().iter().map(|item| item.hold_id);
        for hold_id in holds.collect::<Vec<_>>() {
            self.expire_hold(state, hold_id, times);
        }
        self.conclude(state, order_id, times.now);
    }

    /// Ends an order if one of its holds has ended.
    fn conclude(&mut self, state: &mut State, order_id: OrderId, now: Timestamp) {
        if state.orders.quarantined(order_id).is_some() {
            return;
        }
        let order = state.orders.get(order_id);
        let drop_of = |drop_id| state.drop(drop_id).map(|drop| &drop.aggregate);
        let batch = order.and_then(|order| order.aggregate.conclude(now, drop_of));
        if let Some(batch) = batch {
            for event in batch.orders {
                self.apply_order(state, order_id, event, None, now);
            }
            for (drop_id, event) in batch.drops {
                self.apply(state, drop_id, vec![event], None, now);
            }
        }
    }

    /// Records the expiry of a hold, if it has expired.
    fn expire_hold(&mut self, state: &mut State, hold_id: HoldId, times: Times) {
        let found = state.drop_of(hold_id);
        let found = found.and_then(|drop| drop.aggregate.hold(hold_id).map(|hold| (drop.id, hold)));
        if let Some((drop_id, hold)) = found
            && hold.status == HoldStatus::Held
            && hold.expires_at <= times.arrived
        {
            self.record(
                state,
                Due::Expiry(drop_id, hold_id),
                times.arrived,
                times.now,
            );
        }
    }

    /// Records expired holds of a drop, and offers the freed units, while `lacks` reports that more
    /// are needed.
    fn expire_while(
        &mut self,
        state: &mut State,
        drop_id: DropId,
        times: Times,
        lacks: impl Fn(&DropState) -> bool,
    ) {
        for _ in 0..MOST_EXPIRED {
            let is_enough = state.drop(drop_id).is_none_or(|drop| !lacks(drop));
            if is_enough || !self.has_room() {
                return;
            }
            let offer = state.consequence(drop_id, times.now);
            let expiry = || Some(Due::Expiry(drop_id, state.overdue(drop_id, times.arrived)?));
            let Some(due) = offer.or_else(expiry) else {
                return;
            };
            self.record(state, due, times.arrived, times.now);
        }
    }

    /// Records the expired holds of one buyer, which count towards the limit per buyer.
    fn expire_of_buyer(
        &mut self,
        state: &mut State,
        drop_id: DropId,
        buyer_id: &BuyerId,
        times: Times,
    ) {
        let known = state
            .drop(drop_id)
            .and_then(|drop| Some(drop.pseudonym(drop.buyer(buyer_id)?.0)));
        if let Some(buyer) = known {
            self.expire_overdue_of(state, drop_id, buyer, times);
        }
    }

    fn expire_overdue_of(
        &mut self,
        state: &mut State,
        drop_id: DropId,
        buyer: Pseudonym,
        times: Times,
    ) {
        let overdue: Vec<HoldId> = state
            .drop(drop_id)
            .map_or_else(Vec::new, |drop| overdue_of(drop, buyer, times.arrived));
        for hold_id in overdue {
            // The request is decided with the next batch.
            if !self.has_room() {
                return;
            }
            let due = Due::Expiry(drop_id, hold_id);
            self.record(state, due, times.arrived, times.now);
        }
    }

    fn record(&mut self, state: &mut State, due: Due, until: Timestamp, now: Timestamp) {
        let decide = |drop_id, decide: &dyn Fn(&DropAggregate) -> Result<Decision<()>, Refusal>| {
            let drop = state.drop(drop_id)?;
            Some((drop_id, decide(&drop.aggregate).ok()?))
        };
        let at = until;
        let decided = match due {
            Due::Order(order_id) => return self.conclude(state, order_id, now),
            Due::Expiry(drop_id, hold_id) => decide(drop_id, &|aggregate| {
                aggregate.expire_hold(&ExpireHold { hold_id, at })
            }),
            Due::Leaving(drop_id, entry_id) => decide(drop_id, &|aggregate| {
                aggregate.leave_waitlist(&LeaveWaitlist { entry_id, at: now })
            }),
            Due::Offer(drop_id) => decide(drop_id, &|aggregate| {
                aggregate.serve_waitlist(&ServeWaitlist { at: now })
            }),
            Due::Sale(drop_id) => {
                let drop = state.drop(drop_id);
                let event = drop.and_then(|drop| drop.aggregate.start_or_end(now));
                if let Some(event) = event {
                    self.apply(state, drop_id, vec![event], None, now);
                }
                return;
            }
            Due::Closing(drop_id) => decide(drop_id, &DropAggregate::settle_cancelled),
        };
        if let Some((drop_id, decision)) = decided {
            let first = decision.events.first();
            let ended = first.and_then(|event| state.orders.ended_by(event));
            self.apply(state, drop_id, decision.events, None, now);
            // The order of a hold ends right after it, in the same batch.
            if let Some(order_id) = ended {
                state.orders.take_note(order_id);
                self.conclude(state, order_id, now);
            }
        }
    }
}

/// The newest of the buyer's holds that expired by `until` without a recorded expiry. Empty when
/// the drop has no held units.
fn overdue_of(drop: &DropState, buyer: Pseudonym, until: Timestamp) -> Vec<HoldId> {
    let mut held = drop.aggregate.buyer(buyer).map_or(0, |buyer| buyer.held);
    let mut overdue = vec![];
    for hold in drop.aggregate.holds_of(buyer) {
        if held == 0 || overdue.len() == MOST_EXPIRED {
            break;
        }
        if hold.status == HoldStatus::Held {
            held -= hold.quantity.get();
            if hold.expires_at <= until {
                overdue.push(hold.id);
            }
        }
    }
    overdue
}
