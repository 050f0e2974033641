//! Queries of the log: the history of a hold, the state at a position, replayed views, and the
//! changes between two positions.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::fs;

use harness::{Event, Finished, Launch, SampleLog, text};
use serde_json::{Value, json};
use uuid::Uuid;

async fn auditor(sample: &SampleLog) -> Launch {
    let launch = Launch::on(sample.altered("SELECT 1").await);
    fs::write(launch.data_dir().join("log.ndjson"), &sample.export).unwrap();
    launch
}

/// Queries the database, and the export alone; both must give the same output.
async fn query(launch: &Launch, arguments: &[&str]) -> Finished {
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

async fn output_of(launch: &Launch, arguments: &[&str]) -> String {
    let output = query(launch, arguments).await;
    assert_eq!(
        (output.code, output.stderr.as_str()),
        (Some(0), ""),
        "{output:?}"
    );
    output.stdout
}

async fn json_of(launch: &Launch, arguments: &[&str]) -> Value {
    let output = output_of(launch, &[arguments, &["--json"]].concat()).await;
    serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {output}"))
}

fn hold_resolved_by(sample: &SampleLog, ended: &str) -> String {
    let event = sample.log.iter().find(|event| event.event_type == ended);
    text(&event.unwrap().fields()["hold_id"])
}

#[tokio::test]
async fn history_of_a_hold_is_described_in_words() {
    let sample = SampleLog::create().await;
    let launch = auditor(&sample).await;

    let bought = output_of(
        &launch,
        &[
            "history",
            "--hold",
            &hold_resolved_by(&sample, "PurchaseConfirmed"),
        ],
    )
    .await;
    let lines: Vec<&str> = bought.lines().collect();
    assert_eq!(lines.len(), 4, "{bought}");
    assert!(
        lines[0].contains("“Test drop” was scheduled: 20 units at 199.99 USD"),
        "{bought}"
    );
    assert!(
        lines[1].contains(": 2 units were held for buyer "),
        "{bought}"
    );
    assert!(
        lines[2].contains(" paid 399.98 USD for 2 units ("),
        "{bought}"
    );
    assert!(lines[2].contains(&format!(
        "position {}: ",
        sample.position_of("PurchaseConfirmed")
    )));
    assert_eq!(lines[3], "According to the log, the hold is purchased.");

    let expired = output_of(
        &launch,
        &[
            "history",
            "--hold",
            &hold_resolved_by(&sample, "HoldExpired"),
        ],
    )
    .await;
    assert!(
        expired.contains(" expired at ") && expired.ends_with("the hold is expired.\n"),
        "{expired}"
    );
    let given_up = output_of(
        &launch,
        &[
            "history",
            "--hold",
            &hold_resolved_by(&sample, "HoldReleased"),
        ],
    )
    .await;
    assert!(
        given_up.contains("released by its buyer; 2 units were available again"),
        "{given_up}"
    );

    let cancelled = sample
        .log
        .iter()
        .rfind(|event| event.event_type == "HoldReleased")
        .unwrap();
    let hold = text(&cancelled.fields()["hold_id"]);
    let output = json_of(&launch, &["history", "--hold", &hold]).await;
    assert_eq!(
        (&output["hold_id"], &output["status"]),
        (&json!(hold), &json!("released"))
    );
    assert_eq!(text(&output["drop_id"]), cancelled.aggregate_id);
    let kinds: Vec<String> = output["events"]
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
            "HoldChanged",
            "HoldExtended",
            "DropRescheduled",
            "DropCancelled",
            "HoldReleased"
        ]
    );
    assert_eq!(output["events"][6]["hash"], cancelled.hash);
    assert!(text(&output["events"][6]["words"]).contains("because the drop was cancelled"));

    let neither = launch.run(&["audit", "history"]).await;
    assert_eq!(neither.code, Some(2), "{neither:?}");
    for name in ["--hold", "--order"] {
        assert!(neither.stderr.contains(name), "{}", neither.stderr);
    }

    let unknown_hold = query(&launch, &["history", "--hold", &Uuid::new_v4().to_string()]).await;
    assert_eq!(
        (unknown_hold.code, unknown_hold.stdout.as_str()),
        (Some(1), ""),
        "{unknown_hold:?}"
    );
}

