//! The waitlist over HTTP: join when sold out, be served in order of arrival, and find the entry
//! again after any failure.

use harness::{
    App, Launch, Watcher, concurrently, distinct, eventually, fetch, in_seconds, key, tally, text,
};
use reqwest::Method;
use serde_json::{Value, json};

/// A drop of one unit, and the hold that has it.
async fn sold_out(app: &App, more: Value) -> (String, String) {
    let drop = app.create_drop(1, more).await;
    let hold = app.held(&drop, "first").await;
    (drop, hold)
}

#[tokio::test]
async fn buyer_of_a_sold_out_drop_joins_the_waitlist_and_gets_a_position() {
    let app = App::start().await;
    let drop = app.create_drop(1, json!({})).await;
    let early = app.join(&drop, "alice", 1).await;
    let early = early.problem(409, "not_sold_out");
    assert_eq!(
        (&early["requested"], &early["available"]),
        (&json!(1), &json!(1))
    );
    app.held(&drop, "first").await;

    let reply = app
        .join_with(
            &drop,
            &key(),
            &json!({ "buyer_id": " Alice ", "display_name": "A" }),
        )
        .await;
    let entry = reply.ok(201);
    let id = text(&entry["id"]);
    assert_eq!(reply.header("location"), format!("/v1/waitlist/{id}"));
    let mut fields: Vec<&String> = entry.as_object().unwrap().keys().collect();
    fields.sort();
    assert_eq!(
        fields,
        [
            "blocked_by",
            "buyer_id",
            "drop_id",
            "expires_at",
            "hold_id",
            "id",
            "joined_at",
            "offered_at",
            "place",
            "position",
            "price",
            "quantity",
            "server_time",
            "status"
        ]
    );
    assert_eq!(
        (&entry["drop_id"], &entry["buyer_id"], &entry["quantity"]),
        (&json!(drop), &json!("Alice"), &json!(1))
    );
    assert_eq!(
        (&entry["status"], &entry["place"], &entry["hold_id"]),
        (&json!("waiting"), &json!(1), &json!(null))
    );
    assert_eq!(entry["position"], 4);
    let second = app.join(&drop, "bob", 1).await.ok(201);
    assert_eq!(second["place"], 2);
    let state = app.drop(&drop).await;
    assert_eq!(
        (&state["status"], &state["waitlist_length"]),
        (&json!("sold_out"), &json!(2))
    );
    let read = app.get(&format!("/v1/waitlist/{id}")).await;
    assert_eq!(read.ok(200)["place"], 1);
    let again = app.request(Method::GET, &format!("/v1/waitlist/{id}"));
    let again = fetch(again.header("if-none-match", read.header("etag"))).await;
    assert_eq!(again.status, 304);
}

#[tokio::test]
async fn freed_unit_is_offered_to_the_first_entry_and_can_be_purchased() {
    let app = App::start().await;
    let (drop, first) = sold_out(&app, json!({ "hold_seconds": 90 })).await;
    let alice = app.joined(&drop, "alice", 1).await;
    let bob = app.joined(&drop, "bob", 1).await;
    app.release(&first).await.ok(204);

    let entry = app.waitlist_entry(&alice).await;
    assert_eq!(
        (&entry["status"], &entry["place"]),
        (&json!("offered"), &json!(null))
    );
    let hold = text(&entry["hold_id"]);
    let read = app.read_hold(&hold).await.ok(200);
    assert_eq!(
        (&read["status"], &read["buyer_id"], &read["quantity"]),
        (&json!("held"), &json!("alice"), &json!(1))
    );
    assert_eq!(read["expires_at"], entry["expires_at"]);
    assert_eq!(read["placed_at"], entry["offered_at"]);
    let log = app.log().await;
    let kinds: Vec<&str> = log.iter().map(|event| event.event_type.as_str()).collect();
    assert_eq!(kinds[kinds.len() - 2..], ["HoldReleased", "HoldPlaced"]);
    let [freed, offered] = [log.len() - 2, log.len() - 1].map(|index| &log[index].recorded_at);
    assert_eq!(freed, offered, "the release and the offer are one batch");
    assert_eq!(
        app.waitlist_entry(&bob).await["place"],
        1,
        "the next entry moved up"
    );
    app.hold(&drop, "eve").await.problem(409, "sold_out");

    app.purchase(&hold).await.ok(201);
    assert_eq!(app.waitlist_entry(&alice).await["status"], "purchased");
    assert_eq!(app.drop(&drop).await["waitlist_length"], 1);
    app.audit_verify().await;
}

