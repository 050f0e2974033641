//! The demo: a provider inside the program, with buyers who behave as requested.
//!
//! ```text
//!  start ──▶ unpaid ──act(client secret, scenario)──▶ authorised ──▶ …
//!                                                         │
//!   POST of the webhook ◀── sign ◀── take_due ◀── queue ◀─┘
//! ```
//!
//! Its webhooks have the form and signature of Stripe's, so that both are read by the same code.
//! The program takes each [`Delivery`] at its time, signs it, sends it to its own webhook route and
//! reports the outcome with [`Demo::settle`].
//!
//! Promise: references, event ids and the webhook secret are derived from a seed and the ids of the
//! caller, so that they are the same after a restart and on every node.
//! Limit: states and unsent webhooks are in memory, of the last 10,000 payments. An intent that
//! nothing has happened to on this node allows each call once: the log is the record.

mod deliveries;
mod reference;
mod scenario;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::values::{Currency, Money, Timestamp};
use hyper::HeaderMap;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::timeout;
use uuid::Uuid;

use self::deliveries::Deliveries;
pub use self::deliveries::{Delivery, MAX_ATTEMPTS};
use self::reference::{Parts, Seed};
pub use self::scenario::Scenario;
use super::amounts::AmountRefused;
use super::error::{PaymentError, WebhookError};
use super::event::ProviderEvent;
use super::object::events;
use super::provider::{
    Intent, IntentState, PaymentProvider, PaymentToStart, Refund, RefundState, RefundToMake,
    StartedPayment,
};
use super::secret::Secret;
use super::signature;

/// The provider's name in URLs and records.
pub const NAME: &str = "demo";

/// Payments in memory.
const MAX_PAYMENTS: usize = 10_000;

/// The longest wait for the webhook of [`Scenario::WebhookFirst`].
const WEBHOOK_FIRST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a refund of [`Scenario::RefundFails`] is pending.
const REFUND_FAILS_AFTER_SECONDS: u32 = 2;

/// Returns the present time.
pub type Clock = Box<dyn Fn() -> Timestamp + Send + Sync>;

pub struct Demo {
    seed: Seed,
    webhook_secrets: [Secret; 1],
    clock: Clock,
    state: Mutex<State>,
    /// Counts changes of the queue.
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    intents: HashMap<String, Account>,
    /// The references of each payment, oldest payment first.
    payments: HashMap<Uuid, Vec<String>>,
    order: VecDeque<Uuid>,
    deliveries: Deliveries,
}

/// An intent and its refunds.
#[derive(Debug, Clone)]
struct Account {
    reference: String,
    parts: Parts,
    order_id: Option<Uuid>,
    phase: Phase,
    refunds: Vec<MadeRefund>,
    refunds_fail: bool,
}

#[derive(Debug, Clone)]
struct MadeRefund {
    refund: Refund,
    /// Pending until this time.
    fails_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing has happened to it here. Another node, or this one before a restart, may have taken
    /// the payment.
    Unobserved,
    /// Declined here.
    Unpaid,
    /// Authorised at this time.
    Processing(Timestamp),
    Authorised,
    Captured(Money),
    Cancelled,
}

/// Without the seed and the client secrets.
impl fmt::Debug for Demo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Demo").finish_non_exhaustive()
    }
}

impl Demo {
    /// `seed` must be the same on every node, and secret.
    #[must_use]
    pub fn new(seed: Secret, clock: Clock) -> Self {
        let seed = Seed::new(seed);
        let webhook_secret = format!("whsec_{}", seed.derive("webhook secret", "", 48));
        Self {
            seed,
            webhook_secrets: [Secret::new(webhook_secret)],
            clock,
            state: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }

    /// Pays, as the page in the buyer's browser would, with the client secret of an intent.
    ///
    /// # Errors
    /// [`PaymentError::Declined`] for an unknown secret or a payment that is not unpaid.
    pub fn act(&self, client_secret: &str, scenario: Scenario) -> Result<Intent, PaymentError> {
        let reference = self.seed.of_client_secret(client_secret);
        let reference = reference.ok_or_else(|| declined("resource_missing"))?;
        self.change(reference, |now, account| self.pay(now, account, scenario))
    }

    /// Returns the webhooks that are due. Report the outcome of each with [`Demo::settle`].
    #[must_use]
    pub fn take_due(&self) -> Vec<Delivery> {
        let now = self.now();
        self.state().deliveries.take_due(now)
    }

    /// Returns the time of the next webhook.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.state().deliveries.next_due()
    }

