//! The demo provider, with a clock that the test moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use domain::values::{Currency, Money, Timestamp};
use hyper::HeaderMap;
use payments::demo::{Delivery, MAX_ATTEMPTS};
use payments::{
    Demo, EventKind, IntentState, PaymentError, PaymentProvider, PaymentToStart, ProviderEvent,
    RefundState, RefundToMake, Scenario, Secret, SignatureInvalid, WebhookError,
};
use uuid::Uuid;

const START: i64 = 1_800_000_000_000;

struct Bank {
    demo: Arc<Demo>,
    millis: Arc<AtomicI64>,
}

impl Bank {
    fn open() -> Self {
        let millis = Arc::new(AtomicI64::new(START));
        let clock = Arc::clone(&millis);
        let clock = Box::new(move || Timestamp::from_millis(clock.load(Ordering::SeqCst)));
        let demo = Demo::new(Secret::new("a seed, hunter2"), clock);
        Self {
            demo: Arc::new(demo),
            millis,
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.millis.load(Ordering::SeqCst))
    }

    fn pass(&self, seconds: i64) {
        self.millis.fetch_add(seconds * 1_000, Ordering::SeqCst);
    }

    /// Starts payment `id` of 19.99 EUR for the order with the same id.
    async fn start(&self, id: u128, scenario: Option<Scenario>) -> (String, String) {
        let started = self
            .demo
            .start(to_start(id, 1_999, scenario))
            .await
            .unwrap();
        let secret = started.client_secret.expose().to_owned();
        (started.intent.provider_reference, secret)
    }

    async fn state(&self, reference: &str) -> IntentState {
        self.demo.look_up(reference).await.unwrap().state
    }

    fn receive(&self, delivery: &Delivery) -> Result<Vec<ProviderEvent>, WebhookError> {
        let (name, value) = self.demo.sign(delivery);
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        self.demo
            .verify_webhook(&headers, &delivery.body, self.now())
    }

    /// Receives and accepts all webhooks that are due.
    fn events(&self) -> Vec<ProviderEvent> {
        let mut events = vec![];
        for delivery in self.demo.take_due() {
            events.extend(self.receive(&delivery).unwrap());
            self.demo.settle(delivery, true);
        }
        events
    }

    fn kinds(&self) -> Vec<EventKind> {
        self.events().into_iter().map(|event| event.kind).collect()
    }
}

fn euros(amount: i64) -> Money {
    let currency = Currency::new("EUR").unwrap();
    Money { amount, currency }
}

fn to_start(id: u128, amount: i64, scenario: Option<Scenario>) -> PaymentToStart {
    PaymentToStart {
        payment_id: Uuid::from_u128(id),
        order_id: Uuid::from_u128(id),
        amount: euros(amount),
        scenario,
    }
}

fn refund(id: u128, provider_reference: &str, amount: i64) -> RefundToMake<'_> {
    RefundToMake {
        refund_id: Uuid::from_u128(id),
        provider_reference,
        amount: euros(amount),
    }
}

#[track_caller]
fn code(error: PaymentError) -> String {
    let shown = format!("{error:?}");
    let PaymentError::Declined { code, .. } = error else {
        panic!("{shown}");
    };
    code
}

fn authorised() -> EventKind {
    let amount = euros(1_999);
    EventKind::Authorised { amount }
}

