//! Upgrade readers first: a node of an earlier release survives unknown events and a newer
//! migration.
//!
//! The earlier release is this program with one pair of event type and version hidden from it, by a
//! variable that exists only in test builds. The code is otherwise the same, so both releases run
//! together for the price of one build.

use std::io::{BufRead, BufReader};

use harness::{ADMIN_KEY, App, Launch, eventually, fetch};
use infrastructure::codec::HIDDEN_VARIABLE;
use private_postgres::testing::fresh_database;
use reqwest::Method;
use serde_json::json;
use sqlx::{Connection, Executor, PgConnection, PgPool};
use tokio::task::spawn_blocking;

const HIDDEN: &str = "StockAdjusted 1.0";

async fn status(app: &App, drop: &str) -> u16 {
    app.get(&format!("/v1/drops/{drop}")).await.status
}

#[tokio::test]
async fn earlier_release_survives_events_of_a_later_one() {
    let database = fresh_database().await;
    let later = Launch::on(database.clone()).start().await;
    let launch = Launch::on(database).with(HIDDEN_VARIABLE, HIDDEN);
    let earlier = launch.clone().start().await;
    let changed = later.create_drop(5, json!({ "hold_seconds": 3600 })).await;
    let other = later.create_drop(50, json!({ "hold_seconds": 3600 })).await;
    let hold = later.held(&changed, "alice").await;
    earlier.read_hold(&hold).await.ok(200);

    later.adjust(&changed, 5).await.ok(201);
    eventually(
        "the earlier release puts the drop into quarantine",
        || async { (status(&earlier, &changed).await == 503).then_some(()) },
    )
    .await;
    let problem = earlier.purchase(&hold).await;
    problem.problem(503, "drop_quarantined");
    for buyer in 0..10 {
        earlier.held(&other, &format!("early-{buyer}")).await;
        later.held(&other, &format!("late-{buyer}")).await;
        later.held(&changed, &format!("late-{buyer}")).await;
        if buyer == 8 {
            break;
        }
    }
    assert_eq!(later.stock(&changed).await, [10, 0, 10, 0]);
    // The earlier release also starts after a later migration has been applied.
    later
        .pool()
        .execute(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             VALUES (9999, 'of a later release', true, '', 0)",
        )
        .await
        .unwrap();
    let earlier = earlier.restart().await;
    assert_eq!(status(&earlier, &changed).await, 503);
    earlier.held(&other, "after a restart").await;
    // It must not undo an event that the later release can apply.
    let position = fetch(earlier.request(Method::GET, "/health/ready"))
        .await
        .ok(200)["quarantined"][0]["position"]
        .to_string();
    let void = [
        "log",
        "void",
        "--position",
        &position,
        "--reason",
        "not known here",
        "--yes",
    ];
    let refused = launch.run(&void).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("later release"), "{refused:?}");

    // After its upgrade it continues with the drop.
    let launch = earlier.stop().await;
    let upgraded = launch.with(HIDDEN_VARIABLE, "").start().await;
    assert_eq!(upgraded.stock(&changed).await, [10, 0, 10, 0]);
    upgraded.purchase(&hold).await.ok(201);
    eventually("the tables have everything", || async {
        let verdict = upgraded.launch().run(&["audit", "verify"]).await;
        let is_whole = verdict.code == Some(0) && !verdict.stderr.contains("folded anew");
        is_whole.then_some(())
    })
    .await;
}

#[tokio::test]
async fn later_release_on_an_unmigrated_database_stops_only_itself() {
    let database = fresh_database().await;
    let later = Launch::on(database.clone()).start().await;
    let other = Launch::on(database).start().await;
    let drop = later.create_drop(5, json!({ "hold_seconds": 3600 })).await;
    let definition: String =
        sqlx::query_scalar("SELECT pg_get_functiondef('known_event_types'::regproc)")
            .fetch_one(later.pool())
            .await
            .unwrap();
    // The database as it was before a migration admitted the pair.
    let before = definition.replace("'StockAdjusted 1.0',", "");
    assert_ne!(before, definition);
    later.pool().execute(before.as_str()).await.unwrap();

    let refused = later.adjust(&drop, 5).await;
    let problem = refused.problem(503, "log_refused");
    assert_eq!(problem["position"], 3);
    later.get("/health/ready").await.problem(503, "log_refused");
    assert_eq!(later.stock(&drop).await, [5, 5, 0, 0]);
    other.held(&drop, "alice").await;

    later.pool().execute(definition.as_str()).await.unwrap();
    let later = later.restart().await;
    later.adjust(&drop, 5).await.ok(201);
    later.audit_verify().await;
}

