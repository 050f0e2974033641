//! docs/CONTRACT.md on drops: schedule, read, list, edit, cancel, adjust, and purchases.

use harness::{App, Reply, distinct, eventually, fetch, in_seconds, key, text};
use reqwest::Method;
use serde_json::{Value, json};

fn small() -> Value {
    json!({ "name": "Small", "price": { "amount": 100, "currency": "EUR" }, "total_stock": 3 })
}

async fn edit(app: &App, drop: &str, if_match: Option<&str>, body: &Value) -> Reply {
    let mut request = app
        .admin(Method::PATCH, &format!("/v1/drops/{drop}"))
        .json(body);
    if let Some(etag) = if_match {
        request = request.header("if-match", etag);
    }
    fetch(request).await
}

async fn cancel(app: &App, drop: &str) -> Reply {
    fetch(app.admin(Method::POST, &format!("/v1/drops/{drop}/cancel"))).await
}

async fn adjust(app: &App, drop: &str, key: &str, body: &Value) -> Reply {
    let path = format!("/v1/drops/{drop}/stock-adjustments");
    fetch(
        app.admin(Method::POST, &path)
            .header("idempotency-key", key)
            .json(body),
    )
    .await
}

#[track_caller]
fn assert_time(value: &Value) {
    let at = text(value);
    let parsed =
        chrono::DateTime::parse_from_rfc3339(&at).unwrap_or_else(|error| panic!("{at}: {error}"));
    let expected = parsed
        .with_timezone(&chrono::Utc)
        .to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    assert_eq!(at, expected, "UTC, with milliseconds");
}

#[tokio::test]
async fn drop_is_scheduled_with_every_given_field() {
    let app = App::start().await;
    let given = json!({
        "name": "  Árvíztűrő 🥾  ", "description": "Two\nlines", "image_url": "https://example.org/boot.png",
        "price": { "amount": 19_999, "currency": "USD" }, "total_stock": 500,
        "starts_at": "2999-01-01T10:00:00+02:00", "ends_at": "2999-01-02T00:00:00Z",
        "hold_seconds": 90, "max_hold_seconds": 86_400, "offer_seconds": 604_800, "max_per_hold": 2, "max_per_buyer": 4,
        "throttle": { "holds": 3, "window_seconds": 600 },
    });
    let reply = app.post_drop(&given).await;
    let drop = reply.ok(201);
    let id = text(&drop["id"]);
    assert_eq!(reply.header("location"), format!("/v1/drops/{id}"));
    assert!(uuid::Uuid::parse_str(&id).is_ok());
    for field in [
        "description",
        "image_url",
        "price",
        "hold_seconds",
        "max_hold_seconds",
        "offer_seconds",
        "max_per_hold",
        "max_per_buyer",
        "throttle",
    ] {
        assert_eq!(drop[field], given[field], "{field}");
    }
    assert_eq!(drop["name"], "Árvíztűrő 🥾");
    assert_eq!(drop["starts_at"], "2999-01-01T08:00:00.000Z");
    assert_eq!(drop["ends_at"], "2999-01-02T00:00:00.000Z");
    assert_eq!(drop["status"], "scheduled");
    assert_eq!(
        drop["stock"],
        json!({ "total": 500, "available": 500, "held": 0, "sold": 0 })
    );
    assert_eq!(drop["waitlist_length"], 0);
    assert_eq!(drop["position"], 1);
    assert_time(&drop["created_at"]);
    assert_time(&drop["server_time"]);
    let mut read = app.drop(&id).await;
    let mut made = drop;
    for body in [&mut read, &mut made] {
        body["server_time"].take();
    }
    assert_eq!(read, made);
}

#[tokio::test]
async fn minimal_drop_is_live_immediately_with_the_defaults() {
    let app = App::start().await;
    let drop = app.post_drop(&small()).await.ok(201);
    assert_eq!(drop["status"], "live");
    assert_eq!(drop["hold_seconds"], 60);
    assert_eq!(drop["max_per_hold"], 1);
    assert_eq!(drop["starts_at"], drop["created_at"]);
    for absent in [
        "description",
        "image_url",
        "ends_at",
        "max_hold_seconds",
        "offer_seconds",
        "max_per_buyer",
        "throttle",
    ] {
        assert_eq!(
            drop.get(absent),
            Some(&Value::Null),
            "{absent} is present and null"
        );
    }
    let mut fields: Vec<&String> = drop.as_object().unwrap().keys().collect();
    fields.sort();
    let mut contract = [
        "id",
        "name",
        "description",
        "image_url",
        "price",
        "status",
        "starts_at",
        "ends_at",
        "hold_seconds",
        "max_hold_seconds",
        "offer_seconds",
        "max_per_hold",
        "max_per_buyer",
        "throttle",
        "stock",
        "waitlist_length",
        "position",
        "created_at",
        "server_time",
    ];
    contract.sort_unstable();
    assert_eq!(fields, contract);
}

