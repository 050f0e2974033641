//! Operations of orders: place, list, read, cancel, purchase, fulfil.

use serde_json::{Value, json};

use super::{A_MINUTE_LATER, DROP_ID, HOLD_ID, NOON};
use crate::holds::Payment;
use crate::openapi::operation::{Access, NOT_MODIFIED, Operation, ResponseSpec};
use crate::openapi::schemas::Schemas;
use crate::orders::{NewOrder, OrderBody, OrderPatch, OrdersParams};
use crate::problem::Code;
use crate::render::Page;

const ONE: &str = "/v1/orders/{id}";

pub(super) fn all(schemas: &mut Schemas) -> Vec<Operation> {
    let operations = [
        place(schemas).access(Access::Buyer),
        list(schemas).access(Access::Buyer),
        read(schemas).access(Access::Buyer),
        cancel(schemas).access(Access::Buyer),
        purchase(schemas).access(Access::Buyer),
        fulfil(schemas).access(Access::Admin),
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
    Operation::post("/v1/orders", "placeOrder", "Order units of several drops")
        .description(
            "Holds the units of all items, or of none. Items of one drop are added up; all drops \
             have one currency. A refusal is that of the first item that fails, with its \
             `pointer`. The holds belong to the order: they are purchased, released and expire \
             with it.",
        )
        .idempotency_key()
        .json_body::<NewOrder>(schemas, new)
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
        "example": "order_id,status,fulfilment,buyer_id,drop_id,hold_id,purchase_id,quantity,amount,currency,placed_at,paid_at,payment_reference,tracking,position\r\n",
    });
    let page = ResponseSpec::new(200, "Orders, newest first.")
        .json(schemas.response::<Page<OrderBody>>(), example)
        .content("text/csv", csv)
        .headers(&["Cache-Control", "Vary"])
        .optional_headers(&["ETag", "Content-Disposition", "Holdfast-Server-Time"]);
    let not_modified = ResponseSpec::new(304, NOT_MODIFIED);
    let headers = ["ETag", "Cache-Control", "Vary", "Holdfast-Server-Time"];
    Operation::get("/v1/orders", "listOrders", "List orders")
        .description(
            "Permitted to an admin, and to a buyer's token for the orders of that buyer. With \
             `Accept: text/csv` the response is a CSV file with a line for each item, of all \
             orders if `limit` is absent; `amount` is in minor units. A cell that a spreadsheet \
             would evaluate as a formula is prefixed with a single quote.",
        )
        .query_parameters::<OrdersParams>(schemas)
        .at_least()
        .parameter("If-None-Match")
        .response(page)
        .response(not_modified.headers(&headers))
}

fn read(schemas: &mut Schemas) -> Operation {
    let order = order(schemas, 200, "The order.");
    Operation::get(ONE, "readOrder", "Read an order")
        .description("Only an admin receives the `payment_reference`.")
        .at_least()
        .conditional_response_with_time(order)
        .problems(&[Code::OrderNotFound, Code::OrderQuarantined])
}

fn cancel(schemas: &mut Schemas) -> Operation {
    let order = order(schemas, 200, "The cancelled order.");
    Operation::post("/v1/orders/{id}/cancel", "cancelOrder", "Cancel an order")
        .description("Releases the holds of a pending order. Cancelling again has no effect.")
        .response(order.headers(&["ETag", "Idempotent-Replayed"]))
        .problems(&[
            Code::OrderNotFound,
            Code::OrderPaid,
            Code::OrderExpired,
            Code::Unavailable,
            Code::OrderQuarantined,
        ])
}

fn purchase(schemas: &mut Schemas) -> Operation {
    let order = order(schemas, 200, "The paid order.");
    Operation::post(
        "/v1/orders/{id}/purchase",
        "purchaseOrder",
        "Record the payment of an order",
    )
    .description(
        "The shop took the money itself. Sells all items, or none. Requires the admin key if \
             the server requires buyer tokens. Safe to repeat, as the purchase of a hold is.",
    )
    .optional_json_body::<Payment>(schemas, json!({ "payment_reference": "payment-1" }))
    .response(order.headers(&["ETag", "Idempotent-Replayed"]))
    .problems(&[
        Code::Forbidden,
        Code::OrderNotFound,
        Code::OrderExpired,
        Code::OrderCancelled,
        Code::PaymentReferenceConflict,
        Code::Unavailable,
        Code::OrderQuarantined,
    ])
}

fn fulfil(schemas: &mut Schemas) -> Operation {
    let order = order(schemas, 200, "The order.");
    let example = json!({ "fulfilment": "shipped", "tracking": "parcel-1" });
    Operation::patch(ONE, "fulfilOrder", "Set how far a paid order is")
        .description("Forward only; the same step again sets other tracking.")
        .json_body::<OrderPatch>(schemas, example)
        .response(order.headers(&["ETag", "Idempotent-Replayed"]))
        .problems(&[
            Code::OrderNotFound,
            Code::OrderNotPaid,
            Code::FulfilmentOrder,
            Code::Unavailable,
            Code::OrderQuarantined,
        ])
}
