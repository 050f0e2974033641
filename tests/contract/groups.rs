//! docs/CONTRACT.md on limit groups: drops of one group share `max_per_buyer`, as the sizes of a
//! shoe do.

use harness::{Api, App, Launch, Reply, eventually, fetch, key, text, token};
use reqwest::Method;
use serde_json::{Value, json};

/// A size of a shoe, of which a buyer may have two pairs over all sizes.
async fn size(api: &Api, units: u32, more: Value) -> String {
    let mut terms = json!({ "limit_group": "shoe", "max_per_hold": 3, "max_per_buyer": 2 });
    if let (Some(terms), Value::Object(more)) = (terms.as_object_mut(), more) {
        terms.extend(more);
    }
    api.create_drop(units, terms).await
}

/// Two sizes with five pairs each.
async fn shoes() -> (App, String, String) {
    let app = App::start().await;
    let eight = size(&app, 5, json!({})).await;
    let nine = size(&app, 5, json!({})).await;
    (app, eight, nine)
}

async fn standing(api: &Api, drop: &str, buyer: &str) -> [Value; 3] {
    let path = format!("/v1/drops/{drop}/buyers/{buyer}");
    let body = api.get(&path).await.ok(200);
    ["held", "purchased", "allowance"].map(|field| body[field].clone())
}

#[track_caller]
fn limit_reached(reply: &Reply, allowance: u32) {
    let body = reply.problem(409, "limit_reached");
    let numbers = (&body["limit"], &body["allowance"], &body["limit_name"]);
    assert_eq!(
        numbers,
        (&json!(2), &json!(allowance), &json!("max_per_buyer"))
    );
}

async fn change(api: &Api, hold: &str, quantity: u32) -> Reply {
    let request = api.request(Method::PATCH, &format!("/v1/holds/{hold}"));
    fetch(request.json(&json!({ "quantity": quantity }))).await
}

async fn order(api: &Api, buyer: &str, items: &[(&str, u32)]) -> Reply {
    let items = items.iter();
    let items: Vec<Value> = items
        .map(|(drop, units)| json!({ "drop_id": drop, "quantity": units }))
        .collect();
    let request = api.request(Method::POST, "/v1/orders");
    let request = request.header("idempotency-key", key());
    fetch(request.json(&json!({ "buyer_id": buyer, "items": items }))).await
}

#[tokio::test]
async fn sizes_of_a_shoe_share_the_limit() {
    let (app, eight, nine) = shoes().await;
    let lamp = app.create_drop(5, json!({ "max_per_buyer": 1 })).await;
    let first = app.held(&eight, "Ann").await;
    assert_eq!(
        standing(&app, &nine, "ann").await,
        [json!(0), json!(0), json!(1)]
    );
    let two = json!({ "buyer_id": "ann", "quantity": 2 });
    limit_reached(&app.hold_with(&nine, &key(), &two).await, 1);
    let second = app.held(&nine, "ann").await;
    limit_reached(&app.hold(&eight, "ANN").await, 0);
    limit_reached(&change(&app, &first, 2).await, 0);
    // Another group, and another buyer.
    app.held(&lamp, "ann").await;
    app.held(&nine, "bob").await;

    // Units that are bought count, and come back with a refund.
    let purchase = app.purchase(&second).await.ok(201);
    assert_eq!(
        standing(&app, &eight, "ann").await,
        [json!(1), json!(0), json!(0)]
    );
    limit_reached(&app.hold(&eight, "ann").await, 0);
    let path = format!("/v1/purchases/{}/refunds", text(&purchase["id"]));
    let refund = app
        .admin(Method::POST, &path)
        .header("idempotency-key", key());
    fetch(refund.json(&json!({ "reason": "too small" })))
        .await
        .ok(201);
    change(&app, &first, 2).await.ok(200);
    app.release(&first).await.ok(204);
    app.hold_with(&nine, &key(), &two).await.ok(201);
    app.audit_verify().await;
}

#[tokio::test]
async fn limit_counts_again_after_a_restart() {
    let (app, eight, nine) = shoes().await;
    app.held(&eight, "ann").await;
    let app = app.restart().await;
    app.held(&nine, "ann").await;
    let app = app.restart().await;
    limit_reached(&app.hold(&eight, "ann").await, 0);
    limit_reached(&app.hold(&nine, "ann").await, 0);
    app.audit_verify().await;
}

#[tokio::test]
async fn items_of_an_order_count_together() {
    let (app, eight, nine) = shoes().await;
    let refused = order(&app, "ann", &[(&eight, 1), (&nine, 2)]).await;
    limit_reached(&refused, 1);
    assert_eq!(refused.json()["pointer"], "/items/1");
    assert_eq!(app.stock(&eight).await, [5, 5, 0, 0], "all items or none");
    let placed = order(&app, "ann", &[(&eight, 1), (&nine, 1)]).await.ok(201);
    limit_reached(&order(&app, "ann", &[(&nine, 1)]).await, 0);
    let cancel = format!("/v1/orders/{}/cancel", text(&placed["id"]));
    fetch(app.request(Method::POST, &cancel)).await.ok(200);
    order(&app, "ann", &[(&nine, 2)]).await.ok(201);
    app.audit_verify().await;
}

