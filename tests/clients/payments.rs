//! The payment providers against Stripe's official libraries and doubles of Stripe.
//!
//! Promise: webhooks that the libraries for Node and Python sign are accepted, those that the demo
//! signs are accepted by them, and all agree on the rest; the requests are those of the library for
//! Node; a payment lives its life at localstripe, whose own webhooks are accepted; an order is paid
//! and refunded there through the server.
//! Limit: neither double is Stripe. localstripe ignores idempotency keys and refunds more than was
//! captured (findings/localstripe-refunds-more-than-was-captured.sh), so repeats are tested behind
//! the keys of stripe-stateful-mock, and refunds at stripe-stateful-mock, which has no intents.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::Utc;
use domain::values::{Currency, Money, Timestamp};
use harness::{App, Launch, Node, Python, eventually, fetch, key, text};
use payments::{
    Demo, EventKind, IntentState, PaymentError, PaymentProvider, PaymentToStart, ProviderEvent,
    RefundState, RefundToMake, Scenario, Secret, Stripe, StripeSettings, WebhookError, signature,
};
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::time::timeout;
use uuid::Uuid;

const KEY: &str = "sk_test_holdfast";
const SECRET: &str = "whsec_test";

async fn python() -> Python {
    Python::with(include_str!("payments/requirements.txt")).await
}

async fn node() -> Node {
    Node::with(
        include_str!("payments/package.json"),
        include_str!("payments/package-lock.json"),
    )
    .await
}

/// A program that prints a line when it is ready, and is killed when dropped.
struct Running {
    _child: Child,
    line: String,
}

impl Running {
    async fn start(command: impl Into<Command>) -> Self {
        let mut command: Command = command.into();
        let piped = command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = piped.kill_on_drop(true).spawn().unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).await.unwrap();
        assert!(!line.is_empty(), "it ended before it was ready");
        let line = line.trim().to_owned();
        Self {
            _child: child,
            line,
        }
    }
}

/// Runs a program that reads a JSON document and prints one.
async fn converse(command: impl Into<Command>, input: &Value) -> Value {
    let mut command: Command = command.into();
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = piped.kill_on_drop(true).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.to_string().as_bytes()).await.unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

fn stripe_at(base: &str) -> Stripe {
    let settings = StripeSettings::new(KEY, SECRET, Some(base)).unwrap();
    Stripe::new(settings).unwrap()
}

fn euros(amount: i64) -> Money {
    let currency = Currency::new("EUR").unwrap();
    Money { amount, currency }
}

fn at_second(second: i64) -> Timestamp {
    Timestamp::from_millis(second * 1_000)
}

fn to_start(payment_id: Uuid, amount: i64) -> PaymentToStart {
    PaymentToStart {
        payment_id,
        order_id: Uuid::from_u128(77),
        amount: euros(amount),
        scenario: None,
    }
}

// Signatures.

const NOW: i64 = 1_800_000_000;

/// A webhook as it arrives at a time, at a receiver with one secret.
#[derive(Debug, Clone)]
struct Arrival {
    body: String,
    header: String,
    secret: &'static str,
    now: i64,
}

impl Arrival {
    /// The event's id, if this crate accepts it.
    fn accepted_here(&self) -> Option<String> {
        let settings = StripeSettings::new(KEY, self.secret, None).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(signature::HEADER, self.header.parse().unwrap());
        let stripe = Stripe::new(settings).unwrap();
        let now = at_second(self.now);
        match stripe.verify_webhook(&headers, self.body.as_bytes(), now) {
            Ok(events) => Some(events.into_iter().next().unwrap().id),
            Err(WebhookError::Signature(_)) => None,
            Err(other) => panic!("{other}: {self:?}"),
        }
    }
}

