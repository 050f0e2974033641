//! Looking into the log: one hold's history, the state at a place, every view replayed, and what changed in between.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::fs;

use harness::{Event, Finished, Launch, Lively, text};
use serde_json::{Value, json};
use uuid::Uuid;

async fn auditor(lively: &Lively) -> Launch {
    let launch = Launch::on(lively.altered("SELECT 1").await);
    fs::write(launch.data_dir().join("log.ndjson"), &lively.export).unwrap();
    launch
}

/// Asks the database, and asks the export alone; they must say the same.
async fn ask(launch: &Launch, arguments: &[&str]) -> Finished {
    let from_database = launch.run(&[&["audit"], arguments].concat()).await;
    let file = launch.data_dir().join("log.ndjson");
    let more = ["--file", file.to_str().unwrap()];
    let from_file = launch.run(&[&["audit"], arguments, &more].concat()).await;
    assert_eq!(
        from_database.code, from_file.code,
        "{from_database:?} {from_file:?}"
    );
    assert_eq!(from_database.stdout, from_file.stdout);
    assert_eq!(from_database.stderr, from_file.stderr);
    from_database
}

async fn told(launch: &Launch, arguments: &[&str]) -> String {
    let said = ask(launch, arguments).await;
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    said.stdout
}

async fn json_of(launch: &Launch, arguments: &[&str]) -> Value {
    let said = told(launch, &[arguments, &["--json"]].concat()).await;
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

fn hold_that(lively: &Lively, ended: &str) -> String {
    let event = lively.log.iter().find(|event| event.event_type == ended);
    text(&event.unwrap().fields()["hold_id"])
}

#[tokio::test]
async fn a_holds_history_is_told_in_words() {
    let lively = Lively::make().await;
    let launch = auditor(&lively).await;

    let bought = told(
        &launch,
        &[
            "history",
            "--hold",
            &hold_that(&lively, "PurchaseConfirmed"),
        ],
    )
    .await;
    let lines: Vec<&str> = bought.lines().collect();
    assert_eq!(lines.len(), 4, "{bought}");
    assert!(
        lines[0].contains("“Test drop” was put on sale: 20 units at 199.99 USD"),
        "{bought}"
    );
    assert!(
        lines[1].contains(": 2 units were set aside for buyer "),
        "{bought}"
    );
    assert!(
        lines[2].contains(" paid 399.98 USD for 2 units ("),
        "{bought}"
    );
    assert!(lines[2].contains(&format!(
        "position {}: ",
        lively.position_of("PurchaseConfirmed")
    )));
    assert_eq!(lines[3], "As far as the log tells, the hold is purchased.");

    let expired = told(
        &launch,
        &["history", "--hold", &hold_that(&lively, "HoldExpired")],
    )
    .await;
    assert!(
        expired.contains(" had run out at ") && expired.ends_with("the hold is expired.\n"),
        "{expired}"
    );
    let given_up = told(
        &launch,
        &["history", "--hold", &hold_that(&lively, "HoldReleased")],
    )
    .await;
    assert!(
        given_up.contains("given up, by its buyer; 2 units were available again"),
        "{given_up}"
    );

    let cancelled = lively
        .log
        .iter()
        .rfind(|event| event.event_type == "HoldReleased")
        .unwrap();
    let hold = text(&cancelled.fields()["hold_id"]);
    let said = json_of(&launch, &["history", "--hold", &hold]).await;
    assert_eq!(
        (&said["hold_id"], &said["status"]),
        (&json!(hold), &json!("released"))
    );
    assert_eq!(text(&said["drop_id"]), cancelled.aggregate_id);
    let kinds: Vec<String> = said["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| text(&event["event_type"]))
        .collect();
    assert_eq!(
        kinds,
        [
            "DropScheduled",
            "HoldPlaced",
            "DropRescheduled",
            "DropCancelled",
            "HoldReleased"
        ]
    );
    assert_eq!(said["events"][4]["hash"], cancelled.hash);
    assert!(text(&said["events"][4]["words"]).contains("because the drop was called off"));

    let nobody = ask(&launch, &["history", "--hold", &Uuid::new_v4().to_string()]).await;
    assert_eq!(
        (nobody.code, nobody.stdout.as_str()),
        (Some(1), ""),
        "{nobody:?}"
    );
}

/// The units of a drop after the first `count` events, counted by the harness.
fn units(lively: &Lively, count: usize, drop: &str) -> [i64; 4] {
    let ledger = harness::Ledger::of(&lively.log[..count]);
    let units = ledger.units(drop);
    [units.total, units.available, units.held, units.sold]
}

#[tokio::test]
async fn the_state_at_any_position_is_what_a_ledger_says() {
    let lively = Lively::make().await;
    let launch = auditor(&lively).await;
    for (index, event) in lively.log.iter().enumerate() {
        let position = event.position.to_string();
        let state = json_of(
            &launch,
            &["state", "--drop", &event.aggregate_id, "--at", &position],
        )
        .await;
        let drop = &state["drops"][0];
        let stock = ["total", "available", "held", "sold"]
            .map(|name| drop["stock"][name].as_i64().unwrap());
        assert_eq!(
            stock,
            units(&lively, index + 1, &event.aggregate_id),
            "at position {position}"
        );
        let held: i64 = drop["open_holds"]
            .as_array()
            .unwrap()
            .iter()
            .map(|hold| hold["quantity"].as_i64().unwrap())
            .sum();
        assert_eq!(held, stock[2]);
        assert_eq!(
            (&drop["position"], &drop["id"]),
            (&json!(event.position), &json!(event.aggregate_id))
        );
    }
}

#[tokio::test]
async fn the_state_is_asked_for_by_time_and_told_in_words() {
    let lively = Lively::make().await;
    let launch = auditor(&lively).await;
    let drop = &lively.log[0].aggregate_id;
    let now = json_of(&launch, &["state"]).await;
    assert_eq!(now["drops"].as_array().unwrap().len(), 2);
    assert_eq!(now["position"], lively.log.last().unwrap().position);

    let cancelled = &lively.log[usize::try_from(lively.position_of("DropCancelled")).unwrap() - 1];
    let status = async |at: &str| {
        let state = json_of(&launch, &["state", "--drop", drop, "--at", at]).await;
        text(&state["drops"][0]["status"])
    };
    let moment_before: domain::values::Timestamp = cancelled
        .recorded_at
        .parse::<domain::values::Timestamp>()
        .unwrap()
        .plus_millis(-1);
    assert_eq!(status(&moment_before.to_string()).await, "live");
    assert_eq!(status(&cancelled.recorded_at).await, "cancelled");

    let words = told(&launch, &["state", "--drop", drop, "--at", "3"]).await;
    assert!(
        words.contains("“Test drop” (") && words.contains("is on sale, 199.99 USD a unit"),
        "{words}"
    );
    // A drop's state is that of the moment asked for, and not of the last thing that happened to it.
    let head = lively.log.last().unwrap();
    let of_both = json_of(&launch, &["state"]).await;
    for drop in of_both["drops"].as_array().unwrap() {
        let of_one = json_of(&launch, &["state", "--drop", &text(&drop["id"])]).await;
        assert_eq!(of_one["drops"], json!([drop]));
        assert_eq!(
            (&of_one["position"], &of_one["at"]),
            (&json!(head.position), &json!(head.recorded_at))
        );
    }
    let before = told(&launch, &["state", "--at", "2001-01-01T00:00:00.000Z"]).await;
    assert_eq!(before, "Nothing had happened yet.\n");
    assert_eq!(
        ask(&launch, &["state", "--drop", &Uuid::new_v4().to_string()])
            .await
            .code,
        Some(1)
    );
    for wrong in [["state", "--at", "noon"], ["state", "--drop", "x"]] {
        assert_eq!(
            launch
                .run(&[&["audit"], wrong.as_slice()].concat())
                .await
                .code,
            Some(2)
        );
    }
    assert_refused_beyond(&launch, &lively, &["state", "--at"]).await;
}

/// What is not in the log yet is refused, and so said, by the database and by a file; the head itself is not.
async fn assert_refused_beyond(launch: &Launch, lively: &Lively, arguments: &[&str]) {
    let head = lively.log.len();
    let (last, beyond) = (head.to_string(), (head + 1).to_string());
    told(launch, &[arguments, &[&last]].concat()).await;
    let refused = ask(launch, &[arguments, &[&beyond]].concat()).await;
    let reason = format!("position {beyond} is not in the log yet: its head is at {head}");
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""));
    assert!(refused.stderr.contains(&reason), "{refused:?}");
}

