//! `holdfast database upgrade` moves a private PostgreSQL to a newer version, and
//! `holdfast database copy` a database into an empty one: with every row of every table, through
//! `kill -9` at any step.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;

use harness::{App, Finished, Launch, PostgresPrograms, fetch, key};
use private_postgres::testing::fresh_database;
use private_postgres::{ClusterConfig, PostgresCluster};
use reqwest::Method;
use serde_json::json;
use sqlx::{Executor, PgPool};
use tokio::task::spawn_blocking;

const UPGRADE: [&str; 2] = ["database", "upgrade"];

/// A row for each table that the life of a small shop leaves empty. Nothing acts on them: they are
/// done, given up or disabled, and of drops, orders and creators that do not exist.
const ROWS: &str = r#"
INSERT INTO projection_quarantines VALUES ('another_rebuild', gen_random_uuid(), 7);
INSERT INTO cut_events SELECT now(), aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
       position, recorded_at, hash FROM events WHERE position = 2;
INSERT INTO refusals VALUES (gen_random_uuid(), date_trunc('minute', now()), 1, 2, 3) ON CONFLICT DO NOTHING;
INSERT INTO webhook_endpoints (id, url, event_types, description, disabled_reason, disabled_at, position)
VALUES ('00000000-0000-4000-8000-000000000001', 'https://shop.example/"\x', ARRAY['hold.placed', 'a,b'], E'two\nlines\\',
        'administrator', now(), 1);
INSERT INTO webhook_secrets VALUES ('00000000-0000-4000-8000-000000000001', sha256('secret'), now(), 'infinity');
INSERT INTO webhook_lanes VALUES ('00000000-0000-4000-8000-000000000001', gen_random_uuid(), 1, 0);
INSERT INTO webhook_order_lanes VALUES ('00000000-0000-4000-8000-000000000001', gen_random_uuid(), 1, 0);
INSERT INTO webhook_deliveries (id, endpoint_id, webhook_id, event_type, position, status, attempts, holds_drop, created_at)
VALUES (gen_random_uuid(), '00000000-0000-4000-8000-000000000001', 'id', 'hold.placed', 1, 'failed', 9, false, now());
INSERT INTO payment_starts (payment_id, order_id, provider, amount, currency)
VALUES (gen_random_uuid(), gen_random_uuid(), 'demo', 9223372036854775807, 'EUR');
INSERT INTO payment_intents VALUES (sha256('intent'), gen_random_uuid(), gen_random_uuid(), 'demo', 'pi_1');
INSERT INTO payment_jobs (id, kind, order_id, payment_id, intent, provider, amount, currency, status, position, finished_at)
VALUES (gen_random_uuid(), 'payment_capture', gen_random_uuid(), gen_random_uuid(), sha256('intent'), 'demo', 1, 'EUR', 'done', 1, now());
INSERT INTO payment_demo_seed (seed) VALUES (repeat('s', 32)) ON CONFLICT DO NOTHING;
INSERT INTO payment_withdrawals (id, kind, provider, provider_reference, intent, order_id, payment_id, amount, currency, state)
VALUES ('00000000-0000-4000-8000-000000000002', 'dispute', 'demo', 'dp_1', sha256('intent'), gen_random_uuid(), gen_random_uuid(),
        5, 'EUR', 'undone');