#[tokio::test]
async fn drop_requested_twice_is_one_drop() {
    let app = App::start().await;
    let key = key();
    let send = |body: Value| {
        let request = app
            .admin(Method::POST, "/v1/drops")
            .header("idempotency-key", &key)
            .json(&body);
        async move { fetch(request).await }
    };
    let first = send(small()).await;
    let again = send(small()).await;
    assert_eq!(first.ok(201)["id"], again.ok(201)["id"]);
    assert_eq!(first.header("location"), again.header("location"));
    assert!(!first.is_replay() && again.is_replay());
    for (field, other) in [
        ("name", json!("Other")),
        ("total_stock", json!(4)),
        ("price", json!({ "amount": 101, "currency": "EUR" })),
        ("hold_seconds", json!(61)),
        ("ends_at", json!("2999-01-01T00:00:00Z")),
    ] {
        let mut body = small();
        body[field] = other;
        send(body).await.problem(422, "idempotency_key_reused");
    }
    fetch(app.admin(Method::POST, "/v1/drops").json(&small()))
        .await
        .problem(400, "idempotency_key_required");
    assert_eq!(app.log().await.len(), 1);
}

#[tokio::test]
async fn invalid_drop_fields_are_reported_with_their_pointers() {
    let app = App::start().await;
    let cases = [
        (
            "/name",
            "name",
            vec![
                json!(""),
                json!("   "),
                json!("x".repeat(201)),
                json!("a\u{0}b"),
                json!("a\u{7}b"),
                json!("a\nb"),
                json!(7),
                json!(null),
                json!(["n"]),
            ],
        ),
        (
            "/description",
            "description",
            vec![json!("x".repeat(5001)), json!("a\u{0}b"), json!(1)],
        ),
        (
            "/image_url",
            "image_url",
            vec![json!(""), json!("x".repeat(2049)), json!("a\u{1b}b")],
        ),
        (
            "/total_stock",
            "total_stock",
            vec![
                json!(-1),
                json!(1.5),
                json!("2abc"),
                json!("5"),
                json!(1e30),
                json!(10_000_001),
                json!(9_007_199_254_740_993_u64),
                json!(u64::MAX),
                json!(null),
                json!(true),
            ],
        ),
        (
            "/hold_seconds",
            "hold_seconds",
            vec![json!(0), json!(-1), json!(3601), json!(1.5), json!("60")],
        ),
        (
            "/max_hold_seconds",
            "max_hold_seconds",
            vec![json!(0), json!(86_401)],
        ),
        (
            "/offer_seconds",
            "offer_seconds",
            vec![json!(0), json!(604_801)],
        ),
        (
            "/max_per_hold",
            "max_per_hold",
            vec![
                json!(0),
                json!(-1),
                json!(1.2),
                json!("2abc"),
                json!(u64::MAX),
            ],
        ),
        (
            "/max_per_buyer",
            "max_per_buyer",
            vec![json!(0), json!(-1), json!(0.5)],
        ),
        (
            "/price/amount",
            "price",
            vec![
                json!({ "amount": -1, "currency": "USD" }),
                json!({ "amount": 1.5, "currency": "USD" }),
                json!({ "amount": "1", "currency": "USD" }),
                json!({ "amount": 1_000_000_000_001_u64, "currency": "USD" }),
                json!({ "currency": "USD" }),
            ],
        ),
        (
            "/price/currency",
            "price",
            vec![
                json!({ "amount": 1, "currency": "usd" }),
                json!({ "amount": 1, "currency": "ZZZ" }),
                json!({ "amount": 1, "currency": "" }),
                json!({ "amount": 1, "currency": "XAU" }),
                json!({ "amount": 1, "currency": "XXX" }),
                json!({ "amount": 1, "currency": "ANG" }),
                json!({ "amount": 1, "currency": "SLL" }),
                json!({ "amount": 1 }),
            ],
        ),
        (
            "/price/tax",
            "price",
            vec![json!({ "amount": 1, "currency": "USD", "tax": 2 })],
        ),
        (
            "/starts_at",
            "starts_at",
            vec![
                json!("tomorrow"),
                json!("2999-01-01"),
                json!("2999-13-01T00:00:00Z"),
                json!("2999-01-01T00:00:00"),
                json!(1_700_000_000),
            ],
        ),
        (
            "/ends_at",
            "ends_at",
            vec![json!("never"), json!(in_seconds(-60))],
        ),
        (
            "/throttle/holds",
            "throttle",
            vec![
                json!({ "holds": 0, "window_seconds": 60 }),
                json!({ "holds": -1, "window_seconds": 60 }),
                json!({ "window_seconds": 60 }),
            ],
        ),
        (
            "/throttle/window_seconds",
            "throttle",
            vec![
                json!({ "holds": 1, "window_seconds": 0 }),
                json!({ "holds": 1, "window_seconds": 86_401 }),
            ],
        ),
        ("/colour", "colour", vec![json!("red")]),
        ("/status", "status", vec![json!("live")]),
    ];
    for (pointer, field, values) in cases {
        for value in values {
            let mut body = small();
            body[field] = value;
            app.post_drop(&body).await.invalid(pointer);
        }
    }
    for field in ["name", "price", "total_stock"] {
        let mut body = small();
        body.as_object_mut().unwrap().remove(field);
        app.post_drop(&body).await.invalid(&format!("/{field}"));
    }
    assert_eq!(app.log().await.len(), 0, "nothing of it was recorded");
}

