//! The buyers' rules under pressure: many at once, after a crash, and from two servers, every rule holds exactly.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use harness::{
    Api, App, Launch, Reply, Rules, at_once, distinct, eventually, key, number, take, tally, text,
};
use infrastructure::testing::fresh_database;
use reqwest::Method;
use serde_json::{Value, json};

/// Claims that all said the same, that the first to be recorded said so and the rest were replays, and gives the resource.
#[track_caller]
fn all_equal(replies: &[Reply], first: u16, again: u16) -> Value {
    assert!(
        replies
            .iter()
            .all(|reply| reply.status == if reply.is_replay() { again } else { first }),
        "{:?}",
        tally(replies)
    );
    let firsts = replies.iter().filter(|reply| !reply.is_replay()).count();
    assert_eq!(firsts, 1, "{:?}", tally(replies));
    let mut bodies: Vec<Value> = replies.iter().map(Reply::json).collect();
    for body in &mut bodies {
        // The one field that tells when it was answered, not what.
        body.as_object_mut().unwrap().remove("server_time");
    }
    for body in &bodies {
        assert_eq!(*body, bodies[0]);
    }
    bodies.remove(0)
}

fn post(app: &App, path: &str, key: &str, body: &Value) -> reqwest::RequestBuilder {
    let request = app.admin(Method::POST, path);
    request.header("idempotency-key", key).json(body)
}

#[tokio::test]
async fn twenty_requests_with_one_key_are_one_hold_and_twenty_equal_answers() {
    let app = App::start().await;
    let drop = app.create_drop(100, json!({})).await;
    let path = format!("/v1/drops/{drop}/holds");
    let body = json!({ "buyer_id": "alice" });
    let replies = at_once((0..20).map(|_| take(post(&app, &path, "k", &body)))).await;
    all_equal(&replies, 201, 201);
    assert_eq!(app.stock(&drop).await, [100, 99, 1, 0]);
    assert_eq!(app.ledger().await.count(&drop, "HoldPlaced"), 1);
}

#[tokio::test]
async fn twenty_purchases_of_one_hold_are_one_sale_and_twenty_equal_answers() {
    let app = App::start().await;
    let drop = app.create_drop(100, json!({})).await;
    let hold = app.held(&drop, "alice").await;
    let replies = at_once((0..20).map(|_| {
        let (api, hold) = (app.api(), hold.clone());
        async move { api.purchase(&hold).await }
    }))
    .await;
    let purchase = all_equal(&replies, 201, 200);
    assert_eq!(purchase["hold_id"], hold.as_str());
    assert_eq!(app.stock(&drop).await, [100, 99, 0, 1]);
    assert_eq!(app.ledger().await.count(&drop, "PurchaseConfirmed"), 1);
}

#[tokio::test]
async fn twenty_creations_adjustments_joins_and_releases_come_to_one_each() {
    let app = App::start().await;
    let body =
        json!({ "name": "Once", "price": { "amount": 1, "currency": "EUR" }, "total_stock": 1 });
    let created = at_once((0..20).map(|_| take(post(&app, "/v1/drops", "k", &body)))).await;
    let drop = text(&all_equal(&created, 201, 201)["id"]);
    let hold = app.held(&drop, "alice").await;

    let path = format!("/v1/drops/{drop}/waitlist");
    let body = json!({ "buyer_id": "bob" });
    let joined = at_once((0..20).map(|_| take(post(&app, &path, "j", &body)))).await;
    assert_eq!(all_equal(&joined, 201, 201)["place"], 1);

    let path = format!("/v1/drops/{drop}/stock-adjustments");
    let body = json!({ "delta": 5, "reason": "found" });
    let adjusted = at_once((0..20).map(|_| take(post(&app, &path, "a", &body)))).await;
    assert_eq!(all_equal(&adjusted, 201, 201)["stock"]["total"], 6);

    let released = at_once((0..20).map(|_| {
        let (api, hold) = (app.api(), hold.clone());
        async move { api.release(&hold).await }
    }))
    .await;
    assert!(released.iter().all(|reply| reply.status == 204));
    let firsts = released.iter().filter(|reply| !reply.is_replay()).count();
    assert_eq!(firsts, 1);
    let ledger = app.ledger().await;
    for kind in [
        "DropScheduled",
        "WaitlistJoined",
        "StockAdjusted",
        "HoldReleased",
    ] {
        assert_eq!(ledger.count(&drop, kind), 1, "{kind}");
    }
    assert_eq!(app.stock(&drop).await, [6, 5, 1, 0]);
}

