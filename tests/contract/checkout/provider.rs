//! Reports of a provider: once, twice, out of order, unsigned, or about an unknown payment.

use harness::{eventually, fetch, text};
use payments::{Secret, signature};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    PRICE, Signer, count, event, events_of, jobs, needs_attention, now, ordered, pay, post_signed,
    read, settled, shop, status_becomes,
};

#[tokio::test]
async fn another_amount_than_the_orders_is_returned_and_the_order_can_still_be_paid() {
    let (app, drop) = shop().await;
    let signer = Signer::of(&app).await;
    let order = text(&ordered(&app, "ann", &[(&drop, 1)]).await["id"]);
    let payment = pay(&app, &order, "declines").await;
    let body = event(&payment, "amount_capturable_updated", PRICE - 1);
    assert_eq!(
        signer.post(&app, &body).await.ok(200),
        json!({ "received": true })
    );
    eventually("the money is returned", || async {
        let done = jobs(&app, "?kind=refund&status=done").await;
        (done.len() == 1).then_some(())
    })
    .await;
    assert_eq!(read(&app, &order).await["status"], "pending");
    pay(&app, &order, "pays").await;
    status_becomes(&app, &order, "paid").await;
    settled(
        &app,
        &[("payment_capture", "done", 1), ("refund", "done", 1)],
    )
    .await;
    app.audit_verify().await;
}

#[tokio::test]
async fn webhook_that_precedes_the_response_counts() {
    let (app, drop) = shop().await;
    let order = text(&ordered(&app, "ann", &[(&drop, 1)]).await["id"]);
    let payment = pay(&app, &order, "webhook_first").await;
    assert_eq!(payment["status"], "succeeded");
    assert_eq!(read(&app, &order).await["status"], "paid");
    settled(&app, &[("payment_capture", "done", 1)]).await;
    app.audit_verify().await;
}

#[tokio::test]
async fn webhooks_that_are_repeated_or_out_of_order_have_one_effect_at_any_server() {
    let (app, drop) = shop().await;
    let other = app.launch().clone().start().await;
    let signer = Signer::of(&app).await;
    let order = text(&ordered(&app, "ann", &[(&drop, 1)]).await["id"]);
    let payment = pay(&app, &order, "declines").await;
    // The demo of this server remembers that its buyer was declined, and would refuse the capture
    // if this server made it. After a restart it believes the reference, as that of the other does.
    let app = app.restart().await;
    let authorised = event(&payment, "amount_capturable_updated", PRICE);
    for api in [&other, &app, &other] {
        signer.post(api, &authorised).await.ok(200);
    }
    for late in [
        "succeeded",
        "payment_failed",
        "canceled",
        "amount_capturable_updated",
    ] {
        signer
            .post(&app, &event(&payment, late, PRICE))
            .await
            .ok(200);
    }
    let paid = status_becomes(&app, &order, "paid").await;
    assert_eq!(paid["payment"]["status"], "succeeded");
    settled(&app, &[("payment_capture", "done", 1)]).await;
    let events = events_of(&app, &order).await;
    assert_eq!(
        ["PaymentSucceeded", "OrderPaid", "RefundRequested"].map(|kind| count(&events, kind)),
        [1, 1, 0]
    );
    assert_eq!(app.stock(&drop).await, [5, 4, 0, 1]);
    app.audit_verify().await;
}

#[tokio::test]
async fn webhook_that_the_provider_did_not_sign_records_nothing() {
    let (app, drop) = shop().await;
    let signer = Signer::of(&app).await;
    let order = text(&ordered(&app, "ann", &[(&drop, 1)]).await["id"]);
    let payment = pay(&app, &order, "declines").await;
    eventually("the payment has failed", || async {
        let seen = read(&app, &order).await;
        (seen["payment"]["status"] == "failed").then_some(())
    })
    .await;
    let head = app.audit("/v1/log/head").await.ok(200)["position"].clone();
    let body = event(&payment, "amount_capturable_updated", PRICE).to_string();
    let secret = signer.0.webhook_secret();
    let signed = signature::sign(body.as_bytes(), secret, now());
    let old = signature::sign(body.as_bytes(), secret, now().plus_millis(-301_000));
    let foreign = signature::sign(body.as_bytes(), &Secret::new("whsec_foreign"), now());
    for header in ["", "t=1,v1=00", &foreign, &old] {
        let refused = post_signed(&app, "demo", header, body.clone()).await;
        refused.problem(400, "signature_invalid");
    }
    let altered = body.replace("requires_capture", "succeeded");
    let refused = post_signed(&app, "demo", &signed, altered).await;
    refused.problem(400, "signature_invalid");
    let path = "/v1/payments/webhooks/demo";
    let unsigned = fetch(app.request(Method::POST, path).body(body.clone())).await;
    unsigned.problem(400, "signature_invalid");
    let large = fetch(app.request(Method::POST, path).body("x".repeat(600_000))).await;
    large.problem(413, "body_too_large");
    for unknown in ["stripe", "other"] {
        let refused = post_signed(&app, unknown, &signed, body.clone()).await;
        refused.problem(404, "not_found");
    }
    assert_eq!(app.audit("/v1/log/head").await.ok(200)["position"], head);
    // Of other types, and of intents that another program started: acknowledged without effect.
    let foreign = json!({
        "id": "evt_1", "type": "customer.created", "created": 1, "data": { "object": {} },
    });
    signer.post(&app, &foreign).await.ok(200);
    let mut other = event(&payment, "succeeded", PRICE);
    other["data"]["object"]["id"] = json!("pi_of_another_program");
    other["data"]["object"]["metadata"] = json!({});
    signer.post(&app, &other).await.ok(200);
    assert_eq!(app.audit("/v1/log/head").await.ok(200)["position"], head);
    // The right signature is accepted.
    post_signed(&app, "demo", &signed, body).await.ok(200);
    status_becomes(&app, &order, "paid").await;
}

#[tokio::test]
async fn money_of_a_payment_that_the_log_does_not_have_needs_attention() {
    let (app, drop) = shop().await;
    let signer = Signer::of(&app).await;
    let order = text(&ordered(&app, "ann", &[(&drop, 1)]).await["id"]);
    let mut payment = pay(&app, &order, "declines").await;
    payment["id"] = json!(uuid::Uuid::new_v4());
    payment["provider_reference"] = json!("pi_unknown");
    let body = event(&payment, "amount_capturable_updated", PRICE);
    for _ in 0..2 {
        signer.post(&app, &body).await.ok(200);
    }
    let matters = needs_attention(&app).await;
    assert_eq!(matters.len(), 1, "{matters:?}");
    assert_eq!(matters[0]["kind"], "payment_unknown");
    let job = format!("/v1/admin/jobs/{}", text(&matters[0]["id"]));
    // It is still unknown, until an administrator closes the matter.
    let retried = fetch(app.admin(Method::POST, &format!("{job}/retry"))).await;
    assert_eq!(retried.ok(200)["status"], "pending");
    eventually("it is given up again", || async {
        let failed = jobs(&app, "?kind=payment_unknown&status=failed").await;
        (failed.len() == 1).then_some(())
    })
    .await;
    let closed = fetch(app.admin(Method::POST, &format!("{job}/cancel"))).await;
    assert_eq!(closed.ok(200)["cancelled"], true);
    assert_eq!(needs_attention(&app).await, [] as [Value; 0]);
}