fn event(id: &str) -> String {
    let intent = json!({ "id": "pi_1", "amount": 1, "currency": "eur", "status": "canceled" });
    let event = json!({
        "id": id, "object": "event", "type": "payment_intent.canceled", "created": NOW,
        "data": { "object": intent }, "note": "raw bytes: ü \u{1F3AB} \\ \" é",
    });
    // Spaces and line breaks are part of the signed bytes.
    format!("{event:#}\n")
}

#[tokio::test]
async fn signatures_agree_with_the_official_libraries() {
    let (body, tampered) = (event("evt_1"), event("evt_2"));
    let (python, node) = (python().await, node().await);
    let libraries = |input: Value| {
        let mut in_python = python.command();
        in_python.args(["-c", include_str!("payments/signatures.py")]);
        let in_node = node.module(include_str!("payments/signatures.mjs"));
        async move {
            (
                converse(in_node, &input).await,
                converse(in_python, &input).await,
            )
        }
    };
    let sign = |secret: &str| json!({ "body": body, "secret": secret, "at": NOW });
    let sign = json!([sign("whsec_new"), sign("whsec_old"), sign("whsec_ünicode")]);
    let (by_node, by_python) = libraries(json!({ "sign": sign, "verify": [] })).await;
    assert_eq!(by_node["signed"], by_python["signed"]);
    let signed = |index: usize| by_node["signed"][index].as_str().unwrap().to_owned();
    let (new, old) = (signed(0), signed(1));
    for (header, secret) in [(&new, "whsec_new"), (&old, "whsec_old")] {
        let ours = signature::sign(body.as_bytes(), &Secret::new(secret), at_second(NOW));
        assert_eq!(&ours, header);
    }

    let signature_of = |header: &str| header.split_once(',').unwrap().1.to_owned();
    let rolled = format!("{new},{},v0=00", signature_of(&old));
    let arrival = |header: &str, secret: &'static str, now: i64| Arrival {
        body: body.clone(),
        header: header.to_owned(),
        secret,
        now,
    };
    let altered = |body: String| Arrival {
        body,
        ..arrival(&new, "whsec_new", NOW)
    };
    let accepted = [
        arrival(&new, "whsec_new", NOW),
        arrival(&old, "whsec_old", NOW),
        // The sender rolls its secret: the receiver knows either.
        arrival(&rolled, "whsec_new", NOW),
        arrival(&rolled, "whsec_old", NOW),
        arrival(&format!("{new},v1=00,v1=zz"), "whsec_new", NOW),
        arrival(&new, "whsec_new", NOW + 300),
        // The receiver's clock is behind.
        arrival(&new, "whsec_new", NOW - 301),
        arrival(&new, "whsec_new", NOW - 86_400),
    ];
    let rejected = [
        arrival(&new, "whsec_old", NOW),
        arrival(&rolled, "whsec_other", NOW),
        arrival(&new, "whsec_new", NOW + 301),
        arrival(&new.replace("v1=", "v0="), "whsec_new", NOW),
        arrival(&new.replace("t=1", "t=2"), "whsec_new", NOW),
        arrival(&signature_of(&new), "whsec_new", NOW),
        arrival("t=,v1=00", "whsec_new", NOW),
        arrival("nonsense", "whsec_new", NOW),
        altered(tampered),
        altered(body.trim_end().to_owned()),
        altered(serde_json::from_str::<Value>(&body).unwrap().to_string()),
    ];
    let verify: Vec<Value> = accepted
        .iter()
        .chain(&rejected)
        .map(|one| {
            let Arrival {
                body,
                header,
                secret,
                now,
            } = one;
            json!({ "body": body, "header": header, "secret": secret, "now": now })
        })
        .collect();
    let (by_node, by_python) = libraries(json!({ "sign": [], "verify": verify })).await;
    for (index, arrival) in accepted.iter().chain(&rejected).enumerate() {
        let expected = (index < accepted.len()).then(|| "evt_1".to_owned());
        assert_eq!(arrival.accepted_here(), expected, "{arrival:?}");
        for theirs in [&by_node, &by_python] {
            assert_eq!(theirs["verified"][index], json!(expected), "{arrival:?}");
        }
    }
}

