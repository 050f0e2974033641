//! The route table: every route with its handler and its description, by tag.

mod admin;
mod catalogue;
mod drops;
mod follows;
mod holds;
mod live;
mod log;
mod orders;
mod pages;
mod waitlist;
mod webhooks;

use serde_json::{Value, json};

use super::operation::Operation;
use super::schemas::Schemas;

/// The tags, in the order of the reference page.
pub(super) const TAGS: [(&str, &str); 11] = [
    (
        "Drops",
        "A drop offers a fixed number of units from its start to its end.",
    ),
    (
        "Holds and purchases",
        "A hold reserves units for one buyer until `expires_at`. Its id is unguessable, and the \
         id alone permits its purchase and release.",
    ),
    (
        "Orders",
        "An order holds units of several drops for one buyer, all or none, and is paid as a whole.",
    ),
    (
        "Waitlist",
        "Buyers can join the waitlist of a sold-out drop. Units that become available are \
         offered, as a hold, to the first entry that they can serve.",
    ),
    (
        "Catalogue",
        "Creators and products, with the shop's ids. A drop names them in its terms.",
    ),
    (
        "Follows and notifications",
        "A buyer follows creators, has reminders of drops, and is notified.",
    ),
    (
        "Live",
        "Server-sent events (SSE) that carry state: first the current state, then every change.",
    ),
    (
        "Admin",
        "The data of the dashboard, its session, and erasure of buyers.",
    ),
    (
        "Webhooks and jobs",
        "Endpoints that receive events as signed requests, work that must still be done, and \
         matters that need an administrator.",
    ),
    ("Log", "The append-only event log, for auditors."),
    ("Health", "Liveness, readiness, metrics and this document."),
];

/// Returns the HTML pages. They are not part of the document that clients are generated from.
pub(super) fn pages(schemas: &mut Schemas) -> Vec<Operation> {
    pages::for_people(schemas)
}

/// Returns the operations for programs.
pub(super) fn all(schemas: &mut Schemas) -> Vec<Operation> {
    let groups = [
        drops::all,
        holds::all,
        orders::all,
        waitlist::all,
        catalogue::all,
        follows::all,
        live::all,
        admin::all,
        webhooks::all,
        log::all,
        pages::health,
    ];
    groups.iter().flat_map(|group| group(schemas)).collect()
}

const DROP_ID: &str = "0197d3f2-6b1e-4c55-9a3e-2f60c1d8e7b4";
const HOLD_ID: &str = "0197d3f2-92c4-4e0f-8d11-7a5b3c2e9f60";
const ENTRY_ID: &str = "0197d3f2-c0de-4b7a-b1e2-3d4f5a6b7c8d";
const NOON: &str = "2026-03-01T12:00:00.000Z";
const A_MINUTE_LATER: &str = "2026-03-01T12:01:00.000Z";

fn example_drop() -> Value {
    json!({
        "id": DROP_ID, "name": "Harbour jacket", "description": "Waxed cotton, numbered.", "image_url": null,
        "price": { "amount": 19_999, "currency": "EUR" }, "status": "live", "starts_at": NOON, "ends_at": null,
        "hold_seconds": 60, "max_hold_seconds": 900, "offer_seconds": null, "max_per_hold": 2, "max_per_buyer": 4, "throttle": { "holds": 3, "window_seconds": 600 },
        "low_stock_at": 10, "limit_group": "jackets-2026", "visibility": "public", "show_stock": "exact",
        "access": "open", "challenge": null, "product_id": "harbour-jacket", "variant_id": "m", "creator_id": "atelier-nord", "stock": { "total": 100, "available": 97, "held": 1, "sold": 2 }, "waitlist_length": 0, "position": 17,
        "created_at": NOON, "server_time": NOON,
    })
}