    /// Returns a receiver that is notified when a webhook is queued or settled.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Returns the name and value of the header that signs `delivery` now.
    #[must_use]
    pub fn sign(&self, delivery: &Delivery) -> (&'static str, String) {
        let secret = &self.webhook_secrets[0];
        let value = signature::sign(&delivery.body, secret, self.now());
        (signature::HEADER, value)
    }

    /// Returns the secret of its webhooks, for another program that verifies them.
    #[must_use]
    pub const fn webhook_secret(&self) -> &Secret {
        &self.webhook_secrets[0]
    }

    /// Reports the outcome of a webhook. One that was not accepted is repeated after a pause, at
    /// most [`MAX_ATTEMPTS`] times in all.
    pub fn settle(&self, delivery: Delivery, is_accepted: bool) {
        let now = self.now();
        self.state().deliveries.settle(delivery, is_accepted, now);
        self.announce();
    }

    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Applies `change` to an intent and queues the webhooks that it returns.
    fn change<T>(
        &self,
        reference: &str,
        change: impl FnOnce(Timestamp, &mut Account) -> Result<(T, Vec<Effect>), PaymentError>,
    ) -> Result<T, PaymentError> {
        let now = self.now();
        let mut state = self.state();
        let mut account = self.account(&state, reference)?;
        account.pass_time(now);
        let (result, effects) = change(now, &mut account)?;
        state.keep(account);
        for effect in effects {
            match effect {
                Effect::Webhook(due, delivery) => state.deliveries.push(due, delivery),
                Effect::Account(other) => state.keep(other),
            }
        }
        drop(state);
        self.announce();
        Ok(result)
    }

    fn account(&self, state: &State, reference: &str) -> Result<Account, PaymentError> {
        if let Some(account) = state.intents.get(reference) {
            return Ok(account.clone());
        }
        let parts = self.seed.parse(reference);
        let parts = parts.ok_or_else(|| declined("resource_missing"))?;
        Ok(Account {
            reference: reference.to_owned(),
            parts,
            order_id: None,
            phase: Phase::Unobserved,
            refunds: vec![],
            refunds_fail: false,
        })
    }

    fn pay(
        &self,
        now: Timestamp,
        account: &mut Account,
        scenario: Scenario,
    ) -> Result<(Intent, Vec<Effect>), PaymentError> {
        if !matches!(account.phase, Phase::Unpaid | Phase::Unobserved) {
            return Err(unexpected_state());
        }
        let mut effects = vec![];
        match scenario {
            Scenario::Declines => {
                account.phase = Phase::Unpaid;
                effects.push(self.webhook(now, account, "payment_intent.payment_failed"));
            }
            Scenario::PaysLate { after_seconds } => {
                let due = now.plus_seconds(after_seconds);
                account.phase = Phase::Processing(due);
                // As it will be then.
                let mut paid = account.clone();
                paid.phase = Phase::Authorised;
                effects.push(self.webhook(due, &paid, AUTHORISED));
            }
            Scenario::Pays
            | Scenario::PaysTwice
            | Scenario::WebhookFirst
            | Scenario::RefundFails => {
                account.phase = Phase::Authorised;
                account.refunds_fail = scenario == Scenario::RefundFails;
                effects.push(self.webhook(now, account, AUTHORISED));
            }
        }
        if scenario == Scenario::PaysTwice {
            let mut second = account.clone();
            second.parts.number = 2;
            second.reference = self.seed.reference(second.parts);
            effects.push(self.webhook(now.plus_seconds(1), &second, AUTHORISED));
            effects.push(Effect::Account(second));
        }
        Ok((account.intent(), effects))
    }

