//! The SSE stream sends the present state first, then every change, and ends when the server stops.

use std::collections::{BTreeMap, BTreeSet};

use harness::{
    App, Launch, Watcher, allow_open_files, concurrently, eventually, fetch, in_seconds, key,
    number, text,
};
use reqwest::Method;
use serde_json::json;

#[tokio::test]
async fn subscriber_gets_the_state_first_and_then_changes() {
    let app = App::start().await;
    let drop = app.create_drop(3, json!({})).await;
    let mut watcher = app.watch(&format!("?drops={drop}")).await;

    assert_eq!(watcher.status, 200);
    let header = |name: &str| watcher.headers[name].to_str().unwrap().to_owned();
    assert!(header("content-type").starts_with("text/event-stream"));
    assert_eq!(header("cache-control"), "no-store");
    assert_eq!(header("x-accel-buffering"), "no");
    let first = watcher.drop().await;
    assert_eq!(first.retry, "1000");
    let mut state = first.json();
    let mut read = app.drop(&drop).await;
    for body in [&mut state, &mut read] {
        body["server_time"].take();
    }
    assert_eq!(state, read, "the whole public drop");
    assert_eq!(first.position(), number(&state["position"]));

    let placed = app.hold(&drop, "alice").await.ok(201);
    let change = watcher.until(|state| state["stock"]["held"] == 1).await;
    assert_eq!(
        change.json()["stock"],
        json!({ "total": 3, "available": 2, "held": 1, "sold": 0 })
    );
    assert_eq!(change.position(), number(&placed["position"]));
    let bought = app.purchase(&text(&placed["id"])).await.ok(201);
    let change = watcher.until(|state| state["stock"]["sold"] == 1).await;
    assert_eq!(
        change.json()["stock"],
        json!({ "total": 3, "available": 2, "held": 0, "sold": 1 })
    );
    assert_eq!(change.position(), number(&bought["position"]));
}

#[tokio::test]
async fn subscriber_of_selected_drops_gets_no_others() {
    let app = App::start().await;
    let mut drops = vec![];
    for _ in 0..3 {
        drops.push(app.create_drop(5, json!({})).await);
    }
    let mut watcher = app
        .watch(&format!("?drops={},{}", drops[0], drops[1]))
        .await;
    app.held(&drops[2], "alice").await;
    app.held(&drops[0], "alice").await;
    app.held(&drops[1], "alice").await;
    let mut seen = BTreeSet::new();
    watcher
        .until(|state| {
            assert_ne!(state["id"], drops[2].as_str());
            if state["stock"]["held"] == 1 {
                seen.insert(text(&state["id"]));
            }
            seen.len() == 2
        })
        .await;
}

#[tokio::test]
async fn subscriber_of_selected_drops_can_request_new_drops_too() {
    let app = App::start().await;
    let (shown, other) = (
        app.create_drop(5, json!({})).await,
        app.create_drop(5, json!({})).await,
    );
    let mut watcher = app.watch(&format!("?drops={shown}&new=true")).await;
    assert_eq!(watcher.drop().await.json()["id"], shown.as_str());
    app.held(&other, "alice").await;
    let new = app.create_drop(5, json!({})).await;
    let received = watcher.drop().await;
    assert_eq!(
        received.json()["id"],
        new.as_str(),
        "the other drop is not sent"
    );

    let missed = app.create_drop(5, json!({})).await;
    app.held(&other, "bob").await;
    let again = format!(
        "?drops={shown},{new}&new=true&last_event_id={}",
        received.position()
    );
    let mut watcher = app.watch(&again).await;
    let mut first = BTreeSet::new();
    for _ in 0..3 {
        first.insert(text(&watcher.drop().await.json()["id"]));
    }
    assert_eq!(first, BTreeSet::from([shown.clone(), new, missed]));
    app.held(&other, "cid").await;
    app.held(&shown, "cid").await;
    let next = watcher.drop().await.json();
    assert_eq!(next["id"], shown.as_str(), "the other drop is not sent");

    let mut quiet = app.watch(&format!("?drops={shown}&new=false")).await;
    quiet.drop().await;
    app.create_drop(5, json!({})).await;
    app.held(&shown, "dee").await;
    assert_eq!(quiet.drop().await.json()["id"], shown.as_str());
}

#[tokio::test]
async fn subscriber_without_a_selection_gets_every_drop_that_has_not_ended() {
    let app = App::start().await;
    let live = app.create_drop(1, json!({})).await;
    let upcoming = app
        .create_drop(1, json!({ "starts_at": in_seconds(3600) }))
        .await;
    let over = app
        .create_drop(
            1,
            json!({ "starts_at": in_seconds(-7200), "ends_at": in_seconds(-3600) }),
        )
        .await;
    let cancelled = app.create_drop(1, json!({})).await;
    app.admin(
        reqwest::Method::POST,
        &format!("/v1/drops/{cancelled}/cancel"),
    )
    .send()
    .await
    .unwrap();
    let mut watcher = app.watch("").await;
    let first = [watcher.drop().await.json(), watcher.drop().await.json()];
    let ids: BTreeSet<String> = first.iter().map(|state| text(&state["id"])).collect();
    assert_eq!(ids, BTreeSet::from([live.clone(), upcoming]));

    let new = app.create_drop(1, json!({})).await;
    watcher.until(|state| state["id"] == new.as_str()).await;
    let mut watcher = app.watch(&format!("?drops={over}")).await;
    assert_eq!(
        watcher.drop().await.json()["status"],
        "ended",
        "a drop that has ended can be selected"
    );
}

