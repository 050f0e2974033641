//! Starts and ends of drops are recorded at their time.

use harness::{Event, eventually, in_seconds};

use super::*;

/// The starts and ends of a drop, with the time that each states.
fn facts(log: &[Event], drop: &str) -> Vec<(String, String)> {
    let own = log.iter().filter(|event| event.aggregate_id == drop);
    own.filter_map(|event| {
        let kind = event.event_type.as_str();
        let member = match kind {
            "DropStarted" => "started_at",
            "DropEnded" => "ended_at",
            _ => return None,
        };
        Some((kind.to_owned(), text(&event.fields()[member])))
    })
    .collect()
}

async fn recorded(app: &App, drop: &str, count: usize) -> Vec<(String, String)> {
    eventually(&format!("{count} starts and ends are recorded"), || async {
        let facts = facts(&app.log().await, drop);
        (facts.len() >= count).then_some(facts)
    })
    .await
}

fn kinds(facts: &[(String, String)]) -> Vec<&str> {
    facts.iter().map(|(kind, _)| kind.as_str()).collect()
}

#[tokio::test]
async fn drop_that_starts_immediately_has_its_start_with_the_response() {
    let app = App::start().await;
    let drop = app.post_drop(&small()).await.ok(201);
    let log = app.log().await;
    let types: Vec<&str> = log.iter().map(|event| event.event_type.as_str()).collect();
    assert_eq!(types, ["DropScheduled", "DropStarted"]);
    let id = text(&drop["id"]);
    let started_at = text(&drop["starts_at"]);
    assert_eq!(facts(&log, &id), [("DropStarted".to_owned(), started_at)]);
    // Neither is a change of the terms.
    let tag = app.get(&format!("/v1/drops/{id}")).await;
    edit(
        &app,
        &id,
        Some(tag.header("etag")),
        &json!({ "name": "New" }),
    )
    .await
    .ok(200);
    app.audit_verify().await;
}

#[tokio::test]
async fn start_and_end_are_recorded_at_their_time_and_after_a_crash() {
    let app = App::start().await;
    let (starts_at, ends_at) = (in_seconds(1), in_seconds(2));
    let mut body = small();
    body["starts_at"] = json!(starts_at);
    body["ends_at"] = json!(ends_at);
    let drop = app.post_drop(&body).await.ok(201);
    let id = text(&drop["id"]);
    // The next server derives the same work.
    let app = app.restart().await;
    let found = recorded(&app, &id, 2).await;
    let expected = [
        ("DropStarted".to_owned(), text(&drop["starts_at"])),
        ("DropEnded".to_owned(), text(&drop["ends_at"])),
    ];
    assert_eq!(found, expected);
    let log = app.log().await;
    let times = log
        .iter()
        .filter(|event| event.event_type != "DropScheduled");
    for (event, (_, at)) in times.zip(&found) {
        assert!(&event.recorded_at >= at, "recorded before its time");
    }
    app.audit_verify().await;
}

#[tokio::test]
async fn edit_that_opens_a_drop_again_begins_a_new_sale() {
    let app = App::start().await;
    let mut body = small();
    body["ends_at"] = json!(in_seconds(1));
    let id = text(&app.post_drop(&body).await.ok(201)["id"]);
    recorded(&app, &id, 2).await;
    let again = json!({ "ends_at": in_seconds(3600) });
    edit(&app, &id, Some("*"), &again).await.ok(200);
    let later = json!({ "starts_at": in_seconds(1) });
    edit(&app, &id, Some("*"), &later).await.ok(200);
    let found = recorded(&app, &id, 4).await;
    assert_eq!(
        kinds(&found),
        ["DropStarted", "DropEnded", "DropStarted", "DropStarted"],
        "opened again, and then moved to the future"
    );
    app.audit_verify().await;
}

#[tokio::test]
async fn cancelled_drop_neither_starts_nor_ends() {
    let app = App::start().await;
    let mut body = small();
    body["starts_at"] = json!(in_seconds(1));
    let id = text(&app.post_drop(&body).await.ok(201)["id"]);
    cancel(&app, &id).await.ok(200);
    // Another drop that starts at the same time or later shows that the time has passed.
    body["starts_at"] = json!(in_seconds(1));
    let other = text(&app.post_drop(&body).await.ok(201)["id"]);
    recorded(&app, &other, 1).await;
    let log = app.log().await;
    let mut own = log.iter().filter(|event| event.aggregate_id == id);
    let last = own.next_back().map(|event| event.event_type.as_str());
    assert_eq!(last, Some("DropCancelled"));
    app.audit_verify().await;
}
