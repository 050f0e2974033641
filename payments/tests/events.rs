//! Events of Stripe, as signed webhooks.

use domain::values::{Currency, Money, Timestamp};
use hyper::HeaderMap;
use payments::signature::{HEADER, sign};
use payments::{
    DisputeState, EventKind, PaymentProvider, ProviderEvent, Secret, SignatureInvalid, Stripe,
    StripeSettings, WebhookError,
};
use serde_json::{Value, json};
use uuid::Uuid;

const SECRET: &str = "whsec_test";

fn money(amount: i64, code: &str) -> Money {
    let currency = Currency::new(code).unwrap();
    Money { amount, currency }
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_800_000_000_500)
}

fn receive(body: &[u8]) -> Result<Vec<ProviderEvent>, WebhookError> {
    let settings = StripeSettings::new("sk_test_1", "whsec_old,whsec_test", None).unwrap();
    let mut headers = HeaderMap::new();
    let header = sign(body, &Secret::new(SECRET), now());
    headers.insert(HEADER, header.parse().unwrap());
    let stripe = Stripe::new(settings).unwrap();
    stripe.verify_webhook(&headers, body, now())
}

fn event(kind: &str, object: Value) -> Value {
    json!({
        "id": "evt_1", "object": "event", "type": kind, "created": 1_799_999_999,
        "api_version": "2026-10-28.endive", "livemode": true, "pending_webhooks": 1,
        "data": { "object": object, "previous_attributes": { "status": "processing" } },
    })
}

fn intent(changes: Value) -> Value {
    let mut intent = json!({
        "id": "pi_1", "object": "payment_intent", "amount": 19_999, "amount_capturable": 0,
        "amount_received": 0, "currency": "usd", "status": "requires_capture",
        "metadata": {
            "payment_id": "00000000-0000-0000-0000-00000000000a",
            "order_id": "00000000-0000-0000-0000-00000000000b",
        },
        "last_payment_error": null, "client_secret": "pi_1_secret_2", "charges": [1, 2],
    });
    let members = changes.as_object().unwrap().clone();
    intent.as_object_mut().unwrap().extend(members);
    intent
}

fn refund(changes: Value) -> Value {
    let mut refund = json!({
        "id": "re_1", "object": "refund", "amount": 500, "currency": "jpy", "charge": "ch_1",
        "payment_intent": "pi_1", "status": "succeeded",
        "metadata": { "refund_id": "00000000-0000-0000-0000-00000000000c" },
    });
    let members = changes.as_object().unwrap().clone();
    refund.as_object_mut().unwrap().extend(members);
    refund
}

#[track_caller]
fn one(event: &Value) -> ProviderEvent {
    let events = receive(event.to_string().as_bytes()).unwrap();
    let [event] = <[_; 1]>::try_from(events).unwrap();
    event
}

#[test]
fn events_about_intents_carry_their_payment_and_amount() {
    for (kind, changes, expected) in [
        (
            "payment_intent.amount_capturable_updated",
            json!({ "amount_capturable": 19_999 }),
            EventKind::Authorised {
                amount: money(19_999, "USD"),
            },
        ),
        // Less than the intent, and the currency of the event: the caller compares.
        (
            "payment_intent.succeeded",
            json!({ "amount_received": 15_000, "currency": "eur", "status": "succeeded" }),
            EventKind::Succeeded {
                amount: money(15_000, "EUR"),
            },
        ),
        (
            "payment_intent.payment_failed",
            json!({ "status": "requires_payment_method", "last_payment_error": {
                "type": "card_error", "code": "card_declined", "decline_code": "lost_card",
                "message": "Your card, 4242, was declined." } }),
            EventKind::Failed {
                reason: "lost_card".into(),
            },
        ),
        (
            "payment_intent.canceled",
            json!({ "status": "canceled", "cancellation_reason": "automatic" }),
            EventKind::Cancelled,
        ),
    ] {
        let event = one(&event(kind, intent(changes)));
        let expected = ProviderEvent {
            id: "evt_1".into(),
            provider_reference: "pi_1".into(),
            payment_id: Some(Uuid::from_u128(10)),
            order_id: Some(Uuid::from_u128(11)),
            kind: expected,
            at: Timestamp::from_millis(1_799_999_999_000),
        };
        assert_eq!(event, expected, "{kind}");
    }
}

