//! Drops: schedule, read, edit, cancel, adjust, and who bought.

use projections::drop_body::{DropBody, PurchaserBody};
use serde_json::{Value, json};

use super::holds::example_purchase;
use super::{DROP_ID, NOON, example_drop};
use crate::drops::buyers::{BuyerBody, PurchasersParams};
use crate::drops::purchases::{PurchasesParams, RecordedPurchase};
use crate::drops::terms::{EditedDrop, NewDrop};
use crate::drops::{AdjustmentBody, Cancellation, ListParams, NewAdjustment};
use crate::openapi::operation::{Access, Answer, Operation};
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
        cancel(schemas),
        adjust(schemas),
        purchasers(schemas),
        purchases(schemas),
        standing(schemas),
    ];
    operations
        .into_iter()
        .map(|operation| operation.tag("Drops"))
        .collect()
}

fn a_drop(schemas: &mut Schemas, status: u16, description: &str) -> Answer {
    Answer::new(status, description).json(schemas.answer::<DropBody<'static>>(), example_drop())
}

fn create(schemas: &mut Schemas) -> Operation {
    let example = json!({ "name": "Harbour jacket", "price": { "amount": 19_999, "currency": "EUR" }, "total_stock": 100 });
    Operation::post("/v1/drops", "createDrop", "Schedule a drop")
        .access(Access::Admin)
        .takes_key()
        .takes_json::<NewDrop>(schemas, example)
        .answers(a_drop(schemas, 201, "The drop.").headers(&[
            "Location",
            "ETag",
            "Idempotent-Replayed",
        ]))
        .refuses(&[Code::Unavailable])
}

fn list(schemas: &mut Schemas) -> Operation {
    let page = schemas.answer::<Page<DropBody<'static>>>();
    let example = json!({ "data": [example_drop()], "has_more": false });
    Operation::get("/v1/drops", "listDrops", "List drops, the newest first")
        .takes_query::<ListParams>(schemas)
        .reads_fresh()
        .answers_unless_known_at(Answer::new(200, "Drops.").json(page, example))
        .says_position()
}

fn read(schemas: &mut Schemas) -> Operation {
    Operation::get(ONE, "readDrop", "Read a drop")
        .reads_fresh()
        .answers_unless_known_at(a_drop(
            schemas,
            200,
            "The drop. Its `ETag` is what an edit sends as `If-Match`.",
        ))
        .refuses(&[Code::DropNotFound])
}

fn edit(schemas: &mut Schemas) -> Operation {
    Operation::patch(ONE, "editDrop", "Edit a drop's terms")
        .about("A field that is there replaces, `null` removes where that can be, one that is not there leaves things as they are. \
            `If-Match` compares the terms, not the stock: 412 says that somebody else edited them meanwhile.")
        .access(Access::Admin)
        .takes("If-Match")
        .takes_json::<EditedDrop>(schemas, json!({ "max_per_hold": 2, "max_per_buyer": null }))
        .answers(a_drop(schemas, 200, "The drop as it is now.").headers(&["ETag"]))
        .refuses(&[
            Code::DropNotFound,
            Code::Ended,
            Code::StaleVersion,
            Code::PreconditionRequired,
            Code::Unavailable,
        ])
}

fn cancel(schemas: &mut Schemas) -> Operation {
    Operation::post("/v1/drops/{id}/cancel", "cancelDrop", "Cancel a drop")
        .about(
            "Nothing more is held or sold from then on; holds are released and waitlist entries removed. In a drop with more than \
             about 500 of them that is recorded over the next seconds, during which `stock.held` falls to 0. Again is fine.",
        )
        .access(Access::Admin)
        .may_take_json::<Cancellation>(schemas, json!({}))
        .answers(a_drop(schemas, 200, "The drop, cancelled.").headers(&["ETag", "Idempotent-Replayed"]))
        .refuses(&[Code::DropNotFound, Code::Unavailable])
}

fn adjust(schemas: &mut Schemas) -> Operation {
    let example = json!({
        "id": "0197d3f3-11aa-4bcd-8e0f-5a6b7c8d9e0f", "drop_id": DROP_ID, "delta": 20, "reason": "a second box",
        "stock": { "total": 120, "available": 117, "held": 1, "sold": 2 }, "waitlist_length": 0, "position": 18,
    });
    let made =
        Answer::new(201, "The adjustment.").json(schemas.answer::<AdjustmentBody>(), example);
    Operation::post(
        "/v1/drops/{id}/stock-adjustments",
        "adjustStock",
        "Add stock, or take it away",
    )
    .about(
        "Units that are added go to the waitlist first; `stock` is what a read shows then, and again what it shows now when the \
         request is repeated. `If-Match` is optional: 412 says that the stock was adjusted after the `ETag` was read; sales do not \
         count.",
    )
    .access(Access::Admin)
    .takes_key()
    .takes("Stock-If-Match")
    .takes_json::<NewAdjustment>(schemas, json!({ "delta": 20, "reason": "a second box" }))
    .answers(made.headers(&["Idempotent-Replayed"]))
    .refuses(&[
        Code::DropNotFound,
        Code::InsufficientStock,
        Code::StaleStock,
        Code::Ended,
        Code::Unavailable,
    ])
}

fn purchasers(schemas: &mut Schemas) -> Operation {
    let page = schemas.answer::<Page<PurchaserBody>>();
    Operation::get("/v1/drops/{id}/purchasers", "listPurchasers", "Who bought")
        .about("There is no next page: purchasers have no ids that a reader may know, so `starting_after` is refused.")
        .takes_query::<PurchasersParams>(schemas)
        .reads_fresh()
        .answers_unless_known(Answer::new(200, "Purchasers.").json(page, example_purchasers()))
        .refuses(&[Code::DropNotFound])
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
        "example": "id,hold_id,drop_id,buyer_id,quantity,amount,currency,purchased_at,payment_reference,position\r\n",
    });
    let page = Answer::new(200, "Purchases, the earliest first.")
        .json(schemas.answer::<Page<RecordedPurchase>>(), example)
        .content("text/csv", csv)
        .headers(&["Cache-Control", "Vary"])
        .may_have(&["ETag", "Content-Disposition"]);
    let known = Answer::new(304, "Nothing has changed since the `ETag` that was sent.");
    Operation::get(
        "/v1/drops/{id}/purchases",
        "listPurchases",
        "What was bought, by whom, and with which payment",
    )
    .about(
        "`Accept: text/csv` asks for CSV, of all purchases unless `limit` says otherwise; `amount` is in minor units. A cell \
         that a spreadsheet would run as a formula has a single quote in front. A buyer who was erased is null, or an empty cell, \
         and so is their payment reference.",
    )
    .access(Access::Admin)
    .takes_query::<PurchasesParams>(schemas)
    .reads_fresh()
    .takes("If-None-Match")
    .answers(page)
    .answers(known.headers(&["ETag", "Cache-Control", "Vary"]))
    .refuses(&[Code::DropNotFound])
}

fn standing(schemas: &mut Schemas) -> Operation {
    let example = json!({
        "buyer_id": "buyer-1", "held": 1, "purchased": 0, "allowance": 1, "next_hold_at": null, "server_time": NOON,
    });
    let standing = Answer::new(200, "What the buyer has, and may still do.")
        .json(schemas.answer::<BuyerBody>(), example);
    Operation::get(
        "/v1/drops/{id}/buyers/{buyer_id}",
        "readBuyer",
        "What one buyer has of a drop",
    )
    .about(
        "`holds` and `waitlist` are shown to the buyer's own token and to the admin key: so a buyer who lost an answer finds the \
         hold again. For anybody else they are left out, because a hold's id is the right to buy.",
    )
    .access(Access::Buyer)
    .reads_fresh()
    .answers_unless_known_at(standing)
    .refuses(&[Code::DropNotFound, Code::InvalidValue, Code::Unavailable])
}
