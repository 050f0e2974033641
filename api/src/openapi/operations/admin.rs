//! Operations of the dashboard, and erasure of a buyer.

use serde_json::{Value, json};

use super::holds::{example as example_hold, example_purchase};
use super::orders::example as example_order;
use super::waitlist::example as example_entry;
use super::{DROP_ID, NOON};
use crate::admin::buyer::{self, BuyerBody};
use crate::admin::report::{self, Report};
use crate::admin::revenue::{self, RevenueBody};
use crate::admin::who::{self, SignedInBody};
use crate::admin::{self, Metrics, Timeline};
use crate::erasure;
use crate::openapi::operation::{NOT_MODIFIED, Operation, ResponseSpec, TAGGED};
use crate::openapi::schemas::Schemas;
use crate::problem::Code;
use crate::session::routes::{self as session, SessionBody};

const SESSION: &str = "/v1/admin/session";

pub(super) fn all(schemas: &mut Schemas) -> Vec<Operation> {
    let operations = [
        metrics(schemas),
        timeline(schemas),
        revenue(schemas),
        report(schemas),
        sign_in(schemas),
        who(schemas),
        sign_out(schemas),
        read_buyer(schemas),
        erase(schemas),
    ];
    operations
        .into_iter()
        .map(|operation| operation.tag("Admin"))
        .collect()
}

fn metrics(schemas: &mut Schemas) -> Operation {
    let metrics = ResponseSpec::new(
        200,
        "Counts within the window, and the current state of the server.",
    )
    .json(schemas.response::<Metrics>(), example());
    Operation::get(
        schemas,
        "/v1/admin/metrics",
        admin::metrics,
        "readMetrics",
        "Read metrics of a time window",
    )
    .conditional_response(metrics)
}

fn example() -> Value {
    let drop = json!({
        "id": DROP_ID, "name": "Harbour jacket", "status": "live", "total": 100, "available": 97, "held": 1, "sold": 2, "expired": 1,
        "refunded": 0,
    });
    json!({
        "holds_placed": 4, "holds_expired": 1, "holds_released": 0, "purchases_confirmed": 2, "units_held": 4, "units_sold": 2, "units_refunded": 0,
        "units_expired": 1, "units_released": 0,
        "oversell_attempts_blocked": 0, "throttle_blocks": 0, "drops": [drop], "has_more": false,
        "timeline": [{ "start": NOON, "held": 4, "sold": 2, "expired": 1 }],
        "release_lateness": { "count": 1, "p50_ms": 2, "p99_ms": 2, "max_ms": 2 }, "engine": { "state": "live", "queued": 0 },
        "projections": [{ "name": "live_stock", "checkpoint": 17, "lag": 0, "stopped": null }],
        "quarantined": [], "watchers": 3, "position": 17,
    })
}

fn timeline(schemas: &mut Schemas) -> Operation {
    let example = json!({ "buckets": [{ "start": NOON, "held": 4, "sold": 2, "expired": 1, "released": 0, "refunded": 0 }] });
    let csv = json!({
        "schema": { "type": "string" },
        "example": "start,held,sold,expired,released,refunded\r\n2026-03-01T12:00:00.000Z,4,2,1,0,0\r\n",
    });
    let timeline = ResponseSpec::new(200, "Units by time, oldest first, including empty buckets.")
        .json(schemas.response::<Timeline>(), example)
        .content("text/csv", csv)
        .headers(&TAGGED)
        .headers(&["Content-Disposition", "Vary"]);
    let not_modified = ResponseSpec::new(304, NOT_MODIFIED).headers(&TAGGED);
    let not_modified = not_modified.headers(&["Vary"]);
    Operation::get(
        schemas,
        "/v1/admin/timeline",
        admin::timeline,
        "readTimeline",
        "Read units held, sold, expired and released over time",
    )
    .description("With `Accept: text/csv` the response is a CSV file.")
    .parameter("If-None-Match")
    .response(timeline)
    .response(not_modified)
    .problems(&[Code::DropNotFound])
}

