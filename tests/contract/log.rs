//! docs/CONTRACT.md on the log: a reader can verify it, and it contains no names.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use harness::{AUDITOR_KEY, App, Event, Launch, Reply, distinct, fetch, key, number, text};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A drop with every type of event that does not depend on the clock.
async fn some_history(app: &App) -> String {
    let drop = app
        .create_drop(
            10,
            json!({ "max_per_hold": 5, "name": "Ärmel \"quoted\" \\ / 🥾" }),
        )
        .await;
    for buyer in 0..6 {
        let body = json!({ "buyer_id": format!("buyer-{buyer}@example.org"), "display_name": format!("Real Name {buyer}") });
        let hold = text(
            &app.hold_with(&drop, &format!("key-of-buyer-{buyer}"), &body)
                .await
                .ok(201)["id"],
        );
        match buyer % 3 {
            0 => {
                let path = format!("/v1/holds/{hold}/purchase");
                let paid = app
                    .request(Method::POST, &path)
                    .json(&json!({ "payment_reference": format!("card-4242-{buyer}") }));
                assert_eq!(paid.send().await.unwrap().status(), 201);
            }
            1 => assert_eq!(app.release(&hold).await.status, 204),
            _ => {}
        }
    }
    let path = format!("/v1/drops/{drop}/stock-adjustments");
    let adjust = app
        .admin(Method::POST, &path)
        .header("idempotency-key", key())
        .json(&json!({ "delta": -1, "reason": "broken" }));
    assert_eq!(adjust.send().await.unwrap().status(), 201);
    drop
}

/// The hash of an event, computed from the description in infrastructure/src/log/chain.rs alone.
fn link(previous: &[u8], event: &Event) -> Vec<u8> {
    let mut hasher = Sha256::new();
    let text = |hasher: &mut Sha256, text: &str| {
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text);
    };
    hasher.update("holdfast.event.v1");
    hasher.update(previous);
    hasher.update(event.position.to_be_bytes());
    let recorded_at = chrono::DateTime::parse_from_rfc3339(&event.recorded_at).unwrap();
    hasher.update(recorded_at.timestamp_millis().to_be_bytes());
    text(&mut hasher, &event.aggregate_type);
    text(&mut hasher, &event.aggregate_id);
    hasher.update(event.sequence.to_be_bytes());
    text(&mut hasher, &event.event_type);
    text(&mut hasher, &event.event_version);
    text(&mut hasher, event.payload.get());
    text(&mut hasher, event.metadata.get());
    hasher.finalize().to_vec()
}

#[tokio::test]
async fn reader_recomputes_every_hash_from_the_log_alone() {
    let app = App::start().await;
    some_history(&app).await;
    // A payload of another program: its white space must be returned byte for byte.
    let insert = "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
                  VALUES ('Other', 'ű', 1, 'Happened', '0.1', '{ \"b\": 1.0,  \"a\": \"\\u00e9\" }', '{ }')";
    sqlx::query(insert).execute(app.pool()).await.unwrap();

    // A payload with line breaks, which a line of NDJSON cannot contain.
    let broken = "{\n \"a\":\r\n[1, 2]}";
    let insert = insert.replace("'ű', 1", "'ű', 2");
    let insert = insert.replace("'{ \"b\": 1.0,  \"a\": \"\\u00e9\" }'", "$1::json");
    sqlx::query(&insert)
        .bind(broken)
        .execute(app.pool())
        .await
        .unwrap();

    let mut previous = vec![0; 32];
    let log = app.log().await;
    for event in &log {
        previous = link(&previous, event);
        assert_eq!(
            hex::encode(&previous),
            event.hash,
            "at position {}",
            event.position
        );
    }

    let head = app.audit("/v1/log/head").await.ok(200);
    let last = log.last().unwrap();
    assert_eq!(
        (number(&head["position"]), text(&head["hash"])),
        (last.position, last.hash.clone())
    );
    assert_eq!(text(&head["recorded_at"]), last.recorded_at);
    assert_eq!(last.payload.get(), broken);
    let spaced = &log[log.len() - 2];
    assert_eq!(spaced.payload.get(), "{ \"b\": 1.0,  \"a\": \"\\u00e9\" }");
    let lines = app.request(Method::GET, "/v1/log").bearer_auth(AUDITOR_KEY);
    let lines = fetch(lines.header("accept", "application/x-ndjson")).await;
    let lines = lines.text();
    assert_eq!(lines.lines().count(), log.len(), "{lines}");
    let line: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(line["payload"], json!({ "a": [1, 2] }));
    assert_eq!(line["payload_text"], broken);
    let times: Vec<&String> = log.iter().map(|event| &event.recorded_at).collect();
    assert!(times.is_sorted());
}

