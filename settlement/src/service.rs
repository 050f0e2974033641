//! Starts of payments and webhooks of providers: everything that a request asks of this crate.
//!
//! ```text
//!  start ──PaymentStarted──▶ log      provider ──webhook──▶ receive ──RecordPayment──▶ log
//!    └──────▶ provider.start                                  └───────SettleRefund───▶ log
//! ```
//!
//! Promise: a payment is in the log before its provider is called, and a webhook is acknowledged
//! only after its facts are in the log. Both may be repeated with one effect.

use std::sync::Arc;

use domain::Refusal;
use domain::order::RefundOutcome;
use domain::values::{
    FailureCode, IntentDigest, Money, OrderId, PaymentId, PaymentReference, Position, ProviderName,
    RefundId, Timestamp,
};
use engine::{
    Accepted, Clock as _, CommandError, EngineHandle, PaymentReport, RecordPayment, SettleRefund,
    SystemClock,
};
use hyper::HeaderMap;
use payments::{
    DisputeState, EventKind, IntentState, PaymentError, PaymentProvider, PaymentToStart, Provider,
    ProviderEvent, Secret, WebhookError,
};
use tokio::sync::watch;
use tracing::{info, warn};
use uuid::Uuid;

use crate::counts::Counts;
use crate::derive::job_of;
use crate::providers::Providers;
use crate::store::{IntentRow, JobKind, NewJob, Start, Store, WithdrawalKind, WithdrawalState};
use crate::withdrawals::Report;

/// The reason of a payment that ended without money: its intent was cancelled.
pub(crate) const CANCELLED: &str = "canceled";

/// Starts payments and receives the webhooks of providers. Clones share its state.
#[derive(Debug, Clone)]
pub struct Settlement {
    pub(crate) store: Store,
    pub(crate) providers: Providers,
    pub(crate) engine: EngineHandle,
    /// Counts changes of jobs.
    pub(crate) wake: Arc<watch::Sender<u64>>,
    pub(crate) counts: Counts,
}

/// A payment that can be made now.
#[derive(Debug, Clone)]
pub struct Opened {
    pub provider_reference: String,
    /// For the buyer only.
    pub client_secret: Secret,
}

