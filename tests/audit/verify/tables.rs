//! The tables of projections, and the database around the log.

use harness::{Launch, SampleLog, eventually};
use serde_json::{Value, json};

use super::assert_disproved;

#[tokio::test]
async fn table_that_differs_from_the_log_is_found() {
    let sample = SampleLog::create().await;
    let cancelled = sample.log.last().unwrap().position;
    let bought = sample.position_of("PurchaseConfirmed");
    let alterations = [
        ("UPDATE live_stock SET available = available - 1, sold = sold + 1 WHERE sold > 0".to_owned(), "live_stock", Some(cancelled)),
        ("DELETE FROM live_stock".to_owned(), "live_stock", None),
        ("UPDATE live_stock SET terms = (terms::text || ' ')::json, terms_version = 7".to_owned(), "live_stock", None),
        ("UPDATE top_purchasers SET quantity = quantity + 1".to_owned(), "top_purchasers", Some(bought)),
        (format!("UPDATE top_purchasers SET position = {bought} + 1"), "top_purchasers", Some(bought)),
        ("INSERT INTO top_purchasers SELECT drop_id, gen_random_uuid(), 1, last_purchased_at, position FROM top_purchasers".to_owned(), "top_purchasers", Some(bought)),
        ("ALTER TABLE top_purchasers DROP CONSTRAINT top_purchasers_pkey; INSERT INTO top_purchasers SELECT * FROM top_purchasers".to_owned(), "top_purchasers", Some(bought)),
        ("DELETE FROM sales_timeline".to_owned(), "sales_timeline", None),
        ("UPDATE sales_timeline SET expired = expired + 1".to_owned(), "sales_timeline", None),
        ("UPDATE projection_checkpoints SET position = position - 1 WHERE name = 'live_stock'".to_owned(), "live_stock", None),
        ("UPDATE projection_checkpoints SET position = position + 1 WHERE name = 'live_stock'".to_owned(), "live_stock has its checkpoint", Some(cancelled)),
        ("ALTER TABLE live_stock DROP CONSTRAINT live_stock_sold_check, DROP CONSTRAINT units_are_conserved; UPDATE live_stock SET sold = -1".to_owned(), "live_stock", None),
        ("UPDATE live_stock SET terms = (left(terms::text, -1) || ',\"free\": true}')::json".to_owned(), "live_stock", None),
        ("UPDATE live_stock SET terms = ('{\"name\":\"Free!\",' || substr(terms::text, 2))::json".to_owned(), "live_stock", None),
        ("UPDATE live_stock SET scheduled_at = 'infinity'".to_owned(), "live_stock", None),
        ("UPDATE top_purchasers SET last_purchased_at = last_purchased_at + interval '1 microsecond'".to_owned(), "top_purchasers", Some(bought)),
        ("ALTER TABLE top_purchasers DROP CONSTRAINT top_purchasers_quantity_check; UPDATE top_purchasers SET quantity = -2".to_owned(), "top_purchasers", Some(bought)),
        ("UPDATE sales_timeline SET minute = '-infinity' WHERE sold > 0".to_owned(), "sales_timeline", None),
    ];
    for (sql, view, position) in &alterations {
        let verdict = sample.audit_after(sql).await;
        assert_eq!(verdict.code, Some(1), "{sql}: {verdict:?}");
        assert!(
            verdict.stderr.contains(&format!("view {view}")),
            "{sql}: {verdict:?}"
        );
        assert!(verdict.stderr.contains(" (drop "), "{sql}: {verdict:?}");
        if let Some(position) = position {
            assert!(
                verdict.stderr.contains(&format!("position {position}: ")),
                "{sql}: {verdict:?}"
            );
        }
    }
    let copy = sample
        .altered("UPDATE top_purchasers SET quantity = 9")
        .await;
    let verdict = Launch::on(copy).run(&["audit", "verify", "--json"]).await;
    assert_eq!(verdict.code, Some(1));
    let output: Value = serde_json::from_str(&verdict.stdout).unwrap();
    assert_eq!(
        (&output["verified"], &output["violation"]["position"]),
        (&json!(false), &json!(bought))
    );
    let quantity = |row: &Value| {
        serde_json::from_str::<Value>(row.as_str().unwrap()).unwrap()["quantity"].clone()
    };
    assert_eq!(quantity(&output["violation"]["expected"]), 2);
    assert_eq!(quantity(&output["violation"]["found"]), 9);
}

