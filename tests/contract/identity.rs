//! Identity of buyers: ids and names by Unicode's own documents (UAX #9, #15, #44, Unicode 17), and
//! names in older logs.
//!
//! The characters are those of issue 13 and one more of each kind; `domain/src/values.rs` has the
//! whole list.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use domain::private::Private;
use harness::{App, eventually, fetch, key, number, text};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

/// Percent-encodes a path segment.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn buyer_cannot_return_with_a_lookalike_id() {
    let app = App::start().await;
    let drop = app.create_drop(50, json!({ "max_per_buyer": 1 })).await;
    app.held(&drop, "ann").await;
    for same in ["ann", "ANN", " ann ", "\u{a0}ann"] {
        app.hold(&drop, same).await.problem(409, "limit_reached");
    }
    for (id, why) in [
        ("ann\u{200b}", "U+200B, which is invisible"),
        ("an\u{ad}n", "U+00AD, which is invisible"),
        ("ann\u{2060}", "U+2060, which is invisible"),
        ("ann\u{3164}", "U+3164, which is invisible"),
        ("ann\u{2800}", "U+2800, which is invisible"),
        ("ann\u{fe0f}", "U+FE0F, which is invisible"),
        ("a\u{202e}nn", "U+202E, which changes the direction"),
        ("ann\u{200e}", "U+200E, which changes the direction"),
        ("ann\u{378}", "U+0378, which is not assigned"),
        ("an\u{a0}n", "U+00A0, white space"),
    ] {
        let body = json!({ "buyer_id": id });
        let held = app.hold(&drop, id).await;
        let joined = app.join_with(&drop, &key(), &body).await;
        for refused in [held, joined] {
            refused.invalid("/buyer_id");
            let detail = text(&refused.json()["errors"][0]["detail"]);
            assert!(detail.contains(why), "{id:?}: {detail}");
        }
    }
    // Canonically equivalent: one text in two spellings.
    let held = app.hold(&drop, "e\u{301}va").await.ok(201);
    assert_eq!(held["buyer_id"], "\u{e9}va");
    for same in ["\u{e9}va", "e\u{301}va", "\u{c9}va", "E\u{301}VA"] {
        app.hold(&drop, same).await.problem(409, "limit_reached");
        let path = format!("/v1/drops/{drop}/buyers/{}", encoded(same));
        assert_eq!(app.get(&path).await.ok(200)["held"], 1, "{same:?}");
    }
    // Keys are scoped the same way: a retry in another spelling is a retry.
    let body = |id: &str| json!({ "buyer_id": id });
    let first = app.hold_with(&drop, "k-1", &body("zo\u{eb}")).await.ok(201);
    let again = app.hold_with(&drop, "k-1", &body("zoe\u{308}")).await;
    assert_eq!(
        (again.is_replay(), &again.ok(201)["id"]),
        (true, &first["id"])
    );
    assert_eq!(app.stock(&drop).await, [50, 47, 3, 0]);
    app.audit_verify().await;
}

/// Pairs of ids that are one buyer by full case folding, and not by lower case.
const CASELESS: &[(&str, &str)] = &[
    ("σας", "σασ"),
    ("ςα", "ΣΑ"),
    ("ſam", "sam"),
    ("ϐίος", "βίοσ"),
    ("maß", "MASS"),
    ("maẞ", "mass"),
    ("ﬁn", "FIN"),
];

#[tokio::test]
async fn buyer_cannot_return_with_an_id_that_case_folding_makes_equal() {
    let app = App::start().await;
    for (first, second) in CASELESS {
        for (held, again) in [(first, second), (second, first)] {
            let drop = app.create_drop(9, json!({ "max_per_buyer": 1 })).await;
            let hold = app.held(&drop, held).await;
            for _ in 0..2 {
                app.hold(&drop, again).await.problem(409, "limit_reached");
            }
            let path = format!("/v1/drops/{drop}/buyers/{}", encoded(again));
            assert_eq!(app.get(&path).await.ok(200)["held"], 1, "{held} {again}");
            app.purchase(&hold).await.ok(201);
            app.hold(&drop, again).await.problem(409, "limit_reached");
            assert_eq!(app.read_hold(&hold).await.ok(200)["buyer_id"], *held);
        }
    }
    let (kelvin, drop) = (
        "\u{212a}urt",
        app.create_drop(9, json!({ "max_per_buyer": 1 })).await,
    );
    app.held(&drop, kelvin).await;
    app.hold(&drop, "kurt").await.problem(409, "limit_reached");
    // Compatibility variants are other accounts.
    app.held(&drop, "user2").await;
    app.held(&drop, "user²").await;
    let verify = app.launch().run(&["audit", "verify"]).await;
    assert_eq!(verify.code, Some(0), "{verify:?}");
    assert!(!verify.stderr.contains("spellings"), "{verify:?}");
}

