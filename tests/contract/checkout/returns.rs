//! Money that a person moves at the provider, the times of refunds, cancelled refunds, and returns
//! after an erasure.

use super::*;

/// A refund as its webhook shows it; `made_by`: the id that this server gave it.
fn refund_event(payment: &Value, id: &str, amount: u64, status: &str, made_by: Value) -> Value {
    json!({
        "id": format!("evt_{}", uuid::Uuid::new_v4().simple()), "object": "event",
        "type": "refund.updated", "created": Utc::now().timestamp(),
        "data": { "object": {
            "id": id, "object": "refund", "amount": amount, "currency": "usd", "status": status,
            "payment_intent": payment["provider_reference"], "metadata": { "refund_id": made_by },
        } },
    })
}

fn dispute_event(payment: &Value, kind: &str, amount: u64, status: &str) -> Value {
    json!({
        "id": format!("evt_{}", uuid::Uuid::new_v4().simple()), "object": "event",
        "type": format!("charge.dispute.{kind}"), "created": Utc::now().timestamp(),
        "data": { "object": {
            "id": "dp_1", "object": "dispute", "amount": amount, "currency": "usd", "status": status,
            "charge": "ch_1", "payment_intent": payment["provider_reference"],
        } },
    })
}

/// A shop with an order of two units that a provider's payment has bought.
struct Bought {
    app: App,
    signer: Signer,
    drop: String,
    order: String,
    payment: Value,
}

impl Bought {
    async fn open() -> Self {
        let (app, drop) = shop().await;
        let signer = Signer::of(&app).await;
        let order = text(&ordered(&app, "ann", &[(&drop, 2)]).await["id"]);
        let payment = pay(&app, &order, "pays").await;
        status_becomes(&app, &order, "paid").await;
        settled(&app, &[("payment_capture", "done", 1)]).await;
        Self {
            app,
            signer,
            drop,
            order,
            payment,
        }
    }

    async fn reports(&self, event: &Value) {
        self.signer.post(&self.app, event).await.ok(200);
    }

    async fn returns(&self, units: u64, restock: bool) -> Value {
        let path = format!("/v1/orders/{}/refunds", self.order);
        let request = self.app.admin(Method::POST, &path);
        let body = json!({
            "items": [{ "drop_id": self.drop, "quantity": units }], "restock": restock,
            "reason": "sent back",
        });
        let request = request.header("idempotency-key", key()).json(&body);
        fetch(request).await.ok(201)
    }

    /// Waits until the refund with this id has this status in the order.
    async fn refund_becomes(&self, refund: &Value, status: &str) -> Value {
        eventually(&format!("the refund is {status}"), || async {
            let order = read(&self.app, &self.order).await;
            let refunds = order["refunds"].as_array().unwrap().iter();
            let mut refunds = refunds.filter(|one| one["id"] == refund["id"]);
            refunds.find(|one| one["status"] == status).cloned()
        })
        .await
    }

    /// The minor units that money which had left before has paid.
    async fn covered(&self) -> i64 {
        sqlx::query_scalar("SELECT coalesce(sum(amount), 0)::bigint FROM payment_coverage")
            .fetch_one(self.app.pool())
            .await
            .unwrap()
    }

    async fn matters_are(&self, kinds: &[&str]) -> Vec<Value> {
        eventually(&format!("the open matters are {kinds:?}"), || async {
            let matters = needs_attention(&self.app).await;
            let found: Vec<String> = matters.iter().map(|matter| text(&matter["kind"])).collect();
            (found == kinds).then_some(matters)
        })
        .await
    }
}

