//! An order as responses and the stream show it.

use domain::order::{FulfilmentStep, OrderItem, ShownStatus};
use domain::values::{
    BuyerId, DropId, HoldId, Money, OrderId, PaymentReference, Position, PurchaseId, Quantity,
    Timestamp, Tracking,
};
use projections::orders::OrderRow;
use schemars::JsonSchema;
use serde::Serialize;

use super::made_refunds::{MadeRefundBody, made_refunds};
use super::payment::OrderPaymentBody;
use crate::render::RefundedBody;

/// How far a paid order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fulfilment {
    /// The shop has not started.
    Unfulfilled,
    /// The shop prepares the goods.
    Processing,
    /// The goods are on their way.
    Shipped,
    /// The goods arrived.
    Delivered,
}

impl From<Option<FulfilmentStep>> for Fulfilment {
    fn from(step: Option<FulfilmentStep>) -> Self {
        match step {
            None => Self::Unfulfilled,
            Some(FulfilmentStep::Processing) => Self::Processing,
            Some(FulfilmentStep::Shipped) => Self::Shipped,
            Some(FulfilmentStep::Delivered) => Self::Delivered,
        }
    }
}

/// One drop's units in an order.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "OrderItem")]
pub(crate) struct OrderItemBody {
    pub(super) drop_id: DropId,
    pub(super) hold_id: HoldId,
    /// The purchase; null until the order is paid.
    pub(super) purchase_id: Option<PurchaseId>,
    pub(super) quantity: Quantity,
    /// The price of one unit when the order was placed.
    pub(super) price: Money,
    /// The price of all units.
    pub(super) total: Money,
    pub(super) refunded: RefundedBody,
}

/// An order: units of one or more drops for one buyer, paid together.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Order")]
pub(crate) struct OrderBody {
    pub(crate) id: OrderId,
    /// Null after the erasure of the buyer.
    pub(crate) buyer_id: Option<BuyerId>,
    pub(crate) status: ShownStatus,
    pub(crate) fulfilment: Fulfilment,
    pub(crate) items: Vec<OrderItemBody>,
    pub(crate) total: Money,
    /// The payment with a provider that bought the order, otherwise the last one that was started;
    /// null if there is none.
    pub(crate) payment: Option<OrderPaymentBody>,
    /// The refunds, in the order of their requests: of units, and of money that bought nothing.
    pub(crate) refunds: Vec<MadeRefundBody>,
    /// True if the payment arrived after `expires_at` and was honoured.
    pub(crate) late: bool,
    /// The carrier's identifier of the parcel; null if there is none, and after the erasure of the
    /// buyer.
    pub(crate) tracking: Option<Tracking>,
    /// The shop's identifier of the payment; null if none was sent, and after the erasure of the
    /// buyer. Included only for an admin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) payment_reference: Option<Option<PaymentReference>>,
    pub(crate) placed_at: Timestamp,
    /// The time at which the order is over unless it is paid.
    pub(crate) expires_at: Timestamp,
    pub(crate) paid_at: Option<Timestamp>,
    pub(crate) cancelled_at: Option<Timestamp>,
    pub(crate) position: Position,
    pub(crate) server_time: Timestamp,
}

impl OrderBody {
    /// Renders the order as of `now`. An order past its deadline is shown as expired, even before
    /// the expiry is recorded.
    pub(crate) fn new(order_id: OrderId, row: OrderRow, now: Timestamp, is_admin: bool) -> Self {
        let status = row.status_at(now);
        let is_paid = !row.purchases.is_empty();
        let is_cancelled = row.status == ShownStatus::Cancelled;
        let item = |(index, item): (usize, &OrderItem)| OrderItemBody {
            drop_id: item.drop_id,
            hold_id: item.hold_id,
            purchase_id: row
                .purchases
                .get(index)
                .map(|purchase| purchase.purchase_id),
            quantity: item.quantity,
            price: item.price,
            total: item.total(),
            refunded: RefundedBody::new(item.price, row.refunded.get(index).copied().unwrap_or(0)),
        };
        Self {
            id: order_id,
            status,
            fulfilment: row.fulfilment.into(),
            items: row.items.iter().enumerate().map(item).collect(),
            total: row.total,
            payment: row.payments.shown().map(OrderPaymentBody::from),
            refunds: made_refunds(&row),
            late: row.late,
            placed_at: row.placed_at,
            expires_at: row.expires_at,
            paid_at: row.ended_at.filter(|_| is_paid),
            cancelled_at: row.ended_at.filter(|_| is_cancelled),
            position: row.position,
            server_time: now,
            buyer_id: row.buyer.map(|buyer| buyer.buyer_id),
            tracking: row.tracking,
            payment_reference: is_admin.then_some(row.payment_reference),
        }
    }
}
