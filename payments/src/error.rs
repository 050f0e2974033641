//! The outcomes of a call other than success, separated by the caller's next step.

use std::error::Error;
use std::time::Duration;

use super::amounts::AmountRefused;
use super::signature::SignatureInvalid;

/// Why a call to a provider did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum PaymentError {
    /// The provider refused, or the payment's state does not allow the call. The same call would be
    /// refused again.
    #[error("{provider} declined: {code}")]
    Declined {
        provider: &'static str,
        /// The provider's code, for example `card_declined`. Letters, digits and `_` only.
        code: String,
    },
    /// The provider cannot express the amount. Nothing was sent.
    #[error("the amount cannot be charged")]
    Amount(#[source] AmountRefused),
    /// The provider did not process the call. Repeat it, with the same ids.
    #[error("{provider} cannot be used at present: {cause}")]
    Retryable {
        provider: &'static str,
        /// What failed, without data of the request.
        cause: String,
        /// The pause that the provider requires, if it stated one.
        retry_after: Option<Duration>,
    },
    /// The provider may have processed the call. Repeat it with the same ids, or look the payment
    /// up; do not assume either outcome.
    #[error("the outcome at {provider} is unknown")]
    UnknownOutcome {
        provider: &'static str,
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A setting or this program is wrong: the key was rejected, or the request was malformed. A
    /// person must look into it.
    #[error("{provider} rejected the request: {reason}")]
    Misconfigured {
        provider: &'static str,
        reason: String,
    },
}

impl PaymentError {
    /// Reports whether the same call, repeated later, may succeed.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::Retryable { .. } | Self::UnknownOutcome { .. } => true,
            Self::Declined { .. } | Self::Amount(_) | Self::Misconfigured { .. } => false,
        }
    }
}

/// Why a webhook yielded no events.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The sender is not the provider. Respond with 400 and record nothing.
    #[error("webhook rejected")]
    Signature(#[from] SignatureInvalid),
    /// The provider sent an event about money that this program cannot read. An acknowledgement
    /// would lose it: respond with 500, so that the provider repeats it and shows the failure.
    #[error("cannot read the signed event: {reason}")]
    Unreadable {
        /// The part that cannot be read, without its value.
        reason: &'static str,
        source: Option<serde_json::Error>,
    },
}

impl WebhookError {
    pub(crate) const fn unreadable(reason: &'static str) -> Self {
        let source = None;
        Self::Unreadable { reason, source }
    }
}