    /// Returns the webhook about an intent. Its id is the same in each repetition.
    fn webhook(&self, at: Timestamp, account: &Account, event_type: &str) -> Effect {
        let Account {
            reference,
            parts,
            order_id,
            ..
        } = account;
        let (capturable, received, status) = match account.phase {
            Phase::Authorised => (parts.amount.amount, 0, "requires_capture"),
            Phase::Captured(amount) => (0, amount.amount, "succeeded"),
            Phase::Cancelled => (0, 0, "canceled"),
            Phase::Processing(_) => (0, 0, "processing"),
            Phase::Unobserved | Phase::Unpaid => (0, 0, "requires_payment_method"),
        };
        let declined = json!({ "type": "card_error", "code": "card_declined" });
        let is_declined = event_type == "payment_intent.payment_failed";
        let object = json!({
            "id": reference,
            "object": "payment_intent",
            "amount": parts.amount.amount,
            "amount_capturable": capturable,
            "amount_received": received,
            "capture_method": "manual",
            "currency": parts.amount.currency.code().to_ascii_lowercase(),
            "last_payment_error": is_declined.then_some(declined),
            "metadata": { "order_id": order_id, "payment_id": parts.payment_id },
            "status": status,
        });
        // A buyer may be declined several times.
        let moment = if is_declined { at.millis() } else { 0 };
        self.event(at, event_type, &format!("{reference} {moment}"), object)
    }

    fn refund_webhook(&self, at: Timestamp, account: &Account, refund: &Refund) -> Effect {
        let (event_type, status, reason) = match &refund.state {
            RefundState::Pending => ("refund.created", "pending", None),
            RefundState::Succeeded => ("refund.updated", "succeeded", None),
            RefundState::Failed { reason } => ("refund.failed", "failed", Some(reason)),
        };
        let object = json!({
            "id": refund.refund_reference,
            "object": "refund",
            "amount": refund.amount.amount,
            "currency": refund.amount.currency.code().to_ascii_lowercase(),
            "failure_reason": reason,
            "metadata": { "refund_id": refund.refund_id },
            "payment_intent": account.reference,
            "status": status,
        });
        self.event(at, event_type, &refund.refund_reference, object)
    }

    fn event(&self, at: Timestamp, event_type: &str, subject: &str, object: Value) -> Effect {
        let event_id = format!("evt_demo_{}", self.seed.derive(event_type, subject, 24));
        let body = json!({
            "id": event_id,
            "object": "event",
            "created": at.millis() / 1_000,
            "data": { "object": object },
            "livemode": false,
            "type": event_type,
        });
        let delivery = Delivery {
            event_id,
            body: body.to_string().into(),
            attempt: 1,
        };
        Effect::Webhook(at, delivery)
    }

    /// Returns when the webhook is no longer open.
    async fn settled(&self, event_id: &str) {
        let mut changes = self.changes();
        while self.state().deliveries.is_open(event_id) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}

const AUTHORISED: &str = "payment_intent.amount_capturable_updated";

/// A consequence of a change.
enum Effect {
    Webhook(Timestamp, Delivery),
    /// Another intent came into being.
    Account(Account),
}

impl State {
    fn keep(&mut self, account: Account) {
        let payment_id = account.parts.payment_id;
        let references = self.payments.entry(payment_id).or_default();
        if references.is_empty() {
            self.order.push_back(payment_id);
        }
        if !references.contains(&account.reference) {
            references.push(account.reference.clone());
        }
        self.intents.insert(account.reference.clone(), account);
        while self.order.len() > MAX_PAYMENTS {
            let oldest = self.order.pop_front();
            for reference in oldest
                .and_then(|id| self.payments.remove(&id))
                .unwrap_or_default()
            {
                self.intents.remove(&reference);
            }
        }
    }
}

impl Account {
    fn pass_time(&mut self, now: Timestamp) {
        if let Phase::Processing(until) = self.phase
            && now >= until
        {
            self.phase = Phase::Authorised;
        }
        for made in &mut self.refunds {
            if made.fails_at.is_some_and(|at| now >= at) {
                made.fails_at = None;
                made.refund.state = failed();
            }
        }
    }

