//! A chain that is broken stops writes on every node and nothing else; a repaired or cut log is
//! accepted again.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use harness::{App, Launch, eventually, finish, take, text};
use infrastructure::testing::{TestDatabase, fresh_database};
use reqwest::Method;
use serde_json::json;
use sqlx::{Executor, PgPool};

/// Appends an event of another program, and changes it before anybody has read it, as a superuser
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
    sqlx::query("UPDATE events SET payload = '{\"to\": \"nobody\"}' WHERE position = $1")
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

    /// Writes 503, reads and streams 200, readiness 503.
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
                take(app.admin(Method::POST, &cancel)).await,
                // What it records would stand on what a repair removes.
                take(app.admin(Method::DELETE, "/v1/admin/buyers/alice")).await,
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
            let metrics = take(app.admin(Method::GET, "/v1/admin/metrics")).await;
            assert_eq!(metrics.ok(200)["engine"]["state"], "refused");
        }
    }

    /// No server starts on such a log, and each says what to do.
    async fn no_server_starts(&self) {
        let launch = Launch::on(self.database.clone());
        let ended = finish(launch.command(&["serve", "--listen", "127.0.0.1:0"])).await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains("holdfast log check"), "{ended:?}");
        assert!(ended.stderr.contains("docs/LOG_REFUSED.md"), "{ended:?}");
    }
}

#[tokio::test]
async fn a_broken_chain_stops_writes_until_it_is_restored_and_nothing_else() {
    let shop = Shop::open().await;
    let position = break_the_chain(shop.apps[0].pool()).await;
    shop.is_refused(position).await;
    // A crash, or an orchestrator that restarts what is not ready, does not accept it either.
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
    shop.apps[0].verifies().await;
}

#[tokio::test]
async fn a_head_that_leads_nowhere_is_refused_at_a_start_with_what_to_do() {
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
async fn the_tail_of_a_broken_log_is_cut_and_the_shop_goes_on_without_it() {
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
    let said = cut(&[]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.stdout
            .starts_with(&format!("1 events stand after position {kept}\n")),
        "{said:?}"
    );
    assert!(said.stdout.contains("nothing was changed"), "{said:?}");
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
    eventually(
        "nobody is connected any more, and the tail is cut",
        || async { (cut(&["--yes"]).await.code == Some(0)).then_some(()) },
    )
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
    let verified = app.verifies().await;
    assert!(
        verified.contains("\n1 incident: 1 events after position "),
        "{verified}"
    );
    let copies: Vec<i64> = sqlx::query_scalar("SELECT position FROM cut_events")
        .fetch_all(app.pool())
        .await
        .unwrap();
    assert_eq!(copies, [position]);
    // The guards are in force again.
    let rewritten = app.pool().execute("UPDATE events SET payload = '{}'").await;
    assert!(rewritten.is_err());
    let moved = app.pool().execute("UPDATE log_head SET position = 0").await;
    assert!(moved.is_err());
}
