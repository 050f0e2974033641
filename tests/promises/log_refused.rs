//! A broken hash chain stops writes on every node and nothing else; a repaired or truncated log is
//! accepted again.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use harness::{App, Launch, eventually, fetch, finish, text};
use private_postgres::testing::{TestDatabase, fresh_database};
use reqwest::Method;
use serde_json::json;
use sqlx::{Executor, PgPool};

/// Appends an event of another program and alters it before any server has read it, as a superuser
/// could.
async fn break_the_chain(pool: &PgPool) -> i64 {
    let mut transaction = pool.begin().await.unwrap();
    let position: i64 = sqlx::query_scalar(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         VALUES ('Invoice', 'one', 1, 'InvoiceSent', '1.0', '{\"to\": \"someone\"}', '{}') RETURNING position",
    )
    .fetch_one(&mut *transaction)
    .await
    .unwrap();
    transaction
        .execute("ALTER TABLE events DISABLE TRIGGER refuse_rewriting")
        .await
        .unwrap();
    sqlx::query("UPDATE events SET payload = '{\"to\": \"mallory\"}' WHERE position = $1")
        .bind(position)
        .execute(&mut *transaction)
        .await
        .unwrap();
    transaction
        .execute("ALTER TABLE events ENABLE ALWAYS TRIGGER refuse_rewriting")
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    position
}

struct Shop {
    database: TestDatabase,
    apps: [App; 2],
    drop: String,
    hold: String,
}

impl Shop {
    async fn open() -> Self {
        let database = fresh_database().await;
        let first = Launch::on(database.clone()).start().await;
        let second = Launch::on(database.clone()).start().await;
        let drop = first.create_drop(5, json!({ "hold_seconds": 3600 })).await;
        let hold = first.held(&drop, "alice").await;
        second.read_hold(&hold).await.ok(200);
        Self {
            database,
            apps: [first, second],
            drop,
            hold,
        }
    }

    /// Asserts that writes and readiness get 503, and reads and streams 200.
    async fn is_refused(&self, position: i64) {
        for app in &self.apps {
            eventually("the log is refused", || async {
                (app.get("/health/ready").await.status == 503).then_some(())
            })
            .await;
            let ready = app.get("/health/ready").await;
            let problem = ready.problem(503, "log_refused");
            assert_eq!(problem["position"], position);
            let detail = text(&problem["detail"]);
            assert!(detail.contains("docs/LOG_REFUSED.md"), "{detail}");
            assert!(!detail.to_lowercase().contains("select"), "{detail}");
            let cancel = format!("/v1/drops/{}/cancel", self.drop);
            for reply in [
                app.hold(&self.drop, "bob").await,
                app.purchase(&self.hold).await,
                app.adjust(&self.drop, 1).await,
                fetch(app.admin(Method::POST, &cancel)).await,
                // An event recorded now would follow one that a repair removes.
                fetch(app.admin(Method::DELETE, "/v1/admin/buyers/alice")).await,
            ] {
                let problem = reply.problem(503, "log_refused");
                assert_eq!(problem["position"], position);
            }
            assert_eq!(app.stock(&self.drop).await, [5, 4, 1, 0]);
            app.read_hold(&self.hold).await.ok(200);
            app.get("/v1/drops").await.ok(200);
            app.get("/health/live").await.ok(200);
            let mut watcher = app.watch("").await;
            assert_eq!(watcher.drop().await.json()["stock"]["held"], 1);
            let metrics = fetch(app.admin(Method::GET, "/v1/admin/metrics")).await;
            assert_eq!(metrics.ok(200)["engine"]["state"], "refused");
        }
    }

    /// Asserts that no server starts on such a log, and that the error names the next step.
    async fn no_server_starts(&self) {
        let launch = Launch::on(self.database.clone());
        let ended = finish(launch.command(&["serve", "--listen", "127.0.0.1:0"])).await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains("holdfast log check"), "{ended:?}");
        assert!(ended.stderr.contains("docs/LOG_REFUSED.md"), "{ended:?}");
    }
}