#[tokio::test]
async fn offer_has_the_price_in_force_when_it_was_made() {
    let app = App::start().await;
    let (drop, first) = sold_out(&app, json!({})).await;
    let alice = app.joined(&drop, "alice", 1).await;
    assert_eq!(app.waitlist_entry(&alice).await["price"], json!(null));
    let edit = app.admin(Method::PATCH, &format!("/v1/drops/{drop}"));
    let price = json!({ "amount": 2_500, "currency": "USD" });
    fetch(
        edit.header("if-match", "*")
            .json(&json!({ "price": price })),
    )
    .await
    .ok(200);
    app.release(&first).await.ok(204);
    let entry = app.waitlist_entry(&alice).await;
    assert_eq!(entry["price"], price);
    let hold = text(&entry["hold_id"]);
    assert_eq!(app.read_hold(&hold).await.ok(200)["price"], price);
    assert_eq!(app.purchase(&hold).await.ok(201)["total"], price);
}

#[tokio::test]
async fn expired_offer_goes_to_the_next_entry_and_finally_on_sale() {
    let app = App::start().await;
    let (drop, _) = sold_out(&app, json!({ "hold_seconds": 1 })).await;
    let entries = [
        app.joined(&drop, "alice", 1).await,
        app.joined(&drop, "bob", 1).await,
    ];
    eventually("the unit is on sale again", || async {
        (app.stock(&drop).await == [1, 1, 0, 0]).then_some(())
    })
    .await;
    for entry in &entries {
        assert_eq!(app.waitlist_entry(entry).await["status"], "expired");
    }
    let ledger = app.ledger().await;
    assert_eq!(ledger.count(&drop, "HoldPlaced"), 3);
    assert_eq!(ledger.count(&drop, "HoldExpired"), 3);
    app.join(&drop, "carol", 1)
        .await
        .problem(409, "not_sold_out");
    app.audit_verify().await;
}

#[tokio::test]
async fn restock_serves_the_first_entries_that_fit() {
    let app = App::start().await;
    let terms = json!({ "max_per_hold": 5, "hold_seconds": 3600 });
    let (drop, _) = sold_out(&app, terms).await;
    let large = app.joined(&drop, "large", 5).await;
    let small = app.joined(&drop, "small", 1).await;
    let adjusted = app.adjust(&drop, 3).await.ok(201);
    assert_eq!(
        adjusted["stock"],
        json!({ "total": 4, "available": 2, "held": 2, "sold": 0 }),
        "the response includes the offers"
    );
    assert_eq!(app.waitlist_entry(&small).await["status"], "offered");
    let waiting = app.waitlist_entry(&large).await;
    assert_eq!(
        (&waiting["status"], &waiting["place"]),
        (&json!("waiting"), &json!(1))
    );
    // Two units that no entry can use: on sale.
    let state = app.drop(&drop).await;
    assert_eq!(
        (&state["status"], &state["stock"]["available"]),
        (&json!("live"), &json!(2))
    );
    app.join(&drop, "eve", 2).await.problem(409, "not_sold_out");
    let eve = app.held(&drop, "eve").await;
    app.release(&eve).await.ok(204);
    app.adjust(&drop, 3).await.ok(201);
    assert_eq!(app.waitlist_entry(&large).await["status"], "offered");
    assert_eq!(app.stock(&drop).await, [7, 0, 7, 0]);
    app.audit_verify().await;
}