#[tokio::test]
async fn lowest_position_of_all_differing_tables_is_reported() {
    let sample = SampleLog::create().await;
    let bought = sample.position_of("PurchaseConfirmed");
    let both = "UPDATE live_stock SET available = available - 1, sold = sold + 1 WHERE sold > 0; UPDATE top_purchasers SET quantity = 9";
    assert_disproved(
        &sample.audit_after(both).await,
        bought,
        "view top_purchasers",
    );
}

#[tokio::test]
async fn table_of_another_fold_version_is_not_verified() {
    let sample = SampleLog::create().await;
    let newer = "UPDATE projection_checkpoints SET fold_version = 3 WHERE name = 'sales_timeline'";
    let launch = Launch::on(sample.altered(newer).await);
    let reason = "its rows are of version 3 of its fold, and this program folds version 2; run `holdfast projections rebuild sales_timeline`";
    let head = sample.log.last().unwrap().position;
    assert_disproved(&launch.run(&["audit", "verify"]).await, head, reason);
    let compared = launch.run(&["audit", "replay", "--compare"]).await;
    assert_eq!(compared.code, Some(1), "{compared:?}");
    assert!(compared.stdout.contains(reason), "{compared:?}");
    let rebuilt = launch
        .run(&["projections", "rebuild", "sales_timeline"])
        .await;
    assert_eq!(rebuilt.code, Some(0), "{rebuilt:?}");
    assert_eq!(launch.run(&["audit", "verify"]).await.code, Some(0));
}

/// A table that a rebuild replaced after the audit took its snapshot would look empty to the audit.
#[tokio::test]
async fn audit_waits_for_a_table_that_is_being_replaced() {
    let sample = SampleLog::create().await;
    let copy = sample.altered("SELECT 1").await;
    let pool = sqlx::PgPool::connect(&copy.url).await.unwrap();
    let mut swap = pool.begin().await.unwrap();
    let swapped = "CREATE TABLE next (LIKE sales_timeline INCLUDING ALL); INSERT INTO next SELECT * FROM sales_timeline;
                   DROP TABLE sales_timeline; ALTER TABLE next RENAME TO sales_timeline";
    sqlx::raw_sql(swapped).execute(&mut *swap).await.unwrap();
    let launch = Launch::on(copy);
    let audit = launch.run(&["audit", "verify"]);
    let swap = async {
        eventually("the audit waits for the table", || async {
            let waits: bool = sqlx::query_scalar(
                "SELECT EXISTS (SELECT FROM pg_stat_activity
                                 WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%sales_timeline%')",
            )
            .fetch_one(&pool)
            .await
            .unwrap();
            waits.then_some(())
        })
        .await;
        swap.commit().await.unwrap();
    };
    let (verdict, ()) = tokio::join!(audit, swap);
    assert_eq!(verdict.code, Some(0), "{verdict:?}");
}

