//! The JSON form of a notification, in the list and in the stream.

use ::catalogue::notifications::{Audience, Facts, Notification};
use domain::values::{
    CatalogueId, DropId, HoldId, Money, OrderId, Position, PurchaseId, RefundId, Timestamp,
    WaitlistId,
};
use projections::views::Views;
use schemars::JsonSchema;
use serde::Serialize;

/// The types of notifications. They are those of webhooks.
pub(crate) const TYPES: [&str; 6] = [
    "drop.started",
    "drop.sold_out",
    "stock.low",
    "waitlist.offered",
    "order.confirmed",
    "order.refunded",
];

/// A notification of a buyer.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Notification")]
pub(crate) struct NotificationBody {
    /// Unique within the log: a notification that is received twice has the same id.
    id: String,
    #[serde(rename = "type")]
    #[schemars(extend("enum" = TYPES))]
    kind: &'static str,
    /// The drop concerned; null if it is about a whole order.
    drop_id: Option<DropId>,
    /// The present name of the drop; null if the drop is hidden.
    drop_name: Option<String>,
    /// The creator whose followers are notified.
    creator_id: Option<String>,
    /// The order concerned. Only for administrators and for the buyer's own token, like the ids of
    /// holds, waitlist entries, purchases and refunds.
    order_id: Option<OrderId>,
    data: Data,
    created_at: Timestamp,
    /// The log position of the event.
    position: Position,
}

/// The facts of the event. Each type has its own members.
#[derive(Debug, Default, Serialize, JsonSchema)]
#[schemars(rename = "NotificationData")]
struct Data {
    /// Of `drop.started`.
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<Timestamp>,
    /// Of `stock.low`: the units that are available, unless the drop shows no numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    available: Option<u32>,
    /// Of `waitlist.offered`.
    #[serde(skip_serializing_if = "Option::is_none")]
    waitlist_entry_id: Option<WaitlistId>,
    /// Of `waitlist.offered`: the hold that can be purchased.
    #[serde(skip_serializing_if = "Option::is_none")]
    hold_id: Option<HoldId>,
    /// Of `waitlist.offered` and `order.refunded`: units.
    #[serde(skip_serializing_if = "Option::is_none")]
    quantity: Option<u32>,
    /// Of `waitlist.offered`: when the hold ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    /// Of `order.confirmed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    paid_at: Option<Timestamp>,
    /// Of `order.confirmed`: the payment arrived after the deadline.
    #[serde(skip_serializing_if = "Option::is_none")]
    late: Option<bool>,
    /// Of `order.refunded`.
    #[serde(skip_serializing_if = "Option::is_none")]
    purchase_id: Option<PurchaseId>,
    /// Of `order.refunded`.
    #[serde(skip_serializing_if = "Option::is_none")]
    refund_id: Option<RefundId>,
    /// Of `order.refunded`.
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<Money>,
    /// Of `order.refunded`.
    #[serde(skip_serializing_if = "Option::is_none")]
    refunded_at: Option<Timestamp>,
}

impl NotificationBody {
    /// Renders a notification. Without `sees_ids` it has no ids of holds, orders and their like:
    /// knowing such an id is the right to buy or to cancel.
    pub(super) fn new(notification: &Notification, views: &Views, sees_ids: bool) -> Self {
        let drop_id = notification.drop_id;
        let is_own = !matches!(notification.audience, Audience::Drop(..));
        let drop = drop_id.and_then(|drop_id| views.drop(drop_id));
        // A drop that was hidden meanwhile may have another name.
        let drop = drop.filter(|drop| is_own || drop.row.terms.are_found());
        Self {
            id: notification.id(),
            kind: notification.kind.name(),
            drop_id,
            drop_name: drop.map(|drop| drop.row.terms.name.as_str().to_owned()),
            creator_id: notification
                .creator_id()
                .map(|id: &CatalogueId| id.as_str().to_owned()),
            order_id: match notification.audience {
                Audience::Order(order_id) => sees_ids.then_some(order_id),
                Audience::Drop(..) | Audience::Buyer(..) => None,
            },
            data: Data::new(&notification.facts, sees_ids),
            created_at: notification.recorded_at,
            position: notification.position,
        }
    }
}

impl Data {
    fn new(facts: &Facts, sees_ids: bool) -> Self {
        match *facts {
            Facts::SoldOut => Self::default(),
            Facts::Started { started_at } => Self {
                started_at: Some(started_at),
                ..Self::default()
            },
            Facts::Low { available } => Self {
                available,
                ..Self::default()
            },
            Facts::Offered {
                waitlist_entry_id,
                hold_id,
                quantity,
                expires_at,
            } => Self {
                waitlist_entry_id: sees_ids.then_some(waitlist_entry_id),
                hold_id: sees_ids.then_some(hold_id),
                quantity: Some(quantity),
                expires_at: Some(expires_at),
                ..Self::default()
            },
            Facts::Confirmed { paid_at, late } => Self {
                paid_at: Some(paid_at),
                late: Some(late),
                ..Self::default()
            },
            Facts::Refunded {
                purchase_id,
                refund_id,
                quantity,
                amount,
                refunded_at,
            } => Self {
                purchase_id: sees_ids.then_some(purchase_id),
                refund_id: sees_ids.then_some(refund_id),
                quantity: Some(quantity),
                amount: Some(amount),
                refunded_at: Some(refunded_at),
                ..Self::default()
            },
        }
    }
}
