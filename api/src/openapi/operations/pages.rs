//! Operations of health, metrics and this document; and the HTML pages.

use serde_json::{Value, json};

use crate::health::{Alive, Ready};
use crate::openapi::operation::{NOT_MODIFIED, Operation, ResponseSpec, TAGGED};
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
    let alive = ResponseSpec::new(200, "The process responds.")
        .json(schemas.response::<Alive>(), json!({ "status": "live" }));
    Operation::get("/health/live", "isAlive", "Liveness of the process").response(alive)
}

fn ready(schemas: &mut Schemas) -> Operation {
    let ready = ResponseSpec::new(200, "Requests can be recorded.")
        .json(schemas.response::<Ready>(), example_ready());
    Operation::get("/health/ready", "isReady", "Readiness of the server")
        .description(
            "The server is ready if it can record requests. Otherwise reads are served \
                      from the state at `position`. Drops in quarantine are listed, and do not \
                      make a server unready.",
        )
        .response(ready)
        .problems(&[Code::Unavailable])
}

fn example_ready() -> Value {
    let table = json!({ "checkpoint": 17, "lag": 0, "stopped": null });
    json!({
        "status": "ready", "position": 17, "projections": { "live_stock": table },
        "quarantined_drops": 0, "quarantined": [],
    })
}

fn metrics() -> Operation {
    let metrics = ResponseSpec::new(200, "Metrics in the Prometheus text format, version 0.0.4.")
        .text("text/plain")
        .headers(&["Cache-Control"]);
    Operation::get("/metrics", "scrapeMetrics", "Metrics for Prometheus")
        .description("No key is required. The metrics identify no person and no drop.")
        .response(metrics)
}

fn document() -> Operation {
    let document =
        json!({ "schema": { "type": "object", "required": ["openapi", "info", "paths"] } });
    Operation::get(
        "/openapi.json",
        "readDocument",
        "Read this OpenAPI 3.1 document",
    )
    .conditional_response(
        ResponseSpec::new(200, "The document.").content("application/json", document),
    )
}

fn page(path: &'static str, id: &str, summary: &str) -> Operation {
    Operation::page(path, id, summary)
        .conditional_response(ResponseSpec::new(200, "The page.").text("text/html"))
}

fn drop_page() -> Operation {
    page("/drops/{id}", "showDrop", "One drop").response(
        ResponseSpec::new(404, "An HTML page: drop not found.")
            .text("text/html")
            .headers(&TAGGED),
    )
}

fn dashboard() -> Operation {
    let page = ResponseSpec::new(
        200,
        "The dashboard if the browser has signed in, otherwise the sign-in page.",
    )
    .text("text/html");
    let not_modified = ResponseSpec::new(304, NOT_MODIFIED);
    Operation::page("/admin", "showDashboard", "The dashboard")
        .conditional_response(page.headers(&["Vary"]))
        .response(not_modified.headers(&TAGGED).headers(&["Vary"]))
}

fn asset() -> Operation {
    let file = ResponseSpec::new(200, "The file.")
        .text("text/javascript")
        .text("text/css")
        .text("text/html")
        .text("image/svg+xml");
    Operation::page("/assets/{path}", "readAsset", "A static file of the pages")
        .conditional_response(file)
        .response(absent())
        .problems(&[Code::NotFound])
}

/// A page for browsers. Programs receive the problem that [`Operation::problems`] adds.
fn absent() -> ResponseSpec {
    ResponseSpec::new(404, "An HTML page: nothing exists at this path.")
        .text("text/html")
        .optional_headers(&["ETag", "Holdfast-Server-Time", "Vary"])
}

fn problem() -> Operation {
    Operation::page(
        "/problems/{code}",
        "explainProblem",
        "Explain a problem code",
    )
    .response(ResponseSpec::new(200, "An explanation.").text("text/plain"))
    .response(absent())
    .problems(&[Code::NotFound])
}