#[tokio::test]
async fn buyer_pays_and_the_money_is_captured_and_refunded() {
    let bank = Bank::open();
    let (reference, secret) = bank.start(1, None).await;
    assert_eq!(bank.state(&reference).await, IntentState::Unpaid);
    assert_eq!(bank.demo.next_due(), None);

    bank.demo.act(&secret, Scenario::Pays).unwrap();
    assert_eq!(
        bank.state(&reference).await,
        IntentState::Authorised {
            amount: euros(1_999)
        }
    );
    let [event] = <[_; 1]>::try_from(bank.events()).unwrap();
    assert_eq!(event.provider_reference, reference);
    assert_eq!(event.payment_id, Some(Uuid::from_u128(1)));
    assert_eq!(event.order_id, Some(Uuid::from_u128(1)));
    assert_eq!((event.kind, event.at), (authorised(), bank.now()));

    let over = bank.demo.capture(&reference, euros(2_000)).await;
    assert_eq!(code(over.unwrap_err()), "amount_too_large");
    // A repeated capture has one effect, and a cancellation comes too late.
    for _ in 0..2 {
        let captured = bank.demo.capture(&reference, euros(1_999)).await.unwrap();
        assert_eq!(
            captured.state,
            IntentState::Succeeded {
                amount: euros(1_999)
            }
        );
    }
    let paid = bank.demo.cancel(&reference).await.unwrap();
    assert_eq!(
        paid.state,
        IntentState::Succeeded {
            amount: euros(1_999)
        }
    );
    assert_eq!(
        bank.kinds(),
        [EventKind::Succeeded {
            amount: euros(1_999)
        }]
    );

    let first = bank.demo.refund(refund(7, &reference, 999)).await.unwrap();
    assert_eq!(first.state, RefundState::Succeeded);
    assert_eq!(
        bank.demo.refund(refund(7, &reference, 999)).await.unwrap(),
        first
    );
    let other = bank
        .demo
        .refund(refund(7, &reference, 998))
        .await
        .unwrap_err();
    assert!(
        matches!(other, PaymentError::Misconfigured { .. }),
        "{other:?}"
    );
    let over = bank
        .demo
        .refund(refund(8, &reference, 1_001))
        .await
        .unwrap_err();
    assert_eq!(code(over), "charge_already_refunded");
    bank.demo
        .refund(refund(8, &reference, 1_000))
        .await
        .unwrap();
    let refunds = bank.demo.refunds(&reference).await.unwrap();
    assert_eq!(
        refunds.iter().map(|one| one.amount.amount).sum::<i64>(),
        1_999
    );
    let kinds = bank.kinds();
    assert_eq!(kinds.len(), 2);
    assert_eq!(
        kinds[0],
        EventKind::Refunded {
            refund_reference: first.refund_reference,
            refund_id: Some(Uuid::from_u128(7)),
            amount: euros(999),
        }
    );
}

#[tokio::test]
async fn declined_buyer_may_try_again_and_cancelled_intent_is_over() {
    let bank = Bank::open();
    let (reference, secret) = bank.start(1, None).await;
    for _ in 0..2 {
        bank.demo.act(&secret, Scenario::Declines).unwrap();
        bank.pass(1);
    }
    let failed = bank.events();
    assert_eq!(failed.len(), 2);
    assert_ne!(failed[0].id, failed[1].id, "two attempts are two events");
    assert_eq!(
        failed[1].kind,
        EventKind::Failed {
            reason: "card_declined".into()
        }
    );
    let early = bank.demo.capture(&reference, euros(1_999)).await;
    assert_eq!(code(early.unwrap_err()), "payment_intent_unexpected_state");
    bank.demo.act(&secret, Scenario::Pays).unwrap();
    let again = bank.demo.act(&secret, Scenario::Pays).unwrap_err();
    assert_eq!(code(again), "payment_intent_unexpected_state");
    for _ in 0..2 {
        let cancelled = bank.demo.cancel(&reference).await.unwrap();
        assert_eq!(cancelled.state, IntentState::Cancelled);
    }
    assert_eq!(bank.kinds(), [authorised(), EventKind::Cancelled]);
    let late = bank.demo.capture(&reference, euros(1_999)).await;
    assert_eq!(code(late.unwrap_err()), "payment_intent_unexpected_state");
    let nothing = bank
        .demo
        .refund(refund(7, &reference, 1))
        .await
        .unwrap_err();
    assert_eq!(code(nothing), "charge_already_refunded");
}

#[tokio::test]
async fn payment_that_was_started_at_one_node_is_paid_captured_and_refunded_at_others() {
    let [first, second, third] = [Bank::open(), Bank::open(), Bank::open()];
    let (reference, secret) = first.start(1, None).await;
    second.demo.act(&secret, Scenario::Pays).unwrap();
    first.demo.capture(&reference, euros(1_999)).await.unwrap();
    let (again, _) = third.start(1, None).await;
    assert_eq!(again, reference);
    third.demo.refund(refund(7, &reference, 1)).await.unwrap();
    // This node saw the payment but not the capture.
    second.demo.refund(refund(8, &reference, 1)).await.unwrap();
}

