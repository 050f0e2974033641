//! The rows and jobs that follow from the events of orders.
//!
//! Promise: a pure function of the log, so that any server derives the same, however often.

use domain::order::{OrderEvent, RefundOutcome};
use domain::values::{IntentDigest, OrderId};
use infrastructure::codec::RecordedOrderEvent;
use infrastructure::feed::Committed;
use uuid::Uuid;

use crate::store::{Derived, JobKind, NewJob, Start};

/// Returns the rows and jobs that follow from a batch, in the order of its events.
pub(crate) fn derived(batch: &Committed) -> Vec<Derived> {
    let mut rows: Vec<Derived> = batch.orders.iter().flat_map(of_event).collect();
    let withheld = batch.withheld_orders.iter();
    rows.extend(withheld.map(|(position, order_id)| Derived::Withheld {
        order_id: order_id.0,
        position: *position,
    }));
    rows
}

/// Returns the id of the job that captures an intent, or reports that its payment is unknown.
pub(crate) fn job_of(intent: IntentDigest) -> Uuid {
    Uuid::from_bytes(intent.bytes())
}

fn of_event(recorded: &RecordedOrderEvent) -> Vec<Derived> {
    let OrderId(order_id) = recorded.order_id;
    let position = recorded.position;
    let ended = Derived::OrderEnded { order_id, position };
    match &recorded.event {
        OrderEvent::PaymentStarted(event) => vec![Derived::Started(Start {
            payment_id: event.payment_id.0,
            order_id,
            provider: event.provider.as_str().to_owned(),
            amount: event.amount,
            provider_reference: None,
            succeeded: false,
        })],
        OrderEvent::PaymentSucceeded(event) => {
            let private = recorded.private.as_ref();
            let reference = private.and_then(|private| private.payment_reference.as_ref());
            vec![Derived::Succeeded {
                payment_id: event.payment_id.0,
                order_id,
                intent: event.intent.bytes().to_vec(),
                provider_reference: reference.map(|reference| reference.as_str().to_owned()),
            }]
        }
        OrderEvent::OrderPaid(event) => {
            let capture = event.payment_id.zip(event.intent);
            let capture = capture.map(|(payment_id, intent)| {
                Derived::Job(NewJob {
                    id: job_of(intent),
                    kind: JobKind::Capture,
                    order_id,
                    payment_id: payment_id.0,
                    intent: Some(intent.bytes().to_vec()),
                    amount: event.total,
                    cause: None,
                    position,
                })
            });
            capture.into_iter().chain([ended]).collect()
        }
        OrderEvent::OrderCancelled(_) | OrderEvent::OrderExpired(_) => vec![ended],
        OrderEvent::RefundRequested(event) => vec![Derived::Job(NewJob {
            id: event.refund_id.0,
            kind: JobKind::Refund,
            order_id,
            payment_id: event.payment_id.0,
            intent: Some(event.intent.bytes().to_vec()),
            amount: event.amount,
            cause: Some(event.cause.name()),
            position,
        })],
        OrderEvent::RefundSettled(event) => {
            let failure = match event.outcome {
                RefundOutcome::Succeeded => None,
                RefundOutcome::Failed => {
                    let reason = event.reason.as_ref().map(|reason| reason.as_str());
                    Some(reason.unwrap_or("unknown").to_owned())
                }
            };
            vec![Derived::RefundSettled {
                refund_id: event.refund_id.0,
                failure,
            }]
        }
        OrderEvent::OrderPlaced(_)
        | OrderEvent::OrderFulfilled(_)
        | OrderEvent::PaymentFailed(_)
        | OrderEvent::PaymentArrivedLate(_) => vec![],
    }
}
