//! The calls that every provider offers.

use std::future::Future;
use std::sync::Arc;

use domain::values::{Money, Timestamp};
use hyper::HeaderMap;
use uuid::Uuid;

use super::amounts::AmountRefused;
use super::demo::{Demo, Scenario};
use super::error::{PaymentError, WebhookError};
use super::event::ProviderEvent;
use super::secret::Secret;
use super::stripe::Stripe;

/// A payment that is about to start.
#[derive(Debug, Clone, Copy)]
pub struct PaymentToStart {
    /// Names the operation: a repeated start with the same id and amount has one effect.
    pub payment_id: Uuid,
    pub order_id: Uuid,
    pub amount: Money,
    /// How the demo's buyer behaves, without a click. Other providers ignore it.
    pub scenario: Option<Scenario>,
}

/// A refund of a captured payment, or of a part of it.
#[derive(Debug, Clone, Copy)]
pub struct RefundToMake<'a> {
    /// Names the operation: a repeated refund with the same id and amount has one effect.
    pub refund_id: Uuid,
    pub provider_reference: &'a str,
    pub amount: Money,
}

/// The response to a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartedPayment {
    pub intent: Intent,
    /// Lets the buyer's browser pay this one intent. For the buyer only; not to be stored.
    pub client_secret: Secret,
}

/// A payment as the provider knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    pub provider_reference: String,
    /// The amount that was requested.
    pub amount: Money,
    pub state: IntentState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntentState {
    /// The buyer has not paid, or was declined and may try again.
    Unpaid,
    /// The buyer has paid and the provider does not know the outcome yet. Often not cancellable.
    Processing,
    /// `amount` is reserved and can be captured.
    Authorised {
        amount: Money,
    },
    /// `amount` was captured. Refunds do not change this state.
    Succeeded {
        amount: Money,
    },
    Cancelled,
}

/// A refund as the provider knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    pub refund_reference: String,
    /// Absent if a person made the refund at the provider.
    pub refund_id: Option<Uuid>,
    pub amount: Money,
    pub state: RefundState,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefundState {
    /// An event will report the outcome.
    Pending,
    Succeeded,
    Failed {
        reason: String,
    },
}

/// A payment provider.
///
/// Every method that returns [`PaymentError`] may be repeated after [`PaymentError::Retryable`] and
/// [`PaymentError::UnknownOutcome`], with one effect. An intent allows one capture or cancellation.
/// A start and a refund are repeated under an idempotency key, which Stripe keeps for 24 hours at
/// least: before a refund is repeated later than that, [`PaymentProvider::refunds`] must be read.
pub trait PaymentProvider: Send + Sync {
    /// The name in URLs and records: lower-case letters.
    fn name(&self) -> &'static str;

    /// Checks if the provider can charge `amount`, without a call.
    ///
    /// # Errors
    /// [`AmountRefused`] with the reason.
    fn check_amount(&self, amount: Money) -> Result<(), AmountRefused>;

    /// Starts a payment: the buyer can pay with the client secret.
    ///
    /// # Errors
    /// [`PaymentError`]
    fn start(
        &self,
        payment: PaymentToStart,
    ) -> impl Future<Output = Result<StartedPayment, PaymentError>> + Send;

    /// Takes `amount` of an authorised payment, at most the authorised amount. The rest is
    /// released.
    ///
    /// Returns the intent after the call. A payment that was captured before is
    /// [`IntentState::Succeeded`] again.
    ///
    /// # Errors
    /// [`PaymentError`]; [`PaymentError::Declined`] if the intent is in any other state than
    /// authorised or succeeded.
    fn capture(
        &self,
        provider_reference: &str,
        amount: Money,
    ) -> impl Future<Output = Result<Intent, PaymentError>> + Send;

