//! Operations of drops: schedule, read, edit, cancel, adjust, and list purchases.

use projections::drop_body::{DropBody, PurchaserBody};
use serde_json::{Value, json};

use super::holds::example_purchase;
use super::{DROP_ID, NOON, example_drop};
use crate::drops::buyers::{self, BuyerBody};
use crate::drops::codes::{self, CodeBody, CodesBody};
use crate::drops::purchases::{self, RecordedPurchase};
use crate::drops::sale;
use crate::drops::{self, AdjustmentBody};
use crate::openapi::operation::{NOT_MODIFIED, Operation, ResponseSpec, TAGGED};
use crate::openapi::schemas::Schemas;
use crate::problem::Code;
use crate::render::Page;

const ONE: &str = "/v1/drops/{id}";

pub(super) fn all(schemas: &mut Schemas) -> Vec<Operation> {
    let operations = [
        create(schemas),
        list(schemas),
        read(schemas),
        edit(schemas),
        publish(schemas),
        pause(schemas),
        resume(schemas),
        cancel(schemas),
        adjust(schemas),
        set_stock(schemas),
        create_codes(schemas),
        list_codes(schemas),
        purchasers(schemas),
        purchases(schemas),
        standing(schemas),
    ];
    operations
        .into_iter()
        .map(|operation| operation.tag("Drops"))
        .collect()
}