#[tokio::test]
async fn views_are_replayed_from_the_log_alone_and_compared() {
    let lively = Lively::make().await;
    let launch = auditor(&lively).await;
    let said = json_of(&launch, &["replay"]).await;
    assert_eq!(said["position"], lively.log.last().unwrap().position);
    for view in ["live_stock", "top_purchasers", "sales_timeline"] {
        let sql = format!("SELECT coalesce(json_agg(t), '[]')::text FROM {view} t");
        let rows: String = sqlx::query_scalar(&sql)
            .fetch_one(&lively_pool(&launch).await)
            .await
            .unwrap();
        let table: Vec<Value> = serde_json::from_str(&rows).unwrap();
        let replayed = said["views"][view].as_array().unwrap();
        assert_eq!(replayed.len(), table.len(), "{view}");
        assert!(!table.is_empty());
    }
    let purchasers = told(&launch, &["replay", "--view", "top_purchasers"]).await;
    assert!(
        purchasers.contains("\ntop_purchasers\n")
            && purchasers.ends_with("\n  (1 row)\n")
            && !purchasers.contains("live_stock"),
        "{purchasers}"
    );
    let early = json_of(&launch, &["replay", "--at", "1", "--view", "live_stock"]).await;
    assert_eq!(early["views"]["live_stock"][0]["available"], 20);
    assert_eq!(
        launch
            .run(&["audit", "replay", "--view", "nothing"])
            .await
            .code,
        Some(2)
    );

    assert_refused_beyond(&launch, &lively, &["replay", "--at"]).await;

    let equal = told(&launch, &["replay", "--compare"]).await;
    assert_eq!(
        equal
            .lines()
            .filter(|line| line.contains(" rows, equal to the log up to position "))
            .count(),
        3,
        "{equal}"
    );
    let altered = Launch::on(
        lively
            .altered(
                "UPDATE live_stock SET sold = sold - 2, available = available + 2 WHERE sold > 0",
            )
            .await,
    );
    fs::write(altered.data_dir().join("log.ndjson"), &lively.export).unwrap();
    let differs = ask(&altered, &["replay", "--compare"]).await;
    assert_eq!(differs.code, Some(1), "{differs:?}");
    assert!(
        differs.stdout.contains("live_stock: differs from the log")
            && differs.stdout.contains("\"sold\":0"),
        "{differs:?}"
    );
    let said = ask(&altered, &["replay", "--compare", "--json"]).await;
    let said: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(
        (
            &said["equal"],
            &said["views"][0]["equal"],
            &said["views"][1]["equal"]
        ),
        (&json!(false), &json!(false), &json!(true))
    );
}

