//! An erased buyer's data is gone everywhere, the log still verifies, and every running engine has
//! discarded it.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use futures::TryStreamExt;
use harness::{
    ADMIN_KEY, AUDITOR_KEY, Api, App, Launch, Reply, eventually, fetch, key, number, text,
};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgPoolCopyExt;

/// The whole contents of the database as text.
async fn dump(pool: &PgPool) -> String {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    assert!(tables.len() >= 8, "{tables:?}");
    let mut dump = vec![];
    for table in tables {
        let statement = format!("COPY {table} TO STDOUT");
        let mut rows = pool.copy_out_raw(&statement).await.unwrap();
        while let Some(row) = rows.try_next().await.unwrap() {
            dump.extend_from_slice(&row);
        }
    }
    String::from_utf8(dump).unwrap()
}

async fn hold(api: &Api, drop: &str, buyer: &str, name: &str) -> Value {
    let body = json!({ "buyer_id": buyer, "display_name": name, "quantity": 1 });
    api.hold_with(drop, &key(), &body).await.ok(201)
}

async fn pay(api: &Api, hold: &str, reference: &str) {
    let path = format!("/v1/holds/{hold}/purchase");
    let paid = api
        .request(Method::POST, &path)
        .json(&json!({ "payment_reference": reference }));
    assert_eq!(paid.send().await.unwrap().status(), 201);
}

async fn erase(api: &Api, buyer: &str) -> Reply {
    let buyer = buyer.replace(' ', "%20").replace('@', "%40");
    fetch(api.admin(Method::DELETE, &format!("/v1/admin/buyers/{buyer}"))).await
}

async fn purchasers(api: &Api, drop: &str) -> Reply {
    api.get(&format!("/v1/drops/{drop}/purchasers?limit=10"))
        .await
}

