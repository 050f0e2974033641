//! Operations of orders: place, list, read, cancel, purchase, fulfil.

use serde_json::{Value, json};

use super::{A_MINUTE_LATER, DROP_ID, HOLD_ID, NOON};
use crate::openapi::operation::{NOT_MODIFIED, Operation, ResponseSpec, TAGGED};
use crate::openapi::schemas::Schemas;
use crate::orders::{self, OrderBody};
use crate::problem::Code;
use crate::render::Page;

const ONE: &str = "/v1/orders/{id}";

pub(super) fn all(schemas: &mut Schemas) -> Vec<Operation> {
    let operations = [
        place(schemas),
        list(schemas),
        read(schemas),
        cancel(schemas),
        purchase(schemas),
        fulfil(schemas),
    ];
    operations
        .into_iter()
        .map(|operation| operation.tag("Orders"))
        .collect()
}

fn example() -> Value {
    let price = json!({ "amount": 19_999, "currency": "EUR" });
    json!({
        "id": "0197d3f4-0a1b-4c2d-8e3f-405162738495", "buyer_id": "buyer-1", "status": "pending", "fulfilment": "unfulfilled",
        "items": [{
            "drop_id": DROP_ID, "hold_id": HOLD_ID, "purchase_id": null, "quantity": 1, "price": price, "total": price,
            "refunded": { "quantity": 0, "amount": { "amount": 0, "currency": "EUR" } },
        }],
        "total": price, "late": false, "tracking": null, "placed_at": NOON, "expires_at": A_MINUTE_LATER, "paid_at": null,
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
    .response(order(schemas, 201, "The order.").headers(&["Location", "Idempotent-Replayed"]))
    .problems(&[
        Code::DropNotFound,
        Code::SoldOut,
        Code::LimitReached,
        Code::NotLive,
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
        "example": "order_id,status,fulfilment,buyer_id,drop_id,hold_id,purchase_id,quantity,amount,currency,placed_at,paid_at,payment_reference,tracking,position,refunded_quantity,refunded_amount\r\n",
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
             orders if `limit` is absent; `amount` is in minor units. A cell that a spreadsheet \
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
    .response(order.headers(&["ETag", "Idempotent-Replayed"]))
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
    .response(order.headers(&["ETag", "Idempotent-Replayed"]))
    .problems(&[
        Code::Forbidden,
        Code::OrderExpired,
        Code::OrderCancelled,
        Code::PaymentReferenceConflict,
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
    .response(order.headers(&["ETag", "Idempotent-Replayed"]))
    .problems(&[Code::OrderNotPaid, Code::FulfilmentOrder, Code::Unavailable])
}
