//! The database becomes unavailable: clients immediately get 503 with Retry-After, reads continue,
//! and nothing is lost.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use harness::{AUDITOR_KEY, App, Launch, Reply, Tunnel, eventually, fetch, key, tally, text};
use private_postgres::testing::{fresh_database, url_for};
use reqwest::{Method, RequestBuilder};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use tokio::task::JoinSet;

/// A separate connection to the database server, which is not cut with the database.
async fn operator() -> PgConnection {
    PgConnection::connect(&url_for("postgres").await)
        .await
        .unwrap()
}

async fn database_of(app: &App) -> String {
    sqlx::query_scalar("SELECT current_database()::text")
        .fetch_one(app.pool())
        .await
        .unwrap()
}

/// Ends every connection to `database` and returns their number.
async fn cut(operator: &mut PgConnection, database: &str) -> i64 {
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $1";
    sqlx::query_scalar(sql)
        .bind(database)
        .fetch_one(operator)
        .await
        .unwrap()
}

/// Ends the connections of a busy server, which may have none at the moment of the query.
async fn cut_in_mid_load(operator: &mut PgConnection, database: &str) {
    loop {
        if cut(operator, database).await > 0 {
            return;
        }
        tokio::task::yield_now().await;
    }
}

async fn allow(operator: &mut PgConnection, database: &str, allowed: bool) {
    let sql = format!("ALTER DATABASE \"{database}\" WITH ALLOW_CONNECTIONS {allowed}");
    sqlx::query(&sql).execute(operator).await.unwrap();
}

fn export_of(app: &App) -> RequestBuilder {
    let request = app.request(Method::GET, "/v1/log");
    let request = request.header("accept", "application/x-ndjson");
    request.bearer_auth(AUDITOR_KEY)
}

fn assert_unavailable_with_retry_after(reply: &Reply) {
    reply.problem(503, "unavailable");
    assert!(
        reply
            .header("retry-after")
            .parse::<u32>()
            .is_ok_and(|seconds| seconds > 0),
        "{reply:?}"
    );
}