/// Why a payment cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The provider refused the payment, which has therefore failed.
    #[error("the provider refused the payment: {}", .code.as_str())]
    Refused { code: FailureCode },
    /// The provider did not answer as it should. A repeated request may succeed.
    #[error("the provider cannot be used")]
    Provider(#[source] PaymentError),
    #[error("cannot record the provider's reference")]
    Database(#[source] sqlx::Error),
    #[error("cannot record the failure of the payment")]
    Engine(#[source] CommandError),
}

/// Why a webhook is not acknowledged. Nothing was lost: the provider repeats it.
#[derive(Debug, thiserror::Error)]
pub enum WebhookRefused {
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    /// The intent is being cancelled; its state is not known at present.
    #[error("the payment is being cancelled")]
    Busy,
    #[error("cannot look the payment up")]
    Provider(#[source] PaymentError),
    #[error("cannot use the tables of payments")]
    Database(#[source] sqlx::Error),
    #[error("cannot record the payment")]
    Engine(#[source] CommandError),
}

/// The payment that an event is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject {
    pub(crate) order_id: Uuid,
    pub(crate) payment_id: Uuid,
}

/// An event about an intent itself.
#[derive(Debug)]
enum IntentEvent {
    Authorised(Money),
    Captured(Money),
    Failed(String),
    Cancelled,
}

impl Settlement {
    /// Payments of the orders of this engine.
    #[must_use]
    pub fn new(store: Store, providers: Providers, engine: EngineHandle) -> Self {
        Self {
            store,
            providers,
            engine,
            wake: Arc::new(watch::Sender::new(0)),
            counts: Counts::default(),
        }
    }

    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the numbers about jobs.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    #[must_use]
    pub const fn providers(&self) -> &Providers {
        &self.providers
    }

    /// Lets the worker of this process notice a change now; those of others notice it within a
    /// second.
    pub fn wake(&self) {
        self.wake.send_modify(|changes| *changes += 1);
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.engine.corrected(SystemClock.now())
    }

    /// Lets the provider start a payment that is in the log. Repeating it has one effect.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(
        &self,
        provider: &Provider,
        payment: PaymentToStart,
    ) -> Result<Opened, OpenError> {
        let started = match provider.start(payment).await {
            Ok(started) => started,
            Err(PaymentError::Declined { code, .. }) => {
                let code = FailureCode::or_unknown(&code);
                self.refuse(provider, payment, code.clone()).await?;
                return Err(OpenError::Refused { code });
            }
            Err(error) => return Err(OpenError::Provider(error)),
        };
        let start = Start {
            payment_id: payment.payment_id,
            order_id: payment.order_id,
            provider: provider.name().to_owned(),
            amount: payment.amount,
            provider_reference: Some(started.intent.provider_reference.clone()),
            succeeded: false,
        };
        // Before the response, so that an intent that could not be cancelled is never paid.
        self.store
            .started(&start)
            .await
            .map_err(OpenError::Database)?;
        Ok(Opened {
            provider_reference: started.intent.provider_reference,
            client_secret: started.client_secret,
        })
    }

    async fn refuse(
        &self,
        provider: &Provider,
        payment: PaymentToStart,
        reason: FailureCode,
    ) -> Result<(), OpenError> {
        // There is no intent that could have a reference.
        let reference = PaymentReference::new(&format!("start_{}", payment.payment_id));
        let reference = reference.expect("a UUID makes a reference");
        let subject = Subject {
            order_id: payment.order_id,
            payment_id: payment.payment_id,
        };
        let recorded = self.ended(provider, subject, reference, reason).await;
        recorded.map_err(OpenError::Engine)
    }

    /// Records the facts of a webhook with this raw body.
    ///
    /// # Errors
    /// [`WebhookRefused`].
    pub async fn receive(
        &self,
        provider: &Provider,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<(), WebhookRefused> {
        for event in provider.verify_webhook(headers, body, self.now())? {
            self.record(provider, event).await?;
        }
        Ok(())
    }

    async fn record(
        &self,
        provider: &Provider,
        event: ProviderEvent,
    ) -> Result<(), WebhookRefused> {
        let ProviderEvent {
            id,
            provider_reference,
            payment_id,
            order_id,
            kind,
            ..
        } = event;
        let name = provider.name();
        let kind = match kind {
            EventKind::RefundsChanged => {
                return self.refunds_changed(provider, &provider_reference).await;
            }
            EventKind::Disputed {
                dispute_reference,
                amount,
                state,
            } => {
                let report = Report {
                    kind: WithdrawalKind::Dispute,
                    reference: dispute_reference,
                    amount,
                    state: match state {
                        DisputeState::Open => WithdrawalState::Pending,
                        DisputeState::Lost => WithdrawalState::Done,
                        DisputeState::Won => WithdrawalState::Undone,
                    },
                };
                return self.withdrawn(provider, &provider_reference, report).await;
            }
            EventKind::Refunded {
                refund_reference,
                refund_id,
                amount,
            } => {
                let made = (refund_reference, amount, WithdrawalState::Done);
                return self
                    .refunded(provider, &provider_reference, refund_id, made, None)
                    .await;
            }
            EventKind::RefundPending {
                refund_reference,
                refund_id: None,
                amount,
            } => {
                let made = (refund_reference, amount, WithdrawalState::Pending);
                return self
                    .refunded(provider, &provider_reference, None, made, None)
                    .await;
            }
            // The worker looks at the refunds that it makes.
            EventKind::RefundPending { .. } => return Ok(()),
            EventKind::RefundFailed {
                refund_reference,
                refund_id,
                amount,
                reason,
            } => {
                let made = (refund_reference, amount, WithdrawalState::Undone);
                let failure = Some(FailureCode::or_unknown(&reason));
                return self
                    .refunded(provider, &provider_reference, refund_id, made, failure)
                    .await;
            }
            EventKind::Authorised { amount } => IntentEvent::Authorised(amount),
            EventKind::Succeeded { amount } => IntentEvent::Captured(amount),
            EventKind::Failed { reason } => IntentEvent::Failed(reason),
            EventKind::Cancelled => IntentEvent::Cancelled,
        };
        let subject = match order_id.zip(payment_id) {
            Some((order_id, payment_id)) => Some(Subject {
                order_id,
                payment_id,
            }),
            None => self.subject_of(provider, &provider_reference).await?,
        };
        // An intent that another program of the account has started.
        let Some(subject) = subject else {
            info!("{name} event {id}: of a payment that another program has started");
            return Ok(());
        };
        let reference = reference_of(&provider_reference)?;
        let intent = IntentDigest::new(&name_of(provider), &reference);
        match kind {
            IntentEvent::Authorised(amount) => {
                self.money_arrived(provider, subject, reference, amount)
                    .await
            }
            IntentEvent::Captured(amount) => {
                self.money_arrived(provider, subject, reference, amount)
                    .await?;
                self.look_at_capture(intent, true).await
            }
            IntentEvent::Failed(reason) => {
                let reason = FailureCode::or_unknown(&reason);
                self.failed(provider, subject, reference, reason).await
            }
            IntentEvent::Cancelled => {
                let reason = FailureCode::or_unknown(CANCELLED);
                self.failed(provider, subject, reference, reason).await?;
                self.look_at_capture(intent, false).await
            }
        }
    }

    /// Records the state of a refund: of one that this log requested, or of a person's.
    async fn refunded(
        &self,
        provider: &Provider,
        payment_reference: &str,
        refund_id: Option<Uuid>,
        (reference, amount, state): (String, Money, WithdrawalState),
        failure: Option<FailureCode>,
    ) -> Result<(), WebhookRefused> {
        if let Some(operation_id) = refund_id {
            return self.settle_operation(operation_id, failure).await;
        }
        let report = Report {
            kind: WithdrawalKind::Refund,
            reference,
            amount,
            state,
        };
        self.withdrawn(provider, payment_reference, report).await
    }

    async fn look_at_capture(
        &self,
        intent: IntentDigest,
        is_captured: bool,
    ) -> Result<(), WebhookRefused> {
        let intent = intent.bytes();
        let looked = self.store.look_at_capture(&intent, is_captured);
        looked.await.map_err(WebhookRefused::Database)?;
        self.wake();
        Ok(())
    }

    pub(crate) async fn subject_of(
        &self,
        provider: &Provider,
        reference: &str,
    ) -> Result<Option<Subject>, WebhookRefused> {
        let found = self.store.payment_of(provider.name(), reference).await;
        let found = found.map_err(WebhookRefused::Database)?;
        Ok(found.map(|(order_id, payment_id)| Subject {
            order_id,
            payment_id,
        }))
    }

    /// Records that an intent was authorised or paid.
    ///
    /// A cancellation of the payment may be under way, and release the money of a sale that is
    /// decided here. It looks at the intent under its lease, before it cancels: while there is a
    /// lease, the provider is asked to repeat the webhook; after it, the intent's state counts; and
    /// one that begins later finds the money.
    async fn money_arrived(
        &self,
        provider: &Provider,
        subject: Subject,
        reference: PaymentReference,
        amount: Money,
    ) -> Result<(), WebhookRefused> {
        let cancellation = self.store.cancellation(subject.payment_id).await;
        match cancellation.map_err(WebhookRefused::Database)? {
            Some(true) => return Err(WebhookRefused::Busy),
            Some(false) => {
                let intent = provider.look_up(reference.as_str()).await;
                let intent = intent.map_err(WebhookRefused::Provider)?;
                if intent.state == IntentState::Cancelled {
                    let reason = FailureCode::or_unknown(CANCELLED);
                    return self.failed(provider, subject, reference, reason).await;
                }
            }
            None => {}
        }
        let intent = IntentDigest::new(&name_of(provider), &reference);
        let row = intent_row(provider, subject, &reference);
        let kept = self.store.keep_intent(&row).await;
        kept.map_err(WebhookRefused::Database)?;
        match self.succeeded(provider, subject, reference, amount).await {
            Ok(_) => Ok(()),
            Err(error) if is_unknown(&error) => {
                let unknown = NewJob {
                    id: job_of(intent),
                    kind: JobKind::Unknown,
                    order_id: subject.order_id,
                    payment_id: subject.payment_id,
                    intent: Some(row.intent),
                    amount,
                    cause: None,
                    position: Position(0),
                };
                warn!(
                    "{} reports money of payment {}, which the log does not have",
                    provider.name(),
                    subject.payment_id
                );
                let added = self.store.add_unknown(&unknown, provider.name(), UNKNOWN);
                added.await.map_err(WebhookRefused::Database)
            }
            Err(error) => Err(WebhookRefused::Engine(error)),
        }
    }

    /// Records money in the log.
    pub(crate) async fn succeeded(
        &self,
        provider: &Provider,
        subject: Subject,
        reference: PaymentReference,
        amount: Money,
    ) -> Result<Accepted<PaymentId>, CommandError> {
        let request = RecordPayment {
            order_id: OrderId(subject.order_id),
            payment_id: PaymentId(subject.payment_id),
            provider: name_of(provider),
            reference,
            report: PaymentReport::Succeeded { amount },
        };
        self.engine.record_payment(request).await
    }

    /// Records that a payment was declined or cancelled. One that the log does not have needs no
    /// record.
    async fn failed(
        &self,
        provider: &Provider,
        subject: Subject,
        reference: PaymentReference,
        reason: FailureCode,
    ) -> Result<(), WebhookRefused> {
        match self.ended(provider, subject, reference, reason).await {
            Ok(()) => Ok(()),
            Err(error) if is_unknown(&error) => Ok(()),
            Err(error) => Err(WebhookRefused::Engine(error)),
        }
    }

    /// Records a failure in the log.
    pub(crate) async fn ended(
        &self,
        provider: &Provider,
        subject: Subject,
        reference: PaymentReference,
        reason: FailureCode,
    ) -> Result<(), CommandError> {
        let request = RecordPayment {
            order_id: OrderId(subject.order_id),
            payment_id: PaymentId(subject.payment_id),
            provider: name_of(provider),
            reference,
            report: PaymentReport::Failed { reason },
        };
        self.engine.record_payment(request).await.map(drop)
    }

    /// Records the outcome of a refund that the provider knows by `operation_id`.
    async fn settle_operation(
        &self,
        operation_id: Uuid,
        failure: Option<FailureCode>,
    ) -> Result<(), WebhookRefused> {
        let job = self.store.refund_of_operation(operation_id).await;
        // Not of this log, or settled long ago.
        let Some(job) = job.map_err(WebhookRefused::Database)? else {
            return Ok(());
        };
        let reason = failure.as_ref().map(|reason| reason.as_str().to_owned());
        let answer = match self.settle(job.order_id, job.id, failure).await {
            Ok(answer) => answer,
            // Out of order, or of a refund that was declared void: no repetition changes that.
            Err(CommandError::Refused { refusal, .. }) => {
                warn!(
                    "the outcome of refund {} is not recorded: {refusal}",
                    job.id
                );
                return Ok(());
            }
            Err(error) => return Err(WebhookRefused::Engine(error)),
        };
        if let Some(reason) = reason.filter(|_| answer.is_replay()) {
            // The log has a failure already, so no event will end this attempt.
            let failed = self.store.fail_operation(operation_id, &reason).await;
            failed.map_err(WebhookRefused::Database)?;
        }
        Ok(())
    }

    /// Records the outcome of a refund in the log.
    pub(crate) async fn settle(
        &self,
        order_id: Uuid,
        refund_id: Uuid,
        failure: Option<FailureCode>,
    ) -> Result<Accepted<RefundId>, CommandError> {
        let request = SettleRefund {
            order_id: OrderId(order_id),
            refund_id: RefundId(refund_id),
            outcome: match failure {
                None => RefundOutcome::Succeeded,
                Some(_) => RefundOutcome::Failed,
            },
            reason: failure,
        };
        self.engine.settle_refund(request).await
    }
}

/// Why an unknown payment waits for an administrator.
pub(crate) const UNKNOWN: &str = "the log does not have this payment";

/// Reports whether the log does not have the order or the payment.
pub(crate) fn is_unknown(error: &CommandError) -> bool {
    matches!(
        error,
        CommandError::Refused {
            refusal: Refusal::OrderNotFound | Refusal::PaymentNotFound,
            ..
        }
    )
}

pub(crate) fn name_of(provider: &Provider) -> ProviderName {
    ProviderName::new(provider.name()).expect("names of providers are lower-case letters")
}

/// The row that keeps the reference of an intent.
pub(crate) fn intent_row(
    provider: &Provider,
    subject: Subject,
    reference: &PaymentReference,
) -> IntentRow {
    let intent = IntentDigest::new(&name_of(provider), reference);
    IntentRow {
        intent: intent.bytes().to_vec(),
        payment_id: subject.payment_id,
        order_id: subject.order_id,
        provider: provider.name().to_owned(),
        provider_reference: reference.as_str().to_owned(),
    }
}

fn reference_of(text: &str) -> Result<PaymentReference, WebhookError> {
    PaymentReference::new(text).map_err(|_| WebhookError::Unreadable {
        reason: "reference of the payment",
        source: None,
    })
}
