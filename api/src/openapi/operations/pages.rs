//! Operations of health, metrics and this document; and the HTML pages.

use serde_json::{Value, json};

use crate::health::{self, Alive, Ready};
use crate::metrics::scrape::scrape as scrape_metrics;
use crate::openapi::openapi;
use crate::openapi::operation::{NOT_MODIFIED, Operation, ResponseSpec, TAGGED};
use crate::openapi::reference;
use crate::openapi::schemas::Schemas;
use crate::pages;
use crate::problem::Code;

pub(super) fn health(schemas: &mut Schemas) -> Vec<Operation> {
    let health = [
        live(schemas),
        ready(schemas),
        scrape(schemas),
        document(schemas),
    ];
    let health = health.into_iter();
    health.map(|operation| operation.tag("Health")).collect()
}

pub(super) fn for_people(schemas: &mut Schemas) -> Vec<Operation> {
    vec![
        html(Operation::page(
            schemas,
            "/",
            pages::storefront,
            "showShop",
            "The shop",
        )),
        drop_page(schemas),
        html(Operation::page(
            schemas,
            "/cart",
            pages::cart,
            "showCart",
            "The cart",
        )),
        html(Operation::page(
            schemas,
            "/orders/{id}",
            pages::order_page,
            "showOrder",
            "One order: its payment and its receipt",
        )),
        html(Operation::page(
            schemas,
            "/creators",
            pages::catalogue::creators,
            "showCreators",
            "All creators",
        )),
        creator_page(schemas),
        product_page(schemas),
        dashboard(schemas),
        room(schemas),
        order_room(schemas),
        drop_room(schemas),
        Operation::page(
            schemas,
            "/docs",
            reference::overview,
            "showReference",
            "The API reference",
        )
        .conditional_response(ResponseSpec::new(200, "The page.").text("text/html")),
        reference_page(schemas),
        asset(schemas),
        stylesheet(schemas),
        favicon(schemas),
        robots(schemas),
        site_map(schemas),
        embed(schemas),
        push_worker(schemas),
        problems(schemas),
        problem(schemas),
    ]
}

fn live(schemas: &mut Schemas) -> Operation {
    let alive = ResponseSpec::new(200, "The process responds.")
        .json(schemas.response::<Alive>(), json!({ "status": "live" }));
    Operation::get(
        schemas,
        "/health/live",
        health::live,
        "isAlive",
        "Liveness of the process",
    )
    .response(alive)
}

fn ready(schemas: &mut Schemas) -> Operation {
    let ready = ResponseSpec::new(200, "Requests can be recorded.")
        .json(schemas.response::<Ready>(), example_ready());
    Operation::get(
        schemas,
        "/health/ready",
        health::ready,
        "isReady",
        "Readiness of the server",
    )
    .description(
        "The server is ready if it can record requests. Otherwise reads are served \
                      from the state at `position`. Drops in quarantine are listed, and do not \
                      make a server unready. While the server starts, `step` is `database` or \
                      `log`, and it has applied the event log up to `position` of `head`.",
    )
    .response(ready)
    .problems(&[Code::Unavailable])
}

fn example_ready() -> Value {
    let table = json!({ "checkpoint": 17, "lag": 0, "stopped": null });
    json!({
        "status": "ready", "position": 17, "projections": { "live_stock": table },
        "quarantined_drops": 0, "quarantined_orders": 0, "quarantined": [],
        "stopped_tasks": [],
    })
}

fn scrape(schemas: &mut Schemas) -> Operation {
    let metrics = ResponseSpec::new(200, "Metrics in the Prometheus text format, version 0.0.4.")
        .text("text/plain")
        .headers(&["Cache-Control"]);
    Operation::get(
        schemas,
        "/metrics",
        scrape_metrics,
        "scrapeMetrics",
        "Metrics for Prometheus",
    )
    .description("No key is required. The metrics identify no person and no drop.")
    .response(metrics)
}

