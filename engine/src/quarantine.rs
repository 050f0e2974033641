//! Quarantined drops and orders in the engine's state: nothing is decided about them, and their
//! requests get an error of their own. See [`super::orders`] for the state of the orders.
//!
//! Promise: nothing is decided about a quarantined drop, and none of its holds expires. A
//! readmitted drop starts from scratch in a new slot, so hints about its former state cannot apply
//! to it.
//! Limit: ids of holds that a stock program placed before the quarantine stay known until a
//! restart.

use std::sync::Arc;

use domain::order::OrderStatus;
use domain::values::{DropId, HoldId, OrderId, Position, Sequence, WaitlistId};
use domain::{DropAggregate, DropEvent};
use infrastructure::codec::{RecordedEvent, RecordedOrderEvent};
use infrastructure::log::StreamId;
use infrastructure::quarantine::{Fault, RefusedEvent};

use super::buyer_index::BuyerIndex;
use super::request::CommandError;
use super::state::{DropSlot, State};
use super::submission::AnyRequest;

impl State {
    pub(super) fn is_quarantined(&self, drop_id: DropId) -> bool {
        !self.quarantined.is_empty() && self.quarantined.contains_key(&drop_id)
    }

    /// The event that put a drop into quarantine.
    pub(super) fn refused(&self, drop_id: DropId) -> Option<&Arc<RefusedEvent>> {
        self.quarantined.get(&drop_id)
    }

    /// The drops and orders that are in quarantine because of `fault`.
    pub(super) fn quarantined_by(
        &self,
        fault: Fault,
    ) -> impl Iterator<Item = (StreamId, Position)> {
        let drops = self.quarantined.iter();
        let drops = drops.map(|(drop_id, refused)| (StreamId::Drop(*drop_id), &**refused));
        let orders = self.orders.all_quarantined();
        let orders = orders.map(|(order_id, refused)| (StreamId::Order(order_id), refused));
        let by_fault = drops.chain(orders);
        let by_fault = by_fault.filter(move |(_, refused)| refused.fault == fault);
        by_fault.map(|(stream, refused)| (stream, refused.position))
    }

    /// Puts a drop into quarantine and discards its state.
    pub(super) fn quarantine(&mut self, drop_id: DropId, refused: Arc<RefusedEvent>) {
        let slot = self.slot(drop_id);
        self.discard(slot);
        self.quarantined.insert(drop_id, refused);
    }

    /// Takes a drop out of quarantine, without state: its events are applied again from the first.
    pub(super) fn readmit(&mut self, drop_id: DropId) {
        self.quarantined.remove(&drop_id);
        let Some(former) = self.slots.remove(&drop_id) else {
            return;
        };
        self.discard(former);
        if let Some(slots) = self.by_prefix.get_mut(&drop_id.prefix()) {
            slots.retain(|slot| *slot != former);
        }
    }

    fn discard(&mut self, slot: DropSlot) {
        self.withdraw_from_group(slot);
        let key = self.digest_key;
        let drop = &mut self.drops[slot.number()];
        drop.aggregate = DropAggregate::default();
        drop.buyers = BuyerIndex::new(key);
        drop.leaving.clear();
    }

    /// Skips an event without effect; it keeps its sequence in the stream.
    pub(super) fn skip_void(&mut self, drop_id: DropId, sequence: Sequence) {
        let slot = self.slot(drop_id);
        self.drops[slot.number()].aggregate.skip_void(sequence);
    }

