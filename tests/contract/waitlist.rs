//! The line over HTTP: join when sold out, be served first come first served, and find one's way back after anything.

use harness::{
    App, Launch, Watcher, at_once, distinct, eventually, in_seconds, key, take, tally, text,
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
async fn who_finds_nothing_left_waits_in_line_and_is_told_where() {
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
    let place = reply.ok(201);
    let id = text(&place["id"]);
    assert_eq!(reply.header("location"), format!("/v1/waitlist/{id}"));
    let mut fields: Vec<&String> = place.as_object().unwrap().keys().collect();
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
        (&place["drop_id"], &place["buyer_id"], &place["quantity"]),
        (&json!(drop), &json!("Alice"), &json!(1))
    );
    assert_eq!(
        (&place["status"], &place["place"], &place["hold_id"]),
        (&json!("waiting"), &json!(1), &json!(null))
    );
    assert_eq!(place["position"], 3);
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
    let again = take(again.header("if-none-match", read.header("etag"))).await;
    assert_eq!(again.status, 304);
}

#[tokio::test]
async fn what_comes_back_becomes_a_hold_of_the_first_in_line_and_can_be_bought() {
    let app = App::start().await;
    let (drop, first) = sold_out(&app, json!({ "hold_seconds": 90 })).await;
    let alice = app.waits(&drop, "alice", 1).await;
    let bob = app.waits(&drop, "bob", 1).await;
    app.release(&first).await.ok(204);

    let place = app.place(&alice).await;
    assert_eq!(
        (&place["status"], &place["place"]),
        (&json!("offered"), &json!(null))
    );
    let hold = text(&place["hold_id"]);
    let read = app.read_hold(&hold).await.ok(200);
    assert_eq!(
        (&read["status"], &read["buyer_id"], &read["quantity"]),
        (&json!("held"), &json!("alice"), &json!(1))
    );
    assert_eq!(read["expires_at"], place["expires_at"]);
    assert_eq!(read["placed_at"], place["offered_at"]);
    let log = app.log().await;
    let kinds: Vec<&str> = log.iter().map(|event| event.event_type.as_str()).collect();
    assert_eq!(kinds[kinds.len() - 2..], ["HoldReleased", "HoldPlaced"]);
    let [freed, offered] = [log.len() - 2, log.len() - 1].map(|index| &log[index].recorded_at);
    assert_eq!(freed, offered, "one batch");
    assert_eq!(app.place(&bob).await["place"], 1, "the next moved up");
    app.hold(&drop, "eve").await.problem(409, "sold_out");

    app.purchase(&hold).await.ok(201);
    assert_eq!(app.place(&alice).await["status"], "purchased");
    assert_eq!(app.drop(&drop).await["waitlist_length"], 1);
    app.verifies().await;
}

#[tokio::test]
async fn an_offer_tells_the_price_in_force_when_it_was_made() {
    let app = App::start().await;
    let (drop, first) = sold_out(&app, json!({})).await;
    let alice = app.waits(&drop, "alice", 1).await;
    assert_eq!(app.place(&alice).await["price"], json!(null));
    let edit = app.admin(Method::PATCH, &format!("/v1/drops/{drop}"));
    let price = json!({ "amount": 2_500, "currency": "USD" });
    take(
        edit.header("if-match", "*")
            .json(&json!({ "price": price })),
    )
    .await
    .ok(200);
    app.release(&first).await.ok(204);
    let place = app.place(&alice).await;
    assert_eq!(place["price"], price);
    let hold = text(&place["hold_id"]);
    assert_eq!(app.read_hold(&hold).await.ok(200)["price"], price);
    assert_eq!(app.purchase(&hold).await.ok(201)["total"], price);
}

#[tokio::test]
async fn an_offer_that_runs_out_goes_down_the_line_and_the_last_unit_back_on_sale() {
    let app = App::start().await;
    let (drop, _) = sold_out(&app, json!({ "hold_seconds": 1 })).await;
    let places = [
        app.waits(&drop, "alice", 1).await,
        app.waits(&drop, "bob", 1).await,
    ];
    eventually("the unit is back on sale", || async {
        (app.stock(&drop).await == [1, 1, 0, 0]).then_some(())
    })
    .await;
    for place in &places {
        assert_eq!(app.place(place).await["status"], "expired");
    }
    let ledger = app.ledger().await;
    assert_eq!(ledger.count(&drop, "HoldPlaced"), 3);
    assert_eq!(ledger.count(&drop, "HoldExpired"), 3);
    app.join(&drop, "carol", 1)
        .await
        .problem(409, "not_sold_out");
    app.verifies().await;
}

