//! The vocabulary of tests of orders: several drops and one order.

use std::collections::BTreeMap;

use super::events::released;
use super::values::named;
use super::*;
use crate::command::Pass;
use crate::event::{HoldPlaced, ReleaseCause};
use crate::order::decide::{OrderBatch, OrderLine, PlaceOrder, PurchaseOrder};
use crate::order::{
    CancelCause, FulfilmentStep, Order, OrderCancelled, OrderEvent, OrderExpired, OrderFulfilled,
    OrderItem, OrderPaid, OrderPlaced, OrderPurchase, PaymentArrivedLate, PaymentFailed,
    PaymentStarted, PaymentSucceeded, RefundCause, RefundOutcome, RefundRequested, RefundSettled,
};
use crate::stock::Stock;
use crate::values::{
    DropId, FailureCode, IntentDigest, Money, OrderId, PaymentId, PaymentReference, ProviderName,
    PurchaseId,
};

#[must_use]
#[track_caller]
pub fn order_id(name: &str) -> OrderId {
    OrderId(named(name))
}

/// One item: `units` of a drop at the default price, under a hold of that name.
#[must_use]
#[track_caller]
pub fn order_item(drop: &str, hold: &str, units: u32) -> OrderItem {
    OrderItem {
        drop_id: drop_id(drop),
        hold_id: hold_id(hold),
        quantity: quantity(units),
        price: terms().price,
    }
}

/// An order of `ann` was placed.
#[must_use]
pub fn order_placed(items: impl IntoIterator<Item = OrderItem>) -> OrderEvent {
    let items: Vec<OrderItem> = items.into_iter().collect();
    let amount = items.iter().map(|item| item.total().amount).sum();
    OrderEvent::OrderPlaced(OrderPlaced {
        key: None,
        buyer: buyer("ann"),
        items,
        total: Money {
            amount,
            ..terms().price
        },
        placed_at: second(0),
        expires_at: second(HOLD_SECONDS.into()),
        commitment: None,
    })
}

/// An order of these items was paid; purchases are named after their holds.
#[must_use]
pub fn order_paid(items: impl IntoIterator<Item = OrderItem>) -> OrderEvent {
    let items: Vec<OrderItem> = items.into_iter().collect();
    let purchases = items.iter().map(|item| OrderPurchase {
        hold_id: item.hold_id,
        purchase_id: PurchaseId(item.hold_id.0),
    });
    OrderEvent::OrderPaid(OrderPaid {
        paid_at: second(0),
        total: Money {
            amount: items.iter().map(|item| item.total().amount).sum(),
            ..terms().price
        },
        late: false,
        purchases: purchases.collect(),
        payment_id: None,
        intent: None,
        commitment: None,
    })
}

/// An order of these items was paid by a payment; purchases are named after their holds.
///
/// # Panics
/// Never: it builds the event of a payment.
#[must_use]
pub fn order_paid_by(
    payment: &str,
    intent_reference: &str,
    items: impl IntoIterator<Item = OrderItem>,
) -> OrderEvent {
    let OrderEvent::OrderPaid(event) = order_paid(items) else {
        unreachable!("it builds the event of a payment");
    };
    OrderEvent::OrderPaid(OrderPaid {
        payment_id: Some(payment_id(payment)),
        intent: Some(intent(intent_reference)),
        ..event
    })
}

/// The same for a payment that arrived late: the items have new holds.
///
/// # Panics
/// Never: it builds the event of a payment.
#[must_use]
pub fn order_paid_late(
    payment: &str,
    intent_reference: &str,
    items: impl IntoIterator<Item = OrderItem>,
) -> OrderEvent {
    let OrderEvent::OrderPaid(event) = order_paid_by(payment, intent_reference, items) else {
        unreachable!("it builds the event of a payment");
    };
    OrderEvent::OrderPaid(OrderPaid {
        late: true,
        paid_at: second(i64::from(HOLD_SECONDS) + 1),
        ..event
    })
}

#[must_use]
pub fn order_cancelled(cause: CancelCause) -> OrderEvent {
    OrderEvent::OrderCancelled(OrderCancelled {
        cancelled_at: second(0),
        cause,
    })
}

/// An order with the default deadline expired.
#[must_use]
pub fn order_expired() -> OrderEvent {
    OrderEvent::OrderExpired(OrderExpired {
        expired_at: second(HOLD_SECONDS.into()),
    })
}

#[must_use]
pub fn order_fulfilled(fulfilment: FulfilmentStep) -> OrderEvent {
    OrderEvent::OrderFulfilled(OrderFulfilled {
        fulfilment,
        fulfilled_at: second(0),
        commitment: None,
    })
}

