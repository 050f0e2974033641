//! The line: join, look, leave.

use serde_json::{Value, json};

use super::{DROP_ID, NOON, PLACE_ID};
use crate::openapi::operation::{Access, Answer, Operation};
use crate::openapi::schemas::Schemas;
use crate::problem::Code;
use crate::waitlist::{NewPlace, PlaceBody};

const ONE: &str = "/v1/waitlist/{id}";

pub(super) fn all(schemas: &mut Schemas) -> Vec<Operation> {
    let operations = [join(schemas), read(schemas), leave()];
    operations
        .into_iter()
        .map(|operation| operation.tag("Waitlist").access(Access::Buyer))
        .collect()
}

fn example() -> Value {
    json!({
        "id": PLACE_ID, "drop_id": DROP_ID, "quantity": 1, "status": "waiting", "place": 3, "blocked_by": null, "hold_id": null,
        "offered_at": null, "price": null, "expires_at": null, "joined_at": NOON, "position": 19, "buyer_id": "buyer-2", "server_time": NOON,
    })
}

fn join(schemas: &mut Schemas) -> Operation {
    let place =
        Answer::new(201, "The place in line.").json(schemas.answer::<PlaceBody>(), example());
    Operation::post("/v1/drops/{id}/waitlist", "joinWaitlist", "Join the line of a drop that is sold out")
        .about("First come, first fit: units that come back become a hold of the first in line who can use them. An entry that nothing can serve is passed over and says so: `blocked_by`. The number of entries that wait in one drop is bounded (HOLDFAST_MAX_WAITLIST).")
        .takes_key()
        .takes_json::<NewPlace>(schemas, json!({ "buyer_id": "buyer-2" }))
        .answers(place.headers(&["Location", "Idempotent-Replayed"]))
        .refuses(&[
            Code::DropNotFound,
            Code::NotSoldOut,
            Code::AlreadyWaiting,
            Code::WaitlistFull,
            Code::LimitReached,
            Code::NotLive,
            Code::Ended,
            Code::Throttled,
            Code::AddressLimitReached,
            Code::CoolingDown,
            Code::Unavailable,
        ])
}

fn read(schemas: &mut Schemas) -> Operation {
    let place = Answer::new(200, "The place, or the hold that it became.")
        .json(schemas.answer::<PlaceBody>(), example());
    Operation::get(ONE, "readWaitlistEntry", "Look at a place in line")
        .reads_fresh()
        .answers_unless_known_at(place)
        .refuses(&[Code::WaitlistEntryNotFound])
}

fn leave() -> Operation {
    let left = Answer::new(204, "Left, now or before.");
    Operation::delete(ONE, "leaveWaitlist", "Leave the line")
        .answers(left.headers(&["Holdfast-Position", "Idempotent-Replayed"]))
        .refuses(&[
            Code::WaitlistEntryNotFound,
            Code::AlreadyOffered,
            Code::Unavailable,
        ])
}
