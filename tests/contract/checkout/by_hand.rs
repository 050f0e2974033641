//! Actions of a person in Stripe's dashboard, at a double of its API that counts the refunds that
//! this server makes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::State;
use axum::http::{Method as HttpMethod, StatusCode, Uri};
use axum::{Json, Router};
use reqwest::Url;
use tokio::net::TcpListener;

use super::*;

const SECRET: &str = "whsec_test";

/// One intent, `pi_1`, and its refunds.
#[derive(Debug, Default)]
struct Account {
    intent: Value,
    refunds: Vec<Value>,
    /// The refunds that this server has made.
    made: usize,
    /// Captures are refused, although the money is authorised.
    refuses_capture: bool,
}

/// A double of the part of Stripe's API that the server calls.
#[derive(Debug, Clone, Default)]
struct Double(Arc<Mutex<Account>>);

impl Double {
    fn account(&self) -> MutexGuard<'_, Account> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts it, and returns its address.
    async fn listen(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    /// A person gives the intent this state in the dashboard.
    fn becomes(&self, status: &str, received: u64) {
        let mut account = self.account();
        account.intent["status"] = json!(status);
        account.intent["amount_received"] = json!(received);
    }

    /// A person refunds an amount in the dashboard.
    fn refunds(&self, amount: u64) {
        let refund = json!({
            "id": "re_by_hand", "amount": amount, "currency": "usd", "status": "succeeded",
            "payment_intent": "pi_1", "metadata": {},
        });
        self.account().refunds.push(refund);
    }
}

async fn answer(
    State(double): State<Double>,
    method: HttpMethod,
    uri: Uri,
    body: String,
) -> (StatusCode, Json<Value>) {
    let form = Url::parse(&format!("http://form/?{body}")).unwrap();
    let field = |name: &str| {
        let mut pairs = form.query_pairs();
        let found = pairs.find(|(key, _)| key == name);
        found
            .map(|(_, value)| value.into_owned())
            .unwrap_or_default()
    };
    let mut account = double.account();
    let amount = |text: String| text.parse::<u64>().unwrap();
    let answer = match (method.as_str(), uri.path()) {
        ("POST", "/v1/payment_intents") => {
            account.intent = json!({
                "id": "pi_1", "amount": amount(field("amount")), "currency": field("currency"),
                "amount_capturable": 0, "amount_received": 0, "status": "requires_payment_method",
                "client_secret": "pi_1_secret",
                "metadata": {
                    "order_id": field("metadata[order_id]"), "payment_id": field("metadata[payment_id]"),
                },
            });
            account.intent.clone()
        }
        ("GET", "/v1/payment_intents/pi_1") => account.intent.clone(),
        ("POST", "/v1/payment_intents/pi_1/capture")
            if account.intent["status"] == "requires_capture" && !account.refuses_capture =>
        {
            account.intent["status"] = json!("succeeded");
            account.intent["amount_received"] = json!(amount(field("amount_to_capture")));
            account.intent.clone()
        }
        ("GET", "/v1/refunds") => json!({ "data": account.refunds, "has_more": false }),
        ("POST", "/v1/refunds") => {
            account.made += 1;
            let refund = json!({
                "id": format!("re_{}", account.made), "amount": amount(field("amount")),
                "currency": "usd", "status": "succeeded", "payment_intent": "pi_1",
                "metadata": { "refund_id": field("metadata[refund_id]") },
            });
            account.refunds.push(refund.clone());
            refund
        }
        _ => {
            let error = json!({
                "type": "invalid_request_error", "code": "payment_intent_unexpected_state",
            });
            return (StatusCode::BAD_REQUEST, Json(json!({ "error": error })));
        }
    };
    (StatusCode::OK, Json(answer))
}

/// A shop with an order of two units whose payment with Stripe was started.
struct Started {
    app: App,
    double: Double,
    drop: String,
    order: String,
    payment: Value,
}

impl Started {
    async fn open() -> Self {
        let double = Double::default();
        let launch = Launch::fresh()
            .await
            .with("HOLDFAST_STRIPE_SECRET_KEY", "sk_test_1")
            .with("HOLDFAST_STRIPE_WEBHOOK_SECRET", SECRET)
            .with("HOLDFAST_STRIPE_API_BASE", &double.listen().await);
        let app = launch.start().await;
        let drop = app.create_drop(5, terms()).await;
        let order = text(&ordered(&app, "ann", &[(&drop, 2)]).await["id"]);
        let body = json!({ "provider": "stripe" });
        let payment = pay_with(&app, &order, &key(), body).await.ok(201);
        Self {
            app,
            double,
            drop,
            order,
            payment,
        }
    }

    async fn reports(&self, event: &Value) {
        let body = event.to_string();
        let signature = signature::sign(body.as_bytes(), &Secret::new(SECRET), now());
        let reply = post_signed(&self.app, "stripe", &signature, body).await;
        reply.ok(200);
    }

    /// Reports that the buyer has paid.
    async fn is_paid(&self) {
        let event = event(&self.payment, "amount_capturable_updated", 2 * PRICE);
        self.reports(&event).await;
        status_becomes(&self.app, &self.order, "paid").await;
    }

    async fn returns(&self, units: u64) -> String {
        let path = format!("/v1/orders/{}/refunds", self.order);
        let request = self.app.admin(Method::POST, &path);
        let request = request.header("idempotency-key", key());
        let body = json!({
            "items": [{ "drop_id": self.drop, "quantity": units }], "reason": "sent back",
        });
        text(&fetch(request.json(&body)).await.ok(201)["id"])
    }