INSERT INTO payment_coverage VALUES ('00000000-0000-4000-8000-000000000002', gen_random_uuid(), 5);
INSERT INTO payment_withheld_orders VALUES (gen_random_uuid(), 1);
INSERT INTO creators (id, uid, name) VALUES ('c', '00000000-0000-4000-8000-000000000003', 'Ünal & Søn');
INSERT INTO creator_followers VALUES ('00000000-0000-4000-8000-000000000003', 3, 1);
INSERT INTO deleted_creators VALUES (gen_random_uuid());
INSERT INTO products (id, creator_id, title, variants) VALUES ('p', 'c', 'T', '[ {"id" : "1"} ]');
INSERT INTO following_buyers VALUES ('bob', 'bob', 'Bob');
INSERT INTO follows VALUES ('bob', '00000000-0000-4000-8000-000000000003', 3, now(), 1);
INSERT INTO reminders VALUES ('bob', gen_random_uuid(), now(), 1);
INSERT INTO push_key (pkcs8) VALUES ('\x00ff') ON CONFLICT DO NOTHING;
INSERT INTO push_subscriptions (id, endpoint_digest, endpoint, public_key, auth, vapid_key, buyer, sees_ids, position)
VALUES ('00000000-0000-4000-8000-000000000004', sha256('e'), 'https://push.example/e', decode(repeat('04', 65), 'hex'),
        decode(repeat('05', 16), 'hex'), decode(repeat('04', 65), 'hex'), 'bob', true, 1);
INSERT INTO push_jobs (id, event_type, position, subscription_id, is_fan_out, status, expires_at, finished_at)
VALUES (gen_random_uuid(), 'hold.expired', 1, '00000000-0000-4000-8000-000000000004', false, 'done', now(), now());
CREATE TABLE of_the_operator (id int);
"#;

/// Runs the cluster of `launch` in this process, so that no server changes it.
async fn cluster(launch: &Launch, bin_dir: Option<&Path>) -> (PostgresCluster, PgPool) {
    let mut config = ClusterConfig::new(launch.data_dir());
    config.pg_bin_dir = bin_dir.map(Path::to_owned);
    let cluster = PostgresCluster::start(config).await.unwrap();
    let pool = PgPool::connect_with(cluster.connect_options())
        .await
        .unwrap();
    (cluster, pool)
}

/// Every row of every table, and the guards of the log.
async fn contents(pool: &PgPool) -> BTreeMap<String, Vec<String>> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' AND tablename <> '_sqlx_migrations'",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let mut contents = BTreeMap::new();
    for table in tables {
        let rows = format!("SELECT t::text FROM {table} t ORDER BY 1");
        let rows = sqlx::query_scalar(&rows).fetch_all(pool).await.unwrap();
        contents.insert(table, rows);
    }
    let guards = "SELECT concat(tgrelid::regclass, ' ', tgname, ' ', tgenabled) FROM pg_trigger
         WHERE NOT tgisinternal ORDER BY 1";
    let guards = sqlx::query_scalar(guards).fetch_all(pool).await.unwrap();
    contents.insert("guards".to_owned(), guards);
    contents
}

/// Holds, an order, a purchase, an erasure and a refusal, as a server records them. Returns the
/// drop.
async fn fill(app: &App) -> String {
    let drop = app.create_drop(9, json!({ "hold_seconds": 3600 })).await;
    for buyer in ["ann", "bob"] {
        let hold = app.held(&drop, buyer).await;
        app.purchase(&hold).await.ok(201);
    }
    app.held(&drop, "cleo").await;
    let order = app
        .request(Method::POST, "/v1/orders")
        .header("idempotency-key", key())
        .json(&json!({ "buyer_id": "dan", "items": [{ "drop_id": drop }] }));
    fetch(order).await.ok(201);
    let erased = fetch(app.admin(Method::DELETE, "/v1/admin/buyers/ann")).await;
    assert_eq!(erased.status, 204, "{}", erased.text());
    drop
}

/// Runs an upgrade and kills it when it has written a line with `words`.
async fn kill_at(launch: &Launch, words: &'static str) {
    let mut process = launch.command(&UPGRADE).spawn().unwrap();
    spawn_blocking(move || {
        let mut seen = vec![];
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let is_at = lines.map_while(Result::ok).any(|line| {
            seen.push(line.clone());
            line.contains(words)
        });
        assert!(is_at, "{words}: {seen:#?}");
        process.kill().unwrap();
        process.wait().unwrap();
    })
    .await
    .unwrap();
}

#[track_caller]
fn assert_done(done: &Finished, words: &str) {
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stdout.contains(words), "{words}: {done:?}");
}