    /// Remembers the ids of a quarantined drop's holds and entries that do not carry the drop's id.
    pub(super) fn remember_ids(&mut self, recorded: &RecordedEvent) {
        let drop_id = recorded.drop_id;
        let slot = self.slot(drop_id);
        match &recorded.event {
            DropEvent::HoldPlaced(event) if event.hold_id.prefix() != drop_id.prefix() => {
                self.strays.insert(event.hold_id, slot);
            }
            DropEvent::WaitlistJoined(event) if event.entry_id.prefix() != drop_id.prefix() => {
                self.stray_entries.insert(event.entry_id, slot);
            }
            DropEvent::DropScheduled(event) | DropEvent::DropDrafted(event) => {
                if let Some(key) = event.key {
                    self.schedule_keys.entry(key).or_insert(drop_id);
                }
                let group = event.terms.limit_group.as_ref();
                let group = group.map(|name| self.groups.join(name, drop_id, self.digest_key));
                self.drops[slot.number()].group = group;
            }
            DropEvent::DropRescheduled(_)
            | DropEvent::DropStarted(_)
            | DropEvent::DropEnded(_)
            | DropEvent::DropPublished(_)
            | DropEvent::DropPaused(_)
            | DropEvent::DropResumed(_)
            | DropEvent::DropCancelled(_)
            | DropEvent::HoldPlaced(_)
            | DropEvent::HoldExtended(_)
            | DropEvent::HoldChanged(_)
            | DropEvent::HoldExpired(_)
            | DropEvent::HoldReleased(_)
            | DropEvent::PurchaseConfirmed(_)
            | DropEvent::PurchaseRefunded(_)
            | DropEvent::StockAdjusted(_)
            | DropEvent::WaitlistJoined(_)
            | DropEvent::WaitlistLeft(_)
            | DropEvent::CodesCreated(_) => {}
        }
    }

    /// Returns why `recorded` cannot be the next event, judged by its sequence, by the ids of
    /// other drops and by its time.
    pub(super) fn contradiction(&self, recorded: &RecordedEvent) -> Option<RefusedEvent> {
        let drop_id = recorded.drop_id;
        let next = self.next_sequence(drop_id);
        if recorded.sequence != next {
            let found = recorded.sequence;
            let reason = format!("the next event of drop {drop_id} is {next}, not {found}");
            return Some(RefusedEvent::recorded(
                recorded,
                Fault::WrongSequence,
                &reason,
            ));
        }
        if let Some(at) = recorded.event.ends_holds_early(recorded.recorded_at) {
            let recorded_at = recorded.recorded_at;
            let reason =
                format!("it ends holds at {at}, later than its recording at {recorded_at}");
            return Some(RefusedEvent::recorded(
                recorded,
                Fault::Contradiction,
                &reason,
            ));
        }
        let owner = match &recorded.event {
            DropEvent::HoldPlaced(event) => self.owner_of_hold(event.hold_id),
            DropEvent::WaitlistJoined(event) => self.owner_of_entry(event.entry_id),
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
        };
        let other = owner.filter(|owner| *owner != drop_id)?;
        let reason = format!("the id was already used in drop {other}");
        Some(RefusedEvent::recorded(
            recorded,
            Fault::Contradiction,
            &reason,
        ))
    }

    fn owner_of_hold(&self, hold_id: HoldId) -> Option<DropId> {
        let found = self.drop_of(hold_id)?;
        found.aggregate.hold(hold_id).map(|_| found.id)
    }

    fn owner_of_entry(&self, entry_id: WaitlistId) -> Option<DropId> {
        let found = self.drop_of_entry(entry_id)?;
        found.aggregate.entry(entry_id).map(|_| found.id)
    }

    /// The error for a request about a quarantined drop or order; `None` for all other requests. An
    /// order with an item of a quarantined drop is refused as a whole.
    pub(super) fn quarantined(&self, request: &AnyRequest) -> Option<CommandError> {
        let order = self.quarantined_order(request);
        if order.is_some() {
            return order;
        }
        if self.quarantined.is_empty() {
            return None;
        }
        let of_request = self.quarantined_drop(request);
        let drop_id = of_request.or_else(|| self.unknown_in_group(request))?;
        let refused = self.quarantined.get(&drop_id)?;
        Some(CommandError::Quarantined {
            drop_id,
            position: refused.position,
        })
    }