#[tokio::test]
async fn every_answer_is_given_again_after_kill_nine_and_by_another_server() {
    let database = fresh_database().await;
    let mut app = Launch::on(database.clone()).start().await;
    let new =
        json!({ "name": "Kept", "price": { "amount": 1, "currency": "EUR" }, "total_stock": 2 });
    let drop = text(&take(post(&app, "/v1/drops", "create", &new)).await.ok(201)["id"]);
    let at = |part: &str| format!("/v1/drops/{drop}/{part}");
    let asks = [
        (at("holds"), "hold", json!({ "buyer_id": "alice" })),
        (at("holds"), "given up", json!({ "buyer_id": "bob" })),
        // Refused at first, because both are held; accepted once one is given up.
        (at("holds"), "later", json!({ "buyer_id": "carol" })),
    ];
    let ask = |app: &App, (path, key, body): &(String, &str, Value)| {
        take(post(app, path, &key.replace(' ', "-"), body))
    };
    let hold = ask(&app, &asks[0]).await.ok(201);
    let given_up = ask(&app, &asks[1]).await.ok(201);
    ask(&app, &asks[2]).await.problem(409, "sold_out");
    app.release(&text(&given_up["id"])).await.ok(204);
    let later = ask(&app, &asks[2]).await.ok(201);
    let purchase = app.purchase(&text(&hold["id"])).await.ok(201);
    let wait = (at("waitlist"), "wait", json!({ "buyer_id": "dan" }));
    let place = ask(&app, &wait).await.ok(201);
    let more = (
        at("stock-adjustments"),
        "more",
        json!({ "delta": 3, "reason": "found" }),
    );
    let adjusted = ask(&app, &more).await.ok(201);

    app = app.restart().await;
    let other = Launch::on(database).start().await;
    for server in [&app, &other] {
        let created = take(post(server, "/v1/drops", "create", &new)).await;
        assert_eq!(
            (&created.ok(201)["id"], created.is_replay()),
            (&json!(drop), true)
        );
        for (ask_again, first) in [
            (&asks[0], &hold),
            (&asks[1], &given_up),
            (&asks[2], &later),
            (&wait, &place),
        ] {
            let again = ask(server, ask_again).await;
            assert!(again.is_replay(), "{again:?}");
            assert_eq!(again.ok(201)["id"], first["id"]);
            let mut other_buyer = ask_again.clone();
            other_buyer.2["buyer_id"] = json!("mallory");
            ask(server, &other_buyer)
                .await
                .problem(422, "idempotency_key_reused");
        }
        let again = ask(server, &more).await;
        assert_eq!((again.ok(201), again.is_replay()), (adjusted.clone(), true));
        let again = server.purchase(&text(&hold["id"])).await;
        assert_eq!((again.ok(200), again.is_replay()), (purchase.clone(), true));
        let again = server.release(&text(&given_up["id"])).await;
        assert_eq!((again.status, again.is_replay()), (204, true));
    }
    app.verifies().await;
}

#[tokio::test]
async fn limits_are_exact_however_many_ask_at_once() {
    let app = App::start().await;
    let drop = app
        .create_drop(
            100,
            json!({ "max_per_hold": 2, "max_per_buyer": 5, "hold_seconds": 3600 }),
        )
        .await;
    let spellings = ["alice", " Alice", "ALICE ", "aLiCe"];
    let replies = at_once((0..40).map(|n| {
        let (api, drop) = (app.api(), drop.clone());
        let body = json!({ "buyer_id": spellings[n % 4], "quantity": 1 + n % 2 });
        async move { api.hold_with(&drop, &key(), &body).await }
    }))
    .await;
    let held: u64 = replies
        .iter()
        .filter(|reply| reply.status == 201)
        .map(|reply| number(&reply.json()["quantity"]))
        .sum();
    assert_eq!(held, 5, "{:?}", tally(&replies));
    for refused in replies.iter().filter(|reply| reply.status != 201) {
        let told = refused.problem(409, "limit_reached");
        assert_eq!(
            (&told["limit"], &told["limit_name"]),
            (&json!(5), &json!("max_per_buyer"))
        );
    }
    let rules = Rules {
        max_per_hold: 2,
        max_per_buyer: Some(5),
        throttle: None,
    };
    rules.kept_in(&app.log().await, &drop);
}

async fn throttled_drop(app: &App, holds: u32, window_seconds: u32) -> String {
    let throttle = json!({ "holds": holds, "window_seconds": window_seconds });
    app.create_drop(1000, json!({ "throttle": throttle, "hold_seconds": 3600 }))
        .await
}

/// Thirty requests of one buyer at once.
async fn hurry(app: &App, drop: &str) -> Vec<Reply> {
    at_once((0..30).map(|_| {
        let (api, drop) = (app.api(), drop.to_owned());
        async move { api.hold(&drop, "alice").await }
    }))
    .await
}

