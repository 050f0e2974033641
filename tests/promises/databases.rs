//! Databases as shops have them: read-only, limited, restored in part, with timeouts of their own,
//! with several hosts.
//!
//! Promise: a server that cannot append ends its start with one sentence that says what to change;
//! a database that becomes read-only later makes it unready, and it recovers by itself.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use harness::{ADMIN_KEY, AUDITOR_KEY, App, Finished, Launch, Reply, eventually, fetch, key};
use private_postgres::testing::replication::{Pair, until_count, waiting_for_standby};
use private_postgres::testing::{TestDatabase, fresh_database, url_for};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};

const SERVE: [&str; 3] = ["serve", "--listen", "127.0.0.1:0"];

async fn name_of(database: &TestDatabase) -> String {
    sqlx::query_scalar("SELECT current_database()::text")
        .fetch_one(&database.pool)
        .await
        .unwrap()
}

/// A migrated database, on which each statement is executed afterwards.
async fn changed(statements: &[&str]) -> TestDatabase {
    let database = fresh_database().await;
    let migrated = Launch::on(database.clone()).run(&["migrate"]).await;
    assert_eq!(migrated.code, Some(0), "{migrated:?}");
    let name = name_of(&database).await;
    for statement in statements {
        let statement = statement.replace("{name}", &name);
        database.pool.execute(statement.as_str()).await.unwrap();
    }
    database.pool.close().await;
    database
}

#[track_caller]
fn assert_sentence(refused: &Finished, words: &[&str]) {
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let lines: Vec<&str> = refused.stderr.lines().collect();
    // After the steps of the start.
    let lines: Vec<&str> = lines
        .into_iter()
        .filter(|line| !line.contains(" INFO "))
        .collect();
    assert_eq!(lines.len(), 1, "one sentence: {}", refused.stderr);
    assert!(lines[0].starts_with("holdfast: "), "{}", lines[0]);
    for words in words {
        assert!(lines[0].contains(words), "{words}: {}", lines[0]);
    }
}

#[tokio::test]
async fn start_on_a_database_that_accepts_no_appends_ends_with_one_sentence() {
    let unguarded = "ALTER TABLE log_head DISABLE TRIGGER USER";
    for (statements, words) in [
        (
            &["ALTER DATABASE \"{name}\" SET default_transaction_read_only = on"][..],
            &["default_transaction_read_only is on", "set it to off"][..],
        ),
        (
            &[unguarded, "DELETE FROM log_head"],
            &["the log has no head", "docs/LOG_REFUSED.md"],
        ),
        (
            &[unguarded, "UPDATE log_head SET position = 7"],
            &["is at position 7, but its last event is at position 0"],
        ),
    ] {
        let launch = Launch::on(changed(statements).await);
        assert_sentence(&launch.run(&SERVE).await, words);
    }
}

/// A role of its own, with this limit of connections, and the address with it.
async fn limited(database: &TestDatabase, connections: u32) -> (String, Launch) {
    let role = format!("limited_{}", key().replace('-', ""));
    let create = format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'secret' CONNECTION LIMIT {connections} IN ROLE holdfast_writer"
    );
    database.pool.execute(create.as_str()).await.unwrap();
    let mut url: reqwest::Url = database.url.parse().unwrap();
    url.set_username(&role).unwrap();
    url.set_password(Some("secret")).unwrap();
    let launch = Launch::on(database.clone()).with("DATABASE_URL", url.as_str());
    (role, launch)
}