#[tokio::test]
async fn connections_cut_under_load_lose_no_hold_and_cause_no_500() {
    let app = App::start().await;
    let database = database_of(&app).await;
    let mut operator = operator().await;
    let drop = app
        .create_drop(1_000_000, json!({ "hold_seconds": 3600 }))
        .await;
    let enough = Arc::new(AtomicBool::new(false));
    let mut buyers = JoinSet::new();
    for buyer in 0..16 {
        let (api, drop, enough) = (app.api(), drop.clone(), Arc::clone(&enough));
        let body = json!({ "buyer_id": format!("buyer-{buyer}") });
        buyers.spawn(async move {
            let mut replies = vec![];
            while !enough.load(Ordering::SeqCst) {
                // Well-behaved clients repeat a request with the same key until it is answered.
                let key = key();
                loop {
                    let reply = api.hold_with(&drop, &key, &body).await;
                    let is_answered = reply.status == 201;
                    replies.push(reply);
                    if is_answered {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            }
            replies
        });
    }

    for round in 1..=10 {
        eventually("holds are placed", || async {
            (app.stock(&drop).await[2] >= round * 50).then_some(())
        })
        .await;
        cut_in_mid_load(&mut operator, &database).await;
    }
    let served = app.stock(&drop).await[2];
    eventually("holds are placed again", || async {
        (app.stock(&drop).await[2] > served + 50).then_some(())
    })
    .await;
    enough.store(true, Ordering::SeqCst);
    let replies: Vec<Reply> = buyers.join_all().await.into_iter().flatten().collect();

    for reply in replies.iter().filter(|reply| reply.status != 201) {
        assert_unavailable_with_retry_after(reply);
    }
    let holds: Vec<String> = replies
        .iter()
        .filter(|reply| reply.status == 201)
        .map(|reply| text(&reply.json()["id"]))
        .collect();
    let ledger = app.ledger().await;
    assert!(
        holds.iter().all(|hold| ledger.has_hold(hold)),
        "{:?}",
        tally(&replies)
    );
    assert_eq!(
        ledger.count(&drop, "HoldPlaced"),
        holds.len(),
        "one hold per key: {:?}",
        tally(&replies)
    );
    app.audit_verify().await;
}

#[tokio::test]
async fn server_without_its_database_rejects_writes_serves_reads_and_recovers() {
    let app = App::start().await;
    let database = database_of(&app).await;
    let mut operator = operator().await;
    let drop = app.create_drop(10, json!({ "hold_seconds": 3600 })).await;
    let hold = app.held(&drop, "alice").await;
    let mut watcher = app.watch("").await;
    watcher.drop().await;
    app.pool().close().await;

    allow(&mut operator, &database, false).await;
    cut(&mut operator, &database).await;
    eventually("the server detects the outage", || async {
        (app.get("/health/ready").await.status == 503).then_some(())
    })
    .await;

    assert_unavailable_with_retry_after(&app.get("/health/ready").await);
    assert_eq!(app.get("/health/live").await.status, 200);
    assert_unavailable_with_retry_after(&app.hold(&drop, "bob").await);
    let standing = app.get(&format!("/v1/drops/{drop}/buyers/alice")).await;
    assert_unavailable_with_retry_after(&standing);
    assert!(
        !standing.text().contains("recorded"),
        "requests record nothing: {}",
        standing.text()
    );
    assert_unavailable_with_retry_after(&app.purchase(&hold).await);
    assert_unavailable_with_retry_after(&app.release(&hold).await);
    assert_unavailable_with_retry_after(
        &app.post_drop(
            &json!({ "name": "n", "price": { "amount": 1, "currency": "USD" }, "total_stock": 1 }),
        )
        .await,
    );
    assert_unavailable_with_retry_after(&app.audit("/v1/log").await);
    assert_unavailable_with_retry_after(&app.audit("/v1/log/head").await);
    assert_unavailable_with_retry_after(&fetch(export_of(&app)).await);
    let erase = app.admin(
        reqwest::Method::DELETE,
        "/v1/admin/buyers/carol%40example.org",
    );
    let erased = fetch(erase).await;
    assert_unavailable_with_retry_after(&erased);
    assert!(
        erased.text().contains("outcome of the erasure is unknown"),
        "{}",
        erased.text()
    );
    let words = eventually("the failure is logged", || async {
        Some(app.stderr()).filter(|words| words.contains("erasure of a buyer failed"))
    })
    .await;
    assert!(!words.contains("carol"), "{words}");
    assert_eq!(app.stock(&drop).await, [10, 9, 1, 0]);
    assert_eq!(app.read_hold(&hold).await.ok(200)["status"], "held");
    assert_eq!(
        app.get("/v1/drops").await.ok(200)["data"][0]["id"],
        drop.as_str()
    );
    assert_eq!(app.watch("").await.drop().await.json()["id"], drop.as_str());
    assert_eq!(app.get("/").await.status, 200);

    allow(&mut operator, &database, true).await;
    eventually("the server recovers", || async {
        (app.get("/health/ready").await.status == 200).then_some(())
    })
    .await;
    assert_eq!(app.purchase(&hold).await.status, 201);
    app.held(&drop, "bob").await;
    watcher
        .until(|state| state["stock"]["held"] == 1 && state["stock"]["sold"] == 1)
        .await;
    app.audit_verify().await;
}

async fn eventually_ready(app: &App, status: u16) {
    eventually("readiness reports the state", || async {
        (app.get("/health/ready").await.status == status).then_some(())
    })
    .await;
}

/// Successive writes are all recorded, and the server reports itself ready.
async fn assert_back(app: &App, drop: &str) {
    for buyer in 0..12 {
        let reply = app.hold(drop, &format!("buyer-{buyer}-{}", key())).await;
        assert_eq!(reply.status, 201, "{buyer}: {}", reply.text());
        assert_eq!(app.get("/health/ready").await.status, 200, "{buyer}");
    }
}

#[tokio::test]
async fn recovered_server_uses_no_stale_connection() {
    let tunnel = Tunnel::to(fresh_database().await).await;
    let app = Launch::on(tunnel.database()).start().await;
    let drop = app
        .create_drop(1_000, json!({ "hold_seconds": 3600 }))
        .await;
    for outage in [Tunnel::cut, Tunnel::stall] {
        assert_back(&app, &drop).await;
        outage(&tunnel);
        eventually_ready(&app, 503).await;
        tunnel.restore();
        eventually_ready(&app, 200).await;
        assert_back(&app, &drop).await;
        assert_eq!(app.audit("/v1/log").await.status, 200);
    }
    app.audit_verify().await;
}

#[tokio::test]
async fn servers_with_append_turns_recover_together() {
    let tunnel = Tunnel::to(fresh_database().await).await;
    let here = Launch::on(tunnel.database()).start().await;
    let there = Launch::on(tunnel.database()).start().await;
    let drop = here
        .create_drop(1_000, json!({ "hold_seconds": 3600 }))
        .await;
    eventually("the other server knows the drop", || async {
        (there.get(&format!("/v1/drops/{drop}")).await.status == 200).then_some(())
    })
    .await;
    for outage in [Tunnel::cut, Tunnel::stall] {
        // Both have conflicts, and use append turns from then on.
        harness::concurrently((0..40).map(|buyer| {
            let api = if buyer % 2 == 0 {
                here.api()
            } else {
                there.api()
            };
            let (drop, buyer) = (drop.clone(), format!("buyer-{buyer}-{}", key()));
            async move { api.hold(&drop, &buyer).await.ok(201) }
        }))
        .await;
        outage(&tunnel);
        for app in [&here, &there] {
            eventually_ready(app, 503).await;
        }
        tunnel.restore();
        for app in [&here, &there] {
            eventually_ready(app, 200).await;
        }
        for app in [&here, &there] {
            assert_back(app, &drop).await;
        }
    }
    here.audit_verify().await;
}

#[tokio::test]
async fn retry_after_an_outage_gets_the_outcome_of_the_first_request() {
    let app = App::start().await;
    let database = database_of(&app).await;
    let mut operator = operator().await;
    let drop = app.create_drop(10, json!({ "hold_seconds": 3600 })).await;
    let (key, body) = (key(), json!({ "buyer_id": "alice" }));
    // The lock on the head delays the append; the cut then leaves its outcome unknown to the
    // server.
    let mut blocker = PgConnection::connect(app.launch().database_url().unwrap())
        .await
        .unwrap();
    let mut lock = blocker.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM log_head FOR UPDATE")
        .execute(&mut *lock)
        .await
        .unwrap();
    let first = {
        let (api, drop, key, body) = (app.api(), drop.clone(), key.clone(), body.clone());
        tokio::spawn(async move { api.hold_with(&drop, &key, &body).await })
    };
    eventually("the append waits for the lock", || async {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock'",
        )
        .bind(&database)
        .fetch_one(app.pool())
        .await
        .unwrap();
        (waiting > 0).then_some(())
    })
    .await;
    cut(&mut operator, &database).await;
    std::mem::drop(lock);

    let first = first.await.unwrap();
    if first.status != 201 {
        assert_unavailable_with_retry_after(&first);
    }
    let hold = eventually("the retry is answered", || async {
        let reply = app.hold_with(&drop, &key, &body).await;
        if reply.status != 201 {
            assert_unavailable_with_retry_after(&reply);
            return None;
        }
        Some(text(&reply.json()["id"]))
    })
    .await;

    let ledger = app.ledger().await;
    assert_eq!(ledger.count(&drop, "HoldPlaced"), 1);
    assert!(ledger.has_hold(&hold));
    app.audit_verify().await;
}

/// Counts sessions of the server that wait for a lock.
async fn waiting_sessions(app: &App, database: &str) -> i64 {
    sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock'",
    )
    .bind(database)
    .fetch_one(app.pool())
    .await
    .unwrap()
}