#[tokio::test]
async fn joining_is_idempotent_and_a_buyer_has_one_entry() {
    let app = App::start().await;
    let (drop, first) = sold_out(&app, json!({ "max_per_buyer": 1 })).await;
    let body = json!({ "buyer_id": "alice" });
    let entry = app.join_with(&drop, "k", &body).await;
    let again = app
        .join_with(&drop, "k", &json!({ "buyer_id": "ALICE", "quantity": 1 }))
        .await;
    assert_eq!(entry.ok(201)["id"], again.ok(201)["id"]);
    assert!(!entry.is_replay() && again.is_replay());
    for other in [
        json!({ "buyer_id": "bob" }),
        json!({ "buyer_id": "alice", "quantity": 2 }),
    ] {
        app.join_with(&drop, "k", &other)
            .await
            .problem(422, "idempotency_key_reused");
    }
    app.hold_with(&drop, "k", &body)
        .await
        .problem(422, "idempotency_key_reused");
    let twice = app.join(&drop, "Alice", 1).await;
    assert_eq!(twice.problem(409, "already_waiting")["quantity"], 1);
    app.join(&drop, "first", 1)
        .await
        .problem(409, "limit_reached");
    let path = format!("/v1/drops/{drop}/waitlist");
    fetch(app.request(Method::POST, &path).json(&body))
        .await
        .problem(400, "idempotency_key_required");

    app.release(&first).await.ok(204);
    let offered = app.join_with(&drop, "k", &body).await;
    assert_eq!(
        (&offered.ok(201)["status"], offered.is_replay()),
        (&json!("offered"), true),
        "the same entry, in any state"
    );
}

#[tokio::test]
async fn left_entry_is_skipped_and_an_offered_entry_is_released_instead() {
    let app = App::start().await;
    let (drop, first) = sold_out(&app, json!({})).await;
    let alice = app.joined(&drop, "alice", 1).await;
    let bob = app.joined(&drop, "bob", 1).await;
    let left = app.leave(&alice).await;
    assert_eq!((left.status, left.body.len()), (204, 0));
    assert!(!left.header("holdfast-position").is_empty());
    assert!(app.leave(&alice).await.is_replay());
    assert_eq!(app.waitlist_entry(&alice).await["status"], "left");
    assert_eq!(app.waitlist_entry(&bob).await["place"], 1);
    app.release(&first).await.ok(204);
    let hold = text(&app.waitlist_entry(&bob).await["hold_id"]);
    let refused = app.leave(&bob).await.problem(409, "already_offered");
    assert_eq!(refused["hold_id"], hold.as_str());
    app.release(&hold).await.ok(204);
    assert_eq!(app.waitlist_entry(&bob).await["status"], "released");
    for id in [uuid::Uuid::new_v4().to_string(), drop, "x".to_owned()] {
        let path = format!("/v1/waitlist/{id}");
        app.get(&path)
            .await
            .problem(404, "waitlist_entry_not_found");
        app.leave(&id)
            .await
            .problem(404, "waitlist_entry_not_found");
    }
}

#[tokio::test]
async fn waitlist_closes_with_its_drop_and_reopens_when_the_end_is_postponed() {
    let app = App::start().await;
    let (cancelled, _) = sold_out(&app, json!({})).await;
    let entry = app.joined(&cancelled, "alice", 1).await;
    fetch(app.admin(Method::POST, &format!("/v1/drops/{cancelled}/cancel")))
        .await
        .ok(200);
    assert_eq!(app.waitlist_entry(&entry).await["status"], "closed");
    assert_eq!(app.drop(&cancelled).await["waitlist_length"], 0);
    app.join(&cancelled, "bob", 1).await.problem(409, "ended");

    let (ended, hold) = sold_out(&app, json!({ "hold_seconds": 3600 })).await;
    let entry = app.joined(&ended, "alice", 1).await;
    let edit = |body: Value| {
        let path = format!("/v1/drops/{ended}");
        let edit = app.admin(Method::PATCH, &path).header("if-match", "*");
        fetch(edit.json(&body))
    };
    edit(json!({ "starts_at": in_seconds(-20), "ends_at": in_seconds(-10) }))
        .await
        .ok(200);
    assert_eq!(app.waitlist_entry(&entry).await["status"], "closed");
    app.release(&hold).await.ok(204);
    assert_eq!(app.waitlist_entry(&entry).await["status"], "closed");
    edit(json!({ "ends_at": null })).await.ok(200);
    assert_eq!(app.waitlist_entry(&entry).await["status"], "offered");
    app.audit_verify().await;
}