fn document(schemas: &mut Schemas) -> Operation {
    let document =
        json!({ "schema": { "type": "object", "required": ["openapi", "info", "paths"] } });
    Operation::get(
        schemas,
        "/openapi.json",
        openapi,
        "readDocument",
        "Read this OpenAPI 3.1 document",
    )
    .conditional_response(
        ResponseSpec::new(200, "The document.").content("application/json", document),
    )
}

/// A page of the shop, in the language of its reader.
fn html(page: Operation) -> Operation {
    in_language(page, "The page.")
}

fn in_language(page: Operation, description: &str) -> Operation {
    let shown = ResponseSpec::new(200, description).text("text/html");
    let not_modified = ResponseSpec::new(304, NOT_MODIFIED);
    page.conditional_response(localized(shown))
        .response(localized(not_modified.headers(&TAGGED)))
}

/// Adds the headers of a response in the language of its reader.
fn localized(response: ResponseSpec) -> ResponseSpec {
    response
        .headers(&["Content-Language", "Vary"])
        .optional_headers(&["Set-Cookie"])
}

fn drop_page(schemas: &mut Schemas) -> Operation {
    html(Operation::page(
        schemas,
        "/drops/{id}",
        pages::drop_page,
        "showDrop",
        "One drop",
    ))
    .response(localized(
        ResponseSpec::new(404, "An HTML page: drop not found.")
            .text("text/html")
            .headers(&TAGGED),
    ))
}

fn creator_page(schemas: &mut Schemas) -> Operation {
    html(Operation::page(
        schemas,
        "/creators/{id}",
        pages::catalogue::creator,
        "showCreator",
        "One creator and its products",
    ))
    .response(localized(
        ResponseSpec::new(404, "An HTML page: creator not found.")
            .text("text/html")
            .headers(&TAGGED),
    ))
}

fn product_page(schemas: &mut Schemas) -> Operation {
    html(Operation::page(
        schemas,
        "/products/{id}",
        pages::catalogue::product,
        "showProduct",
        "One product and its drops",
    ))
    .response(localized(
        ResponseSpec::new(404, "An HTML page: product not found.")
            .text("text/html")
            .headers(&TAGGED),
    ))
}

fn dashboard(schemas: &mut Schemas) -> Operation {
    for_admin(Operation::page(
        schemas,
        "/admin",
        pages::dashboard,
        "showDashboard",
        "The dashboard",
    ))
}

fn room(schemas: &mut Schemas) -> Operation {
    for_admin(Operation::page(
        schemas,
        "/admin/{room}",
        pages::room,
        "showRoom",
        "A room of the dashboard",
    ))
    .response(absent())
    .problems(&[Code::NotFound])
}

fn order_room(schemas: &mut Schemas) -> Operation {
    for_admin(Operation::page(
        schemas,
        "/admin/orders/{id}",
        pages::order_room,
        "showOrderToAdmin",
        "One order in the dashboard",
    ))
}

fn drop_room(schemas: &mut Schemas) -> Operation {
    for_admin(Operation::page(
        schemas,
        "/admin/drops/{id}",
        pages::drop_room,
        "showDropToAdmin",
        "One drop in the dashboard",
    ))
}

fn for_admin(page: Operation) -> Operation {
    let shown = ResponseSpec::new(
        200,
        "The page if the browser has signed in, otherwise the sign-in page.",
    )
    .text("text/html");
    let not_modified = ResponseSpec::new(304, NOT_MODIFIED);
    page.conditional_response(shown.headers(&["Vary"]))
        .response(not_modified.headers(&TAGGED).headers(&["Vary"]))
}

fn asset(schemas: &mut Schemas) -> Operation {
    let file = ResponseSpec::new(200, "The file.")
        .text("text/javascript")
        .text("text/css")
        .text("text/html")
        .text("image/svg+xml")
        .text("image/png")
        .text("image/jpeg")
        .text("image/webp")
        .text("image/x-icon");
    Operation::page(
        schemas,
        "/assets/{*path}",
        pages::asset,
        "readAsset",
        "A static file of the pages",
    )
    .conditional_response(file)
    .response(absent())
    .problems(&[Code::NotFound])
}