/// Undoes `migrations/0027_appends.sql`, as far as it would fail a second time.
const BEFORE_APPENDS: [&str; 5] = [
    "DROP FUNCTION require_standbys(integer, boolean)",
    "DROP TRIGGER refuse_second_head ON log_head",
    "DROP FUNCTION refuse_second_head()",
    "ALTER TABLE log_head ADD PRIMARY KEY (only_row)",
    "DELETE FROM _sqlx_migrations WHERE version = 27",
];

/// Sessions that wait for a lock on the head, because of a migration: it, and the appends behind
/// it.
async fn migrating(pool: &PgPool) -> i64 {
    let sql = "SELECT count(*) FROM pg_locks WHERE relation = 'log_head'::regclass
         AND mode = 'AccessExclusiveLock' AND NOT granted";
    let waiting = sqlx::query_scalar(sql).fetch_one(pool).await;
    waiting.expect("the database responds")
}

#[tokio::test]
async fn migration_gives_way_to_a_long_dump_and_to_sales() {
    let database = fresh_database().await;
    let app = Launch::on(database.clone()).start().await;
    let drop = app.create_drop(500, json!({ "hold_seconds": 3600 })).await;
    app.held(&drop, "before").await;
    let mut operator = PgConnection::connect(&database.url).await.unwrap();
    let mut undone = operator.begin().await.unwrap();
    for statement in BEFORE_APPENDS {
        undone.execute(statement).await.unwrap();
    }
    undone.commit().await.unwrap();
    // A dump: one snapshot, and a lock on every table until its end.
    let mut dump = operator.begin().await.unwrap();
    dump.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        .await
        .unwrap();
    dump.execute("LOCK TABLE log_head, events IN ACCESS SHARE MODE")
        .await
        .unwrap();

    // A server of the later release starts.
    let launch = Launch::on(database.clone());
    let mut later = launch.command(&["serve", "--listen", "127.0.0.1:0"]);
    let mut later = later.env("HOLDFAST_ADMIN_KEY", ADMIN_KEY).spawn().unwrap();
    let stdout = later.stdout.take().unwrap();
    let mut stderr = BufReader::new(later.stderr.take().unwrap());
    let said = spawn_blocking(move || {
        let mut all = String::new();
        while !all.contains("a migration waits for another session") {
            assert!(stderr.read_line(&mut all).unwrap() > 0, "it waits: {all}");
        }
        stderr
    });
    let _stderr = said.await.unwrap();
    for attempt in 0..2 {
        eventually("the migration gives way", || async {
            (migrating(&database.pool).await == 0).then_some(())
        })
        .await;
        app.held(&drop, &format!("meanwhile-{attempt}")).await;
        eventually("it tries again", || async {
            (migrating(&database.pool).await > 0).then_some(())
        })
        .await;
        // Behind it, for as long as it waits, and not until the end of the dump.
        app.held(&drop, &format!("behind-{attempt}")).await;
    }
    let version = "SELECT count(*) FROM _sqlx_migrations WHERE version = 27";
    let applied: i64 = sqlx::query_scalar(version)
        .fetch_one(&database.pool)
        .await
        .unwrap();
    assert_eq!(applied, 0);
    assert!(later.try_wait().unwrap().is_none(), "it is starting");

    dump.commit().await.unwrap();
    let address = spawn_blocking(move || {
        let mut lines = BufReader::new(stdout).lines();
        lines.next().unwrap().unwrap()
    });
    let address = address.await.unwrap();
    assert!(address.starts_with("listening on http"), "{address}");
    let applied: i64 = sqlx::query_scalar(version)
        .fetch_one(&database.pool)
        .await
        .unwrap();
    assert_eq!(applied, 1, "the migration is complete");
    assert_eq!(app.stock(&drop).await, [500, 495, 5, 0]);
    app.held(&drop, "after").await;
    app.audit_verify().await;
    later.kill().unwrap();
    later.wait().unwrap();
}