#[must_use]
pub fn payment_id(name: &str) -> PaymentId {
    PaymentId(named(name))
}

/// The default provider of payments.
///
/// # Panics
/// Never: the name is valid.
#[must_use]
pub fn provider() -> ProviderName {
    ProviderName::new("demo").expect("a valid name")
}

/// The digest of an intent of the default provider.
///
/// # Panics
/// If a reference cannot have this text.
#[must_use]
#[track_caller]
pub fn intent(reference: &str) -> IntentDigest {
    let reference = PaymentReference::new(reference).expect("a valid reference");
    IntentDigest::new(&provider(), &reference)
}

/// A payment of these items was started, and moved no deadline.
#[must_use]
pub fn payment_started(payment: &str, items: impl IntoIterator<Item = OrderItem>) -> OrderEvent {
    let amount = items.into_iter().map(|item| item.total().amount).sum();
    OrderEvent::PaymentStarted(PaymentStarted {
        payment_id: payment_id(payment),
        key: None,
        provider: provider(),
        amount: Money {
            amount,
            ..terms().price
        },
        started_at: second(0),
        expires_at: second(HOLD_SECONDS.into()),
    })
}

/// An intent of this amount succeeded.
#[must_use]
pub fn payment_succeeded(payment: &str, reference: &str, amount: Money) -> OrderEvent {
    OrderEvent::PaymentSucceeded(PaymentSucceeded {
        payment_id: payment_id(payment),
        intent: intent(reference),
        amount,
        succeeded_at: second(0),
        commitment: None,
    })
}

/// # Panics
/// Never: the code is valid.
#[must_use]
pub fn payment_failed(payment: &str, reference: &str) -> OrderEvent {
    OrderEvent::PaymentFailed(PaymentFailed {
        payment_id: payment_id(payment),
        intent: Some(intent(reference)),
        reason: FailureCode::new("card_declined").expect("a valid code"),
        failed_at: second(0),
    })
}

#[must_use]
pub fn payment_arrived_late(payment: &str, reference: &str) -> OrderEvent {
    OrderEvent::PaymentArrivedLate(PaymentArrivedLate {
        payment_id: payment_id(payment),
        intent: intent(reference),
        arrived_at: second(HOLD_SECONDS.into()),
    })
}

/// Money of an intent is returned; a return has the default reason.
#[must_use]
pub fn refund_requested(
    refund: &str,
    (payment, reference): (&str, &str),
    amount: Money,
    cause: RefundCause,
) -> OrderEvent {
    OrderEvent::RefundRequested(RefundRequested {
        refund_id: refund_id(refund),
        payment_id: payment_id(payment),
        intent: intent(reference),
        key: None,
        amount,
        cause,
        requested_at: second(0),
        reason: (!cause.is_automatic()).then(reason),
    })
}

/// # Panics
/// Never: the code is valid.
#[must_use]
pub fn refund_settled(refund: &str, outcome: RefundOutcome) -> OrderEvent {
    let code = FailureCode::new("expired_card").expect("a valid code");
    OrderEvent::RefundSettled(RefundSettled {
        refund_id: refund_id(refund),
        outcome,
        reason: (outcome == RefundOutcome::Failed).then_some(code),
        settled_at: second(0),
    })
}

/// A hold of an order was placed.
#[must_use]
#[track_caller]
pub fn hold_ordered(order: &str, hold: &str, units: u32) -> DropEvent {
    let DropEvent::HoldPlaced(event) = hold_placed(hold, units) else {
        unreachable!("it builds a hold");
    };
    DropEvent::HoldPlaced(HoldPlaced {
        order_id: Some(order_id(order)),
        code: None,
        ..event
    })
}

/// A hold was released because its order was cancelled.
#[must_use]
#[track_caller]
pub fn hold_of_cancelled_order(hold: &str, units: u32) -> DropEvent {
    released(hold, units, ReleaseCause::OrderCancelled)
}

/// Several drops and one order, with every decided batch applied. Each batch is also reverted and
/// compared.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Market {
    pub drops: BTreeMap<DropId, DropAggregate>,
    pub orders: BTreeMap<OrderId, Order>,
}

impl Market {
    /// # Panics
    /// If a drop cannot have this history.
    #[must_use]
    #[track_caller]
    pub fn with(mut self, drop: &str, history: impl IntoIterator<Item = DropEvent>) -> Self {
        let aggregate = self.drops.entry(drop_id(drop)).or_default();
        for event in history {
            aggregate.evolve(&event);
        }
        self
    }

    /// # Panics
    /// If there is no such drop.
    #[must_use]
    #[track_caller]
    pub fn stock_of(&self, drop: &str) -> Stock {
        self.drops[&drop_id(drop)].stock()
    }

