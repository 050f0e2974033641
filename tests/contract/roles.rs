//! Each database role has the permissions that its program needs, and no others.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use harness::{App, Launch, SampleLog};
use private_postgres::testing::TestDatabase;
use serde_json::json;
use sqlx::{Connection, Executor, PgConnection};
use uuid::Uuid;

/// The address of a database for a new user in `role`.
async fn user_in(role: &str, database: &TestDatabase) -> String {
    let user = format!("holdfast_test_{}", Uuid::new_v4().simple());
    let mut owner = PgConnection::connect(&database.url).await.unwrap();
    let create = format!("CREATE ROLE {user} LOGIN PASSWORD 'of the tests' IN ROLE {role}");
    owner.execute(create.as_str()).await.unwrap();
    owner.close().await.unwrap();
    with_user(&database.url, &user)
}

/// The same address for another user. The tests' own server uses trust authentication for users
/// with access to its directory.
fn with_user(url: &str, user: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let password = "of%20the%20tests";
    let path: String = path
        .split('&')
        .filter(|part| !part.contains("user="))
        .collect::<Vec<_>>()
        .join("&");
    format!("{scheme}://{user}:{password}@{host}/{path}")
}

async fn assert_allowed(connection: &mut PgConnection, sql: &str) {
    if let Err(error) = connection.execute(sql).await {
        panic!("{sql}: {error}");
    }
}

async fn assert_denied(connection: &mut PgConnection, sql: &str) {
    let refused = connection
        .execute(sql)
        .await
        .err()
        .unwrap_or_else(|| panic!("{sql} was allowed"));
    let code = refused
        .as_database_error()
        .and_then(|error| error.code())
        .unwrap_or_default()
        .into_owned();
    assert_eq!(code, "42501", "insufficient_privilege for {sql}: {refused}");
}

const REWRITES: [&str; 6] = [
    "UPDATE events SET payload = '{}'",
    "DELETE FROM events",
    "TRUNCATE events",
    "DELETE FROM log_head",
    "DROP TABLE events",
    "ALTER TABLE events DISABLE TRIGGER ALL",
];

#[tokio::test]
async fn auditor_reads_only_the_chained_columns_and_the_views() {
    let sample = SampleLog::create().await;
    let database = sample.altered("SELECT grant_holdfast_roles()").await;
    let url = user_in("holdfast_auditor", &database).await;
    let mut auditor = PgConnection::connect(&url).await.unwrap();
    assert_allowed(
        &mut auditor,
        "SELECT position, payload, metadata, hash FROM events",
    )
    .await;
    for table in [
        "log_head",
        "live_stock",
        "top_purchasers",
        "sales_timeline",
        "projection_checkpoints",
        "refusals",
        "erasures",
    ] {
        assert_allowed(&mut auditor, &format!("SELECT * FROM {table}")).await;
        assert_denied(&mut auditor, &format!("DELETE FROM {table}")).await;
    }
    for sql in [
        "SELECT private FROM events",
        "SELECT * FROM events",
        "SELECT * FROM log_secret",
        "SELECT * FROM webhook_secrets",
        "SELECT * FROM webhook_endpoints",
        "SELECT * FROM webhook_deliveries",
        "SELECT grant_holdfast_roles()",
        "SELECT grant_webhook_roles()",
        "SELECT * FROM payment_demo_seed",
        "SELECT * FROM payment_intents",
        "SELECT grant_payment_roles()",
    ] {
        assert_denied(&mut auditor, sql).await;
    }
    for sql in REWRITES {
        assert_denied(&mut auditor, sql).await;
    }
    auditor.close().await.unwrap();

    // The actual audit commands, run as an auditor.
    let launch = Launch::private().with("DATABASE_URL", &url);
    let verdict = launch.run(&["audit", "verify"]).await;
    assert_eq!(verdict.code, Some(0), "{verdict:?}");
    assert!(
        verdict
            .stdout
            .starts_with(&format!("verified {} events, head ", sample.log.len())),
        "{verdict:?}"
    );
    assert!(
        verdict.stderr.contains(
            "commitments to personal data, and that each person is one buyer, were not checked"
        ),
        "{verdict:?}"
    );
    for arguments in [
        ["audit", "export"],
        ["audit", "state"],
        ["audit", "replay"],
        ["audit", "checkpoint"],
        ["projections", "list"],
    ] {
        let done = launch.run(&arguments).await;
        assert_eq!(done.code, Some(0), "{arguments:?}: {done:?}");
    }
    assert_eq!(launch.run(&["audit", "export"]).await.stdout, sample.export);
    let refused = launch.run(&["audit", "erase", "alice"]).await;
    assert_ne!(refused.code, Some(0), "{refused:?}");
}

