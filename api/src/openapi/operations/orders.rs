//! Operations of orders: place, list, read, cancel, purchase, pay, refund, fulfil.

use serde_json::{Value, json};

use super::{A_MINUTE_LATER, DROP_ID, HOLD_ID, NOON};
use crate::checkout::{self, PaymentBody, ReceiptBody};
use crate::openapi::operation::{NOT_MODIFIED, Operation, ResponseSpec, TAGGED};
use crate::openapi::schemas::Schemas;
use crate::orders::refunds::{self, OrderRefundBody};
use crate::orders::{self, OrderBody};
use crate::problem::Code;
use crate::render::Page;

const ORDER_ID: &str = "0197d3f4-0a1b-4c2d-8e3f-405162738495";
const ONE: &str = "/v1/orders/{id}";

pub(super) fn all(schemas: &mut Schemas) -> Vec<Operation> {
    let operations = [
        place(schemas),
        list(schemas),
        read(schemas),
        cancel(schemas),
        purchase(schemas),
        start_payment(schemas),
        receive(schemas),
        refund(schemas),
        fulfil(schemas),
    ];
    operations
        .into_iter()
        .map(|operation| operation.tag("Orders"))
        .collect()
}

pub(super) fn example() -> Value {
    let price = json!({ "amount": 19_999, "currency": "EUR" });
    json!({
        "id": ORDER_ID, "buyer_id": "buyer-1", "status": "pending", "fulfilment": "unfulfilled",
        "items": [{
            "drop_id": DROP_ID, "hold_id": HOLD_ID, "purchase_id": null, "quantity": 1, "price": price, "total": price,
            "refunded": { "quantity": 0, "amount": { "amount": 0, "currency": "EUR" } },
        }],
        "total": price, "payment": null, "refunds": [], "late": false, "tracking": null, "placed_at": NOON, "expires_at": A_MINUTE_LATER, "paid_at": null,
        "cancelled_at": null, "position": 17, "server_time": NOON,
    })
}

fn order(schemas: &mut Schemas, status: u16, description: &str) -> ResponseSpec {
    ResponseSpec::new(status, description).json(schemas.response::<OrderBody>(), example())
}

fn place(schemas: &mut Schemas) -> Operation {
    let new = json!({ "buyer_id": "buyer-1", "items": [{ "drop_id": DROP_ID, "quantity": 1 }] });
    Operation::post(
        schemas,
        "/v1/orders",
        orders::place,
        "placeOrder",
        "Order units of several drops",
    )
    .description(
        "Holds the units of all items, or of none. Items of one drop are added up; all drops \
             have one currency. A refusal is that of the first item that fails, with its \
             `pointer`. The holds belong to the order: they are purchased, released and expire \
             with it.",
    )
    .body_example(new)
    .response(order(schemas, 201, "The order.").headers(&[
        "Location",
        "Holdfast-Position",
        "Idempotent-Replayed",
    ]))
    .problems(&[
        Code::CodeRequired,
        Code::CodeInvalid,
        Code::CodeSpent,
        Code::DropNotFound,
        Code::SoldOut,
        Code::LimitReached,
        Code::NotLive,
        Code::Paused,
        Code::Draft,
        Code::Ended,
        Code::Throttled,
        Code::AddressLimitReached,
        Code::CoolingDown,
        Code::Unavailable,
        Code::OrderQuarantined,
    ])
}

fn list(schemas: &mut Schemas) -> Operation {
    let example = json!({ "data": [example()], "has_more": false });
    let csv = json!({
        "schema": { "type": "string" },
        "example": "order_id,status,fulfilment,buyer_id,drop_id,hold_id,purchase_id,quantity,amount,currency,placed_at,paid_at,payment_reference,tracking,position,refunded_quantity,refunded_amount,refund_requested_at,refund_settled_at\r\n",
    });
    let page = ResponseSpec::new(200, "Orders, newest first.")
        .json(schemas.response::<Page<OrderBody>>(), example)
        .content("text/csv", csv)
        .headers(&["Cache-Control", "Vary"])
        .optional_headers(&["ETag", "Content-Disposition", "Holdfast-Server-Time"]);
    let not_modified = ResponseSpec::new(304, NOT_MODIFIED);
    Operation::get(
        schemas,
        "/v1/orders",
        orders::list,
        "listOrders",
        "List orders",
    )
    .description(
        "Permitted to an admin, and to a buyer's token for the orders of that buyer. With \
             `Accept: text/csv` the response is a CSV file with a line for each item, of all \
             orders if `limit` is absent; `amount` is in minor units. The times of a refund are those of the newest refund of \
             the item. A cell that a spreadsheet \
             would evaluate as a formula is prefixed with a single quote.",
    )
    .parameter("If-None-Match")
    .response(page)
    .response(not_modified.headers(&TAGGED).headers(&["Vary"]))
}

fn read(schemas: &mut Schemas) -> Operation {
    let order = order(schemas, 200, "The order.");
    Operation::get(schemas, ONE, orders::read, "readOrder", "Read an order")
        .description("Only an admin receives the `payment_reference`.")
        .conditional_response_with_time(order)
}

fn cancel(schemas: &mut Schemas) -> Operation {
    let order = order(schemas, 200, "The cancelled order.");
    Operation::post(
        schemas,
        "/v1/orders/{id}/cancel",
        orders::cancel,
        "cancelOrder",
        "Cancel an order",
    )
    .description("Releases the holds of a pending order. Cancelling again has no effect.")
    .response(order.headers(&["ETag", "Holdfast-Position", "Idempotent-Replayed"]))
    .problems(&[Code::OrderPaid, Code::OrderExpired, Code::Unavailable])
}

