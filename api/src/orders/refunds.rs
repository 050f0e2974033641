//! Refunds of orders, whole or by item.
//!
//! If a provider took the money, the refund is pending until the provider has returned it. If the
//! shop took the money itself, it also returns it itself, so the refund has succeeded when it is
//! recorded.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::order::MAX_ITEMS;
use domain::values::{
    DropId, Entered, Money, OrderId, Position, PurchaseId, Quantity, Reason, RefundId, Timestamp,
};
use engine::{OrderedItem, RefundOrder};
use projections::views::RefundView;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::OrderPath;
use crate::app::App;
use crate::auth::Admin;
use crate::drops::refunds::status_of;
use crate::extract::{Body, IdempotencyKey};
use crate::problem::Problem;
use crate::render::{RefundStatus, recorded};

/// Units of one drop to refund.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefundedItem {
    drop_id: DropId,
    /// The number of units.
    quantity: Quantity,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewOrderRefund {
    /// The units to refund; items of one drop are added up. Default: all that are left.
    #[schemars(length(min = 1, max = 20))]
    items: Option<Vec<RefundedItem>>,
    /// Offers the units again; otherwise they leave the totals of their drops.
    #[schemars(extend("default" = true))]
    restock: Option<bool>,
    /// The reason. It is stored in the log permanently, so it must not contain personal data.
    reason: Entered<Reason>,
}

/// The units of one drop in a refund.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "OrderRefundItem")]
pub(crate) struct OrderRefundItem {
    drop_id: DropId,
    purchase_id: PurchaseId,
    quantity: Quantity,
    /// The price of the units.
    amount: Money,
}

/// A refund of an order, or of a part of it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "OrderRefund")]
pub(crate) struct OrderRefundBody {
    id: RefundId,
    order_id: OrderId,
    items: Vec<OrderRefundItem>,
    /// The price of all units.
    amount: Money,
    /// The number of all units.
    quantity: u32,
    /// True if the units are offered again.
    restocked: bool,
    reason: Reason,
    status: RefundStatus,
    refunded_at: Timestamp,
    /// The log position of the last unit's refund.
    position: Position,
}

impl OrderRefundBody {
    /// `None` if the refund has no part.
    fn new(app: &App, order_id: OrderId, parts: Vec<RefundView>) -> Option<Self> {
        let last = parts.last()?.clone();
        let (mut units, mut amount) = (0_u32, 0_i64);
        let mut items = Vec::with_capacity(parts.len());
        for RefundView { drop_id, event, .. } in parts {
            units = units.saturating_add(event.quantity.get());
            amount = amount.saturating_add(event.amount.amount);
            items.push(OrderRefundItem {
                drop_id,
                purchase_id: event.purchase_id,
                quantity: event.quantity,
                amount: event.amount,
            });
        }
        Some(Self {
            id: last.event.refund_id,
            order_id,
            items,
            amount: Money {
                amount,
                currency: last.event.amount.currency,
            },
            quantity: units,
            restocked: last.event.restocked,
            reason: last.event.reason,
            status: status_of(app, Some(order_id), last.event.refund_id),
            refunded_at: last.event.refunded_at,
            position: last.position,
        })
    }
}

/// `POST /v1/orders/{id}/refunds`
pub(crate) async fn refund(
    State(app): State<App>,
    OrderPath(order_id): OrderPath,
    Admin { name }: Admin,
    key: IdempotencyKey,
    Body(new): Body<NewOrderRefund>,
) -> Result<Response, Problem> {
    let items = new.items.map(|items| {
        if !(1..=MAX_ITEMS).contains(&items.len()) {
            let detail = format!("must have 1 to {MAX_ITEMS} items");
            return Err(Problem::invalid("/items", detail));
        }
        let items = items.into_iter().map(|item| OrderedItem {
            drop_id: item.drop_id,
            quantity: item.quantity,
        });
        Ok(items.collect())
    });
    let scope = [b"refunds/".as_slice(), order_id.0.as_bytes()].concat();
    let request = RefundOrder {
        order_id,
        key: Some(key.within(&app.key_scope(&scope))?),
        other_key: None,
        items: items.transpose()?,
        restock: new.restock.unwrap_or(true),
        reason: new.reason.0,
    };
    let answer = app.engine.by(name).refund_order(request).await?;
    let order = app.views.order(order_id);
    let order = order.ok_or_else(Problem::declared_void)?;
    let items = order.items.iter();
    let parts = items.filter_map(|item| app.views.refund(item.drop_id, answer.subject));
    let body = OrderRefundBody::new(&app, order_id, parts.collect());
    let body = Json(body.ok_or_else(Problem::declared_void)?);
    Ok(recorded(
        (StatusCode::CREATED, body).into_response(),
        &answer,
    ))
}
