//! docs/CONTRACT.md on `/metrics`: the metrics agree with the log and contain no names.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::collections::{BTreeMap, BTreeSet};

use harness::{App, Launch, eventually, fetch, text};
use reqwest::Method;
use serde_json::json;
use tokio::net::TcpStream;

/// One scrape: samples by name and labels as written, and the declared type of each family.
#[derive(Debug, Default)]
struct Scrape {
    samples: BTreeMap<String, f64>,
    types: BTreeMap<String, String>,
    helped: BTreeSet<String>,
}

impl Scrape {
    async fn of(app: &App) -> Self {
        let reply = app.get("/metrics").await;
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (200, "text/plain; version=0.0.4")
        );
        Self::parse(&reply.text())
    }

    /// The format's definition: `# HELP name text`, `# TYPE name kind`, `name{labels} value`.
    fn parse(text: &str) -> Self {
        let mut scrape = Self::default();
        assert!(text.ends_with('\n'));
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(
                    !help.is_empty() && scrape.helped.insert(name.to_owned()),
                    "{line}"
                );
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(
                    scrape.types.insert(name.to_owned(), kind.to_owned()),
                    None,
                    "{line}"
                );
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let value = value
                    .parse()
                    .unwrap_or_else(|error| panic!("{error}: {line}"));
                assert_eq!(
                    scrape.samples.insert(series.to_owned(), value),
                    None,
                    "duplicate sample: {line}"
                );
            }
        }
        scrape
    }

    fn get(&self, series: &str) -> f64 {
        self.samples.get(series).copied().unwrap_or_default()
    }

    fn family(&self, series: &str) -> (String, String) {
        let name = series.split('{').next().unwrap();
        let known = |name: &str| {
            self.types
                .get(name)
                .map(|kind| (name.to_owned(), kind.clone()))
        };
        let of_histogram = || {
            ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| known(name.strip_suffix(suffix)?))
        };
        known(name)
            .or_else(of_histogram)
            .unwrap_or_else(|| panic!("{series} has no type"))
    }
}

#[track_caller]
fn same(scrape: &Scrape, expected: &[(&str, f64)]) {
    for (series, value) in expected {
        assert_eq!(scrape.get(series), *value, "{series}");
    }
}

#[tokio::test]
async fn metrics_are_well_formed_and_named_by_the_conventions() {
    let app = App::start().await;
    let drop = app.create_drop(3, json!({})).await;
    app.held(&drop, "ann").await;
    let scrape = Scrape::of(&app).await;
    for series in scrape.samples.keys() {
        let (name, kind) = scrape.family(series);
        assert!(scrape.helped.contains(&name), "{name} has no help");
        assert!(
            name.starts_with("holdfast_") || name.starts_with("process_"),
            "{name}"
        );
        assert_eq!(
            kind == "counter",
            name.ends_with("_total"),
            "{name} is a {kind}"
        );
    }
    for (name, kind) in [
        ("holdfast_holds_placed_total", "counter"),
        ("holdfast_http_request_duration_seconds", "histogram"),
        ("holdfast_log_append_duration_seconds", "histogram"),
        ("holdfast_log_append_events", "histogram"),
        ("holdfast_release_lateness_seconds", "histogram"),
        ("holdfast_engine_queue_depth", "gauge"),
        ("process_resident_memory_bytes", "gauge"),
    ] {
        assert_eq!(
            scrape.types.get(name).map(String::as_str),
            Some(kind),
            "{name}"
        );
    }
    assert!(scrape.get("process_resident_memory_bytes") > 1e6);
    assert!(scrape.get("process_start_time_seconds") > 1.7e9);
    assert!(scrape.get("process_cpu_seconds_total") > 0.0);
    assert!(scrape.get("process_open_fds") > 3.0);
}

