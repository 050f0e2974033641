//! Turns a request about an order into a command of the order and its drops: finds the order, and
//! the buyer's pseudonym in each drop, and adds ids and the time.
//!
//! A purchase, a payment and a cancellation count from their arrival, as for holds; everything else
//! is decided at `now`.

use domain::command;
use domain::order::decide::{self, OrderBatch, OrderLine};
use domain::order::{Order, pay, refund};
use domain::private::Private;
use domain::values::{
    Commitment, DropId, HoldId, IntentDigest, KeyDigest, OrderId, PaymentId, Pseudonym, PurchaseId,
    RefundId, Salt, Timestamp,
};
use domain::{DropAggregate, Refusal};

use super::Context;
use super::command::Named;
use crate::orders::OrderState;
use crate::request::{
    CancelOrder, FulfilOrder, PlaceOrder, PurchaseOrder, RecordPayment, RefundOrder,
    RefundPurchase, SettleRefund, StartPayment, lines_of,
};
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
        // The order may introduce the buyer to several drops of a limit group.
        let mut in_groups = vec![];
        let found = lines.iter().zip(context.item_ids).map(|(line, ids)| {
            let (drop, mut ids) = (state.drop(line.drop_id), *ids);
            let group = drop.and_then(|drop| drop.group);
            if let Some((_, Pseudonym(buyer))) = in_groups.iter().find(|(of, _)| Some(*of) == group)
            {
                ids.buyer = *buyer;
            }
            let (buyer, private) = match drop {
                Some(drop) => named.identify(state, drop, ids)?,
                None => (Pseudonym(ids.buyer), None),
            };
            in_groups.extend(group.map(|group| (group, buyer)));
            let line = OrderLine {
                item: line.item,
                drop_id: line.drop_id,
                drop: drop.map(|drop| &drop.aggregate),
                hold_id: HoldId::for_drop(line.drop_id, ids.subject),
                buyer,
                commitment: private.as_ref().map(Private::commitment),
                units: line.units,
                pass: self.pass_for(line.drop_id),
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
            new(
                order_id,
                batch,
                [private].into_iter().chain(privates.into_iter().flatten()),
            ),
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
        let of_items = context.item_ids.iter();
        let of_items: Vec<Private> = of_items.filter_map(|ids| private(ids.salt)).collect();
        let commitments: Vec<_> = of_items.iter().map(Private::commitment).collect();
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
        let new = new(self.order_id, batch, of_order.into_iter().chain(of_items));
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
        let new = new(self.order_id, batch, []);
        Ok((first_drop(order), self.order_id, new))
    }
}

impl Decide for StartPayment {
    type Subject = PaymentId;

    fn decide_all(&self, context: &Context<'_>) -> Decided<PaymentId> {
        let order = context.order(self.order_id)?;
        let payments = order.aggregate.payments();
        let command = pay::StartPayment {
            payment_id: PaymentId(context.ids.subject),
            key: used_key([self.key, self.other_key], |key| {
                payments.payment_by_key(key).is_some()
            }),
            provider: self.provider.clone(),
            at: context.of_arrival(order),
        };
        let (payment_id, batch) = order
            .aggregate
            .start_payment(&command, |drop_id| context.aggregate(drop_id))?;
        let new = new(self.order_id, batch, []);
        Ok((first_drop(order), payment_id, new))
    }
}

impl Decide for RecordPayment {
    type Subject = PaymentId;

    fn decide_all(&self, context: &Context<'_>) -> Decided<PaymentId> {
        let order = context.order(self.order_id)?;
        let items = order.aggregate.items();
        let private = |salt: Salt| Private::payment(salt, self.reference.clone());
        let salts = context.item_ids.iter().map(|ids| ids.salt);
        let of_success = private(context.ids.salt);
        // The order's own event is stored before those of its items.
        let of_sale: Vec<Private> = salts.take(items.len() + 1).map(private).collect();
        let commitments: Vec<_> = of_sale.iter().map(Private::commitment).collect();
        let ids = || items.iter().zip(context.item_ids);
        let purchase_ids: Vec<_> = ids().map(|(_, ids)| PurchaseId(ids.subject)).collect();
        let hold_ids: Vec<_> = ids()
            .map(|(item, ids)| HoldId::for_drop(item.drop_id, ids.offer))
            .collect();
        let command = pay::RecordPayment {
            order_id: self.order_id,
            payment_id: self.payment_id,
            provider: &self.provider,
            intent: IntentDigest::new(&self.provider, &self.reference),
            report: &self.report,
            commitment: Some(of_success.commitment()),
            purchase: decide::PurchaseOrder {
                purchase_ids: &purchase_ids,
                commitment: commitments.first().copied(),
                commitments: commitments.get(1..).unwrap_or_default(),
                is_recorded: false,
                at: context.times.now,
            },
            hold_ids: &hold_ids,
            refund_id: RefundId(context.ids.subject),
            late_payments: context.late_payments,
            arrived_at: context.of_arrival(order),
            at: context.times.now,
        };
        let batch = order
            .aggregate
            .record_payment(&command, |drop_id| context.aggregate(drop_id))?;
        let privates = [of_success].into_iter().chain(of_sale);
        let new = new(self.order_id, batch, privates);
        Ok((first_drop(order), self.payment_id, new))
    }
}

impl Decide for RefundOrder {
    type Subject = RefundId;

    fn decide_all(&self, context: &Context<'_>) -> Decided<RefundId> {
        let order = context.order(self.order_id)?;
        let drops = |drop_id| context.aggregate(drop_id);
        let lines = self.items.as_deref().map(|items| {
            let lines = lines_of(items).into_iter();
            let line = lines.map(|line| refund::RefundLine {
                item: line.item,
                drop_id: line.drop_id,
                units: line.units,
            });
            line.collect::<Vec<_>>()
        });
        let is_used = |key| {
            let items = order.aggregate.items().iter();
            let mut of_items = items.filter_map(|item| drops(item.drop_id));
            of_items.any(|drop| drop.refund_by_key(key).is_some())
        };
        let command = refund::RefundOrder {
            refund_id: RefundId(context.ids.subject),
            key: used_key([self.key, self.other_key], is_used),
            lines: lines.as_deref(),
            restock: self.restock,
            reason: &self.reason,
            at: context.times.now,
        };
        let (refund_id, batch) = order.aggregate.refund(&command, drops)?;
        let new = new(self.order_id, batch, []);
        Ok((first_drop(order), refund_id, new))
    }
}

impl Decide for RefundPurchase {
    type Subject = RefundId;

    fn decide_all(&self, context: &Context<'_>) -> Decided<RefundId> {
        let drop = context.state.drop_of(self.hold_id);
        let drop = drop.ok_or(Refusal::PurchaseNotFound)?;
        let command = command::RefundPurchase {
            refund_id: RefundId(context.ids.subject),
            key: self.key,
            purchase_id: self.purchase_id,
            hold_id: self.hold_id,
            quantity: self.quantity,
            restock: self.restock,
            reason: self.reason.clone(),
            at: context.times.now,
        };
        let Some(order_id) = drop.aggregate.order_of(self.hold_id) else {
            let decision = drop.aggregate.refund_purchase(&command)?;
            let new = NewEvents::Drop {
                drop_id: drop.id,
                events: decision.events,
                private: None,
            };
            return Ok((drop.id, decision.subject, new));
        };
        let order = context.order(order_id)?;
        let (refund_id, batch) = order
            .aggregate
            .refund_purchase(&command, (drop.id, &drop.aggregate))?;
        Ok((drop.id, refund_id, new(order_id, batch, [])))
    }
}

impl Decide for SettleRefund {
    type Subject = RefundId;

    fn decide_all(&self, context: &Context<'_>) -> Decided<RefundId> {
        let order = context.order(self.order_id)?;
        let batch = order.aggregate.settle_refund(&refund::SettleRefund {
            refund_id: self.refund_id,
            outcome: self.outcome,
            reason: self.reason.clone(),
            at: context.times.now,
        })?;
        let new = new(self.order_id, batch, []);
        Ok((first_drop(order), self.refund_id, new))
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
        let new = new(self.order_id, batch, private);
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

/// The key to decide with: the one that is used already, otherwise the first.
fn used_key(
    keys: [Option<KeyDigest>; 2],
    is_used: impl Fn(KeyDigest) -> bool,
) -> Option<KeyDigest> {
    let mut used = keys.into_iter().flatten();
    used.find(|key| is_used(*key)).or(keys[0])
}

/// The events of a batch with the personal data that they commit to: `privates` has as many as
/// there are commitments or more, in the order of the events.
fn new(
    order_id: OrderId,
    batch: Option<OrderBatch>,
    privates: impl IntoIterator<Item = Private>,
) -> NewEvents {
    let Some(OrderBatch { orders, drops }) = batch else {
        return NewEvents::None;
    };
    let mut privates = privates.into_iter();
    let mut private_of = |commitment: Option<Commitment>| {
        let private = commitment.and_then(|_| privates.next());
        debug_assert_eq!(
            private.as_ref().map(Private::commitment),
            commitment,
            "an event has the personal data of another"
        );
        private
    };
    let mut of_orders = Vec::with_capacity(orders.len());
    for event in orders {
        let private = private_of(event.commitment());
        of_orders.push((event, private));
    }
    let drops = drops.into_iter().map(|(drop_id, event)| {
        let private = private_of(event.commitment());
        (drop_id, event, private)
    });
    NewEvents::Order(Box::new(NewOrderEvents {
        order_id,
        orders: of_orders,
        drops: drops.collect(),
    }))
}
