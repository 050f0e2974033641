//! Tables can be rebuilt from the log at any time: compared and swapped while a server runs; an
//! interrupted rebuild is resumed.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::collections::BTreeMap;

use domain::values::Position;
use harness::{App, Launch, SampleLog, concurrently, eventually, key, number, text};
use infrastructure::log::copy::{self, Selection};
use projections::rebuild::{NAMES, Rebuild};
use serde_json::{Value, json};

async fn listed(launch: &Launch) -> Vec<Value> {
    let output = launch.run(&["projections", "list", "--json"]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    let output: Value = serde_json::from_str(&output.stdout).unwrap();
    output["projections"].as_array().unwrap().clone()
}

/// Runs `projections rebuild` and returns its report on each table.
async fn rebuilt(launch: &Launch, arguments: &[&str]) -> Vec<Value> {
    let command = [&["projections", "rebuild", "--json"], arguments].concat();
    let output = launch.run(&command).await;
    assert_eq!(
        (output.code, output.stderr.as_str()),
        (Some(0), ""),
        "{output:?}"
    );
    let output: Value = serde_json::from_str(&output.stdout).unwrap();
    output["rebuilt"].as_array().unwrap().clone()
}

/// The events after one position up to another.
const fn events(after: Position, until: Position) -> Selection {
    Selection {
        after,
        until,
        drop: None,
        private: false,
    }
}

/// The state of a projection, as the readiness probe reports it.
async fn health(app: &App, projection: &str) -> Value {
    let ready = app.get("/health/ready").await.ok(200);
    ready["projections"][projection].clone()
}

/// Rebuilds a stopped projection, and waits until it continues without a restart.
async fn rebuild_and_continue(app: &App, projection: &str, drop: &str) {
    rebuilt(app.launch(), &[projection]).await;
    app.held(drop, "carol").await;
    eventually("it continues without a restart", || async {
        let health = health(app, projection).await;
        (health["lag"] == 0 && health["stopped"] == json!(null)).then_some(())
    })
    .await;
}

/// Waits until every table has applied the whole log.
async fn reach_the_head(app: &App) {
    let head = number(&app.audit("/v1/log/head").await.ok(200)["position"]);
    eventually("the tables are at the head", || async {
        listed(app.launch())
            .await
            .iter()
            .all(|table| table["checkpoint"] == head)
            .then_some(())
    })
    .await;
}

/// The stopped projections, as an operator's alert sees them.
async fn halted(app: &App) -> Vec<String> {
    let metrics = app.get("/metrics").await.text();
    let of = |name: &str, value: u8| {
        metrics.contains(&format!(
            "holdfast_projection_halted{{projection=\"{name}\"}} {value}\n"
        ))
    };
    let halted = NAMES.into_iter().filter(|name| {
        assert_ne!(of(name, 0), of(name, 1), "{name}: {metrics}");
        of(name, 1)
    });
    halted.map(str::to_owned).collect()
}

#[tokio::test]
async fn tables_are_listed_with_their_positions() {
    let sample = SampleLog::create().await;
    let launch = Launch::on(sample.altered("UPDATE projection_checkpoints SET position = position - 2, stopped = 'because' WHERE name = 'sales_timeline'").await);
    let tables = listed(&launch).await;
    let names: Vec<String> = tables.iter().map(|table| text(&table["name"])).collect();
    assert_eq!(names, NAMES);
    let head = sample.log.last().unwrap().position;
    assert_eq!(
        tables[0],
        json!({ "name": "live_stock", "checkpoint": head, "lag": 0, "rows": 2, "stopped": null })
    );
    assert_eq!(
        (
            &tables[2]["checkpoint"],
            &tables[2]["lag"],
            &tables[2]["stopped"]
        ),
        (&json!(head - 2), &json!(2), &json!("because"))
    );
    let words = launch.run(&["projections", "list"]).await.stdout;
    assert!(
        words.lines().next().unwrap().contains("projection") && words.contains("because"),
        "{words}"
    );
}

#[tokio::test]
async fn differing_table_is_replaced_and_an_equal_one_reported() {
    let sample = SampleLog::create().await;
    let tampered = "UPDATE live_stock SET sold = sold - 1, available = available + 1 WHERE sold > 0; DELETE FROM sales_timeline";
    let launch = Launch::on(sample.altered(tampered).await);
    assert_eq!(launch.run(&["audit", "verify"]).await.code, Some(1));

    let tables = rebuilt(&launch, &["--all"]).await;
    let equal: Vec<&Value> = tables.iter().map(|table| &table["was_equal"]).collect();
    assert_eq!(equal, [&json!(false), &json!(true), &json!(false)]);
    assert_eq!(launch.run(&["audit", "verify"]).await.code, Some(0));

    let again = launch.run(&["projections", "rebuild", "live_stock"]).await;
    let head = sample.log.last().unwrap().position;
    assert_eq!(
        again.stdout,
        format!("live_stock: rebuilt up to position {head}, 2 rows; the old table was equal\n")
    );
    for wrong in [vec![], vec!["nothing"], vec!["--all", "live_stock"]] {
        assert_eq!(
            launch
                .run(&[&["projections", "rebuild"], wrong.as_slice()].concat())
                .await
                .code,
            Some(2)
        );
    }
    // No temporary table remains, and the new table has the constraints of the old one.
    let pool = sqlx::PgPool::connect(launch.database_url().unwrap())
        .await
        .unwrap();
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM pg_tables WHERE tablename LIKE '%rebuild%'")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!(left, 0);
    let oversold = "UPDATE live_stock SET sold = sold + 1";
    assert!(
        sqlx::query(oversold).execute(&pool).await.is_err(),
        "units_are_conserved"
    );
    let twice = "INSERT INTO live_stock SELECT * FROM live_stock";
    assert!(
        sqlx::query(twice).execute(&pool).await.is_err(),
        "the primary key"
    );
}

#[tokio::test]
async fn tables_are_rebuilt_while_a_server_sells() {
    let app = App::start().await;
    let drop = app.create_drop(400, json!({ "hold_seconds": 3600 })).await;
    let (api, shop) = (app.api(), drop.clone());
    let trade = tokio::spawn(async move {
        concurrently((0..300).map(|buyer| {
            let (api, shop) = (api.clone(), shop.clone());
            async move {
                let body = json!({ "buyer_id": format!("buyer-{}", buyer % 50) });
                let hold = text(&api.hold_with(&shop, &key(), &body).await.ok(201)["id"]);
                if buyer % 2 == 0 {
                    assert_eq!(api.purchase(&hold).await.status, 201);
                }
            }
        }))
        .await
    });
    let mut rebuilds = 0;
    while !trade.is_finished() || rebuilds < 2 {
        let output = app.launch().run(&["projections", "rebuild", "--all"]).await;
        assert_eq!(output.code, Some(0), "{output:?}");
        assert!(!output.stdout.contains("DIFFERED"), "{output:?}");
        rebuilds += 1;
    }
    trade.await.unwrap();
    // The server continues to fold into the replaced tables.
    app.held(&drop, "one more").await;
    reach_the_head(&app).await;
    app.audit_verify().await;
}

#[tokio::test]
async fn running_server_discards_replaced_rows() {
    let app = App::start().await;
    let drop = app.create_drop(50, json!({ "hold_seconds": 3600 })).await;
    app.held(&drop, "alice").await;
    reach_the_head(&app).await;
    // Altered, and then loaded into memory by the next step: without a rebuild it would be written
    // back forever.
    sqlx::query("UPDATE live_stock SET available = available - 7, sold = sold + 7")
        .execute(app.pool())
        .await
        .unwrap();
    sqlx::query("UPDATE projection_checkpoints SET generation = generation + 1")
        .execute(app.pool())
        .await
        .unwrap();
    app.held(&drop, "bob").await;
    reach_the_head(&app).await;
    let verdict = app.launch().run(&["audit", "verify"]).await;
    assert_eq!(verdict.code, Some(1), "{verdict:?}");

    assert!(
        app.launch()
            .run(&["projections", "rebuild", "live_stock"])
            .await
            .stdout
            .contains("DIFFERED")
    );
    app.audit_verify().await;
    app.held(&drop, "carol").await;
    reach_the_head(&app).await;
    app.audit_verify().await;
}

#[tokio::test]
async fn stopped_projection_is_reported_and_resumes_once_rebuilt() {
    let app = App::start().await;
    let drop = app.create_drop(50, json!({ "hold_seconds": 3600 })).await;
    app.held(&drop, "alice").await;
    eventually("the table has the drop", || async {
        (listed(app.launch()).await[0]["lag"] == 0).then_some(())
    })
    .await;
    // No drop can hold more than its stock: with the table altered like this, the next event cannot
    // be applied.
    sqlx::query("UPDATE live_stock SET sold = sold + available, available = 0")
        .execute(app.pool())
        .await
        .unwrap();
    sqlx::query("UPDATE projection_checkpoints SET generation = generation + 1")
        .execute(app.pool())
        .await
        .unwrap();
    let hold = app.held(&drop, "bob").await;
    let stopped = eventually("the projection has stopped", || async {
        let health = health(&app, "live_stock").await;
        health["stopped"].as_str().map(str::to_owned)
    })
    .await;
    let head = number(&app.audit("/v1/log/head").await.ok(200)["position"]);
    assert!(
        stopped.contains(&format!(
            "stopped at position {head}: more units held than available"
        )),
        "{stopped}"
    );
    assert_eq!(
        app.purchase(&hold).await.status,
        201,
        "the shop continues to sell"
    );
    eventually("the other projections continue", || async {
        let tables = listed(app.launch()).await;
        (tables[1]["lag"] == 0 && tables[2]["lag"] == 0 && tables[1]["rows"] == 1).then_some(())
    })
    .await;
    assert_eq!(listed(app.launch()).await[0]["lag"], 2);
    assert_eq!(halted(&app).await, ["live_stock"]);

    rebuild_and_continue(&app, "live_stock", &drop).await;
    assert_eq!(halted(&app).await, [""; 0]);
    app.audit_verify().await;
}

#[tokio::test]
async fn interrupted_rebuild_resumes_from_its_saved_rows() {
    let sample = SampleLog::create().await;
    let database = sample.altered("SELECT 1").await;
    let half = Position(sample.log.len() as u64 / 2);
    let page = async |after: Position, until: Position| {
        copy::pages(database.pool.clone(), events(after, until))
            .recv()
            .await
            .unwrap()
            .unwrap()
    };
    let mut rebuild = Rebuild::start(database.pool.clone().into(), &NAMES)
        .await
        .unwrap();
    assert_eq!(rebuild.reached(), Position(0));
    rebuild.add(&page(Position(0), half).await).await.unwrap();
    rebuild.save().await.unwrap();
    // Folded but not saved: lost with the process.
    rebuild
        .add(&page(half, Position(half.0 + 1)).await)
        .await
        .unwrap();
    drop(rebuild);

    let rebuild = Rebuild::start(database.pool.clone().into(), &NAMES)
        .await
        .unwrap();
    assert_eq!(rebuild.reached(), half);
    drop(rebuild);
    let launch = Launch::on(database);
    for table in rebuilt(&launch, &["--all"]).await {
        assert_eq!(
            (&table["was_equal"], &table["position"]),
            (&json!(true), &json!(sample.log.len()))
        );
    }
    assert_eq!(launch.run(&["audit", "verify"]).await.code, Some(0));
}

/// Folds the first half of the log and saves it, like a rebuild that is killed at that point.
async fn half_a_rebuild(sample: &SampleLog, pool: &sqlx::PgPool) {
    let half = events(Position(0), Position(sample.log.len() as u64 / 2));
    let mut rebuild = Rebuild::start(pool.clone().into(), &NAMES).await.unwrap();
    let mut pages = copy::pages(pool.clone(), half);
    rebuild
        .add(&pages.recv().await.unwrap().unwrap())
        .await
        .unwrap();
    rebuild.save().await.unwrap();
}

/// Leftovers of an earlier rebuild that this one could not have written for this log, this schema
/// and this fold.
#[tokio::test]
async fn rebuild_starts_over_when_the_saved_rows_are_foreign() {
    let sample = SampleLog::create().await;
    let wrong_rows = "UPDATE top_purchasers_rebuild SET quantity = 7;
                      UPDATE sales_timeline_rebuild SET sold = 7; UPDATE live_stock_rebuild SET terms_version = 7";
    for left in [
        "UPDATE projection_checkpoints SET position = 1000000 WHERE name LIKE '%_rebuild'",
        "UPDATE projection_checkpoints SET fold_version = 99 WHERE name LIKE '%_rebuild'",
        "UPDATE projection_checkpoints SET fold_version = 0 WHERE name LIKE '%_rebuild'",
        "ALTER TABLE live_stock_rebuild ADD COLUMN more integer; ALTER TABLE top_purchasers_rebuild DROP COLUMN last_purchased_at;
         ALTER TABLE sales_timeline_rebuild ALTER COLUMN minute TYPE date",
        "ALTER TABLE live_stock_rebuild DROP CONSTRAINT units_are_conserved;
         ALTER TABLE top_purchasers_rebuild DROP CONSTRAINT top_purchasers_rebuild_pkey;
         ALTER TABLE sales_timeline_rebuild ALTER COLUMN sold DROP NOT NULL",
        "DELETE FROM projection_checkpoints WHERE name LIKE '%_rebuild'",
        "DROP TABLE live_stock_rebuild, top_purchasers_rebuild, sales_timeline_rebuild",
    ] {
        let database = sample.altered("SELECT 1").await;
        half_a_rebuild(&sample, &database.pool).await;
        let script = format!("{wrong_rows}; {left}");
        sqlx::raw_sql(&script).execute(&database.pool).await.unwrap();

        let launch = Launch::on(database);
        for table in rebuilt(&launch, &["--all"]).await {
            assert_eq!(table["was_equal"], true, "{left}: {table}");
        }
        assert_eq!(launch.run(&["audit", "verify"]).await.code, Some(0));
    }
    // The same rows are resumed, although wrong, if nothing identifies them as foreign.
    let database = sample.altered("SELECT 1").await;
    half_a_rebuild(&sample, &database.pool).await;
    sqlx::raw_sql(wrong_rows)
        .execute(&database.pool)
        .await
        .unwrap();
    let output = Launch::on(database)
        .run(&["projections", "rebuild", "--all"])
        .await;
    assert!(output.stdout.contains("DIFFERED"), "{output:?}");
}

/// Rows that were folded from a log with a gap would replace correct rows.
#[tokio::test]
async fn no_table_is_rebuilt_from_a_log_with_a_gap() {
    let sample = SampleLog::create().await;
    let bought = sample.position_of("PurchaseConfirmed");
    let last = sample.log.last().unwrap().position;
    for hole in [1, bought, last] {
        let sql = format!("DELETE FROM events WHERE position = {hole}");
        let launch = Launch::on(sample.altered(&sql).await);
        let pool = sqlx::PgPool::connect(launch.database_url().unwrap())
            .await
            .unwrap();
        let tables = async || -> Vec<String> {
            let tables = "SELECT t::text FROM live_stock t UNION ALL SELECT t::text FROM top_purchasers t UNION ALL
                          SELECT t::text FROM sales_timeline t UNION ALL
                          SELECT format('%s %s %s', name, position, generation) FROM projection_checkpoints
                           WHERE name NOT LIKE '%_rebuild' ORDER BY 1";
            sqlx::query_scalar(tables).fetch_all(&pool).await.unwrap()
        };
        let before = tables().await;
        let refused = launch.run(&["projections", "rebuild", "--all"]).await;
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""));
        assert!(
            refused.stderr.contains(&format!("position {hole}: ")),
            "{refused:?}"
        );
        assert_eq!(tables().await, before);
    }
}