#[tokio::test]
async fn role_with_few_connections_is_refused_or_the_pool_shrinks() {
    let database = changed(&[]).await;
    let owner = Launch::on(database.clone()).start().await;
    let pool = sqlx::PgPool::connect(&database.url).await.unwrap();
    let database = TestDatabase {
        url: database.url,
        pool: pool.clone(),
    };
    for connections in [0, 4, 9] {
        let (role, launch) = limited(&database, connections).await;
        let refused = launch.run(&SERVE).await;
        match connections {
            0 => assert_sentence(&refused, &["no free connection", &role]),
            _ => assert_sentence(
                &refused,
                &[
                    &format!("grants {connections} connections"),
                    "at least 10",
                    &format!("ALTER ROLE \"{role}\" CONNECTION LIMIT"),
                ],
            ),
        }
    }
    let (_, launch) = limited(&database, 10).await;
    let app = launch.start().await;
    app.wait_for_log("HOLDFAST_CONNECTIONS is lowered from 10 to 6")
        .await;
    let drop = app.create_drop(3, json!({})).await;
    let hold = app.held(&drop, "ann").await;
    app.purchase(&hold).await.ok(201);
    // Its projections and erasures take what is left, and the engine keeps what it has.
    eventually("the tables have caught up", || async {
        let ready = app.get("/health/ready").await.ok(200);
        is_caught_up(&ready).then_some(())
    })
    .await;
    assert_eq!(erase(&app, "ann").await.status, 204);
    app.stop().await;
    owner.stop().await;
}

fn is_caught_up(ready: &Value) -> bool {
    let projections = ready["projections"].as_object().unwrap();
    let position = &ready["position"];
    projections
        .values()
        .all(|one| &one["checkpoint"] == position)
}

async fn erase(app: &App, buyer: &str) -> Reply {
    let path = format!("/v1/admin/buyers/{buyer}");
    fetch(app.admin(Method::DELETE, &path)).await
}

#[tokio::test]
async fn timeouts_of_the_database_end_nothing() {
    let database = changed(&[
        "ALTER DATABASE \"{name}\" SET statement_timeout = '250ms'",
        "ALTER DATABASE \"{name}\" SET lock_timeout = '50ms'",
        "ALTER DATABASE \"{name}\" SET idle_in_transaction_session_timeout = '250ms'",
        // Each append lasts longer than that.
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             PERFORM pg_sleep(0.4); RETURN NEW; END $$",
        "CREATE TRIGGER dawdle BEFORE UPDATE ON log_head FOR EACH ROW EXECUTE FUNCTION dawdle()",
    ])
    .await;
    let app = Launch::on(database).start().await;
    let drop = app.create_drop(3, json!({})).await;
    let hold = app.held(&drop, "ann").await;
    app.purchase(&hold).await.ok(201);
    eventually("the tables have caught up", || async {
        is_caught_up(&app.get("/health/ready").await.ok(200)).then_some(())
    })
    .await;
    assert!(!app.stderr().contains("timeout"), "{}", app.stderr());
    app.audit_verify().await;
}

#[tokio::test]
async fn read_only_spell_is_reported_and_leaves_nothing_behind() {
    let database = fresh_database().await;
    let app = Launch::on(database.clone()).start().await;
    let drop = app.create_drop(100, json!({ "hold_seconds": 3600 })).await;
    app.held(&drop, "ann").await;
    let name = name_of(&database).await;
    let set = |value: &str| {
        format!("ALTER DATABASE \"{name}\" SET default_transaction_read_only = {value}")
    };
    let end_sessions = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()";
    // In another database, which stays writable.
    let mut operator = PgConnection::connect(&url_for("postgres").await)
        .await
        .unwrap();
    operator.execute(set("on").as_str()).await.unwrap();
    database.pool.execute(end_sessions).await.unwrap();

    let ready = eventually("readiness has the reason", || async {
        let reply = app.get("/health/ready").await;
        if reply.status == 200 {
            return None;
        }
        let problem = reply.problem(503, "unavailable");
        (problem["reason"] == "read_only").then_some(problem)
    })
    .await;
    let detail = ready["detail"].as_str().unwrap();
    assert!(detail.contains("default_transaction_read_only"), "{detail}");
    for buyer in ["ann", "bob"] {
        let refused = app.hold(&drop, buyer).await;
        refused.problem(503, "unavailable");
        assert!(!refused.header("retry-after").is_empty());
    }
    erase(&app, "ann").await.problem(503, "unavailable");
    assert_eq!(app.stock(&drop).await, [100, 99, 1, 0]);

    operator.execute(set("off").as_str()).await.unwrap();
    eventually("the server recovers", || async {
        (app.get("/health/ready").await.status == 200).then_some(())
    })
    .await;
    app.held(&drop, "bob").await;
    for round in 0..20 {
        let erased = erase(&app, &format!("nobody-{round}")).await;
        assert_eq!(erased.status, 204, "{round}: {}", erased.text());
    }
    assert_eq!(erase(&app, "ann").await.status, 204);
    eventually("the tables have caught up", || async {
        is_caught_up(&app.get("/health/ready").await.ok(200)).then_some(())
    })
    .await;
    app.audit_verify().await;
}

