//! docs/CONTRACT.md on challenges: the work before a hold, an order and a waitlist entry.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use harness::{Api, App, Launch, Reply, fetch, key, text, token};
use reqwest::Method;
use serde_json::{Value, json};
use tokens::challenges::{Payload, SignedChallenge, solve};

const SECRET: &str = "the shop's secret for its buyers";

/// Terms with the least work.
fn challenging() -> Value {
    json!({ "challenge": { "kind": "proof_of_work", "difficulty": 1 } })
}

/// Solves the challenge of a problem; returns the header's value.
fn solution(problem: &Value) -> String {
    let challenge: SignedChallenge = serde_json::from_value(problem["challenge"].clone()).unwrap();
    let solution = solve(&challenge).unwrap();
    Payload {
        challenge,
        solution,
    }
    .encode()
}

/// A request with a solution.
async fn post(api: &Api, path: &str, key: &str, body: &Value, solution: &str) -> Reply {
    let request = api.request(Method::POST, path);
    let request = request.header("idempotency-key", key).json(body);
    fetch(request.header("challenge-solution", solution)).await
}

async fn hold(api: &Api, drop: &str, key: &str, buyer: &str, solution: &str) -> Reply {
    let body = json!({ "buyer_id": buyer });
    let path = format!("/v1/drops/{drop}/holds");
    post(api, &path, key, &body, solution).await
}

/// The challenge of a hold that was refused without a solution.
async fn required(api: &Api, drop: &str, key: &str, buyer: &str) -> Value {
    let refused = api
        .hold_with(drop, key, &json!({ "buyer_id": buyer }))
        .await;
    refused.problem(403, "challenge_required")
}

async fn edit(api: &Api, drop: &str, body: Value) -> Value {
    let request = api.admin(Method::PATCH, &format!("/v1/drops/{drop}"));
    fetch(request.header("if-match", "*").json(&body))
        .await
        .ok(200)
}

#[tokio::test]
async fn hold_is_placed_with_the_solution_of_its_challenge() {
    let app = App::start().await;
    let drop = app.create_drop(5, challenging()).await;
    assert_eq!(
        app.drop(&drop).await["challenge"],
        challenging()["challenge"]
    );
    let name = key();
    let refused = required(&app, &drop, &name, "ann").await;
    assert_eq!(app.stock(&drop).await, [5, 5, 0, 0]);
    let parameters = &refused["challenge"]["parameters"];
    assert_eq!(parameters["algorithm"], "PBKDF2/SHA-256");
    assert_eq!(parameters["data"]["difficulty"], 1);
    let solved = solution(&refused);
    let placed = hold(&app, &drop, &name, "ann", &solved).await;
    let id = text(&placed.ok(201)["id"]);
    // A retry needs no solution, and a used or wrong one does not matter.
    for solution in [None, Some(&*solved), Some("nonsense")] {
        let again = match solution {
            Some(solution) => hold(&app, &drop, &name, "ann", solution).await,
            None => {
                let body = json!({ "buyer_id": "ann" });
                app.hold_with(&drop, &name, &body).await
            }
        };
        assert!(again.is_replay());
        assert_eq!(again.ok(201)["id"], json!(id));
    }
    assert_eq!(app.stock(&drop).await, [5, 4, 1, 0]);
    app.audit_verify().await;
}

#[tokio::test]
async fn solution_is_worth_one_request() {
    let app = App::start().await;
    let more = json!({
        "challenge": { "kind": "proof_of_work", "difficulty": 1 }, "max_per_hold": 2,
    });
    let drop = app.create_drop(5, more.clone()).await;
    let other = app.create_drop(5, more).await;
    let name = key();
    let solved = solution(&required(&app, &drop, &name, "ann").await);
    for (drop, key, buyer) in [
        (&drop, key(), "ann"),
        (&drop, name.clone(), "bob"),
        (&other, name.clone(), "ann"),
    ] {
        let refused = hold(&app, drop, &key, buyer, &solved).await;
        let refused = refused.problem(403, "challenge_invalid");
        assert!(text(&refused["detail"]).contains("another request"));
        assert!(refused["challenge"]["signature"].is_string(), "a new one");
    }
    // The same request may change its quantity as long as it has not succeeded.
    let body = json!({ "buyer_id": "ann", "quantity": 2 });
    let path = format!("/v1/drops/{drop}/holds");
    post(&app, &path, &name, &body, &solved).await.ok(201);
    let path = format!("/v1/drops/{drop}/waitlist");
    let reused = post(&app, &path, &name, &body, &solved).await;
    reused.problem(422, "idempotency_key_reused");
    assert_eq!(app.stock(&drop).await, [5, 3, 2, 0]);
    assert_eq!(app.stock(&other).await, [5, 5, 0, 0]);
}

