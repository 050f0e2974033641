//! Turns a request about an order into a command of the order and its drops: finds the order, and
//! the buyer's pseudonym in each drop, and adds ids and the time.
//!
//! A purchase and a cancellation count from their arrival, as for holds; everything else is decided
//! at `now`.

use domain::order::Order;
use domain::order::decide::{self, OrderBatch, OrderLine};
use domain::private::Private;
use domain::values::{DropId, HoldId, OrderId, Pseudonym, PurchaseId, Timestamp};
use domain::{DropAggregate, Refusal};

use super::Context;
use super::command::Named;
use crate::orders::OrderState;
use crate::request::{CancelOrder, FulfilOrder, PlaceOrder, PurchaseOrder};
use crate::submission::{Decide, Decided, NewEvents, NewOrderEvents};

impl Decide for PlaceOrder {
    type Subject = OrderId;

    fn decide_all(&self, context: &Context<'_>) -> Decided<OrderId> {
        let (state, ids) = (context.state, context.ids);
        let find = |key| state.orders.placed_with(key);
        let is_theirs = |order: &OrderState| order.is_of(&self.buyer_id, state.digest_key);
        let keys = [self.key, self.other_key].into_iter().flatten();
        let theirs = |key: &_| find(*key).is_some_and(|(_, order)| is_theirs(order));
        let key = keys.clone().find(theirs).or(self.key);
        let earlier = key.and_then(find);
        let order_id = earlier.map_or(OrderId(ids.subject), |(order_id, _)| order_id);
        let placed = earlier
            .filter(|(_, order)| is_theirs(order))
            .and_then(|(_, order)| order.aggregate.placed());
        let buyer = placed.map_or(Pseudonym(ids.buyer), |placed| placed.buyer);
        let private = Private::buyer(ids.salt, self.buyer_id.clone(), self.display_name.clone());
        let lines = self.lines();
        let drop_id = lines
            .first()
            .map_or(DropId(ids.subject), |line| line.drop_id);
        let named = Named {
            buyer_id: &self.buyer_id,
            display_name: self.display_name.as_ref(),
            is_from_token: self.is_from_token,
        };
        let found = lines.iter().zip(context.item_ids).map(|(line, ids)| {
            let drop = state.drop(line.drop_id);
            let (buyer, private) = match drop {
                Some(drop) => named.identify(drop, *ids)?,
                None => (Pseudonym(ids.buyer), None),
            };
            let line = OrderLine {
                item: line.item,
                drop_id: line.drop_id,
                drop: drop.map(|drop| &drop.aggregate),
                hold_id: HoldId::for_drop(line.drop_id, ids.subject),
                buyer,
                commitment: private.as_ref().map(Private::commitment),
                units: line.units,
            };
            Ok((line, private))
        });
        let found = found.collect::<Result<Vec<_>, Refusal>>()?;
        let (lines, privates): (Vec<OrderLine<'_>>, Vec<Option<Private>>) =
            found.into_iter().unzip();
        let unplaced = Order::default();
        let order = earlier.map_or(&unplaced, |(_, order)| &order.aggregate);
        let batch = order.place(&decide::PlaceOrder {
            order_id,
            key,
            buyer,
            commitment: Some(private.commitment()),
            lines: &lines,
            at: context.times.now,
        })?;
        Ok((
            drop_id,
            order_id,
            new(order_id, batch, Some(private), privates),
        ))
    }
}

impl Decide for PurchaseOrder {
    type Subject = OrderId;