    /// The quarantined drop that `request` is about.
    fn quarantined_drop(&self, request: &AnyRequest) -> Option<DropId> {
        let drop_id = match request {
            AnyRequest::ScheduleDrop(submitted) => self.scheduled_with(submitted.request.key?)?,
            AnyRequest::RescheduleDrop(submitted) => submitted.request.drop_id,
            AnyRequest::ChangeSale(submitted) => submitted.request.drop_id,
            AnyRequest::CancelDrop(submitted) => submitted.request.drop_id,
            AnyRequest::AdjustStock(submitted) => submitted.request.drop_id,
            AnyRequest::SetStock(submitted) => submitted.request.drop_id,
            AnyRequest::PlaceHold(submitted) => submitted.request.drop_id,
            AnyRequest::LookUpBuyer(submitted) => submitted.request.drop_id,
            AnyRequest::CreateCodes(submitted) => submitted.request.drop_id,
            AnyRequest::JoinWaitlist(submitted) => submitted.request.drop_id,
            AnyRequest::ExtendHold(submitted) => self.stray_hold(submitted.request.hold_id)?,
            AnyRequest::ChangeHold(submitted) => self.stray_hold(submitted.request.hold_id)?,
            AnyRequest::ReleaseHold(submitted) => self.stray_hold(submitted.request.hold_id)?,
            AnyRequest::ConfirmPurchase(submitted) => self.stray_hold(submitted.request.hold_id)?,
            AnyRequest::RefundPurchase(submitted) => self.stray_hold(submitted.request.hold_id)?,
            AnyRequest::LeaveWaitlist(submitted) => self.stray_entry(submitted.request.entry_id)?,
            AnyRequest::PlaceOrder(submitted) => {
                let mut items = submitted.request.items.iter().map(|item| item.drop_id);
                items.find(|drop_id| self.is_quarantined(*drop_id))?
            }
            AnyRequest::PurchaseOrder(submitted) => {
                self.drop_of_order(submitted.request.order_id, &[OrderStatus::Pending])?
            }
            AnyRequest::CancelOrder(submitted) => {
                self.drop_of_order(submitted.request.order_id, &[OrderStatus::Pending])?
            }
            AnyRequest::StartPayment(submitted) => {
                self.drop_of_order(submitted.request.order_id, &[OrderStatus::Pending])?
            }
            AnyRequest::RecordPayment(submitted) => {
                let sellable = [OrderStatus::Pending, OrderStatus::Expired];
                self.drop_of_order(submitted.request.order_id, &sellable)?
            }
            AnyRequest::RefundOrder(submitted) => {
                self.drop_of_order(submitted.request.order_id, &[OrderStatus::Paid])?
            }
            // No drop decides it.
            AnyRequest::FulfilOrder(_) | AnyRequest::SettleRefund(_) => return None,
        };
        self.is_quarantined(drop_id).then_some(drop_id)
    }

    /// The quarantined drop without whose units `request` cannot be decided, because it shares a
    /// limit group with a drop of the request.
    fn unknown_in_group(&self, request: &AnyRequest) -> Option<DropId> {
        let of = |drop_id| self.quarantined_in_group(drop_id);
        match request {
            AnyRequest::PlaceHold(submitted) => of(submitted.request.drop_id),
            AnyRequest::LookUpBuyer(submitted) => of(submitted.request.drop_id),
            AnyRequest::JoinWaitlist(submitted) => of(submitted.request.drop_id),
            // Units can be returned all the same.
            AnyRequest::ChangeHold(submitted) => {
                let request = &submitted.request;
                let drop = self.drop_of(request.hold_id)?;
                let hold = drop.aggregate.hold(request.hold_id)?;
                (request.quantity > hold.quantity).then(|| of(drop.id))?
            }
            AnyRequest::PlaceOrder(submitted) => {
                let mut items = submitted.request.items.iter();
                items.find_map(|item| of(item.drop_id))
            }
            // Late money may buy units again.
            AnyRequest::RecordPayment(submitted) => {
                let order = &self.orders.get(submitted.request.order_id)?.aggregate;
                let is_expired = order.progress().status == OrderStatus::Expired;
                let mut items = order.items().iter().filter(|_| is_expired);
                items.find_map(|item| of(item.drop_id))
            }
            AnyRequest::ScheduleDrop(_)
            | AnyRequest::RescheduleDrop(_)
            | AnyRequest::ChangeSale(_)
            | AnyRequest::CancelDrop(_)
            | AnyRequest::AdjustStock(_)
            | AnyRequest::SetStock(_)
            | AnyRequest::CreateCodes(_)
            | AnyRequest::ExtendHold(_)
            | AnyRequest::ReleaseHold(_)
            | AnyRequest::ConfirmPurchase(_)
            | AnyRequest::RefundPurchase(_)
            | AnyRequest::LeaveWaitlist(_)
            | AnyRequest::PurchaseOrder(_)
            | AnyRequest::CancelOrder(_)
            | AnyRequest::StartPayment(_)
            | AnyRequest::RefundOrder(_)
            | AnyRequest::FulfilOrder(_)
            | AnyRequest::SettleRefund(_) => None,
        }
    }

