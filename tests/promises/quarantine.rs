//! One event that cannot be applied stops its drop on every node, and nothing else; the drop is
//! repaired while the shop runs.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::fs;
use std::path::Path;

use harness::{
    App, Finished, Launch, RawEvent, Reply, eventually, fetch, finish, key, now, number, text,
};
use private_postgres::testing::fresh_database;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

/// A drop with sales, and the event that breaks it.
struct Case {
    reason: &'static str,
    drop: String,
    hold: String,
    event: RawEvent,
    /// True if the database rejects the event from a role that may append.
    is_guarded: bool,
}

async fn cases(app: &App) -> Vec<Case> {
    let id = || Uuid::new_v4().to_string();
    let placed = |quantity: u32| {
        let (placed_at, expires_at) = harness::now_and_in(3600);
        json!({
            "hold_id": id(), "buyer": id(), "quantity": quantity, "placed_at": placed_at, "expires_at": expires_at,
        })
    };
    let bought = json!({
        "purchase_id": id(), "hold_id": id(), "buyer": id(), "quantity": 1,
        "total": { "amount": 1, "currency": "USD" }, "purchased_at": now(),
    });
    type BrokenEvent<'a> = (&'static str, &'a str, &'a str, Value, Option<i64>, bool);
    let wrong: Vec<BrokenEvent<'_>> = vec![
        ("unknown_type", "DropPainted", "1.0", json!({}), None, true),
        (
            "unknown_version",
            "HoldPlaced",
            "7.0",
            placed(1),
            None,
            true,
        ),
        (
            "unreadable",
            "StockAdjusted",
            "1.0",
            json!({ "delta": "many" }),
            None,
            false,
        ),
        ("contradiction", "HoldPlaced", "1.0", placed(9), None, false),
        (
            "contradiction",
            "PurchaseConfirmed",
            "1.0",
            bought,
            None,
            false,
        ),
        (
            "contradiction",
            "DropCancelled",
            "1.0",
            json!({ "cancelled_at": harness::in_seconds(600) }),
            None,
            false,
        ),
        (
            "wrong_sequence",
            "HoldPlaced",
            "1.0",
            placed(1),
            Some(17),
            true,
        ),
    ];
    let mut cases = vec![];
    for (reason, event_type, version, fields, sequence, is_guarded) in wrong {
        let drop = app.create_drop(5, json!({ "hold_seconds": 3600 })).await;
        let hold = app.held(&drop, "first").await;
        let event = RawEvent {
            sequence,
            ..RawEvent::next(&drop, event_type, version, fields)
        };
        cases.push(Case {
            reason,
            drop,
            hold,
            event,
            is_guarded,
        });
    }
    cases
}

/// Asserts that every route of the drop answers 503 with the position.
async fn assert_quarantined(app: &App, case: &Case, position: i64) {
    let Case { drop, hold, .. } = case;
    let of_drop = |rest: &str| format!("/v1/drops/{drop}{rest}");
    eventually("the drop is in quarantine", || async {
        (app.get(&of_drop("")).await.status == 503).then_some(())
    })
    .await;
    let replies = [
        app.hold(drop, "alice").await,
        app.get(&of_drop("")).await,
        app.get(&of_drop("/purchasers")).await,
        app.get(&of_drop("/buyers/first")).await,
        app.purchase(hold).await,
        app.release(hold).await,
        app.read_hold(hold).await,
        app.join(drop, "bob", 1).await,
        app.adjust(drop, 1).await,
        app.get(&format!("/v1/stream?drops={drop}")).await,
        fetch(app.admin(Method::POST, &of_drop("/cancel"))).await,
        fetch(app.admin(Method::GET, &format!("/v1/admin/timeline?drop_id={drop}"))).await,
        fetch(app.admin(Method::GET, &format!("/v1/admin/drops/{drop}/report"))).await,
    ];
    for reply in replies {
        let problem = reply.problem(503, "drop_quarantined");
        assert_eq!(problem["drop_id"], *drop.as_str());
        assert_eq!(problem["position"], position);
        assert!(!reply.header("retry-after").is_empty());
    }
    let listed = app.get("/v1/drops").await.ok(200);
    let listed = listed["data"].as_array().unwrap();
    assert!(listed.iter().all(|listed| listed["id"] != *drop.as_str()));
}

