//! `PATCH /v1/drops/{id}`: only on the present version of the terms.

use harness::{App, fetch, in_seconds};
use reqwest::Method;
use serde_json::json;

use super::edit;

#[tokio::test]
async fn edit_requires_the_present_version_of_the_terms() {
    let app = App::start().await;
    let drop = app
        .create_drop(
            3,
            json!({ "description": "old", "ends_at": in_seconds(3600) }),
        )
        .await;
    let etag = app
        .get(&format!("/v1/drops/{drop}"))
        .await
        .header("etag")
        .to_owned();
    edit(&app, &drop, None, &json!({ "name": "New" }))
        .await
        .problem(428, "precondition_required");
    app.held(&drop, "alice").await; // Stock may change: only the terms have a version.
    let edited = edit(&app, &drop, Some(&etag), &json!({
        "name": "New", "description": null, "ends_at": null, "price": { "amount": 5, "currency": "USD" },
        "image_url": "https://example.org/new.png", "hold_seconds": 30, "max_per_hold": 2, "max_per_buyer": 9,
        "max_hold_seconds": 60, "offer_seconds": 90, "throttle": { "holds": 1, "window_seconds": 5 },
        "low_stock_at": 7, "visibility": "unlisted", "show_stock": "level", "access": "code",
        "challenge": { "kind": "proof_of_work", "difficulty": 3 },
        "product_id": "boot", "variant_id": "42", "creator_id": "ann",
    }))
    .await;
    let body = edited.ok(200);
    assert_eq!(
        (&body["name"], &body["description"], &body["ends_at"]),
        (&json!("New"), &json!(null), &json!(null))
    );
    assert_eq!(
        (&body["price"]["amount"], &body["max_per_buyer"]),
        (&json!(5), &json!(9))
    );
    assert_eq!(
        (&body["max_hold_seconds"], &body["offer_seconds"]),
        (&json!(60), &json!(90))
    );
    assert_eq!(body["low_stock_at"], 7);
    let challenge = json!({ "kind": "proof_of_work", "difficulty": 3 });
    assert_eq!(body["challenge"], challenge);
    for (field, value) in [
        ("visibility", "unlisted"),
        ("show_stock", "level"),
        ("access", "code"),
        ("product_id", "boot"),
        ("variant_id", "42"),
        ("creator_id", "ann"),
    ] {
        assert_eq!(body[field], value, "{field}");
    }
    edit(&app, &drop, Some("*"), &json!({ "limit_group": "boots" }))
        .await
        .problem(422, "invalid_value");
    assert_ne!(edited.header("etag"), etag);
    assert_eq!(body["stock"]["held"], 1);

    edit(&app, &drop, Some(&etag), &json!({ "name": "Newer" }))
        .await
        .problem(412, "stale_version");
    edit(
        &app,
        &drop,
        Some("\"nonsense\""),
        &json!({ "name": "Newer" }),
    )
    .await
    .problem(412, "stale_version");
    assert_eq!(
        edit(&app, &drop, Some("*"), &json!({ "throttle": null }))
            .await
            .ok(200)["throttle"],
        json!(null)
    );
    let cleared = edit(&app, &drop, Some("*"), &json!({ "low_stock_at": null })).await;
    assert_eq!(cleared.ok(200)["low_stock_at"], json!(null));
    let fresh = app
        .get(&format!("/v1/drops/{drop}"))
        .await
        .header("etag")
        .to_owned();
    edit(&app, &drop, Some(&fresh), &json!({ "total_stock": 9 }))
        .await
        .invalid("/total_stock");
    edit(&app, &drop, Some(&fresh), &json!({ "hold_seconds": 0 }))
        .await
        .invalid("/hold_seconds");
    edit(&app, &drop, Some(&fresh), &json!({})).await.ok(200);
    edit(
        &app,
        &drop,
        Some(&fresh),
        &json!({ "ends_at": in_seconds(-9999) }),
    )
    .await
    .invalid("/ends_at");
    let kinds: Vec<String> = app
        .log()
        .await
        .into_iter()
        .map(|event| event.event_type)
        .collect();
    assert_eq!(
        kinds,
        [
            "DropScheduled",
            "DropStarted",
            "HoldPlaced",
            "DropRescheduled",
            "DropRescheduled",
            "DropRescheduled"
        ]
    );
}

#[tokio::test]
async fn edit_may_list_several_versions_and_weak_ones_never_match() {
    let app = App::start().await;
    let drop = app.create_drop(3, json!({})).await;
    let path = format!("/v1/drops/{drop}");
    let tag = || async { app.get(&path).await.header("etag").to_owned() };
    let old = tag().await;
    edit(&app, &drop, Some(&old), &json!({ "name": "Newer" }))
        .await
        .ok(200);
    for stale in [
        format!("W/{}", tag().await),
        format!("\"x\", W/{}", tag().await),
        format!("\"x\", {old}"),
        format!("{old}, \"99-1-Live\""),
        tag().await.replace('"', ""),
        String::new(),
    ] {
        edit(&app, &drop, Some(&stale), &json!({ "name": "No" }))
            .await
            .problem(412, "stale_version");
    }
    for (round, before, after) in [
        (1, "\"x\", ", ""),
        (2, "", ",\"x\""),
        (3, "\"99-1-Live\" , ", ", W/\"y\""),
        (4, "\"a,b\",,", ""),
    ] {
        let listed = format!("{before}{}{after}", tag().await);
        let name = format!("Round {round}");
        let edited = edit(&app, &drop, Some(&listed), &json!({ "name": name })).await;
        assert_eq!(edited.ok(200)["name"], name.as_str(), "{listed}");
    }
    let lines = app.admin(Method::PATCH, &path).header("if-match", "\"x\"");
    let lines = lines
        .header("if-match", tag().await)
        .json(&json!({ "name": "Last" }));
    assert_eq!(fetch(lines).await.ok(200)["name"], "Last", "on two lines");
}

#[tokio::test]
async fn tag_of_another_drop_permits_no_write() {
    let app = App::start().await;
    let (drop, other) = (
        app.create_drop(3, json!({})).await,
        app.create_drop(3, json!({})).await,
    );
    let read = async |drop: &str| app.get(&format!("/v1/drops/{drop}")).await;
    let tag = read(&other).await.header("etag").to_owned();
    let parts: Vec<&str> = tag.trim_matches('"').split('-').collect();
    let invented = format!("\"{}-aaa-{}\"", parts[0], parts[2]);
    let before = read(&drop).await.ok(200)["position"].clone();
    for tag in [&tag, &invented] {
        for (method, path, body, code) in [
            (
                Method::PATCH,
                "",
                json!({ "name": "Other" }),
                "stale_version",
            ),
            (Method::POST, "/cancel", json!({}), "stale_version"),
            (
                Method::PUT,
                "/stock",
                json!({ "total": 9, "reason": "counted" }),
                "stale_stock",
            ),
            (
                Method::POST,
                "/stock-adjustments",
                json!({ "delta": 1, "reason": "found" }),
                "stale_stock",
            ),
        ] {
            let request = app
                .admin(method, &format!("/v1/drops/{drop}{path}"))
                .header("if-match", tag)
                .header("idempotency-key", harness::key())
                .json(&body);
            let refused = fetch(request).await.problem(412, code);
            let detail = harness::text(&refused["detail"]);
            assert!(detail.contains("not an ETag of this drop"), "{detail}");
        }
    }
    assert_eq!(read(&drop).await.ok(200)["position"], before);
}
