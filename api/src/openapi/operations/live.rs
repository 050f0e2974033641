//! The live stream.

use projections::drop_body::DropBody;
use serde_json::json;

use crate::openapi::operation::{Answer, Operation};
use crate::openapi::schemas::Schemas;
use crate::problem::Code;
use crate::stream::WatchParams;
use crate::waitlist::PlaceNews;

const ABOUT: &str = "First one `drop` event for each drop with its whole public state, then one for each change, at most so many a \
    second; with `waitlist`, a `waitlist` event whenever one of those places has news. `id:` is the log position \
    that a watcher who comes back may claim, cut off wherever it was; `retry:` is 1000, and silence is broken by a comment line at \
    least every 15 s; both stand in front of the next event, so no event is without data. A watcher that falls behind gets the newest state, never a backlog. \
    A client that sends anything on the connection after its request, or accepts nothing for long, is disconnected. \
    With no drops named, those that are over are left out, unless `Last-Event-ID` says that the watcher cannot know it. \
    A drop in quarantine is left out until it is readmitted; then its state is sent. \
    A page that shows a part of many drops names those, and hears of each that is scheduled by `new=true`.";

pub(super) fn all(schemas: &mut Schemas) -> Vec<Operation> {
    let stream = json!({
        "schema": { "type": "string" },
        "x-events": { "drop": schemas.answer::<DropBody<'static>>(), "waitlist": schemas.answer::<PlaceNews>() },
        "example": "retry: 1000\nevent: drop\nid: 17\ndata: {\"id\":\"0197d3f2-6b1e-4c55-9a3e-2f60c1d8e7b4\", …}\n\n",
    });
    let answer = Answer::new(200, "Events, for as long as the caller listens.")
        .content("text/event-stream", stream);
    let watch = Operation::get("/v1/stream", "watchDrops", "Watch drops as they change")
        .about(ABOUT)
        .tag("Live")
        .takes_query::<WatchParams>(schemas)
        .takes("Last-Event-ID")
        .answers(answer.headers(&["Cache-Control"]))
        .refuses(&[
            Code::TooManyAttempts,
            Code::DropNotFound,
            Code::WaitlistEntryNotFound,
            Code::TooManyConnections,
            Code::Unavailable,
        ]);
    vec![watch]
}
