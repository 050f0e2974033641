//! Operations of follows, reminders and notifications.

use serde_json::json;

use super::{DROP_ID, NOON};
use crate::connections::NOTIFICATION_STREAM_PATH;
use crate::follows::{self, FollowBody, ReminderBody};
use crate::notifications::{NotificationBody, TYPES, list, watch};
use crate::openapi::operation::{Operation, ResponseSpec};
use crate::openapi::schemas::Schemas;
use crate::problem::Code;
use crate::render::Page;

const FOLLOW: &str = "/v1/buyers/{buyer_id}/follows/{creator_id}";
const REMINDER: &str = "/v1/buyers/{buyer_id}/reminders/{drop_id}";

const OF_STREAM: &str = "Sends each new notification once, as an event of its type. With \
    `Last-Event-ID`, or `last_event_id`, it first sends those after that position, at most the \
    newest 1,000. Several notifications of one log position are a group: only the last of them has \
    the position as its `id:`, so a client that resumes misses none; it recognises one that it \
    receives again by the `id` in its data. `retry:` is 1000, and an idle stream has a heartbeat \
    (a comment line) at least every 15 s; both precede the next event. A change of follows or \
    reminders takes effect before its response, one on another server within 30 s. A client that \
    sends anything on the connection after its request, or stops reading for long, is \
    disconnected. The stream ends when the buyer is erased.";

pub(super) fn all(schemas: &mut Schemas) -> Vec<Operation> {
    let operations = [
        follow(schemas),
        unfollow(schemas),
        list_follows(schemas),
        remind(schemas),
        forget(schemas),
        list_reminders(schemas),
        list_notifications(schemas),
        watch_notifications(schemas),
    ];
    let described = |operation: Operation| {
        let operation = operation.tag("Follows and notifications");
        operation.problems(&[Code::Unavailable])
    };
    operations.into_iter().map(described).collect()
}

fn follow(schemas: &mut Schemas) -> Operation {
    Operation::put(
        schemas,
        FOLLOW,
        follows::follow,
        "follow",
        "Follow a creator",
    )
    .description("The buyer is notified of later events of the creator's drops.")
    .response(ResponseSpec::new(204, "The buyer follows the creator."))
    .problems(&[Code::FollowLimitReached, Code::Throttled])
}

fn unfollow(schemas: &mut Schemas) -> Operation {
    let done = "The buyer does not follow the creator, now or since earlier.";
    Operation::delete(
        schemas,
        FOLLOW,
        follows::unfollow,
        "unfollow",
        "Stop following a creator",
    )
    .response(ResponseSpec::new(204, done))
    .problems(&[Code::Throttled])
}

fn list_follows(schemas: &mut Schemas) -> Operation {
    let page = schemas.response::<Page<FollowBody>>();
    let follow = json!({
        "creator_id": "atelier-nord", "name": "Atelier Nord", "image_url": null, "followed_at": NOON,
    });
    let example = json!({ "data": [follow], "has_more": false });
    Operation::get(
        schemas,
        "/v1/buyers/{buyer_id}/follows",
        follows::follows,
        "listFollows",
        "List the creators that a buyer follows, newest first",
    )
    .conditional_response(ResponseSpec::new(200, "A page of follows.").json(page, example))
}

fn remind(schemas: &mut Schemas) -> Operation {
    Operation::put(
        schemas,
        REMINDER,
        follows::remind,
        "remind",
        "Remind a buyer of a drop",
    )
    .description("The buyer is notified of later events of the drop.")
    .response(ResponseSpec::new(204, "The buyer is reminded of the drop."))
    .problems(&[
        Code::ReminderLimitReached,
        Code::Throttled,
        Code::DropQuarantined,
    ])
}

fn forget(schemas: &mut Schemas) -> Operation {
    let done = "The buyer is not reminded of the drop, now or since earlier.";
    Operation::delete(
        schemas,
        REMINDER,
        follows::forget,
        "forgetReminder",
        "Delete a reminder",
    )
    .response(ResponseSpec::new(204, done))
    .problems(&[Code::Throttled])
}

fn list_reminders(schemas: &mut Schemas) -> Operation {
    let page = schemas.response::<Page<ReminderBody>>();
    let reminder = json!({ "drop_id": DROP_ID, "created_at": NOON });
    let example = json!({ "data": [reminder], "has_more": false });
    Operation::get(
        schemas,
        "/v1/buyers/{buyer_id}/reminders",
        follows::reminders,
        "listReminders",
        "List the drops of which a buyer is reminded, newest first",
    )
    .conditional_response(ResponseSpec::new(200, "A page of reminders.").json(page, example))
}

fn list_notifications(schemas: &mut Schemas) -> Operation {
    let page = schemas.response::<Page<NotificationBody>>();
    let notification = json!({
        "id": "17-drop.started", "type": "drop.started", "drop_id": DROP_ID,
        "drop_name": "Harbour jacket", "creator_id": "atelier-nord", "order_id": null,
        "data": { "started_at": NOON }, "created_at": NOON, "position": 17,
    });
    let example = json!({ "data": [notification], "has_more": false });
    Operation::get(
        schemas,
        "/v1/buyers/{buyer_id}/notifications",
        list::list,
        "listNotifications",
        "List a buyer's notifications, newest first",
    )
    .description(
        "Those of the drops of the creators that the buyer follows and of the drops that the buyer \
         is reminded of, since the follow or the reminder, and those about the buyer's own offers \
         and orders: of the last 30 days. The stream continues the list from `Holdfast-Position`.",
    )
    .conditional_response(ResponseSpec::new(200, "A page of notifications.").json(page, example))
    .position_header()
}

fn watch_notifications(schemas: &mut Schemas) -> Operation {
    let body = schemas.response::<NotificationBody>();
    let events = TYPES.map(|name| (name.to_owned(), body.clone()));
    let events = json!({
        "schema": { "type": "string" },
        "x-events": serde_json::Map::from_iter(events),
        "example": "retry: 1000\nevent: drop.started\nid: 17\ndata: {\"id\":\"17-drop.started\", …}\n\n",
    });
    let response = ResponseSpec::new(200, "Events, until the client disconnects.")
        .content("text/event-stream", events);
    Operation::get(
        schemas,
        NOTIFICATION_STREAM_PATH,
        watch::watch,
        "watchNotifications",
        "Stream a buyer's notifications",
    )
    .description(OF_STREAM)
    .parameter("Last-Event-ID")
    .response(response.headers(&["Cache-Control"]))
    .problems(&[Code::TooManyAttempts, Code::TooManyConnections])
}
