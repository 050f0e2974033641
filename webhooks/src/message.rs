//! The messages of an event: what one request contains, the same at every attempt and on every
//! server.
//!
//! Promise: ids, numbers, times, the public terms of a drop and the items of an order, and no
//! personal data; fewer than 20,000 bytes.

use bytes::Bytes;
use domain::DropEvent;
use domain::order::OrderEvent;
use domain::terms::DropTerms;
use domain::values::{Position, StockCount, Timestamp};
use infrastructure::codec::{RecordedEvent, RecordedOrderEvent};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

use crate::kind::{Kind, TEST};
use crate::notices::{Notice, StockNotice};
use crate::orders::OrderFacts;

/// One message of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// The header `webhook-id`.
    pub(crate) webhook_id: String,
    pub(crate) event_type: &'static str,
    pub(crate) position: Position,
    /// Its number among the messages of the event, from 0, subscribed or not.
    pub(crate) part: u8,
    pub(crate) body: Bytes,
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    event_type: &'a str,
    timestamp: Timestamp,
    data: &'a Value,
}

impl Message {
    /// `stream` is the id of the drop or order, `at` the position and time of the event.
    fn new(stream: Uuid, at: (Position, Timestamp), kind: Kind, part: u8, data: &Value) -> Self {
        let (position, recorded_at) = at;
        Self {
            webhook_id: webhook_id(stream, position, kind),
            event_type: kind.name(),
            position,
            part,
            body: body(kind.name(), recorded_at, data),
        }
    }

    /// Returns the message of a test.
    pub(crate) fn test(
        webhook_id: String,
        endpoint_id: Uuid,
        position: Position,
        at: Timestamp,
    ) -> Self {
        let data = json!({ "endpoint_id": endpoint_id, "position": position });
        Self {
            webhook_id,
            event_type: TEST,
            position,
            part: 0,
            body: body(TEST, at, &data),
        }
    }
}

fn body(event_type: &str, timestamp: Timestamp, data: &Value) -> Bytes {
    let body = Body {
        event_type,
        timestamp,
        data,
    };
    serde_json::to_vec(&body).unwrap_or_default().into()
}

/// Returns the id of a message: equal at every attempt, for every endpoint and on every server;
/// different in another log, because the ids of drops and orders are random. It contains no
/// dot, which would make the signed text ambiguous.
fn webhook_id(stream: Uuid, position: Position, kind: Kind) -> String {
    let digest = Sha256::new()
        .chain_update(b"holdfast.webhook.v1")
        .chain_update(stream.as_bytes())
        .chain_update(position.0.to_be_bytes())
        .chain_update(kind.name().as_bytes())
        .finalize();
    format!("evt_{position}_{}", hex::encode(&digest[..8]))
}

/// Returns the id of the delivery of a message to an endpoint.
pub(crate) fn delivery_id(endpoint_id: Uuid, webhook_id: &str) -> Uuid {
    let digest = Sha256::new()
        .chain_update(b"holdfast.webhook.delivery.v1")
        .chain_update(endpoint_id.as_bytes())
        .chain_update(webhook_id.as_bytes())
        .finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Builder::from_random_bytes(bytes).into_uuid()
}

/// The message that a drop is announced.
fn scheduled(
    recorded: &RecordedEvent,
    terms: &DropTerms,
    total_stock: StockCount,
) -> (Kind, Value) {
    let data = json!({
        "drop_id": recorded.drop_id, "name": terms.name, "price": terms.price,
        "total_stock": total_stock, "starts_at": terms.starts_at, "ends_at": terms.ends_at,
        "position": recorded.position,
    });
    (Kind::DropScheduled, data)
}

