//! A primary and its synchronous standby: acknowledged results survive a failover, and results that
//! are not replicated are not acknowledged, even if something is restarted or cancelled meanwhile.

use harness::{ADMIN_KEY, AUDITOR_KEY, App, Launch, Reply, Tunnel, eventually, key, text};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use private_postgres::testing::TestDatabase;
use private_postgres::testing::replication::{Pair, count, until_count, waiting_for_standby};
use serde_json::{Value, json};
use sqlx::PgConnection;
use tokio::task::{JoinHandle, spawn_blocking};

/// A pair of databases, a server on it, a drop of ten units, and an acknowledged hold.
struct Shop {
    pair: Pair,
    database: TestDatabase,
    app: App,
    drop: String,
    held: String,
}

impl Shop {
    async fn open() -> Self {
        let pair = Pair::start().await;
        let database = pair.fresh_database().await;
        let app = Launch::on(database.clone()).start().await;
        let drop = app.create_drop(10, json!({ "hold_seconds": 3600 })).await;
        let held = app.held(&drop, "alice").await;
        Self {
            pair,
            database,
            app,
            drop,
            held,
        }
    }

    /// Stops the standby and requests a hold, whose commit then waits for it. Returns the response
    /// to come, and a connection for queries.
    async fn send_unreplicated_hold(
        &mut self,
        attempt: &Attempt,
    ) -> (JoinHandle<Reply>, PgConnection) {
        self.pair.stop_standby();
        let (api, drop, attempt) = (self.app.api(), self.drop.clone(), attempt.clone());
        let response =
            tokio::spawn(async move { api.hold_with(&drop, &attempt.key, &attempt.body).await });
        (response, self.wait_for_blocked_commit().await)
    }

    async fn retry(&self, app: &App, attempt: &Attempt) -> Reply {
        app.hold_with(&self.drop, &attempt.key, &attempt.body).await
    }

    /// Waits until a commit of the server waits for the standby; returns a connection for further
    /// queries.
    async fn wait_for_blocked_commit(&self) -> PgConnection {
        let mut operator = self.pair.operator().await;
        self.until_commits_are_blocked(&mut operator, true).await;
        operator
    }

    async fn until_commits_are_blocked(&self, operator: &mut PgConnection, expected: bool) {
        let is_so = |blocked_commits| (blocked_commits > 0) == expected;
        until_count(operator, &self.blocked_commits(), is_so).await;
    }

    fn blocked_commits(&self) -> String {
        format!(
            "{} AND (query LIKE '%UPDATE log_head%' OR query LIKE '%pg_logical_emit_message%')",
            waiting_for_standby(&self.database)
        )
    }

    /// Fails over and asserts that the first hold and these are in the log.
    async fn assert_promoted_has(mut self, others: &[&str]) {
        self.app.kill();
        self.pair.kill_primary();
        self.pair.revive_standby().await;
        self.pair.promote().await;
        let promoted = self.pair.on_standby(&self.database);
        let app = Launch::on(promoted).start().await;
        let ledger = app.ledger().await;
        for hold in [self.held.as_str()].iter().chain(others) {
            assert!(ledger.has_hold(hold), "{hold} was acknowledged");
        }
        app.audit_verify().await;
    }
}

/// A request and all of its retries.
#[derive(Clone)]
struct Attempt {
    key: String,
    body: Value,
}

fn attempt(buyer: &str) -> Attempt {
    Attempt {
        key: key(),
        body: json!({ "buyer_id": buyer }),
    }
}

#[track_caller]
fn assert_unavailable(reply: &Reply) {
    reply.problem(503, "unavailable");
}

#[track_caller]
fn hold_of(reply: &Reply) -> String {
    assert_eq!(reply.status, 201, "{}", reply.text());
    text(&reply.json()["id"])
}

async fn eventually_held(shop: &Shop, app: &App, attempt: &Attempt) -> String {
    eventually("the hold is acknowledged", || async {
        let reply = shop.retry(app, attempt).await;
        if reply.status == 201 {
            return Some(hold_of(&reply));
        }
        assert_unavailable(&reply);
        None
    })
    .await
}

/// Ends every wait for the standby and asserts that a server then waits again: it did not answer
/// from unreplicated events that it found in the log.
async fn assert_waits_anew(shop: &Shop, operator: &mut PgConnection) {
    let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    count(operator, ended).await;
    let proving = format!(
        "{} AND query LIKE '%pg_logical_emit_message%'",
        shop.blocked_commits()
    );
    until_count(operator, &proving, |blocked_commits| blocked_commits > 0).await;
}

#[tokio::test]
async fn hold_found_after_a_primary_restart_is_acknowledged_once_replicated() {
    let mut shop = Shop::open().await;
    let bob = attempt("bob");
    let (first, _) = shop.send_unreplicated_hold(&bob).await;
    shop.pair.restart_primary().await;
    assert_unavailable(&first.await.unwrap());
    let mut operator = shop.wait_for_blocked_commit().await;
    assert_waits_anew(&shop, &mut operator).await;
    assert_unavailable(&shop.retry(&shop.app, &bob).await);
    let blocked_commits = count(&mut operator, &shop.blocked_commits()).await;
    assert!(
        blocked_commits <= 1,
        "{blocked_commits} sessions of one server wait"
    );

    shop.pair.start_standby().await;
    let bob = eventually_held(&shop, &shop.app, &bob).await;
    shop.assert_promoted_has(&[&bob]).await;
}