async fn lively_pool(launch: &Launch) -> sqlx::PgPool {
    sqlx::PgPool::connect(launch.database_url().unwrap())
        .await
        .unwrap()
}

#[tokio::test]
async fn what_changed_between_two_places_is_told_drop_by_drop() {
    let lively = Lively::make().await;
    let launch = auditor(&lively).await;
    let (from, to) = (3, lively.log.len());
    let said = json_of(&launch, &["diff", &from.to_string(), &to.to_string()]).await;
    assert_eq!((&said["from"], &said["to"]), (&json!(from), &json!(to)));
    for drop in said["drops"].as_array().unwrap() {
        let id = text(&drop["drop_id"]);
        for (side, count) in [("before", from), ("after", to)] {
            let stock = ["total", "available", "held", "sold"]
                .map(|name| drop[side][name].as_i64().unwrap());
            assert_eq!(stock, units(&lively, count, &id), "{side}");
        }
        let happened = |event: &&Event| event.aggregate_id == id && event.position > from as u64;
        let counted: u64 = drop["events"]
            .as_object()
            .unwrap()
            .values()
            .map(|count| count.as_u64().unwrap())
            .sum();
        assert_eq!(counted, lively.log.iter().filter(happened).count() as u64);
    }
    let words = told(&launch, &["diff", "3"]).await;
    assert!(
        words.contains("sold            0 → 2 (+2)") && words.contains("holds paid for  1"),
        "{words}"
    );
    assert!(
        words.contains("“Test drop” at 199.99 USD → “Renamed” at 199.99 USD"),
        "{words}"
    );
    assert_eq!(
        told(&launch, &["diff", &to.to_string()]).await,
        format!("From position {to} to position {to}:\n\n  no drop changed\n")
    );
    assert!(
        told(&launch, &["diff", "0", "1"])
            .await
            .contains("available    20 (new)")
    );
    assert_refused_beyond(&launch, &lively, &["diff"]).await;
    assert_refused_beyond(&launch, &lively, &["diff", "3"]).await;
    let drop = lively.log[1].aggregate_id.as_str();
    assert_refused_beyond(&launch, &lively, &["diff", "--drop", drop]).await;

    let backwards = ask(&launch, &["diff", "6", "2"]).await;
    let reason = "holdfast: FROM, position 6, comes after TO, position 2\n";
    assert_eq!(
        (backwards.code, backwards.stderr.as_str()),
        (Some(2), reason)
    );
    let (later, earlier) = ("2026-02-01T00:00:00.000Z", "2026-01-01T00:00:00.000Z");
    let backwards = ask(&launch, &["diff", later, earlier]).await;
    let reason = format!("holdfast: FROM, {later}, comes after TO, {earlier}\n");
    assert_eq!((backwards.code, backwards.stderr), (Some(2), reason));
    // The places are those that were asked for, whatever happened to the drop there.
    let said = json_of(&launch, &["diff", "3", &to.to_string(), "--drop", drop]).await;
    assert_eq!((&said["from"], &said["to"]), (&json!(3), &json!(to)));
    let unknown = Uuid::new_v4().to_string();
    let nothing = ask(&launch, &["diff", "3", "--drop", &unknown]).await;
    let reason = format!("holdfast: there is no drop {unknown} at that place of the log\n");
    assert_eq!((nothing.code, nothing.stderr), (Some(1), reason));
}