/// Returns the messages of a drop's event, in the order in which they are sent.
pub(crate) fn messages(recorded: &RecordedEvent, notice: &Notice) -> Vec<Message> {
    let (drop_id, position) = (recorded.drop_id, recorded.position);
    let mut parts: Vec<(Kind, Value)> = vec![];
    let mut cause = None;
    match &recorded.event {
        DropEvent::DropScheduled(event) => {
            parts.push(scheduled(recorded, &event.terms, event.total_stock));
        }
        DropEvent::DropPublished(event) => {
            parts.push(scheduled(recorded, &event.terms, event.total_stock));
        }
        DropEvent::DropPaused(event) => parts.push((
            Kind::DropPaused,
            json!({ "drop_id": drop_id, "paused_at": event.paused_at, "position": position }),
        )),
        DropEvent::DropResumed(event) => parts.push((
            Kind::DropResumed,
            json!({ "drop_id": drop_id, "resumed_at": event.resumed_at, "position": position }),
        )),
        DropEvent::DropStarted(event) => parts.push((
            Kind::DropStarted,
            json!({ "drop_id": drop_id, "started_at": event.started_at, "position": position }),
        )),
        DropEvent::DropEnded(event) => parts.push((
            Kind::DropEnded,
            json!({ "drop_id": drop_id, "ended_at": event.ended_at, "position": position }),
        )),
        DropEvent::DropCancelled(event) => parts.push((
            Kind::DropCancelled,
            json!({ "drop_id": drop_id, "cancelled_at": event.cancelled_at, "position": position }),
        )),
        DropEvent::HoldPlaced(event) => {
            parts.push((
                Kind::HoldPlaced,
                json!({
                    "drop_id": drop_id, "hold_id": event.hold_id, "quantity": event.quantity,
                    "placed_at": event.placed_at, "expires_at": event.expires_at,
                    "waitlist_entry_id": event.waitlist_entry, "position": position,
                }),
            ));
            if let Some(entry_id) = event.waitlist_entry {
                parts.push((
                    Kind::WaitlistOffered,
                    json!({
                        "drop_id": drop_id, "waitlist_entry_id": entry_id, "hold_id": event.hold_id,
                        "quantity": event.quantity, "expires_at": event.expires_at,
                        "position": position,
                    }),
                ));
            }
        }
        DropEvent::HoldExpired(event) => {
            cause = Some(("expiry", event.quantity.get()));
            parts.push((
                Kind::HoldExpired,
                json!({
                    "drop_id": drop_id, "hold_id": event.hold_id, "quantity": event.quantity,
                    "expired_at": event.expired_at, "position": position,
                }),
            ));
        }
        DropEvent::HoldReleased(event) => {
            cause = Some(("release", event.quantity.get()));
            parts.push((
                Kind::HoldReleased,
                json!({
                    "drop_id": drop_id, "hold_id": event.hold_id, "quantity": event.quantity,
                    "released_at": event.released_at, "cause": event.cause, "position": position,
                }),
            ));
        }
        DropEvent::PurchaseConfirmed(event) => parts.push((
            Kind::PurchaseConfirmed,
            json!({
                "drop_id": drop_id, "hold_id": event.hold_id, "purchase_id": event.purchase_id,
                "quantity": event.quantity, "total": event.total,
                "purchased_at": event.purchased_at, "position": position,
            }),
        )),
        DropEvent::StockAdjusted(event) => {
            cause = Some(("adjustment", event.delta.unsigned_abs()));
        }
        DropEvent::PurchaseRefunded(event) => {
            cause = Some(("refund", event.quantity.get()));
            parts.push((
                Kind::PurchaseRefunded,
                json!({
                    "drop_id": drop_id, "hold_id": event.hold_id, "purchase_id": event.purchase_id,
                    "refund_id": event.refund_id, "quantity": event.quantity,
                    "amount": event.amount, "restocked": event.restocked,
                    "refunded_at": event.refunded_at, "position": position,
                }),
            ));
        }
        DropEvent::HoldChanged(event) => {
            cause = Some(("change", event.units_freed()));
        }
        DropEvent::DropRescheduled(_)
        | DropEvent::HoldExtended(_)
        | DropEvent::WaitlistJoined(_)
        | DropEvent::WaitlistLeft(_)
        | DropEvent::CodesCreated(_)
        // A receiver that announces drops would announce a draft.
        | DropEvent::DropDrafted(_) => {}
    }
    match (notice.stock, cause) {
        (Some(StockNotice::SoldOut), _) => parts.push((
            Kind::DropSoldOut,
            json!({ "drop_id": drop_id, "position": position }),
        )),
        (Some(StockNotice::Restocked), Some((cause, quantity))) => parts.push((
            Kind::DropRestocked,
            json!({ "drop_id": drop_id, "quantity": quantity, "cause": cause, "position": position }),
        )),
        (Some(StockNotice::Restocked), None) | (None, _) => {}
    }
    if let Some(low) = notice.low {
        parts.push((
            Kind::StockLow,
            json!({
                "drop_id": drop_id, "available": low.available, "low_stock_at": low.low_stock_at,
                "position": position,
            }),
        ));
    }
    if let (DropEvent::PurchaseRefunded(event), Some(order)) = (&recorded.event, &notice.order) {
        let more = json!({
            "drop_id": drop_id, "purchase_id": event.purchase_id, "refund_id": event.refund_id,
            "quantity": event.quantity, "amount": event.amount, "restocked": event.restocked,
            "refunded_at": event.refunded_at,
        });
        parts.push((Kind::OrderRefunded, of_order(order, position, more)));
    }
    let numbered = (0..).zip(parts);
    let at = (position, recorded.recorded_at);
    numbered
        .map(|(part, (kind, data))| Message::new(drop_id.0, at, kind, part, &data))
        .collect()
}

/// Returns the message of an order's event, if it has one. `order` is the order as the event left
/// it.
pub(crate) fn order_message(recorded: &RecordedOrderEvent, order: &OrderFacts) -> Option<Message> {
    let (kind, more) = match &recorded.event {
        OrderEvent::OrderPlaced(event) => (
            Kind::OrderPlaced,
            json!({ "placed_at": event.placed_at, "expires_at": event.expires_at }),
        ),
        OrderEvent::OrderPaid(event) => (
            Kind::OrderConfirmed,
            json!({ "paid_at": event.paid_at, "late": event.late }),
        ),
        OrderEvent::OrderCancelled(event) => (
            Kind::OrderCancelled,
            json!({ "cancelled_at": event.cancelled_at, "cause": event.cause }),
        ),
        OrderEvent::OrderExpired(event) => (
            Kind::OrderExpired,
            json!({ "expired_at": event.expired_at }),
        ),
        OrderEvent::OrderFulfilled(event) => (
            Kind::OrderFulfilled,
            json!({ "fulfilled_at": event.fulfilled_at }),
        ),
        OrderEvent::PaymentArrivedLate(event) => (
            Kind::PaymentLate,
            json!({ "payment_id": event.payment_id, "arrived_at": event.arrived_at }),
        ),
        OrderEvent::PaymentStarted(_)
        | OrderEvent::PaymentSucceeded(_)
        | OrderEvent::PaymentFailed(_)
        | OrderEvent::RefundRequested(_)
        | OrderEvent::RefundSettled(_) => return None,
    };
    let position = recorded.position;
    let data = of_order(order, position, more);
    let at = (position, recorded.recorded_at);
    Some(Message::new(recorded.order_id.0, at, kind, 0, &data))
}

/// Returns the public facts of an order, and those of its event.
fn of_order(order: &OrderFacts, position: Position, more: Value) -> Value {
    let mut data = json!(order);
    if let (Value::Object(data), Value::Object(more)) = (&mut data, more) {
        data.extend(more);
        data.insert("position".to_owned(), json!(position));
    }
    data
}