#[tokio::test]
async fn webhooks_of_the_demo_are_accepted_by_the_official_libraries() {
    let seconds = Arc::new(AtomicI64::new(NOW));
    let clock = Arc::clone(&seconds);
    let clock = Box::new(move || at_second(clock.load(Ordering::SeqCst)));
    let demo = Demo::new(Secret::new("seed"), clock);
    let payment_id = Uuid::new_v4();
    let started = demo.start(to_start(payment_id, 1_999)).await.unwrap();
    let reference = started.intent.provider_reference.as_str();
    let secret = started.client_secret.expose();
    demo.act(secret, Scenario::Declines).unwrap();
    demo.act(secret, Scenario::PaysLate { after_seconds: 9 })
        .unwrap();
    seconds.fetch_add(9, Ordering::SeqCst);
    demo.capture(reference, euros(1_999)).await.unwrap();
    let refund = RefundToMake {
        refund_id: Uuid::new_v4(),
        provider_reference: reference,
        amount: euros(1_000),
    };
    demo.refund(refund).await.unwrap();
    let deliveries = demo.take_due();
    let verify: Vec<Value> = deliveries
        .iter()
        .map(|delivery| {
            let (_, header) = demo.sign(delivery);
            let body = std::str::from_utf8(&delivery.body).unwrap();
            let secret = demo.webhook_secret().expose();
            json!({ "body": body, "header": header, "secret": secret, "now": NOW + 9 })
        })
        .collect();
    let ids: Vec<_> = deliveries.iter().map(|one| one.event_id.as_str()).collect();
    assert_eq!(ids.len(), 4, "failed, authorised, succeeded, refunded");
    let input = json!({ "sign": [], "verify": verify });
    let mut in_python = python().await.command();
    in_python.args(["-c", include_str!("payments/signatures.py")]);
    let in_node = node().await.module(include_str!("payments/signatures.mjs"));
    for verified in [
        converse(in_node, &input).await,
        converse(in_python, &input).await,
    ] {
        assert_eq!(verified["verified"], json!(ids));
    }
}

// Requests.

#[tokio::test]
async fn requests_are_those_of_the_official_library() {
    let ids = [Uuid::new_v4(), Uuid::from_u128(77), Uuid::new_v4()];
    let mut command = node().await.module(include_str!("payments/requests.mjs"));
    command.env("IDS", json!(ids).to_string());
    let recorder = Running::start(command).await;
    let base = format!("http://127.0.0.1:{}", recorder.line);
    let settings = StripeSettings::new("sk_test_1", SECRET, Some(&base)).unwrap();
    let stripe = Stripe::new(settings).unwrap();
    let refund = RefundToMake {
        refund_id: ids[2],
        provider_reference: "pi_1",
        amount: euros(999),
    };
    stripe.start(to_start(ids[0], 1_999)).await.unwrap();
    stripe.capture("pi_1", euros(1_999)).await.unwrap();
    stripe.cancel("pi_1").await.unwrap();
    stripe.refund(refund).await.unwrap();
    stripe.look_up("pi_1").await.unwrap();
    stripe.refunds("pi_1").await.unwrap();

    let recorded = reqwest::get(format!("{base}/recorded")).await.unwrap();
    let recorded: Vec<Value> = recorded.json().await.unwrap();
    let (theirs, ours) = recorded.split_at(6);
    assert_eq!(ours, theirs);
    assert_eq!(theirs[0]["version"], json!(payments::stripe::API_VERSION));
}

// A life at localstripe.

struct Doubles {
    /// localstripe, without idempotency keys.
    localstripe: String,
    /// localstripe with them.
    front: String,
    /// stripe-stateful-mock.
    mock: String,
    _running: [Running; 2],
}

