//! What a draft records without a request: what is due, what follows from a request, and what a
//! request must not wait for.
//!
//! Promise: of each batch, work that is due takes at most a share (see [`Draft::has_share`]),
//! however much there is, so that requests never wait behind a million expiries; what follows from
//! a request is in the same batch right after it, up to as many events again, so that a small drop
//! is cancelled, and a freed unit offered, before anybody is answered.
//! Limit: what does not fit is due, and recorded by later batches.
//!
//! Source: docs/decisions/0029-consequences-are-due-work.md.

use domain::DropCommand;
use domain::command::{ExpireHold, ServeWaitlist};
use domain::drop::HoldStatus;
use domain::values::{BuyerId, DropId, HoldId, Timestamp};

use super::{Draft, Times};
use crate::request::Request;
use crate::state::{DropState, Due, State};

/// Expiries that are recorded for one request ahead of others.
const MOST_EXPIRED: usize = 512;
/// A waitlist that wants more units than this is served by due work alone, not for the sake of a
/// request behind it.
const SHORT_LINE: u64 = 64;

impl Draft {
    /// Whether there is room for more work that is due without a request, of which a batch takes up
    /// to `share` events.
    pub(crate) fn has_share(&self, share: usize) -> bool {
        self.due < share && self.has_room()
    }

    /// Records what is due, of what was due by `until`.
    pub(crate) fn record_due(
        &mut self,
        state: &mut State,
        due: Due,
        until: Timestamp,
        now: Timestamp,
    ) {
        self.due += 1;
        self.record(state, due, until, now);
    }

    /// Records what follows from the last event of a drop, as far as there is room for it: up to
    /// `share` events a batch.
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
            self.followed += 1;
            self.record(state, due, now, now);
        }
    }

    /// Records those expiries of a drop that `request` must not be refused for: they were due when
    /// it arrived, and have only not had their turn yet.
    pub(super) fn expire_for(&mut self, state: &mut State, request: &Request, times: Times) {
        match request {
            Request::PlaceHold {
                drop_id,
                buyer_id,
                quantity,
                ..
            } if state.may_be_overdue(*drop_id, times.arrived) => {
                self.expire_of_buyer(state, *drop_id, buyer_id, times);
                let units = quantity.get();
                let lacks = |drop: &DropState| {
                    drop.aggregate.beside_line(times.now) < units
                        && drop.aggregate.line().wanted() <= SHORT_LINE
                };
                self.expire_while(state, *drop_id, times, lacks);
            }
            Request::AdjustStock { drop_id, delta, .. }
                if *delta < 0 && state.may_be_overdue(*drop_id, times.arrived) =>
            {
                let units = delta.unsigned_abs();
                let lacks = |drop: &DropState| drop.aggregate.stock().available < units;
                self.expire_while(state, *drop_id, times, lacks);
            }
            Request::JoinWaitlist {
                drop_id, buyer_id, ..
            }
            | Request::AskAboutBuyer { drop_id, buyer_id }
                if state.may_be_overdue(*drop_id, times.arrived) =>
            {
                self.expire_of_buyer(state, *drop_id, buyer_id, times);
            }
            // What is refused because a hold is over rests on the log: no other node, on a clock
            // behind ours, may sell it.
            Request::ReleaseHold { hold_id } | Request::ConfirmPurchase { hold_id, .. } => {
                self.expire_hold(state, *hold_id, times);
            }
            Request::PlaceHold { .. }
            | Request::AdjustStock { .. }
            | Request::JoinWaitlist { .. }
            | Request::AskAboutBuyer { .. }
            | Request::ScheduleDrop { .. }
            | Request::RescheduleDrop { .. }
            | Request::CancelDrop { .. }
            | Request::LeaveWaitlist { .. } => {}
        }
    }

    /// Records that a hold is over, if it is.
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

    /// Records overdue holds of a drop, and offers what they free, while `lacks` says that it is
    /// not enough.
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

    /// Records the overdue holds of one buyer, which count against what they may have.
    fn expire_of_buyer(
        &mut self,
        state: &mut State,
        drop_id: DropId,
        buyer_id: &BuyerId,
        times: Times,
    ) {
        let overdue: Vec<HoldId> = state
            .drop(drop_id)
            .map_or_else(Vec::new, |drop| overdue_of(drop, buyer_id, times.arrived));
        for hold_id in overdue {
            let due = Due::Expiry(drop_id, hold_id);
            self.record(state, due, times.arrived, times.now);
        }
    }

    fn record(&mut self, state: &mut State, due: Due, until: Timestamp, now: Timestamp) {
        let (drop_id, command) = match due {
            Due::Expiry(drop_id, hold_id) => {
                let at = until;
                (drop_id, DropCommand::ExpireHold(ExpireHold { hold_id, at }))
            }
            Due::Offer(drop_id) => (
                drop_id,
                DropCommand::ServeWaitlist(ServeWaitlist { at: now }),
            ),
            Due::Closing(drop_id) => (drop_id, DropCommand::SettleCancelled),
        };
        let decision = state
            .drop(drop_id)
            .map(|drop| drop.aggregate.decide(&command));
        if let Some(Ok(decision)) = decision {
            self.apply(state, drop_id, decision, None, now);
        }
    }
}

/// The buyer's holds that were over by `until` and are not recorded so: some of the newest, as long
/// as units are held at all.
fn overdue_of(drop: &DropState, buyer_id: &BuyerId, until: Timestamp) -> Vec<HoldId> {
    let Some(known) = drop.buyer(buyer_id) else {
        return vec![];
    };
    let buyer = drop.pseudonym(known);
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