    fn refunds(&self) -> impl Iterator<Item = &Refund> {
        self.refunds.iter().map(|made| &made.refund)
    }

    fn intent(&self) -> Intent {
        let amount = self.parts.amount;
        let state = match self.phase {
            Phase::Unobserved | Phase::Unpaid => IntentState::Unpaid,
            Phase::Processing(_) => IntentState::Processing,
            Phase::Authorised => IntentState::Authorised { amount },
            Phase::Captured(amount) => IntentState::Succeeded { amount },
            Phase::Cancelled => IntentState::Cancelled,
        };
        Intent {
            provider_reference: self.reference.clone(),
            amount,
            state,
        }
    }

    /// Returns the amount that can still be refunded.
    fn left(&self) -> i64 {
        let captured = match self.phase {
            Phase::Captured(amount) => amount.amount,
            // Another node may have captured it.
            Phase::Unobserved | Phase::Authorised => self.parts.amount.amount,
            Phase::Unpaid | Phase::Processing(_) | Phase::Cancelled => 0,
        };
        let refunded = self
            .refunds()
            .filter(|refund| matches!(refund.state, RefundState::Pending | RefundState::Succeeded));
        captured - refunded.map(|refund| refund.amount.amount).sum::<i64>()
    }
}

fn declined(code: &str) -> PaymentError {
    PaymentError::Declined {
        provider: NAME,
        code: code.to_owned(),
    }
}

/// As Stripe names it.
fn unexpected_state() -> PaymentError {
    declined("payment_intent_unexpected_state")
}

fn failed() -> RefundState {
    RefundState::Failed {
        reason: "expired_or_canceled_card".to_owned(),
    }
}

fn other_parameters() -> PaymentError {
    PaymentError::Misconfigured {
        provider: NAME,
        reason: "the idempotency key was used with other parameters".to_owned(),
    }
}

/// Amounts of the demo are in ISO 4217 minor units.
fn iso(amount: i64, currency: &str) -> Option<Money> {
    let currency = Currency::new(&currency.to_ascii_uppercase()).ok()?;
    Some(Money { amount, currency })
}

impl PaymentProvider for Demo {
    fn name(&self) -> &'static str {
        NAME
    }

    fn check_amount(&self, amount: Money) -> Result<(), AmountRefused> {
        if amount.amount <= 0 {
            return Err(AmountRefused::NotPositive);
        }
        Ok(())
    }

    async fn start(&self, payment: PaymentToStart) -> Result<StartedPayment, PaymentError> {
        self.check_amount(payment.amount)
            .map_err(PaymentError::Amount)?;
        let parts = Parts {
            payment_id: payment.payment_id,
            number: 1,
            amount: payment.amount,
        };
        let reference = self.seed.reference(parts);
        let known = self.state().payments.get(&payment.payment_id).cloned();
        if known.is_some_and(|known| !known.contains(&reference)) {
            return Err(other_parameters());
        }
        let (intent, webhook) = self.change(&reference, |now, account| {
            if account.phase != Phase::Unobserved {
                return Ok(((account.intent(), None), vec![]));
            }
            account.order_id = Some(payment.order_id);
            let Some(scenario) = payment.scenario else {
                return Ok(((account.intent(), None), vec![]));
            };
            let (intent, effects) = self.pay(now, account, scenario)?;
            let first = effects.iter().find_map(|effect| match effect {
                Effect::Webhook(_, delivery) => Some(delivery.event_id.clone()),
                Effect::Account(_) => None,
            });
            let first = first.filter(|_| scenario == Scenario::WebhookFirst);
            Ok(((intent, first), effects))
        })?;
        if let Some(event_id) = webhook {
            // A program that does not take the webhook must not wait forever.
            let _ = timeout(WEBHOOK_FIRST_TIMEOUT, self.settled(&event_id)).await;
        }
        Ok(StartedPayment {
            client_secret: self.seed.client_secret(&reference),
            intent,
        })
    }