/// Six holds of eight units: two purchased (3 units), one released, one expired, two open; then
/// three refusals.
async fn some_sales(app: &App) -> String {
    let terms = json!({ "max_per_hold": 2, "max_per_buyer": 2, "hold_seconds": 1, "throttle": { "holds": 1, "window_seconds": 3600 } });
    let drop = app.create_drop(6, terms).await;
    app.held(&drop, "quick").await;
    eventually("the hold has expired", || async {
        (app.stock(&drop).await == [6, 6, 0, 0]).then_some(())
    })
    .await;
    let patch = app
        .admin(Method::PATCH, &format!("/v1/drops/{drop}"))
        .header("if-match", "*");
    fetch(patch.json(&json!({ "hold_seconds": 3600 })))
        .await
        .ok(200);
    for (buyer, quantity) in [("bob", 1), ("cid", 2)] {
        let body = json!({ "buyer_id": buyer, "quantity": quantity });
        let hold = text(&app.hold_with(&drop, &harness::key(), &body).await.ok(201)["id"]);
        app.purchase(&hold).await.ok(201);
    }
    let given_up = app.held(&drop, "dee").await;
    assert_eq!(app.release(&given_up).await.status, 204);
    app.held(&drop, "eve").await;
    let two = json!({ "buyer_id": "fay", "quantity": 2 });
    app.hold_with(&drop, &harness::key(), &two).await.ok(201);
    app.hold(&drop, "gil").await.problem(409, "sold_out");
    app.hold(&drop, "eve").await.problem(429, "throttled");
    let three = json!({ "buyer_id": "hal", "quantity": 3 });
    app.hold_with(&drop, &harness::key(), &three)
        .await
        .problem(409, "limit_reached");
    drop
}