#[tokio::test]
async fn rebuild_does_not_save_into_a_table_restarted_by_another() {
    let sample = SampleLog::create().await;
    let database = sample.altered("SELECT 1").await;
    half_a_rebuild(&sample, &database.pool).await;
    let one = Rebuild::start(database.pool.clone().into(), &NAMES)
        .await
        .unwrap();
    let begun_anew = "DELETE FROM top_purchasers_rebuild; DELETE FROM sales_timeline_rebuild; DELETE FROM live_stock_rebuild;
                      UPDATE projection_checkpoints SET position = 0 WHERE name LIKE '%_rebuild'";
    sqlx::raw_sql(begun_anew)
        .execute(&database.pool)
        .await
        .unwrap();
    let refused = one.swap().await.unwrap_err();
    let cause = std::error::Error::source(&refused).unwrap().to_string();
    assert!(
        cause.contains("another process is rebuilding it"),
        "{cause}"
    );
    assert_eq!(
        Launch::on(database).run(&["audit", "verify"]).await.code,
        Some(0)
    );
}

#[tokio::test]
async fn rows_of_another_fold_version_stop_their_projection_until_rebuilt() {
    let app = App::start().await;
    let drop = app.create_drop(50, json!({ "hold_seconds": 3600 })).await;
    app.held(&drop, "alice").await;
    reach_the_head(&app).await;
    let set_version = async |version: i32| {
        sqlx::query(
            "UPDATE projection_checkpoints SET fold_version = $1 WHERE name = 'sales_timeline'",
        )
        .bind(version)
        .execute(app.pool())
        .await
        .unwrap();
    };
    let rows = async || -> String {
        sqlx::query_scalar("SELECT coalesce(json_agg(t)::text, '') FROM sales_timeline t")
            .fetch_one(app.pool())
            .await
            .unwrap()
    };
    for version in [3, 0] {
        let before = rows().await;
        set_version(version).await;
        let hold = app.held(&drop, "bob").await;
        let reason = format!(
            "projection sales_timeline stopped: its rows are of version {version} of its fold, and this program folds version 2; \
             run `holdfast projections rebuild sales_timeline`"
        );
        eventually("it has stopped with the reason", || async {
            (health(&app, "sales_timeline").await["stopped"] == reason.as_str()).then_some(())
        })
        .await;
        assert_eq!(halted(&app).await, ["sales_timeline"]);
        app.wait_for_log(&reason).await;
        assert_eq!(app.purchase(&hold).await.status, 201);
        eventually("the other projections continue", || async {
            let tables = listed(app.launch()).await;
            (tables[0]["lag"] == 0 && tables[1]["lag"] == 0).then_some(())
        })
        .await;
        let listed = listed(app.launch()).await;
        assert_eq!(listed[2]["stopped"], reason.as_str());
        assert_eq!(listed[2]["lag"], 2);
        assert_eq!(rows().await, before, "the rows do not change");

        // A server that starts meanwhile reports the same, and the position of the rows.
        let other = app.launch().clone().start().await;
        let seen = eventually("another server reports it", || async {
            let seen = health(&other, "sales_timeline").await;
            seen["stopped"].is_string().then_some(seen)
        })
        .await;
        assert_eq!(
            (&seen["stopped"], &seen["lag"]),
            (&json!(reason), &json!(2))
        );
        other.stop().await;

        rebuild_and_continue(&app, "sales_timeline", &drop).await;
        app.audit_verify().await;
    }
}

