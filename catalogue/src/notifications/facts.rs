//! The notifications of each event: their readers and their facts. One decision, that of
//! [`Notices`], determines for webhooks and notifications if a drop has sold out or is low on
//! stock.

use domain::DropEvent;
use domain::order::OrderEvent;
use domain::values::{HoldId, Money, PurchaseId, RefundId, Timestamp, WaitlistId};
use infrastructure::codec::RecordedEvent;
use webhooks::kind::Kind;
use webhooks::notices::{Notices, StockNotice};

use super::{Announced, Audience};

/// The facts of a notification, in addition to its type and its drop or order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Facts {
    /// `drop.started`: of a start in a pause, at the end of the pause.
    Started { started_at: Timestamp },
    /// `stock.low`
    Low {
        /// Units that are available; `None` if the drop shows no numbers.
        available: Option<u32>,
    },
    /// `waitlist.offered`
    Offered {
        waitlist_entry_id: WaitlistId,
        hold_id: HoldId,
        quantity: u32,
        expires_at: Timestamp,
    },
    /// `order.confirmed`
    Confirmed {
        paid_at: Timestamp,
        /// The payment arrived after the deadline.
        late: bool,
    },
    /// `order.refunded`
    Refunded {
        purchase_id: PurchaseId,
        refund_id: RefundId,
        quantity: u32,
        amount: Money,
        refunded_at: Timestamp,
    },
    /// `drop.sold_out`
    SoldOut,
}

/// Returns the notifications that follow from an event of a drop.
pub(super) fn of_drop_event(
    recorded: &RecordedEvent,
    notices: &Notices,
    announced: &Announced,
) -> Vec<(Kind, Audience, Facts)> {
    let drop_id = recorded.drop_id;
    let to_all = || Audience::Drop(drop_id, announced.creator_id.clone());
    let mut found = vec![];
    let start = announced.start_announced_by(&recorded.event);
    if let Some(started_at) = start.filter(|_| announced.is_found) {
        found.push((Kind::DropStarted, to_all(), Facts::Started { started_at }));
    }
    match &recorded.event {
        DropEvent::HoldPlaced(event) => {
            if let Some(waitlist_entry_id) = event.waitlist_entry {
                let facts = Facts::Offered {
                    waitlist_entry_id,
                    hold_id: event.hold_id,
                    quantity: event.quantity.get(),
                    expires_at: event.expires_at,
                };
                let audience = Audience::Buyer(drop_id, event.buyer);
                found.push((Kind::WaitlistOffered, audience, facts));
            }
        }
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
        | DropEvent::CodesCreated(_)
        | DropEvent::WaitlistJoined(_)
        | DropEvent::WaitlistLeft(_) => {}
    }
    let notice = notices.of(recorded);
    if notice.stock == Some(StockNotice::SoldOut) && announced.is_found {
        found.push((Kind::DropSoldOut, to_all(), Facts::SoldOut));
    }
    if let Some(low) = notice.low.filter(|_| announced.is_found) {
        let available = announced.has_exact_stock.then_some(low.available);
        found.push((Kind::StockLow, to_all(), Facts::Low { available }));
    }
    if let (DropEvent::PurchaseRefunded(event), Some(order)) = (&recorded.event, notice.order) {
        let facts = Facts::Refunded {
            purchase_id: event.purchase_id,
            refund_id: event.refund_id,
            quantity: event.quantity.get(),
            amount: event.amount,
            refunded_at: event.refunded_at,
        };
        let audience = Audience::Order(order.order_id);
        found.push((Kind::OrderRefunded, audience, facts));
    }
    found
}

/// Returns the notification that follows from an event of an order.
pub(super) fn of_order_event(event: &OrderEvent) -> Option<(Kind, Facts)> {
    match event {
        OrderEvent::OrderPaid(event) => {
            let facts = Facts::Confirmed {
                paid_at: event.paid_at,
                late: event.late,
            };
            Some((Kind::OrderConfirmed, facts))
        }
        OrderEvent::OrderPlaced(_)
        | OrderEvent::OrderCancelled(_)
        | OrderEvent::OrderExpired(_)
        | OrderEvent::OrderFulfilled(_)
        | OrderEvent::PaymentStarted(_)
        | OrderEvent::PaymentSucceeded(_)
        | OrderEvent::PaymentFailed(_)
        | OrderEvent::PaymentArrivedLate(_)
        | OrderEvent::RefundRequested(_)
        | OrderEvent::RefundSettled(_) => None,
    }
}