#[tokio::test]
async fn log_is_read_in_pages_or_as_lines() {
    let app = App::start().await;
    some_history(&app).await;
    let whole = app.log().await;
    let head = app.audit("/v1/log/head").await.ok(200);
    let page = app.audit("/v1/log?after=0&limit=1000").await.ok(200);
    assert_eq!(page["data"].as_array().unwrap().len(), whole.len());
    assert_eq!(page["head"], head);

    let (mut after, mut seen) = (0, vec![]);
    loop {
        let page = app
            .audit(&format!("/v1/log?after={after}&limit=4"))
            .await
            .ok(200);
        let data = page["data"].as_array().unwrap().clone();
        let Some(last) = data.last() else { break };
        assert!(data.len() <= 4);
        after = number(&last["position"]);
        seen.extend(data.iter().map(|event| text(&event["hash"])));
    }
    assert_eq!(
        seen,
        whole
            .iter()
            .map(|event| event.hash.clone())
            .collect::<Vec<_>>()
    );

    let lines = |query: &str| {
        let request = app
            .request(Method::GET, &format!("/v1/log{query}"))
            .bearer_auth(harness::AUDITOR_KEY);
        request.header("accept", "application/x-ndjson").send()
    };
    let reply = lines("?after=3&limit=2").await.unwrap();
    assert_eq!(reply.headers()["content-type"], "application/x-ndjson");
    let body = reply.text().await.unwrap();
    assert!(body.ends_with('\n'));
    let positions: Vec<u64> = body
        .lines()
        .map(|line| Event::parse(line).position)
        .collect();
    assert_eq!(positions, [4, 5]);
    assert_eq!(
        lines(&format!("?after={}", whole.len()))
            .await
            .unwrap()
            .text()
            .await
            .unwrap(),
        ""
    );
    for query in [
        "limit=0",
        "limit=-1",
        "limit=x",
        "after=x",
        "after=-1",
        "limit=10001",
    ] {
        app.audit(&format!("/v1/log?{query}"))
            .await
            .problem(400, "invalid_query");
    }
}

/// Reads the log with an `Accept` header.
async fn accepting(app: &App, accept: &str, query: &str) -> Reply {
    let request = app.request(Method::GET, &format!("/v1/log{query}"));
    fetch(
        request
            .bearer_auth(harness::AUDITOR_KEY)
            .header("accept", accept),
    )
    .await
}

#[tokio::test]
async fn log_is_returned_in_the_preferred_format() {
    let app = App::start().await;
    app.create_drop(1, json!({})).await;
    for (accept, form) in [
        ("*/*", "application/json"),
        ("text/html", "application/json"),
        ("application/x-ndjson;q=0", "application/json"),
        (
            "application/x-ndjson;q=0.1, application/json",
            "application/json",
        ),
        ("application/x-ndjson-seq", "application/json"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("Application/X-NDJSON", "application/x-ndjson"),
        (
            "application/json;q=0.5, application/x-ndjson",
            "application/x-ndjson",
        ),
        (
            "application/json;q=0, application/*",
            "application/x-ndjson",
        ),
    ] {
        let reply = accepting(&app, accept, "").await;
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (200, form),
            "{accept}"
        );
        assert_eq!(reply.header("vary").to_lowercase(), "accept", "{accept}");
    }
    accepting(&app, "application/x-ndjson", "?limit=0")
        .await
        .problem(400, "invalid_query");
}