#[tokio::test]
async fn no_data_of_an_erased_buyer_remains_anywhere() {
    let app = Launch::fresh()
        .await
        .with("RUST_LOG", "debug")
        .start()
        .await;
    let drops = [
        app.create_drop(9, json!({})).await,
        app.create_drop(9, json!({})).await,
    ];
    let mut holds = vec![];
    for drop in &drops {
        for (buyer, name) in [("Alice@Example.org", "Alice Adams"), ("bob", "Bob Brown")] {
            let placed = hold(&app, drop, buyer, name).await;
            pay(&app, &text(&placed["id"]), &format!("card of {name}")).await;
            holds.push(text(&placed["id"]));
        }
        // Known by another name later, which is recorded as well.
        hold(&app, drop, "alice@example.ORG", "Alice Atwood").await;
    }
    let before = dump(app.pool()).await;
    let traces = ["Alice", "alice", "Adams", "Atwood", "card of Alice"];
    for trace in [
        "Alice@Example.org",
        "Atwood",
        "card of Alice Adams",
        "Bob Brown",
    ] {
        assert!(
            before.contains(trace),
            "{trace} is in the database before the erasure"
        );
    }
    let list = purchasers(&app, &drops[0]).await;
    let verified = app.audit_verify().await;
    assert!(!verified.contains("eras"), "{verified}");

    let erased = erase(&app, "ALICE@example.org").await;
    assert_eq!((erased.status, erased.text().as_str()), (204, ""));

    let after = dump(app.pool()).await;
    for trace in traces {
        let found = after.lines().find(|line| line.contains(trace));
        assert_eq!(found, None, "{trace}");
    }
    assert!(
        after.contains("Bob Brown") && after.contains("card of Bob Brown"),
        "other buyers are unaffected"
    );
    let lines = app
        .request(Method::GET, "/v1/log")
        .bearer_auth(AUDITOR_KEY)
        .header("accept", "application/x-ndjson");
    let exported = app.launch().run(&["audit", "export"]).await.stdout;
    for content in [
        fetch(lines).await.text(),
        exported,
        app.stderr(),
        purchasers(&app, &drops[0]).await.text(),
    ] {
        assert!(
            traces.iter().all(|trace| !content.contains(trace)),
            "{content}"
        );
    }

    // Their purchases remain, without a name.
    assert_eq!(app.stock(&drops[0]).await, [9, 6, 1, 2]);
    let bought = app.read_hold(&holds[0]).await.ok(200);
    assert_eq!(
        (&bought["buyer_id"], &bought["status"]),
        (&json!(null), &json!("purchased"))
    );
    assert_eq!(app.read_hold(&holds[1]).await.ok(200)["buyer_id"], "bob");
    let now = purchasers(&app, &drops[0]).await;
    assert_ne!(
        now.header("etag"),
        list.header("etag"),
        "a cached name must not survive"
    );
    let names: Vec<String> = now.json()["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|buyer| text(&buyer["buyer"]))
        .collect();
    assert!(
        names.contains(&"Bob Brown".to_owned())
            && names.iter().any(|name| name.starts_with("Buyer ")),
        "{names:?}"
    );

    // Six records of personal data: two names and a payment in each of two drops; ten with Bob's.
    let verified = app.audit_verify().await;
    assert!(
        verified.contains("\npersonal data of 6 of 10 events erased\n")
            && verified.ends_with("erasures: 1\n"),
        "{verified}"
    );
}

#[tokio::test]
async fn erasing_again_or_an_unknown_buyer_changes_nothing() {
    let app = App::start().await;
    let drop = app.create_drop(9, json!({})).await;
    hold(&app, &drop, "carol", "Carol").await;
    let head = async || number(&app.audit("/v1/log/head").await.ok(200)["position"]);
    let before = head().await;
    assert_eq!(erase(&app, "nobody").await.status, 204);
    assert_eq!(head().await, before);
    assert_eq!(
        erase(&app, "carol").await.header("holdfast-position"),
        (before + 1).to_string()
    );
    assert_eq!(erase(&app, "carol").await.status, 204);
    assert_eq!(head().await, before + 1);
    erase(&app, &"x".repeat(129)).await.invalid("/buyer_id");

    let path = "/v1/admin/buyers/carol";
    fetch(app.request(Method::DELETE, path))
        .await
        .problem(401, "unauthorized");
    fetch(app.request(Method::DELETE, path).bearer_auth(AUDITOR_KEY))
        .await
        .problem(403, "forbidden");
    assert_eq!(
        fetch(app.request(Method::DELETE, path).bearer_auth(ADMIN_KEY))
            .await
            .status,
        204
    );
    assert!(
        app.audit_verify()
            .await
            .contains("personal data of 1 of 1 events erased")
    );
}

#[tokio::test]
async fn failed_erasure_is_not_an_outage_and_logs_no_buyer_id() {
    let app = App::start().await;
    let drop = app.create_drop(1, json!({})).await;
    hold(&app, &drop, "alice@example.org", "Alice").await;
    let rename = async |from: &str, to: &str| {
        let rename = format!("ALTER TABLE {from} RENAME TO {to}");
        sqlx::query(&rename).execute(app.pool()).await.unwrap();
    };
    rename("erasures", "mislaid").await;
    let failed = erase(&app, "alice@example.org").await;
    failed.problem(500, "internal");
    let instance = text(&failed.json()["instance"]);
    let id = instance.rsplit('/').next().unwrap();
    let words = eventually("the server logs the failure", || async {
        Some(app.stderr()).filter(|words| words.contains(id))
    })
    .await;
    assert!(words.contains("erasures"), "{words}");
    assert!(!words.contains("alice"), "{words}");
    rename("mislaid", "erasures").await;
    assert_eq!(erase(&app, "alice@example.org").await.status, 204);
    app.audit_verify().await;
}

#[tokio::test]
async fn audit_finds_personal_data_restored_after_an_erasure() {
    let app = App::start().await;
    let drop = app.create_drop(5, json!({ "hold_seconds": 3600 })).await;
    hold(&app.api(), &drop, "alice", "Alice").await;
    let (position, private): (i64, String) =
        sqlx::query_as("SELECT position, private::text FROM events WHERE private IS NOT NULL")
            .fetch_one(app.pool())
            .await
            .unwrap();
    assert_eq!(erase(&app.api(), "alice").await.status, 204);
    app.audit_verify().await;

    let put_back = format!(
        "ALTER TABLE events DISABLE TRIGGER refuse_rewriting;
         UPDATE events SET private = '{private}' WHERE position = {position};
         ALTER TABLE events ENABLE ALWAYS TRIGGER refuse_rewriting"
    );
    sqlx::raw_sql(&put_back).execute(app.pool()).await.unwrap();
    let verdict = app.launch().run(&["audit", "verify"]).await;
    assert_eq!(verdict.code, Some(1), "{verdict:?}");
    let reason = format!(
        "position {position}: personal data remains of a buyer erased at position {}",
        position + 1
    );
    assert!(verdict.stderr.contains(&reason), "{verdict:?}");
}

#[tokio::test]
async fn returning_erased_buyer_is_new_and_their_old_hold_stays_valid() {
    let app = App::start().await;
    let drop = app.create_drop(9, json!({ "max_per_buyer": 1 })).await;
    let old = hold(&app, &drop, "dora", "Dora").await;
    app.hold(&drop, "dora").await.problem(409, "limit_reached");

    assert_eq!(erase(&app, "dora").await.status, 204);

    let standing = app
        .get(&format!("/v1/drops/{drop}/buyers/dora"))
        .await
        .ok(200);
    assert_eq!(
        (&standing["held"], &standing["allowance"]),
        (&json!(0), &json!(1))
    );
    let new = hold(&app, &drop, "dora", "Dora").await;
    assert_eq!(app.purchase(&text(&old["id"])).await.status, 201);
    assert_eq!(app.purchase(&text(&new["id"])).await.status, 201);
    let ledger = app.log().await;
    let pseudonyms: Vec<Value> = ledger
        .iter()
        .filter(|event| event.event_type == "HoldPlaced")
        .map(|event| event.fields()["buyer"].clone())
        .collect();
    assert_ne!(pseudonyms[0], pseudonyms[1], "the pseudonyms differ");

    // The second erasure removes only the new data, after a restart as well.
    let app = app.restart().await;
    assert_eq!(
        app.read_hold(&text(&new["id"])).await.ok(200)["buyer_id"],
        "dora"
    );
    assert_eq!(
        app.read_hold(&text(&old["id"])).await.ok(200)["buyer_id"],
        json!(null)
    );
    assert_eq!(erase(&app, "dora").await.status, 204);
    assert!(
        !dump(app.pool()).await.contains("ora\""),
        "neither dora nor Dora"
    );
    assert!(
        app.audit_verify()
            .await
            .contains("personal data of 2 of 2 events erased\nerasures: 2\n")
    );
}

#[tokio::test]
async fn no_entity_tag_confirms_a_body_with_an_erased_buyer() {
    let app = App::start().await;
    let drop = app.create_drop(1, json!({})).await;
    let held = app.held(&drop, "frida").await;
    let entry = app.joined(&drop, "frida", 1).await;
    let paths = [format!("/v1/holds/{held}"), format!("/v1/waitlist/{entry}")];
    let known = async |path: &str, tag: &str| {
        fetch(app.request(Method::GET, path).header("If-None-Match", tag)).await
    };
    let mut tags = vec![];
    for path in &paths {
        let tag = app.get(path).await.header("etag").to_owned();
        assert_eq!(known(path, &tag).await.status, 304, "{path}");
        tags.push(tag);
    }
    assert_eq!(erase(&app, "frida").await.status, 204);
    for (path, tag) in paths.iter().zip(&tags) {
        let body = known(path, tag).await.ok(200);
        assert_eq!(body["buyer_id"], json!(null), "{path}");
    }
}

#[tokio::test]
async fn names_are_compared_as_in_the_engine() {
    let app = App::start().await;
    let drop = app.create_drop(9, json!({})).await;
    // The Kelvin sign is canonically equivalent to the letter K, and is stored as that letter.
    for (written, kept, requested) in [
        ("ÉLISE", "ÉLISE", "élise"),
        ("\u{212A}urt", "Kurt", "kurt"),
        ("Zoë Z", "Zoë Z", "zoË%20z"),
        ("E\u{301}mile", "\u{c9}mile", "e\u{301}mile"),
        ("Σωκράτης", "Σωκράτης", "σωκράτησ"),
        ("Maß", "Maß", "MASS"),
        ("MASS", "MASS", "maſs"),
    ] {
        hold(&app, &drop, written, "Somebody").await;
        assert!(dump(app.pool()).await.contains(kept));
        let erased =
            fetch(app.admin(Method::DELETE, &format!("/v1/admin/buyers/{requested}"))).await;
        assert_eq!(erased.status, 204);
        let dump = dump(app.pool()).await;
        assert!(!dump.contains(written) && !dump.contains(kept), "{written}");
    }
}

#[tokio::test]
async fn unreadable_events_neither_stop_an_erasure_nor_keep_a_name() {
    let app = App::start().await;
    let drop = app.create_drop(9, json!({})).await;
    hold(&app, &drop, "alice", "Alice").await;
    let other = app.create_drop(9, json!({})).await;
    let introduce = async |payload: &str, private: &str| {
        sqlx::query(
            "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, private)
             SELECT 'Drop', $1, max(sequence) + 1, 'HoldPlaced', '1.0', $2::json, '{}', $3::json FROM events WHERE aggregate_id = $1",
        )
        .bind(&other)
        .bind(payload)
        .bind(private)
        .execute(app.pool())
        .await
        .unwrap();
    };
    // A text that no JSON function of PostgreSQL reads, a payload without a buyer, one that is not
    // an object, and a name with surrounding spaces and escapes.
    let nul = r#"{"buyer_id": "x\u0000y", "display_name": "Nul"}"#;
    introduce(r#"{"HoldPlaced": {"buyer": "\u0000"}}"#, nul).await;
    introduce("{}", r#"{"buyer_id": " Mallory "}"#).await;
    introduce("[1]", r#"{"buyer_id": "\u006dallory"}"#).await;
    introduce("7", "8").await;
    let kept = dump(app.pool()).await;
    assert!(
        kept.contains("Mallory") && kept.contains("allory"),
        "{kept}"
    );
    for name in ["alice", "mallory"] {
        assert_eq!(erase(&app, name).await.status, 204);
    }
    let kept = dump(app.pool()).await;
    assert!(!kept.contains("allory") && !kept.contains("lice"), "{kept}");
    assert!(
        kept.contains("Nul"),
        "it belongs to no erased buyer: {kept}"
    );
}

#[tokio::test]
async fn other_process_applies_an_erasure_before_its_next_append() {
    let one = App::start().await;
    let two = one.launch().clone().start().await;
    let drop = one.create_drop(50, json!({ "max_per_hold": 1 })).await;
    let placed = hold(&one, &drop, "erin", "Erin Early").await;
    let id = text(&placed["id"]);
    let position = number(&placed["position"]);
    let known = two
        .get(&format!("/v1/holds/{id}?at_least={position}"))
        .await
        .ok(200);
    assert_eq!(known["buyer_id"], "erin");

    // From the command line: no server takes part.
    let erased = one.launch().run(&["audit", "erase", " Erin "]).await;
    assert_eq!(erased.code, Some(0), "{erased:?}");
    assert!(
        erased.stdout.contains(
            "1 pseudonyms no longer identify a buyer, the personal data of 1 events is removed"
        ),
        "{erased:?}"
    );

    // The next decision of either engine about her treats her as a new buyer. Otherwise a name that
    // differs from the known one would be recorded again under the erased pseudonym.
    let again = hold(&two, &drop, "erin", "Erin Later").await;
    let log = two.log().await;
    let pseudonym = |hold: &Value| {
        let of = log.iter().find(|event| {
            event.event_type == "HoldPlaced" && event.fields()["hold_id"] == hold["id"]
        });
        of.unwrap().fields()["buyer"].clone()
    };
    assert_ne!(pseudonym(&placed), pseudonym(&again));
    for api in [one.api(), two.api()] {
        eventually("each process has discarded her name", || async {
            let seen = api.get(&format!("/v1/holds/{id}")).await.ok(200);
            (seen["buyer_id"] == json!(null)).then_some(())
        })
        .await;
    }
    assert!(!dump(one.pool()).await.contains("Erin Early"));
    assert!(one.audit_verify().await.contains("erasures: 1\n"));
    let unknown = one
        .launch()
        .run(&["audit", "erase", "nobody", "--json"])
        .await;
    assert_eq!(
        serde_json::from_str::<Value>(&unknown.stdout).unwrap(),
        json!({ "position": null, "pseudonyms": 0, "events": 0 })
    );
}

#[tokio::test]
async fn erasure_during_a_stampede_loses_no_hold_and_links_no_buyer() {
    let app = App::start().await;
    let drop = app.create_drop(5_000, json!({})).await;
    let (api, shop) = (app.api(), drop.clone());
    let stampede = tokio::spawn(async move {
        harness::concurrently((0..600).map(|turn| {
            let (api, shop) = (api.clone(), shop.clone());
            // The same few buyers under new names each time: each is introduced repeatedly.
            async move {
                hold(
                    &api,
                    &shop,
                    &format!("buyer-{}", turn % 5),
                    &format!("Name {turn} of {}", turn % 5),
                )
                .await
            }
        }))
        .await
    });
    let mut positions = vec![];
    while !stampede.is_finished() {
        let erased = erase(&app, "buyer-3").await;
        assert_eq!(erased.status, 204, "{}", erased.text());
        positions.extend(erased.header("holdfast-position").parse::<u64>().ok());
    }
    assert_eq!(stampede.await.unwrap().len(), 600);
    erase(&app, "buyer-3").await;
    let after = dump(app.pool()).await;
    assert!(!after.contains("buyer-3") && !after.contains(" of 3\""));
    assert_eq!(app.stock(&drop).await, [5_000, 4_400, 600, 0]);
    // An erased pseudonym never got a name again, so none can be found under it.
    let rows: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM events e JOIN erasures x ON x.drop_id::text = e.aggregate_id
          WHERE e.position > x.position AND e.private IS NOT NULL AND e.payload -> e.event_type ->> 'buyer' = x.buyer::text",
    )
    .fetch_one(app.pool())
    .await
    .unwrap();
    assert_eq!(rows, 0);
    let introduced_after: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM events e JOIN erasures x ON x.drop_id::text = e.aggregate_id
          WHERE e.position > x.position AND e.payload -> 'HoldPlaced' ->> 'commitment' IS NOT NULL
            AND e.payload -> 'HoldPlaced' ->> 'buyer' = x.buyer::text",
    )
    .fetch_one(app.pool())
    .await
    .unwrap();
    assert_eq!(
        introduced_after, 0,
        "no erased pseudonym was introduced again"
    );
    app.audit_verify().await;
}

async fn entry_status(app: &App, entry: &str) -> String {
    let entry = app.get(&format!("/v1/waitlist/{entry}")).await.ok(200);
    text(&entry["status"])
}

#[tokio::test]
async fn erased_buyers_entry_leaves_and_gets_no_unit() {
    let app = App::start().await;
    let drop = app.create_drop(1, json!({ "hold_seconds": 3600 })).await;
    let held = app.held(&drop, "alice").await;
    let gone = app.joined(&drop, "frida", 1).await;
    let stays = app.joined(&drop, "grace", 1).await;
    assert_eq!(erase(&app, "frida").await.status, 204);
    eventually("the entry has left", || async {
        (entry_status(&app, &gone).await == "left").then_some(())
    })
    .await;
    assert_eq!(app.release(&held).await.status, 204);
    assert_eq!(entry_status(&app, &gone).await, "left");
    assert_eq!(entry_status(&app, &stays).await, "offered");
    // A hold stays: it can still be purchased by its id.
    assert_eq!(erase(&app, "grace").await.status, 204);
    let entry = app.get(&format!("/v1/waitlist/{stays}")).await.ok(200);
    app.purchase(&text(&entry["hold_id"])).await.ok(201);
    let ledger = app.ledger().await;
    assert_eq!(ledger.count(&drop, "WaitlistLeft"), 1);
    app.audit_verify().await;
}

#[tokio::test]
async fn entry_of_a_buyer_erased_while_no_server_ran_leaves_at_the_start() {
    let mut app = App::start().await;
    let drop = app.create_drop(1, json!({ "hold_seconds": 3600 })).await;
    app.held(&drop, "alice").await;
    let gone = app.joined(&drop, "frida", 1).await;
    app.kill();
    let erased = app.launch().run(&["audit", "erase", "FRIDA"]).await;
    assert_eq!(erased.code, Some(0), "{erased:?}");
    let app = app.restart().await;
    eventually("the entry has left", || async {
        (entry_status(&app, &gone).await == "left").then_some(())
    })
    .await;
    app.adjust(&drop, 1).await.ok(201);
    assert_eq!(app.stock(&drop).await, [2, 1, 1, 0]);
    // A second start finds nothing to do.
    let app = app.restart().await;
    app.held(&drop, "bob").await;
    assert_eq!(app.ledger().await.count(&drop, "WaitlistLeft"), 1);
    app.audit_verify().await;
}