/// Asserts that a node reports itself ready and lists the quarantined drops.
async fn assert_reported(app: &App, broken: &[(&Case, i64)]) {
    let ready = app.get("/health/ready").await.ok(200);
    assert_eq!(ready["quarantined_drops"], broken.len());
    let metrics = fetch(app.admin(Method::GET, "/v1/admin/metrics"))
        .await
        .ok(200);
    let figures = app.get("/metrics").await.text();
    let gauge = format!("\nholdfast_quarantined_drops {}\n", broken.len());
    assert!(figures.contains(&gauge), "{figures}");
    for (case, position) in broken {
        let entry = json!({ "drop_id": case.drop, "position": position, "reason": case.reason });
        for listed in [&ready["quarantined"], &metrics["quarantined"]] {
            assert!(
                listed.as_array().unwrap().contains(&entry),
                "{entry}: {listed}"
            );
        }
        let lines = app.stderr();
        let line = lines
            .lines()
            .find(|line| line.contains("ERROR") && line.contains(&case.drop))
            .unwrap_or_else(|| panic!("no error about {}: {lines}", case.drop));
        assert!(line.contains(&format!("position {position}")), "{line}");
        assert!(line.contains(&case.event.event_type), "{line}");
        assert!(line.contains(case.reason), "{line}");
    }
}

async fn assert_sells(app: &App, drop: &str) {
    let hold = app.held(drop, &key()).await;
    app.purchase(&hold).await.ok(201);
}

async fn check(launch: &Launch, arguments: &[&str]) -> Finished {
    launch.run(&[&["log"], arguments].concat()).await
}

/// Runs docs/verify.py, the verifier that shares no code with the product, on an export.
async fn verify_in_python(app: &App) -> Finished {
    let export = app.launch().run(&["audit", "export"]).await;
    let file = app.launch().data_dir().join("export.ndjson");
    fs::write(&file, export.stdout).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/verify.py");
    let mut python = std::process::Command::new("python3");
    python.arg(script).arg(file);
    finish(python).await
}