#[tokio::test]
async fn restocking_reaches_the_line_first_and_passes_over_who_wants_more_than_there_is() {
    let app = App::start().await;
    let terms = json!({ "max_per_hold": 5, "hold_seconds": 3600 });
    let (drop, _) = sold_out(&app, terms).await;
    let large = app.waits(&drop, "large", 5).await;
    let small = app.waits(&drop, "small", 1).await;
    let adjusted = app.adjust(&drop, 3).await.ok(201);
    assert_eq!(
        adjusted["stock"],
        json!({ "total": 4, "available": 2, "held": 2, "sold": 0 }),
        "as a read shows it: the line is served"
    );
    assert_eq!(app.place(&small).await["status"], "offered");
    let waiting = app.place(&large).await;
    assert_eq!(
        (&waiting["status"], &waiting["place"]),
        (&json!("waiting"), &json!(1))
    );
    // Two units that are of no use to the line: on sale.
    let state = app.drop(&drop).await;
    assert_eq!(
        (&state["status"], &state["stock"]["available"]),
        (&json!("live"), &json!(2))
    );
    app.join(&drop, "eve", 2).await.problem(409, "not_sold_out");
    let eve = app.held(&drop, "eve").await;
    app.release(&eve).await.ok(204);
    app.adjust(&drop, 3).await.ok(201);
    assert_eq!(app.place(&large).await["status"], "offered");
    assert_eq!(app.stock(&drop).await, [7, 0, 7, 0]);
    app.verifies().await;
}

#[tokio::test]
async fn joining_is_idempotent_and_one_buyer_has_one_place() {
    let app = App::start().await;
    let (drop, first) = sold_out(&app, json!({ "max_per_buyer": 1 })).await;
    let body = json!({ "buyer_id": "alice" });
    let place = app.join_with(&drop, "k", &body).await;
    let again = app
        .join_with(&drop, "k", &json!({ "buyer_id": "ALICE", "quantity": 1 }))
        .await;
    assert_eq!(place.ok(201)["id"], again.ok(201)["id"]);
    assert!(!place.is_replay() && again.is_replay());
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
    take(app.request(Method::POST, &path).json(&body))
        .await
        .problem(400, "idempotency_key_required");

    app.release(&first).await.ok(204);
    let offered = app.join_with(&drop, "k", &body).await;
    assert_eq!(
        (&offered.ok(201)["status"], offered.is_replay()),
        (&json!("offered"), true),
        "the same place, whatever became of it"
    );
}

