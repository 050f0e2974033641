//! Holds and purchases: place, read, release, buy.

use serde_json::{Value, json};

use super::{A_MINUTE_LATER, DROP_ID, HOLD_ID, NOON};
use crate::drops::purchases::RecordedPurchase;
use crate::holds::{NewHold, Payment};
use crate::openapi::operation::{Access, Answer, Operation};
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
    let hold = Answer::new(201, "The hold.").json(schemas.answer::<HoldBody>(), example());
    Operation::post("/v1/drops/{id}/holds", "placeHold", "Hold units of a drop")
        .about("The units are the buyer's alone until `expires_at`, to the millisecond.")
        .takes_key()
        .takes_json::<NewHold>(schemas, json!({ "buyer_id": "buyer-1", "quantity": 1 }))
        .answers(hold.headers(&["Location", "Idempotent-Replayed"]))
        .refuses(&[
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
    let hold = Answer::new(200, "The hold.").json(schemas.answer::<HoldBody>(), example());
    Operation::get(ONE, "readHold", "Read a hold")
        .reads_fresh()
        .answers_unless_known_at(hold)
        .refuses(&[Code::HoldNotFound])
}

fn release() -> Operation {
    let released = Answer::new(204, "It is released, now or before.");
    Operation::delete(ONE, "releaseHold", "Give a hold up")
        .answers(released.headers(&["Holdfast-Position", "Idempotent-Replayed"]))
        .refuses(&[
            Code::HoldNotFound,
            Code::HoldPurchased,
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
    let purchase =
        Answer::new(200, "The purchase.").json(schemas.answer::<RecordedPurchase>(), example);
    Operation::get("/v1/purchases/{id}", "readPurchase", "Read a purchase")
        .about("Its buyer may, and an admin, who is also shown the `payment_reference`.")
        .reads_fresh()
        .answers_unless_known(purchase)
        .refuses(&[Code::PurchaseNotFound])
}

fn purchase(schemas: &mut Schemas) -> Operation {
    let example = example_purchase();
    let body = schemas.answer::<PurchaseBody>();
    Operation::post(
        "/v1/holds/{id}/purchase",
        "purchaseHold",
        "Buy what is held",
    )
    .about(
        "The hold itself makes it safe to repeat: a retry, with the same `payment_reference` or none, is answered 200 with \
         the same purchase. Another reference than the one recorded is another payment: 409 with the purchase's `id`. So is one \
         where none was recorded, or where it was erased with its buyer.",
    )
    .may_take_json::<Payment>(schemas, json!({ "payment_reference": "payment-1" }))
    .answers(Answer::new(201, "The purchase.").json(body.clone(), example.clone()))
    .answers(
        Answer::new(200, "The purchase that was made before.")
            .json(body, example)
            .headers(&["Idempotent-Replayed"]),
    )
    .refuses(&[
        Code::HoldNotFound,
        Code::HoldExpired,
        Code::HoldReleased,
        Code::PaymentReferenceConflict,
        Code::Unavailable,
    ])
}