#[tokio::test]
async fn late_payment_cannot_be_cancelled_until_it_arrives() {
    let bank = Bank::open();
    let late = Scenario::PaysLate { after_seconds: 90 };
    let (reference, _) = bank.start(1, Some(late)).await;
    bank.pass(89);
    assert_eq!(bank.state(&reference).await, IntentState::Processing);
    let processing = bank.demo.cancel(&reference).await.unwrap_err();
    assert!(processing.is_passing(), "{processing:?}");
    assert!(bank.events().is_empty());
    assert_eq!(
        bank.demo.next_due(),
        Some(Timestamp::from_millis(START + 90_000))
    );
    bank.pass(1);
    // The state and the event change at the same moment.
    assert_eq!(
        bank.state(&reference).await,
        IntentState::Authorised {
            amount: euros(1_999)
        }
    );
    let [event] = <[_; 1]>::try_from(bank.events()).unwrap();
    assert_eq!((event.kind, event.at), (authorised(), bank.now()));
    bank.demo.cancel(&reference).await.unwrap();
    assert_eq!(bank.kinds(), [EventKind::Cancelled]);
}

#[tokio::test]
async fn buyer_who_pays_twice_has_two_intents_for_one_payment() {
    let bank = Bank::open();
    let (reference, _) = bank.start(1, Some(Scenario::PaysTwice)).await;
    bank.pass(1);
    let [first, second] = <[_; 2]>::try_from(bank.events()).unwrap();
    assert_eq!(first.provider_reference, reference);
    assert_ne!(second.provider_reference, reference);
    assert_eq!(
        (first.payment_id, first.order_id),
        (second.payment_id, second.order_id)
    );
    assert_eq!((&first.kind, &second.kind), (&authorised(), &authorised()));
    // Each is money of its own.
    bank.demo.capture(&reference, euros(1_999)).await.unwrap();
    let extra = bank.demo.cancel(&second.provider_reference).await.unwrap();
    assert_eq!(extra.state, IntentState::Cancelled);
    assert_eq!(
        bank.state(&reference).await,
        IntentState::Succeeded {
            amount: euros(1_999)
        }
    );
}

#[tokio::test]
async fn webhook_can_be_processed_before_the_start_returns() {
    let bank = Bank::open();
    let demo = Arc::clone(&bank.demo);
    let mut changes = demo.changes();
    let start = to_start(1, 1_999, Some(Scenario::WebhookFirst));
    let started = tokio::spawn(async move { demo.start(start).await.unwrap() });
    let delivery = loop {
        if let Some(delivery) = bank.demo.take_due().pop() {
            break delivery;
        }
        changes.changed().await.unwrap();
    };
    let events = bank.receive(&delivery).unwrap();
    assert_eq!(events[0].payment_id, Some(Uuid::from_u128(1)));
    assert!(!started.is_finished(), "the webhook is not accepted yet");
    bank.demo.settle(delivery, true);
    let started = started.await.unwrap();
    assert_eq!(
        started.intent.provider_reference,
        events[0].provider_reference
    );
}

#[tokio::test]
async fn failing_refund_is_pending_first() {
    let bank = Bank::open();
    let (reference, _) = bank.start(1, Some(Scenario::RefundFails)).await;
    bank.demo.capture(&reference, euros(1_999)).await.unwrap();
    bank.events();
    let made = bank
        .demo
        .refund(refund(7, &reference, 1_999))
        .await
        .unwrap();
    assert_eq!(made.state, RefundState::Pending);
    assert!(bank.events().is_empty());
    bank.pass(2);
    let [kind] = <[_; 1]>::try_from(bank.kinds()).unwrap();
    assert!(matches!(kind, EventKind::RefundFailed { .. }), "{kind:?}");
    let listed = bank.demo.refunds(&reference).await.unwrap().remove(0);
    assert!(
        matches!(listed.state, RefundState::Failed { .. }),
        "{listed:?}"
    );
    // The money is still there for another attempt.
    bank.demo
        .refund(refund(8, &reference, 1_999))
        .await
        .unwrap();
}

