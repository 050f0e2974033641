//! The buyers' rules under load: every rule holds exactly with concurrent requests, after a crash,
//! and on two servers.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use harness::{
    Api, App, Launch, Reply, Rules, concurrently, distinct, eventually, fetch, key, number, tally,
    text,
};
use private_postgres::testing::fresh_database;
use reqwest::Method;
use serde_json::{Value, json};

/// Asserts that all responses are equal, that one has the status of the first result and the others
/// are replays; returns the resource.
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
        // The one field that depends on the time of the response.
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
async fn twenty_requests_with_one_key_are_one_hold() {
    let app = App::start().await;
    let drop = app.create_drop(100, json!({})).await;
    let path = format!("/v1/drops/{drop}/holds");
    let body = json!({ "buyer_id": "alice" });
    let replies = concurrently((0..20).map(|_| fetch(post(&app, &path, "k", &body)))).await;
    all_equal(&replies, 201, 201);
    assert_eq!(app.stock(&drop).await, [100, 99, 1, 0]);
    assert_eq!(app.ledger().await.count(&drop, "HoldPlaced"), 1);
}

#[tokio::test]
async fn twenty_purchases_of_one_hold_are_one_sale() {
    let app = App::start().await;
    let drop = app.create_drop(100, json!({})).await;
    let hold = app.held(&drop, "alice").await;
    let replies = concurrently((0..20).map(|_| {
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
async fn twenty_creations_adjustments_joins_and_releases_take_effect_once() {
    let app = App::start().await;
    let body =
        json!({ "name": "Once", "price": { "amount": 1, "currency": "EUR" }, "total_stock": 1 });
    let created = concurrently((0..20).map(|_| fetch(post(&app, "/v1/drops", "k", &body)))).await;
    let drop = text(&all_equal(&created, 201, 201)["id"]);
    let hold = app.held(&drop, "alice").await;

    let path = format!("/v1/drops/{drop}/waitlist");
    let body = json!({ "buyer_id": "bob" });
    let joined = concurrently((0..20).map(|_| fetch(post(&app, &path, "j", &body)))).await;
    assert_eq!(all_equal(&joined, 201, 201)["place"], 1);

    let path = format!("/v1/drops/{drop}/stock-adjustments");
    let body = json!({ "delta": 5, "reason": "found" });
    let adjusted = concurrently((0..20).map(|_| fetch(post(&app, &path, "a", &body)))).await;
    assert_eq!(all_equal(&adjusted, 201, 201)["stock"]["total"], 6);

    let released = concurrently((0..20).map(|_| {
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
async fn every_response_is_replayed_after_a_kill_and_by_another_server() {
    let database = fresh_database().await;
    let mut app = Launch::on(database.clone()).start().await;
    let new =
        json!({ "name": "Kept", "price": { "amount": 1, "currency": "EUR" }, "total_stock": 2 });
    let drop = text(&fetch(post(&app, "/v1/drops", "create", &new)).await.ok(201)["id"]);
    let at = |part: &str| format!("/v1/drops/{drop}/{part}");
    let requests = [
        (at("holds"), "hold", json!({ "buyer_id": "alice" })),
        (at("holds"), "given up", json!({ "buyer_id": "bob" })),
        // Refused at first because both units are held; accepted once one is released.
        (at("holds"), "later", json!({ "buyer_id": "carol" })),
    ];
    let send = |app: &App, (path, key, body): &(String, &str, Value)| {
        fetch(post(app, path, &key.replace(' ', "-"), body))
    };
    let hold = send(&app, &requests[0]).await.ok(201);
    let given_up = send(&app, &requests[1]).await.ok(201);
    send(&app, &requests[2]).await.problem(409, "sold_out");
    app.release(&text(&given_up["id"])).await.ok(204);
    let later = send(&app, &requests[2]).await.ok(201);
    let purchase = app.purchase(&text(&hold["id"])).await.ok(201);
    let wait = (at("waitlist"), "wait", json!({ "buyer_id": "dan" }));
    let entry = send(&app, &wait).await.ok(201);
    let more = (
        at("stock-adjustments"),
        "more",
        json!({ "delta": 3, "reason": "found" }),
    );
    let adjusted = send(&app, &more).await.ok(201);

    app = app.restart().await;
    let other = Launch::on(database).start().await;
    for server in [&app, &other] {
        let created = fetch(post(server, "/v1/drops", "create", &new)).await;
        assert_eq!(
            (&created.ok(201)["id"], created.is_replay()),
            (&json!(drop), true)
        );
        for (request, first) in [
            (&requests[0], &hold),
            (&requests[1], &given_up),
            (&requests[2], &later),
            (&wait, &entry),
        ] {
            let again = send(server, request).await;
            assert!(again.is_replay(), "{again:?}");
            assert_eq!(again.ok(201)["id"], first["id"]);
            let mut other_buyer = request.clone();
            other_buyer.2["buyer_id"] = json!("mallory");
            send(server, &other_buyer)
                .await
                .problem(422, "idempotency_key_reused");
        }
        let again = send(server, &more).await;
        assert_eq!((again.ok(201), again.is_replay()), (adjusted.clone(), true));
        let again = server.purchase(&text(&hold["id"])).await;
        assert_eq!((again.ok(200), again.is_replay()), (purchase.clone(), true));
        let again = server.release(&text(&given_up["id"])).await;
        assert_eq!((again.status, again.is_replay()), (204, true));
    }
    app.audit_verify().await;
}

#[tokio::test]
async fn limits_are_exact_under_concurrent_requests() {
    let app = App::start().await;
    let drop = app
        .create_drop(
            100,
            json!({ "max_per_hold": 2, "max_per_buyer": 5, "hold_seconds": 3600 }),
        )
        .await;
    let spellings = ["alice", " Alice", "ALICE ", "aLiCe"];
    let replies = concurrently((0..40).map(|n| {
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
        let problem = refused.problem(409, "limit_reached");
        assert_eq!(
            (&problem["limit"], &problem["limit_name"]),
            (&json!(5), &json!("max_per_buyer"))
        );
    }
    let rules = Rules {
        max_per_hold: 2,
        max_per_buyer: Some(5),
        throttle: None,
    };
    rules.check(&app.log().await, &drop);
}

async fn throttled_drop(app: &App, holds: u32, window_seconds: u32) -> String {
    let throttle = json!({ "holds": holds, "window_seconds": window_seconds });
    app.create_drop(1000, json!({ "throttle": throttle, "hold_seconds": 3600 }))
        .await
}

/// Thirty concurrent requests of one buyer.
async fn thirty_concurrent_holds(app: &App, drop: &str) -> Vec<Reply> {
    concurrently((0..30).map(|_| {
        let (api, drop) = (app.api(), drop.to_owned());
        async move { api.hold(&drop, "alice").await }
    }))
    .await
}

#[tokio::test]
async fn throttle_is_exact_under_concurrent_requests() {
    let app = App::start().await;
    let drop = throttled_drop(&app, 4, 3_600).await;
    let replies = thirty_concurrent_holds(&app, &drop).await;
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
async fn constant_requests_get_the_allowed_rate_and_refusals_are_free() {
    let app = App::start().await;
    let drop = throttled_drop(&app, 4, 1).await;
    eventually("three windows pass", || async {
        thirty_concurrent_holds(&app, &drop).await;
        let placed = app.ledger().await.count(&drop, "HoldPlaced");
        (placed >= 12).then_some(())
    })
    .await;
    let rules = Rules {
        max_per_hold: 1,
        max_per_buyer: None,
        throttle: Some((4, 1_000)),
    };
    rules.check(&app.log().await, &drop);
}

#[tokio::test]
async fn retry_does_not_extend_a_hold() {
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
    assert_eq!(app.requested_events().await, 2, "nothing else was recorded");
}

/// One shopper: places holds, purchases some, releases some, and joins the waitlist when the drop
/// is sold out.
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
                    let entry = text(&joined.json()["id"]);
                    drop_result(there.leave(&entry).await, &[204, 409]);
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
async fn every_rule_holds_exactly_under_load_on_two_servers() {
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
    concurrently((0..120).map(|buyer| {
        let apis = [apps[0].api(), apps[1].api()];
        shop(apis, drop.clone(), buyer)
    }))
    .await;
    apps[0].adjust(&drop, 5).await.ok(201);

    // Every offered hold expires in the end; the waitlist is served until no entry can use the
    // available units.
    let rules = Rules {
        max_per_hold: 3,
        max_per_buyer: Some(4),
        throttle: Some((3, 1_000)),
    };
    eventually("all holds are resolved", || async {
        (app_held(&apps[0], &drop).await == 0).then_some(())
    })
    .await;
    let log = apps[0].log().await;
    let offers = rules.check(&log, &drop);
    assert!(offers > 0, "no waitlist entry was served");
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
        eventually("both servers show the final state", || async {
            let [_, available, held, sold] = app.stock(&drop).await;
            (available + sold == 45 && held == 0).then_some(())
        })
        .await;
    }
    apps[0].audit_verify().await;
}

async fn app_held(app: &App, drop: &str) -> u64 {
    app.stock(drop).await[2]
}