#[tokio::test]
async fn refund_by_a_person_is_one_matter_and_pays_the_return() {
    let mut shop = Bought::open().await;
    let done = refund_event(&shop.payment, "re_1", PRICE, "succeeded", json!(null));
    let begun = refund_event(&shop.payment, "re_1", PRICE, "pending", json!(null));
    // Repeated, and overtaken by its outcome.
    for event in [&done, &begun, &done, &begun] {
        shop.reports(event).await;
    }
    shop.app = shop.app.restart().await;
    let matters = shop.matters_are(&["provider_refund"]).await;
    assert_eq!(matters[0]["subject"], format!("/v1/orders/{}", shop.order));
    let detail = text(&matters[0]["detail"]);
    let payment = text(&shop.payment["id"]);
    assert!(
        detail.starts_with("199.99 USD was returned by a person"),
        "{detail}"
    );
    assert!(
        detail.contains(&payment) && detail.contains("re_1"),
        "{detail}"
    );
    let position = number(&matters[0]["position"]);
    let log = shop.app.log().await;
    let event = &log[usize::try_from(position).unwrap() - 1];
    assert_eq!(event.event_type, "PaymentSucceeded");

    // The return of the unit is paid by it.
    let refund = shop.returns(1, true).await;
    let made = shop.refund_becomes(&refund, "succeeded").await;
    assert_eq!(
        (&made["quantity"], &made["cause"]),
        (&json!(1), &json!("return"))
    );
    assert_eq!(shop.covered().await, 19_999);
    shop.matters_are(&[]).await;
    assert_eq!(shop.app.stock(&shop.drop).await, [5, 4, 0, 1]);
    // That of the other unit is not.
    let refund = shop.returns(1, false).await;
    shop.refund_becomes(&refund, "succeeded").await;
    assert_eq!(shop.covered().await, 19_999);
    assert_eq!(shop.app.stock(&shop.drop).await, [4, 4, 0, 0]);
    shop.reports(&done).await;
    shop.matters_are(&[]).await;
    assert_eq!(read(&shop.app, &shop.order).await["status"], "refunded");
    shop.app.audit_verify().await;
}

#[tokio::test]
async fn return_is_paid_partly_by_money_that_was_returned_before() {
    let shop = Bought::open().await;
    let event = refund_event(&shop.payment, "re_1", 5_000, "succeeded", json!(null));
    shop.reports(&event).await;
    let refund = shop.returns(2, true).await;
    shop.refund_becomes(&refund, "succeeded").await;
    assert_eq!(shop.covered().await, 5_000);
    shop.matters_are(&[]).await;
    // It failed afterwards: the buyer does not have that part.
    let failed = refund_event(&shop.payment, "re_1", 5_000, "failed", json!(null));
    shop.reports(&failed).await;
    let matters = shop.matters_are(&["provider_refund"]).await;
    let detail = text(&matters[0]["detail"]);
    assert!(detail.contains("failed after 50.00 USD"), "{detail}");
    shop.app.audit_verify().await;
}

#[tokio::test]
async fn refunds_of_this_server_are_not_mistaken_for_those_of_a_person() {
    let shop = Bought::open().await;
    let refund = shop.returns(1, true).await;
    shop.refund_becomes(&refund, "succeeded").await;
    let own = refund_event(
        &shop.payment,
        "demo_re",
        PRICE,
        "succeeded",
        refund["id"].clone(),
    );
    let charge = json!({
        "id": "evt_charge", "type": "charge.refunded", "created": Utc::now().timestamp(),
        "data": { "object": {
            "id": "ch_1", "payment_intent": shop.payment["provider_reference"],
            "amount_refunded": PRICE, "metadata": {},
        } },
    });
    // Of a payment that another program has started.
    let mut foreign = refund_event(&shop.payment, "re_9", PRICE, "succeeded", json!(null));
    foreign["data"]["object"]["payment_intent"] = json!("pi_of_another_program");
    for event in [&own, &charge, &foreign] {
        shop.reports(event).await;
    }
    assert_eq!(needs_attention(&shop.app).await, [] as [Value; 0]);
    let events = events_of(&shop.app, &shop.order).await;
    assert_eq!(count(&events, "RefundSettled"), 1);
}

#[tokio::test]
async fn closed_matter_pays_no_return() {
    let shop = Bought::open().await;
    let event = refund_event(&shop.payment, "re_1", PRICE, "succeeded", json!(null));
    shop.reports(&event).await;
    let matters = shop.matters_are(&["provider_refund"]).await;
    let close = |id: String| {
        let path = format!("/v1/admin/needs-attention/{id}/close");
        fetch(shop.app.admin(Method::POST, &path))
    };
    for _ in 0..2 {
        assert_eq!(close(text(&matters[0]["id"])).await.status, 204);
    }
    for unknown in [uuid::Uuid::new_v4().to_string(), "x".to_owned()] {
        close(unknown).await.problem(404, "matter_not_found");
    }
    shop.reports(&event).await;
    shop.matters_are(&[]).await;
    let refund = shop.returns(1, true).await;
    shop.refund_becomes(&refund, "succeeded").await;
    assert_eq!(shop.covered().await, 0);
}