/// Rows are saved after every event, each save joined with the earlier ones.
#[tokio::test]
async fn rebuild_that_saves_after_every_event_gives_the_same_tables() {
    let sample = SampleLog::create().await;
    let database = sample.altered("SELECT 1").await;
    let all = events(Position(0), Position(sample.log.len() as u64));
    let mut pages = copy::pages(database.pool.clone(), all);
    let mut rebuild = Rebuild::start(database.pool.clone().into(), &NAMES)
        .await
        .unwrap();
    while let Some(page) = pages.recv().await {
        for event in page.unwrap().chunks(1) {
            rebuild.add(event).await.unwrap();
            rebuild.save().await.unwrap();
        }
    }
    for table in rebuild.swap().await.unwrap() {
        assert_eq!(
            (table.was_equal, table.position.0),
            (Some(true), sample.log.len() as u64),
            "{table:?}"
        );
    }
    let launch = Launch::on(database);
    assert_eq!(launch.run(&["audit", "verify"]).await.code, Some(0));
}

/// Runs a full rebuild until it waits for the checkpoint `name`, which a transaction has locked,
/// and kills it (SIGKILL) there.
async fn rebuild_killed_at(app: &App, name: &str) {
    sqlx::query(
        "INSERT INTO projection_checkpoints (name, position, fold_version) VALUES ($1, 0, 2) ON CONFLICT DO NOTHING",
    )
    .bind(name)
    .execute(app.pool())
    .await
    .unwrap();
    let mut holder = app.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM projection_checkpoints WHERE name = $1 FOR UPDATE")
        .bind(name)
        .execute(&mut *holder)
        .await
        .unwrap();
    let mut rebuild = app.launch().command(&["projections", "rebuild", "--all"]);
    let mut rebuild = rebuild.spawn().unwrap();
    eventually("the rebuild waits for the lock", || async {
        let waits: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM pg_stat_activity
                             WHERE datname = current_database() AND wait_event_type = 'Lock'
                               AND query LIKE '%projection_checkpoints WHERE name = $1 FOR UPDATE%')",
        )
        .fetch_one(app.pool())
        .await
        .unwrap();
        waits.then_some(())
    })
    .await;
    rebuild.kill().unwrap();
    assert!(
        !rebuild.wait().unwrap().success(),
        "it was killed before it ended"
    );
    holder.rollback().await.unwrap();
}