#[track_caller]
fn assert_refused(done: &Finished, words: &str) {
    assert_eq!(done.code, Some(1), "{done:?}");
    let last = done.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("holdfast: "), "{done:?}");
    assert!(last.contains(words), "{words}: {last}");
}

#[tokio::test]
async fn private_cluster_moves_to_postgresql_18_and_into_another_database() {
    let programs = PostgresPrograms::of_major(18).await;
    let newer = programs.bin_dir();
    let app = Launch::private().start().await;
    let drop = fill(&app).await;
    let launch = app.stop().await;
    let (before, pool) = cluster(&launch, None).await;
    let major = before.origin().major;
    pool.execute(ROWS).await.unwrap();
    let original = contents(&pool).await;
    let empty = original.iter().filter(|(_, rows)| rows.is_empty());
    let empty: Vec<&String> = empty.map(|(table, _)| table).collect();
    assert_eq!(empty, ["of_the_operator"], "a table needs a row here");
    let sequences: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_sequences")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(sequences, 0, "a copy has none");
    pool.close().await;
    before.stop().await.unwrap();

    let older = launch.clone();
    let launch = launch.with("PG_BIN_DIR", newer.to_str().unwrap());
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    assert_refused(&launch.run(&serve).await, "`holdfast database upgrade`");
    for step in ["moving the cluster", "comparing them"] {
        kill_at(&launch, step).await;
        // With the old programs, as if nothing had been begun.
        assert_done(&older.run(&["audit", "verify"]).await, "verified");
    }
    kill_at(&launch, "verified; putting").await;
    // The old cluster or the new one, depending on how far it came.
    let version = fs::read_to_string(launch.data_dir().join("postgres/PG_VERSION"));
    match version.is_ok_and(|version| version.trim() == major.to_string()) {
        true => assert_done(&older.run(&["audit", "verify"]).await, "verified"),
        false => assert_done(&launch.run(&["audit", "verify"]).await, "verified"),
    }
    let upgraded = launch.run(&UPGRADE).await;
    assert_eq!(upgraded.code, Some(0), "{upgraded:?}");
    assert_done(&launch.run(&UPGRADE).await, "nothing to do");
    let kept = launch
        .data_dir()
        .join(format!("postgres.{major}/PG_VERSION"));
    assert_eq!(
        fs::read_to_string(kept).unwrap().trim(),
        major.to_string(),
        "the old cluster is kept"
    );

    let (after, pool) = cluster(&launch, Some(&newer)).await;
    assert_eq!(after.origin().major, 18);
    let mut expected = original;
    expected.remove("of_the_operator");
    let found = contents(&pool).await;
    for (table, rows) in &expected {
        assert_eq!(found.get(table), Some(rows), "{table}");
    }
    assert_eq!(found.len(), expected.len());
    pool.close().await;
    after.stop().await.unwrap();

    let app = launch.start().await;
    let hold = app.held(&drop, "after the upgrade").await;
    app.purchase(&hold).await.ok(201);
    app.audit_verify().await;

    // While the server runs.
    let target = fresh_database().await;
    let url = target.url.clone();
    let copy = ["database", "copy", "--to", url.as_str()];
    assert_done(&app.launch().run(&copy).await, "verified");
    assert_refused(
        &app.launch().run(&copy).await,
        "is not empty: the table events",
    );
    let launch = app.stop().await;
    let elsewhere = launch.with("DATABASE_URL", &url);
    let refused = elsewhere.run(&UPGRADE).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("DATABASE_URL is set"));
    let app = Launch::on(target).start().await;
    app.held(&drop, "of the copy").await;
    app.audit_verify().await;

    // And back into a data directory, as a backup is restored.
    let restored = Launch::private();
    let data_dir = restored.data_dir().to_str().unwrap();
    let copy = ["database", "copy", "--to-data-dir", data_dir];
    assert_done(&app.launch().run(&copy).await, "verified");
    assert_refused(
        &app.launch().run(&copy).await,
        "is not empty: the table events",
    );
    let app = restored.start().await;
    app.held(&drop, "of the backup").await;
    app.audit_verify().await;
}