#[tokio::test]
async fn wrong_solution_is_refused_with_a_new_challenge() {
    let app = App::start().await;
    let drop = app.create_drop(5, challenging()).await;
    let name = key();
    let refused = required(&app, &drop, &name, "ann").await;
    let challenge: SignedChallenge = serde_json::from_value(refused["challenge"].clone()).unwrap();
    let right = solve(&challenge).unwrap();
    let payload = |change: &dyn Fn(&mut Payload)| {
        let mut payload = Payload {
            challenge: challenge.clone(),
            solution: right.clone(),
        };
        change(&mut payload);
        payload.encode()
    };
    for wrong in [
        payload(&|payload| payload.solution.derived_key = "00".repeat(32)),
        payload(&|payload| payload.challenge.parameters.expires_at += 600),
        payload(&|payload| payload.challenge.signature = "00".repeat(32)),
        "e30=".to_owned(),
        "not base64".to_owned(),
        "A".repeat(6_000),
    ] {
        let refused = hold(&app, &drop, &name, "ann", &wrong).await;
        let refused = refused.problem(403, "challenge_invalid");
        assert_ne!(
            refused["challenge"]["parameters"]["nonce"],
            json!(challenge.parameters.nonce)
        );
    }
    assert_eq!(app.stock(&drop).await, [5, 5, 0, 0]);
    let right = payload(&|_| {});
    hold(&app, &drop, &name, "ann", &right).await.ok(201);
}

#[tokio::test]
async fn edit_that_raises_the_difficulty_requires_more_work() {
    let app = App::start().await;
    let drop = app.create_drop(5, challenging()).await;
    let name = key();
    let solved = solution(&required(&app, &drop, &name, "ann").await);
    let harder = json!({ "challenge": { "kind": "proof_of_work", "difficulty": 2 } });
    edit(&app, &drop, harder).await;
    let refused = hold(&app, &drop, &name, "ann", &solved).await;
    let refused = refused.problem(403, "challenge_required");
    assert_eq!(refused["challenge"]["parameters"]["data"]["difficulty"], 2);
    let solved = solution(&refused);
    hold(&app, &drop, &name, "ann", &solved).await.ok(201);
    assert_eq!(
        edit(&app, &drop, json!({ "challenge": null })).await["challenge"],
        json!(null)
    );
    app.hold(&drop, "bob").await.ok(201);
    app.audit_verify().await;
}

#[tokio::test]
async fn other_refusals_precede_the_challenge() {
    let app = App::start().await;
    let one = app.create_drop(1, challenging()).await;
    let early = json!({
        "challenge": { "kind": "proof_of_work", "difficulty": 1 },
        "starts_at": harness::in_seconds(3_600),
    });
    let early = app.create_drop(1, early).await;
    app.hold(&early, "ann").await.problem(409, "not_live");
    let waiting = json!({ "buyer_id": "bob" });
    let eager = app.join_with(&one, &key(), &waiting).await;
    eager.problem(409, "not_sold_out");
    let name = key();
    let solved = solution(&required(&app, &one, &name, "ann").await);
    hold(&app, &one, &name, "ann", &solved).await.ok(201);
    app.hold(&one, "bob").await.problem(409, "sold_out");
}

#[tokio::test]
async fn waitlist_entry_takes_a_solution_and_its_offer_none() {
    let app = App::start().await;
    let drop = app.create_drop(1, challenging()).await;
    let admin = app.admin(Method::POST, &format!("/v1/drops/{drop}/holds"));
    let admin = admin.header("idempotency-key", key());
    let held = fetch(admin.json(&json!({ "buyer_id": "shop" }))).await;
    let held = text(&held.ok(201)["id"]);
    let (name, body) = (key(), json!({ "buyer_id": "ann" }));
    let refused = app.join_with(&drop, &name, &body).await;
    let solved = solution(&refused.problem(403, "challenge_required"));
    let path = format!("/v1/drops/{drop}/waitlist");
    let joined = post(&app, &path, &name, &body, &solved).await.ok(201);
    app.release(&held).await.ok(204);
    let entry = format!("/v1/waitlist/{}", text(&joined["id"]));
    harness::eventually("the entry is offered a hold", || async {
        (app.get(&entry).await.ok(200)["status"] == "offered").then_some(())
    })
    .await;
    app.audit_verify().await;
}

#[tokio::test]
async fn order_takes_one_solution_for_all_of_its_drops() {
    let app = App::start().await;
    let open = app.create_drop(5, json!({})).await;
    let first = app.create_drop(5, challenging()).await;
    let harder = json!({ "challenge": { "kind": "proof_of_work", "difficulty": 2 } });
    let second = app.create_drop(5, harder).await;
    let name = key();
    let body = json!({ "buyer_id": "ann", "items": [
        { "drop_id": open }, { "drop_id": first }, { "drop_id": second },
    ] });
    let request = app.request(Method::POST, "/v1/orders");
    let refused = fetch(request.header("idempotency-key", &name).json(&body)).await;
    let refused = refused.problem(403, "challenge_required");
    assert_eq!(refused["pointer"], "/items/1");
    assert_eq!(refused["challenge"]["parameters"]["data"]["difficulty"], 2);
    assert_eq!(app.stock(&open).await, [5, 5, 0, 0], "all or none");
    let solved = solution(&refused);
    let elsewhere = hold(&app, &first, &name, "ann", &solved).await;
    elsewhere.problem(403, "challenge_invalid");
    let placed = post(&app, "/v1/orders", &name, &body, &solved).await;
    let id = text(&placed.ok(201)["id"]);
    let request = app.request(Method::POST, "/v1/orders");
    let again = fetch(request.header("idempotency-key", &name).json(&body)).await;
    assert!(again.is_replay());
    assert_eq!(again.ok(201)["id"], json!(id));
    let another = post(&app, "/v1/orders", &key(), &body, &solved).await;
    another.problem(403, "challenge_invalid");
    app.audit_verify().await;
}

