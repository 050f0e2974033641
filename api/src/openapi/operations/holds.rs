//! Operations of holds and purchases: place, read, change, extend, release, purchase.

use serde_json::{Value, json};

use super::{A_MINUTE_LATER, DROP_ID, HOLD_ID, NOON};
use crate::drops::purchases::{self, RecordedPurchase};
use crate::drops::refunds::{self, RefundBody};
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
        change(schemas),
        extend(schemas),
        release(schemas),
        purchase(schemas),
        read_purchase(schemas),
        refund(schemas),
    ];
    operations
        .into_iter()
        .map(|operation| operation.tag("Holds and purchases"))
        .collect()
}

pub(super) fn example() -> Value {
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
        "The units are reserved for the buyer until `expires_at`, exact to the millisecond. A \
         repeated request with the same key returns the same hold as it is now: it may be \
         purchased or expired since. The repeated request may have another `display_name`, which \
         is ignored.",
    )
    .body_example(json!({ "buyer_id": "buyer-1", "quantity": 1 }))
    .response(hold.headers(&["Location", "Holdfast-Position", "Idempotent-Replayed"]))
    .problems(&[
        Code::CodeRequired,
        Code::CodeInvalid,
        Code::CodeSpent,
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
    ])
}

fn read(schemas: &mut Schemas) -> Operation {
    let hold = ResponseSpec::new(200, "The hold.").json(schemas.response::<HoldBody>(), example());
    Operation::get(schemas, ONE, holds::read, "readHold", "Read a hold")
        .conditional_response_with_time(hold)
}

fn change(schemas: &mut Schemas) -> Operation {
    let hold = ResponseSpec::new(200, "The hold.").json(schemas.response::<HoldBody>(), example());
    Operation::patch(
        schemas,
        ONE,
        holds::change,
        "changeHold",
        "Change the number of units in a hold",
    )
    .description(
        "The hold is changed, not replaced: `expires_at` and the price stay, and the throttle \
             does not count the change. Units are added within the limits of the drop, from units \
             that no waitlist entry can use; `requested` in a 409 `sold_out` is the number of \
             added units, and `allowance` in a 409 `limit_reached` is the number that may still be \
             added. Units that are returned are offered to the waitlist first. The same number \
             of units has no effect.",
    )
    .body_example(json!({ "quantity": 2 }))
    .response(hold.headers(&["Cache-Control", "Holdfast-Position"]))
    .problems(&[
        Code::CodeRequired,
        Code::SoldOut,
        Code::LimitReached,
        Code::NotLive,
        Code::Paused,
        Code::Ended,
        Code::Throttled,
        Code::HoldPurchased,
        Code::HoldExpired,
        Code::HoldReleased,
        Code::Unavailable,
    ])
}

fn extend(schemas: &mut Schemas) -> Operation {
    let hold = ResponseSpec::new(200, "The hold.").json(schemas.response::<HoldBody>(), example());
    Operation::post(
        schemas,
        "/v1/holds/{id}/extend",
        holds::extend,
        "extendHold",
        "Extend a hold",
    )
    .description(
        "The hold then lasts until `seconds` from now, but never shorter than before: if it \
             lasts as long already, nothing changes. It never lasts longer than the drop's \
             `max_hold_seconds` from `placed_at`: 409 `extension_limit` with the latest possible \
             end.",
    )
    .body_example(json!({ "seconds": 300 }))
    .response(hold.headers(&["Cache-Control", "Holdfast-Position"]))
    .problems(&[
        Code::ExtensionLimit,
        Code::HoldPurchased,
        Code::HoldExpired,
        Code::HoldReleased,
        Code::Unavailable,
    ])
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
    .problems(&[
        Code::HoldPurchased,
        Code::HoldInOrder,
        Code::HoldExpired,
        Code::Unavailable,
    ])
}

pub(super) fn example_purchase() -> Value {
    json!({
        "id": "0197d3f3-4455-4f6a-9b8c-0d1e2f3a4b5c", "hold_id": HOLD_ID, "drop_id": DROP_ID, "buyer_id": "buyer-1",
        "quantity": 1, "total": { "amount": 19_999, "currency": "EUR" }, "purchased_at": NOON,
        "refunded": { "quantity": 0, "amount": { "amount": 0, "currency": "EUR" } }, "position": 18,
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

fn refund(schemas: &mut Schemas) -> Operation {
    let example = json!({
        "id": "0197d3f4-0a1b-4c2d-8e3f-405162738495", "purchase_id": "0197d3f3-4455-4f6a-9b8c-0d1e2f3a4b5c",
        "drop_id": DROP_ID, "amount": { "amount": 19_999, "currency": "EUR" }, "quantity": 1,
        "restocked": true, "reason": "arrived broken", "status": "succeeded", "refunded_at": NOON,
        "position": 19,
    });
    let made =
        ResponseSpec::new(201, "The refund.").json(schemas.response::<RefundBody>(), example);
    Operation::post(
        schemas,
        "/v1/purchases/{id}/refunds",
        refunds::refund,
        "refundPurchase",
        "Refund a purchase",
    )
    .description(
        "Returns units of a purchase, at the unit price of the purchase, and with them the \
         buyer's allowance. The money is the shop's to return; the log records that it was. \
         Restocked units are offered to the waitlist first; with `restock: false` they leave the \
         drop's total. Possible after the drop has ended or was cancelled as well: units that are \
         restocked then are counted as available, and nothing sells them.",
    )
    .body_example(json!({ "quantity": 1, "reason": "arrived broken" }))
    .response(made.headers(&["Holdfast-Position", "Idempotent-Replayed"]))
    .problems(&[Code::NothingToRefund, Code::Unavailable])
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
    .response(
        ResponseSpec::new(201, "The purchase.")
            .json(body.clone(), example.clone())
            .headers(&["Holdfast-Position"]),
    )
    .response(
        ResponseSpec::new(200, "The purchase, which was made earlier.")
            .json(body, example)
            .headers(&["Holdfast-Position", "Idempotent-Replayed"]),
    )
    .problems(&[
        Code::HoldExpired,
        Code::HoldReleased,
        Code::HoldInOrder,
        Code::PaymentReferenceConflict,
        Code::Unavailable,
    ])
}