fn stylesheet(schemas: &mut Schemas) -> Operation {
    Operation::page(
        schemas,
        "/theme.css",
        pages::branded::stylesheet,
        "readTheme",
        "The colors of the theme",
    )
    .conditional_response(ResponseSpec::new(200, "The stylesheet.").text("text/css"))
}

fn favicon(schemas: &mut Schemas) -> Operation {
    let picture = ResponseSpec::new(200, "The picture.")
        .text("image/svg+xml")
        .text("image/png")
        .text("image/x-icon");
    Operation::page(
        schemas,
        "/favicon.ico",
        pages::branded::favicon,
        "readFavicon",
        "The favicon of the theme",
    )
    .conditional_response(picture)
}

fn robots(schemas: &mut Schemas) -> Operation {
    Operation::page(
        schemas,
        "/robots.txt",
        pages::branded::robots,
        "readRobots",
        "The rules for crawlers",
    )
    .conditional_response(ResponseSpec::new(200, "The rules.").text("text/plain"))
}

fn site_map(schemas: &mut Schemas) -> Operation {
    Operation::page(
        schemas,
        "/sitemap.xml",
        pages::branded::site_map,
        "readSitemap",
        "The public pages, for crawlers",
    )
    .conditional_response(ResponseSpec::new(200, "The map.").text("application/xml"))
}

fn embed(schemas: &mut Schemas) -> Operation {
    let script = ResponseSpec::new(200, "The script.").text("text/javascript");
    Operation::page(
        schemas,
        "/embed.js",
        pages::embed::script,
        "readEmbed",
        "The script for `<holdfast-drop>` on pages of other sites",
    )
    .conditional_response(script)
}

fn push_worker(schemas: &mut Schemas) -> Operation {
    let script = ResponseSpec::new(200, "The script.").text("text/javascript");
    Operation::page(
        schemas,
        "/push.js",
        pages::push_worker,
        "readPushWorker",
        "The service worker that shows notifications of Web Push",
    )
    .conditional_response(script)
}

/// A page for browsers. Programs receive the problem that [`Operation::problems`] adds.
fn absent() -> ResponseSpec {
    ResponseSpec::new(404, "An HTML page: nothing exists at this path.")
        .text("text/html")
        .optional_headers(&[
            "Content-Language",
            "ETag",
            "Holdfast-Server-Time",
            "Set-Cookie",
            "Vary",
        ])
}

fn reference_page(schemas: &mut Schemas) -> Operation {
    let index = json!({ "schema": { "type": "array", "items": { "type": "object" } } });
    let page = ResponseSpec::new(200, "The page, or the search index.");
    let page = page.text("text/html").content("application/json", index);
    Operation::page(
        schemas,
        "/docs/{page}",
        reference::page,
        "showReferencePage",
        "A page of the API reference",
    )
    .conditional_response(page)
    .response(absent())
    .problems(&[Code::NotFound])
}

fn problems(schemas: &mut Schemas) -> Operation {
    explanation(Operation::page(
        schemas,
        "/problems",
        reference::problems,
        "listProblems",
        "List the problem codes",
    ))
}

fn problem(schemas: &mut Schemas) -> Operation {
    explanation(Operation::page(
        schemas,
        "/problems/{code}",
        reference::problem,
        "explainProblem",
        "Explain a problem code",
    ))
    .response(absent())
    .problems(&[Code::NotFound])
}

/// A page for browsers, and its text for programs.
fn explanation(page: Operation) -> Operation {
    let shown = ResponseSpec::new(200, "An explanation.");
    let shown = shown.text("text/plain").text("text/html");
    let not_modified = ResponseSpec::new(304, NOT_MODIFIED);
    page.conditional_response(shown.headers(&["Vary"]))
        .response(not_modified.headers(&TAGGED).headers(&["Vary"]))
}
