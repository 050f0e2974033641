//! Operations of the waitlist: join, read, leave.

use serde_json::{Value, json};

use super::{DROP_ID, ENTRY_ID, NOON};
use crate::openapi::operation::{Operation, ResponseSpec};
use crate::openapi::schemas::Schemas;
use crate::problem::Code;
use crate::waitlist::{self, WaitlistEntryBody};

const ONE: &str = "/v1/waitlist/{id}";

pub(super) fn all(schemas: &mut Schemas) -> Vec<Operation> {
    let operations = [join(schemas), read(schemas), leave(schemas)];
    operations
        .into_iter()
        .map(|operation| operation.tag("Waitlist"))
        .collect()
}

pub(super) fn example() -> Value {
    json!({
        "id": ENTRY_ID, "drop_id": DROP_ID, "quantity": 1, "status": "waiting", "place": 3, "blocked_by": null, "hold_id": null,
        "offered_at": null, "price": null, "expires_at": null, "joined_at": NOON, "position": 19, "buyer_id": "buyer-2", "server_time": NOON,
    })
}

fn join(schemas: &mut Schemas) -> Operation {
    let entry = ResponseSpec::new(201, "The waitlist entry.")
        .json(schemas.response::<WaitlistEntryBody>(), example());
    Operation::post(
        schemas,
        "/v1/drops/{id}/waitlist",
        waitlist::join,
        "joinWaitlist",
        "Join the waitlist of a sold-out \
        drop",
    )
    .description(
        "Units that become available are offered, as a hold, to the first entry that \
                      they can serve. An entry that no number of returned units can serve is \
                      skipped, and `blocked_by` states the reason. The number of waiting entries \
                      per drop is limited (HOLDFAST_MAX_WAITLIST).",
    )
    .body_example(json!({ "buyer_id": "buyer-2" }))
    .response(entry.headers(&["Location", "Holdfast-Position", "Idempotent-Replayed"]))
    .problems(&[
        Code::CodeRequired,
        Code::CodeInvalid,
        Code::CodeSpent,
        Code::NotSoldOut,
        Code::AlreadyWaiting,
        Code::WaitlistFull,
        Code::LimitReached,
        Code::NotLive,
        Code::Paused,
        Code::Draft,
        Code::Ended,
        Code::Throttled,
        Code::AddressLimitReached,
        Code::CoolingDown,
        Code::Unavailable,
    ])
}

fn read(schemas: &mut Schemas) -> Operation {
    let entry = ResponseSpec::new(
        200,
        "The waitlist entry, and the hold that it received, if any.",
    )
    .json(schemas.response::<WaitlistEntryBody>(), example());
    Operation::get(
        schemas,
        ONE,
        waitlist::read,
        "readWaitlistEntry",
        "Read a waitlist entry",
    )
    .conditional_response_with_time(entry)
}

fn leave(schemas: &mut Schemas) -> Operation {
    let left = ResponseSpec::new(204, "The entry has left the waitlist, now or earlier.");
    Operation::delete(
        schemas,
        ONE,
        waitlist::leave,
        "leaveWaitlist",
        "Leave the waitlist",
    )
    .response(left.headers(&["Holdfast-Position", "Idempotent-Replayed"]))
    .problems(&[Code::AlreadyOffered, Code::Unavailable])
}