    /// Cancels a payment and releases an authorised amount.
    ///
    /// Returns the intent after the call: [`IntentState::Cancelled`], or, if the payment was
    /// captured first, [`IntentState::Succeeded`], which only a refund can reverse.
    ///
    /// # Errors
    /// [`PaymentError`]; [`PaymentError::Retryable`] while the payment is processing.
    fn cancel(
        &self,
        provider_reference: &str,
    ) -> impl Future<Output = Result<Intent, PaymentError>> + Send;

    /// Refunds `amount` of a captured payment.
    ///
    /// # Errors
    /// [`PaymentError`]; [`PaymentError::Declined`] if less than `amount` is left.
    fn refund(
        &self,
        refund: RefundToMake<'_>,
    ) -> impl Future<Output = Result<Refund, PaymentError>> + Send;

    /// Returns the present state of a payment.
    ///
    /// # Errors
    /// [`PaymentError`]
    fn look_up(
        &self,
        provider_reference: &str,
    ) -> impl Future<Output = Result<Intent, PaymentError>> + Send;

    /// Returns the refunds of a payment, in any order.
    ///
    /// # Errors
    /// [`PaymentError`]
    fn refunds(
        &self,
        provider_reference: &str,
    ) -> impl Future<Output = Result<Vec<Refund>, PaymentError>> + Send;

    /// Returns the events of a webhook with the raw `body`, which arrived at `now`. Events of types
    /// that do not concern payments are left out: acknowledge them.
    ///
    /// # Errors
    /// [`WebhookError`]
    fn verify_webhook(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Vec<ProviderEvent>, WebhookError>;
}

/// A configured provider.
#[derive(Debug, Clone)]
pub enum Provider {
    Demo(Arc<Demo>),
    Stripe(Arc<Stripe>),
}

impl PaymentProvider for Provider {
    fn name(&self) -> &'static str {
        match self {
            Self::Demo(demo) => demo.name(),
            Self::Stripe(stripe) => stripe.name(),
        }
    }

    fn check_amount(&self, amount: Money) -> Result<(), AmountRefused> {
        match self {
            Self::Demo(demo) => demo.check_amount(amount),
            Self::Stripe(stripe) => stripe.check_amount(amount),
        }
    }

    async fn start(&self, payment: PaymentToStart) -> Result<StartedPayment, PaymentError> {
        match self {
            Self::Demo(demo) => demo.start(payment).await,
            Self::Stripe(stripe) => stripe.start(payment).await,
        }
    }

    async fn capture(
        &self,
        provider_reference: &str,
        amount: Money,
    ) -> Result<Intent, PaymentError> {
        match self {
            Self::Demo(demo) => demo.capture(provider_reference, amount).await,
            Self::Stripe(stripe) => stripe.capture(provider_reference, amount).await,
        }
    }

    async fn cancel(&self, provider_reference: &str) -> Result<Intent, PaymentError> {
        match self {
            Self::Demo(demo) => demo.cancel(provider_reference).await,
            Self::Stripe(stripe) => stripe.cancel(provider_reference).await,
        }
    }

    async fn refund(&self, refund: RefundToMake<'_>) -> Result<Refund, PaymentError> {
        match self {
            Self::Demo(demo) => demo.refund(refund).await,
            Self::Stripe(stripe) => stripe.refund(refund).await,
        }
    }

    async fn look_up(&self, provider_reference: &str) -> Result<Intent, PaymentError> {
        match self {
            Self::Demo(demo) => demo.look_up(provider_reference).await,
            Self::Stripe(stripe) => stripe.look_up(provider_reference).await,
        }
    }

    async fn refunds(&self, provider_reference: &str) -> Result<Vec<Refund>, PaymentError> {
        match self {
            Self::Demo(demo) => demo.refunds(provider_reference).await,
            Self::Stripe(stripe) => stripe.refunds(provider_reference).await,
        }
    }

    fn verify_webhook(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Vec<ProviderEvent>, WebhookError> {
        match self {
            Self::Demo(demo) => demo.verify_webhook(headers, body, now),
            Self::Stripe(stripe) => stripe.verify_webhook(headers, body, now),
        }
    }
}