#[tokio::test]
async fn who_leaves_is_passed_over_and_a_place_that_became_a_hold_is_released_instead() {
    let app = App::start().await;
    let (drop, first) = sold_out(&app, json!({})).await;
    let alice = app.waits(&drop, "alice", 1).await;
    let bob = app.waits(&drop, "bob", 1).await;
    let left = app.leave(&alice).await;
    assert_eq!((left.status, left.body.len()), (204, 0));
    assert!(!left.header("holdfast-position").is_empty());
    assert!(app.leave(&alice).await.is_replay());
    assert_eq!(app.place(&alice).await["status"], "left");
    assert_eq!(app.place(&bob).await["place"], 1);
    app.release(&first).await.ok(204);
    let hold = text(&app.place(&bob).await["hold_id"]);
    let refused = app.leave(&bob).await.problem(409, "already_offered");
    assert_eq!(refused["hold_id"], hold.as_str());
    app.release(&hold).await.ok(204);
    assert_eq!(app.place(&bob).await["status"], "released");
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
async fn the_line_of_a_drop_that_is_over_is_closed_and_opens_again_when_the_end_is_put_off() {
    let app = App::start().await;
    let (cancelled, _) = sold_out(&app, json!({})).await;
    let place = app.waits(&cancelled, "alice", 1).await;
    take(app.admin(Method::POST, &format!("/v1/drops/{cancelled}/cancel")))
        .await
        .ok(200);
    assert_eq!(app.place(&place).await["status"], "closed");
    assert_eq!(app.drop(&cancelled).await["waitlist_length"], 0);
    app.join(&cancelled, "bob", 1).await.problem(409, "ended");

    let (ended, hold) = sold_out(&app, json!({ "hold_seconds": 3600 })).await;
    let place = app.waits(&ended, "alice", 1).await;
    let edit = |body: Value| {
        let path = format!("/v1/drops/{ended}");
        let edit = app.admin(Method::PATCH, &path).header("if-match", "*");
        take(edit.json(&body))
    };
    edit(json!({ "starts_at": in_seconds(-20), "ends_at": in_seconds(-10) }))
        .await
        .ok(200);
    assert_eq!(app.place(&place).await["status"], "closed");
    app.release(&hold).await.ok(204);
    assert_eq!(app.place(&place).await["status"], "closed");
    edit(json!({ "ends_at": null })).await.ok(200);
    assert_eq!(app.place(&place).await["status"], "offered");
    app.verifies().await;
}

#[tokio::test]
async fn a_waiting_page_is_told_of_its_place_on_the_stream() {
    let app = App::start().await;
    let (drop, first) = sold_out(&app, json!({})).await;
    let alice = app.waits(&drop, "alice", 1).await;
    let bob = app.waits(&drop, "bob", 1).await;
    let mut watcher = app.watch(&format!("?drops={drop}&waitlist={bob}")).await;
    let news = watcher.place(|news| news["status"] == "waiting").await;
    assert_eq!((&news["id"], &news["place"]), (&json!(bob), &json!(2)));
    assert_eq!(news.get("buyer_id"), None);
    app.leave(&alice).await.ok(204);
    watcher.place(|news| news["place"] == 1).await;
    app.release(&first).await.ok(204);
    let offered = watcher.place(|news| news["status"] == "offered").await;
    app.purchase(&text(&offered["hold_id"])).await.ok(201);
    watcher.place(|news| news["status"] == "purchased").await;
    let unknown = format!("?waitlist={}", uuid::Uuid::new_v4());
    assert_eq!(app.watch(&unknown).await.status, 404);

    let mut shop = app.watch(&format!("?drops={drop}")).await;
    assert_eq!(shop.drop().await.json()["waitlist_length"], 0);
    app.waits(&drop, "carol", 1).await;
    shop.until(|state| state["waitlist_length"] == 1).await;
}

/// Waits until the stream tells that `block` blocks an entry; a read says the same then.
async fn is_blocked_by(app: &App, watcher: &mut Watcher, entry: &str, block: Value) {
    let is_told = |news: &Value| news["id"] == entry && news["blocked_by"] == block;
    watcher.place(is_told).await;
    assert_eq!(app.place(entry).await["blocked_by"], block);
}

async fn edit(app: &App, drop: &str, body: &Value) {
    let edit = app.admin(Method::PATCH, &format!("/v1/drops/{drop}"));
    take(edit.header("if-match", "*").json(body)).await.ok(200);
}

#[tokio::test]
async fn an_entry_that_nothing_can_serve_says_so_at_once_and_after_each_change() {
    let app = App::start().await;
    let terms = json!({ "max_per_hold": 5, "hold_seconds": 3600 });
    let drop = app.create_drop(3, terms).await;
    let two = json!({ "buyer_id": "first", "quantity": 2 });
    let first = text(&app.hold_with(&drop, &key(), &two).await.ok(201)["id"]);
    let second = app.held(&drop, "second").await;
    // More than the drop has: accepted, because a restock may serve it, and it says so at once.
    let large = app.join(&drop, "large", 4).await.ok(201);
    assert_eq!(
        (&large["status"], &large["place"], &large["blocked_by"]),
        (&json!("waiting"), &json!(1), &json!("total_stock"))
    );
    let large = text(&large["id"]);
    let pair = app.waits(&drop, "second", 2).await;
    let query = format!("?drops={drop}&waitlist={large},{pair}");
    let mut watcher = app.watch(&query).await;
    is_blocked_by(&app, &mut watcher, &large, json!("total_stock")).await;
    let mut watcher = app.watch(&query).await;
    is_blocked_by(&app, &mut watcher, &pair, json!(null)).await;

    edit(&app, &drop, &json!({ "max_per_hold": 1 })).await;
    is_blocked_by(&app, &mut watcher, &pair, json!("max_per_hold")).await;
    // Of two units that one buyer may have, one is on hold already.
    let limits = json!({ "max_per_hold": 5, "max_per_buyer": 2 });
    edit(&app, &drop, &limits).await;
    is_blocked_by(&app, &mut watcher, &pair, json!("max_per_buyer")).await;
    let path = format!("/v1/waitlist/{pair}");
    let tag = app.get(&path).await.header("etag").to_owned();
    app.release(&second).await.ok(204);
    is_blocked_by(&app, &mut watcher, &pair, json!(null)).await;
    let again = take(app.request(Method::GET, &path).header("if-none-match", tag)).await;
    assert_eq!(again.status, 200, "what blocks an entry is part of its tag");

    // Two of three are sold: one is left, and two are asked for.
    app.purchase(&first).await.ok(201);
    is_blocked_by(&app, &mut watcher, &pair, json!("total_stock")).await;
    // It holds up no other buyer, and is served once it can be.
    let held = app.held(&drop, "third").await;
    app.release(&held).await.ok(204);
    app.adjust(&drop, 1).await.ok(201);
    let offered = app.place(&pair).await;
    assert_eq!(
        (&offered["status"], &offered["blocked_by"]),
        (&json!("offered"), &json!(null))
    );
    edit(&app, &drop, &json!({ "max_per_buyer": null })).await;
    app.adjust(&drop, 2).await.ok(201);
    // Two of its four are held by another buyer, and may come back.
    assert_eq!(app.place(&large).await["blocked_by"], json!(null));
    app.release(&text(&offered["hold_id"])).await.ok(204);
    assert_eq!(app.place(&large).await["status"], "offered");
    app.verifies().await;
}

#[tokio::test]
async fn what_blocks_an_entry_is_the_same_after_a_restart() {
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
    let entry = app.waits(&drop, "alice", 2).await;
    for (limit, block) in [(4, json!(null)), (3, json!("max_per_buyer"))] {
        edit(&app, &drop, &json!({ "max_per_buyer": limit })).await;
        // Two of the four that she may have are sold or held; two of the drop's four come back.
        assert_eq!(app.place(&entry).await["blocked_by"], block);
        app = app.restart().await;
        assert_eq!(app.place(&entry).await["blocked_by"], block);
    }
}

#[tokio::test]
async fn an_adjustment_answers_the_stock_that_a_read_shows_after_its_offers() {
    let app = App::start().await;
    let (drop, _) = sold_out(&app, json!({ "hold_seconds": 3600 })).await;
    for buyer in ["alice", "bob", "cid"] {
        app.waits(&drop, buyer, 1).await;
    }
    let path = format!("/v1/drops/{drop}/stock-adjustments");
    let restock = || {
        let restock = app.admin(Method::POST, &path);
        let restock = restock.header("idempotency-key", "a-box");
        take(restock.json(&json!({ "delta": 2, "reason": "a box" })))
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
    assert_eq!(made["position"], position, "its own place in the log");
    let again = restock().await;
    assert!(again.is_replay());
    assert_eq!(again.ok(201), made);
    // One more than waits: what is left may be held, and that is what the answer says.
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
async fn the_line_survives_kill_nine() {
    let mut app = Launch::private().start().await;
    let (drop, first) = sold_out(&app, json!({ "hold_seconds": 3600 })).await;
    let body = json!({ "buyer_id": "alice" });
    let alice = app.join_with(&drop, "k", &body).await.ok(201);
    let bob = app.waits(&drop, "bob", 1).await;
    let gone = app.waits(&drop, "gone", 1).await;
    app.leave(&gone).await.ok(204);
    app = app.restart().await;
    let again = app.join_with(&drop, "k", &body).await;
    assert!(again.is_replay());
    for field in ["id", "place", "joined_at", "position", "buyer_id"] {
        assert_eq!(again.ok(201)[field], alice[field], "{field}");
    }
    assert_eq!(app.place(&bob).await["place"], 2);
    assert_eq!(app.place(&gone).await["status"], "left");
    app.release(&first).await.ok(204);
    let offered = app.place(&text(&alice["id"])).await;
    app = app.restart().await;
    let after = app.place(&text(&alice["id"])).await;
    for field in ["status", "hold_id", "expires_at", "position"] {
        assert_eq!(after[field], offered[field], "{field}");
    }
    app.purchase(&text(&after["hold_id"])).await.ok(201);
    let launch = app.stop().await;
    let verdict = launch.run(&["audit", "verify"]).await;
    assert_eq!(verdict.code, Some(0), "{verdict:?}");
}

#[tokio::test]
async fn a_hundred_who_join_at_once_are_served_in_the_order_of_the_log() {
    let app = App::start().await;
    let (drop, first) = sold_out(&app, json!({ "hold_seconds": 3600 })).await;
    let replies = at_once((0..100).map(|buyer| {
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
    app.verifies().await;
}

#[tokio::test]
async fn with_a_buyer_secret_a_place_is_its_buyers_alone() {
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
        take(request.json(&json!({ "buyer_id": buyer })))
    };
    app.join(&drop, "alice", 1)
        .await
        .problem(401, "unauthorized");
    join("alice", "bob").await.problem(403, "forbidden");
    let place = text(&join("alice", "Alice").await.ok(201)["id"]);
    let path = format!("/v1/waitlist/{place}");
    let ask = |method: Method, of: &str| take(app.request(method, &path).bearer_auth(token(of)));
    ask(Method::GET, "bob").await.problem(403, "forbidden");
    ask(Method::DELETE, "bob").await.problem(403, "forbidden");
    ask(Method::GET, "alice").await.ok(200);
    take(app.admin(Method::GET, &path)).await.ok(200);
    ask(Method::DELETE, "alice").await.ok(204);
}

#[tokio::test]
async fn values_that_cannot_be_are_pointed_at() {
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
    assert_eq!(app.log().await.len(), 2);
}
