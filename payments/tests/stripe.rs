//! Stripe's client against a listener that records requests and returns prepared responses. The
//! tests of the workspace (`tests/clients/payments.rs`) use doubles of Stripe.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::values::{Currency, Money};
use payments::{
    AmountRefused, IntentState, PaymentError, PaymentProvider, PaymentToStart, RefundState,
    RefundToMake, Stripe, StripeSettings,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

const KEY: &str = "sk_test_hunter2";

/// A listener with one response for each connection.
struct Listener {
    stripe: Stripe,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Listener {
    async fn with(responses: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let responses: Vec<String> = responses.iter().map(|text| (*text).to_owned()).collect();
        let requests = Arc::clone(&seen);
        tokio::spawn(async move {
            for response in responses {
                let (socket, _) = listener.accept().await.unwrap();
                let request = serve(socket, &response).await;
                requests.lock().unwrap().push(request);
            }
        });
        let settings = StripeSettings::new(KEY, "whsec_a", Some(&base)).unwrap();
        Self {
            stripe: Stripe::new(settings).unwrap(),
            seen,
        }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

/// Reads a request, responds and closes. Header lines are sorted, in lower case.
async fn serve(mut socket: TcpStream, response: &str) -> String {
    let mut reader = BufReader::new(&mut socket);
    let (mut lines, mut length) = (vec![], 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).await.unwrap();
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
        lines.push(line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await.unwrap();
    socket.write_all(response.as_bytes()).await.unwrap();
    socket.shutdown().await.unwrap();
    lines[1..].sort();
    format!(
        "{}\n\n{}",
        lines.join("\n"),
        String::from_utf8(body).unwrap()
    )
}

fn http(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

fn ok(body: &str) -> String {
    http("200 OK", body)
}

const AUTHORISED: &str = r#"{"id":"pi_1","object":"payment_intent","amount":500,"currency":"isk",
    "amount_capturable":500,"amount_received":0,"status":"requires_capture","client_secret":"pi_1_secret_hunter2"}"#;

fn with_status(status: &str) -> String {
    AUTHORISED.replace("requires_capture", status)
}

fn krona(amount: i64) -> Money {
    let currency = Currency::new("ISK").unwrap();
    Money { amount, currency }
}

fn start(amount: Money) -> PaymentToStart {
    PaymentToStart {
        payment_id: Uuid::from_u128(1),
        order_id: Uuid::from_u128(2),
        amount,
        scenario: None,
    }
}

fn refund(provider_reference: &str) -> RefundToMake<'_> {
    RefundToMake {
        refund_id: Uuid::from_u128(3),
        provider_reference,
        amount: krona(3),
    }
}

#[tokio::test]
async fn start_sends_an_idempotent_form_and_hides_the_secrets() {
    let listener = Listener::with(&[&ok(&with_status("requires_payment_method"))]).await;
    let started = listener.stripe.start(start(krona(5))).await.unwrap();
    let request = listener.seen().remove(0);
    for line in [
        "POST /v1/payment_intents HTTP/1.1\n",
        "authorization: Bearer sk_test_hunter2\n",
        "content-type: application/x-www-form-urlencoded\n",
        "idempotency-key: start_00000000-0000-0000-0000-000000000001\n",
        "stripe-version: 2026-10-28.endive\n",
        "\n\namount=500&currency=isk&capture_method=manual\
         &metadata%5Border_id%5D=00000000-0000-0000-0000-000000000002\
         &metadata%5Bpayment_id%5D=00000000-0000-0000-0000-000000000001",
    ] {
        assert!(request.contains(line), "{line}\n{request}");
    }
    assert_eq!(started.intent.amount, krona(5));
    assert_eq!(started.intent.state, IntentState::Unpaid);
    assert_eq!(started.client_secret.expose(), "pi_1_secret_hunter2");
    let shown = format!("{started:?} {:?}", listener.stripe);
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[tokio::test]
async fn inexpressible_amount_is_refused_without_a_request() {
    let listener = Listener::with(&[]).await;
    let currency = Currency::new("KWD").unwrap();
    let amount = Money {
        amount: 5_124,
        currency,
    };
    let refused = listener.stripe.start(start(amount)).await.unwrap_err();
    let PaymentError::Amount(AmountRefused::NotMultiple { step: 10, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(
        listener.stripe.check_amount(krona(0)),
        Err(AmountRefused::NotPositive)
    );
    assert!(listener.seen().is_empty());
}

#[tokio::test]
async fn refused_capture_or_cancel_returns_the_state_that_refused_it() {
    let refusal = http(
        "400 Bad Request",
        r#"{"error":{"type":"invalid_request_error",
        "code":"payment_intent_unexpected_state","message":"hunter2"}}"#,
    );
    let received = r#""amount_received":500,"status":"succeeded""#;
    let succeeded = AUTHORISED.replace(
        r#""amount_received":0,"status":"requires_capture""#,
        received,
    );
    let paid = IntentState::Succeeded { amount: krona(5) };

    let listener = Listener::with(&[&refusal, &ok(&succeeded)]).await;
    let captured = listener.stripe.capture("pi_1", krona(5)).await.unwrap();
    assert_eq!(captured.state, paid);
    let seen = listener.seen();
    assert!(seen[0].starts_with("POST /v1/payment_intents/pi_1/capture HTTP/1.1\n"));
    // Stripe would repeat the refusal under a key.
    assert!(!seen[0].contains("idempotency-key"), "{}", seen[0]);
    assert!(seen[0].ends_with("\n\namount_to_capture=500"));
    assert!(
        seen[1].starts_with("GET /v1/payment_intents/pi_1 HTTP/1.1\n"),
        "{}",
        seen[1]
    );

    // The capture won the race against the cancellation.
    let listener = Listener::with(&[&refusal, &ok(&succeeded)]).await;
    assert_eq!(listener.stripe.cancel("pi_1").await.unwrap().state, paid);
    let listener = Listener::with(&[&refusal, &ok(&with_status("canceled"))]).await;
    let cancelled = listener.stripe.cancel("pi_1").await.unwrap();
    assert_eq!(cancelled.state, IntentState::Cancelled);

    for status in ["canceled", "requires_payment_method", "requires_capture"] {
        let listener = Listener::with(&[&refusal, &ok(&with_status(status))]).await;
        let refused = listener.stripe.capture("pi_1", krona(5)).await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            "stripe declined: payment_intent_unexpected_state"
        );
    }
    let listener = Listener::with(&[&refusal, &ok(&with_status("processing"))]).await;
    let refused = listener.stripe.cancel("pi_1").await.unwrap_err();
    assert!(
        matches!(refused, PaymentError::Retryable { .. }),
        "{refused:?}"
    );
}

#[tokio::test]
async fn refunds_name_the_payment_and_are_listed_over_pages() {
    let refund_object = |id: &str, status: &str| {
        format!(
            r#"{{"id":"{id}","amount":300,"currency":"isk","status":"{status}","charge":"ch_1",
            "metadata":{{"refund_id":"00000000-0000-0000-0000-000000000003"}}}}"#
        )
    };
    let made = ok(&refund_object("re_1", "pending"));
    let listener = Listener::with(&[&made, &made]).await;
    let pending = listener.stripe.refund(refund("pi_1")).await.unwrap();
    assert_eq!(
        (pending.amount, pending.state),
        (krona(3), RefundState::Pending)
    );
    listener.stripe.refund(refund("ch_9")).await.unwrap();
    let seen = listener.seen();
    assert!(seen[0].contains("\nidempotency-key: refund_00000000-0000-0000-0000-000000000003\n"));
    let metadata = "&amount=300&metadata%5Brefund_id%5D=00000000-0000-0000-0000-000000000003";
    assert!(
        seen[0].ends_with(&format!("\n\npayment_intent=pi_1{metadata}")),
        "{}",
        seen[0]
    );
    assert!(
        seen[1].ends_with(&format!("\n\ncharge=ch_9{metadata}")),
        "{}",
        seen[1]
    );

    let page =
        |more: bool, object: &str| ok(&format!(r#"{{"data":[{object}],"has_more":{more}}}"#));
    let first = page(true, &refund_object("re_1", "succeeded"));
    let last = page(false, &refund_object("re_2", "failed"));
    let listener = Listener::with(&[&first, &last]).await;
    let refunds = listener.stripe.refunds("pi_1").await.unwrap();
    let references: Vec<_> = refunds
        .iter()
        .map(|one| one.refund_reference.as_str())
        .collect();
    assert_eq!(references, ["re_1", "re_2"]);
    assert_eq!(refunds[0].refund_id, Some(Uuid::from_u128(3)));
    let second = listener.seen().remove(1);
    let path = "GET /v1/refunds?payment_intent=pi_1&limit=100&starting_after=re_1 ";
    assert!(second.starts_with(path), "{second}");
}

#[tokio::test]
async fn responses_are_classified_by_the_callers_next_step() {
    let error = |members: &str| format!(r#"{{"error":{{"message":"hunter2",{members}}}}}"#);
    let card = error(r#""type":"card_error","code":"card_declined","decline_code":"stolen_card""#);
    for (response, expected) in [
        (http("402 Payment Required", &card), "Declined stolen_card"),
        (
            http("404 Not Found", &error(r#""code":"resource_missing""#)),
            "Declined resource_missing",
        ),
        (
            http("400 Bad Request", &error(r#""code":"amount_too_small""#)),
            "Declined amount_too_small",
        ),
        (http("400 Bad Request", "not JSON"), "Declined unknown"),
        (
            http("400 Bad Request", &error(r#""code":"a sk_test_hunter2""#)),
            "Declined unknown",
        ),
        (
            http("400 Bad Request", &error(r#""type":"idempotency_error""#)),
            "Misconfigured the idempotency key was used with other parameters",
        ),
        (
            http(
                "400 Bad Request",
                &error(r#""code":"parameter_unknown","param":"metadata[x]""#),
            ),
            "Misconfigured parameter_unknown: metadata[x]",
        ),
        (
            http(
                "401 Unauthorized",
                &error(r#""type":"invalid_request_error""#),
            ),
            "Misconfigured status 401 (invalid_request_error)",
        ),
        (
            http("403 Forbidden", ""),
            "Misconfigured status 403 (unknown)",
        ),
        // Not followed: the listener would see a second request.
        (
            "HTTP/1.1 302 Found\r\nlocation: /v1/other\r\ncontent-length: 0\r\n\r\n".into(),
            "Misconfigured status 302 (unknown)",
        ),
        (
            http("409 Conflict", &error(r#""code":"idempotency_key_in_use""#)),
            "Retryable status 409 (idempotency_key_in_use) None",
        ),
        (
            "HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n".into(),
            "Retryable status 429 (unknown) Some(7s)",
        ),
        (
            "HTTP/1.1 429 Too Many Requests\r\nretry-after: 9999999\r\ncontent-length: 0\r\n\r\n"
                .into(),
            "Retryable status 429 (unknown) Some(3600s)",
        ),
        (http("500 Internal Server Error", ""), "UnknownOutcome"),
        (http("503 Service Unavailable", ""), "UnknownOutcome"),
        // The connection ends before the response, within it, or the response is not understood.
        (String::new(), "UnknownOutcome"),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".into(),
            "UnknownOutcome",
        ),
        (ok("{}"), "UnknownOutcome"),
        (ok(&AUTHORISED.replace("500", "550")), "UnknownOutcome"),
        (
            ok(&format!("{}{AUTHORISED}", " ".repeat(1 << 20))),
            "UnknownOutcome",
        ),
    ] {
        let listener = Listener::with(&[&response, &ok(AUTHORISED)]).await;
        let error = listener.stripe.start(start(krona(5))).await.unwrap_err();
        let shown = match &error {
            PaymentError::Declined { code, .. } => format!("Declined {code}"),
            PaymentError::Misconfigured { reason, .. } => format!("Misconfigured {reason}"),
            PaymentError::Retryable {
                cause, retry_after, ..
            } => {
                format!("Retryable {cause} {retry_after:?}")
            }
            PaymentError::UnknownOutcome { .. } => "UnknownOutcome".into(),
            PaymentError::Amount(_) => "Amount".into(),
        };
        assert_eq!(shown, expected, "{response:?}");
        assert_eq!(listener.seen().len(), 1, "{response:?}");
        let all = format!("{error} {error:?}");
        assert!(!all.contains("hunter2"), "{all}");
    }
}

#[tokio::test]
async fn unreachable_api_is_retryable_because_nothing_was_sent() {
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", unused.local_addr().unwrap());
    drop(unused);
    let settings = StripeSettings::new(KEY, "whsec_a", Some(&base)).unwrap();
    let stripe = Stripe::new(settings).unwrap();
    let error = stripe.start(start(krona(5))).await.unwrap_err();
    assert!(
        matches!(
            error,
            PaymentError::Retryable {
                retry_after: None,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.is_passing());
}

#[tokio::test]
async fn references_of_others_reach_no_route() {
    let listener = Listener::with(&[&ok(AUTHORISED)]).await;
    for reference in [
        "",
        "../customers",
        "pi_1/confirm",
        "pi_1?x=1",
        "pi 1",
        "é",
        &"a".repeat(256),
    ] {
        for refused in [
            listener.stripe.look_up(reference).await.unwrap_err(),
            listener
                .stripe
                .capture(reference, krona(5))
                .await
                .unwrap_err(),
            listener.stripe.cancel(reference).await.unwrap_err(),
            listener.stripe.refund(refund(reference)).await.unwrap_err(),
            listener.stripe.refunds(reference).await.unwrap_err(),
        ] {
            assert!(
                matches!(refused, PaymentError::Declined { .. }),
                "{reference}: {refused:?}"
            );
        }
    }
    assert!(listener.seen().is_empty());
}

#[tokio::test]
async fn silent_api_times_out_with_an_unknown_outcome() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let settings = StripeSettings::new(KEY, "whsec_a", Some(&base)).unwrap();
    let stripe = Stripe::new(settings.with_timeout(Duration::from_millis(200))).unwrap();
    let call = stripe.start(start(krona(5)));
    let (error, _socket) = tokio::join!(call, listener.accept());
    let error = error.unwrap_err();
    assert!(
        matches!(error, PaymentError::UnknownOutcome { .. }),
        "{error:?}"
    );
}
