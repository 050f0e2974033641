//! Refunds of purchases. If the shop took the money itself, it also returns it itself, so the
//! refund has succeeded when it is recorded. If a provider took the money of an order, it returns
//! it.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::event::PurchaseRefunded;
use domain::values::{
    DropId, Entered, Money, OrderId, Position, PurchaseId, Quantity, Reason, RefundId, Timestamp,
};
use engine::RefundPurchase;
use projections::views::RefundView;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::purchases::{PurchasePath, find_anywhere};
use crate::app::App;
use crate::auth::{Admin, Visitor};
use crate::extract::{Body, IdempotencyKey};
use crate::problem::Problem;
use crate::render::{RefundStatus, recorded};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRefund {
    /// The number of units. Default: all that are left to refund.
    quantity: Option<Quantity>,
    /// Offers the units again; otherwise they leave the drop's total.
    #[schemars(extend("default" = true))]
    restock: Option<bool>,
    /// The reason. It is stored in the log permanently, so it must not contain personal data.
    reason: Entered<Reason>,
}

/// A refund of a purchase, or of a part of it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Refund")]
pub(crate) struct RefundBody {
    id: RefundId,
    purchase_id: PurchaseId,
    drop_id: DropId,
    /// The price of the units, at the unit price of the purchase.
    amount: Money,
    quantity: Quantity,
    /// True if the units are offered again.
    restocked: bool,
    reason: Reason,
    status: RefundStatus,
    refunded_at: Timestamp,
    /// The log position of the refund.
    position: Position,
}

/// Returns how far the money of a refund is. One without a payment provider has succeeded.
pub(crate) fn status_of(app: &App, order_id: Option<OrderId>, refund_id: RefundId) -> RefundStatus {
    let order = order_id.and_then(|order_id| app.views.order(order_id));
    let refund = order.and_then(|order| order.payments.refund(refund_id).cloned());
    refund.map_or(RefundStatus::Succeeded, |refund| refund.status.into())
}

impl RefundBody {
    fn new(app: &App, order_id: Option<OrderId>, refund: RefundView) -> Self {
        let RefundView {
            drop_id,
            position,
            event,
        } = refund;
        let PurchaseRefunded {
            refund_id,
            purchase_id,
            quantity,
            amount,
            restocked,
            reason,
            refunded_at,
            ..
        } = event;
        Self {
            id: refund_id,
            purchase_id,
            drop_id,
            amount,
            quantity,
            restocked,
            reason,
            status: status_of(app, order_id, refund_id),
            refunded_at,
            position,
        }
    }
}

/// `POST /v1/purchases/{id}/refunds`
pub(crate) async fn refund(
    State(app): State<App>,
    Admin { name }: Admin,
    PurchasePath(purchase_id): PurchasePath,
    visitor: Visitor,
    key: IdempotencyKey,
    Body(new): Body<NewRefund>,
) -> Result<Response, Problem> {
    let hold = find_anywhere(&app, visitor.origin, purchase_id).await?;
    let drop_id = hold.row.drop_id;
    let request = RefundPurchase {
        purchase_id,
        hold_id: hold.hold_id,
        key: Some(key.within(&app.key_scope(drop_id.0.as_bytes()))?),
        quantity: new.quantity,
        restock: new.restock.unwrap_or(true),
        reason: new.reason.0,
    };
    let answer = app.engine.by(name).refund_purchase(request).await?;
    let refund = app.views.refund(answer.drop_id, answer.subject);
    let refund = refund.ok_or_else(Problem::declared_void)?;
    let order_id = app.views.order_of_hold(hold.hold_id);
    let body = Json(RefundBody::new(&app, order_id, refund));
    Ok(recorded(
        (StatusCode::CREATED, body).into_response(),
        &answer,
    ))
}