/// A log in which an earlier release, which compared by lower case, made two buyers.
#[tokio::test]
async fn two_buyers_of_an_older_log_stay_two_and_get_no_third() {
    let app = App::start().await;
    let drop = app
        .create_drop(9, json!({ "max_per_buyer": 2, "hold_seconds": 3600 }))
        .await;
    let mut holds = vec![];
    for (index, id) in ["maß", "mass"].into_iter().enumerate() {
        let private = introducing(id, id);
        let (hold, event) = placed(&drop, Uuid::new_v4(), &private);
        let sequence = i64::try_from(index).unwrap() + 3;
        record(&app, &drop, sequence, &event, Some(&private)).await;
        holds.push(hold);
    }
    let app = app.restart().await;
    for (id, hold) in ["maß", "mass"].into_iter().zip(&holds) {
        assert_eq!(app.purchase(hold).await.status, 201);
        let path = format!("/v1/drops/{drop}/buyers/{}", encoded(id));
        assert_eq!(app.get(&path).await.ok(200)["purchased"], 1, "{id}");
    }
    // Each uses the rest of their own limit, in any case of their spelling.
    app.held(&drop, "MAẞ").await;
    app.held(&drop, "MASS").await;
    for id in ["maß", "mass", "maſs", "MAſS"] {
        app.hold(&drop, id).await.problem(409, "limit_reached");
    }
    let verify = app.launch().run(&["audit", "verify"]).await;
    assert_eq!(verify.code, Some(0), "{verify:?}");
    let note = "1 spellings of a buyer's id are buyers of their own";
    assert!(verify.stderr.contains(note), "{verify:?}");
    // An erasure means the person, by any spelling.
    let path = format!("/v1/admin/buyers/{}", encoded("maſs"));
    assert_eq!(fetch(app.admin(Method::DELETE, &path)).await.status, 204);
    for hold in &holds {
        assert_eq!(app.read_hold(hold).await.ok(200)["buyer_id"], json!(null));
    }
    app.held(&drop, "mass").await;
    app.audit_verify().await;
}

#[tokio::test]
async fn names_are_visible_and_do_not_change_the_text_direction() {
    let app = App::start().await;
    let drop = app.create_drop(9, json!({})).await;
    let new = |name: &str| {
        json!({
            "name": name, "price": { "amount": 1, "currency": "USD" }, "total_stock": 1,
            "description": "a\u{2069}b",
        })
    };
    for bad in [
        "\u{2800}",
        "\u{3164}",
        "\u{200b}\u{ad}",
        "\u{301}",
        "a\u{202e}b",
        "a\u{2067}b",
    ] {
        let refused = app.post_drop(&new(bad)).await;
        assert_eq!(
            refused.invalid_pointers(),
            ["/description", "/name"],
            "{bad:?}"
        );
        let edit = app.admin(Method::PATCH, &format!("/v1/drops/{drop}"));
        let edit = edit.header("if-match", "*").json(&json!({ "name": bad }));
        fetch(edit).await.invalid("/name");
        let body = json!({ "buyer_id": "ann", "display_name": bad });
        app.hold_with(&drop, &key(), &body)
            .await
            .invalid("/display_name");
        app.join_with(&drop, &key(), &body)
            .await
            .invalid("/display_name");
        let path = format!("/v1/drops/{drop}/stock-adjustments");
        let adjust = app
            .admin(Method::POST, &path)
            .header("idempotency-key", key());
        fetch(adjust.json(&json!({ "delta": 1, "reason": bad })))
            .await
            .invalid("/reason");
    }
    for good in ["Ada L.", "می\u{200c}خواهم", "👩\u{200d}🚀", "א\u{200f}!"] {
        let body = json!({ "buyer_id": "ann", "display_name": good });
        app.hold_with(&drop, &key(), &body).await.ok(201);
    }
}

/// Records an event as an earlier release did, which only rejected control characters.
async fn record(
    app: &App,
    drop: &str,
    sequence: i64,
    event: &Value,
    private: Option<&Private>,
) -> u64 {
    let (kind, _) = event.as_object().unwrap().iter().next().unwrap();
    let private = private.map(|private| serde_json::to_string(private).unwrap());
    let position: i64 = sqlx::query_scalar(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, private)
         VALUES ('Drop', $1, $2, $3, '1.0', $4::json, '{}'::json, $5::json) RETURNING position",
    )
    .bind(drop)
    .bind(sequence)
    .bind(kind)
    .bind(event.to_string())
    .bind(private)
    .fetch_one(app.pool())
    .await
    .unwrap();
    position.unsigned_abs()
}

