//! `POST /v1/drops/{id}/cancel`: once, with its effect on holds.

use harness::{App, fetch, key};
use reqwest::Method;
use serde_json::json;

use super::{adjust, cancel, edit};

#[tokio::test]
async fn cancellation_with_an_outdated_etag_is_rejected() {
    let app = App::start().await;
    let drop = app.create_drop(5, json!({})).await;
    let path = format!("/v1/drops/{drop}");
    let before = app.get(&path).await.header("etag").to_owned();
    let edited = edit(&app, &drop, Some(&before), &json!({ "name": "Renamed" })).await;
    let after = edited.header("etag").to_owned();
    let cancel_if = async |etag: &str| {
        let request = app.admin(Method::POST, &format!("{path}/cancel"));
        fetch(request.header("if-match", etag)).await
    };
    for outdated in [before.as_str(), "\"zz\""] {
        cancel_if(outdated).await.problem(412, "stale_version");
    }
    assert_eq!(app.drop(&drop).await["status"], "live");
    assert_eq!(cancel_if(&after).await.ok(200)["status"], "cancelled");
    // A retry with the same header is a replay.
    assert_eq!(cancel_if(&after).await.ok(200)["status"], "cancelled");
}

#[tokio::test]
async fn cancelled_drop_releases_its_holds_and_sells_nothing_more() {
    let app = App::start().await;
    let drop = app.create_drop(3, json!({})).await;
    let (held, bought) = (app.held(&drop, "alice").await, app.held(&drop, "bob").await);
    app.purchase(&bought).await.ok(201);

    let body = cancel(&app, &drop).await.ok(200);

    assert_eq!(body["status"], "cancelled");
    assert_eq!(
        body["stock"],
        json!({ "total": 3, "available": 2, "held": 0, "sold": 1 })
    );
    assert_eq!(app.read_hold(&held).await.ok(200)["status"], "released");
    app.purchase(&held).await.problem(410, "hold_released");
    app.hold(&drop, "carol").await.problem(409, "ended");
    adjust(&app, &drop, &key(), &json!({ "delta": 1, "reason": "r" }))
        .await
        .problem(409, "ended");
    app.purchase(&bought).await.ok(200);
    assert_eq!(
        cancel(&app, &drop).await.ok(200)["status"],
        "cancelled",
        "cancelling again has the same result"
    );
    assert_eq!(app.ledger().await.count(&drop, "DropCancelled"), 1);
}