    fn order(&self, id: OrderId) -> Order {
        self.orders.get(&id).cloned().unwrap_or_default()
    }

    /// Decides an order of `ann`, whose holds are named `ORDER.DROP`.
    ///
    /// # Errors
    /// The refusal.
    pub fn decide_order(
        &self,
        order: &str,
        lines: &[(&str, u32)],
        at: Timestamp,
    ) -> Result<Option<OrderBatch>, Refusal> {
        let line = |(index, (drop, units)): (usize, &(&str, u32))| OrderLine {
            item: u32::try_from(index).unwrap_or_default(),
            drop_id: drop_id(drop),
            drop: self.drops.get(&drop_id(drop)),
            hold_id: hold_id(&format!("{order}.{drop}")),
            buyer: buyer("ann"),
            commitment: None,
            units: *units,
            pass: Pass::default(),
        };
        let lines: Vec<OrderLine<'_>> = lines.iter().enumerate().map(line).collect();
        self.order(order_id(order)).place(&PlaceOrder {
            order_id: order_id(order),
            key: Some(key(order)),
            buyer: buyer("ann"),
            commitment: None,
            lines: &lines,
            at,
        })
    }

    /// Places an order and applies its batch; returns the number of events.
    ///
    /// # Errors
    /// The refusal.
    pub fn place_order(
        &mut self,
        order: &str,
        lines: &[(&str, u32)],
        at: Timestamp,
    ) -> Result<usize, Refusal> {
        let batch = self.decide_order(order, lines, at)?;
        Ok(self.apply(order_id(order), batch))
    }

    /// # Errors
    /// The refusal.
    pub fn purchase_order(&mut self, order: &str, at: Timestamp) -> Result<usize, Refusal> {
        let before = self.order(order_id(order));
        let purchase_ids: Vec<PurchaseId> = before
            .items()
            .iter()
            .map(|item| PurchaseId(item.hold_id.0))
            .collect();
        let command = PurchaseOrder {
            purchase_ids: &purchase_ids,
            commitment: None,
            commitments: &[],
            is_recorded: false,
            at,
        };
        let batch = before.purchase(&command, |id| self.drops.get(&id))?;
        Ok(self.apply(order_id(order), batch))
    }

    /// # Errors
    /// The refusal.
    pub fn cancel_order(&mut self, order: &str, at: Timestamp) -> Result<usize, Refusal> {
        let batch = self
            .order(order_id(order))
            .cancel(at, |id| self.drops.get(&id))?;
        Ok(self.apply(order_id(order), batch))
    }

    /// Records the consequences of an ended hold; returns the number of events.
    pub fn conclude_order(&mut self, order: &str, at: Timestamp) -> usize {
        let batch = self
            .order(order_id(order))
            .conclude(at, |id| self.drops.get(&id));
        self.apply(order_id(order), batch)
    }

    /// Decides a command of one drop and applies its events.
    ///
    /// # Errors
    /// The refusal.
    ///
    /// # Panics
    /// If there is no such drop.
    pub fn decide(&mut self, drop: &str, command: &DropCommand) -> Result<usize, Refusal> {
        let aggregate = self.drops.get_mut(&drop_id(drop)).expect("a drop");
        let events = aggregate.decide(command)?.events;
        events.iter().for_each(|event| aggregate.evolve(event));
        Ok(events.len())
    }

    /// Applies a batch; returns the number of events.
    ///
    /// # Panics
    /// If history cannot contain the batch, or reverting it does not restore the state.
    pub fn apply(&mut self, order_id: OrderId, batch: Option<OrderBatch>) -> usize {
        let Some(OrderBatch { orders, drops }) = batch else {
            return 0;
        };
        let before = self.clone();
        let mut undo = vec![];
        for event in &orders {
            let order = self.orders.entry(order_id).or_default();
            undo.push(order.before(event));
            order.evolve(event);
        }
        for (drop_id, event) in &drops {
            self.drops.entry(*drop_id).or_default().evolve(event);
        }
        let mut reverted = self.clone();
        for (drop_id, event) in drops.iter().rev() {
            reverted.drops.entry(*drop_id).or_default().revert(event);
        }
        for (event, undo) in orders.iter().zip(undo).rev() {
            let aggregate = reverted.orders.entry(order_id).or_default();
            aggregate.revert(event, undo);
            if let OrderEvent::OrderPlaced(_) = event {
                assert_eq!(reverted.orders.remove(&order_id), Some(Order::default()));
            }
        }
        assert_eq!(
            reverted, before,
            "reverting the batch does not restore the state"
        );
        orders.len() + drops.len()
    }
}