#[tokio::test]
async fn read_of_the_log_can_require_a_position() {
    let app = App::start().await;
    app.create_drop(1, json!({})).await;
    for path in ["/v1/log", "/v1/log/head"] {
        assert_eq!(app.audit(&format!("{path}?at_least=1")).await.status, 200);
        let ahead = app.audit(&format!("{path}?at_least=1000000")).await;
        assert_eq!(ahead.problem(503, "unavailable")["position"], 2);
        let unread = app.audit(&format!("{path}?at_least=soon")).await;
        assert_eq!(unread.error_pointers(400, "invalid_query"), ["/at_least"]);
    }
    accepting(&app, "application/x-ndjson", "?at_least=1000000")
        .await
        .problem(503, "unavailable");
}

#[tokio::test]
async fn events_have_the_documented_types_and_fields() {
    let app = App::start().await;
    let drop = some_history(&app).await;
    let log = app.log().await;
    let kinds = distinct(log.iter().map(|event| event.event_type.clone()));
    assert_eq!(
        kinds,
        [
            "DropScheduled",
            "DropStarted",
            "HoldPlaced",
            "HoldReleased",
            "PurchaseConfirmed",
            "StockAdjusted"
        ]
    );
    for event in &log {
        assert_eq!(
            (event.aggregate_type.as_str(), event.aggregate_id.as_str()),
            ("Drop", drop.as_str())
        );
        assert_eq!(event.event_version, "1.0");
        let fields = event.fields();
        if event.event_type.starts_with("Hold") || event.event_type == "PurchaseConfirmed" {
            assert!(
                uuid::Uuid::parse_str(&text(&fields["buyer"])).is_ok(),
                "a pseudonym: {fields}"
            );
            assert_eq!(fields["quantity"], 1);
        }
    }
}

#[tokio::test]
async fn no_buyer_name_is_in_the_log_the_stream_or_the_servers_output() {
    let app = Launch::fresh()
        .await
        .with("RUST_LOG", "debug")
        .start()
        .await;
    let mut watcher = app.watch("").await;
    let drop = some_history(&app).await;
    app.hold_with(
        &drop,
        &key(),
        &json!({ "buyer_id": "buyer-x\u{0}@example.org", "display_name": "Real Name X" }),
    )
    .await
    .invalid("/buyer_id");
    let (mut streamed, mut last) = (String::new(), json!(null));
    while last["stock"]["total"] != 9 {
        let frame = watcher.drop().await;
        streamed.push_str(&frame.data);
        last = frame.json();
    }
    let lines = app
        .request(Method::GET, "/v1/log")
        .bearer_auth(harness::AUDITOR_KEY)
        .header("accept", "application/x-ndjson");
    let log = lines.send().await.unwrap().text().await.unwrap();
    let page = app.audit("/v1/log").await.text();
    let drop = app.get(&format!("/v1/drops/{drop}")).await.text();
    app.audit_verify().await;
    let stderr = app.stderr();
    assert!(stderr.contains("DEBUG"), "the server logs the failure");
    for (source, content) in [
        ("log", &log),
        ("page", &page),
        ("stream", &streamed),
        ("drop", &drop),
        ("stderr", &stderr),
    ] {
        for name in [
            "buyer-",
            "example.org",
            "Real Name",
            "card-4242",
            "key-of-buyer",
        ] {
            let found = content.lines().find(|line| line.contains(name));
            assert_eq!(found, None, "{name} in {source}");
        }
    }
}

#[tokio::test]
async fn buyer_has_one_pseudonym_per_drop() {
    let app = App::start().await;
    let drops = [
        app.create_drop(5, json!({})).await,
        app.create_drop(5, json!({})).await,
    ];
    for drop in &drops {
        for buyer in ["Alice", "ALICE ", "bob"] {
            app.held(drop, buyer).await;
        }
    }
    let pseudonyms = |drop: &str, log: &[Event]| -> Vec<Value> {
        let placed = log
            .iter()
            .filter(|event| event.event_type == "HoldPlaced" && event.aggregate_id == drop);
        placed
            .map(|event| event.fields()["buyer"].clone())
            .collect()
    };
    let log = app.log().await;
    let [first, second] = [pseudonyms(&drops[0], &log), pseudonyms(&drops[1], &log)];
    assert_eq!(first[0], first[1]);
    assert_ne!(first[0], first[2]);
    assert!(
        first.iter().all(|buyer| !second.contains(buyer)),
        "pseudonyms differ between drops"
    );
}