#[tokio::test]
async fn stream_reports_changes_of_a_waitlist_entry() {
    let app = App::start().await;
    let (drop, first) = sold_out(&app, json!({})).await;
    let alice = app.joined(&drop, "alice", 1).await;
    let bob = app.joined(&drop, "bob", 1).await;
    let mut watcher = app.watch(&format!("?drops={drop}&waitlist={bob}")).await;
    let news = watcher
        .waitlist_entry(|news| news["status"] == "waiting")
        .await;
    assert_eq!((&news["id"], &news["place"]), (&json!(bob), &json!(2)));
    assert_eq!(news.get("buyer_id"), None);
    app.leave(&alice).await.ok(204);
    watcher.waitlist_entry(|news| news["place"] == 1).await;
    app.release(&first).await.ok(204);
    let offered = watcher
        .waitlist_entry(|news| news["status"] == "offered")
        .await;
    app.purchase(&text(&offered["hold_id"])).await.ok(201);
    watcher
        .waitlist_entry(|news| news["status"] == "purchased")
        .await;
    let unknown = format!("?waitlist={}", uuid::Uuid::new_v4());
    assert_eq!(app.watch(&unknown).await.status, 404);

    let mut shop = app.watch(&format!("?drops={drop}")).await;
    assert_eq!(shop.drop().await.json()["waitlist_length"], 0);
    app.joined(&drop, "carol", 1).await;
    shop.until(|state| state["waitlist_length"] == 1).await;
}

/// Waits until the stream reports `block` for an entry, and asserts that a read reports the same.
async fn assert_blocked_by(app: &App, watcher: &mut Watcher, entry: &str, block: Value) {
    let is_told = |news: &Value| news["id"] == entry && news["blocked_by"] == block;
    watcher.waitlist_entry(is_told).await;
    assert_eq!(app.waitlist_entry(entry).await["blocked_by"], block);
}

async fn edit(app: &App, drop: &str, body: &Value) {
    let edit = app.admin(Method::PATCH, &format!("/v1/drops/{drop}"));
    fetch(edit.header("if-match", "*").json(body)).await.ok(200);
}

#[tokio::test]
async fn blocked_entry_is_reported_immediately_and_after_each_change() {
    let app = App::start().await;
    let terms = json!({ "max_per_hold": 5, "hold_seconds": 3600 });
    let drop = app.create_drop(3, terms).await;
    let two = json!({ "buyer_id": "first", "quantity": 2 });
    let first = text(&app.hold_with(&drop, &key(), &two).await.ok(201)["id"]);
    let second = app.held(&drop, "second").await;
    // More units than the drop has: accepted because a restock may serve it, and reported
    // immediately as blocked.
    let large = app.join(&drop, "large", 4).await.ok(201);
    assert_eq!(
        (&large["status"], &large["place"], &large["blocked_by"]),
        (&json!("waiting"), &json!(1), &json!("total_stock"))
    );
    let large = text(&large["id"]);
    let pair = app.joined(&drop, "second", 2).await;
    let query = format!("?drops={drop}&waitlist={large},{pair}");
    let mut watcher = app.watch(&query).await;
    assert_blocked_by(&app, &mut watcher, &large, json!("total_stock")).await;
    let mut watcher = app.watch(&query).await;
    assert_blocked_by(&app, &mut watcher, &pair, json!(null)).await;

    edit(&app, &drop, &json!({ "max_per_hold": 1 })).await;
    assert_blocked_by(&app, &mut watcher, &pair, json!("max_per_hold")).await;
    // Of two units per buyer, one is already held.
    let limits = json!({ "max_per_hold": 5, "max_per_buyer": 2 });
    edit(&app, &drop, &limits).await;
    assert_blocked_by(&app, &mut watcher, &pair, json!("max_per_buyer")).await;
    let path = format!("/v1/waitlist/{pair}");
    let tag = app.get(&path).await.header("etag").to_owned();
    app.release(&second).await.ok(204);
    assert_blocked_by(&app, &mut watcher, &pair, json!(null)).await;
    let again = fetch(app.request(Method::GET, &path).header("if-none-match", tag)).await;
    assert_eq!(again.status, 200, "the tag covers the block of an entry");

    // Two of three units are sold: one is left, and two are requested.
    app.purchase(&first).await.ok(201);
    assert_blocked_by(&app, &mut watcher, &pair, json!("total_stock")).await;
    // The entry blocks no other buyer, and is served once possible.
    let held = app.held(&drop, "third").await;
    app.release(&held).await.ok(204);
    app.adjust(&drop, 1).await.ok(201);
    let offered = app.waitlist_entry(&pair).await;
    assert_eq!(
        (&offered["status"], &offered["blocked_by"]),
        (&json!("offered"), &json!(null))
    );
    edit(&app, &drop, &json!({ "max_per_buyer": null })).await;
    app.adjust(&drop, 2).await.ok(201);
    // Two of its four units are held by another buyer and may become available.
    assert_eq!(app.waitlist_entry(&large).await["blocked_by"], json!(null));
    app.release(&text(&offered["hold_id"])).await.ok(204);
    assert_eq!(app.waitlist_entry(&large).await["status"], "offered");
    app.audit_verify().await;
}