#[tokio::test]
async fn damage_to_the_database_is_found() {
    let sample = SampleLog::create().await;
    let last = sample.log.last().unwrap().position;
    let damages = [
        ("UPDATE log_head SET position = 1000000000000".to_owned(), last + 1, "this event is missing"),
        (format!("UPDATE log_head SET (position, hash, recorded_at) = (SELECT position, hash, recorded_at FROM events WHERE position = {last} - 1)"), last, "outside the log"),
        ("UPDATE log_head SET position = -1".to_owned(), 0, "log_head is damaged: position is out of range"),
        ("UPDATE log_head SET recorded_at = 'infinity'".to_owned(), last, "log_head is damaged: recorded_at is not a time"),
        ("UPDATE log_head SET hash = '\\x00'".to_owned(), last, "log_head is damaged: hash: expected 32 bytes, found 1"),
        ("DELETE FROM log_head".to_owned(), 0, "log_head has no row"),
        ("DROP TABLE top_purchasers".to_owned(), 0, "table top_purchasers does not have the expected schema"),
        ("ALTER TABLE live_stock DROP COLUMN expired".to_owned(), 0, "table live_stock does not have the expected schema"),
        ("DROP TABLE erasures".to_owned(), 0, "relation \"erasures\" does not exist"),
        (
            "ALTER TABLE events ALTER position DROP NOT NULL;
             INSERT INTO events SELECT aggregate_type, aggregate_id, sequence + 1000, event_type, event_version, payload, metadata, NULL, recorded_at, hash
               FROM events WHERE position = 1".to_owned(),
            0,
            "outside the log",
        ),
        ("INSERT INTO erasures SELECT 3, gen_random_uuid(), gen_random_uuid()".to_owned(), 3, "the event is not an erasure"),
    ];
    for (sql, position, reason) in &damages {
        let verdict = sample.audit_after(sql).await;
        println!("{sql}");
        assert_disproved(&verdict, *position, reason);
    }
}

#[tokio::test]
async fn noteworthy_findings_that_are_not_violations_are_noted() {
    let sample = SampleLog::create().await;
    let copy = sample.altered("SELECT 1").await;
    let quiet = Launch::on(copy).run(&["audit", "verify"]).await;
    assert_eq!((quiet.code, quiet.stderr.as_str()), (Some(0), ""));

    let guard = "ALTER TABLE events DISABLE TRIGGER refuse_rewriting";
    let copy = sample.altered("SELECT 1").await;
    let pool = sqlx::PgPool::connect(&copy.url).await.unwrap();
    sqlx::raw_sql(guard).execute(&pool).await.unwrap();
    let erase_one = "UPDATE events SET private = NULL WHERE position = (SELECT min(position) FROM events WHERE private IS NOT NULL)";
    sqlx::raw_sql(erase_one).execute(&pool).await.unwrap();
    sqlx::raw_sql("DELETE FROM sales_timeline; DELETE FROM projection_checkpoints WHERE name = 'sales_timeline'")
        .execute(&pool)
        .await
        .unwrap();
    let foreign = "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
                   VALUES ('Invoice', 'one', 1, 'InvoiceSent', '2.0', '{}', '{}')";
    sqlx::raw_sql(foreign).execute(&pool).await.unwrap();
    let launch = Launch::on(copy);
    let noted = launch.run(&["audit", "verify"]).await;
    assert_eq!(noted.code, Some(0), "{noted:?}");
    for note in [
        "note: the trigger refuse_rewriting of table events is missing or disabled",
        "note: view sales_timeline was compared as of position 0",
        "note: 1 events have lost their personal data although no recorded erasure removed it",
        "note: 1 events of streams of the kind \"Invoice\" are chained correctly; their content cannot be checked",
    ] {
        assert!(noted.stderr.contains(note), "{note}: {}", noted.stderr);
    }
    let output = launch.run(&["audit", "verify", "--json"]).await;
    let output: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(output["foreign_events"], json!({ "Invoice": 1 }));
    assert_eq!(
        (&output["vanished"], &output["late_purchases"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(output["notes"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn tables_are_compared_at_their_checkpoint() {
    let sample = SampleLog::create().await;
    let behind = "DELETE FROM sales_timeline; UPDATE projection_checkpoints SET position = 0 WHERE name = 'sales_timeline'";
    let verdict = Launch::on(sample.altered(behind).await)
        .run(&["audit", "verify", "--json"])
        .await;
    assert_eq!(verdict.code, Some(0), "{verdict:?}");
    let output: Value = serde_json::from_str(&verdict.stdout).unwrap();
    let views = output["views"].as_array().unwrap();
    let of = |name: &str| views.iter().find(|view| view["name"] == name).unwrap();
    assert_eq!(
        of("sales_timeline"),
        &json!({ "name": "sales_timeline", "checkpoint": 0, "rows": 0 })
    );
    assert_eq!(of("live_stock")["checkpoint"], output["head"]["position"]);
    assert_eq!(of("live_stock")["rows"], 2);
}