impl Doubles {
    async fn start() -> Self {
        let mut command = python().await.command();
        command.args(["-c", include_str!("payments/localstripe.py")]);
        let behind = Running::start(command).await;
        let localstripe = format!("http://127.0.0.1:{}", behind.line);
        let mut command = node().await.module(include_str!("payments/doubles.mjs"));
        command.env("LOCALSTRIPE_URL", &localstripe);
        let before = Running::start(command).await;
        let (front, mock) = before.line.split_once(' ').unwrap();
        Self {
            localstripe,
            front: format!("http://127.0.0.1:{front}"),
            mock: format!("http://127.0.0.1:{mock}"),
            _running: [behind, before],
        }
    }
}

/// Posts a form as the page of a buyer would.
async fn post(url: &str, form: &str) -> Value {
    let request = reqwest::Client::new()
        .post(url)
        .bearer_auth(KEY)
        .header("content-type", "application/x-www-form-urlencoded");
    let reply = request.body(form.to_owned()).send().await.unwrap();
    reply.json().await.unwrap()
}

impl Doubles {
    /// Pays an intent with a card; returns the reply.
    async fn pay(&self, reference: &str, card: &str) -> Value {
        let api = format!("{}/v1", self.localstripe);
        let card = format!(
            "type=card&card[number]={card}&card[exp_month]=12&card[exp_year]=2098&card[cvc]=123"
        );
        let method = post(&format!("{api}/payment_methods"), &card).await;
        let intent = format!("{api}/payment_intents/{reference}");
        let method = format!("payment_method={}", method["id"].as_str().unwrap());
        post(&intent, &method).await;
        post(&format!("{intent}/confirm"), "").await
    }
}

