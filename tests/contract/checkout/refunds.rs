//! Refunds of orders that were paid with a provider: money goes back once, or needs attention.

use harness::{App, eventually, fetch, key, text};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    PRICE, Signer, count, event, events_of, needs_attention, ordered, pay, read, refund, settled,
    shop, status_becomes, terms,
};

#[tokio::test]
async fn order_is_refunded_by_item_and_as_a_whole() {
    let (app, lamp) = shop().await;
    let chair = app.create_drop(3, terms()).await;
    let order = ordered(&app, "ann", &[(&lamp, 2), (&chair, 3)]).await;
    let id = text(&order["id"]);
    let unpaid = refund(&app, &id, &key(), json!({ "reason": "returned" })).await;
    unpaid.problem(409, "order_not_paid");
    pay(&app, &id, "pays").await;
    status_becomes(&app, &id, "paid").await;
    let entry = app.joined(&chair, "bob", 1).await;

    let part = json!({ "items": [{ "drop_id": chair, "quantity": 1 }], "reason": "returned" });
    let first = refund(&app, &id, "refund-1", part.clone()).await;
    let made = first.ok(201);
    assert_eq!(
        (&made["quantity"], &made["restocked"]),
        (&json!(1), &json!(true))
    );
    assert_eq!(
        made["amount"],
        json!({ "amount": PRICE, "currency": "USD" })
    );
    assert_eq!(
        (&made["order_id"], &made["items"][0]["drop_id"]),
        (&json!(id), &json!(chair))
    );
    assert!(["pending", "succeeded"].contains(&text(&made["status"]).as_str()));
    // The waitlist gets the unit first.
    eventually("the unit is offered to the waitlist", || async {
        let entry = app.waitlist_entry(&entry).await;
        (!entry["hold_id"].is_null()).then_some(())
    })
    .await;
    eventually("the money is returned", || async {
        let again = refund(&app, &id, "refund-1", part.clone()).await;
        assert!(again.is_replay());
        let again = again.ok(201);
        assert_eq!(again["id"], made["id"]);
        (again["status"] == "succeeded").then_some(())
    })
    .await;
    let seen = read(&app, &id).await;
    assert_eq!(seen["status"], "partially_refunded");
    let reused = json!({ "items": [{ "drop_id": lamp, "quantity": 1 }], "reason": "returned" });
    let reused = refund(&app, &id, "refund-1", reused).await;
    reused.problem(422, "idempotency_key_reused");

    for (body, pointer) in [
        (json!({ "items": [], "reason": "x" }), "/items"),
        (json!({ "reason": "" }), "/reason"),
    ] {
        refund(&app, &id, &key(), body).await.invalid(pointer);
    }
    let much = json!({ "items": [{ "drop_id": chair, "quantity": 3 }], "reason": "returned" });
    let much = refund(&app, &id, &key(), much).await;
    assert_eq!(much.problem(409, "nothing_to_refund")["refundable"], 2);

    let rest = json!({ "restock": false, "reason": "broken" });
    let made = refund(&app, &id, &key(), rest).await.ok(201);
    assert_eq!(
        (&made["quantity"], &made["restocked"]),
        (&json!(4), &json!(false))
    );
    assert_eq!(made["amount"]["amount"], 4 * PRICE);
    status_becomes(&app, &id, "refunded").await;
    assert_eq!(app.stock(&lamp).await, [3, 3, 0, 0]);
    assert_eq!(app.stock(&chair).await, [1, 0, 1, 0]);
    let nothing = refund(&app, &id, &key(), json!({ "reason": "returned" })).await;
    nothing.problem(409, "nothing_to_refund");
    let expected = [("payment_capture", "done", 1), ("refund", "done", 2)];
    settled(&app, &expected).await;
    app.audit_verify().await;
}

#[tokio::test]
async fn purchase_of_a_paid_order_is_refunded_with_its_money() {
    let (app, drop) = shop().await;
    let order = text(&ordered(&app, "ann", &[(&drop, 2)]).await["id"]);
    pay(&app, &order, "pays").await;
    let paid = status_becomes(&app, &order, "paid").await;
    let purchase = text(&paid["items"][0]["purchase_id"]);
    let path = format!("/v1/purchases/{purchase}/refunds");
    let send = async || {
        let request = app.admin(Method::POST, &path);
        let request = request.header("idempotency-key", "refund-1");
        fetch(request.json(&json!({ "quantity": 1, "reason": "returned" }))).await
    };
    let made = send().await.ok(201);
    eventually("the money is returned", || async {
        let again = send().await.ok(201);
        assert_eq!(again["id"], made["id"]);
        (again["status"] == "succeeded").then_some(())
    })
    .await;
    let expected = [("payment_capture", "done", 1), ("refund", "done", 1)];
    settled(&app, &expected).await;
    // An order that the shop took the money for has no refund of a provider.
    let other = text(&ordered(&app, "bob", &[(&drop, 1)]).await["id"]);
    let purchased = app.admin(Method::POST, &format!("/v1/orders/{other}/purchase"));
    fetch(purchased).await.ok(200);
    let made = refund(&app, &other, &key(), json!({ "reason": "returned" })).await;
    assert_eq!(made.ok(201)["status"], "succeeded");
    settled(&app, &expected).await;
    app.audit_verify().await;
}