    fn quarantined_order(&self, request: &AnyRequest) -> Option<CommandError> {
        let order_id = match request {
            AnyRequest::PlaceOrder(submitted) => {
                let keys = [submitted.request.key, submitted.request.other_key];
                let mut placed = keys.into_iter().flatten();
                placed.find_map(|key| {
                    let (order_id, _) = self.orders.placed_with(key)?;
                    self.orders.quarantined(order_id).map(|_| order_id)
                })?
            }
            AnyRequest::PurchaseOrder(submitted) => submitted.request.order_id,
            AnyRequest::CancelOrder(submitted) => submitted.request.order_id,
            AnyRequest::FulfilOrder(submitted) => submitted.request.order_id,
            AnyRequest::StartPayment(submitted) => submitted.request.order_id,
            AnyRequest::RecordPayment(submitted) => submitted.request.order_id,
            AnyRequest::RefundOrder(submitted) => submitted.request.order_id,
            AnyRequest::SettleRefund(submitted) => submitted.request.order_id,
            // The money of the purchase may have to be returned.
            AnyRequest::RefundPurchase(submitted) => {
                let hold_id = submitted.request.hold_id;
                self.drop_of(hold_id)?.aggregate.order_of(hold_id)?
            }
            AnyRequest::ScheduleDrop(_)
            | AnyRequest::RescheduleDrop(_)
            | AnyRequest::ChangeSale(_)
            | AnyRequest::CancelDrop(_)
            | AnyRequest::SetStock(_)
            | AnyRequest::ExtendHold(_)
            | AnyRequest::ChangeHold(_)
            | AnyRequest::AdjustStock(_)
            | AnyRequest::PlaceHold(_)
            | AnyRequest::LookUpBuyer(_)
            | AnyRequest::CreateCodes(_)
            | AnyRequest::JoinWaitlist(_)
            | AnyRequest::ReleaseHold(_)
            | AnyRequest::ConfirmPurchase(_)
            | AnyRequest::LeaveWaitlist(_) => return None,
        };
        let position = self.orders.quarantined(order_id)?;
        Some(CommandError::OrderQuarantined { order_id, position })
    }

    /// The quarantined drop of one of the items of an order in one of these states.
    fn drop_of_order(&self, order_id: OrderId, states: &[OrderStatus]) -> Option<DropId> {
        let order = &self.orders.get(order_id)?.aggregate;
        let is_one = states.contains(&order.progress().status);
        let mut items = order.items().iter().filter(|_| is_one);
        let item = items.find(|item| self.is_quarantined(item.drop_id))?;
        Some(item.drop_id)
    }

    /// Returns why `recorded` cannot be the next event of its order, judged by its sequence.
    pub(super) fn contradiction_of_order(
        &self,
        recorded: &RecordedOrderEvent,
    ) -> Option<RefusedEvent> {
        let order_id = recorded.order_id;
        let next = self.orders.next_sequence(order_id);
        let found = recorded.sequence;
        (found != next).then(|| {
            let reason = format!("the next event of order {order_id} is {next}, not {found}");
            RefusedEvent::recorded_of_order(recorded, Fault::WrongSequence, &reason)
        })
    }

    /// The quarantined drop that an unknown hold may belong to.
    fn stray_hold(&self, hold_id: HoldId) -> Option<DropId> {
        if self.owner_of_hold(hold_id).is_some() {
            return None;
        }
        self.likely(hold_id.prefix(), self.strays.get(&hold_id))
    }

    /// The quarantined drop that an unknown waitlist entry may belong to.
    fn stray_entry(&self, entry_id: WaitlistId) -> Option<DropId> {
        if self.owner_of_entry(entry_id).is_some() {
            return None;
        }
        self.likely(entry_id.prefix(), self.stray_entries.get(&entry_id))
    }

    /// The quarantined drop that an id belongs to: by a known slot, or by the prefix that the id
    /// shares with its drop.
    fn likely(&self, prefix: [u8; 4], known: Option<&DropSlot>) -> Option<DropId> {
        let known = known.map(|slot| self.drops[slot.number()].id);
        let alike = || {
            let slots = self.by_prefix.get(&prefix)?;
            let mut ids = slots.iter().map(|slot| self.drops[slot.number()].id);
            ids.find(|id| self.quarantined.contains_key(id))
        };
        known.or_else(alike)
    }
}