/// The directory of the server's socket.
fn socket_of(database: &TestDatabase) -> String {
    let url: reqwest::Url = database.url.parse().unwrap();
    let host = url.query_pairs().find(|(name, _)| name == "host");
    host.unwrap().1.into_owned()
}

#[tokio::test]
async fn of_several_hosts_the_primary_is_followed_and_required_standbys_are_missed() {
    let mut pair = Pair::start().await;
    let database = pair.fresh_database().await;
    let name = name_of(&database).await;
    let standby = pair.on_standby(&database);
    let hosts = format!("{},{}", socket_of(&standby), socket_of(&database));
    let url = |attributes: &str| {
        format!("postgres://holdfast@localhost/{name}?host={hosts}&sslmode=disable{attributes}")
    };
    let launch = Launch::on(database.clone()).with("DATABASE_URL", &url(""));
    let app = launch
        .clone()
        .with("HOLDFAST_REQUIRE_SYNC", "1")
        .start()
        .await;
    let drop = app.create_drop(100, json!({ "hold_seconds": 3600 })).await;
    app.held(&drop, "ann").await;

    // A standby alone, or by name, is refused in one sentence; an auditor may read it.
    pair.until_replayed().await;
    let of_standby = Launch::on(standby.clone());
    assert_sentence(&of_standby.run(&SERVE).await, &["in recovery (a standby)"]);
    let wanted = launch
        .clone()
        .with("DATABASE_URL", &url("&target_session_attrs=standby"));
    let refused = wanted.run(&SERVE).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("target_session_attrs"));
    let verified = wanted.run(&["audit", "verify"]).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
    let dead = format!("postgres://127.0.0.1:1,127.0.0.1:2/{name}");
    let refused = launch.clone().with("DATABASE_URL", &dead).run(&SERVE).await;
    assert_sentence(&refused, &["127.0.0.1:1 ", "127.0.0.1:2 "]);

    // Without its standby the server is not ready, and acknowledges nothing.
    pair.stop_standby();
    eventually("readiness has the reason", || async {
        let reply = app.get("/health/ready").await;
        (reply.status == 503 && reply.json()["reason"] == "synchronous_standbys").then_some(())
    })
    .await;
    app.hold(&drop, "bob").await.problem(503, "unavailable");
    pair.start_standby().await;
    eventually("the server recovers", || async {
        (app.get("/health/ready").await.status == 200).then_some(())
    })
    .await;
    app.held(&drop, "bob").await;
    app.stop().await;

    // One standby is not two: the server starts when there are two.
    let strict = launch.clone().with("HOLDFAST_REQUIRE_SYNC", "2");
    let mut waiting = strict.command(&SERVE);
    let mut waiting = waiting
        .env("HOLDFAST_ADMIN_KEY", "k".repeat(40))
        .spawn()
        .unwrap();
    let mut lines = std::io::BufReader::new(waiting.stderr.take().unwrap());
    let words = "HOLDFAST_REQUIRE_SYNC is 2, but synchronous_standby_names asks for 1";
    let said = tokio::task::spawn_blocking(move || {
        let mut all = String::new();
        while !all.contains(words) {
            let read = std::io::BufRead::read_line(&mut lines, &mut all).unwrap();
            assert!(read > 0, "it waits: {all}");
        }
        all
    });
    let said = said.await.unwrap();
    assert!(said.contains("waiting to start"), "{said}");
    waiting.kill().unwrap();
    waiting.wait().unwrap();

    // The primary dies, the other host is promoted: no restart.
    let app = launch.start().await;
    let served = app.held(&drop, "carol").await;
    pair.kill_primary();
    eventually("the server detects it", || async {
        (app.get("/health/ready").await.status == 503).then_some(())
    })
    .await;
    pair.promote().await;
    eventually("the server is ready on the other host", || async {
        (app.get("/health/ready").await.status == 200).then_some(())
    })
    .await;
    app.wait_for_log("the database's primary is").await;
    assert_eq!(app.read_hold(&served).await.ok(200)["status"], "held");
    app.held(&drop, "dave").await;
    assert_eq!(erase(&app, "dave").await.status, 204);
    let head = app
        .request(Method::GET, "/v1/log/head")
        .bearer_auth(AUDITOR_KEY);
    assert_eq!(fetch(head).await.status, 200);
    app.audit_verify().await;
}

