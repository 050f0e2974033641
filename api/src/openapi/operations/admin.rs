//! The dashboard's routes, and erasing a buyer.

use serde_json::{Value, json};

use super::{DROP_ID, NOON};
use crate::admin::{Metrics, MetricsParams, Timeline, TimelineParams};
use crate::openapi::operation::{Access, Answer, Operation};
use crate::openapi::schemas::Schemas;
use crate::problem::Code;
use crate::session::{SessionBody, SignIn};

const SESSION: &str = "/v1/admin/session";

pub(super) fn all(schemas: &mut Schemas) -> Vec<Operation> {
    let operations = [
        metrics(schemas),
        timeline(schemas),
        sign_in(schemas),
        sign_out(),
        erase(),
    ];
    operations
        .into_iter()
        .map(|operation| operation.tag("Admin"))
        .collect()
}

fn metrics(schemas: &mut Schemas) -> Operation {
    let metrics = Answer::new(200, "Counts of the window, and the state of things now.")
        .json(schemas.answer::<Metrics>(), example());
    Operation::get(
        "/v1/admin/metrics",
        "readMetrics",
        "What happened within a window",
    )
    .access(Access::Admin)
    .takes_query::<MetricsParams>(schemas)
    .reads_fresh()
    .answers_unless_known(metrics)
}

fn example() -> Value {
    let drop = json!({
        "id": DROP_ID, "name": "Harbour jacket", "status": "live", "total": 100, "available": 97, "held": 1, "sold": 2, "expired": 1,
    });
    json!({
        "holds_placed": 4, "holds_expired": 1, "holds_released": 0, "purchases_confirmed": 2, "units_held": 4, "units_sold": 2,
        "units_expired": 1, "units_released": 0,
        "oversell_attempts_blocked": 0, "throttle_blocks": 0, "drops": [drop], "has_more": false,
        "timeline": [{ "start": NOON, "held": 4, "sold": 2, "expired": 1 }],
        "release_lateness": { "count": 1, "p50_ms": 2, "p99_ms": 2, "max_ms": 2 }, "engine": { "state": "live", "queued": 0 },
        "projections": [{ "name": "live_stock", "checkpoint": 17, "lag": 0, "stopped": null }],
        "quarantined": [], "watchers": 3, "position": 17,
    })
}

fn timeline(schemas: &mut Schemas) -> Operation {
    let example = json!({ "buckets": [{ "start": NOON, "held": 4, "sold": 2, "expired": 1, "released": 0 }] });
    let csv = json!({
        "schema": { "type": "string" },
        "example": "start,held,sold,expired,released\r\n2026-03-01T12:00:00.000Z,4,2,1,0\r\n",
    });
    let timeline = Answer::new(200, "Units by time, oldest first, empty buckets included.")
        .json(schemas.answer::<Timeline>(), example)
        .content("text/csv", csv)
        .headers(&["ETag", "Cache-Control", "Content-Disposition", "Vary"]);
    let known = Answer::new(304, "Nothing has changed since the `ETag` that was sent.").headers(&[
        "ETag",
        "Cache-Control",
        "Vary",
    ]);
    Operation::get(
        "/v1/admin/timeline",
        "readTimeline",
        "Units held, sold, expired and released by time",
    )
    .about("`Accept: text/csv` asks for CSV.")
    .access(Access::Admin)
    .takes_query::<TimelineParams>(schemas)
    .reads_fresh()
    .takes("If-None-Match")
    .answers(timeline)
    .answers(known)
    .refuses(&[Code::DropNotFound])
}

fn sign_in(schemas: &mut Schemas) -> Operation {
    let session = Answer::new(201, "Signed in.").json(
        schemas.answer::<SessionBody>(),
        json!({ "expires_at": NOON }),
    );
    Operation::post(SESSION, "signIn", "Sign a browser in")
        .about("Gives a cookie for the admin key, so that no page holds the key. Other sites' pages are refused.")
        .takes_json::<SignIn>(schemas, json!({ "key": "the admin key" }))
        .answers(session.headers(&["Set-Cookie", "Cache-Control"]))
        .refuses(&[Code::Unauthorized, Code::Forbidden, Code::TooManyAttempts])
}

fn sign_out() -> Operation {
    let signed_out = Answer::new(204, "Signed out, now or before.");
    Operation::delete(SESSION, "signOut", "Sign a browser out")
        .answers(signed_out.headers(&["Set-Cookie", "Cache-Control"]))
        .refuses(&[Code::Forbidden])
}

fn erase() -> Operation {
    let erased = Answer::new(
        204,
        "Nothing of that buyer is left, whether or not anything was known.",
    );
    Operation::delete(
        "/v1/admin/buyers/{buyer_id}",
        "eraseBuyer",
        "Erase a buyer everywhere",
    )
    .about("What the shop called them is removed; the log's chain still verifies.")
    .access(Access::Admin)
    .answers(erased.headers(&["Holdfast-Position"]))
    .refuses(&[Code::InvalidValue, Code::Unavailable])
}
