//! docs/OPERATING.md on log lines as JSON and on W3C trace context.

use harness::{ADMIN_KEY, App, Launch, Receiver, eventually, fetch, key, text};
use reqwest::Method;
use serde_json::{Value, json};

const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Returns the trace id of a `traceparent`, which must be one of version 0.
#[track_caller]
fn id_of(parent: &str) -> &str {
    let fields: Vec<&str> = parent.split('-').collect();
    let lengths: Vec<usize> = fields.iter().map(|field| field.len()).collect();
    assert_eq!(
        (fields[0], &lengths[..]),
        ("00", &[2, 32, 16, 2][..]),
        "{parent}"
    );
    fields[1]
}

/// The log lines of a server that writes JSON.
#[track_caller]
fn objects(log: &str) -> Vec<Value> {
    let object = |line: &str| {
        let value: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for name in ["timestamp", "level", "target", "message"] {
            assert!(value[name].is_string(), "no {name}: {line}");
        }
        value
    };
    log.lines().map(object).collect()
}

#[tokio::test]
async fn log_lines_as_json_have_the_ids_of_the_request_and_no_personal_data() {
    let launch = Launch::fresh().await;
    let app = launch.with("HOLDFAST_LOG_FORMAT", "json").start().await;
    let drop = app.create_drop(1, json!({})).await;
    let buyer = "zebedee@example.org";
    app.held(&drop, buyer).await;
    // The erasure fails with an internal error.
    sqlx::query("ALTER TABLE erasures RENAME TO mislaid")
        .execute(app.pool())
        .await
        .unwrap();
    let path = format!("/v1/admin/buyers/{}", buyer.replace('@', "%40"));
    let erase = app.admin(Method::DELETE, &path);
    let failed = fetch(erase.header("traceparent", PARENT)).await;
    failed.problem(500, "internal");
    let instance = text(&failed.json()["instance"]);
    let request_id = instance.rsplit('/').next().unwrap();
    let log = eventually("the failure is logged", || async {
        let log = app.stderr();
        (log.ends_with('\n') && log.contains(request_id)).then_some(log)
    })
    .await;
    let lines = objects(&log);
    let line = lines.iter().find(|line| line["request_id"] == request_id);
    let line = line.unwrap_or_else(|| panic!("no line with this request_id: {log}"));
    assert_eq!(
        (&line["level"], &line["trace_id"]),
        (&json!("ERROR"), &json!(ID))
    );
    assert!(
        line["error"].as_str().unwrap().contains("erasures"),
        "{line}"
    );
    for secret in ["zebedee", ADMIN_KEY] {
        assert!(!log.contains(secret), "{secret} is in {log}");
    }
}

#[tokio::test]
async fn traces_of_requests_are_continued_and_invalid_ones_are_replaced() {
    let app = App::start().await;
    let send = async |parents: &[&str]| {
        let request = app.request(Method::GET, "/v1/drops");
        let add = |request: reqwest::RequestBuilder, parent: &&str| {
            request.header("traceparent", *parent)
        };
        fetch(parents.iter().fold(request, add)).await
    };
    let seen = send(&[PARENT]).await;
    assert_eq!(id_of(seen.header("traceparent")), ID);
    assert_ne!(seen.header("traceparent"), PARENT, "a span of its own");
    let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes-later";
    assert_eq!(id_of(send(&[later]).await.header("traceparent")), ID);
    for invalid in [
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "nonsense",
    ] {
        let replaced = send(&[invalid]).await;
        assert_eq!(replaced.status, 200, "{invalid}");
        assert_ne!(id_of(replaced.header("traceparent")), ID, "{invalid}");
    }
    let twice = send(&[PARENT, PARENT]).await;
    assert_ne!(id_of(twice.header("traceparent")), ID);
    assert!(!send(&[]).await.headers.contains_key("traceparent"));
}

#[tokio::test]
async fn requests_to_providers_and_receivers_have_a_trace() {
    let (provider, receiver) = (Receiver::start().await, Receiver::start().await);
    let app = Launch::fresh()
        .await
        .with("HOLDFAST_STRIPE_SECRET_KEY", "sk_test_1")
        .with("HOLDFAST_STRIPE_WEBHOOK_SECRET", "whsec_of_the_test")
        .with(
            "HOLDFAST_STRIPE_API_BASE",
            &format!("http://{}", provider.address()),
        )
        .with("HOLDFAST_WEBHOOK_NETWORKS", "127.0.0.0/8")
        .start()
        .await;
    let endpoint = app.admin(Method::POST, "/v1/admin/webhooks");
    fetch(endpoint.json(&json!({ "url": receiver.url() })))
        .await
        .ok(201);
    let drop = app.create_drop(3, json!({})).await;
    let order = app
        .request(Method::POST, "/v1/orders")
        .header("idempotency-key", key());
    let items = json!([{ "drop_id": drop, "quantity": 1 }]);
    let order = fetch(order.json(&json!({ "buyer_id": "ann", "items": items }))).await;
    let order = text(&order.ok(201)["id"]);
    let delivered = receiver.wait_for(1).await;
    assert_ne!(id_of(delivered[0].header("traceparent")), ID, "a new one");
    let pay = app
        .request(Method::POST, &format!("/v1/orders/{order}/payments"))
        .header("idempotency-key", key())
        .header("traceparent", PARENT)
        .header("tracestate", "shop=1, other=2");
    // The provider's response is not one of Stripe's.
    fetch(pay.json(&json!({ "provider": "stripe" })))
        .await
        .any_problem();
    let called = provider.wait_for(1).await;
    assert_eq!(id_of(called[0].header("traceparent")), ID);
    assert_eq!(called[0].header("tracestate"), "shop=1,other=2");
}

#[tokio::test]
async fn format_of_log_lines_is_text_unless_it_is_chosen() {
    let app = App::start().await;
    app.wait_for_log("read the event log").await;
    assert!(
        app.stderr().contains(" INFO holdfast::server::"),
        "{}",
        app.stderr()
    );
    let launch = Launch::fresh().await;
    let wrong = launch.run(&["serve", "--log-format", "xml"]).await;
    assert!(wrong.stderr.contains("'xml'"), "{wrong:?}");
    assert_eq!(wrong.stderr.trim().lines().count(), 1, "{wrong:?}");
    let app = launch.start_as(&["serve", "--log-format", "json"]).await;
    app.wait_for_log("read the event log").await;
    assert!(!objects(&app.stderr()).is_empty());
}
