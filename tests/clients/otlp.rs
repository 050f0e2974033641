//! Spans and metrics that a collector of OpenTelemetry receives, decoded with the messages that the
//! project itself generates for Python.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::fs;

use harness::proxies::free_port;
use harness::{
    ADMIN_KEY, Answer, App, Launch, Python, Received, Receiver, eventually, fetch, finish, key,
    text,
};
use reqwest::Method;
use serde_json::{Value, json};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f0671200029017";
const UNSAMPLED: &str = "0af7651916cd43dd8448eb211c80319c";
/// Texts that no attribute may have.
const PERSONAL: [&str; 2] = ["ann-4711@shop.example", "Ann Example"];

async fn collector() -> Receiver {
    let collector = Receiver::start().await;
    collector.respond(|_| Answer::Status(200));
    collector
}

async fn launch(collector: &str) -> Launch {
    let launch = Launch::fresh().await;
    launch.with("HOLDFAST_OTLP_ENDPOINT", &format!("http://{collector}"))
}

/// Requests a hold in a trace.
async fn hold(app: &App, drop: &str, trace: &str, flags: &str) -> u16 {
    let [buyer, name] = PERSONAL;
    let request = app.request(Method::POST, &format!("/v1/drops/{drop}/holds"));
    let request = request
        .header("traceparent", format!("00-{trace}-{CALLER}-{flags}"))
        .header("idempotency-key", key())
        .json(&json!({ "buyer_id": buyer, "display_name": name }));
    fetch(request).await.status
}

/// Decodes the requests that a collector has received.
async fn decoded(received: &[Received]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    for (number, one) in received.iter().enumerate() {
        assert_eq!(one.header("content-type"), "application/x-protobuf");
        assert_eq!(one.header("x-shop"), "a,b");
        let signal = one.path.strip_prefix("/v1/").unwrap();
        fs::write(
            folder.path().join(format!("{number:04}.{signal}")),
            &one.body,
        )
        .unwrap();
    }
    let python = Python::with(include_str!("otlp/requirements.txt")).await;
    let mut decode = python.command();
    decode.args(["-c", include_str!("otlp/decode.py")]);
    decode.arg(folder.path());
    let decoded = finish(decode).await;
    assert_eq!(decoded.code, Some(0), "{}", decoded.stderr);
    serde_json::from_str(&decoded.stdout).unwrap()
}

fn spans<'a>(all: &'a Value, name: &str) -> Vec<&'a Value> {
    let all = all["spans"].as_array().unwrap().iter();
    all.filter(|span| span["name"] == name).collect()
}

fn metric<'a>(all: &'a Value, name: &str) -> &'a Value {
    let mut all = all["metrics"].as_array().unwrap().iter().rev();
    all.find(|metric| metric["name"] == name)
        .unwrap_or_else(|| panic!("no metric {name}"))
}

