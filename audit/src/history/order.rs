//! The events of one order and of its holds.

use std::collections::HashSet;

use domain::order::OrderEvent;
use domain::values::{HoldId, OrderId, Position, Timestamp};
use infrastructure::codec::RecordedOrderEvent;
use projections::order_payments::{MoneyRefundRow, MoneyStatus, OrderPayments};
use serde_json::{Value, json};

use super::{AuditError, EventFilter, Source, body, hold_of, payment_bodies, sentences};

/// The events of an order, and of the holds that it consists of.
#[derive(Default)]
pub(super) struct OrderHistory {
    events: Vec<Line>,
    status: &'static str,
    payments: OrderPayments,
}

struct Line {
    position: Position,
    recorded_at: Timestamp,
    words: String,
    body: Value,
}

pub(super) async fn find(
    source: &Source,
    order_id: OrderId,
) -> Result<Option<OrderHistory>, AuditError> {
    let mut reading = source.read(EventFilter::default(), "searching").await?;
    let (mut history, mut holds) = (OrderHistory::default(), HashSet::<HoldId>::new());
    while let Some(page) = reading.next().await? {
        for stored in &page {
            let words = if let Some(recorded) = reading.decode(stored)? {
                let is_its = hold_of(&recorded.event).is_some_and(|hold| holds.contains(&hold));
                is_its.then(|| sentences::sentence(&recorded.event))
            } else if let Some(recorded) = reading.decode_order(stored)? {
                let is_it = recorded.order_id == order_id;
                let before = history.status;
                if is_it {
                    history.take(&recorded, &mut holds);
                }
                let is_new_tracking = matches!(
                    &recorded.event,
                    OrderEvent::OrderFulfilled(event) if event.fulfilment.name() == before
                );
                is_it.then(|| match is_new_tracking {
                    true => "the tracking was changed".to_owned(),
                    false => sentences::sentence_of_order(&recorded.event),
                })
            } else {
                None
            };
            history.events.extend(words.map(|words| Line {
                position: stored.position,
                recorded_at: stored.recorded_at,
                words,
                body: body(stored),
            }));
        }
    }
    Ok((!history.events.is_empty()).then_some(history))
}

impl OrderHistory {
    fn take(&mut self, recorded: &RecordedOrderEvent, holds: &mut HashSet<HoldId>) {
        self.payments.apply(recorded);
        match &recorded.event {
            OrderEvent::OrderPlaced(event) => {
                holds.extend(event.items.iter().map(|item| item.hold_id));
                self.status = "pending";
            }
            OrderEvent::OrderPaid(event) => {
                // A late sale has holds of its own.
                holds.extend(event.purchases.iter().map(|purchase| purchase.hold_id));
                self.status = "paid";
            }
            OrderEvent::OrderCancelled(_) => self.status = "cancelled",
            OrderEvent::OrderExpired(_) => self.status = "expired",
            OrderEvent::OrderFulfilled(event) => self.status = event.fulfilment.name(),
            OrderEvent::PaymentStarted(_)
            | OrderEvent::PaymentSucceeded(_)
            | OrderEvent::PaymentFailed(_)
            | OrderEvent::PaymentArrivedLate(_)
            | OrderEvent::RefundRequested(_)
            | OrderEvent::RefundSettled(_) => {}
        }
    }

    pub(super) fn to_text(&self) -> String {
        let text = |line: &Line| {
            format!(
                "{}  position {}: {}",
                line.recorded_at, line.position, line.words
            )
        };
        let mut lines: Vec<String> = self.events.iter().map(text).collect();
        lines.push(format!(
            "According to the log, the order is {}.",
            self.status
        ));
        lines.extend(self.open_refunds());
        lines.join("\n")
    }

    /// A sentence about the refunds that are not settled; `None` if there is none.
    fn open_refunds(&self) -> Option<String> {
        let is_open = |refund: &&MoneyRefundRow| refund.status != MoneyStatus::Succeeded;
        let open: Vec<&MoneyRefundRow> = self.payments.refunds.iter().filter(is_open).collect();
        let described = |refund: &&MoneyRefundRow| {
            format!(
                "{} (refund {}, {})",
                refund.amount,
                refund.id,
                refund.status.name()
            )
        };
        let described: Vec<String> = open.iter().map(described).collect();
        (!open.is_empty()).then(|| format!("Still to be returned: {}.", described.join(", ")))
    }

    pub(super) fn to_json(&self, order_id: OrderId) -> Value {
        let event = |line: &Line| {
            let mut body = line.body.clone();
            body["words"] = line.words.clone().into();
            body
        };
        let events: Vec<Value> = self.events.iter().map(event).collect();
        let mut body = json!({ "order_id": order_id, "status": self.status, "events": events });
        payment_bodies::add_to(&mut body, &self.payments);
        body
    }
}