#[tokio::test]
async fn return_waits_for_a_dispute_and_is_paid_if_the_shop_wins() {
    let shop = Bought::open().await;
    for kind in ["created", "funds_withdrawn"] {
        let event = dispute_event(&shop.payment, kind, 2 * PRICE, "needs_response");
        shop.reports(&event).await;
    }
    let matters = shop.matters_are(&["dispute"]).await;
    let detail = text(&matters[0]["detail"]);
    assert!(detail.contains("disputes 399.98 USD"), "{detail}");
    let refund = shop.returns(2, true).await;
    assert_eq!(refund["status"], "pending");
    let job = eventually("the refund waits", || async {
        let waiting = jobs(&shop.app, "?kind=refund&status=pending").await;
        let job = waiting.into_iter().next()?;
        (job["last_error"] != Value::Null).then_some(job)
    })
    .await;
    assert!(text(&job["last_error"]).contains("not decided"), "{job}");
    let won = dispute_event(&shop.payment, "closed", 2 * PRICE, "won");
    shop.reports(&won).await;
    shop.refund_becomes(&refund, "succeeded").await;
    assert_eq!(shop.covered().await, 0);
    // A report that was overtaken changes nothing.
    let late = dispute_event(&shop.payment, "updated", 2 * PRICE, "under_review");
    shop.reports(&late).await;
    shop.matters_are(&[]).await;
    shop.app.audit_verify().await;
}

#[tokio::test]
async fn lost_dispute_pays_the_return() {
    let shop = Bought::open().await;
    let lost = dispute_event(&shop.payment, "closed", 2 * PRICE, "lost");
    shop.reports(&lost).await;
    let matters = shop.matters_are(&["dispute"]).await;
    assert!(text(&matters[0]["detail"]).starts_with("A dispute was lost: 399.98 USD"));
    let refund = shop.returns(2, false).await;
    shop.refund_becomes(&refund, "succeeded").await;
    assert_eq!(shop.covered().await, 2 * 19_999);
    shop.matters_are(&[]).await;
    shop.app.audit_verify().await;
}

#[tokio::test]
async fn cancelled_refund_needs_attention_until_it_is_retried() {
    let shop = Bought::open().await;
    let open = dispute_event(&shop.payment, "created", 2 * PRICE, "needs_response");
    shop.reports(&open).await;
    let refund = shop.returns(2, true).await;
    let job = format!("/v1/admin/jobs/{}", text(&refund["id"]));
    let change = |what: &str| fetch(shop.app.admin(Method::POST, &format!("{job}/{what}")));
    eventually("the job exists", || async {
        (!jobs(&shop.app, "?kind=refund").await.is_empty()).then_some(())
    })
    .await;
    let cancelled = change("cancel").await.ok(200);
    assert_eq!(
        (&cancelled["status"], &cancelled["cancelled"]),
        (&json!("failed"), &json!(true))
    );
    let meaning = text(&cancelled["meaning"]);
    assert!(
        meaning.starts_with("399.98 USD stays with the shop"),
        "{meaning}"
    );
    assert!(
        meaning.contains("A retry returns it. needs-attention lists it"),
        "{meaning}"
    );
    let mut kinds: Vec<String> = needs_attention(&shop.app)
        .await
        .iter()
        .map(|matter| text(&matter["kind"]))
        .collect();
    kinds.sort();
    assert_eq!(kinds, ["dispute", "refund"]);
    shop.app.audit_verify().await;
    // Cancelled once more, the entry is closed; the job can still be retried.
    let closed = change("cancel").await.ok(200);
    assert!(
        text(&closed["meaning"]).contains("does not list it any more"),
        "{closed}"
    );
    shop.matters_are(&["dispute"]).await;
    let won = dispute_event(&shop.payment, "closed", 2 * PRICE, "won");
    shop.reports(&won).await;
    shop.matters_are(&[]).await;
    let retried = change("retry").await.ok(200);
    assert_eq!(
        (&retried["cancelled"], &retried["meaning"]),
        (&json!(false), &Value::Null)
    );
    shop.refund_becomes(&refund, "succeeded").await;
    let events = events_of(&shop.app, &shop.order).await;
    for (event_type, times) in [
        ("OrderPaid", 1),
        ("RefundRequested", 1),
        ("RefundSettled", 1),
    ] {
        assert_eq!(count(&events, event_type), times, "{event_type}");
    }
    shop.app.audit_verify().await;
}

