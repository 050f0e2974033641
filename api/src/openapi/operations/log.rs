//! The log, for auditors.

use serde_json::{Value, json};

use super::{DROP_ID, NOON};
use crate::log::{EventBody, LogPage, LogParams};
use crate::openapi::operation::{Access, Answer, Operation};
use crate::openapi::schemas::{Head, Schemas};
use crate::problem::Code;

pub(super) fn all(schemas: &mut Schemas) -> Vec<Operation> {
    let operations = [list(schemas), head(schemas)];
    operations
        .into_iter()
        .map(|operation| {
            operation
                .tag("Log")
                .access(Access::Auditor)
                .refuses(&[Code::Unavailable])
        })
        .collect()
}

fn list(schemas: &mut Schemas) -> Operation {
    let page = json!({ "data": [example_event()], "has_more": false, "head": example_head() });
    let lines = json!({ "schema": { "type": "string" }, "x-lines": schemas.answer::<EventBody<'static>>() });
    let answer = Answer::new(200, "Events, in order, without a gap.")
        .json(schemas.answer::<LogPage<'static>>(), page)
        .content("application/x-ndjson", lines);
    Operation::get("/v1/log", "listEvents", "Read the log")
        .about("`payload` and `metadata` are the stored text byte for byte, so that a reader can recompute the hash. \
            `Accept: application/x-ndjson` asks for all of it, one event a line; then there is no entity tag, and a fault in the \
            middle ends the answer early. In a line, spaces replace the line breaks that a stored text may have, and \
            `payload_text` or `metadata_text` is that text.")
        .takes_query::<LogParams>(schemas)
        .reads_fresh()
        .takes("If-None-Match")
        .answers(answer.headers(&["Vary"]).may_have(&["ETag"]))
        .answers(Answer::new(304, "Nothing has changed since the `ETag` that was sent.").headers(&["ETag", "Cache-Control", "Vary"]))
}

fn head(schemas: &mut Schemas) -> Operation {
    let head = Answer::new(
        200,
        "The last position, and the hash that commits to all before it.",
    );
    Operation::get("/v1/log/head", "readHead", "Where the log ends")
        .reads_fresh()
        .answers_unless_known(head.json(schemas.answer::<Head>(), example_head()))
}

fn example_head() -> Value {
    json!({ "position": 17, "hash": "5e".repeat(32), "recorded_at": NOON })
}

fn example_event() -> Value {
    json!({
        "position": 17, "aggregate_type": "Drop", "aggregate_id": DROP_ID, "sequence": 9, "event_type": "DropCancelled",
        "event_version": "1.0", "recorded_at": NOON, "payload": { "DropCancelled": { "cancelled_at": NOON } }, "metadata": {},
        "hash": "5e".repeat(32),
    })
}
