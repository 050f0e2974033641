//! The events of one order and of its holds.

use std::collections::HashSet;

use domain::order::OrderEvent;
use domain::values::{HoldId, OrderId, Position, Timestamp};
use serde_json::{Value, json};

use super::{AuditError, EventFilter, Source, body, hold_of, sentences};

/// The events of an order, and of the holds that it consists of.
#[derive(Default)]
pub(super) struct OrderHistory {
    events: Vec<Line>,
    status: &'static str,
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
                if is_it {
                    history.take(&recorded.event, &mut holds);
                }
                is_it.then(|| sentences::sentence_of_order(&recorded.event))
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
    fn take(&mut self, event: &OrderEvent, holds: &mut HashSet<HoldId>) {
        match event {
            OrderEvent::OrderPlaced(event) => {
                holds.extend(event.items.iter().map(|item| item.hold_id));
                self.status = "pending";
            }
            OrderEvent::OrderPaid(event) => {
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
        lines.join("\n")
    }

    pub(super) fn to_json(&self, order_id: OrderId) -> Value {
        let event = |line: &Line| {
            let mut body = line.body.clone();
            body["words"] = line.words.clone().into();
            body
        };
        let events: Vec<Value> = self.events.iter().map(event).collect();
        json!({ "order_id": order_id, "status": self.status, "events": events })
    }
}