#[tokio::test]
async fn entry_waits_for_the_limit_and_is_offered_after_a_release_in_another_size() {
    let app = App::start().await;
    let (eight, nine) = (
        size(&app, 1, json!({})).await,
        size(&app, 5, json!({})).await,
    );
    let bobs = app.held(&eight, "bob").await;
    let anns = app.held(&nine, "ann").await;
    let entry = app.joined(&eight, "ann", 1).await;
    let more = app.held(&nine, "ann").await;
    let waiting = app.waitlist_entry(&entry).await;
    assert_eq!(
        waiting["blocked_by"], "max_per_buyer",
        "two of the other size"
    );
    app.release(&bobs).await.ok(204);
    assert_eq!(app.waitlist_entry(&entry).await["status"], "waiting");
    // The entry delays no one meanwhile.
    let cid = app.held(&eight, "cid").await;
    app.release(&more).await.ok(204);
    let waiting = app.waitlist_entry(&entry).await;
    assert_eq!(waiting["blocked_by"], json!(null), "only units are missing");
    app.release(&cid).await.ok(204);
    eventually("the entry is offered", || async {
        let read = app.waitlist_entry(&entry).await;
        (read["status"] == "offered").then_some(())
    })
    .await;
    limit_reached(&app.hold(&nine, "ann").await, 0);
    // An entry cannot join for units that the limit excludes.
    app.held(&nine, "dot").await;
    app.held(&nine, "dot").await;
    limit_reached(&app.join(&eight, "dot", 1).await, 0);
    app.release(&anns).await.ok(204);
    app.held(&nine, "ann").await;
    app.audit_verify().await;
}

#[tokio::test]
async fn release_in_one_size_makes_an_offer_of_another_due() {
    let app = App::start().await;
    let (eight, nine) = (
        size(&app, 1, json!({})).await,
        size(&app, 5, json!({})).await,
    );
    let bobs = app.held(&eight, "bob").await;
    let entry = app.joined(&eight, "ann", 1).await;
    let first = app.held(&nine, "ann").await;
    app.held(&nine, "ann").await;
    app.release(&bobs).await.ok(204);
    assert_eq!(app.stock(&eight).await, [1, 1, 0, 0], "nothing is offered");
    app.release(&first).await.ok(204);
    eventually("the entry is offered", || async {
        let read = app.waitlist_entry(&entry).await;
        (read["status"] == "offered").then_some(())
    })
    .await;
    app.audit_verify().await;
}

#[tokio::test]
async fn edited_limit_counts_all_sizes() {
    let (app, eight, nine) = shoes().await;
    app.held(&eight, "ann").await;
    app.held(&eight, "ann").await;
    let edit = app.admin(Method::PATCH, &format!("/v1/drops/{nine}"));
    let edit = edit.header("if-match", "*");
    fetch(edit.json(&json!({ "max_per_buyer": 3 })))
        .await
        .ok(200);
    app.held(&nine, "ann").await;
    let body = app.hold(&nine, "ann").await.problem(409, "limit_reached");
    assert_eq!((&body["limit"], &body["allowance"]), (&json!(3), &json!(0)));
    limit_reached(&app.hold(&eight, "ann").await, 0);
    app.audit_verify().await;
}

#[tokio::test]
async fn erased_buyer_is_a_new_buyer_in_every_size() {
    let (app, eight, nine) = shoes().await;
    app.held(&eight, "ann").await;
    app.held(&nine, "ann").await;
    limit_reached(&app.hold(&eight, "ann").await, 0);
    let erase = app.admin(Method::DELETE, "/v1/admin/buyers/ann");
    assert_eq!(fetch(erase).await.status, 204);
    let ten = size(&app, 5, json!({})).await;
    app.held(&ten, "ann").await;
    let app = app.restart().await;
    app.held(&nine, "ann").await;
    limit_reached(&app.hold(&eight, "ann").await, 0);
    app.audit_verify().await;
}

#[tokio::test]
async fn token_of_another_spelling_is_refused_in_every_size() {
    let secret = "the shop's secret for its buyers";
    let launch = Launch::fresh().await.with("HOLDFAST_BUYER_SECRET", secret);
    let app = launch.start().await;
    let (eight, nine) = (
        size(&app, 5, json!({})).await,
        size(&app, 5, json!({})).await,
    );
    let held = |drop: String, buyer: &'static str| {
        let request = app.request(Method::POST, &format!("/v1/drops/{drop}/holds"));
        let request = request.bearer_auth(token(secret, buyer, 600));
        let request = request.header("idempotency-key", key());
        fetch(request.json(&json!({ "buyer_id": buyer })))
    };
    held(eight.clone(), "maß").await.ok(201);
    held(nine.clone(), "mass").await.problem(403, "forbidden");
    held(nine, "maß").await.ok(201);
    limit_reached(&held(eight, "maß").await, 0);
    app.audit_verify().await;
}