/// Places a hold, by one request and its retries.
async fn eventually_held(app: &App, drop: &str, buyer: &str) {
    let (key, body) = (key(), json!({ "buyer_id": buyer }));
    eventually("the hold is acknowledged", || async {
        let reply = app.hold_with(drop, &key, &body).await;
        if reply.status != 201 {
            reply.problem(503, "unavailable");
        }
        (reply.status == 201).then_some(())
    })
    .await;
}

#[tokio::test]
async fn former_primary_that_comes_back_is_not_used() {
    let mut pair = Pair::start().await;
    let database = pair.fresh_database().await;
    let name = name_of(&database).await;
    let standby = pair.on_standby(&database);
    // The first primary is the first host.
    let hosts = format!("{},{}", socket_of(&database), socket_of(&standby));
    let url = format!("postgres://holdfast@localhost/{name}?host={hosts}&sslmode=disable");
    let launch = Launch::on(database.clone()).with("DATABASE_URL", &url);
    let app = launch.clone().start().await;
    let drop = app.create_drop(100, json!({ "hold_seconds": 3600 })).await;
    app.held(&drop, "ann").await;
    pair.kill_primary();
    pair.promote().await;
    eventually_held(&app, &drop, "bob").await;

    pair.revive_primary().await;
    let mut former = pair.operator().await;
    let mut present = PgConnection::connect(&standby.url).await.unwrap();
    for round in 0..3 {
        // Every session of the server is opened anew.
        let end_sessions = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()";
        present.execute(end_sessions).await.unwrap();
        eventually_held(&app, &drop, &format!("buyer-{round}")).await;
        assert_eq!(erase(&app, &format!("nobody-{round}")).await.status, 204);
        eventually("the server is ready", || async {
            (app.get("/health/ready").await.status == 200).then_some(())
        })
        .await;
        let sessions = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'");
        until_count(&mut former, &sessions, |sessions| sessions == 0).await;
    }
    assert_eq!(app.stderr().matches("the database's primary is").count(), 2);

    // A server that is started now finds the former primary first. Its data directory knows more.
    app.kept_head().await;
    let refused = launch.run(&SERVE).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let reason = refused.stderr.lines().last().unwrap_or_default();
    assert!(
        reason.contains("acknowledged events are missing"),
        "{reason}"
    );
    // The documented limit: one without such a directory waits, because no standby follows that
    // primary, and acknowledges nothing.
    let elsewhere = Launch::on(database.clone()).with("DATABASE_URL", &url);
    let mut misled = elsewhere.command(&SERVE);
    let mut misled = misled.env("HOLDFAST_ADMIN_KEY", ADMIN_KEY).spawn().unwrap();
    let waiting = waiting_for_standby(&database);
    until_count(&mut former, &waiting, |waiting| waiting > 0).await;
    assert!(misled.try_wait().unwrap().is_none());
    misled.kill().unwrap();
    let output = misled.wait_with_output().unwrap();
    assert!(output.stdout.is_empty(), "it does not listen: {output:?}");
    assert_eq!(app.stock(&drop).await, [100, 95, 5, 0]);
    let on_present = Launch::on(standby);
    let verified = on_present.run(&["audit", "verify"]).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
}