#[tokio::test]
async fn block_of_an_entry_is_the_same_after_a_restart() {
    let mut app = Launch::private().start().await;
    let terms = json!({ "max_per_hold": 4, "hold_seconds": 3600 });
    let drop = app.create_drop(4, terms).await;
    let bought = app.held(&drop, "alice").await;
    app.purchase(&bought).await.ok(201);
    app.held(&drop, "alice").await;
    let gone = app.held(&drop, "alice").await;
    app.release(&gone).await.ok(204);
    app.held(&drop, "bob").await;
    app.held(&drop, "cid").await;
    let entry = app.joined(&drop, "alice", 2).await;
    for (limit, block) in [(4, json!(null)), (3, json!("max_per_buyer"))] {
        edit(&app, &drop, &json!({ "max_per_buyer": limit })).await;
        // Two of her limit of four are sold or held; two of the drop's four units become available.
        assert_eq!(app.waitlist_entry(&entry).await["blocked_by"], block);
        app = app.restart().await;
        assert_eq!(app.waitlist_entry(&entry).await["blocked_by"], block);
    }
}

#[tokio::test]
async fn adjustment_returns_the_stock_after_its_offers() {
    let app = App::start().await;
    let (drop, _) = sold_out(&app, json!({ "hold_seconds": 3600 })).await;
    for buyer in ["alice", "bob", "cid"] {
        app.joined(&drop, buyer, 1).await;
    }
    let path = format!("/v1/drops/{drop}/stock-adjustments");
    let restock = || {
        let restock = app.admin(Method::POST, &path);
        let restock = restock.header("idempotency-key", "a-box");
        fetch(restock.json(&json!({ "delta": 2, "reason": "a box" })))
    };
    let made = restock().await.ok(201);
    assert_eq!(made["stock"], app.drop(&drop).await["stock"]);
    let stock = json!({ "total": 3, "available": 0, "held": 3, "sold": 0 });
    assert_eq!(
        (&made["stock"], &made["waitlist_length"]),
        (&stock, &json!(1))
    );
    let log = app.log().await;
    let adjusted = log.iter().find(|event| event.event_type == "StockAdjusted");
    let position = adjusted.unwrap().position;
    assert_eq!(made["position"], position, "the position of its own event");
    let again = restock().await;
    assert!(again.is_replay());
    assert_eq!(again.ok(201), made);
    // One unit more than the entries need: the rest may be held, and the response reports that.
    let more = app.adjust(&drop, 2).await.ok(201);
    assert_eq!(
        (&more["stock"]["available"], &more["waitlist_length"]),
        (&json!(1), &json!(0))
    );
    app.hold(&drop, "eve").await.ok(201);
    let again = restock().await.ok(201);
    assert_eq!(again["stock"], app.drop(&drop).await["stock"]);
    assert_eq!(again["position"], position);
}

#[tokio::test]
async fn waitlist_survives_a_kill() {
    let mut app = Launch::private().start().await;
    let (drop, first) = sold_out(&app, json!({ "hold_seconds": 3600 })).await;
    let body = json!({ "buyer_id": "alice" });
    let alice = app.join_with(&drop, "k", &body).await.ok(201);
    let bob = app.joined(&drop, "bob", 1).await;
    let gone = app.joined(&drop, "gone", 1).await;
    app.leave(&gone).await.ok(204);
    app = app.restart().await;
    let again = app.join_with(&drop, "k", &body).await;
    assert!(again.is_replay());
    for field in ["id", "place", "joined_at", "position", "buyer_id"] {
        assert_eq!(again.ok(201)[field], alice[field], "{field}");
    }
    assert_eq!(app.waitlist_entry(&bob).await["place"], 2);
    assert_eq!(app.waitlist_entry(&gone).await["status"], "left");
    app.release(&first).await.ok(204);
    let offered = app.waitlist_entry(&text(&alice["id"])).await;
    app = app.restart().await;
    let after = app.waitlist_entry(&text(&alice["id"])).await;
    for field in ["status", "hold_id", "expires_at", "position"] {
        assert_eq!(after[field], offered[field], "{field}");
    }
    app.purchase(&text(&after["hold_id"])).await.ok(201);
    let launch = app.stop().await;
    let verdict = launch.run(&["audit", "verify"]).await;
    assert_eq!(verdict.code, Some(0), "{verdict:?}");
}