/// The append of a purchase stalls, and its caller gets 503. Neither that response nor those of
/// later requests for the same hold may deny the purchase, because the log gets it after all.
#[tokio::test]
async fn no_503_denies_a_purchase_that_is_recorded_after_all() {
    let app = App::start().await;
    let database = database_of(&app).await;
    let drop = app.create_drop(10, json!({ "hold_seconds": 3600 })).await;
    let (bought, other) = (app.held(&drop, "alice").await, app.held(&drop, "bob").await);
    let mut blocker = PgConnection::connect(app.launch().database_url().unwrap())
        .await
        .unwrap();
    let mut lock = blocker.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM log_head FOR UPDATE")
        .execute(&mut *lock)
        .await
        .unwrap();
    let first = {
        let (api, hold) = (app.api(), bought.clone());
        tokio::spawn(async move { api.purchase(&hold).await })
    };
    eventually("the purchase's append waits for the lock", || async {
        (waiting_sessions(&app, &database).await > 0).then_some(())
    })
    .await;
    // Its batch is on its way, so it is not known whether it is recorded.
    let first = first.await.unwrap();
    assert_unavailable_with_retry_after(&first);
    assert!(first.text().contains("unknown whether"), "{}", first.text());
    // Later requests are rejected while the outcome is unknown.
    let rejected = eventually("the server has detected the outage", || async {
        let replies = [
            app.purchase(&bought).await,
            app.release(&bought).await,
            app.release(&other).await,
            app.hold(&drop, "carol").await,
        ];
        let is_detected = replies
            .iter()
            .all(|reply| reply.text().contains("unreachable"));
        is_detected.then_some(replies)
    })
    .await;
    for reply in &rejected {
        assert_unavailable_with_retry_after(reply);
        let words = reply.text();
        let claim = "This request was not recorded; an earlier attempt may have been.";
        assert!(words.contains(claim), "{words}");
        assert!(!words.contains("Nothing was recorded"), "{words}");
    }
    lock.rollback().await.unwrap();
    // The log has the first purchase, once, and none of the rejected requests.
    let again = eventually("the retry gets the outcome", || async {
        let reply = app.purchase(&bought).await;
        (reply.status != 503).then_some(reply)
    })
    .await;
    assert!([200, 201].contains(&again.status), "{}", again.text());
    let ledger = app.ledger().await;
    assert_eq!(ledger.count(&drop, "PurchaseConfirmed"), 1);
    assert_eq!(ledger.count(&drop, "HoldReleased"), 0);
    assert_eq!(ledger.count(&drop, "HoldPlaced"), 2);
    app.audit_verify().await;
}