#[tokio::test]
async fn stream_of_an_unknown_drop_is_rejected() {
    let app = App::start().await;
    let drop = app.create_drop(1, json!({})).await;
    let unknown = uuid::Uuid::new_v4();
    for drops in [unknown.to_string(), format!("{drop},{unknown}")] {
        app.get(&format!("/v1/stream?drops={drops}"))
            .await
            .problem(404, "drop_not_found");
    }
    for drops in ["nonsense".to_owned(), format!("{drop},nonsense")] {
        let reply = app.get(&format!("/v1/stream?drops={drops}")).await;
        let pointers = reply.error_pointers(400, "invalid_query");
        assert_eq!(pointers, ["/drops"]);
    }
}

#[tokio::test]
async fn reconnecting_subscriber_gets_the_present_state() {
    let app = App::start().await;
    let drop = app.create_drop(10, json!({})).await;
    let mut watcher = app.watch(&format!("?drops={drop}")).await;
    let last = watcher.drop().await.id;
    std::mem::drop(watcher);
    for buyer in 0..4 {
        app.held(&drop, &format!("buyer-{buyer}")).await;
    }
    let path = format!("/v1/stream?drops={drop}");
    let again = app
        .request(reqwest::Method::GET, &path)
        .header("last-event-id", &last);
    let state = harness::Watcher::open(again).await.drop().await;
    assert_eq!(state.json()["stock"]["held"], 4);
    assert!(state.position() > last.parse().unwrap());
    let again = app
        .watch(&format!("?drops={drop}&last_event_id={last}"))
        .await
        .drop()
        .await;
    assert_eq!(again.json()["stock"]["held"], 4);
    let odd = app
        .request(reqwest::Method::GET, &path)
        .header("last-event-id", "from another life");
    assert_eq!(
        harness::Watcher::open(odd).await.drop().await.json()["stock"]["held"],
        4
    );
}

#[tokio::test]
async fn reconnecting_subscriber_gets_drops_that_ended_meanwhile_first() {
    let app = App::start().await;
    let cancel = async |drop: &str| {
        let path = format!("/v1/drops/{drop}/cancel");
        fetch(app.admin(Method::POST, &path)).await.ok(200);
    };
    let long_over = app.create_drop(1, json!({})).await;
    cancel(&long_over).await;
    let ended = json!({ "starts_at": in_seconds(-7200), "ends_at": in_seconds(-3600) });
    app.create_drop(1, ended).await;
    let [doomed, brief, live] = [
        app.create_drop(1, json!({})).await,
        app.create_drop(1, json!({ "ends_at": in_seconds(2) }))
            .await,
        app.create_drop(1, json!({})).await,
    ];
    let mut watcher = app.watch("").await;
    let last = watcher
        .until(|state| state["id"] == doomed.as_str())
        .await
        .id;
    std::mem::drop(watcher);
    cancel(&doomed).await;
    eventually("a drop reaches its end", || async {
        (app.drop(&brief).await["status"] == "ended").then_some(())
    })
    .await;

    let by_header = app.request(Method::GET, "/v1/stream");
    let by_header = by_header.header("last-event-id", &last);
    let older = format!("/v1/stream?last_event_id={last}");
    let by_query = app.request(Method::GET, &older);
    let both = app.request(Method::GET, "/v1/stream?last_event_id=0");
    let both = both.header("last-event-id", &last);
    for request in [by_header, by_query, both] {
        let mut watcher = Watcher::open(request).await;
        let mut received = BTreeMap::new();
        for _ in 0..3 {
            let state = watcher.drop().await.json();
            received.insert(text(&state["id"]), text(&state["status"]));
        }
        let expected = [(&doomed, "cancelled"), (&brief, "ended"), (&live, "live")];
        assert_eq!(
            received,
            expected
                .map(|(id, status)| (id.clone(), status.to_owned()))
                .into()
        );
        let total = &app.adjust(&live, 1).await.ok(201)["stock"]["total"];
        watcher
            .until(|state| {
                assert_ne!(state["id"], doomed.as_str(), "sent once");
                state["stock"]["total"] == *total
            })
            .await;
    }
    // A browser repeats any id that an earlier stream had; only a caller writes the parameter.
    for id in ["", "nonsense", "-1", "9223372036854775808"] {
        let request = app.request(Method::GET, "/v1/stream");
        let request = request.header("last-event-id", id);
        let first = Watcher::open(request).await.drop().await.json();
        assert_eq!(first["id"], live.as_str(), "{id}: ended drops are not sent");
        let refused = app.get(&format!("/v1/stream?last_event_id={id}")).await;
        assert_eq!(
            refused.error_pointers(400, "invalid_query"),
            ["/last_event_id"]
        );
    }
    let first = app.watch("").await.drop().await.json();
    assert_eq!(first["id"], live.as_str(), "ended drops are not sent");
    let now = app.audit("/v1/log/head").await.ok(200)["position"].to_string();
    cancel(&live).await;
    let mut watcher = app.watch(&format!("?last_event_id={now}")).await;
    // Drops that may have ended meanwhile are sent in the order of their ids.
    let received = watcher.until(|state| state["id"] == live.as_str()).await;
    assert_eq!(received.json()["status"], "cancelled");
}