    async fn capture(
        &self,
        provider_reference: &str,
        amount: Money,
    ) -> Result<Intent, PaymentError> {
        self.change(provider_reference, |now, account| {
            match account.phase {
                Phase::Captured(_) => return Ok((account.intent(), vec![])),
                Phase::Unpaid | Phase::Processing(_) | Phase::Cancelled => {
                    return Err(unexpected_state());
                }
                Phase::Unobserved | Phase::Authorised => {}
            }
            let authorised = account.parts.amount;
            if amount.currency != authorised.currency
                || !(1..=authorised.amount).contains(&amount.amount)
            {
                return Err(declined("amount_too_large"));
            }
            account.phase = Phase::Captured(amount);
            let webhook = self.webhook(now, account, "payment_intent.succeeded");
            Ok((account.intent(), vec![webhook]))
        })
    }

    async fn cancel(&self, provider_reference: &str) -> Result<Intent, PaymentError> {
        self.change(provider_reference, |now, account| {
            match account.phase {
                Phase::Captured(_) | Phase::Cancelled => return Ok((account.intent(), vec![])),
                Phase::Processing(_) => {
                    return Err(PaymentError::Retryable {
                        provider: NAME,
                        cause: "the payment is processing".to_owned(),
                        retry_after: None,
                    });
                }
                Phase::Unobserved | Phase::Unpaid | Phase::Authorised => {}
            }
            account.phase = Phase::Cancelled;
            let webhook = self.webhook(now, account, "payment_intent.canceled");
            Ok((account.intent(), vec![webhook]))
        })
    }

    async fn refund(&self, refund: RefundToMake<'_>) -> Result<Refund, PaymentError> {
        self.change(refund.provider_reference, |now, account| {
            let known = account
                .refunds()
                .find(|known| known.refund_id == Some(refund.refund_id));
            if let Some(known) = known {
                if known.amount != refund.amount {
                    return Err(other_parameters());
                }
                return Ok((known.clone(), vec![]));
            }
            if refund.amount.currency != account.parts.amount.currency
                || !(1..=account.left()).contains(&refund.amount.amount)
            {
                return Err(declined("charge_already_refunded"));
            }
            let fails_at = account
                .refunds_fail
                .then(|| now.plus_seconds(REFUND_FAILS_AFTER_SECONDS));
            let mut made = Refund {
                refund_reference: format!("demo_re_{}", refund.refund_id.simple()),
                refund_id: Some(refund.refund_id),
                amount: refund.amount,
                state: fails_at.map_or(RefundState::Succeeded, |_| failed()),
            };
            // As it will be then.
            let webhook = self.refund_webhook(fails_at.unwrap_or(now), account, &made);
            if fails_at.is_some() {
                made.state = RefundState::Pending;
            }
            account.refunds.push(MadeRefund {
                refund: made.clone(),
                fails_at,
            });
            Ok((made, vec![webhook]))
        })
    }

    async fn look_up(&self, provider_reference: &str) -> Result<Intent, PaymentError> {
        self.read(provider_reference, Account::intent)
    }

    async fn refunds(&self, provider_reference: &str) -> Result<Vec<Refund>, PaymentError> {
        self.read(provider_reference, |account| {
            account.refunds().cloned().collect()
        })
    }

    fn verify_webhook(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Vec<ProviderEvent>, WebhookError> {
        signature::verify(headers, body, &self.webhook_secrets, now)?;
        events(body, iso)
    }
}

impl Demo {
    fn read<T>(
        &self,
        reference: &str,
        read: impl FnOnce(&Account) -> T,
    ) -> Result<T, PaymentError> {
        let now = self.now();
        let mut account = self.account(&self.state(), reference)?;
        account.pass_time(now);
        Ok(read(&account))
    }
}