#[tokio::test]
async fn only_replicated_holds_are_acknowledged_and_they_survive_a_failover() {
    let mut shop = Shop::open().await;
    let bob = attempt("bob");
    let (first, _) = shop.send_unreplicated_hold(&bob).await;
    shop.pair.restart_primary().await;
    assert_unavailable(&first.await.unwrap());
    shop.assert_promoted_has(&[]).await;
}

#[tokio::test]
async fn server_started_without_the_standby_waits_for_it() {
    let mut shop = Shop::open().await;
    let bob = attempt("bob");
    let (first, _) = shop.send_unreplicated_hold(&bob).await;
    shop.app.kill();
    drop(first.await);
    // The commit of the killed server becomes visible.
    shop.pair.restart_primary().await;
    let launch = shop.app.launch().clone();
    let mut starting = tokio::spawn(launch.start());
    let mut operator = tokio::select! {
        _ = &mut starting => panic!("the server shows events that are not replicated"),
        operator = shop.wait_for_blocked_commit() => operator,
    };
    assert_waits_anew(&shop, &mut operator).await;
    assert!(
        !starting.is_finished(),
        "the server listens without answering"
    );
    shop.pair.start_standby().await;
    let app = starting.await.unwrap();
    let bob = eventually_held(&shop, &app, &bob).await;
    shop.app = app;
    shop.assert_promoted_has(&[&bob]).await;
}

#[tokio::test]
async fn start_stopped_while_waiting_leaves_no_session() {
    let mut shop = Shop::open().await;
    shop.app.kill();
    shop.pair.stop_standby();
    let mut operator = shop.pair.operator().await;
    shop.until_commits_are_blocked(&mut operator, false).await;
    for _ in 0..3 {
        let mut command = shop
            .app
            .launch()
            .command(&["serve", "--listen", "127.0.0.1:0"]);
        let mut starting = command.spawn().unwrap();
        shop.until_commits_are_blocked(&mut operator, true).await;
        let pid = i32::try_from(starting.id()).unwrap();
        kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
        let ended = spawn_blocking(move || starting.wait()).await.unwrap();
        assert_eq!(ended.unwrap().code(), Some(0));
        shop.until_commits_are_blocked(&mut operator, false).await;
    }
}

#[tokio::test]
async fn other_server_neither_replays_nor_shows_an_unreplicated_hold() {
    let mut shop = Shop::open().await;
    let other = Launch::on(shop.database.clone()).start().await;
    let bob = attempt("bob");
    let (first, mut operator) = shop.send_unreplicated_hold(&bob).await;
    // The wait is cancelled: the commit is now visible, and the other server follows.
    let cancelled =
        "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    count(&mut operator, cancelled).await;
    assert_unavailable(&shop.retry(&other, &bob).await);
    eventually("the other server cannot confirm replication", || async {
        (other.get("/health/ready").await.status == 503).then_some(())
    })
    .await;
    assert_unavailable(&shop.retry(&other, &bob).await);
    assert_eq!(other.stock(&shop.drop).await, [10, 9, 1, 0]);
    let head = other
        .request(reqwest::Method::GET, "/v1/log/head")
        .bearer_auth(AUDITOR_KEY);
    assert_unavailable(&harness::fetch(head).await);
    assert_unavailable(&first.await.unwrap());

    shop.pair.start_standby().await;
    let bob_there = eventually_held(&shop, &other, &bob).await;
    let bob_here = eventually_held(&shop, &shop.app, &bob).await;
    assert_eq!(bob_here, bob_there);
    assert_eq!(other.stock(&shop.drop).await, [10, 8, 2, 0]);
    shop.assert_promoted_has(&[&bob_here]).await;
}

#[tokio::test]
async fn server_survives_a_failover_and_continues_to_sell() {
    let mut pair = Pair::start().await;
    let database = pair.fresh_database().await;
    let tunnel = Tunnel::to(database.clone()).await;
    let app = Launch::on(tunnel.database()).start().await;
    let drop = app.create_drop(10, json!({ "hold_seconds": 3600 })).await;
    let alice = app.held(&drop, "alice").await;

    pair.kill_primary();
    let standby = pair.on_standby(&database);
    tunnel.redirect_to(&standby);
    eventually("the server detects the outage", || async {
        (app.get("/health/ready").await.status == 503).then_some(())
    })
    .await;
    // The address now leads to a server that accepts reads but not yet writes.
    pair.revive_standby().await;
    let bob = attempt("bob");
    for _ in 0..3 {
        assert_unavailable(&app.hold_with(&drop, &bob.key, &bob.body).await);
    }
    let erase = app
        .request(reqwest::Method::DELETE, "/v1/admin/buyers/alice")
        .bearer_auth(ADMIN_KEY);
    assert_unavailable(&harness::fetch(erase).await);
    assert_eq!(app.stock(&drop).await, [10, 9, 1, 0]);

    pair.promote().await;
    eventually("it sells again", || async {
        let reply = app.hold_with(&drop, &bob.key, &bob.body).await;
        (reply.status == 201).then_some(())
    })
    .await;
    assert_eq!(app.purchase(&alice).await.status, 201);
    let promoted = Launch::on(standby);
    let verdict = promoted.run(&["audit", "verify"]).await;
    assert_eq!(verdict.code, Some(0), "{verdict:?}");
}
