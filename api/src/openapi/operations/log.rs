//! Operations of the log.

use serde_json::{Value, json};

use super::{DROP_ID, NOON};
use crate::log::{self, EventBody, LogPage};
use crate::openapi::operation::{NOT_MODIFIED, Operation, ResponseSpec, TAGGED};
use crate::openapi::schemas::{Head, Schemas};

pub(super) fn all(schemas: &mut Schemas) -> Vec<Operation> {
    let operations = [list(schemas), head(schemas)];
    operations
        .into_iter()
        .map(|operation| operation.tag("Log"))
        .collect()
}

fn list(schemas: &mut Schemas) -> Operation {
    let page = json!({ "data": [example_event()], "has_more": false, "head": example_head() });
    let lines = json!({ "schema": { "type": "string" }, "x-lines": schemas.response::<EventBody<'static>>() });
    let response = ResponseSpec::new(200, "Events in order of position, without gaps.")
        .json(schemas.response::<LogPage<'static>>(), page)
        .content("application/x-ndjson", lines);
    Operation::get(schemas, "/v1/log", log::list, "listEvents", "Read the log")
        .description(
            "`payload` and `metadata` are the stored text byte for byte, so that a \
                      client can recompute the hash. With `Accept: application/x-ndjson` the \
                      response contains the whole log, one event per line; it has no entity tag, \
                      and an error ends it early. Because an event is one line, spaces replace \
                      line breaks of the stored text; `payload_text` and `metadata_text` then \
                      contain the original text.",
        )
        .parameter("If-None-Match")
        .response(
            response
                .headers(&["Vary"])
                .optional_headers(&["ETag", "Holdfast-Server-Time"]),
        )
        .response(
            ResponseSpec::new(304, NOT_MODIFIED)
                .headers(&TAGGED)
                .headers(&["Vary"]),
        )
}

fn head(schemas: &mut Schemas) -> Operation {
    let head = ResponseSpec::new(
        200,
        "The last position, and its hash, which covers all events before it.",
    );
    Operation::get(
        schemas,
        "/v1/log/head",
        log::head,
        "readHead",
        "Read the head of the log",
    )
    .conditional_response(head.json(schemas.response::<Head>(), example_head()))
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
