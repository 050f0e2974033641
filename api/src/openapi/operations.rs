//! Every operation, by the room it belongs to.

mod admin;
mod drops;
mod holds;
mod live;
mod log;
mod pages;
mod waitlist;

use serde_json::{Value, json};

use super::operation::Operation;
use super::schemas::Schemas;

/// The rooms, in the order that a reader meets them.
pub(super) const TAGS: [(&str, &str); 7] = [
    (
        "Drops",
        "A drop offers fixed stock, from its start to its end.",
    ),
    (
        "Holds and purchases",
        "A hold sets units aside for one buyer until `expires_at`. Its id is unguessable: knowing it is the right to buy or to release.",
    ),
    (
        "Waitlist",
        "Who finds a drop sold out joins its line; what comes back becomes a hold of the first who can use it.",
    ),
    (
        "Live",
        "Server-sent events that carry state: the present first, then every change.",
    ),
    ("Admin", "What the dashboard is made of."),
    ("Log", "The one source of truth, for auditors."),
    ("Health", "For what runs and watches the server."),
];

/// The pages for people, in the same form. No client is to be generated for them.
pub(super) fn pages() -> Vec<Operation> {
    pages::for_people()
}

/// All that programs may call.
pub(super) fn all(schemas: &mut Schemas) -> Vec<Operation> {
    let rooms = [
        drops::all,
        holds::all,
        waitlist::all,
        live::all,
        admin::all,
        log::all,
        pages::health,
    ];
    rooms.iter().flat_map(|room| room(schemas)).collect()
}

const DROP_ID: &str = "0197d3f2-6b1e-4c55-9a3e-2f60c1d8e7b4";
const HOLD_ID: &str = "0197d3f2-92c4-4e0f-8d11-7a5b3c2e9f60";
const PLACE_ID: &str = "0197d3f2-c0de-4b7a-b1e2-3d4f5a6b7c8d";
const NOON: &str = "2026-03-01T12:00:00.000Z";
const A_MINUTE_LATER: &str = "2026-03-01T12:01:00.000Z";

fn example_drop() -> Value {
    json!({
        "id": DROP_ID, "name": "Harbour jacket", "description": "Waxed cotton, numbered.", "image_url": null,
        "price": { "amount": 19_999, "currency": "EUR" }, "status": "live", "starts_at": NOON, "ends_at": null,
        "hold_seconds": 60, "max_per_hold": 2, "max_per_buyer": 4, "throttle": { "holds": 3, "window_seconds": 600 },
        "stock": { "total": 100, "available": 97, "held": 1, "sold": 2 }, "waitlist_length": 0, "position": 17,
        "created_at": NOON, "server_time": NOON,
    })
}
