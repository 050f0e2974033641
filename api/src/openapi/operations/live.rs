//! The operation of the SSE stream.

use projections::drop_body::DropBody;
use serde_json::json;

use crate::connections::STREAM_PATH;
use crate::openapi::operation::{Operation, ResponseSpec};
use crate::openapi::schemas::Schemas;
use crate::orders::OrderBody;
use crate::problem::Code;
use crate::stream::watch::watch;
use crate::waitlist::state::WaitlistEntryState;

const DESCRIPTION: &str = "Sends one `drop` event with the public state of each drop, then one \
                           for each change, at a limited rate per second. With `waitlist`, it \
                           also sends a `waitlist` event when one of these entries changes; with \
                           `orders`, an `order` event with the state of each of these orders, and \
                           one for each change. `id:` is the log position to resume from, \
                           wherever the stream was interrupted. `retry:` is 1000, and an idle \
                           stream has a heartbeat (a comment line) at least every 15 s; both \
                           precede the next event, so no event is without data. A client that \
                           falls behind receives the newest state, not a backlog. A client that \
                           sends anything on the connection after its request, or stops reading \
                           for long, is disconnected. If `drops` and `orders` are absent, drops \
                           that have ended are omitted, except those that ended after the \
                           position in `Last-Event-ID`. A drop in quarantine is omitted until it \
                           is readmitted; then its state is sent. To show a few of many drops, \
                           name them in `drops` and set `new=true` to receive newly scheduled \
                           ones.";

pub(super) fn all(schemas: &mut Schemas) -> Vec<Operation> {
    let events = json!({
        "schema": { "type": "string" },
        "x-events": { "drop": schemas.response::<DropBody<'static>>(), "waitlist": schemas.response::<WaitlistEntryState>(), "order": schemas.response::<OrderBody>() },
        "example": "retry: 1000\nevent: drop\nid: 17\ndata: {\"id\":\"0197d3f2-6b1e-4c55-9a3e-2f60c1d8e7b4\", …}\n\n",
    });
    let response = ResponseSpec::new(200, "Events, until the client disconnects.")
        .content("text/event-stream", events);
    let watch = Operation::get(
        schemas,
        STREAM_PATH,
        watch,
        "watchDrops",
        "Stream changes of drops",
    )
    .description(DESCRIPTION)
    .tag("Live")
    .parameter("Last-Event-ID")
    .response(response.headers(&["Cache-Control"]))
    .problems(&[
        Code::TooManyAttempts,
        Code::DropNotFound,
        Code::WaitlistEntryNotFound,
        Code::OrderNotFound,
        Code::OrderQuarantined,
        Code::TooManyConnections,
        Code::Unavailable,
    ]);
    vec![watch]
}
