//! Operations of follows, reminders and notifications.

use serde_json::{Value, json};

use super::{DROP_ID, NOON};
use crate::connections::NOTIFICATION_STREAM_PATH;
use crate::follows::{self, FollowBody, ReminderBody};
use crate::notifications::{NotificationBody, TYPES, list, watch};
use crate::openapi::operation::{Operation, ResponseSpec};
use crate::openapi::schemas::Schemas;
use crate::problem::Code;
use crate::push::{self, KeyBody, SubscriptionBody};
use crate::render::Page;

const FOLLOW: &str = "/v1/buyers/{buyer_id}/follows/{creator_id}";
const REMINDER: &str = "/v1/buyers/{buyer_id}/reminders/{drop_id}";

const SUBSCRIPTIONS: &str = "/v1/buyers/{buyer_id}/push-subscriptions";
const SUBSCRIPTION_ID: &str = "0197d3f2-e7a1-4b0c-9d2f-5c6b7a8d9e0f";
/// Of RFC 8292, section 2.4.
const SERVER_KEY: &str =
    "BA1Hxzyi1RUM1b5wjxsn7nGxAszw2u61m164i3MrAIxHF6YK5h4SDYic-dRuU_RCPCfA5aq9ojSwk5Y2EmClBPs";

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
        application_server_key(schemas),
        subscribe(schemas),
        unsubscribe(schemas),
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

fn application_server_key(schemas: &mut Schemas) -> Operation {
    let body = schemas.response::<KeyBody>();
    let example = json!({ "application_server_key": SERVER_KEY });
    Operation::get(
        schemas,
        "/v1/push/application-server-key",
        push::key,
        "getApplicationServerKey",
        "Read the key for which browsers subscribe to Web Push",
    )
    .description(
        "The `applicationServerKey` of `PushManager.subscribe`. A browser whose subscription has \
         another one is sent nothing: it must subscribe again.",
    )
    .conditional_response(ResponseSpec::new(200, "The shop's public key.").json(body, example))
}

/// The keys of RFC 8291, appendix A.
fn keys() -> Value {
    json!({
        "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
        "auth": "BTBZMqHH6r4Tts7J_aSIgg",
    })
}

fn subscribe(schemas: &mut Schemas) -> Operation {
    let body = schemas.response::<SubscriptionBody>();
    let example = json!({ "id": SUBSCRIPTION_ID, "expires_at": null, "created_at": NOON });
    let response = |status, description| {
        ResponseSpec::new(status, description).json(body.clone(), example.clone())
    };
    Operation::post(
        schemas,
        SUBSCRIPTIONS,
        push::subscribe,
        "subscribeToPush",
        "Notify a buyer in a browser, also while no page is open (Web Push)",
    )
    .description(
        "The body is what `PushSubscription.toJSON()` of the browser returns. Later notifications \
         of the buyer are sent to it, encrypted (RFC 8291), at least once; one that is out of date \
         is not sent. A browser has one subscription, of the buyer that subscribed last. It ends \
         when the push service does not know it any more, at `expirationTime`, and when the buyer \
         is erased.",
    )
    .body_example(json!({
        "endpoint": "https://push.example/v1/a-browser", "expirationTime": null, "keys": keys(),
    }))
    .response(response(201, "The browser is subscribed."))
    .response(response(200, "The browser was subscribed already."))
    .problems(&[Code::PushLimitReached, Code::Throttled])
}

fn unsubscribe(schemas: &mut Schemas) -> Operation {
    let done = "The buyer has no such subscription, now or since earlier.";
    Operation::delete(
        schemas,
        SUBSCRIPTIONS,
        push::unsubscribe,
        "unsubscribeFromPush",
        "Stop notifying a buyer in a browser, or in all browsers",
    )
    .body_example(json!({ "endpoint": "https://push.example/v1/a-browser" }))
    .description("Without a body, or without `endpoint`, all subscriptions of the buyer end.")
    .response(ResponseSpec::new(204, done))
    .problems(&[Code::Throttled])
}