fn introducing(buyer: &str, shown: &str) -> Private {
    let private = json!({ "salt": "0f".repeat(16), "buyer_id": buyer, "display_name": shown });
    serde_json::from_value(private).unwrap()
}

fn placed(drop: &str, buyer: Uuid, private: &Private) -> (String, Value) {
    let random = Uuid::new_v4().to_string();
    let hold = format!("{}{}", &drop[..8], &random[8..]);
    // As long as the drop's holds to the millisecond: the audit compares.
    let (placed_at, expires_at) = harness::now_and_in(3600);
    let event = json!({ "HoldPlaced": {
        "hold_id": hold, "buyer": buyer, "quantity": 1,
        "placed_at": placed_at, "expires_at": expires_at, "commitment": private.commitment(),
    }});
    (hold, event)
}

#[tokio::test]
async fn ids_of_an_older_log_that_are_rejected_now_are_read_and_erased() {
    let app = App::start().await;
    let drop = Uuid::new_v4().to_string();
    let past = harness::in_seconds(-9);
    let scheduled = json!({ "DropScheduled": {
        "terms": {
            "name": "\u{2800}", "description": "a\u{202e}b", "price": { "amount": 1, "currency": "USD" },
            "starts_at": past, "hold_seconds": 3600, "max_per_hold": 1, "max_per_buyer": 1,
        },
        "total_stock": 9, "scheduled_at": past,
    }});
    record(&app, &drop, 1, &scheduled, None).await;
    // The engine records its start, as sequence 2.
    harness::eventually("the drop has started", || async {
        (app.log().await.len() == 2).then_some(())
    })
    .await;
    let people = [
        ("ann\u{200b}", "A\u{202e}nn"),
        ("ann\u{ad}", "\u{3164}"),
        ("e\u{301}va", "Eva, apart"),
        ("\u{e9}va", "Eva, in one"),
    ];
    let (mut holds, mut last) = (vec![], 0);
    for (index, (buyer, shown)) in people.iter().enumerate() {
        let private = introducing(buyer, shown);
        let (hold, event) = placed(&drop, Uuid::new_v4(), &private);
        let sequence = i64::try_from(index).unwrap() + 3;
        last = record(&app, &drop, sequence, &event, Some(&private)).await;
        holds.push(hold);
    }
    let path = format!("/v1/holds/{}?at_least={last}", holds[0]);
    eventually("the server has applied them", || async {
        (app.get(&path).await.status == 200).then_some(())
    })
    .await;
    app.audit_verify().await;
    let app = app.restart().await;
    app.audit_verify().await;
    assert_eq!(app.drop(&drop).await["name"], "\u{2800}");
    for (hold, (buyer, _)) in holds.iter().zip(people) {
        assert_eq!(app.read_hold(hold).await.ok(200)["buyer_id"], buyer);
        assert_eq!(app.purchase(hold).await.status, 201);
    }
    for (buyer, _) in people {
        let path = format!("/v1/drops/{drop}/buyers/{}", encoded(buyer));
        assert_eq!(app.get(&path).await.ok(200)["purchased"], 1, "{buyer:?}");
    }
    let purchasers = app
        .get(&format!("/v1/drops/{drop}/purchasers?limit=9"))
        .await;
    assert!(purchasers.text().contains("Eva, apart"));
    // No new buyer can use an id that is rejected now, and no other buyer gets access to the old
    // one.
    app.hold(&drop, "ann\u{200b}").await.invalid("/buyer_id");
    app.held(&drop, "ann").await;
    for either in ["\u{e9}va", "e\u{301}va"] {
        app.hold(&drop, either).await.problem(409, "limit_reached");
    }
    app.audit_verify().await;

    let erase = async |buyer: &str| {
        let path = format!("/v1/admin/buyers/{}", encoded(buyer));
        let erased = fetch(app.admin(Method::DELETE, &path)).await;
        assert_eq!(erased.status, 204);
        number(&json!(
            erased.header("holdfast-position").parse::<u64>().unwrap()
        ))
    };
    erase("ann\u{200b}").await;
    let owner = async |hold: &str| app.read_hold(hold).await.ok(200)["buyer_id"].clone();
    assert_eq!(owner(&holds[0]).await, json!(null));
    assert_eq!(owner(&holds[1]).await, "ann\u{ad}");
    // An administrator means the same person with either spelling.
    erase("\u{c9}va").await;
    assert_eq!(
        (owner(&holds[2]).await, owner(&holds[3]).await),
        (json!(null), json!(null))
    );
    let left: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM events WHERE private::text LIKE '%va\"%' OR private::text LIKE '%ann\u{200b}%'",
    )
    .fetch_one(app.pool())
    .await
    .unwrap();
    assert_eq!(left, 0);
    app.audit_verify().await;
}
