//! A log that was restored to an earlier moment: the server that acknowledged more does not sell on
//! it until an operator accepts the loss, and responses name the cut to clients that remember more.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use harness::{App, Finished, Launch, finish, key, number, text};
use private_postgres::testing::{TestDatabase, fresh_database_from};
use serde_json::{Value, json};

/// A copy of the database, as a backup has it. Nothing may run on it.
async fn backup(database: &TestDatabase) -> TestDatabase {
    let name: String = sqlx::query_scalar("SELECT current_database()::text")
        .fetch_one(&database.pool)
        .await
        .unwrap();
    fresh_database_from(&name).await
}

/// A start that ends by itself.
async fn refused_start(launch: &Launch) -> Finished {
    let ended = finish(launch.command(&["serve", "--listen", "127.0.0.1:0"])).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    ended
}

/// Waits until the data directory has the head, and kills the server.
async fn kill_once_kept(mut app: App) -> u64 {
    let head = app.kept_head().await;
    app.kill();
    head
}

async fn accept(launch: &Launch, position: u64, more: &[&str]) -> Finished {
    let position = position.to_string();
    let arguments = [
        "log",
        "accept-head",
        "--position",
        &position,
        "--reason",
        "the backup of Monday",
    ];
    launch.run(&[&arguments, more].concat()).await
}

#[tokio::test]
async fn restored_log_is_refused_until_its_loss_is_accepted_and_clients_are_told() {
    let database = private_postgres::testing::fresh_database().await;
    let launch = Launch::on(database.clone());
    let app = launch.clone().start().await;
    let drop = app.create_drop(9, json!({ "hold_seconds": 3600 })).await;
    let kept = app.held(&drop, "ann").await;
    let before = app.kept_head().await;
    app.stop().await;
    let older = backup(&database).await;

    // The orderly stop kept the head; this start continues it.
    let app = launch.clone().start().await;
    let body = json!({ "buyer_id": "bob" });
    let lost_key = key();
    let lost = app.hold_with(&drop, &lost_key, &body).await.ok(201);
    let lost_id = text(&lost["id"]);
    app.purchase(&lost_id).await.ok(201);
    app.held(&drop, "carol").await;
    let known = kill_once_kept(app).await;
    let missing = known - before;

    let restored = launch.clone().with("DATABASE_URL", &older.url);
    let refused = refused_start(&restored).await;
    for words in [
        format!("the event log ends at position {before} ("),
        format!(
            "{missing} acknowledged events are missing, positions {} to {known}.",
            before + 1
        ),
        format!("holdfast log accept-head --position {before} "),
    ] {
        assert!(refused.stderr.contains(&words), "{refused:?}");
    }
    // Another data directory knows nothing of it.
    let elsewhere = Launch::on(older.clone()).start().await;
    assert_eq!(
        elsewhere
            .read_hold(&lost_id)
            .await
            .problem(404, "hold_not_found")
            .get("log_cut"),
        None
    );
    elsewhere.stop().await;

    // An auditor notes the age of a copy, and is refused what was claimed.
    let noted = restored.run(&["audit", "verify"]).await;
    assert_eq!(noted.code, Some(0), "{noted:?}");
    assert!(
        noted
            .stderr
            .contains("note: the event log ends at position"),
        "{noted:?}"
    );
    let heads = launch.data_dir().join("heads.json");
    let heads_file = heads.to_str().unwrap();
    let claimed = restored
        .run(&["audit", "verify", "--head", heads_file])
        .await;
    assert_eq!(claimed.code, Some(1), "{claimed:?}");
    let words =
        format!("the log ends at position {before}, but {heads_file} claims position {known}");
    assert!(claimed.stderr.contains(&words), "{claimed:?}");

    let planned = accept(&restored, before, &[]).await;
    assert_eq!(planned.code, Some(0), "{planned:?}");
    assert!(
        planned.stdout.contains("nothing was changed"),
        "{planned:?}"
    );
    refused_start(&restored).await;
    let other = accept(&restored, known, &["--yes"]).await;
    assert_eq!(other.code, Some(1), "{other:?}");
    assert!(
        other
            .stderr
            .contains(&format!("is at position {before}, not {known}")),
        "{other:?}"
    );
    let accepted = accept(&restored, before, &["--yes"]).await;
    assert_eq!(accepted.code, Some(0), "{accepted:?}");
    let again = accept(&restored, before, &["--yes"]).await;
    assert!(again.stdout.contains("accepted at position"), "{again:?}");

    let app = restored.clone().start().await;
    app.wait_for_log("was accepted at position").await;
    let unknown = app.read_hold(&lost_id).await.problem(404, "hold_not_found");
    assert_cut(&unknown, before, missing);
    let ahead = app.get(&format!("/v1/drops?at_least={known}")).await;
    let ahead = ahead.problem(503, "unavailable");
    assert_cut(&ahead, before, missing);
    assert_eq!(
        (text(&ahead["reason"]), number(&ahead["head"])),
        ("beyond_head".to_owned(), before + 1)
    );
    // A client that resumes from the lost part gets the present state.
    let mut watcher = app.watch(&format!("?last_event_id={known}")).await;
    assert_eq!(watcher.drop().await.json()["stock"]["held"], 1);
    // The retry of a lost request is a new request, and says so.
    let retried = app.hold_with(&drop, &lost_key, &body).await;
    assert!(!retried.is_replay());
    assert_ne!(text(&retried.ok(201)["id"]), lost_id);
    app.purchase(&kept).await.ok(201);
    let verified = app.audit_verify().await;
    assert!(verified.contains("\n1 incident: "), "{verified}");
    let restored = app.stop().await;
    // The next start continues this history, and refuses the other one.
    let app = restored.clone().start().await;
    assert!(
        !app.stderr().contains("was accepted at position"),
        "{}",
        app.stderr()
    );
    app.stop().await;
    let other = refused_start(&launch).await;
    let words = "the event log has another history than before";
    assert!(other.stderr.contains(words), "{other:?}");
    // A file that cannot be read is not ignored.
    std::fs::write(&heads, "{}").unwrap();
    let unread = refused_start(&restored).await;
    assert!(
        unread
            .stderr
            .contains("remove it to start without the comparison"),
        "{unread:?}"
    );
}

#[track_caller]
fn assert_cut(problem: &Value, position: u64, events: u64) {
    let cut = &problem["log_cut"];
    assert_eq!(
        (number(&cut["position"]), number(&cut["events"])),
        (position, events),
        "{problem}"
    );
    assert!(
        text(&problem["detail"]).contains("the log was restored to position"),
        "{problem}"
    );
}