#[tokio::test]
async fn broken_chain_stops_only_writes_until_it_is_restored() {
    let shop = Shop::open().await;
    let position = break_the_chain(shop.apps[0].pool()).await;
    shop.is_refused(position).await;
    // A crash, or an orchestrator that restarts unready servers, does not make the log acceptable.
    shop.no_server_starts().await;
    let launch = shop.apps[0].launch();
    let found = launch.run(&["log", "check"]).await;
    assert_eq!(found.code, Some(1), "{found:?}");
    assert!(
        found
            .stdout
            .starts_with(&format!("the chain is broken at position {position}: ")),
        "{found:?}"
    );
    assert_eq!((found.stdout.lines().count(), &*found.stderr), (1, ""));
    // Restored from a copy: no restart is needed.
    for statement in [
        "ALTER TABLE events DISABLE TRIGGER refuse_rewriting",
        "UPDATE events SET payload = '{\"to\": \"someone\"}' WHERE aggregate_type = 'Invoice'",
        "ALTER TABLE events ENABLE ALWAYS TRIGGER refuse_rewriting",
    ] {
        shop.apps[0].pool().execute(statement).await.unwrap();
    }
    for app in &shop.apps {
        eventually("the log is accepted again", || async {
            (app.get("/health/ready").await.status == 200).then_some(())
        })
        .await;
        app.held(&shop.drop, "bob").await;
    }
    shop.apps[0].audit_verify().await;
}

#[tokio::test]
async fn head_that_does_not_match_the_log_is_rejected_at_the_start() {
    let shop = Shop::open().await;
    let [mut first, mut second] = shop.apps;
    first.kill();
    second.kill();
    let pool = first.pool();
    for statement in [
        "ALTER TABLE log_head DISABLE TRIGGER refuse_moving_back",
        "UPDATE log_head SET hash = sha256('another')",
        "ALTER TABLE log_head ENABLE ALWAYS TRIGGER refuse_moving_back",
    ] {
        pool.execute(statement).await.unwrap();
    }
    let shop = Shop {
        apps: [first, second],
        ..shop
    };
    shop.no_server_starts().await;
}

#[tokio::test]
async fn tail_of_a_broken_log_is_cut_and_the_shop_continues() {
    let shop = Shop::open().await;
    let position = break_the_chain(shop.apps[0].pool()).await;
    shop.is_refused(position).await;
    let launch = shop.apps[0].launch().clone();
    let kept = (position - 1).to_string();
    let cut = async |more: &[&str]| {
        let arguments = [
            "log",
            "cut",
            "--after",
            &kept,
            "--reason",
            "restored a disk",
        ];
        launch.run(&[&arguments, more].concat()).await
    };
    let output = cut(&[]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(
        output
            .stdout
            .starts_with(&format!("1 events after position {kept}\n")),
        "{output:?}"
    );
    assert!(output.stdout.contains("nothing was changed"), "{output:?}");
    let refused = cut(&["--yes"]).await;
    assert_eq!(refused.code, Some(1), "servers run: {refused:?}");
    assert!(refused.stderr.contains("stop every server"), "{refused:?}");
    let Shop {
        apps,
        database,
        drop,
        hold,
    } = shop;
    for mut app in apps {
        app.pool().close().await;
        app.kill();
    }
    eventually("all connections are closed and the tail is cut", || async {
        (cut(&["--yes"]).await.code == Some(0)).then_some(())
    })
    .await;
    let app = Launch::on(TestDatabase {
        pool: sqlx::postgres::PgPoolOptions::new()
            .connect(&database.url)
            .await
            .unwrap(),
        ..database
    })
    .start()
    .await;
    app.purchase(&hold).await.ok(201);
    assert_eq!(app.stock(&drop).await, [5, 4, 0, 1]);
    let verified = app.audit_verify().await;
    assert!(
        verified.contains("\n1 incident: 1 events after position "),
        "{verified}"
    );
    let copies: Vec<i64> = sqlx::query_scalar("SELECT position FROM cut_events")
        .fetch_all(app.pool())
        .await
        .unwrap();
    assert_eq!(copies, [position]);
    // The triggers are enabled again.
    let rewritten = app.pool().execute("UPDATE events SET payload = '{}'").await;
    assert!(rewritten.is_err());
    let moved = app.pool().execute("UPDATE log_head SET position = 0").await;
    assert!(moved.is_err());
}