#[tokio::test]
async fn hold_is_a_trace_and_the_metrics_have_the_names_of_the_conventions() {
    let (collector, hooks) = (collector().await, Receiver::start().await);
    let app = launch(collector.address())
        .await
        .with("OTEL_SERVICE_NAME", "shop-eu")
        .with(
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment.name=test",
        )
        .with("OTEL_EXPORTER_OTLP_HEADERS", "x-shop=a%2Cb")
        .with("HOLDFAST_WEBHOOK_NETWORKS", "127.0.0.0/8")
        .start()
        .await;
    let endpoint = app.admin(Method::POST, "/v1/admin/webhooks");
    let endpoint = endpoint.json(&json!({ "url": hooks.url() }));
    fetch(endpoint).await.ok(201);
    let drop = app.create_drop(5, json!({ "max_per_buyer": 1 })).await;
    assert_eq!(hold(&app, &drop, TRACE, "01").await, 201);
    assert_eq!(hold(&app, &drop, UNSAMPLED, "00").await, 409);
    let received = hooks.wait_for(2).await;
    // A stop sends the rest.
    app.stop().await;
    let sent = collector.received();
    for secret in PERSONAL.iter().chain([&ADMIN_KEY]) {
        let has_it = |one: &Received| {
            one.body
                .windows(secret.len())
                .any(|part| part == secret.as_bytes())
        };
        assert!(!sent.iter().any(has_it), "{secret}");
    }
    let all = decoded(&sent).await;

    let requests = spans(&all, "POST /v1/drops/{id}/holds");
    let [request] = requests[..] else {
        panic!("one hold is sampled: {requests:#?}");
    };
    assert_eq!(
        (&request["trace"], &request["parent"]),
        (&json!(TRACE), &json!(CALLER))
    );
    assert_eq!(request["kind"], "SPAN_KIND_SERVER");
    assert_eq!(
        request["attributes"],
        json!({
            "http.request.method": "POST", "http.route": "/v1/drops/{id}/holds",
            "url.path": "/v1/drops/{id}/holds", "http.response.status_code": 201,
        })
    );
    let resource = &request["resource"];
    assert_eq!(resource["service.name"], "shop-eu");
    assert_eq!(resource["deployment.environment.name"], "test");
    for (name, kind) in [
        ("queue", "SPAN_KIND_INTERNAL"),
        ("append", "SPAN_KIND_CLIENT"),
    ] {
        let within: Vec<_> = spans(&all, name);
        let within = within.iter().find(|span| span["parent"] == request["id"]);
        let within = within.unwrap_or_else(|| panic!("no {name}: {all:#}"));
        assert_eq!(
            (&within["trace"], &within["kind"]),
            (&json!(TRACE), &json!(kind))
        );
        assert!(within["start"].as_u64() >= request["start"].as_u64());
        assert!(within["end"].as_u64() <= request["end"].as_u64());
        if name == "append" {
            assert_eq!(within["attributes"]["db.system.name"], "postgresql");
            assert_eq!(within["attributes"]["holdfast.append.outcome"], "committed");
            assert!(within["attributes"]["db.operation.batch.size"].as_u64() >= Some(1));
        }
    }
    // A webhook has the trace of its span.
    let calls = spans(&all, "POST");
    let call = calls.iter().find(|call| {
        let sent = format!("00-{}-{}-01", text(&call["trace"]), text(&call["id"]));
        received.iter().any(|one| one.header("traceparent") == sent)
    });
    let call = call.unwrap_or_else(|| panic!("no webhook: {calls:#?}"));
    assert_eq!(call["kind"], "SPAN_KIND_CLIENT");
    assert_eq!(call["attributes"]["holdfast.call"], "webhook");
    assert_eq!(call["attributes"]["server.address"], "127.0.0.1");
    let of_unsampled = all["spans"].as_array().unwrap().iter();
    assert!(!of_unsampled.clone().any(|span| span["trace"] == UNSAMPLED));

    let duration = metric(&all, "http.server.request.duration");
    assert_eq!(
        (&duration["unit"], &duration["kind"]),
        (&json!("s"), &json!("histogram"))
    );
    let points = duration["points"].as_array().unwrap();
    let of_holds = points.iter().find(|point| {
        let attributes = &point["attributes"];
        attributes["http.route"] == "/v1/drops/{id}/holds"
            && attributes["http.request.method"] == "POST"
    });
    let of_holds = of_holds.unwrap();
    assert_eq!(of_holds["count"], 2);
    let bounds = of_holds["bounds"].as_array().unwrap();
    for bound in [0.000_5, 0.001, 0.002_5, 0.005] {
        assert!(bounds.contains(&json!(bound)), "{bound}: {bounds:?}");
    }
    let appends = metric(&all, "db.client.operation.duration");
    assert_eq!(
        appends["points"][0]["attributes"]["db.operation.name"],
        "append"
    );
    let counted = metric(&all, "holdfast_http_requests_total");
    assert_eq!(counted["kind"], "sum");
    assert_eq!(
        metric(&all, "holdfast_otlp_spans_dropped_total")["points"][0]["value"],
        0.0
    );
}

#[tokio::test]
async fn collector_that_is_away_or_silent_harms_nothing() {
    let port = free_port();
    let app = launch(&format!("127.0.0.1:{port}")).await.start().await;
    let drop = app.create_drop(1_000, json!({})).await;
    let away = "telemetry is dropped until";
    app.wait_for_log(away).await;
    eventually("spans are dropped and counted", || async {
        app.hold(&drop, &key()).await.ok(201);
        let metrics = app.get("/metrics").await.text();
        let mut lines = metrics.lines();
        let dropped =
            lines.find_map(|line| line.strip_prefix("holdfast_otlp_spans_dropped_total "));
        (dropped.unwrap().parse::<u64>().unwrap() > 2).then_some(())
    })
    .await;
    assert_eq!(app.stderr().matches(away).count(), 1, "{}", app.stderr());
    app.stop().await;

    // One that accepts and never responds: a stop waits for it within its bound.
    let silent = Receiver::start().await;
    silent.respond(|_| Answer::Hang);
    let app = launch(silent.address()).await.start().await;
    let drop = app.create_drop(1_000, json!({})).await;
    for _ in 0..20 {
        assert_eq!(app.hold(&drop, &key()).await.status, 201);
    }
    silent.wait_for(1).await;
    app.stop().await;
}

#[tokio::test]
async fn address_of_a_collector_that_cannot_be_used_is_refused() {
    for name in ["HOLDFAST_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"] {
        let launch = Launch::private().with(name, "127.0.0.1:4317");
        let ended = launch.run(&["serve"]).await;
        assert_eq!(ended.code, Some(2), "{ended:?}");
        let line = "must be an http or https URL, such as http://127.0.0.1:4318";
        assert!(ended.stderr.contains(line), "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    }
}
