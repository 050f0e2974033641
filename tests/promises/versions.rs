//! A server's short life on each supported major version of PostgreSQL, as its private database.
//!
//! The other tests run on the version of this machine, which is 15 on Debian 12.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use harness::{App, Launch, PostgresPrograms, concurrently, eventually, fetch, text};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

#[tokio::test]
async fn server_lives_on_every_supported_major_version() {
    concurrently([16, 17, 18].map(live)).await;
}

/// Sells, expires, erases, rebuilds, is killed, and sells on; then its log verifies, and so does an
/// export of it.
async fn live(major: u16) {
    let programs = PostgresPrograms::of_major(major).await;
    let launch = Launch::private().with("PG_BIN_DIR", programs.bin_dir().to_str().unwrap());
    let app = launch.start().await;
    let version = setting(&app, "server_version").await;
    assert!(version.starts_with(&major.to_string()), "{version}");
    assert_eq!(setting(&app, "data_checksums").await, "on");

    let drop = app.create_drop(10, json!({ "hold_seconds": 3600 })).await;
    let bought = app.held(&drop, "ann").await;
    app.purchase(&bought).await.ok(201);
    app.held(&drop, "bob").await;
    let short = app.create_drop(2, json!({ "hold_seconds": 1 })).await;
    let expiring = app.held(&short, "ann").await;
    eventually("the hold expires", || async {
        let hold = app.read_hold(&expiring).await.ok(200);
        (text(&hold["status"]) == "expired").then_some(())
    })
    .await;
    let erased = fetch(app.admin(Method::DELETE, "/v1/admin/buyers/ann")).await;
    assert_eq!(erased.status, 204, "{}", erased.text());
    eventually("every projection is caught up", || async {
        is_caught_up(&app.get("/health/ready").await.ok(200)).then_some(())
    })
    .await;
    for command in [
        &["projections", "rebuild", "--all"][..],
        &["audit", "verify"],
    ] {
        let done = app.launch().run(command).await;
        assert_eq!(done.code, Some(0), "{major}: {done:?}");
    }

    let app = app.restart().await;
    assert_eq!(app.stock(&drop).await, [10, 8, 1, 1]);
    app.held(&short, "dan").await;
    let launch = app.stop().await;
    let file = launch.data_dir().join("export.ndjson");
    let file = file.to_str().unwrap();
    for command in [
        &["audit", "verify"][..],
        &["audit", "export", "--output", file],
        &["audit", "verify", "--file", file],
    ] {
        let done = launch.run(command).await;
        assert_eq!(done.code, Some(0), "{major}: {done:?}");
    }
}

/// A setting of the server, read as docs/OPERATING.md describes: through its socket.
async fn setting(app: &App, name: &str) -> String {
    let socket = app.launch().data_dir().join("run");
    let url = format!(
        "postgres://holdfast@localhost/holdfast?host={}",
        socket.display()
    );
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let show = format!("SHOW {name}");
    let value = sqlx::query_scalar(&show).fetch_one(&mut connection).await;
    connection.close().await.unwrap();
    value.unwrap()
}

fn is_caught_up(ready: &Value) -> bool {
    let mut projections = ready["projections"].as_object().unwrap().values();
    projections.all(|one| one["checkpoint"] == ready["position"])
}
