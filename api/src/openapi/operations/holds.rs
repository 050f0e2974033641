//! Operations of holds and purchases: place, read, release, purchase.

use serde_json::{Value, json};

use super::{A_MINUTE_LATER, DROP_ID, HOLD_ID, NOON};
use crate::drops::purchases::RecordedPurchase;
use crate::holds::{NewHold, Payment};
use crate::openapi::operation::{Access, Operation, ResponseSpec};
use crate::openapi::schemas::Schemas;
use crate::problem::Code;
use crate::render::{HoldBody, PurchaseBody};

const ONE: &str = "/v1/holds/{id}";

pub(super) fn all(schemas: &mut Schemas) -> Vec<Operation> {
    let operations = [
        place(schemas),
        read(schemas),
        release(),
        purchase(schemas),
        read_purchase(schemas),
    ];
    operations
        .into_iter()
        .map(|operation| operation.tag("Holds and purchases").access(Access::Buyer))
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
    Operation::post("/v1/drops/{id}/holds", "placeHold", "Hold units of a drop")
        .description(
            "The units are reserved for the buyer until `expires_at`, exact to the millisecond.",
        )
        .idempotency_key()
        .json_body::<NewHold>(schemas, json!({ "buyer_id": "buyer-1", "quantity": 1 }))
        .response(hold.headers(&["Location", "Idempotent-Replayed"]))
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
        ])
}

fn read(schemas: &mut Schemas) -> Operation {
    let hold = ResponseSpec::new(200, "The hold.").json(schemas.response::<HoldBody>(), example());
    Operation::get(ONE, "readHold", "Read a hold")
        .at_least()
        .conditional_response_with_time(hold)
        .problems(&[Code::HoldNotFound])
}

fn release() -> Operation {
    let released = ResponseSpec::new(204, "The hold is released, now or earlier.");
    Operation::delete(ONE, "releaseHold", "Release a hold")
        .response(released.headers(&["Holdfast-Position", "Idempotent-Replayed"]))
        .problems(&[
            Code::HoldNotFound,
            Code::HoldPurchased,
            Code::HoldInOrder,
            Code::HoldExpired,
            Code::Unavailable,
        ])
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
    Operation::get("/v1/purchases/{id}", "readPurchase", "Read a purchase")
        .description(
            "Permitted to the buyer and to an admin. Only an admin receives the \
                      `payment_reference`.",
        )
        .at_least()
        .conditional_response(purchase)
        .problems(&[Code::PurchaseNotFound])
}

fn purchase(schemas: &mut Schemas) -> Operation {
    let example = example_purchase();
    let body = schemas.response::<PurchaseBody>();
    Operation::post(
        "/v1/holds/{id}/purchase",
        "purchaseHold",
        "Purchase a hold",
    )
    .description(
        "Safe to repeat without an idempotency key: a retry with the same `payment_reference`, or \
         without one, returns 200 and the same purchase. A different reference means a different \
         payment, and returns 409 with the `id` of the purchase. The same applies to a reference \
         if none was recorded, or if it was erased with its buyer.",
    )
    .optional_json_body::<Payment>(schemas, json!({ "payment_reference": "payment-1" }))
    .response(ResponseSpec::new(201, "The purchase.").json(body.clone(), example.clone()))
    .response(
        ResponseSpec::new(200, "The purchase, which was made earlier.")
            .json(body, example)
            .headers(&["Idempotent-Replayed"]),
    )
    .problems(&[
        Code::HoldNotFound,
        Code::HoldExpired,
        Code::HoldReleased,
        Code::HoldInOrder,
        Code::PaymentReferenceConflict,
        Code::Unavailable,
    ])
}