fn purchase(schemas: &mut Schemas) -> Operation {
    let order = order(schemas, 200, "The paid order.");
    Operation::post(
        schemas,
        "/v1/orders/{id}/purchase",
        orders::purchase,
        "purchaseOrder",
        "Record the payment of an order",
    )
    .description(
        "The shop took the money itself. Sells all items, or none. Requires the admin key if \
             the server requires buyer tokens. Safe to repeat, as the purchase of a hold is.",
    )
    .body_example(json!({ "payment_reference": "payment-1" }))
    .response(order.headers(&["ETag", "Holdfast-Position", "Idempotent-Replayed"]))
    .problems(&[
        Code::Forbidden,
        Code::OrderExpired,
        Code::OrderCancelled,
        Code::PaymentReferenceConflict,
        Code::Unavailable,
    ])
}

fn start_payment(schemas: &mut Schemas) -> Operation {
    let reference = "demo_0197d3f455664a6b9c8d0e1f2a3b4c5d_1_19999EUR_9f86d081884c7d65";
    let example = json!({
        "id": "0197d3f4-5566-4a6b-9c8d-0e1f2a3b4c5d", "order_id": ORDER_ID,
        "amount": { "amount": 19_999, "currency": "EUR" }, "provider": "demo",
        "provider_reference": reference,
        "client_secret": format!("{reference}_secret_5e884898da28047151d0e56f8dc62927"),
        "status": "pending", "position": 18,
    });
    let payment = ResponseSpec::new(201, "The payment.")
        .json(schemas.response::<PaymentBody>(), example)
        .headers(&["Holdfast-Position", "Idempotent-Replayed"]);
    Operation::post(
        schemas,
        "/v1/orders/{id}/payments",
        checkout::start,
        "startPayment",
        "Start a payment of an order",
    )
    .description(
        "Extends the holds as far as `max_hold_seconds` of their drops allows, and lets the \
             provider start a payment, which the buyer makes with the `client_secret`. The order \
             is paid when the provider reports that, not by the response. Up to 10 payments; a \
             repeated request returns the same one. Repeated and further starts count towards the \
             rate limit of the address, the first one of an order does not.",
    )
    .body_example(json!({ "provider": "demo", "scenario": "pays" }))
    .response(payment)
    .problems(&[
        Code::OrderPaid,
        Code::OrderExpired,
        Code::OrderCancelled,
        Code::TooManyPayments,
        Code::AmountNotSupported,
        Code::PaymentRefused,
        Code::Throttled,
        Code::ProviderUnavailable,
        Code::Unavailable,
    ])
}

fn receive(schemas: &mut Schemas) -> Operation {
    let receipt = ResponseSpec::new(200, "The facts are in the log.").json(
        schemas.response::<ReceiptBody>(),
        json!({ "received": true }),
    );
    Operation::post(
        schemas,
        "/v1/payments/webhooks/{provider}",
        checkout::receive,
        "receivePaymentWebhook",
        "Receive a webhook of a payment provider",
    )
    .description(
        "For the provider, whose signature over the raw body is the credential (Stripe's scheme, \
             header `Stripe-Signature`). A webhook that is repeated, late, out of order, or earlier \
             than the response to the start of its payment has one effect.",
    )
    .body_example(json!({
        "id": "evt_1", "object": "event", "type": "payment_intent.amount_capturable_updated",
        "data": { "object": { "id": "pi_1", "object": "payment_intent" } },
    }))
    .response(receipt)
    .problems(&[Code::SignatureInvalid, Code::Unavailable])
}

fn refund(schemas: &mut Schemas) -> Operation {
    let price = json!({ "amount": 19_999, "currency": "EUR" });
    let example = json!({
        "id": "0197d3f5-1122-4c3d-8e4f-5a6b7c8d9e0f", "order_id": ORDER_ID,
        "items": [{
            "drop_id": DROP_ID, "purchase_id": "0197d3f3-4455-4f6a-9b8c-0d1e2f3a4b5c", "quantity": 1, "amount": price,
        }],
        "amount": price, "quantity": 1, "restocked": true, "reason": "returned", "status": "pending",
        "refunded_at": A_MINUTE_LATER, "position": 25,
    });
    let refund = ResponseSpec::new(201, "The refund.")
        .json(schemas.response::<OrderRefundBody>(), example)
        .headers(&["Holdfast-Position", "Idempotent-Replayed"]);
    Operation::post(
        schemas,
        "/v1/orders/{id}/refunds",
        refunds::refund,
        "refundOrder",
        "Refund an order or a part of it",
    )
    .description(
        "Returns units and their price. If a provider took the money, the status is `pending` \
             until the provider has returned it. Restocked units go to the waitlist first, the \
             others leave the totals of their drops; the buyer may hold as many units again.",
    )
    .body_example(json!({ "items": [{ "drop_id": DROP_ID, "quantity": 1 }], "reason": "returned" }))
    .response(refund)
    .problems(&[
        Code::DropNotFound,
        Code::OrderNotPaid,
        Code::NothingToRefund,
        Code::Unavailable,
    ])
}

fn fulfil(schemas: &mut Schemas) -> Operation {
    let order = order(schemas, 200, "The order.");
    let example = json!({ "fulfilment": "shipped", "tracking": "parcel-1" });
    Operation::patch(
        schemas,
        ONE,
        orders::fulfil,
        "fulfilOrder",
        "Set how far a paid order is",
    )
    .description("Forward only; the same step again sets other tracking.")
    .body_example(example)
    .response(order.headers(&["ETag", "Holdfast-Position", "Idempotent-Replayed"]))
    .problems(&[Code::OrderNotPaid, Code::FulfilmentOrder, Code::Unavailable])
}