/// Position and generation of every checkpoint, including those of unfinished rebuilds.
async fn checkpoints(app: &App) -> BTreeMap<String, (i64, i64)> {
    let rows: Vec<(String, i64, i64)> =
        sqlx::query_as("SELECT name, position, generation FROM projection_checkpoints")
            .fetch_all(app.pool())
            .await
            .unwrap();
    let rows = rows.into_iter();
    rows.map(|(name, position, generation)| (name, (position, generation)))
        .collect()
}

#[tokio::test]
async fn killed_rebuild_does_no_harm_and_resumes_when_run_again() {
    let app = App::start().await;
    let drop = app
        .create_drop(1_100, json!({ "hold_seconds": 3600 }))
        .await;
    // More events than a rebuild leaves for the final step, in which it swaps the tables.
    for wave in 0..3 {
        concurrently((0..350).map(|buyer| {
            let (api, shop) = (app.api(), drop.clone());
            async move {
                let body = json!({ "buyer_id": format!("buyer {wave} {buyer}") });
                let hold = text(&api.hold_with(&shop, &key(), &body).await.ok(201)["id"]);
                assert_eq!(api.purchase(&hold).await.status, 201);
            }
        }))
        .await;
    }
    reach_the_head(&app).await;
    let before = checkpoints(&app).await;

    // During the save: two of the new tables are saved, the third is not, and none has been swapped
    // in.
    rebuild_killed_at(&app, "sales_timeline_rebuild").await;
    let saved = checkpoints(&app).await;
    for name in NAMES {
        assert_eq!(saved[name], before[name], "{name}");
    }
    let (head, _) = before["live_stock"];
    assert_eq!(saved["live_stock_rebuild"].0, head);
    assert_eq!(saved["top_purchasers_rebuild"].0, head);
    assert_eq!(saved["sales_timeline_rebuild"].0, 0);
    app.held(&drop, "carol").await;
    reach_the_head(&app).await;
    app.audit_verify().await;

    // During the swap: the first table has been replaced, the others have not.
    rebuild_killed_at(&app, "top_purchasers").await;
    eventually("the incomplete swap is rolled back", || async {
        let now = checkpoints(&app).await;
        let replaced = NAMES.map(|name| now[name].1 - before[name].1);
        (replaced == [1, 0, 0]).then_some(())
    })
    .await;
    let hold = app.held(&drop, "dora").await;
    assert_eq!(app.purchase(&hold).await.status, 201);
    reach_the_head(&app).await;
    app.audit_verify().await;

    // A second run resumes and ends with equal tables.
    for table in rebuilt(app.launch(), &["--all"]).await {
        assert_eq!(table["was_equal"], true, "{table}");
    }
    let names: Vec<String> = checkpoints(&app).await.into_keys().collect();
    assert_eq!(
        names.len(),
        NAMES.len(),
        "temporary tables remain: {names:?}"
    );
    app.held(&drop, "erin").await;
    reach_the_head(&app).await;
    app.audit_verify().await;
}