    async fn job_becomes(&self, kind: &str, status: &str, count: usize) -> Vec<Value> {
        eventually(&format!("{count} {kind} are {status}"), || async {
            let found = jobs(&self.app, &format!("?kind={kind}&status={status}")).await;
            (found.len() == count).then_some(found)
        })
        .await
    }
}

#[tokio::test]
async fn refund_by_a_person_without_a_webhook_is_not_paid_again() {
    let shop = Started::open().await;
    shop.double.becomes("requires_capture", 0);
    shop.is_paid().await;
    shop.job_becomes("payment_capture", "done", 1).await;
    shop.double.refunds(PRICE);
    shop.returns(1).await;
    shop.job_becomes("refund", "done", 1).await;
    assert_eq!(shop.double.account().made, 0);
    assert_eq!(needs_attention(&shop.app).await, [] as [Value; 0]);
    // That of the other unit is made once, and its webhook is not a person's.
    let refund = shop.returns(1).await;
    shop.job_becomes("refund", "done", 2).await;
    assert_eq!(shop.double.account().made, 1);
    let last = shop.double.account().refunds.last().cloned().unwrap();
    assert_eq!(
        (&last["amount"], &last["metadata"]["refund_id"]),
        (&json!(PRICE), &json!(refund))
    );
    // An event about the charge names no refund: the list shows whose they are.
    shop.reports(&json!({
        "id": "evt_charge", "type": "charge.refunded", "created": Utc::now().timestamp(),
        "data": { "object": { "id": "ch_1", "payment_intent": "pi_1", "metadata": {} } },
    }))
    .await;
    assert_eq!(needs_attention(&shop.app).await, [] as [Value; 0]);
    shop.app.audit_verify().await;
}

#[tokio::test]
async fn event_about_a_charge_alone_reports_the_refund_of_a_person() {
    let shop = Started::open().await;
    shop.double.becomes("requires_capture", 0);
    shop.is_paid().await;
    shop.job_becomes("payment_capture", "done", 1).await;
    shop.double.refunds(5_000);
    let event = json!({
        "id": "evt_charge", "type": "charge.refunded", "created": Utc::now().timestamp(),
        "data": { "object": { "id": "ch_1", "payment_intent": "pi_1", "metadata": {} } },
    });
    for _ in 0..2 {
        shop.reports(&event).await;
    }
    let matters = needs_attention(&shop.app).await;
    assert_eq!(matters.len(), 1, "{matters:?}");
    assert_eq!(matters[0]["kind"], "provider_refund");
    assert!(text(&matters[0]["detail"]).starts_with("50.00 USD was returned by a person"));
}

#[tokio::test]
async fn capture_by_a_person_of_another_amount_needs_attention() {
    let shop = Started::open().await;
    shop.double.becomes("succeeded", 5_000);
    shop.is_paid().await;
    shop.job_becomes("payment_capture", "failed", 1).await;
    let matters = needs_attention(&shop.app).await;
    assert_eq!(matters[0]["kind"], "payment_capture");
    let detail = text(&matters[0]["detail"]);
    assert!(
        detail.contains("only 50.00 USD of 399.98 USD was captured"),
        "{detail}"
    );
    shop.app.audit_verify().await;
}

#[tokio::test]
async fn capture_by_a_person_after_it_was_given_up_is_found() {
    let shop = Started::open().await;
    shop.double.becomes("requires_capture", 0);
    shop.double.account().refuses_capture = true;
    shop.is_paid().await;
    shop.job_becomes("payment_capture", "failed", 1).await;
    // A return has to wait for the decision about the capture.
    shop.returns(1).await;
    let refused = shop.job_becomes("refund", "failed", 1).await;
    assert!(
        text(&refused[0]["last_error"]).contains("retry its capture first"),
        "{refused:?}"
    );
    shop.double.becomes("succeeded", 2 * PRICE);
    let event = event(&shop.payment, "succeeded", 2 * PRICE);
    shop.reports(&event).await;
    shop.job_becomes("payment_capture", "done", 1).await;
    let retry = format!("/v1/admin/jobs/{}/retry", text(&refused[0]["id"]));
    fetch(shop.app.admin(Method::POST, &retry)).await.ok(200);
    shop.job_becomes("refund", "done", 1).await;
    assert_eq!(shop.double.account().made, 1);
    assert_eq!(needs_attention(&shop.app).await, [] as [Value; 0]);
    shop.app.audit_verify().await;
}

#[tokio::test]
async fn return_of_a_payment_that_a_person_cancelled_is_settled_without_money() {
    let shop = Started::open().await;
    shop.double.becomes("canceled", 0);
    shop.is_paid().await;
    shop.job_becomes("payment_capture", "failed", 1).await;
    let event = event(&shop.payment, "canceled", 2 * PRICE);
    shop.reports(&event).await;
    assert_eq!(
        needs_attention(&shop.app).await[0]["kind"],
        "payment_capture"
    );
    shop.returns(2).await;
    shop.job_becomes("refund", "done", 1).await;
    assert_eq!(shop.double.account().made, 0);
    assert_eq!(read(&shop.app, &shop.order).await["status"], "refunded");
    shop.app.audit_verify().await;
}