#[tokio::test]
async fn metrics_agree_with_the_log() {
    let app = App::start().await;
    let _drop = some_sales(&app).await;
    app.get("/nothing").await.problem(404, "not_found");
    let scrape = Scrape::of(&app).await;
    same(
        &scrape,
        &[
            ("holdfast_drops_scheduled_total", 1.0),
            ("holdfast_drops_rescheduled_total", 1.0),
            ("holdfast_drops_cancelled_total", 0.0),
            ("holdfast_drops_started_total", 1.0),
            ("holdfast_drops_ended_total", 0.0),
            ("holdfast_holds_placed_total", 6.0),
            ("holdfast_holds_expired_total", 1.0),
            ("holdfast_holds_released_total", 1.0),
            ("holdfast_purchases_confirmed_total", 2.0),
            ("holdfast_units_held_total", 8.0),
            ("holdfast_units_sold_total", 3.0),
            ("holdfast_release_lateness_seconds_count", 1.0),
            ("holdfast_open_holds", 2.0),
            ("holdfast_held_units", 3.0),
            ("holdfast_waitlist_entries", 0.0),
            (r#"holdfast_events_appended_total{type="HoldPlaced"}"#, 6.0),
            // Nine requests for holds, and one for each other event except an expiry and a start.
            ("holdfast_engine_queue_wait_seconds_count", 14.0),
            ("holdfast_oversell_attempts_blocked_total", 1.0),
            ("holdfast_throttle_blocks_total", 1.0),
            ("holdfast_limit_refusals_total", 1.0),
            (r#"holdfast_problems_total{code="sold_out"}"#, 1.0),
            (r#"holdfast_problems_total{code="throttled"}"#, 1.0),
            (r#"holdfast_problems_total{code="not_found"}"#, 1.0),
            (r#"holdfast_problems_total{code="internal"}"#, 0.0),
            (
                r#"holdfast_http_requests_total{method="POST",route="/v1/drops/{id}/holds",status="2xx"}"#,
                6.0,
            ),
            (
                r#"holdfast_http_requests_total{method="POST",route="/v1/drops/{id}/holds",status="4xx"}"#,
                3.0,
            ),
            (
                r#"holdfast_http_request_duration_seconds_count{method="POST",route="/v1/drops/{id}/holds"}"#,
                9.0,
            ),
            (
                r#"holdfast_http_requests_total{method="DELETE",route="/v1/holds/{id}",status="2xx"}"#,
                1.0,
            ),
            (
                r#"holdfast_http_requests_total{method="GET",route="none",status="4xx"}"#,
                1.0,
            ),
            ("holdfast_engine_up", 1.0),
            ("holdfast_log_outages_total", 0.0),
            ("holdfast_stream_watchers", 0.0),
            ("holdfast_log_head_position", 13.0),
            // A drop, an edit, six holds, and the resolution of four of them.
            ("holdfast_log_append_events_sum", 13.0),
        ],
    );
    let appends = scrape.get(r#"holdfast_log_appends_total{outcome="committed"}"#);
    assert!((1.0..=12.0).contains(&appends), "{appends}");
    assert_eq!(
        scrape.get("holdfast_log_append_duration_seconds_count"),
        appends
    );
    let confirmed = scrape.get(r#"holdfast_log_appends_total{outcome="confirmed"}"#);
    assert!(
        confirmed >= 1.0,
        "refusals are confirmed against the log: {confirmed}"
    );
    let again = Scrape::of(&app).await;
    let scrapes = r#"holdfast_http_requests_total{method="GET",route="/metrics",status="2xx"}"#;
    assert_eq!(
        (scrape.get(scrapes), again.get(scrapes)),
        (0.0, 1.0),
        "a scrape is counted after its response"
    );
}

#[tokio::test]
async fn projection_lag_falls_and_watchers_are_counted() {
    let app = App::start().await;
    app.create_drop(3, json!({})).await;
    let mut watcher = app.watch("").await;
    watcher.drop().await;
    // The drop was scheduled and has started.
    let head = 2.0;
    eventually("the tables are at the head", || async {
        let scrape = Scrape::of(&app).await;
        let is_there = ["live_stock", "top_purchasers", "sales_timeline"]
            .iter()
            .all(|name| {
                let of = |figure: &str| {
                    scrape.get(&format!(
                        "holdfast_projection_{figure}{{projection=\"{name}\"}}"
                    ))
                };
                of("checkpoint_position") == head && of("lag_events") == 0.0 && of("halted") == 0.0
            });
        (is_there && scrape.get("holdfast_stream_watchers") == 1.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn only_counts_from_the_log_survive_a_restart() {
    let app = App::start().await;
    some_sales(&app).await;
    let app = app.restart().await;
    same(
        &Scrape::of(&app).await,
        &[
            ("holdfast_holds_placed_total", 6.0),
            ("holdfast_units_sold_total", 3.0),
            ("holdfast_open_holds", 2.0),
            ("holdfast_held_units", 3.0),
            (r#"holdfast_events_appended_total{type="HoldPlaced"}"#, 0.0),
            ("holdfast_oversell_attempts_blocked_total", 0.0),
            (r#"holdfast_problems_total{code="sold_out"}"#, 0.0),
        ],
    );
}

#[tokio::test]
async fn no_client_input_becomes_a_label() {
    let app = Launch::fresh().await.start().await;
    let drop = app.create_drop(3, json!({ "name": "Quince" })).await;
    app.held(&drop, "zebedee@example.org").await;
    app.get("/v1/drops/quokka")
        .await
        .problem(404, "drop_not_found");
    app.get("/quagga/..%2f").await.any_problem();
    let method = Method::from_bytes(b"QUIBBLE").unwrap();
    fetch(app.request(method, "/v1/drops"))
        .await
        .problem(405, "method_not_allowed");
    let before = app.get("/metrics").await.text();
    for secret in [
        "zebedee",
        "Quince",
        "quokka",
        "quagga",
        "QUIBBLE",
        drop.as_str(),
        "127.0.0.1",
    ] {
        assert!(!before.contains(secret), "{secret} is in\n{before}");
    }
    assert!(
        before.contains(r#"{method="other",route="/v1/drops",status="4xx"} 1"#),
        "{before}"
    );
    let series = |text: &str| {
        Scrape::parse(text)
            .samples
            .into_keys()
            .collect::<BTreeSet<_>>()
    };
    app.get("/metrics").await;
    let settled = series(&app.get("/metrics").await.text());
    for number in 0..50 {
        app.get(&format!("/v1/drops/{number}")).await.any_problem();
        app.get(&format!("/{number}")).await.any_problem();
        fetch(app.request(
            Method::from_bytes(format!("M{number}").as_bytes()).unwrap(),
            "/v1/drops",
        ))
        .await
        .any_problem();
    }
    assert_eq!(series(&app.get("/metrics").await.text()), settled);
}

#[tokio::test]
async fn orders_are_counted_by_status_from_the_log() {
    let app = App::start().await;
    let drop = app.create_drop(9, json!({ "hold_seconds": 3600 })).await;
    let mut orders = vec![];
    for buyer in ["ann", "bob", "cid"] {
        let items = json!([{ "drop_id": drop, "quantity": 1 }]);
        let order = app
            .request(Method::POST, "/v1/orders")
            .header("idempotency-key", harness::key());
        let order = fetch(order.json(&json!({ "buyer_id": buyer, "items": items }))).await;
        orders.push(text(&order.ok(201)["id"]));
    }
    let post = |order: &str, step: &str| {
        let path = format!("/v1/orders/{order}/{step}");
        fetch(app.request(Method::POST, &path))
    };
    post(&orders[0], "purchase").await.ok(200);
    post(&orders[1], "cancel").await.ok(200);
    let shipped = app.admin(Method::PATCH, &format!("/v1/orders/{}", orders[0]));
    fetch(shipped.json(&json!({ "fulfilment": "shipped" })))
        .await
        .ok(200);
    let counts = [
        (r#"holdfast_orders{status="pending"}"#, 1.0),
        (r#"holdfast_orders{status="paid"}"#, 1.0),
        (r#"holdfast_orders{status="cancelled"}"#, 1.0),
        (r#"holdfast_orders{status="expired"}"#, 0.0),
        ("holdfast_orders_placed_total", 3.0),
        ("holdfast_orders_paid_total", 1.0),
        ("holdfast_orders_cancelled_total", 1.0),
        ("holdfast_orders_expired_total", 0.0),
        ("holdfast_order_fulfilments_total", 1.0),
        ("holdfast_quarantined_orders", 0.0),
        ("holdfast_stopped_tasks", 0.0),
    ];
    same(&Scrape::of(&app).await, &counts);
    let app = app.restart().await;
    same(&Scrape::of(&app).await, &counts);
}

#[tokio::test]
async fn waitlists_changed_holds_and_connections_are_measured() {
    let launch = Launch::fresh().await;
    let app = launch
        .with("HOLDFAST_UNLIMITED_NETWORKS", "none")
        .with("HOLDFAST_MAX_CONNECTIONS_PER_ADDRESS", "3")
        .start()
        .await;
    let drop = app.create_drop(2, json!({ "max_per_hold": 2 })).await;
    let two = json!({ "buyer_id": "ann", "quantity": 2 });
    let hold = app.hold_with(&drop, &harness::key(), &two).await.ok(201);
    app.joined(&drop, "bob", 1).await;
    app.joined(&drop, "cid", 1).await;
    let counts = |open: f64, held: f64, waiting: f64| {
        [
            ("holdfast_open_holds", open),
            ("holdfast_held_units", held),
            ("holdfast_waitlist_entries", waiting),
        ]
    };
    same(&Scrape::of(&app).await, &counts(1.0, 2.0, 2.0));
    // One unit returns and is offered to the first entry.
    let change = app.request(Method::PATCH, &format!("/v1/holds/{}", text(&hold["id"])));
    fetch(change.json(&json!({ "quantity": 1 }))).await.ok(200);
    eventually("the unit is offered", || async {
        let scrape = Scrape::of(&app).await;
        (scrape.get("holdfast_open_holds") == 2.0).then_some(())
    })
    .await;
    let scrape = Scrape::of(&app).await;
    same(&scrape, &counts(2.0, 2.0, 1.0));
    let version = format!(
        "holdfast_build_info{{version=\"{}\"}}",
        env!("CARGO_PKG_VERSION")
    );
    let in_use = |pool: &str| {
        let limit = format!("holdfast_database_pool_limit{{pool=\"{pool}\"}}");
        scrape.get(&limit)
    };
    assert_eq!(scrape.get(&version), 1.0);
    assert!(in_use("reads") >= 6.0 && in_use("engine") == 2.0);
    assert!(scrape.get("holdfast_connections_open") >= 1.0);
    assert!(scrape.get("holdfast_connections_accepted_total") >= 1.0);
    let refused = r#"holdfast_connections_refused_total{reason="address"}"#;
    assert_eq!(scrape.get(refused), 0.0);
    let address = app.address().trim_start_matches("http://").to_owned();
    // More connections than the address may have, all open at the same time.
    let connect = || async { TcpStream::connect(&address).await.unwrap() };
    let _open = [
        connect().await,
        connect().await,
        connect().await,
        connect().await,
    ];
    eventually("a connection was refused", || async {
        // The client's own connection was accepted before.
        let scrape = Scrape::of(&app).await;
        (scrape.get(refused) >= 1.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn jobs_of_payments_are_counted_by_kind_and_outcome() {
    let app = App::start().await;
    let drop = app.create_drop(9, json!({ "hold_seconds": 3600 })).await;
    let kinds = [
        "payment_capture",
        "payment_cancel",
        "payment_unknown",
        "refund",
    ];
    let first = Scrape::of(&app).await;
    for kind in kinds {
        for outcome in ["done", "waiting", "failed", "given_up", "lease_lost"] {
            let series = format!(
                r#"holdfast_payment_job_attempts_total{{kind="{kind}",outcome="{outcome}"}}"#
            );
            assert_eq!(first.samples.get(&series), Some(&0.0), "{series}");
        }
        for name in [
            "jobs_pending",
            "jobs_given_up",
            "job_oldest_pending_seconds",
        ] {
            let series = format!(r#"holdfast_payment_{name}{{kind="{kind}"}}"#);
            assert_eq!(first.samples.get(&series), Some(&0.0), "{series}");
        }
    }
    // One payment is captured; the return of another one fails at the provider.
    for (buyer, scenario) in [("ann", "pays"), ("bob", "refund_fails")] {
        let order = app
            .request(Method::POST, "/v1/orders")
            .header("idempotency-key", harness::key());
        let items = json!([{ "drop_id": drop }]);
        let order = order.json(&json!({ "buyer_id": buyer, "items": items }));
        let order = text(&fetch(order).await.ok(201)["id"]);
        let path = format!("/v1/orders/{order}/payments");
        let pay = app.request(Method::POST, &path);
        let pay = pay.header("idempotency-key", harness::key());
        fetch(pay.json(&json!({ "scenario": scenario })))
            .await
            .ok(201);
        eventually("the order is paid", || async {
            let order = app.get(&format!("/v1/orders/{order}")).await.ok(200);
            (order["status"] == "paid").then_some(())
        })
        .await;
        if buyer == "bob" {
            let refund = app.admin(Method::POST, &format!("/v1/orders/{order}/refunds"));
            let refund = refund.header("idempotency-key", harness::key());
            fetch(refund.json(&json!({ "reason": "returned" })))
                .await
                .ok(201);
        }
    }
    let head = eventually("the jobs are counted", || async {
        let scrape = Scrape::of(&app).await;
        let captured =
            r#"holdfast_payment_job_attempts_total{kind="payment_capture",outcome="done"}"#;
        let given_up = r#"holdfast_payment_jobs_given_up{kind="refund"}"#;
        let lag = "holdfast_payment_follower_lag_events";
        let is_counted = scrape.get(captured) >= 2.0
            && scrape.get(given_up) == 1.0
            && scrape.samples.get(lag) == Some(&0.0);
        is_counted.then(|| scrape.get("holdfast_log_head_position"))
    })
    .await;
    let settled = Scrape::of(&app).await;
    assert_eq!(settled.get("holdfast_payment_follower_position"), head);
    same(
        &settled,
        &[
            (r#"holdfast_payment_jobs_pending{kind="refund"}"#, 0.0),
            (
                r#"holdfast_payment_jobs_pending{kind="payment_capture"}"#,
                0.0,
            ),
            (
                r#"holdfast_payment_job_oldest_pending_seconds{kind="refund"}"#,
                0.0,
            ),
        ],
    );
}