#[test]
fn events_about_refunds_report_their_state_and_who_made_them() {
    let refunded = EventKind::Refunded {
        refund_reference: "re_1".into(),
        refund_id: Some(Uuid::from_u128(12)),
        amount: money(500, "JPY"),
    };
    for kind in ["refund.created", "refund.updated", "charge.refund.updated"] {
        let event = one(&event(kind, refund(json!({}))));
        assert_eq!(
            (event.provider_reference.as_str(), &event.kind),
            ("pi_1", &refunded)
        );
    }
    for (status, reason, expected) in [
        ("failed", Some("insufficient_funds"), "insufficient_funds"),
        ("failed", None, "failed"),
        ("canceled", None, "canceled"),
        ("failed", Some("a sentence with spaces"), "unknown"),
    ] {
        let changes = json!({ "status": status, "failure_reason": reason });
        let expected = EventKind::RefundFailed {
            refund_reference: "re_1".into(),
            refund_id: Some(Uuid::from_u128(12)),
            amount: money(500, "JPY"),
            reason: expected.into(),
        };
        assert_eq!(one(&event("refund.failed", refund(changes))).kind, expected);
    }
    for status in [json!("pending"), json!("requires_action"), json!(null)] {
        let pending = event("refund.created", refund(json!({ "status": status })));
        let expected = EventKind::RefundPending {
            refund_reference: "re_1".into(),
            refund_id: Some(Uuid::from_u128(12)),
            amount: money(500, "JPY"),
        };
        assert_eq!(one(&pending).kind, expected);
    }
    // Made by a person at the provider, of an expanded intent, or of a charge without an intent.
    let by_hand =
        refund(json!({ "metadata": {}, "payment_intent": { "id": "pi_2", "amount": 1 } }));
    let by_hand = one(&event("refund.created", by_hand));
    assert_eq!(by_hand.provider_reference, "pi_2");
    assert!(matches!(
        by_hand.kind,
        EventKind::Refunded {
            refund_id: None,
            ..
        }
    ));
    let of_charge = one(&event(
        "refund.updated",
        refund(json!({ "payment_intent": null })),
    ));
    assert_eq!(of_charge.provider_reference, "ch_1");
    // An event about the charge does not name its refund, nor who made it.
    for (intent, reference) in [(json!("pi_1"), "pi_1"), (json!(null), "ch_1")] {
        let charge = json!({ "id": "ch_1", "payment_intent": intent, "amount_refunded": 500 });
        let changed = one(&event("charge.refunded", charge));
        assert_eq!(changed.provider_reference, reference);
        assert_eq!(changed.kind, EventKind::RefundsChanged);
    }
}

#[test]
fn events_about_disputes_report_who_keeps_the_money() {
    for (status, state) in [
        ("needs_response", DisputeState::Open),
        ("under_review", DisputeState::Open),
        ("warning_needs_response", DisputeState::Open),
        ("a status to come", DisputeState::Open),
        ("won", DisputeState::Won),
        ("warning_closed", DisputeState::Won),
        ("lost", DisputeState::Lost),
    ] {
        let dispute = json!({
            "id": "dp_1", "amount": 500, "currency": "jpy", "charge": "ch_1", "payment_intent": "pi_1",
            "status": status,
        });
        for kind in [
            "created",
            "updated",
            "closed",
            "funds_withdrawn",
            "funds_reinstated",
        ] {
            let disputed = one(&event(&format!("charge.dispute.{kind}"), dispute.clone()));
            assert_eq!(disputed.provider_reference, "pi_1");
            let expected = EventKind::Disputed {
                dispute_reference: "dp_1".into(),
                amount: money(500, "JPY"),
                state,
            };
            assert_eq!(disputed.kind, expected);
        }
    }
}

#[test]
fn events_that_do_not_concern_payments_are_ignored() {
    for kind in [
        "customer.created",
        "charge.succeeded",
        "payment_intent.created",
        "of.tomorrow",
    ] {
        let body = event(kind, json!({ "id": "x", "amount": "not a number" })).to_string();
        assert_eq!(receive(body.as_bytes()).unwrap(), [], "{kind}");
    }
    // The authorised amount was captured or released, which has an event of its own.
    let spent = intent(json!({ "status": "succeeded" }));
    let spent = event("payment_intent.amount_capturable_updated", spent);
    assert_eq!(receive(spent.to_string().as_bytes()).unwrap(), []);
    // An intent of another program, and a status of a later version.
    let foreign = intent(json!({ "metadata": { "order_id": "7" }, "status": "of_tomorrow" }));
    let foreign = one(&event("payment_intent.canceled", foreign));
    assert_eq!((foreign.payment_id, foreign.order_id), (None, None));
}

#[test]
fn signed_events_about_money_are_never_acknowledged_unread() {
    for body in [
        String::new(),
        "x".into(),
        "[]".into(),
        json!({ "id": "evt_1", "object": "v2.core.event" }).to_string(),
        event("payment_intent.succeeded", json!({ "id": "pi_1" })).to_string(),
        event(
            "payment_intent.succeeded",
            intent(json!({ "currency": "zzz" })),
        )
        .to_string(),
        event(
            "payment_intent.succeeded",
            intent(json!({ "amount_received": -1 })),
        )
        .to_string(),
        event(
            "payment_intent.succeeded",
            intent(json!({ "amount_received": 1.5 })),
        )
        .to_string(),
        event(
            "refund.updated",
            refund(json!({ "currency": "isk", "amount": 550 })),
        )
        .to_string(),
        event(
            "refund.updated",
            refund(json!({ "payment_intent": null, "charge": null })),
        )
        .to_string(),
    ] {
        let read = receive(body.as_bytes());
        assert!(
            matches!(read, Err(WebhookError::Unreadable { .. })),
            "{body}: {read:?}"
        );
    }
}

#[test]
fn body_of_an_invalid_signature_is_not_read() {
    let body = event("payment_intent.succeeded", intent(json!({}))).to_string();
    let stripe = Stripe::new(StripeSettings::new("sk_test_1", SECRET, None).unwrap()).unwrap();
    let unsigned = stripe.verify_webhook(&HeaderMap::new(), body.as_bytes(), now());
    let reason = SignatureInvalid::Missing;
    assert!(matches!(unsigned, Err(WebhookError::Signature(why)) if why == reason));
}