fn drop_response(schemas: &mut Schemas, status: u16, description: &str) -> ResponseSpec {
    ResponseSpec::new(status, description)
        .json(schemas.response::<DropBody<'static>>(), example_drop())
}

fn create(schemas: &mut Schemas) -> Operation {
    let example = json!({ "name": "Harbour jacket", "price": { "amount": 19_999, "currency": "EUR" }, "total_stock": 100 });
    Operation::post(
        schemas,
        "/v1/drops",
        drops::create,
        "createDrop",
        "Schedule a drop",
    )
    .body_example(example)
    .response(drop_response(schemas, 201, "The drop.").headers(&[
        "Location",
        "ETag",
        "Holdfast-Position",
        "Idempotent-Replayed",
    ]))
    .problems(&[Code::Unavailable])
}

fn list(schemas: &mut Schemas) -> Operation {
    let page = schemas.response::<Page<DropBody<'static>>>();
    let example = json!({ "data": [example_drop()], "has_more": false });
    Operation::get(
        schemas,
        "/v1/drops",
        drops::list,
        "listDrops",
        "List drops, newest first",
    )
    .conditional_response_with_time(ResponseSpec::new(200, "A page of drops.").json(page, example))
    .position_header()
}

fn read(schemas: &mut Schemas) -> Operation {
    Operation::get(schemas, ONE, drops::read, "readDrop", "Read a drop")
        .conditional_response_with_time(drop_response(
            schemas,
            200,
            "The drop. An edit sends its `ETag` as `If-Match`.",
        ))
}

fn edit(schemas: &mut Schemas) -> Operation {
    Operation::patch(schemas, ONE, drops::edit, "editDrop", "Edit a drop's terms")
        .description(
            "A field in the body replaces the current value, and `null` removes it if it \
                      is optional. Fields that are absent stay unchanged. `If-Match` compares the \
                      terms, not the stock: 412 means that the terms were edited since they were \
                      read.",
        )
        .parameter("If-Match")
        .body_example(json!({ "max_per_hold": 2, "max_per_buyer": null }))
        .response(
            drop_response(schemas, 200, "The edited drop.").headers(&["ETag", "Holdfast-Position"]),
        )
        .problems(&[
            Code::Ended,
            Code::StaleVersion,
            Code::PreconditionRequired,
            Code::Unavailable,
        ])
}

fn publish(schemas: &mut Schemas) -> Operation {
    Operation::post(
        schemas,
        "/v1/drops/{id}/publish",
        sale::publish,
        "publishDrop",
        "Publish a draft",
    )
    .description(
        "The drop becomes visible as its `visibility` says, and starts at `starts_at`: that of \
         the body, or that of the draft; immediately, if that time has passed. Publishing again \
         has no effect. `If-Match` is optional, as for a cancellation.",
    )
    .parameter("Cancel-If-Match")
    .body_example(json!({}))
    .response(changed(schemas, "The published drop."))
    .problems(&[Code::StaleVersion, Code::Ended, Code::Unavailable])
}

fn pause(schemas: &mut Schemas) -> Operation {
    Operation::post(
        schemas,
        "/v1/drops/{id}/pause",
        sale::pause,
        "pauseDrop",
        "Pause a drop",
    )
    .description(
        "No unit is held from now on: no hold, order, larger hold or offer to the waitlist. \
         Existing holds can be purchased, and expire as usual; the waitlist keeps its order, and \
         buyers may join it where the units do not suffice. The end of the drop does not move. \
         Pausing again has no effect. `If-Match` is optional, as for a cancellation.",
    )
    .parameter("Cancel-If-Match")
    .body_example(json!({}))
    .response(changed(schemas, "The paused drop."))
    .problems(&[
        Code::StaleVersion,
        Code::Ended,
        Code::Draft,
        Code::Unavailable,
    ])
}

fn resume(schemas: &mut Schemas) -> Operation {
    Operation::post(
        schemas,
        "/v1/drops/{id}/resume",
        sale::resume,
        "resumeDrop",
        "Resume a drop",
    )
    .description(
        "The sale continues. Units that became available in the meantime are offered to the \
         waitlist first. Resuming again has no effect. `If-Match` is optional, as for a \
         cancellation.",
    )
    .parameter("Cancel-If-Match")
    .body_example(json!({}))
    .response(changed(schemas, "The drop."))
    .problems(&[
        Code::StaleVersion,
        Code::Ended,
        Code::Draft,
        Code::Unavailable,
    ])
}

/// The drop after a change that can be repeated.
fn changed(schemas: &mut Schemas, description: &str) -> ResponseSpec {
    drop_response(schemas, 200, description).headers(&[
        "ETag",
        "Holdfast-Position",
        "Idempotent-Replayed",
    ])
}

fn cancel(schemas: &mut Schemas) -> Operation {
    Operation::post(
        schemas,
        "/v1/drops/{id}/cancel",
        drops::cancel,
        "cancelDrop",
        "Cancel a drop",
    )
    .description(
        "Stops holds and purchases, releases all holds and cancels all waitlist entries. In a \
             drop with more than about 500 of them this takes several seconds, during which \
             `stock.held` falls to 0. Cancelling again has no effect. `If-Match` is optional: 412 \
             means that the drop was edited since the `ETag` was read.",
    )
    .parameter("Cancel-If-Match")
    .body_example(json!({}))
    .response(changed(schemas, "The cancelled drop."))
    .problems(&[Code::StaleVersion, Code::Unavailable])
}

fn adjust(schemas: &mut Schemas) -> Operation {
    let example = json!({
        "id": "0197d3f3-11aa-4bcd-8e0f-5a6b7c8d9e0f", "drop_id": DROP_ID, "delta": 20, "reason": "a second box",
        "stock": { "total": 120, "available": 117, "held": 1, "sold": 2 }, "waitlist_length": 0, "position": 18,
    });
    let made = ResponseSpec::new(201, "The adjustment.")
        .json(schemas.response::<AdjustmentBody>(), example);
    Operation::post(
        schemas,
        "/v1/drops/{id}/stock-adjustments",
        drops::adjust,
        "adjustStock",
        "Adjust the stock",
    )
    .description(
        "Adds or removes available units. Added units are offered to the waitlist first. `stock` \
         is the stock after these offers; for a repeated request it is the current stock. \
         `If-Match` is optional: 412 means that the stock was adjusted since the `ETag` was read. \
         Sales do not change the result of the comparison.",
    )
    .parameter("Stock-If-Match")
    .body_example(json!({ "delta": 20, "reason": "a second box" }))
    .response(made.headers(&["Holdfast-Position", "Idempotent-Replayed"]))
    .problems(&[
        Code::InsufficientStock,
        Code::StaleStock,
        Code::Ended,
        Code::Unavailable,
    ])
}

fn set_stock(schemas: &mut Schemas) -> Operation {
    Operation::put(
        schemas,
        "/v1/drops/{id}/stock",
        drops::set_stock,
        "setStock",
        "Set the total stock",
    )
    .description(
        "Sets the total instead of adding to it, after a stock count; recorded as an \
             adjustment by the difference. The present total changes nothing. Added units are \
             offered to the waitlist first. `If-Match` compares the total, not the sales: 412 \
             means that it changed since the `ETag` was read.",
    )
    .parameter("Set-Stock-If-Match")
    .body_example(json!({ "total": 120, "reason": "stock count" }))
    .response(drop_response(schemas, 200, "The drop.").headers(&["ETag", "Holdfast-Position"]))
    .problems(&[
        Code::InsufficientStock,
        Code::StaleStock,
        Code::PreconditionRequired,
        Code::Ended,
        Code::Unavailable,
    ])
}

fn create_codes(schemas: &mut Schemas) -> Operation {
    let example = json!({
        "drop_id": DROP_ID, "codes": ["7KQ2-M0XP-4T9B-ZC3V", "1H8W-RN5E-6D2J-0YQA"], "uses": 1,
        "opens_at": NOON, "expires_at": null, "position": 18,
    });
    let made = ResponseSpec::new(201, "The codes.").json(schemas.response::<CodesBody>(), example);
    Operation::post(
        schemas,
        "/v1/drops/{id}/codes",
        codes::create,
        "createCodes",
        "Create access codes",
    )
    .description(
        "With one of them, a buyer can hold units of a drop whose `access` is `code`, and of every \
         drop from the codes' `opens_at` on, before its start. A code is used by one hold or \
         waitlist entry at a time for each of its `uses`; the use returns when the hold expires or \
         is released, and not when it is purchased. The log has keyed digests of the codes, so \
         they cannot be shown again, except to a repeated request with the same \
         `Idempotency-Key`. A code has 80 random bits; letter case, hyphens and spaces do not \
         matter when it is entered.",
    )
    .body_example(json!({ "count": 2, "opens_at": NOON }))
    .response(
        made.headers(&["Cache-Control", "Holdfast-Position"])
            .optional_headers(&["Idempotent-Replayed"]),
    )
    .problems(&[Code::TooManyCodes, Code::Ended, Code::Unavailable])
}

fn list_codes(schemas: &mut Schemas) -> Operation {
    let example = json!({ "data": [{
        "id": "5f1d0c6a94f2b7e3a1c8d95e60b47f12", "uses": 1, "used": 0, "opens_at": NOON,
        "expires_at": null, "created_at": NOON, "position": 18,
    }], "has_more": false });
    let page = ResponseSpec::new(200, "Access codes, oldest first.")
        .json(schemas.response::<Page<CodeBody>>(), example)
        .headers(&["Cache-Control"])
        .headers(&TAGGED);
    Operation::get(
        schemas,
        "/v1/drops/{id}/codes",
        codes::list,
        "listCodes",
        "List access codes",
    )
    .description(
        "How often each code is used. The server does not know the codes: `id` is the digest that \
         the log has, in the events `CodesCreated`, `HoldPlaced` and `WaitlistJoined`.",
    )
    .parameter("If-None-Match")
    .response(page)
    .response(ResponseSpec::new(304, NOT_MODIFIED).headers(&TAGGED))
}

fn purchasers(schemas: &mut Schemas) -> Operation {
    let page = schemas.response::<Page<PurchaserBody>>();
    Operation::get(
        schemas,
        "/v1/drops/{id}/purchasers",
        buyers::purchasers,
        "listPurchasers",
        "List purchasers",
    )
    .description(
        "The list is not paginated, because purchasers have no public ids; \
                      `starting_after` is rejected.",
    )
    .conditional_response(
        ResponseSpec::new(200, "The purchasers.").json(page, example_purchasers()),
    )
}

fn example_purchasers() -> Value {
    let purchaser = json!({ "buyer": "Ada", "quantity": 2, "last_purchased_at": NOON });
    json!({ "data": [purchaser], "has_more": false })
}

fn purchases(schemas: &mut Schemas) -> Operation {
    let mut example = example_purchase();
    example["payment_reference"] = json!("payment-1");
    let example = json!({ "data": [example], "has_more": false });
    let csv = json!({
        "schema": { "type": "string" },
        "example": "id,hold_id,drop_id,buyer_id,quantity,amount,currency,purchased_at,payment_reference,position,refunded_quantity,refunded_amount\r\n",
    });
    let page = ResponseSpec::new(200, "Purchases, earliest first.")
        .json(schemas.response::<Page<RecordedPurchase>>(), example)
        .content("text/csv", csv)
        .headers(&["Cache-Control", "Vary"])
        .optional_headers(&["ETag", "Holdfast-Server-Time", "Content-Disposition"]);
    let not_modified = ResponseSpec::new(304, NOT_MODIFIED);
    Operation::get(
        schemas,
        "/v1/drops/{id}/purchases",
        purchases::list,
        "listPurchases",
        "List purchases",
    )
    .description(
        "Purchases with buyer and payment reference. With `Accept: text/csv` the response is a \
         CSV file, of all purchases if `limit` is absent; `amount` is in minor units. A cell that \
         a spreadsheet would evaluate as a formula is prefixed with a single quote. After the \
         erasure of a buyer, the buyer and the payment reference are null, or empty in CSV.",
    )
    .parameter("If-None-Match")
    .response(page)
    .response(not_modified.headers(&TAGGED).headers(&["Vary"]))
}

fn standing(schemas: &mut Schemas) -> Operation {
    let example = json!({
        "buyer_id": "buyer-1", "held": 1, "purchased": 0, "allowance": 1, "next_hold_at": null, "server_time": NOON,
    });
    let standing = ResponseSpec::new(200, "The buyer's holds, purchases and remaining allowance.")
        .json(schemas.response::<BuyerBody>(), example);
    Operation::get(
        schemas,
        "/v1/drops/{id}/buyers/{buyer_id}",
        buyers::standing,
        "readBuyer",
        "Read a buyer's standing in a drop",
    )
    .description(
        "`holds` and `waitlist` are included only for the buyer's own token and for the admin \
         key. With them, a buyer who did not receive a response can find the hold again. They are \
         omitted for other callers, because the id of a hold permits its purchase. `held` and \
         `purchased` are the units in this drop; `allowance` counts those in all drops of its \
         `limit_group`.",
    )
    .conditional_response_with_time(standing)
}