#[tokio::test]
async fn repeated_start_has_one_effect() {
    let bank = Bank::open();
    let first = bank.start(1, Some(Scenario::Pays)).await;
    let again = bank.start(1, Some(Scenario::Declines)).await;
    assert_eq!(first, again);
    assert_eq!(bank.kinds(), [authorised()]);
    let other = bank.demo.start(to_start(1, 2_000, None)).await.unwrap_err();
    assert!(
        matches!(other, PaymentError::Misconfigured { .. }),
        "{other:?}"
    );
    let nothing = bank.demo.start(to_start(2, 0, None)).await.unwrap_err();
    assert!(matches!(nothing, PaymentError::Amount(_)), "{nothing:?}");
}

#[tokio::test]
async fn webhook_that_is_not_accepted_is_repeated_with_the_same_id() {
    let bank = Bank::open();
    bank.start(1, Some(Scenario::Pays)).await;
    let mut ids = vec![];
    let mut waited = 0;
    while let Some(due) = bank.demo.next_due() {
        let pause = (due.millis() - bank.now().millis()) / 1_000;
        waited += pause;
        bank.pass(pause);
        for delivery in bank.demo.take_due() {
            // Signed anew: the first signature would be too old.
            ids.push(bank.receive(&delivery).unwrap().remove(0).id);
            bank.demo.settle(delivery, false);
        }
    }
    assert_eq!(ids.len(), MAX_ATTEMPTS as usize);
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(waited, 1 + 2 + 4 + 8 + 16 + 32 + 5 * 60);
}

/// Another node, or the same after a restart, has the seed and nothing else.
#[tokio::test]
async fn intents_are_known_again_after_a_restart() {
    let (before, after) = (Bank::open(), Bank::open());
    let (reference, secret) = before.start(1, Some(Scenario::Pays)).await;
    let delivery = before.demo.take_due().remove(0);
    assert_eq!(
        after.receive(&delivery).unwrap(),
        before.receive(&delivery).unwrap()
    );

    assert_eq!(after.state(&reference).await, IntentState::Unpaid);
    let captured = after.demo.capture(&reference, euros(1_999)).await.unwrap();
    assert_eq!(captured.amount, euros(1_999));
    let over = after
        .demo
        .refund(refund(7, &reference, 2_000))
        .await
        .unwrap_err();
    assert_eq!(code(over), "charge_already_refunded");
    let made = after
        .demo
        .refund(refund(7, &reference, 1_999))
        .await
        .unwrap();

    let later = Bank::open();
    assert_eq!(
        later
            .demo
            .refund(refund(7, &reference, 1_999))
            .await
            .unwrap(),
        made
    );
    let second = Bank::open();
    second.demo.act(&secret, Scenario::Pays).unwrap();
    assert_eq!(
        second.events()[0].id,
        before.receive(&delivery).unwrap()[0].id
    );

    // References and secrets of others, and altered ones.
    for unknown in [
        "",
        "pi_1",
        &reference.replace("1999EUR", "9999EUR"),
        &reference[..40],
    ] {
        let error = after.demo.look_up(unknown).await.unwrap_err();
        assert_eq!(code(error), "resource_missing", "{unknown}");
        let forged = format!("{reference}_secret_{unknown}");
        let error = after.demo.act(&forged, Scenario::Pays).unwrap_err();
        assert_eq!(code(error), "resource_missing");
    }
}

#[tokio::test]
async fn webhooks_of_another_seed_are_rejected_and_secrets_hidden() {
    let bank = Bank::open();
    bank.start(1, Some(Scenario::Pays)).await;
    let delivery = bank.demo.take_due().remove(0);
    let clock = Box::new(|| Timestamp::from_millis(START));
    let other = Demo::new(Secret::new("another seed"), clock);
    let (name, value) = other.sign(&delivery);
    let mut headers = HeaderMap::new();
    headers.insert(name, value.parse().unwrap());
    let rejected = bank
        .demo
        .verify_webhook(&headers, &delivery.body, bank.now());
    let reason = SignatureInvalid::NoMatch;
    assert!(matches!(rejected, Err(WebhookError::Signature(why)) if why == reason));
    let shown = format!("{:?}", bank.demo);
    assert!(
        !shown.contains("hunter2") && !shown.contains("whsec"),
        "{shown}"
    );
}