/// The units of a drop after the first `count` events, from the harness's ledger.
fn units(sample: &SampleLog, count: usize, drop: &str) -> [i64; 4] {
    let ledger = harness::Ledger::of(&sample.log[..count]);
    let units = ledger.units(drop);
    [units.total, units.available, units.held, units.sold]
}

#[tokio::test]
async fn state_at_any_position_equals_the_ledger() {
    let sample = SampleLog::create().await;
    let launch = auditor(&sample).await;
    for (index, event) in sample.log.iter().enumerate() {
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
            units(&sample, index + 1, &event.aggregate_id),
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
async fn state_is_selected_by_time_and_described_in_words() {
    let sample = SampleLog::create().await;
    let launch = auditor(&sample).await;
    let drop = &sample.log[0].aggregate_id;
    let now = json_of(&launch, &["state"]).await;
    assert_eq!(now["drops"].as_array().unwrap().len(), 2);
    assert_eq!(now["position"], sample.log.last().unwrap().position);

    let cancelled = &sample.log[usize::try_from(sample.position_of("DropCancelled")).unwrap() - 1];
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

    let words = output_of(&launch, &["state", "--drop", drop, "--at", "3"]).await;
    assert!(
        words.contains("“Test drop” (") && words.contains("is on sale, 199.99 USD a unit"),
        "{words}"
    );
    // A drop's state is that of the requested time, not of its last event.
    let head = sample.log.last().unwrap();
    let of_both = json_of(&launch, &["state"]).await;
    for drop in of_both["drops"].as_array().unwrap() {
        let of_one = json_of(&launch, &["state", "--drop", &text(&drop["id"])]).await;
        assert_eq!(of_one["drops"], json!([drop]));
        assert_eq!(
            (&of_one["position"], &of_one["at"]),
            (&json!(head.position), &json!(head.recorded_at))
        );
    }
    let before = output_of(&launch, &["state", "--at", "2001-01-01T00:00:00.000Z"]).await;
    assert_eq!(before, "The log has no events up to this point.\n");
    assert_eq!(
        query(&launch, &["state", "--drop", &Uuid::new_v4().to_string()])
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
    assert_refused_beyond(&launch, &sample, &["state", "--at"]).await;
}

/// A position beyond the log is rejected with an explanation, by the database and by a file; the
/// head itself is not.
async fn assert_refused_beyond(launch: &Launch, sample: &SampleLog, arguments: &[&str]) {
    let head = sample.log.len();
    let (last, beyond) = (head.to_string(), (head + 1).to_string());
    output_of(launch, &[arguments, &[&last]].concat()).await;
    let refused = query(launch, &[arguments, &[&beyond]].concat()).await;
    let reason = format!("position {beyond} is not in the log yet: the head is at position {head}");
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""));
    assert!(refused.stderr.contains(&reason), "{refused:?}");
}

#[tokio::test]
async fn views_are_replayed_from_the_log_and_compared() {
    let sample = SampleLog::create().await;
    let launch = auditor(&sample).await;
    let output = json_of(&launch, &["replay"]).await;
    assert_eq!(output["position"], sample.log.last().unwrap().position);
    for view in ["live_stock", "top_purchasers", "sales_timeline"] {
        let sql = format!("SELECT coalesce(json_agg(t), '[]')::text FROM {view} t");
        let rows: String = sqlx::query_scalar(&sql)
            .fetch_one(&sample_pool(&launch).await)
            .await
            .unwrap();
        let table: Vec<Value> = serde_json::from_str(&rows).unwrap();
        let replayed = output["views"][view].as_array().unwrap();
        assert_eq!(replayed.len(), table.len(), "{view}");
        assert!(!table.is_empty());
    }
    let purchasers = output_of(&launch, &["replay", "--view", "top_purchasers"]).await;
    assert!(
        purchasers.contains("\ntop_purchasers\n")
            && purchasers.ends_with("\n  (2 rows)\n")
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

    assert_refused_beyond(&launch, &sample, &["replay", "--at"]).await;

    let equal = output_of(&launch, &["replay", "--compare"]).await;
    assert_eq!(
        equal
            .lines()
            .filter(|line| line.contains(" rows, equal to the log up to position "))
            .count(),
        3,
        "{equal}"
    );
    let altered = Launch::on(
        sample
            .altered(
                "UPDATE live_stock SET sold = sold - 2, available = available + 2 WHERE sold > 0",
            )
            .await,
    );
    fs::write(altered.data_dir().join("log.ndjson"), &sample.export).unwrap();
    let differs = query(&altered, &["replay", "--compare"]).await;
    assert_eq!(differs.code, Some(1), "{differs:?}");
    assert!(
        differs.stdout.contains("live_stock: differs from the log")
            && differs.stdout.contains("\"sold\":0"),
        "{differs:?}"
    );
    let output = query(&altered, &["replay", "--compare", "--json"]).await;
    let output: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(
        (
            &output["equal"],
            &output["views"][0]["equal"],
            &output["views"][1]["equal"]
        ),
        (&json!(false), &json!(false), &json!(true))
    );
}

async fn sample_pool(launch: &Launch) -> sqlx::PgPool {
    sqlx::PgPool::connect(launch.database_url().unwrap())
        .await
        .unwrap()
}

#[tokio::test]
async fn changes_between_two_positions_are_listed_by_drop() {
    let sample = SampleLog::create().await;
    let launch = auditor(&sample).await;
    let (from, to) = (3, sample.log.len());
    let output = json_of(&launch, &["diff", &from.to_string(), &to.to_string()]).await;
    assert_eq!((&output["from"], &output["to"]), (&json!(from), &json!(to)));
    for drop in output["drops"].as_array().unwrap() {
        let id = text(&drop["drop_id"]);
        for (side, count) in [("before", from), ("after", to)] {
            let stock = ["total", "available", "held", "sold"]
                .map(|name| drop[side][name].as_i64().unwrap());
            assert_eq!(stock, units(&sample, count, &id), "{side}");
        }
        let happened = |event: &&Event| event.aggregate_id == id && event.position > from as u64;
        let counted: u64 = drop["events"]
            .as_object()
            .unwrap()
            .values()
            .map(|count| count.as_u64().unwrap())
            .sum();
        assert_eq!(counted, sample.log.iter().filter(happened).count() as u64);
    }
    let words = output_of(&launch, &["diff", "3"]).await;
    assert!(
        words.contains("sold                0 → 2 (+2)")
            && words.contains("holds purchased     2")
            && words.contains("purchases refunded  1"),
        "{words}"
    );
    assert!(
        words.contains("“Test drop” at 199.99 USD → “Renamed” at 199.99 USD"),
        "{words}"
    );
    assert_eq!(
        output_of(&launch, &["diff", &to.to_string()]).await,
        format!("From position {to} to position {to}:\n\n  no drop changed\n")
    );
    assert!(
        output_of(&launch, &["diff", "0", "1"])
            .await
            .contains("available  20 (new)")
    );
    assert_refused_beyond(&launch, &sample, &["diff"]).await;
    assert_refused_beyond(&launch, &sample, &["diff", "3"]).await;
    let drop = sample.second_drop().aggregate_id.as_str();
    assert_refused_beyond(&launch, &sample, &["diff", "--drop", drop]).await;

    let backwards = query(&launch, &["diff", "6", "2"]).await;
    let reason = "holdfast: FROM (position 6) is later than TO (position 2)\n";
    assert_eq!(
        (backwards.code, backwards.stderr.as_str()),
        (Some(2), reason)
    );
    let (later, earlier) = ("2026-02-01T00:00:00.000Z", "2026-01-01T00:00:00.000Z");
    let backwards = query(&launch, &["diff", later, earlier]).await;
    let reason = format!("holdfast: FROM ({later}) is later than TO ({earlier})\n");
    assert_eq!((backwards.code, backwards.stderr), (Some(2), reason));
    // The positions are the requested ones, even if the drop has other events there.
    let output = json_of(&launch, &["diff", "3", &to.to_string(), "--drop", drop]).await;
    assert_eq!((&output["from"], &output["to"]), (&json!(3), &json!(to)));
    let unknown = Uuid::new_v4().to_string();
    let nothing = query(&launch, &["diff", "3", "--drop", &unknown]).await;
    let reason = format!("holdfast: drop {unknown} does not exist at that point of the log\n");
    assert_eq!((nothing.code, nothing.stderr), (Some(1), reason));
}