#[tokio::test]
async fn reader_sees_the_views_and_not_the_log() {
    let sample = SampleLog::create().await;
    let database = sample.altered("SELECT grant_holdfast_roles()").await;
    let url = user_in("holdfast_reader", &database).await;
    let mut reader = PgConnection::connect(&url).await.unwrap();
    for table in [
        "live_stock",
        "top_purchasers",
        "sales_timeline",
        "projection_checkpoints",
        "refusals",
        "log_head",
    ] {
        assert_allowed(&mut reader, &format!("SELECT * FROM {table}")).await;
    }
    for sql in [
        "SELECT position FROM events",
        "SELECT * FROM erasures",
        "SELECT * FROM log_secret",
        "SELECT * FROM webhook_secrets",
        "SELECT * FROM webhook_lanes",
        "SELECT * FROM webhook_order_lanes",
        "SELECT * FROM payment_jobs",
        "SELECT * FROM payment_withdrawals",
        "SELECT * FROM payment_coverage",
        "UPDATE live_stock SET sold = 0",
        "INSERT INTO sales_timeline SELECT * FROM sales_timeline",
    ] {
        assert_denied(&mut reader, sql).await;
    }
    for sql in REWRITES {
        assert_denied(&mut reader, sql).await;
    }
    reader.close().await.unwrap();
}

#[tokio::test]
async fn server_runs_as_a_writer_and_cannot_alter_events() {
    let owner = App::start().await;
    let drop = owner.create_drop(9, json!({ "hold_seconds": 3600 })).await;
    owner.held(&drop, "alice").await;
    let database = TestDatabase {
        url: owner.launch().database_url().unwrap().to_owned(),
        pool: owner.pool().clone(),
    };
    let url = user_in("holdfast_writer", &database).await;
    let server = Launch::private().with("DATABASE_URL", &url).start().await;
    let hold = server.held(&drop, "bob").await;
    assert_eq!(server.purchase(&hold).await.status, 201);
    server.held(&drop, "carol").await;
    let more = json!({ "buyer_id": "carol", "quantity": 9 });
    let refused = server.hold_with(&drop, &harness::key(), &more).await;
    refused.problem(409, "limit_reached");
    harness::eventually("the refusal is in its table", || async {
        let sql = "SELECT coalesce(sum(limit_reached), 0)::bigint FROM refusals";
        let refused: i64 = sqlx::query_scalar(sql)
            .fetch_one(owner.pool())
            .await
            .unwrap();
        (refused == 1).then_some(())
    })
    .await;
    let erased = server
        .admin(reqwest::Method::DELETE, "/v1/admin/buyers/alice")
        .send()
        .await
        .unwrap();
    assert_eq!(erased.status(), 204);
    let endpoint = server.admin(reqwest::Method::POST, "/v1/admin/webhooks");
    let endpoint = harness::fetch(endpoint.json(&json!({
        "url": "https://shop.example/", "event_types": ["drop.cancelled"],
    })));
    let endpoint = endpoint.await.ok(201)["id"].clone();
    server.held(&drop, "dora").await;
    harness::eventually("its dispatcher follows the log", || async {
        let path = format!("/v1/admin/webhooks/{}", harness::text(&endpoint));
        let read = harness::fetch(server.admin(reqwest::Method::GET, &path))
            .await
            .ok(200);
        let head = server.audit("/v1/log/head").await.ok(200);
        (read["position"] == head["position"]).then_some(())
    })
    .await;
    harness::eventually("its tables are at the head", || async {
        let ready = server.get("/health/ready").await.ok(200);
        let views = ready["projections"]
            .as_object()
            .unwrap()
            .values()
            .cloned()
            .collect::<Vec<_>>();
        views
            .iter()
            .all(|view| view["stopped"] == json!(null))
            .then_some(())
    })
    .await;

    let mut writer = PgConnection::connect(&url).await.unwrap();
    assert_allowed(&mut writer, "SELECT private FROM events").await;
    assert_allowed(
        &mut writer,
        "UPDATE events SET private = NULL WHERE position = 1",
    )
    .await;
    for sql in REWRITES {
        assert_denied(&mut writer, sql).await;
    }
    for sql in [
        "UPDATE events SET hash = sha256('x')",
        "UPDATE log_secret SET secret = 'x'",
        "DELETE FROM erasures",
        "UPDATE erasures SET position = 9",
        "CREATE TABLE mine ()",
    ] {
        assert_denied(&mut writer, sql).await;
    }
    writer.close().await.unwrap();
    owner.audit_verify().await;
}

#[tokio::test]
async fn user_without_the_right_to_create_roles_can_migrate() {
    let database = private_postgres::testing::fresh_database().await;
    let name: String = sqlx::query_scalar("SELECT current_database()::text")
        .fetch_one(&database.pool)
        .await
        .unwrap();
    let user = format!("holdfast_test_{}", Uuid::new_v4().simple());
    for sql in [
        format!("CREATE ROLE {user} LOGIN PASSWORD 'of the tests'"),
        format!("ALTER DATABASE {name} OWNER TO {user}"),
        format!("GRANT ALL ON SCHEMA public TO {user}"),
    ] {
        sqlx::query(&sql).execute(&database.pool).await.unwrap();
    }
    let url = with_user(&database.url, &user);
    let server = Launch::private().with("DATABASE_URL", &url).start().await;
    let drop = server.create_drop(1, json!({})).await;
    server.held(&drop, "alice").await;
    let verdict = Launch::private()
        .with("DATABASE_URL", &url)
        .run(&["audit", "verify"])
        .await;
    assert_eq!(verdict.code, Some(0), "{verdict:?}");
}