#[tokio::test]
async fn refunds_have_the_times_of_their_request_and_settlement() {
    let shop = Bought::open().await;
    let refund = shop.returns(1, true).await;
    let made = shop.refund_becomes(&refund, "succeeded").await;
    let at = |member: &str| chrono::DateTime::parse_from_rfc3339(&text(&made[member])).unwrap();
    assert_eq!(made["requested_at"], refund["refunded_at"]);
    assert!(at("settled_at") >= at("requested_at"), "{made}");
    assert_eq!(
        made["amount"],
        json!({ "amount": PRICE, "currency": "USD" })
    );

    // The shop took this money itself, so it returns it itself.
    let other = text(&ordered(&shop.app, "bob", &[(&shop.drop, 1)]).await["id"]);
    let purchase = shop
        .app
        .admin(Method::POST, &format!("/v1/orders/{other}/purchase"));
    fetch(purchase).await.ok(200);
    let path = format!("/v1/orders/{other}/refunds");
    let request = shop
        .app
        .admin(Method::POST, &path)
        .header("idempotency-key", key());
    let own = fetch(request.json(&json!({ "reason": "sent back" })))
        .await
        .ok(201);
    let order = read(&shop.app, &other).await;
    assert_eq!(
        order["refunds"],
        json!([{
            "id": own["id"], "amount": { "amount": PRICE, "currency": "USD" }, "quantity": 1,
            "cause": "return", "status": "succeeded", "requested_at": own["refunded_at"],
            "settled_at": own["refunded_at"],
        }])
    );
    // Money that bought nothing.
    let twice = text(&ordered(&shop.app, "carl", &[(&shop.drop, 1)]).await["id"]);
    pay(&shop.app, &twice, "pays_twice").await;
    eventually("the second payment is returned", || async {
        let order = read(&shop.app, &twice).await;
        let refund = &order["refunds"][0];
        let is_settled = refund["status"] == "succeeded" && refund["settled_at"] != Value::Null;
        (is_settled && refund["cause"] == "double" && refund["quantity"] == 0).then_some(())
    })
    .await;

    let request = shop.app.admin(Method::GET, "/v1/orders");
    let file = fetch(request.header("accept", "text/csv")).await.text();
    let lines: Vec<&str> = file.lines().collect();
    assert!(
        lines[0].ends_with(",refund_requested_at,refund_settled_at"),
        "{file}"
    );
    let ends = |order: &str, first: &Value, second: &Value| {
        let line = lines.iter().find(|line| line.starts_with(order)).unwrap();
        let end = format!(",{},{}", text(first), text(second));
        assert!(line.ends_with(&end), "{line} {end}");
    };
    ends(&shop.order, &made["requested_at"], &made["settled_at"]);
    ends(&other, &own["refunded_at"], &own["refunded_at"]);
    let line = lines.iter().find(|line| line.starts_with(&twice)).unwrap();
    assert!(line.ends_with(",0,0,,"), "no unit was refunded: {line}");
}

#[tokio::test]
async fn return_of_an_erased_buyer_is_paid_by_the_server() {
    let mut shop = Bought::open().await;
    // The second payment of another order of hers bought nothing, so its reference is not needed.
    let twice = text(&ordered(&shop.app, "ann", &[(&shop.drop, 1)]).await["id"]);
    pay(&shop.app, &twice, "pays_twice").await;
    let expected = [("payment_capture", "done", 2), ("refund", "done", 1)];
    settled(&shop.app, &expected).await;
    let erase = shop.app.admin(Method::DELETE, "/v1/admin/buyers/ann");
    assert_eq!(fetch(erase).await.status, 204);
    shop.app = shop.app.restart().await;
    let pool = shop.app.pool();
    eventually("the other reference was removed", || async {
        let sql = "SELECT count(*) FROM payment_intents WHERE is_returned";
        let left: i64 = sqlx::query_scalar(sql).fetch_one(pool).await.unwrap();
        (left == 0).then_some(())
    })
    .await;
    let order = read(&shop.app, &shop.order).await;
    assert_eq!(order["buyer_id"], Value::Null);
    assert_eq!(order["payment"]["provider_reference"], Value::Null);
    let refund = shop.returns(2, true).await;
    shop.refund_becomes(&refund, "succeeded").await;
    // A person's refund is recognised, too.
    let mut second = shop.payment.clone();
    let reference: String = sqlx::query_scalar(
        "SELECT provider_reference FROM payment_intents WHERE order_id = $1::uuid",
    )
    .bind(&twice)
    .fetch_one(pool)
    .await
    .unwrap();
    second["provider_reference"] = json!(reference);
    let event = refund_event(&second, "re_7", PRICE, "succeeded", json!(null));
    shop.reports(&event).await;
    shop.matters_are(&["provider_refund"]).await;
    let verified = shop.app.audit_verify().await;
    assert!(verified.contains("erasure"), "{verified}");
    // The log and its personal data do not have the reference.
    let found: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM events WHERE payload::text LIKE '%' || $1 || '%' OR private::text LIKE '%' || $1 || '%'",
    )
    .bind(&reference)
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!(found, 0);
}