#[tokio::test]
async fn hundred_concurrent_joins_are_served_in_log_order() {
    let app = App::start().await;
    let (drop, first) = sold_out(&app, json!({ "hold_seconds": 3600 })).await;
    let replies = concurrently((0..100).map(|buyer| {
        let (api, drop) = (app.api(), drop.clone());
        async move { api.join(&drop, &format!("buyer-{buyer}"), 1).await }
    }))
    .await;
    assert!(
        replies.iter().all(|reply| reply.status == 201),
        "{:?}",
        tally(&replies)
    );
    app.release(&first).await.ok(204);
    app.adjust(&drop, 49).await.ok(201);
    let log = app.log().await;
    let of = |kind: &str, id: &str| -> Vec<String> {
        let events = log.iter().filter(|event| event.event_type == kind);
        let ids = events.filter_map(|event| event.fields()[id].as_str().map(str::to_owned));
        ids.collect()
    };
    let joined = of("WaitlistJoined", "entry_id");
    assert_eq!(of("HoldPlaced", "waitlist_entry"), joined[..50]);
    assert_eq!(distinct(joined).len(), 100);
    app.audit_verify().await;
}

#[tokio::test]
async fn with_a_buyer_secret_only_the_buyer_sees_their_entry() {
    const SECRET: &str = "a-secret-of-the-shop-that-is-long-enough";
    let token = |buyer: &str| harness::token(SECRET, buyer, 600);
    let app = Launch::fresh()
        .await
        .with("HOLDFAST_BUYER_SECRET", SECRET)
        .start()
        .await;
    let drop = app.create_drop(0, json!({})).await;
    let join = |buyer: &str, of: &str| {
        let path = format!("/v1/drops/{drop}/waitlist");
        let request = app.request(Method::POST, &path).bearer_auth(token(of));
        let request = request.header("idempotency-key", key());
        fetch(request.json(&json!({ "buyer_id": buyer })))
    };
    app.join(&drop, "alice", 1)
        .await
        .problem(401, "unauthorized");
    join("alice", "bob").await.problem(403, "forbidden");
    let entry = text(&join("alice", "Alice").await.ok(201)["id"]);
    let path = format!("/v1/waitlist/{entry}");
    let send = |method: Method, of: &str| fetch(app.request(method, &path).bearer_auth(token(of)));
    send(Method::GET, "bob").await.problem(403, "forbidden");
    send(Method::DELETE, "bob").await.problem(403, "forbidden");
    send(Method::GET, "alice").await.ok(200);
    fetch(app.admin(Method::GET, &path)).await.ok(200);
    send(Method::DELETE, "alice").await.ok(204);
}

#[tokio::test]
async fn invalid_waitlist_fields_are_reported_with_their_pointers() {
    let app = App::start().await;
    let drop = app.create_drop(0, json!({ "max_per_hold": 1000 })).await;
    for (pointer, body) in [
        ("/buyer_id", json!({})),
        ("/buyer_id", json!({ "buyer_id": "" })),
        ("/buyer_id", json!({ "buyer_id": "a\u{0}" })),
        ("/quantity", json!({ "buyer_id": "a", "quantity": 0 })),
        ("/quantity", json!({ "buyer_id": "a", "quantity": 1001 })),
        ("/quantity", json!({ "buyer_id": "a", "quantity": "2abc" })),
        ("/quantity", json!({ "buyer_id": "a", "quantity": 1.5 })),
        (
            "/display_name",
            json!({ "buyer_id": "a", "display_name": "" }),
        ),
        ("/coupon", json!({ "buyer_id": "a", "coupon": 1 })),
    ] {
        app.join_with(&drop, &key(), &body).await.invalid(pointer);
    }
    let nowhere = uuid::Uuid::new_v4().to_string();
    app.join(&nowhere, "a", 1)
        .await
        .problem(404, "drop_not_found");
    app.join(&drop, "a", 1000).await.ok(201);
    assert_eq!(app.requested_events().await, 2);
}