    fn decide_all(&self, context: &Context<'_>) -> Decided<OrderId> {
        let (state, order) = (context.state, context.order(self.order_id)?);
        let is_recorded = self
            .payment_reference
            .as_ref()
            .is_some_and(|reference| order.was_paid_by(reference, state.digest_key));
        let private = |salt| {
            let reference = self.payment_reference.clone();
            reference.map(|reference| Private::payment(salt, reference))
        };
        let of_order = private(context.ids.salt);
        let of_items: Vec<Option<Private>> = context
            .item_ids
            .iter()
            .map(|ids| private(ids.salt))
            .collect();
        let commitments: Vec<_> = of_items.iter().flatten().map(Private::commitment).collect();
        let purchase_ids = context.item_ids.iter().map(|ids| PurchaseId(ids.subject));
        let command = decide::PurchaseOrder {
            purchase_ids: &purchase_ids.collect::<Vec<_>>(),
            commitment: of_order.as_ref().map(Private::commitment),
            commitments: &commitments,
            is_recorded,
            at: context.of_arrival(order),
        };
        let batch = order
            .aggregate
            .purchase(&command, |drop_id| context.aggregate(drop_id))?;
        let new = new(self.order_id, batch, of_order, of_items);
        Ok((first_drop(order), self.order_id, new))
    }
}

impl Decide for CancelOrder {
    type Subject = OrderId;

    fn decide_all(&self, context: &Context<'_>) -> Decided<OrderId> {
        let order = context.order(self.order_id)?;
        let at = context.of_arrival(order);
        let batch = order
            .aggregate
            .cancel(at, |drop_id| context.aggregate(drop_id))?;
        let new = new(self.order_id, batch, None, vec![]);
        Ok((first_drop(order), self.order_id, new))
    }
}

impl Decide for FulfilOrder {
    type Subject = OrderId;

    fn decide_all(&self, context: &Context<'_>) -> Decided<OrderId> {
        let (state, order) = (context.state, context.order(self.order_id)?);
        let is_recorded = self
            .tracking
            .as_ref()
            .is_none_or(|tracking| order.is_tracked_by(tracking, state.digest_key));
        let tracking = self.tracking.clone();
        let private = tracking.map(|tracking| Private::shipment(context.ids.salt, tracking));
        let batch = order.aggregate.fulfil(decide::FulfilOrder {
            fulfilment: self.fulfilment,
            commitment: private.as_ref().map(Private::commitment),
            is_recorded,
            at: context.times.now,
        })?;
        let new = new(self.order_id, batch, private, vec![]);
        Ok((first_drop(order), self.order_id, new))
    }
}

impl Context<'_> {
    fn order(&self, order_id: OrderId) -> Result<&OrderState, Refusal> {
        let order = self.state.orders.get(order_id);
        order
            .filter(|order| order.aggregate.placed().is_some())
            .ok_or(Refusal::OrderNotFound)
    }

    fn aggregate(&self, drop_id: DropId) -> Option<&DropAggregate> {
        self.state.drop(drop_id).map(|drop| &drop.aggregate)
    }

    /// The time at which a request about an order counts: its arrival, but not before the order was
    /// placed.
    fn of_arrival(&self, order: &OrderState) -> Timestamp {
        let placed_at = order.aggregate.placed().map(|placed| placed.placed_at);
        self.times.arrived.max(placed_at.unwrap_or_default())
    }
}

fn first_drop(order: &OrderState) -> DropId {
    let first = order.aggregate.items().first();
    first.map_or(DropId(uuid::Uuid::nil()), |item| item.drop_id)
}

/// The events of a batch with the personal data that each commits to, in the order of its drops.
fn new(
    order_id: OrderId,
    batch: Option<OrderBatch>,
    private: Option<Private>,
    of_drops: Vec<Option<Private>>,
) -> NewEvents {
    let Some(OrderBatch { order, drops }) = batch else {
        return NewEvents::None;
    };
    let of_drops = of_drops.into_iter().chain(std::iter::repeat_with(|| None));
    let drops = drops.into_iter().zip(of_drops);
    NewEvents::Order(Box::new(NewOrderEvents {
        order_id,
        order,
        private,
        drops: drops
            .map(|((drop_id, event), private)| {
                let private = event.commitment().and(private);
                (drop_id, event, private)
            })
            .collect(),
    }))
}