fn revenue(schemas: &mut Schemas) -> Operation {
    let sum = json!({
        "purchases": 2, "units_sold": 2, "units_refunded": 1, "gross": { "amount": 59_997, "currency": "EUR" },
        "refunded": { "amount": 19_999, "currency": "EUR" }, "net": { "amount": 39_998, "currency": "EUR" },
    });
    let example = json!({
        "starts_at": NOON, "bucket_seconds": 3600, "totals": [sum], "buckets": [{ "start": NOON, "sums": [sum] }],
        "drops": [{ "id": DROP_ID, "name": "Harbour jacket", "sums": [sum] }], "has_more": false, "position": 17,
    });
    let csv = json!({
        "schema": { "type": "string" },
        "example": "start,drop_id,drop_name,currency,purchases,units_sold,units_refunded,gross,refunded,net\r\n2026-03-01T12:00:00.000Z,0197d3f2-6b1e-4c55-9a3e-2f60c1d8e7b4,Harbour jacket,EUR,2,2,1,59997,19999,39998\r\n",
    });
    let revenue = ResponseSpec::new(200, "Revenue and units, in total, by bucket and by drop.")
        .json(schemas.response::<RevenueBody>(), example)
        .content("text/csv", csv)
        .optional_headers(&["ETag", "Content-Disposition", "Holdfast-Server-Time"])
        .headers(&["Cache-Control", "Vary"]);
    let not_modified = ResponseSpec::new(304, NOT_MODIFIED).headers(&TAGGED);
    let not_modified = not_modified.headers(&["Vary"]);
    Operation::get(
        schemas,
        "/v1/admin/revenue",
        revenue::revenue,
        "readRevenue",
        "Read revenue and units by drop and by time",
    )
    .description(
        "For each currency: the price of all purchased units, of the refunded ones, and the rest. A \
         refund counts at the time of its purchase. With `Accept: text/csv` the response is a CSV \
         file of all drops, with a line for each drop, bucket and currency with purchases; formula \
         cells are neutralised.",
    )
    .parameter("If-None-Match")
    .response(revenue)
    .response(not_modified)
    .problems(&[Code::DropNotFound])
}

fn report(schemas: &mut Schemas) -> Operation {
    let counted = |count: u64| json!({ "count": count, "units": count });
    let latest = json!({ "position": 17, "recorded_at": NOON, "event_type": "PurchaseConfirmed", "units": 1, "admin": null });
    let bucket = json!({ "after_ms": 0, "holds": 4, "held": 4, "sold": 0, "freed": 0 });
    let example = json!({
        "id": DROP_ID, "name": "Harbour jacket", "status": "live", "starts_at": NOON, "ends_at": null,
        "stock": { "total": 100, "available": 97, "held": 1, "sold": 2 }, "waitlist_length": 0, "waitlist_joined": 0,
        "funnel": {
            "placed": counted(4), "offered": counted(0), "open": counted(1), "purchased": counted(2), "expired": counted(1),
            "released": counted(0), "refunded": counted(0),
        },
        "refusals": { "sold_out": 0, "limit_reached": 1, "throttled": 0 }, "first_hold_at": NOON, "sold_out_at": null, "all_sold_at": null,
        "opening": { "bucket_ms": 50, "buckets": [bucket] }, "latest": [latest], "position": 17,
    });
    let report = ResponseSpec::new(200, "The report of the drop.")
        .json(schemas.response::<Report>(), example);
    Operation::get(
        schemas,
        "/v1/admin/drops/{id}/report",
        report::read,
        "readDropReport",
        "Read the outcome of the holds of a drop",
    )
    .description(
        "From the hold to the sale: how many holds and units were placed, purchased, expired, \
         released and refunded since the drop was scheduled, the refused requests, and the first ten \
         seconds after the first hold in buckets of 50 ms.",
    )
    .conditional_response(report)
}