/// Receives one webhook on a listener.
async fn receive(listener: &TcpListener) -> (HeaderMap, Vec<u8>) {
    let (mut socket, _) = timeout(harness::TIMEOUT, listener.accept())
        .await
        .expect("a webhook arrives")
        .unwrap();
    let mut reader = BufReader::new(&mut socket);
    let mut headers = HeaderMap::new();
    let mut line = String::new();
    while reader.read_line(&mut line).await.unwrap() > 2 {
        if let Some((name, value)) = line.trim_end().split_once(": ") {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        line.clear();
    }
    let length = headers["content-length"].to_str().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await.unwrap();
    let reply = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    socket.write_all(reply.as_bytes()).await.unwrap();
    (headers, body)
}

const GOOD_CARD: &str = "4242424242424242";
const DECLINED_CARD: &str = "4000000000000341";

#[tokio::test]
async fn payment_is_authorised_captured_and_refunded_at_a_double_of_stripe() {
    let doubles = Doubles::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hook =
        json!({ "url": format!("http://{}/", listener.local_addr().unwrap()), "secret": SECRET });
    let registered = reqwest::Client::new()
        .post(format!("{}/_config/webhooks/shop", doubles.localstripe))
        .json(&hook);
    assert!(registered.send().await.unwrap().status().is_success());
    let stripe = stripe_at(&doubles.front);
    let next_event = || async {
        let (headers, body) = receive(&listener).await;
        let events = stripe.verify_webhook(&headers, &body, Utc::now().into());
        <[ProviderEvent; 1]>::try_from(events.unwrap()).unwrap()
    };

    let payment_id = Uuid::new_v4();
    let started = stripe.start(to_start(payment_id, 1_999)).await.unwrap();
    let reference = started.intent.provider_reference.as_str();
    assert!(started.client_secret.expose().starts_with(reference));
    assert_eq!(started.intent.state, IntentState::Unpaid);
    // The response was lost: the same payment, and no second one with another amount.
    assert_eq!(
        stripe.start(to_start(payment_id, 1_999)).await.unwrap(),
        started
    );
    let other = stripe.start(to_start(payment_id, 2_000)).await.unwrap_err();
    assert!(
        matches!(other, PaymentError::Misconfigured { .. }),
        "{other:?}"
    );

    let declined = doubles.pay(reference, DECLINED_CARD).await;
    assert_eq!(declined["error"]["code"], "card_declined");
    assert_eq!(
        stripe.look_up(reference).await.unwrap().state,
        IntentState::Unpaid
    );
    let [failed] = next_event().await;
    let reason = "card_declined".to_owned();
    assert_eq!(
        (failed.payment_id, failed.kind),
        (Some(payment_id), EventKind::Failed { reason })
    );

    // localstripe does not confirm a declined intent again, as Stripe does.
    let payment_id = Uuid::new_v4();
    let started = stripe.start(to_start(payment_id, 1_999)).await.unwrap();
    let reference = started.intent.provider_reference.as_str();
    doubles.pay(reference, GOOD_CARD).await;
    let amount = euros(1_999);
    let authorised = stripe.look_up(reference).await.unwrap();
    assert_eq!(authorised.state, IntentState::Authorised { amount });

    // A repeated capture has one effect.
    let captured = stripe.capture(reference, amount).await.unwrap();
    assert_eq!(captured.state, IntentState::Succeeded { amount });
    assert_eq!(stripe.capture(reference, amount).await.unwrap(), captured);
    // A cancellation that lost the race.
    assert_eq!(stripe.cancel(reference).await.unwrap(), captured);
    let [succeeded] = next_event().await;
    assert_eq!(succeeded.provider_reference, reference);
    assert_eq!(
        (succeeded.payment_id, succeeded.order_id),
        (Some(payment_id), Some(Uuid::from_u128(77)))
    );
    assert_eq!(succeeded.kind, EventKind::Succeeded { amount });

    let refund = RefundToMake {
        refund_id: Uuid::new_v4(),
        provider_reference: reference,
        amount: euros(999),
    };
    let made = stripe.refund(refund).await.unwrap();
    assert_eq!(
        (made.amount, &made.state),
        (euros(999), &RefundState::Succeeded)
    );
    assert_eq!(stripe.refund(refund).await.unwrap(), made);
    assert_eq!(stripe.refunds(reference).await.unwrap(), [made]);
}

#[tokio::test]
async fn payment_is_cancelled_before_and_after_it_is_authorised() {
    let doubles = Doubles::start().await;
    let stripe = stripe_at(&doubles.front);
    for is_authorised in [false, true] {
        let payment_id = Uuid::new_v4();
        let started = stripe.start(to_start(payment_id, 500)).await.unwrap();
        let reference = started.intent.provider_reference.as_str();
        if is_authorised {
            doubles.pay(reference, GOOD_CARD).await;
        }
        let cancelled = stripe.cancel(reference).await.unwrap();
        assert_eq!(cancelled.state, IntentState::Cancelled);
        assert_eq!(stripe.cancel(reference).await.unwrap(), cancelled);
        // Late money: the buyer pays no more.
        let late = doubles.pay(reference, GOOD_CARD).await;
        assert!(late["error"].is_object(), "{late}");
        assert_eq!(stripe.look_up(reference).await.unwrap(), cancelled);
    }
    let unknown = stripe.look_up("pi_unknown").await.unwrap_err();
    assert!(
        matches!(unknown, PaymentError::Declined { .. }),
        "{unknown:?}"
    );
}

#[tokio::test]
async fn no_more_than_the_charge_is_refunded_at_a_double_of_stripe() {
    let doubles = Doubles::start().await;
    let stripe = stripe_at(&doubles.mock);
    let form = "amount=1000&currency=eur&source=tok_visa";
    let charge = post(&format!("{}/v1/charges", doubles.mock), form).await;
    let charge = charge["id"].as_str().unwrap();
    let refund = |refund_id: u128, amount: i64| RefundToMake {
        refund_id: Uuid::from_u128(refund_id),
        provider_reference: charge,
        amount: euros(amount),
    };
    let first = stripe.refund(refund(1, 400)).await.unwrap();
    assert_eq!(first.refund_id, Some(Uuid::from_u128(1)));
    assert_eq!(
        stripe.refund(refund(1, 400)).await.unwrap(),
        first,
        "one effect"
    );
    let other = stripe.refund(refund(1, 401)).await.unwrap_err();
    assert!(
        matches!(other, PaymentError::Misconfigured { .. }),
        "{other:?}"
    );
    let over = stripe.refund(refund(2, 601)).await.unwrap_err();
    assert!(matches!(over, PaymentError::Declined { .. }), "{over:?}");
    let rest = stripe.refund(refund(3, 600)).await.unwrap();
    let none = stripe.refund(refund(4, 1)).await.unwrap_err();
    assert_eq!(none.to_string(), "stripe declined: charge_already_refunded");
    let mut refunds = stripe.refunds(charge).await.unwrap();
    refunds.sort_by_key(|refund| refund.refund_id);
    assert_eq!(refunds, [first, rest]);

    let wrong = StripeSettings::new("sk_live_1", SECRET, Some(&doubles.mock)).unwrap();
    let wrong = Stripe::new(wrong)
        .unwrap()
        .refund(refund(5, 1))
        .await
        .unwrap_err();
    assert!(
        matches!(wrong, PaymentError::Misconfigured { .. }),
        "{wrong:?}"
    );
}

// Through the server.

async fn get(url: &str) -> Value {
    let request = reqwest::Client::new().get(url).bearer_auth(KEY);
    request.send().await.unwrap().json().await.unwrap()
}

/// Signs a webhook with the official library for Node.
async fn signed_by_the_library(body: &str) -> String {
    let sign = json!({ "body": body, "secret": SECRET, "at": Utc::now().timestamp() });
    let in_node = node().await.module(include_str!("payments/signatures.mjs"));
    let signed = converse(in_node, &json!({ "sign": [sign], "verify": [] })).await;
    signed["signed"][0].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn order_is_paid_captured_and_refunded_at_a_double_of_stripe() {
    let doubles = Doubles::start().await;
    let app = Launch::fresh()
        .await
        .with("HOLDFAST_STRIPE_SECRET_KEY", KEY)
        .with(
            "HOLDFAST_STRIPE_WEBHOOK_SECRET",
            &format!("whsec_old,{SECRET}"),
        )
        .with("HOLDFAST_STRIPE_API_BASE", &doubles.front)
        .start()
        .await;
    // The double's own webhooks arrive as well, such as that of the capture.
    let hook = json!({ "url": format!("http://{}/v1/payments/webhooks/stripe", app.address()), "secret": SECRET });
    let registered = reqwest::Client::new()
        .post(format!("{}/_config/webhooks/shop", doubles.localstripe))
        .json(&hook);
    assert!(registered.send().await.unwrap().status().is_success());

    let price = json!({ "price": { "amount": 1_999, "currency": "EUR" }, "max_per_hold": 2 });
    let drop = app.create_drop(5, price).await;
    let order = json!({ "buyer_id": "ann", "items": [{ "drop_id": drop, "quantity": 2 }] });
    let request = app.request(Method::POST, "/v1/orders");
    let request = request.header("idempotency-key", key()).json(&order);
    let order = fetch(request).await.ok(201);
    let order = format!("/v1/orders/{}", text(&order["id"]));
    let start = async |body: Value| {
        let request = app.request(Method::POST, &format!("{order}/payments"));
        let request = request.header("idempotency-key", "pay-1").json(&body);
        fetch(request).await
    };
    start(json!({ "scenario": "pays" }))
        .await
        .invalid("/scenario");
    let payment = start(json!({})).await.ok(201);
    assert_eq!(payment["provider"], "stripe");
    let reference = text(&payment["provider_reference"]);
    let again = start(json!({})).await;
    assert!(again.is_replay());
    assert_eq!(again.ok(201)["client_secret"], payment["client_secret"]);

    doubles.pay(&reference, GOOD_CARD).await;
    let intent_url = format!("{}/v1/payment_intents/{reference}", doubles.localstripe);
    let intent = get(&intent_url).await;
    assert_eq!(intent["status"], "requires_capture");
    let event = json!({
        "id": "evt_authorised", "object": "event", "created": Utc::now().timestamp(),
        "type": "payment_intent.amount_capturable_updated", "data": { "object": intent },
    });
    let body = format!("{event:#}\n");
    let signature = signed_by_the_library(&body).await;
    let request = app.request(Method::POST, "/v1/payments/webhooks/stripe");
    let request = request.header("content-type", "application/json");
    let request = request.header(signature::HEADER, signature).body(body);
    fetch(request).await.ok(200);
    let read = async || fetch(app.admin(Method::GET, &order)).await.ok(200);
    let paid = read().await;
    assert_eq!(
        (&paid["status"], &paid["payment"]["provider"]),
        (&json!("paid"), &json!("stripe"))
    );
    assert_eq!(paid["payment"]["provider_reference"], json!(reference));
    eventually("the money is captured", || async {
        (get(&intent_url).await["status"] == "succeeded").then_some(())
    })
    .await;

    let refund = async || {
        let request = app.admin(Method::POST, &format!("{order}/refunds"));
        let request = request.header("idempotency-key", "refund-1");
        let item = json!({ "drop_id": drop, "quantity": 1 });
        let body = json!({ "items": [item], "reason": "returned" });
        fetch(request.json(&body)).await.ok(201)
    };
    let made = eventually("the money is returned", || async {
        let made = refund().await;
        (made["status"] == "succeeded").then_some(made)
    })
    .await;
    assert_eq!(
        made["amount"],
        json!({ "amount": 1_999, "currency": "EUR" })
    );
    let refunds = stripe_at(&doubles.front).refunds(&reference).await.unwrap();
    let refunds: Vec<Money> = refunds.into_iter().map(|refund| refund.amount).collect();
    assert_eq!(refunds, [euros(1_999)]);
    assert_eq!(read().await["status"], "partially_refunded");
    let log = app.stderr();
    for secret in [KEY, SECRET, &text(&payment["client_secret"])] {
        assert!(!log.contains(secret), "{log}");
    }
    app.audit_verify().await;
}

#[tokio::test]
async fn start_is_repeated_when_the_provider_was_away() {
    let doubles = Doubles::start().await;
    let launch = Launch::fresh()
        .await
        .with("HOLDFAST_STRIPE_SECRET_KEY", KEY)
        .with("HOLDFAST_STRIPE_WEBHOOK_SECRET", SECRET);
    // A port that nothing listens on.
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let away = format!("http://{}", unused.local_addr().unwrap());
    drop(unused);
    let app = launch
        .clone()
        .with("HOLDFAST_STRIPE_API_BASE", &away)
        .start()
        .await;
    let price = json!({ "price": { "amount": 1_999, "currency": "EUR" } });
    let drop = app.create_drop(1, price).await;
    let request = app.request(Method::POST, "/v1/orders");
    let request = request.header("idempotency-key", key());
    let order = json!({ "buyer_id": "ann", "items": [{ "drop_id": drop }] });
    let order = text(&fetch(request.json(&order)).await.ok(201)["id"]);
    let start = async |app: &App| {
        let request = app.request(Method::POST, &format!("/v1/orders/{order}/payments"));
        fetch(request.header("idempotency-key", "pay-1")).await
    };
    let refused = start(&app).await;
    refused.problem(503, "provider_unavailable");
    assert!(!refused.header("retry-after").is_empty());
    let app = launch
        .with("HOLDFAST_STRIPE_API_BASE", &doubles.front)
        .start()
        .await;
    let started = start(&app).await;
    assert!(started.is_replay());
    assert!(!started.ok(201)["client_secret"].is_null());
}
