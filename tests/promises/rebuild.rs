//! Tables are cattle: rebuilt from the log while a server serves, compared, and swapped; a rebuild that was cut off goes on.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::collections::BTreeMap;

use domain::values::Position;
use harness::{App, Launch, Lively, at_once, eventually, key, number, text};
use infrastructure::log::copy::{self, Selection};
use projections::rebuild::{NAMES, Rebuild};
use serde_json::{Value, json};

async fn listed(launch: &Launch) -> Vec<Value> {
    let said = launch.run(&["projections", "list", "--json"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let said: Value = serde_json::from_str(&said.stdout).unwrap();
    said["projections"].as_array().unwrap().clone()
}

/// Waits until every table shows the whole log.
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

/// The projections that have stopped, as an operator's alarm sees it.
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
async fn tables_are_listed_with_how_far_they_are() {
    let lively = Lively::make().await;
    let launch = Launch::on(lively.altered("UPDATE projection_checkpoints SET position = position - 2, stopped = 'because' WHERE name = 'sales_timeline'").await);
    let tables = listed(&launch).await;
    let names: Vec<String> = tables.iter().map(|table| text(&table["name"])).collect();
    assert_eq!(names, NAMES);
    let head = lively.log.last().unwrap().position;
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
async fn a_table_that_differs_is_replaced_and_one_that_is_equal_is_said_to_be() {
    let lively = Lively::make().await;
    let tampered = "UPDATE live_stock SET sold = sold - 1, available = available + 1 WHERE sold > 0; DELETE FROM sales_timeline";
    let launch = Launch::on(lively.altered(tampered).await);
    assert_eq!(launch.run(&["audit", "verify"]).await.code, Some(1));

    let said = launch
        .run(&["projections", "rebuild", "--all", "--json"])
        .await;
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    let said: Value = serde_json::from_str(&said.stdout).unwrap();
    let equal: Vec<&Value> = said["rebuilt"]
        .as_array()
        .unwrap()
        .iter()
        .map(|table| &table["was_equal"])
        .collect();
    assert_eq!(equal, [&json!(false), &json!(true), &json!(false)]);
    assert_eq!(launch.run(&["audit", "verify"]).await.code, Some(0));

    let again = launch.run(&["projections", "rebuild", "live_stock"]).await;
    let head = lively.log.last().unwrap().position;
    assert_eq!(
        again.stdout,
        format!("live_stock: rebuilt up to position {head}, 2 rows; the table was equal\n")
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
    // Nothing is left lying about, and the new table guards as the old one did.
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
        at_once((0..300).map(|buyer| {
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
        let said = app.launch().run(&["projections", "rebuild", "--all"]).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(!said.stdout.contains("DIFFERED"), "{said:?}");
        rebuilds += 1;
    }
    trade.await.unwrap();
    // And the server goes on folding into the tables that replaced its own.
    app.held(&drop, "one more").await;
    reach_the_head(&app).await;
    app.verifies().await;
}

#[tokio::test]
async fn a_running_server_forgets_the_rows_that_were_replaced() {
    let app = App::start().await;
    let drop = app.create_drop(50, json!({ "hold_seconds": 3600 })).await;
    app.held(&drop, "alice").await;
    reach_the_head(&app).await;
    // Altered, and then taken into memory by the next step: without a rebuild it would be written back for ever.
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
    app.verifies().await;
    app.held(&drop, "carol").await;
    reach_the_head(&app).await;
    app.verifies().await;
}

#[tokio::test]
async fn a_projection_that_stopped_shows_where_costs_the_others_nothing_and_goes_on_once_rebuilt() {
    let app = App::start().await;
    let drop = app.create_drop(50, json!({ "hold_seconds": 3600 })).await;
    app.held(&drop, "alice").await;
    eventually("the table has the drop", || async {
        (listed(app.launch()).await[0]["lag"] == 0).then_some(())
    })
    .await;
    // Nobody can hold more than there is: as the table has it now, the next event cannot be applied.
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
        let ready = app.get("/health/ready").await.ok(200);
        ready["projections"]["live_stock"]["stopped"]
            .as_str()
            .map(str::to_owned)
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
        "and the shop goes on selling"
    );
    eventually("the others go on", || async {
        let tables = listed(app.launch()).await;
        (tables[1]["lag"] == 0 && tables[2]["lag"] == 0 && tables[1]["rows"] == 1).then_some(())
    })
    .await;
    assert_eq!(listed(app.launch()).await[0]["lag"], 2);
    assert_eq!(halted(&app).await, ["live_stock"]);

    let rebuilt = app
        .launch()
        .run(&["projections", "rebuild", "live_stock"])
        .await;
    assert_eq!(rebuilt.code, Some(0), "{rebuilt:?}");
    app.held(&drop, "carol").await;
    eventually("it goes on without a restart", || async {
        let ready = app.get("/health/ready").await.ok(200);
        let stock = &ready["projections"]["live_stock"];
        (stock["lag"] == 0 && stock["stopped"] == json!(null)).then_some(())
    })
    .await;
    assert_eq!(halted(&app).await, [""; 0]);
    app.verifies().await;
}

#[tokio::test]
async fn a_rebuild_that_was_cut_off_goes_on_with_what_it_had_saved() {
    let lively = Lively::make().await;
    let database = lively.altered("SELECT 1").await;
    let half = Position(lively.log.len() as u64 / 2);
    let page = async |after: Position, until: Position| {
        let selection = Selection {
            after,
            until,
            drop: None,
            private: false,
        };
        copy::pages(database.pool.clone(), selection)
            .recv()
            .await
            .unwrap()
            .unwrap()
    };
    let mut rebuild = Rebuild::start(database.pool.clone(), &NAMES).await.unwrap();
    assert_eq!(rebuild.reached(), Position(0));
    rebuild.add(&page(Position(0), half).await).await.unwrap();
    rebuild.save().await.unwrap();
    // Folded but not saved: lost with the process.
    rebuild
        .add(&page(half, Position(half.0 + 1)).await)
        .await
        .unwrap();
    drop(rebuild);

    let rebuild = Rebuild::start(database.pool.clone(), &NAMES).await.unwrap();
    assert_eq!(rebuild.reached(), half);
    drop(rebuild);
    let launch = Launch::on(database);
    let said = launch
        .run(&["projections", "rebuild", "--all", "--json"])
        .await;
    let said: Value = serde_json::from_str(&said.stdout).unwrap();
    for table in said["rebuilt"].as_array().unwrap() {
        assert_eq!(
            (&table["was_equal"], &table["position"]),
            (&json!(true), &json!(lively.log.len()))
        );
    }
    assert_eq!(launch.run(&["audit", "verify"]).await.code, Some(0));
}

/// Folds the first half of the log and saves it, as a rebuild does that is killed then.
async fn half_a_rebuild(lively: &Lively, pool: &sqlx::PgPool) {
    let selection = Selection {
        after: Position(0),
        until: Position(lively.log.len() as u64 / 2),
        drop: None,
        private: false,
    };
    let mut rebuild = Rebuild::start(pool.clone(), &NAMES).await.unwrap();
    let mut pages = copy::pages(pool.clone(), selection);
    rebuild
        .add(&pages.recv().await.unwrap().unwrap())
        .await
        .unwrap();
    rebuild.save().await.unwrap();
}

/// Whatever an earlier rebuild left that this one did not write, of this log, in this form, with this fold.
#[tokio::test]
async fn a_rebuild_starts_anew_beside_rows_that_it_cannot_have_saved() {
    let lively = Lively::make().await;
    let wrong_rows = "UPDATE top_purchasers_rebuild SET quantity = 7;
                      UPDATE sales_timeline_rebuild SET sold = 7; UPDATE live_stock_rebuild SET terms_version = 7";
    for left in [
        "UPDATE projection_checkpoints SET position = 1000000 WHERE name LIKE '%_rebuild'",
        "UPDATE projection_checkpoints SET fold_version = 2 WHERE name LIKE '%_rebuild'",
        "UPDATE projection_checkpoints SET fold_version = 0 WHERE name LIKE '%_rebuild'",
        "ALTER TABLE live_stock_rebuild ADD COLUMN more integer; ALTER TABLE top_purchasers_rebuild DROP COLUMN last_purchased_at;
         ALTER TABLE sales_timeline_rebuild ALTER COLUMN minute TYPE date",
        "ALTER TABLE live_stock_rebuild DROP CONSTRAINT units_are_conserved;
         ALTER TABLE top_purchasers_rebuild DROP CONSTRAINT top_purchasers_rebuild_pkey;
         ALTER TABLE sales_timeline_rebuild ALTER COLUMN sold DROP NOT NULL",
        "DELETE FROM projection_checkpoints WHERE name LIKE '%_rebuild'",
        "DROP TABLE live_stock_rebuild, top_purchasers_rebuild, sales_timeline_rebuild",
    ] {
        let database = lively.altered("SELECT 1").await;
        half_a_rebuild(&lively, &database.pool).await;
        let script = format!("{wrong_rows}; {left}");
        sqlx::raw_sql(&script).execute(&database.pool).await.unwrap();

        let launch = Launch::on(database);
        let said = launch
            .run(&["projections", "rebuild", "--all", "--json"])
            .await;
        assert_eq!(said.code, Some(0), "{left}: {said:?}");
        let said: Value = serde_json::from_str(&said.stdout).unwrap();
        for table in said["rebuilt"].as_array().unwrap() {
            assert_eq!(table["was_equal"], true, "{left}: {said}");
        }
        assert_eq!(launch.run(&["audit", "verify"]).await.code, Some(0));
    }
    // The same rows are gone on with, wrong as they are, where nothing speaks against them.
    let database = lively.altered("SELECT 1").await;
    half_a_rebuild(&lively, &database.pool).await;
    sqlx::raw_sql(wrong_rows)
        .execute(&database.pool)
        .await
        .unwrap();
    let said = Launch::on(database)
        .run(&["projections", "rebuild", "--all"])
        .await;
    assert!(said.stdout.contains("DIFFERED"), "{said:?}");
}

/// Rows that were folded from a log with a hole would replace right ones.
#[tokio::test]
async fn nothing_is_rebuilt_from_a_log_that_has_a_hole() {
    let lively = Lively::make().await;
    let bought = lively.position_of("PurchaseConfirmed");
    let last = lively.log.last().unwrap().position;
    for hole in [1, bought, last] {
        let sql = format!("DELETE FROM events WHERE position = {hole}");
        let launch = Launch::on(lively.altered(&sql).await);
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
async fn what_somebody_else_began_anew_is_not_saved_into() {
    let lively = Lively::make().await;
    let database = lively.altered("SELECT 1").await;
    half_a_rebuild(&lively, &database.pool).await;
    let one = Rebuild::start(database.pool.clone(), &NAMES).await.unwrap();
    let begun_anew = "DELETE FROM top_purchasers_rebuild; DELETE FROM sales_timeline_rebuild; DELETE FROM live_stock_rebuild;
                      UPDATE projection_checkpoints SET position = 0 WHERE name LIKE '%_rebuild'";
    sqlx::raw_sql(begun_anew)
        .execute(&database.pool)
        .await
        .unwrap();
    let refused = one.swap().await.unwrap_err();
    let cause = std::error::Error::source(&refused).unwrap().to_string();
    assert!(cause.contains("somebody else rebuilds it"), "{cause}");
    assert_eq!(
        Launch::on(database).run(&["audit", "verify"]).await.code,
        Some(0)
    );
}

#[tokio::test]
async fn rows_of_another_version_of_a_fold_stop_their_projection_until_they_are_rebuilt() {
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
    let health = async || {
        let ready = app.get("/health/ready").await.ok(200);
        ready["projections"]["sales_timeline"].clone()
    };
    for version in [2, 0] {
        let before = rows().await;
        set_version(version).await;
        let hold = app.held(&drop, "bob").await;
        let reason = format!(
            "projection sales_timeline stopped: its rows are of version {version} of its fold, and this program folds version 1; \
             run `holdfast projections rebuild sales_timeline`"
        );
        eventually("it has stopped, and says why", || async {
            (health().await["stopped"] == reason.as_str()).then_some(())
        })
        .await;
        assert_eq!(halted(&app).await, ["sales_timeline"]);
        app.logs(&reason).await;
        assert_eq!(app.purchase(&hold).await.status, 201);
        eventually("the others go on", || async {
            let tables = listed(app.launch()).await;
            (tables[0]["lag"] == 0 && tables[1]["lag"] == 0).then_some(())
        })
        .await;
        let listed = listed(app.launch()).await;
        assert_eq!(listed[2]["stopped"], reason.as_str());
        assert_eq!(listed[2]["lag"], 2);
        assert_eq!(rows().await, before, "nobody folds on");

        // A server that starts meanwhile says so too, and knows how far the rows are.
        let other = app.launch().clone().start().await;
        let seen = eventually("another server sees it", || async {
            let ready = other.get("/health/ready").await.ok(200);
            let seen = ready["projections"]["sales_timeline"].clone();
            seen["stopped"].is_string().then_some(seen)
        })
        .await;
        assert_eq!(
            (&seen["stopped"], &seen["lag"]),
            (&json!(reason), &json!(2))
        );
        other.stop().await;

        let rebuilt = app
            .launch()
            .run(&["projections", "rebuild", "sales_timeline"])
            .await;
        assert_eq!(rebuilt.code, Some(0), "{rebuilt:?}");
        app.held(&drop, "carol").await;
        eventually("it goes on without a restart", || async {
            let health = health().await;
            (health["lag"] == 0 && health["stopped"] == json!(null)).then_some(())
        })
        .await;
        app.verifies().await;
    }
}

/// Rows are saved in as many parts as there are events, each joined with what was saved before.
#[tokio::test]
async fn a_rebuild_that_saves_after_every_event_comes_to_the_same_tables() {
    let lively = Lively::make().await;
    let database = lively.altered("SELECT 1").await;
    let selection = Selection {
        after: Position(0),
        until: Position(lively.log.len() as u64),
        drop: None,
        private: false,
    };
    let mut pages = copy::pages(database.pool.clone(), selection);
    let mut rebuild = Rebuild::start(database.pool.clone(), &NAMES).await.unwrap();
    while let Some(page) = pages.recv().await {
        for event in page.unwrap().chunks(1) {
            rebuild.add(event).await.unwrap();
            rebuild.save().await.unwrap();
        }
    }
    for table in rebuild.swap().await.unwrap() {
        assert_eq!(
            (table.was_equal, table.position.0),
            (Some(true), lively.log.len() as u64),
            "{table:?}"
        );
    }
    let launch = Launch::on(database);
    assert_eq!(launch.run(&["audit", "verify"]).await.code, Some(0));
}

/// Rebuilds everything until it waits for the checkpoint `name`, which somebody holds, and kills it (SIGKILL) there.
async fn rebuild_killed_at(app: &App, name: &str) {
    sqlx::query(
        "INSERT INTO projection_checkpoints (name, position) VALUES ($1, 0) ON CONFLICT DO NOTHING",
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
    eventually("the rebuild waits in the middle", || async {
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
        "it did not end by itself"
    );
    holder.rollback().await.unwrap();
}

/// How far each checkpoint is and how often its table was replaced, those of tables in the making as well.
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
async fn a_rebuild_killed_in_the_middle_harms_nobody_and_goes_on_when_it_is_run_again() {
    let app = App::start().await;
    let drop = app
        .create_drop(1_100, json!({ "hold_seconds": 3600 }))
        .await;
    // More events than a rebuild leaves to the moment in which it swaps.
    for wave in 0..3 {
        at_once((0..350).map(|buyer| {
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

    // While it saves: two of the tables beside are saved, the third is not, and none is in its place.
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
    app.verifies().await;

    // While it swaps: the first table is in its place, the others are as they were.
    rebuild_killed_at(&app, "top_purchasers").await;
    eventually("what it left half done is undone", || async {
        let now = checkpoints(&app).await;
        let replaced = NAMES.map(|name| now[name].1 - before[name].1);
        (replaced == [1, 0, 0]).then_some(())
    })
    .await;
    let hold = app.held(&drop, "dora").await;
    assert_eq!(app.purchase(&hold).await.status, 201);
    reach_the_head(&app).await;
    app.verifies().await;

    // Run again it goes on, and ends with tables that are equal.
    let said = app
        .launch()
        .run(&["projections", "rebuild", "--all", "--json"])
        .await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let said: Value = serde_json::from_str(&said.stdout).unwrap();
    for table in said["rebuilt"].as_array().unwrap() {
        assert_eq!(table["was_equal"], true, "{said}");
    }
    let names: Vec<String> = checkpoints(&app).await.into_keys().collect();
    assert_eq!(names.len(), NAMES.len(), "nothing is left: {names:?}");
    app.held(&drop, "erin").await;
    reach_the_head(&app).await;
    app.verifies().await;
}