#[tokio::test]
async fn every_subscriber_has_the_right_state_after_a_burst() {
    let app = App::start().await;
    let drop = app.create_drop(500, json!({ "hold_seconds": 3600 })).await;
    let mut watchers = vec![];
    for _ in 0..20 {
        watchers.push(app.watch(&format!("?drops={drop}")).await);
    }
    concurrently((0..500).map(|buyer| {
        let (api, drop) = (app.api(), drop.clone());
        async move {
            api.hold_with(
                &drop,
                &key(),
                &json!({ "buyer_id": format!("buyer-{buyer}") }),
            )
            .await
            .ok(201)
        }
    }))
    .await;
    let truth = app.drop(&drop).await;
    for mut watcher in watchers {
        let mut last = 0;
        loop {
            let frame = watcher.drop().await;
            assert!(frame.position() >= last, "positions do not run backwards");
            last = frame.position();
            let state = frame.json();
            assert_eq!(
                number(&state["stock"]["available"]) + number(&state["stock"]["held"]),
                500
            );
            if state["stock"] == truth["stock"] {
                assert_eq!(
                    (&state["position"], &state["status"]),
                    (&truth["position"], &json!("sold_out"))
                );
                break;
            }
        }
    }
}

#[tokio::test]
async fn thousand_subscribers_of_a_stampede_get_the_right_stock() {
    const WATCHERS: usize = 1000;
    allow_open_files();
    let app = App::start().await;
    let drop = app.create_drop(300, json!({ "hold_seconds": 3600 })).await;
    let watched = format!("?drops={drop}");
    let watchers = concurrently((0..WATCHERS).map(|_| {
        let (api, watched) = (app.api(), watched.clone());
        async move { api.watch(&watched).await }
    }))
    .await;
    let received = watchers.into_iter().map(|mut watcher| async move {
        let sold_out = |state: &serde_json::Value| state["stock"]["available"] == 0;
        watcher.until(sold_out).await.json()["stock"].clone()
    });
    let received = tokio::spawn(concurrently(received));
    concurrently((0..600).map(|buyer| {
        let (api, drop) = (app.api(), drop.clone());
        async move { api.hold(&drop, &format!("buyer-{buyer}")).await.status }
    }))
    .await;
    let truth = app.drop(&drop).await["stock"].clone();
    assert_eq!(
        truth,
        json!({ "total": 300, "available": 0, "held": 300, "sold": 0 })
    );
    let received = received.await.unwrap();
    assert_eq!(received.len(), WATCHERS);
    assert!(received.iter().all(|stock| *stock == truth));
}

#[tokio::test]
async fn start_and_end_of_a_drop_are_sent_without_an_event() {
    let app = App::start().await;
    let drop = app
        .create_drop(
            1,
            json!({ "starts_at": in_seconds(2), "ends_at": in_seconds(4) }),
        )
        .await;
    let mut watcher = app.watch("").await;
    let mut statuses = vec![];
    let last = watcher
        .until(|state| {
            statuses.push(text(&state["status"]));
            state["status"] == "ended"
        })
        .await;
    statuses.dedup();
    assert_eq!(statuses, ["scheduled", "live", "ended"]);
    assert_eq!(last.json()["id"], drop.as_str());
    assert_eq!(app.requested_events().await, 1);
}

#[tokio::test]
async fn expired_hold_is_sent() {
    let app = App::start().await;
    let drop = app.create_drop(1, json!({ "hold_seconds": 1 })).await;
    let mut watcher = app.watch("").await;
    app.held(&drop, "alice").await;
    watcher.until(|state| state["status"] == "sold_out").await;
    watcher
        .until(|state| state["status"] == "live" && state["stock"]["available"] == 1)
        .await;
}

#[tokio::test]
async fn streams_end_when_the_server_stops() {
    let app = App::start().await;
    app.create_drop(1, json!({})).await;
    let mut watchers = vec![app.watch("").await, app.watch("").await];
    app.terminate();
    for watcher in &mut watchers {
        while watcher.frame().await.is_some() {}
    }
    let (status, _) = app.ended().await;
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn excess_subscribers_get_503_with_retry_after() {
    let app = Launch::fresh()
        .await
        .with("HOLDFAST_MAX_WATCHERS", "2")
        .start()
        .await;
    let kept = [app.watch("").await, app.watch("").await];
    let refused = app.get("/v1/stream").await;
    refused.problem(503, "unavailable");
    assert!(!refused.header("retry-after").is_empty());
    std::mem::drop(kept);
    harness::eventually("a stream is free again", || async {
        (app.watch("").await.status == 200).then_some(())
    })
    .await;
}