#[tokio::test]
async fn drop_fields_at_their_bounds_are_accepted() {
    let app = App::start().await;
    for (field, value) in [
        ("name", json!("x".repeat(200))),
        ("name", json!("ű".repeat(200))),
        ("description", json!("x".repeat(5000))),
        ("total_stock", json!(0)),
        ("total_stock", json!(10_000_000)),
        ("hold_seconds", json!(1)),
        ("hold_seconds", json!(3600)),
        ("price", json!({ "amount": 0, "currency": "JPY" })),
        ("image_url", json!("/assets/boot.svg")),
        ("starts_at", json!("2999-01-01T00:00:00.000Z")),
        ("description", json!(null)),
        ("ends_at", json!(null)),
    ] {
        let mut body = small();
        body[field] = value.clone();
        let made = app.post_drop(&body).await.ok(201);
        let shown = if field == "total_stock" {
            &made["stock"]["total"]
        } else {
            &made[field]
        };
        assert_eq!(*shown, value, "{field}");
    }
    let mut none = small();
    none["total_stock"] = json!(0);
    assert_eq!(app.post_drop(&none).await.ok(201)["status"], "sold_out");
}

#[tokio::test]
async fn drop_goes_through_its_statuses() {
    let app = App::start().await;
    let drop = app
        .create_drop(1, json!({ "starts_at": in_seconds(1) }))
        .await;
    assert_eq!(app.drop(&drop).await["status"], "scheduled");
    let body = app.hold(&drop, "alice").await.problem(409, "not_live");
    assert_eq!(body["starts_at"], app.drop(&drop).await["starts_at"]);
    eventually("the drop starts", || async {
        (app.drop(&drop).await["status"] == "live").then_some(())
    })
    .await;
    let hold = app.held(&drop, "alice").await;
    assert_eq!(app.drop(&drop).await["status"], "sold_out");
    app.release(&hold).await.ok(204);
    assert_eq!(app.drop(&drop).await["status"], "live");
    let etag = app
        .get(&format!("/v1/drops/{drop}"))
        .await
        .header("etag")
        .to_owned();
    let ends_at = harness::now();
    eventually("a millisecond passes", || async {
        (harness::now() > ends_at).then_some(())
    })
    .await;
    assert_eq!(
        edit(&app, &drop, Some(&etag), &json!({ "ends_at": ends_at }))
            .await
            .ok(200)["status"],
        "ended"
    );
    app.hold(&drop, "bob").await.problem(409, "ended");
    assert_eq!(cancel(&app, &drop).await.ok(200)["status"], "cancelled");
}

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
async fn drops_are_listed_in_pages_by_status_and_with_top_purchasers() {
    let app = App::start().await;
    let mut live = vec![];
    for _ in 0..5 {
        live.push(app.create_drop(2, json!({})).await);
    }
    let upcoming = app
        .create_drop(1, json!({ "starts_at": in_seconds(3600) }))
        .await;
    let cancelled = app.create_drop(1, json!({})).await;
    cancel(&app, &cancelled).await.ok(200);
    let ids = |list: &Value| {
        list["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|drop| text(&drop["id"]))
            .collect::<Vec<_>>()
    };

    let all = app.get("/v1/drops").await.ok(200);
    assert_eq!((ids(&all).len(), &all["has_more"]), (7, &json!(false)));
    assert_eq!(
        ids(&app.get("/v1/drops?status=live").await.ok(200)).len(),
        5
    );
    assert_eq!(
        ids(&app.get("/v1/drops?status=scheduled").await.ok(200)),
        [upcoming]
    );
    assert_eq!(
        ids(&app.get("/v1/drops?status=cancelled").await.ok(200)),
        [cancelled]
    );
    assert_eq!(
        ids(&app.get("/v1/drops?status=ended").await.ok(200)).len(),
        0
    );
    let empty = app.get("/v1/drops?status=&expand=").await;
    assert_eq!(
        empty.error_pointers(400, "invalid_query"),
        ["/expand", "/status"]
    );

    let (mut after, mut seen, mut pages) = (String::new(), vec![], 0);
    loop {
        let page = app.get(&format!("/v1/drops?limit=3{after}")).await.ok(200);
        seen.extend(ids(&page));
        pages += 1;
        if page["has_more"] == false {
            break;
        }
        assert_eq!(ids(&page).len(), 3);
        after = format!("&starting_after={}", seen.last().unwrap());
    }
    assert_eq!((pages, &seen), (3, &ids(&all)));
    assert_eq!(distinct(seen).len(), 7);

    let hold = text(
        &app.hold_with(
            &live[0],
            &key(),
            &json!({ "buyer_id": "a", "display_name": "Ann" }),
        )
        .await
        .ok(201)["id"],
    );
    app.purchase(&hold).await.ok(201);
    let expanded = app
        .get("/v1/drops?status=live&expand=top_purchasers")
        .await
        .ok(200);
    let found = expanded["data"]
        .as_array()
        .unwrap()
        .iter()
        .find(|drop| drop["id"] == live[0].as_str())
        .unwrap();
    assert_eq!(found["top_purchasers"][0]["buyer"], "Ann");
    assert!(all["data"][0].get("top_purchasers").is_none());
    for query in [
        "status=open",
        "limit=0",
        "limit=-1",
        "limit=101",
        "limit=x",
        "starting_after=x",
        "expand=everything",
        "at_least=x",
        "at_least=9223372036854775808",
    ] {
        app.get(&format!("/v1/drops?{query}"))
            .await
            .problem(400, "invalid_query");
    }
}

#[tokio::test]
async fn list_can_select_drops_and_reports_its_position() {
    let app = App::start().await;
    let mut drops = vec![];
    for _ in 0..4 {
        drops.push(app.create_drop(2, json!({})).await);
    }
    cancel(&app, &drops[1]).await.ok(200);
    let hold = app.hold(&drops[0], "ann").await.ok(201);
    let bought = app.purchase(&text(&hold["id"])).await.ok(201);
    let unknown = uuid::Uuid::new_v4();
    let ids = |list: &Value| {
        let data = list["data"].as_array().unwrap();
        data.iter()
            .map(|drop| text(&drop["id"]))
            .collect::<Vec<_>>()
    };

    let named = format!("{},{unknown},{},{}", drops[0], drops[2], drops[1]);
    let path = format!("/v1/drops?ids={named}&expand=top_purchasers");
    let reply = app.get(&path).await;
    let list = reply.ok(200);
    // Of two drops that were scheduled in the same millisecond, the one with the greater id comes
    // first.
    let newest_first = ids(&app.get("/v1/drops").await.ok(200));
    let expected = newest_first.iter().filter(|id| named.contains(*id));
    let expected: Vec<String> = expected.cloned().collect();
    assert_eq!(
        (ids(&list), &list["has_more"]),
        (expected.clone(), &json!(false))
    );
    let position = reply.header("holdfast-position").parse::<u64>().unwrap();
    assert!(
        position >= bought["position"].as_u64().unwrap(),
        "{position}"
    );
    let first =
        &list["data"].as_array().unwrap()[expected.iter().position(|id| *id == drops[0]).unwrap()];
    assert_eq!(first["top_purchasers"][0]["quantity"], 1);

    let of_status = format!("/v1/drops?ids={named}&status=cancelled");
    assert_eq!(ids(&app.get(&of_status).await.ok(200)), [drops[1].clone()]);
    let page = app
        .get(&format!("/v1/drops?ids={named}&limit=2"))
        .await
        .ok(200);
    assert_eq!(
        (ids(&page), &page["has_more"]),
        (expected[..2].to_vec(), &json!(true))
    );
    let rest = format!(
        "/v1/drops?ids={named}&limit=2&starting_after={}",
        expected[1]
    );
    let rest = app.get(&rest).await.ok(200);
    assert_eq!(
        (ids(&rest), &rest["has_more"]),
        (expected[2..].to_vec(), &json!(false))
    );

    let many: Vec<String> = (0..101).map(|_| uuid::Uuid::new_v4().to_string()).collect();
    for (ids, found) in [
        (&many[..100], true),
        (&many[..], false),
        (&["x".to_owned()][..], false),
    ] {
        let reply = app.get(&format!("/v1/drops?ids={}", ids.join(","))).await;
        if found {
            assert_eq!(reply.ok(200)["data"], json!([]));
        } else {
            reply.problem(400, "invalid_query");
        }
    }
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
            "HoldPlaced",
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

#[tokio::test]
async fn stock_is_never_adjusted_below_held_and_sold() {
    let app = App::start().await;
    let drop = app.create_drop(3, json!({})).await;
    app.held(&drop, "alice").await;
    let body = json!({ "delta": 5, "reason": "found a box" });
    let first = adjust(&app, &drop, "one-key", &body).await;
    let made = first.ok(201);
    assert_eq!(
        made["stock"],
        json!({ "total": 8, "available": 7, "held": 1, "sold": 0 })
    );
    assert_eq!(
        (&made["drop_id"], &made["delta"], &made["reason"]),
        (&json!(drop), &json!(5), &json!("found a box"))
    );
    assert_eq!(made["position"], 3);
    assert!(uuid::Uuid::parse_str(&text(&made["id"])).is_ok());
    let again = adjust(&app, &drop, "one-key", &body).await;
    assert_eq!((again.ok(201), again.is_replay()), (made, true));
    adjust(
        &app,
        &drop,
        "one-key",
        &json!({ "delta": 6, "reason": "found a box" }),
    )
    .await
    .problem(422, "idempotency_key_reused");

    let refused = adjust(
        &app,
        &drop,
        &key(),
        &json!({ "delta": -8, "reason": "lost" }),
    )
    .await
    .problem(409, "insufficient_stock");
    assert_eq!(
        (&refused["delta"], &refused["available"]),
        (&json!(-8), &json!(7))
    );
    assert_eq!(refused["detail"], "Cannot remove 8 units; 7 are available.");
    assert_eq!(
        adjust(
            &app,
            &drop,
            &key(),
            &json!({ "delta": -7, "reason": "lost" })
        )
        .await
        .ok(201)["stock"]["available"],
        0
    );
    assert_eq!(app.drop(&drop).await["status"], "sold_out");

    for delta in [
        json!(0),
        json!(1.5),
        json!("2abc"),
        json!(null),
        json!(99_999_999_999_i64),
    ] {
        adjust(
            &app,
            &drop,
            &key(),
            &json!({ "delta": delta, "reason": "r" }),
        )
        .await
        .invalid("/delta");
    }
    adjust(
        &app,
        &drop,
        &key(),
        &json!({ "delta": 10_000_000, "reason": "r" }),
    )
    .await
    .invalid("/delta");
    for reason in [json!(""), json!("a\u{0}"), json!("x".repeat(501)), json!(3)] {
        adjust(
            &app,
            &drop,
            &key(),
            &json!({ "delta": 1, "reason": reason }),
        )
        .await
        .invalid("/reason");
    }
    adjust(&app, &drop, &key(), &json!({ "delta": 1 }))
        .await
        .invalid("/reason");
    let path = format!("/v1/drops/{drop}/stock-adjustments");
    fetch(app.admin(Method::POST, &path).json(&body))
        .await
        .problem(400, "idempotency_key_required");
    assert_eq!(app.ledger().await.count(&drop, "StockAdjusted"), 2);
}

#[tokio::test]
async fn adjustment_may_require_an_unadjusted_stock() {
    let app = App::start().await;
    let drop = app.create_drop(10, json!({})).await;
    let path = format!("/v1/drops/{drop}");
    let tag = || async { app.get(&path).await.header("etag").to_owned() };
    let adjust = |key: String, delta: i32, if_match: &str| {
        let request = app.admin(Method::POST, &format!("{path}/stock-adjustments"));
        let request = request.header("idempotency-key", key);
        let request = request.header("if-match", if_match);
        fetch(request.json(&json!({ "delta": delta, "reason": "counted" })))
    };
    let seen = tag().await;
    // Sales and edits do not adjust the stock.
    app.held(&drop, "alice").await;
    let renamed = json!({ "name": "Renamed" });
    edit(&app, &drop, Some("*"), &renamed).await.ok(200);
    let made = adjust("first".into(), -4, &seen).await;
    assert_eq!(made.ok(201)["stock"]["available"], 5);
    let refused = adjust(key(), -4, &seen).await.problem(412, "stale_stock");
    assert_eq!(
        (&refused["total"], &refused["available"]),
        (&json!(6), &json!(5))
    );
    let again = adjust("first".into(), -4, &seen).await;
    assert_eq!((again.ok(201), again.is_replay()), (made.ok(201), true));
    let fresh = tag().await;
    for stale in [
        "\"nonsense\"".to_owned(),
        String::new(),
        format!("W/{fresh}"),
        format!("\"x\", {seen}"),
        fresh.replace('"', ""),
    ] {
        adjust(key(), -1, &stale).await.problem(412, "stale_stock");
    }
    let listed = format!("\"x\", {seen}, {fresh}");
    adjust(key(), -1, &listed).await.ok(201);
    adjust(key(), -1, "*").await.ok(201);
    // If two administrators saw the same state, one of them is refused.
    let seen = tag().await;
    let replies = tokio::join!(adjust(key(), -2, &seen), adjust(key(), -2, &seen));
    let mut statuses = [replies.0.status, replies.1.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 412]);
    assert_eq!(app.drop(&drop).await["stock"]["total"], 2);
    assert_eq!(app.ledger().await.count(&drop, "StockAdjusted"), 4);
}

#[tokio::test]
async fn purchasers_are_listed_by_units_or_time_without_their_ids() {
    let app = App::start().await;
    let drop = app.create_drop(100, json!({ "max_per_hold": 10 })).await;
    for (buyer, name, quantity) in [
        ("secret-a", Some("Ann"), 1),
        ("secret-b", None, 5),
        ("secret-c", Some("Cy"), 3),
        ("secret-d", Some("Di"), 2),
    ] {
        let body = json!({ "buyer_id": buyer, "display_name": name, "quantity": quantity });
        let hold = text(&app.hold_with(&drop, &key(), &body).await.ok(201)["id"]);
        app.purchase(&hold).await.ok(201);
    }
    app.hold_with(
        &drop,
        &key(),
        &json!({ "buyer_id": "secret-e", "display_name": "Holder" }),
    )
    .await
    .ok(201);
    let list = |query: &'static str| {
        let (api, path) = (app.api(), format!("/v1/drops/{drop}/purchasers{query}"));
        async move { api.get(&path).await.ok(200) }
    };
    let quantities = |list: &Value| {
        list["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|buyer| harness::number(&buyer["quantity"]))
            .collect::<Vec<_>>()
    };
    let top = list("").await;
    assert_eq!(
        (quantities(&top), &top["has_more"]),
        (vec![5, 3, 2], &json!(true))
    );
    assert_eq!(
        (&top["data"][1]["buyer"], &top["data"][2]["buyer"]),
        (&json!("Cy"), &json!("Di"))
    );
    assert_time(&top["data"][0]["last_purchased_at"]);
    let masked = text(&top["data"][0]["buyer"]);
    assert!(!masked.is_empty() && !masked.contains("secret"), "{masked}");
    assert_eq!(
        quantities(&list("?limit=10&order=recent").await),
        [2, 3, 5, 1]
    );
    assert_eq!(quantities(&list("?limit=1&order=units").await), [5]);
    assert_eq!(list("?limit=10").await["has_more"], false);
    assert!(!list("?limit=10").await.to_string().contains("secret"));
    for query in ["limit=0", "limit=101", "order=name", "order="] {
        app.get(&format!("/v1/drops/{drop}/purchasers?{query}"))
            .await
            .problem(400, "invalid_query");
    }
    let after = app
        .get(&format!(
            "/v1/drops/{drop}/purchasers?starting_after={drop}"
        ))
        .await;
    assert_eq!(
        after.error_pointers(400, "invalid_query"),
        ["/starting_after"]
    );
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