fn sign_in(schemas: &mut Schemas) -> Operation {
    let session = ResponseSpec::new(201, "Signed in.").json(
        schemas.response::<SessionBody>(),
        json!({ "admin": "ops-1", "expires_at": NOON }),
    );
    Operation::post(
        schemas,
        SESSION,
        session::sign_in,
        "signIn",
        "Sign a browser in",
    )
    .description(
        "Exchanges the admin key for a session cookie, so that no page has to store \
                      the key. Requests from pages of other sites are rejected.",
    )
    .body_example(json!({ "key": "ADMIN_KEY" }))
    .response(session.headers(&["Set-Cookie", "Cache-Control"]))
    .problems(&[Code::Unauthorized, Code::Forbidden, Code::TooManyAttempts])
}

fn who(schemas: &mut Schemas) -> Operation {
    let signed_in = ResponseSpec::new(200, "The administrator.").json(
        schemas.response::<SignedInBody>(),
        json!({ "admin": "ops-1" }),
    );
    Operation::get(
        schemas,
        SESSION,
        who::who,
        "readSession",
        "Read the signed-in administrator",
    )
    .description("The name that belongs to the key of the request, or to its session.")
    .conditional_response_with_time(signed_in)
}

fn sign_out(schemas: &mut Schemas) -> Operation {
    let signed_out = ResponseSpec::new(204, "The browser is signed out, now or earlier.");
    Operation::delete(
        schemas,
        SESSION,
        session::sign_out,
        "signOut",
        "Sign a browser out",
    )
    .response(signed_out.headers(&["Set-Cookie", "Cache-Control"]))
    .problems(&[Code::Forbidden])
}

fn read_buyer(schemas: &mut Schemas) -> Operation {
    let mut purchase = example_purchase();
    purchase["payment_reference"] = json!("payment-1");
    let in_drop = json!({
        "drop_id": DROP_ID, "drop_name": "Harbour jacket", "held": 1, "purchased": 1, "refunded": 0,
        "holds": [example_hold()], "purchases": [purchase], "waitlist": [example_entry()], "has_more": false,
        "url": format!("/v1/drops/{DROP_ID}/buyers/buyer%2D1"), "purchases_url": format!("/v1/drops/{DROP_ID}/purchases"),
    });
    let mut order = example_order();
    order["payment_reference"] = Value::Null;
    let orders =
        json!({ "data": [order], "has_more": false, "url": "/v1/orders?buyer_id=buyer%2D1" });
    let example = json!({ "buyer_id": "buyer-1", "drops": [in_drop], "has_more": false, "orders": orders, "server_time": NOON });
    let buyer = ResponseSpec::new(
        200,
        "The buyer's holds, purchases and waitlist entries by drop, and their newest orders. Empty \
         lists if the buyer is unknown or was erased.",
    )
    .json(schemas.response::<BuyerBody>(), example);
    Operation::get(
        schemas,
        "/v1/admin/buyers/{buyer_id}",
        buyer::read,
        "readBuyerOfAllDrops",
        "Read one buyer over all drops",
    )
    .description(
        "A page of the drops in which the buyer held units or waited, newest drop first, each with \
         the newest 50 holds, purchased ones included, and 50 waitlist entries.",
    )
    .conditional_response(buyer)
}

fn erase(schemas: &mut Schemas) -> Operation {
    let erased = ResponseSpec::new(
        204,
        "No personal data of this buyer is stored any more. Also returned if none was stored.",
    );
    Operation::delete(
        schemas,
        "/v1/admin/buyers/{buyer_id}",
        erasure::delete,
        "eraseBuyer",
        "Erase a buyer's personal data",
    )
    .description(
        "Removes the buyer's id, display names and payment references. Events keep \
                  pseudonyms, and the hash chain stays valid.",
    )
    .response(erased.headers(&["Holdfast-Position"]))
    .problems(&[Code::InvalidValue, Code::Unavailable])
}