#[tokio::test]
async fn inapplicable_event_stops_one_drop_and_is_repaired_online() {
    let database = fresh_database().await;
    let first = Launch::on(database.clone()).start().await;
    let second = Launch::on(database).start().await;
    let healthy = first
        .create_drop(500, json!({ "hold_seconds": 3600 }))
        .await;
    let cases = cases(&first).await;
    let mut watcher = second.watch("").await;
    watcher
        .until(|state| state["id"] == *healthy.as_str())
        .await;

    let mut broken: Vec<(&Case, i64)> = vec![];
    for case in &cases {
        if case.is_guarded {
            assert_eq!(
                case.event.is_refused(first.pool()).await,
                "23514",
                "{}",
                case.reason
            );
        }
        let position = case.event.append(first.pool()).await;
        broken.push((case, position));
        for app in [&first, &second] {
            assert_quarantined(app, case, position).await;
            assert_sells(app, &healthy).await;
        }
    }
    for app in [&first, &second] {
        assert_reported(app, &broken).await;
    }
    // The SSE stream continues.
    let sold = 2 * cases.len() as u64;
    watcher.until(|state| state["stock"]["sold"] == sold).await;
    // The raw log contains everything.
    let log = first.log().await;
    for (case, position) in &broken {
        let event = &log[usize::try_from(*position).unwrap() - 1];
        assert_eq!(event.event_type, case.event.event_type);
    }
    // A start does the same.
    let second = second.restart().await;
    for (case, position) in &broken {
        assert_quarantined(&second, case, *position).await;
    }
    assert_reported(&second, &broken).await;
    assert_sells(&second, &healthy).await;
    let mut watcher = second.watch("").await;
    watcher.drop().await;

    let launch = first.launch();
    let verdict = launch.run(&["audit", "verify"]).await;
    assert_eq!(verdict.code, Some(1), "{verdict:?}");
    assert!(
        verdict
            .stderr
            .contains(&format!("position {}", broken[0].1)),
        "{verdict:?}"
    );
    let found = check(launch, &["check"]).await;
    assert_eq!(found.code, Some(1), "{found:?}");
    // One line for the chain and one for each drop, and nothing on standard error.
    assert_eq!(found.stderr, "");
    let lines: Vec<&str> = found.stdout.lines().collect();
    assert_eq!(lines.len(), 1 + broken.len(), "{found:?}");
    assert!(lines[0].starts_with("the chain is sound: "), "{found:?}");
    for (case, position) in &broken {
        let line = found
            .stdout
            .lines()
            .find(|line| line.contains(&case.drop))
            .unwrap();
        assert!(line.contains(&format!("position {position}")), "{line}");
        let remedy = format!("; holdfast log void --position {position} --reason TEXT");
        assert!(line.ends_with(&remedy), "{line}");
    }

    // A repair: first a dry run, then the repair itself, once, and only at this position.
    let healthy_position = log.len().to_string();
    let void = async |position: &str, more: &[&str]| {
        let arguments = [
            "void",
            "--position",
            position,
            "--reason",
            "written by a test",
        ];
        check(launch, &[&arguments, more].concat()).await
    };
    let refused = void(&healthy_position, &["--yes"]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    for (index, (case, position)) in broken.iter().enumerate() {
        let position_text = position.to_string();
        let before = number(&first.audit("/v1/log/head").await.ok(200)["position"]);
        let output = void(&position_text, &[]).await;
        assert_eq!(output.code, Some(0), "{output:?}");
        assert!(output.stdout.contains("nothing was changed"), "{output:?}");
        let after = number(&first.audit("/v1/log/head").await.ok(200)["position"]);
        assert_eq!(before, after, "a dry run");
        let done = void(&position_text, &["--yes"]).await;
        assert_eq!(done.code, Some(0), "{done:?}");
        for app in [&first, &second] {
            eventually("the drop is readmitted", || async {
                let read = app.get(&format!("/v1/drops/{}", case.drop)).await;
                (read.status == 200).then_some(())
            })
            .await;
            let left = if app.address() == second.address() {
                3
            } else {
                4
            };
            eventually("both nodes have the same stock", || async {
                (app.stock(&case.drop).await[1] == left).then_some(())
            })
            .await;
            assert_sells(app, &case.drop).await;
            eventually("the other drops are still in quarantine", || async {
                let ready = app.get("/health/ready").await.ok(200);
                (ready["quarantined_drops"] == cases.len() - 1 - index).then_some(())
            })
            .await;
        }
        let bought: Reply = first.purchase(&case.hold).await;
        bought.ok(201);
        let id = text(&second.drop(&case.drop).await["id"]);
        watcher.until(|state| state["id"] == *id.as_str()).await;
    }
    let again = void(&broken[0].1.to_string(), &["--yes"]).await;
    assert_eq!(again.code, Some(1), "void already: {again:?}");

    let verified = eventually("the tables have folded the drops again", || async {
        let verdict = launch.run(&["audit", "verify"]).await;
        let is_whole = verdict.code == Some(0) && !verdict.stderr.contains("to be rebuilt");
        is_whole.then_some(verdict)
    })
    .await;
    assert!(
        verified.stdout.contains("\n7 incidents: position "),
        "{verified:?}"
    );
    let python = verify_in_python(&first).await;
    assert_eq!(python.code, Some(0), "{python:?}");
    assert!(python.stdout.contains("\n7 incidents: "), "{python:?}");
    let file = launch.data_dir().join("export.ndjson");
    let ours = launch
        .run(&["audit", "verify", "--file", file.to_str().unwrap()])
        .await;
    assert!(ours.stdout.contains("\n7 incidents: position "), "{ours:?}");
    let found = check(launch, &["check"]).await;
    assert_eq!(found.code, Some(0), "{found:?}");
    let third = second.restart().await;
    for case in &cases {
        assert_eq!(third.stock(&case.drop).await, [5, 2, 0, 3]);
    }
}

#[tokio::test]
async fn rebuild_omits_a_quarantined_drop_until_it_is_repaired() {
    let app = App::start().await;
    let drop = app.create_drop(5, json!({})).await;
    let other = app.create_drop(5, json!({})).await;
    let event = RawEvent::next(&drop, "DropPainted", "1.0", json!({}));
    let position = event.append(app.pool()).await.to_string();
    eventually("the drop is in quarantine", || async {
        (app.get(&format!("/v1/drops/{drop}")).await.status == 503).then_some(())
    })
    .await;
    app.held(&other, "alice").await;
    let launch = app.launch();
    let rebuilt = launch.run(&["projections", "rebuild", "--all"]).await;
    assert_eq!(rebuilt.code, Some(0), "{rebuilt:?}");
    let marked: i64 =
        sqlx::query_scalar("SELECT count(*) FROM projection_quarantines WHERE drop_id = $1::uuid")
            .bind(&drop)
            .fetch_one(app.pool())
            .await
            .unwrap();
    assert_eq!(marked, 3, "each table leaves it out");
    let arguments = [
        "log",
        "void",
        "--position",
        &position,
        "--reason",
        "written by a test",
        "--yes",
    ];
    let done = launch.run(&arguments).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    eventually("the tables are whole", || async {
        let marks: i64 = sqlx::query_scalar("SELECT count(*) FROM projection_quarantines")
            .fetch_one(app.pool())
            .await
            .unwrap();
        (marks == 0).then_some(())
    })
    .await;
    let rebuilt = launch.run(&["projections", "rebuild", "--all"]).await;
    assert_eq!(rebuilt.code, Some(0), "{rebuilt:?}");
    let verified = app.audit_verify().await;
    assert!(verified.contains("\n1 incident: position "), "{verified}");
}

/// Adds a trigger that records the `synchronous_commit` of each appending session in `witness`.
async fn witness_appends(pool: &sqlx::PgPool) {
    for statement in [
        "CREATE TABLE witness (setting text)",
        "CREATE FUNCTION testify() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO witness VALUES (current_setting('synchronous_commit')); RETURN NEW; END $$",
        "CREATE TRIGGER testify AFTER INSERT ON events FOR EACH ROW
             WHEN (NEW.aggregate_type <> 'Drop') EXECUTE FUNCTION testify()",
    ] {
        sqlx::query(statement).execute(pool).await.unwrap();
    }
}

#[tokio::test]
async fn repair_commits_synchronously_despite_the_databases_default() {
    let app = App::start().await;
    let drop = app.create_drop(5, json!({})).await;
    let position = RawEvent::next(&drop, "DropPainted", "1.0", json!({}))
        .append(app.pool())
        .await
        .to_string();
    witness_appends(app.pool()).await;
    let name: String = sqlx::query_scalar("SELECT current_database()")
        .fetch_one(app.pool())
        .await
        .unwrap();
    let off = format!("ALTER DATABASE {name} SET synchronous_commit = off");
    sqlx::query(&off).execute(app.pool()).await.unwrap();
    let launch = app.launch();
    let reason = ["--reason", "written by a test", "--yes"];
    let void = [&["void", "--position", &position][..], &reason].concat();
    let done = check(launch, &void).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let cut = [&["cut", "--force", "--after", "1"][..], &reason].concat();
    let done = check(launch, &cut).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let settings: Vec<String> = sqlx::query_scalar("SELECT setting FROM witness")
        .fetch_all(app.pool())
        .await
        .unwrap();
    assert_eq!(settings, ["on", "on"]);
}

/// Appends a hold whose personal data has no salt: neither it nor the event can be read.
async fn append_unreadable_hold(app: &App, drop: &str, buyer_id: &str) {
    let (placed_at, expires_at) = harness::now_and_in(3600);
    let placed = json!({
        "hold_id": Uuid::new_v4(), "buyer": Uuid::new_v4(), "quantity": 1, "placed_at": placed_at,
        "expires_at": expires_at,
    });
    let mut event = RawEvent::next(drop, "HoldPlaced", "1.0", placed);
    event.private = Some(json!({ "buyer_id": buyer_id }));
    event.append(app.pool()).await;
}

async fn wait_for_quarantined(app: &App, drops: usize) {
    eventually("the number of drops in quarantine", || async {
        let ready = app.get("/health/ready").await.ok(200);
        (ready["quarantined_drops"] == drops).then_some(())
    })
    .await;
}

#[tokio::test]
async fn erasure_that_makes_an_event_readable_ends_the_quarantine() {
    let database = fresh_database().await;
    let first = Launch::on(database.clone()).start().await;
    let second = Launch::on(database).start().await;
    let drop = first.create_drop(5, json!({})).await;
    let other = first.create_drop(5, json!({})).await;
    append_unreadable_hold(&first, &drop, "mallory").await;
    append_unreadable_hold(&first, &other, "nancy").await;
    for app in [&first, &second] {
        wait_for_quarantined(app, 2).await;
    }
    let erased = fetch(first.admin(Method::DELETE, "/v1/admin/buyers/mallory")).await;
    assert_eq!(erased.status, 204, "{erased:?}");
    for app in [&first, &second] {
        wait_for_quarantined(app, 1).await;
        assert_eq!(app.stock(&drop).await, [5, 4, 1, 0]);
    }
    first.held(&drop, "alice").await;
    second.held(&drop, "bob").await;
    for app in [&first, &second] {
        let lines = app.stderr();
        let is_error = |line: &&str| line.contains("ERROR") && line.contains(&other);
        assert_eq!(lines.lines().filter(is_error).count(), 1, "{lines}");
    }
}
