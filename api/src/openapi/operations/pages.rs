//! Health, metrics, this document, and the pages for people.

use serde_json::{Value, json};

use crate::health::{Alive, Ready};
use crate::openapi::operation::{Answer, Operation};
use crate::openapi::schemas::Schemas;
use crate::problem::Code;

pub(super) fn health(schemas: &mut Schemas) -> Vec<Operation> {
    let health = [live(schemas), ready(schemas), metrics(), document()];
    let health = health.into_iter();
    health.map(|operation| operation.tag("Health")).collect()
}

pub(super) fn for_people() -> Vec<Operation> {
    vec![
        page("/", "showShop", "The shop"),
        drop_page(),
        dashboard(),
        page("/docs", "showReference", "This reference"),
        asset(),
        problem(),
    ]
}

fn live(schemas: &mut Schemas) -> Operation {
    let alive =
        Answer::new(200, "It does.").json(schemas.answer::<Alive>(), json!({ "status": "live" }));
    Operation::get("/health/live", "isAlive", "Whether the process answers").answers(alive)
}

fn ready(schemas: &mut Schemas) -> Operation {
    let ready = Answer::new(200, "They can.").json(schemas.answer::<Ready>(), example_ready());
    Operation::get("/health/ready", "isReady", "Whether requests can be recorded")
        .about("When they cannot, reads are answered from what is known, and `position` tells how old that is. Drops in quarantine do not \
                make a server unready: they are listed.")
        .answers(ready)
        .refuses(&[Code::Unavailable])
}

fn example_ready() -> Value {
    let table = json!({ "checkpoint": 17, "lag": 0, "stopped": null });
    json!({
        "status": "ready", "position": 17, "projections": { "live_stock": table },
        "quarantined_drops": 0, "quarantined": [],
    })
}

fn metrics() -> Operation {
    let metrics = Answer::new(200, "The text format, version 0.0.4.")
        .text("text/plain")
        .headers(&["Cache-Control"]);
    Operation::get("/metrics", "scrapeMetrics", "Figures for Prometheus")
        .about("No key is needed, and nothing in it names a person or a drop.")
        .answers(metrics)
}

fn document() -> Operation {
    let document =
        json!({ "schema": { "type": "object", "required": ["openapi", "info", "paths"] } });
    Operation::get(
        "/openapi.json",
        "readDocument",
        "This document, in OpenAPI 3.1",
    )
    .answers_unless_known(Answer::new(200, "The document.").content("application/json", document))
}

fn page(path: &'static str, id: &str, summary: &str) -> Operation {
    Operation::page(path, id, summary)
        .answers_unless_known(Answer::new(200, "The page.").text("text/html"))
}

fn drop_page() -> Operation {
    page("/drops/{id}", "showDrop", "One drop").answers(
        Answer::new(404, "The page, which says that there is no such drop.")
            .text("text/html")
            .headers(&["ETag", "Cache-Control"]),
    )
}

fn dashboard() -> Operation {
    let page = Answer::new(
        200,
        "The dashboard for who signed in, otherwise the way in.",
    )
    .text("text/html");
    let known = Answer::new(304, "Nothing has changed since the `ETag` that was sent.");
    Operation::page("/admin", "showDashboard", "The dashboard")
        .answers_unless_known(page.headers(&["Vary"]))
        .answers(known.headers(&["ETag", "Cache-Control", "Vary"]))
}

fn asset() -> Operation {
    let file = Answer::new(200, "The file.")
        .text("text/javascript")
        .text("text/css")
        .text("text/html")
        .text("image/svg+xml");
    Operation::page("/assets/{path}", "readAsset", "A file of the pages")
        .answers_unless_known(file)
        .answers(absent())
        .refuses(&[Code::NotFound])
}

/// A page for a browser; a problem, which [`Operation::refuses`] adds, for a program.
fn absent() -> Answer {
    Answer::new(404, "The page, which says that nothing is there.")
        .text("text/html")
        .may_have(&["ETag", "Vary"])
}

fn problem() -> Operation {
    Operation::page("/problems/{code}", "explainProblem", "A problem in words")
        .answers(Answer::new(200, "In words.").text("text/plain"))
        .answers(absent())
        .refuses(&[Code::NotFound])
}