#[tokio::test]
async fn administrator_needs_no_solution() {
    let app = App::start().await;
    let drop = app.create_drop(5, challenging()).await;
    let request = app.admin(Method::POST, &format!("/v1/drops/{drop}/holds"));
    let request = request.header("idempotency-key", key());
    let held = fetch(request.json(&json!({ "buyer_id": "shop" }))).await;
    held.ok(201);
    let request = app.admin(Method::POST, "/v1/orders");
    let body = json!({ "buyer_id": "shop", "items": [{ "drop_id": drop }] });
    fetch(request.header("idempotency-key", key()).json(&body))
        .await
        .ok(201);
}

#[tokio::test]
async fn solution_of_one_server_is_valid_on_another_and_once() {
    let app = App::start().await;
    let other = app.launch().clone().start().await;
    let drop = app.create_drop(5, challenging()).await;
    harness::eventually("the other server has the drop", || async {
        (other.get(&format!("/v1/drops/{drop}")).await.status == 200).then_some(())
    })
    .await;
    let name = key();
    let solved = solution(&required(&app, &drop, &name, "ann").await);
    let (here, there) = tokio::join!(
        hold(&app, &drop, &name, "ann", &solved),
        hold(&other, &drop, &name, "ann", &solved),
    );
    assert_eq!(here.ok(201)["id"], there.ok(201)["id"]);
    assert_ne!(here.is_replay(), there.is_replay(), "one hold");
    let refused = hold(&other, &drop, &key(), "ann", &solved).await;
    refused.problem(403, "challenge_invalid");
    assert_eq!(app.stock(&drop).await, [5, 4, 1, 0]);
}

#[tokio::test]
async fn buyer_with_a_token_solves_and_the_back_end_does_not() {
    let launch = Launch::fresh().await.with("HOLDFAST_BUYER_SECRET", SECRET);
    let app = launch.start().await;
    let drop = app.create_drop(5, challenging()).await;
    let path = format!("/v1/drops/{drop}/holds");
    let name = key();
    let body = json!({ "buyer_id": "ann" });
    let ann = token(SECRET, "ann", 600);
    let request = || {
        let request = app.request(Method::POST, &path).bearer_auth(&ann);
        request.header("idempotency-key", &name).json(&body)
    };
    let refused = fetch(request()).await.problem(403, "challenge_required");
    let solved = solution(&refused);
    let placed = fetch(request().header("challenge-solution", &solved)).await;
    let id = text(&placed.ok(201)["id"]);
    // The back end repeats the request of the browser.
    let repeated = app.admin(Method::POST, &path);
    let repeated = fetch(repeated.header("idempotency-key", &name).json(&body)).await;
    assert_eq!(repeated.ok(201)["id"], json!(id));
}

#[tokio::test]
async fn challenge_is_read_strictly() {
    let app = App::start().await;
    let drop = app.create_drop(1, json!({})).await;
    let kind = "proof_of_work";
    for (challenge, pointer) in [
        (json!({}), "/challenge/kind"),
        (json!({ "kind": "picture" }), "/challenge/kind"),
        (
            json!({ "kind": kind, "difficulty": 0 }),
            "/challenge/difficulty",
        ),
        (
            json!({ "kind": kind, "difficulty": 21 }),
            "/challenge/difficulty",
        ),
        (
            json!({ "kind": kind, "difficulty": "4" }),
            "/challenge/difficulty",
        ),
        (json!({ "kind": kind, "seconds": 4 }), "/challenge/seconds"),
        (json!("proof_of_work"), "/challenge"),
    ] {
        let body = json!({
            "name": "n", "price": { "amount": 1, "currency": "EUR" }, "total_stock": 1,
            "challenge": challenge,
        });
        app.post_drop(&body).await.invalid(pointer);
        let request = app.admin(Method::PATCH, &format!("/v1/drops/{drop}"));
        let edited = request.header("if-match", "*");
        let edited = fetch(edited.json(&json!({ "challenge": challenge }))).await;
        edited.invalid(pointer);
    }
    let edited = edit(&app, &drop, json!({ "challenge": { "kind": kind } })).await;
    assert_eq!(
        edited["challenge"],
        json!({ "kind": kind, "difficulty": 4 })
    );
}