#[tokio::test]
async fn refund_that_the_provider_fails_needs_attention_until_a_retry_succeeds() {
    let (app, drop) = shop().await;
    let order = text(&ordered(&app, "ann", &[(&drop, 1)]).await["id"]);
    pay(&app, &order, "refund_fails").await;
    status_becomes(&app, &order, "paid").await;
    let body = json!({ "reason": "returned" });
    let made = refund(&app, &order, "refund-1", body.clone()).await.ok(201);
    let matter = |app: &App| {
        let api = app.api();
        async move { needs_attention(&api).await.into_iter().next() }
    };
    let seen = eventually("the refund needs attention", || matter(&app)).await;
    assert_eq!(
        (&seen["kind"], &seen["id"]),
        (&json!("refund"), &made["id"])
    );
    assert_eq!(seen["subject"], format!("/v1/orders/{order}"));
    assert!(
        text(&seen["detail"]).contains("expired_or_canceled_card"),
        "{seen}"
    );
    let again = refund(&app, &order, "refund-1", body.clone()).await.ok(201);
    assert_eq!(again["status"], "failed");

    // The demo fails the next attempt, too, until it has forgotten the buyer's scenario.
    let retry = format!("/v1/admin/jobs/{}/retry", text(&made["id"]));
    fetch(app.admin(Method::POST, &retry)).await.ok(200);
    eventually("the refund needs attention again", || matter(&app)).await;
    let app = app.restart().await;
    fetch(app.admin(Method::POST, &retry)).await.ok(200);
    eventually("the money is returned", || async {
        let again = refund(&app, &order, "refund-1", body.clone()).await.ok(201);
        (again["status"] == "succeeded").then_some(())
    })
    .await;
    settled(
        &app,
        &[("payment_capture", "done", 1), ("refund", "done", 1)],
    )
    .await;
    assert_eq!(needs_attention(&app).await, [] as [Value; 0]);
    app.audit_verify().await;
}

#[tokio::test]
async fn references_of_an_erased_buyer_are_removed_unless_a_return_needs_them() {
    let (app, drop) = shop().await;
    // The money of this one bought nothing, and is returned.
    let over = text(&ordered(&app, "ann", &[(&drop, 1)]).await["id"]);
    let returned = pay(&app, &over, "declines").await;
    let cancel = app.request(Method::POST, &format!("/v1/orders/{over}/cancel"));
    fetch(cancel).await.ok(200);
    settled(&app, &[("payment_cancel", "done", 1)]).await;
    let order = text(&ordered(&app, "ann", &[(&drop, 1)]).await["id"]);
    let payment = pay(&app, &order, "pays").await;
    status_becomes(&app, &order, "paid").await;
    let expected = [
        ("payment_cancel", "done", 1),
        ("payment_capture", "done", 1),
    ];
    settled(&app, &expected).await;
    let erase = fetch(app.admin(Method::DELETE, "/v1/admin/buyers/ann")).await;
    assert_eq!(erase.status, 204);
    let seen = read(&app, &order).await;
    assert_eq!(seen["payment"]["provider_reference"], Value::Null);
    assert_eq!(seen["payment"]["status"], "succeeded");
    let kept: Vec<String> = sqlx::query_scalar(
        "SELECT provider_reference FROM payment_intents UNION ALL \
         SELECT provider_reference FROM payment_starts WHERE provider_reference IS NOT NULL",
    )
    .fetch_all(app.pool())
    .await
    .unwrap();
    // That of the sale, once; see returns::return_of_an_erased_buyer_is_paid_by_the_server.
    assert_eq!(kept, [text(&payment["provider_reference"])]);
    assert_ne!(
        payment["provider_reference"],
        returned["provider_reference"]
    );
    // A repeated webhook is no second payment.
    let signer = Signer::of(&app).await;
    let body = event(&payment, "amount_capturable_updated", PRICE);
    signer.post(&app, &body).await.ok(200);
    let events = events_of(&app, &order).await;
    assert_eq!(count(&events, "PaymentSucceeded"), 1);
    app.audit_verify().await;
}
