//! Operations of holds and purchases: place, read, release, purchase.

use serde_json::{Value, json};

use super::{A_MINUTE_LATER, DROP_ID, HOLD_ID, NOON};
use crate::drops::purchases::{self, RecordedPurchase};
use crate::holds;
use crate::openapi::operation::{Operation, ResponseSpec};
use crate::openapi::schemas::Schemas;
use crate::problem::Code;
use crate::render::{HoldBody, PurchaseBody};

const ONE: &str = "/v1/holds/{id}";

pub(super) fn all(schemas: &mut Schemas) -> Vec<Operation> {
    let operations = [
        place(schemas),
        read(schemas),
        release(schemas),
        purchase(schemas),
        read_purchase(schemas),
    ];
    operations
        .into_iter()
        .map(|operation| operation.tag("Holds and purchases"))
        .collect()
}

fn example() -> Value {
    json!({
        "id": HOLD_ID, "drop_id": DROP_ID, "buyer_id": "buyer-1", "quantity": 1,
        "price": { "amount": 19_999, "currency": "EUR" }, "status": "held", "placed_at": NOON,
        "expires_at": A_MINUTE_LATER, "purchased_at": null, "position": 17, "server_time": NOON,
    })
}

fn place(schemas: &mut Schemas) -> Operation {
    let hold = ResponseSpec::new(201, "The hold.").json(schemas.response::<HoldBody>(), example());
    Operation::post(
        schemas,
        "/v1/drops/{id}/holds",
        holds::place,
        "placeHold",
        "Hold units of a drop",
    )
    .description(
        "The units are reserved for the buyer until `expires_at`, exact to the millisecond.",
    )
    .body_example(json!({ "buyer_id": "buyer-1", "quantity": 1 }))
    .response(hold.headers(&["Location", "Idempotent-Replayed"]))
    .problems(&[
        Code::SoldOut,
        Code::LimitReached,
        Code::NotLive,
        Code::Ended,
        Code::Throttled,
        Code::AddressLimitReached,
        Code::CoolingDown,
        Code::Unavailable,
    ])
}

fn read(schemas: &mut Schemas) -> Operation {
    let hold = ResponseSpec::new(200, "The hold.").json(schemas.response::<HoldBody>(), example());
    Operation::get(schemas, ONE, holds::read, "readHold", "Read a hold")
        .conditional_response_with_time(hold)
}

fn release(schemas: &mut Schemas) -> Operation {
    let released = ResponseSpec::new(204, "The hold is released, now or earlier.");
    Operation::delete(
        schemas,
        ONE,
        holds::release,
        "releaseHold",
        "Release a hold",
    )
    .response(released.headers(&["Holdfast-Position", "Idempotent-Replayed"]))
    .problems(&[Code::HoldPurchased, Code::HoldExpired, Code::Unavailable])
}

pub(super) fn example_purchase() -> Value {
    json!({
        "id": "0197d3f3-4455-4f6a-9b8c-0d1e2f3a4b5c", "hold_id": HOLD_ID, "drop_id": DROP_ID, "buyer_id": "buyer-1",
        "quantity": 1, "total": { "amount": 19_999, "currency": "EUR" }, "purchased_at": NOON, "position": 18,
    })
}

fn read_purchase(schemas: &mut Schemas) -> Operation {
    let mut example = example_purchase();
    example["payment_reference"] = json!("payment-1");
    let purchase = ResponseSpec::new(200, "The purchase.")
        .json(schemas.response::<RecordedPurchase>(), example);
    Operation::get(
        schemas,
        "/v1/purchases/{id}",
        purchases::read,
        "readPurchase",
        "Read a purchase",
    )
    .description(
        "Permitted to the buyer and to an admin. Only an admin receives the \
                      `payment_reference`.",
    )
    .conditional_response(purchase)
}

fn purchase(schemas: &mut Schemas) -> Operation {
    let example = example_purchase();
    let body = schemas.response::<PurchaseBody>();
    Operation::post(
        schemas,
        "/v1/holds/{id}/purchase",
        holds::purchase,
        "purchaseHold",
        "Purchase a hold",
    )
    .description(
        "Safe to repeat without an idempotency key: a retry with the same `payment_reference`, or \
         without one, returns 200 and the same purchase. A different reference means a different \
         payment, and returns 409 with the `id` of the purchase. The same applies to a reference \
         if none was recorded, or if it was erased with its buyer.",
    )
    .body_example(json!({ "payment_reference": "payment-1" }))
    .response(ResponseSpec::new(201, "The purchase.").json(body.clone(), example.clone()))
    .response(
        ResponseSpec::new(200, "The purchase, which was made earlier.")
            .json(body, example)
            .headers(&["Idempotent-Replayed"]),
    )
    .problems(&[
        Code::HoldExpired,
        Code::HoldReleased,
        Code::PaymentReferenceConflict,
        Code::Unavailable,
    ])
}