#[tokio::test]
async fn a_throttle_is_exact_however_many_ask_at_once() {
    let app = App::start().await;
    let drop = throttled_drop(&app, 4, 3_600).await;
    let replies = hurry(&app, &drop).await;
    let held = replies.iter().filter(|reply| reply.status == 201).count();
    assert_eq!(held, 4, "{:?}", tally(&replies));
    for refused in replies.iter().filter(|reply| reply.status != 201) {
        refused.problem(429, "throttled");
        assert_eq!(refused.header("ratelimit-policy"), r#""buyer";q=4;w=3600"#);
        let wait = refused.header("retry-after");
        assert_eq!(
            refused.header("ratelimit"),
            format!(r#""buyer";r=0;t={wait}"#)
        );
    }
}

#[tokio::test]
async fn who_asks_all_the_time_gets_what_a_window_allows_and_refusals_cost_nothing() {
    let app = App::start().await;
    let drop = throttled_drop(&app, 4, 1).await;
    eventually("three windows pass", || async {
        hurry(&app, &drop).await;
        let placed = app.ledger().await.count(&drop, "HoldPlaced");
        (placed >= 12).then_some(())
    })
    .await;
    let rules = Rules {
        max_per_hold: 1,
        max_per_buyer: None,
        throttle: Some((4, 1_000)),
    };
    rules.kept_in(&app.log().await, &drop);
}

#[tokio::test]
async fn holding_again_does_not_extend_a_hold() {
    let app = App::start().await;
    let drop = app
        .create_drop(5, json!({ "max_per_buyer": 1, "hold_seconds": 3600 }))
        .await;
    let body = json!({ "buyer_id": "alice" });
    let first = app.hold_with(&drop, "k", &body).await.ok(201);
    for again in ["k", "another"] {
        let reply = app.hold_with(&drop, again, &body).await;
        if again == "k" {
            assert_eq!(reply.ok(201)["expires_at"], first["expires_at"]);
        } else {
            reply.problem(409, "limit_reached");
        }
    }
    let hold = app.read_hold(&text(&first["id"])).await.ok(200);
    assert_eq!(hold["expires_at"], first["expires_at"]);
    assert_eq!(app.log().await.len(), 2, "nothing else was recorded");
}

/// One shopper: holds, buys some, gives some back, and waits in line when there is nothing.
async fn shop(apis: [Api; 2], drop: String, buyer: usize) {
    let name = format!("buyer-{}", buyer % 60);
    for round in 0..6 {
        let here = &apis[(buyer + round) % 2];
        let there = &apis[(buyer + round + 1) % 2];
        let body = json!({ "buyer_id": name, "quantity": 1 + (buyer + round) % 3 });
        let (key, again) = (harness::key(), harness::key());
        let reply = here.hold_with(&drop, &key, &body).await;
        match (reply.status, reply.code().as_str()) {
            (201, _) => {
                let hold = text(&reply.json()["id"]);
                let replay = there.hold_with(&drop, &key, &body).await;
                assert_eq!(replay.ok(201)["id"], hold.as_str());
                match (buyer + round) % 3 {
                    0 => drop_result(there.purchase(&hold).await, &[200, 201, 410]),
                    _ => drop_result(there.release(&hold).await, &[204, 410]),
                }
            }
            (409, "sold_out") => {
                let joined = here.join_with(&drop, &again, &body).await;
                drop_result(joined.clone(), &[201, 409, 429]);
                if joined.status == 201 && round % 3 == 2 {
                    let place = text(&joined.json()["id"]);
                    drop_result(there.leave(&place).await, &[204, 409]);
                }
            }
            (409, "limit_reached") | (429, "throttled") => {}
            other => panic!("{other:?}: {}", reply.text()),
        }
    }
}

#[track_caller]
fn drop_result(reply: Reply, expected: &[u16]) {
    assert!(expected.contains(&reply.status), "{}", reply.text());
}

#[tokio::test]
async fn under_load_at_two_servers_every_rule_holds_exactly() {
    let database = fresh_database().await;
    let apps = [
        Launch::on(database.clone()).start().await,
        Launch::on(database).start().await,
    ];
    let terms = json!({
        "max_per_hold": 3, "max_per_buyer": 4, "hold_seconds": 1,
        "throttle": { "holds": 3, "window_seconds": 1 },
    });
    let drop = apps[0].create_drop(40, terms).await;
    eventually("the other server follows", || async {
        (apps[1].get(&format!("/v1/drops/{drop}")).await.status == 200).then_some(())
    })
    .await;
    at_once((0..120).map(|buyer| {
        let apis = [apps[0].api(), apps[1].api()];
        shop(apis, drop.clone(), buyer)
    }))
    .await;
    apps[0].adjust(&drop, 5).await.ok(201);

    // Every hold that was offered runs out by and by, and the line is served until nobody in it can use what is there.
    let rules = Rules {
        max_per_hold: 3,
        max_per_buyer: Some(4),
        throttle: Some((3, 1_000)),
    };
    eventually("all holds are over", || async {
        (app_held(&apps[0], &drop).await == 0).then_some(())
    })
    .await;
    let log = apps[0].log().await;
    let offers = rules.kept_in(&log, &drop);
    assert!(offers > 0, "the line was never served");
    let ledger = apps[0].ledger().await;
    assert!(ledger.count(&drop, "PurchaseConfirmed") > 0);
    let keys = log
        .iter()
        .filter_map(|event| event.fields()["key"].as_str().map(str::to_owned));
    let keys: Vec<String> = keys.collect();
    assert_eq!(
        distinct(keys.clone()).len(),
        keys.len(),
        "a key is used once"
    );
    for app in &apps {
        eventually("both show the end", || async {
            let [_, available, held, sold] = app.stock(&drop).await;
            (available + sold == 45 && held == 0).then_some(())
        })
        .await;
    }
    apps[0].verifies().await;
}

async fn app_held(app: &App, drop: &str) -> u64 {
    app.stock(drop).await[2]
}
