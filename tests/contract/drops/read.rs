//! `GET /v1/drops/{id}`: conditional reads, unknown drops, reads at a position.

use harness::{App, fetch, key};
use reqwest::Method;
use serde_json::json;

use super::{adjust, cancel, edit};

#[tokio::test]
async fn unchanged_read_gets_304() {
    let app = App::start().await;
    let drop = app.create_drop(2, json!({})).await;
    let hold = app.held(&drop, "alice").await;
    for path in [
        format!("/v1/drops/{drop}"),
        "/v1/drops".to_owned(),
        format!("/v1/drops/{drop}/purchasers"),
        format!("/v1/holds/{hold}"),
    ] {
        let first = app.get(&path).await;
        let etag = first.header("etag").to_owned();
        assert!(
            etag.starts_with('"') && etag.ends_with('"'),
            "{path}: {etag}"
        );
        let request = |tag: String| app.request(Method::GET, &path).header("if-none-match", tag);
        for tag in [
            etag.clone(),
            format!("\"other\", {etag}"),
            format!("W/{etag}"),
            "*".to_owned(),
        ] {
            let same = fetch(request(tag)).await;
            assert_eq!(
                (same.status, same.body.len(), same.header("etag")),
                (304, 0, etag.as_str()),
                "{path}"
            );
        }
        assert_eq!(
            fetch(request("\"other\"".to_owned())).await.status,
            200,
            "{path}"
        );
    }
    let before = app
        .get(&format!("/v1/drops/{drop}"))
        .await
        .header("etag")
        .to_owned();
    app.purchase(&hold).await.ok(201);
    let changed = fetch(
        app.request(Method::GET, &format!("/v1/drops/{drop}"))
            .header("if-none-match", before),
    )
    .await;
    assert_eq!(changed.ok(200)["stock"]["sold"], 1);
}

#[tokio::test]
async fn unknown_drop_is_not_found() {
    let app = App::start().await;
    for id in [
        uuid::Uuid::new_v4().to_string(),
        "x".to_owned(),
        "%00".to_owned(),
        "%FF".to_owned(),
        "..%2F".to_owned(),
    ] {
        app.get(&format!("/v1/drops/{id}"))
            .await
            .problem(404, "drop_not_found");
        app.get(&format!("/v1/drops/{id}/purchasers"))
            .await
            .problem(404, "drop_not_found");
        app.hold(&id, "alice").await.problem(404, "drop_not_found");
        edit(&app, &id, Some("*"), &json!({ "name": "n" }))
            .await
            .problem(404, "drop_not_found");
        cancel(&app, &id).await.problem(404, "drop_not_found");
        adjust(&app, &id, &key(), &json!({ "delta": 1, "reason": "r" }))
            .await
            .problem(404, "drop_not_found");
    }
}

#[tokio::test]
async fn read_of_a_drop_can_require_a_position() {
    let app = App::start().await;
    let drop = app.create_drop(3, json!({})).await;
    let position = app.hold(&drop, "alice").await.ok(201)["position"].clone();
    assert_eq!(
        app.get(&format!("/v1/drops/{drop}?at_least={position}"))
            .await
            .ok(200)["stock"]["held"],
        1
    );
    assert_eq!(
        app.get(&format!("/v1/drops?at_least={position}"))
            .await
            .status,
        200
    );
    assert_eq!(
        app.get(&format!("/v1/drops/{drop}/purchasers?at_least={position}"))
            .await
            .status,
        200
    );
    let buyer = format!("/v1/drops/{drop}/buyers/alice");
    let standing = app.get(&format!("{buyer}?at_least={position}")).await;
    assert_eq!(standing.ok(200)["held"], 1);
    app.get(&format!("{buyer}?at_least=x"))
        .await
        .problem(400, "invalid_query");
    for path in [format!("/v1/drops/{drop}"), buyer] {
        let ahead = app.get(&format!("{path}?at_least=1000000")).await;
        ahead.problem(503, "unavailable");
        assert!(!ahead.header("retry-after").is_empty());
    }
}
