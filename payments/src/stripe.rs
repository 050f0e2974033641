//! Stripe: payment intents with manual capture.
//!
//! Promise: starts and refunds are repeated under an idempotency key with the id of the payment or
//! refund; a capture or cancellation that Stripe refuses returns the state that refused it.
//! Limit: `amount_received` and `amount_capturable` are trusted as Stripe reports them; the caller
//! compares them with the order.

mod http;
mod settings;

use domain::values::{Money, Timestamp};
use hyper::HeaderMap;
use serde::Deserialize;

pub use self::http::API_VERSION;
use self::http::{Http, declined};
pub use self::settings::{API_BASE, InvalidSetting, StripeSettings};
use super::amounts::{AmountRefused, from_stripe, to_stripe};
use super::error::{PaymentError, WebhookError};
use super::event::ProviderEvent;
use super::object::{IntentObject, RefundObject, events};
use super::provider::{
    Intent, IntentState, PaymentProvider, PaymentToStart, Refund, RefundToMake, StartedPayment,
};
use super::secret::Secret;
use super::signature;

/// The provider's name in URLs and records.
pub const NAME: &str = "stripe";

/// The types of events that the webhook endpoint must receive.
pub const EVENT_TYPES: [&str; 7] = [
    "payment_intent.amount_capturable_updated",
    "payment_intent.canceled",
    "payment_intent.payment_failed",
    "payment_intent.succeeded",
    "refund.created",
    "refund.failed",
    "refund.updated",
];

#[derive(Debug)]
pub struct Stripe {
    http: Http,
    webhook_secrets: Vec<Secret>,
}

impl Stripe {
    /// Sends nothing yet.
    ///
    /// # Errors
    /// [`PaymentError::Misconfigured`] if TLS cannot be used.
    pub fn new(settings: StripeSettings) -> Result<Self, PaymentError> {
        let http = Http::new(&settings)?;
        let webhook_secrets = settings.webhook_secrets;
        Ok(Self {
            http,
            webhook_secrets,
        })
    }

    async fn intent(&self, reference: &str) -> Result<Intent, PaymentError> {
        let path = format!("/v1/payment_intents/{}", segment(reference)?);
        understood(&self.http.get(&path).await?)
    }

    /// Posts to an intent. If Stripe declines, the state of the intent decides: another call may
    /// have done the same before.
    ///
    /// Without an idempotency key, under which Stripe would repeat a refusal for 24 hours after the
    /// state that caused it has changed.
    async fn change(
        &self,
        provider_reference: &str,
        operation: &str,
        fields: http::Fields<'_>,
        is_done: fn(IntentState) -> bool,
    ) -> Result<Intent, PaymentError> {
        let reference = segment(provider_reference)?;
        let path = format!("/v1/payment_intents/{reference}/{operation}");
        match self.http.post(&path, fields, None).await {
            Ok(object) => understood(&object),
            Err(refused @ PaymentError::Declined { .. }) => {
                let intent = self.intent(reference).await?;
                if is_done(intent.state) {
                    return Ok(intent);
                }
                if intent.state == IntentState::Processing {
                    return Err(PaymentError::Retryable {
                        provider: NAME,
                        cause: "the payment is processing".to_owned(),
                        retry_after: None,
                    });
                }
                Err(refused)
            }
            Err(other) => Err(other),
        }
    }
}

/// Returns a reference as a segment of a path. A reference of another provider must not reach
/// another route.
fn segment(reference: &str) -> Result<&str, PaymentError> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if reference.is_empty() || reference.len() > 255 || !reference.bytes().all(is_part) {
        return Err(declined("resource_missing"));
    }
    Ok(reference)
}

/// Returns the field that names the payment of a refund, and its value. A shop that took money by
/// itself may have recorded the charge as its payment reference.
fn payment_of_refunds(reference: &str) -> Result<(&'static str, &str), PaymentError> {
    let reference = segment(reference)?;
    let is_charge = reference.starts_with("ch_");
    let field = if is_charge {
        "charge"
    } else {
        "payment_intent"
    };
    Ok((field, reference))
}

fn understood(object: &IntentObject) -> Result<Intent, PaymentError> {
    object.intent(from_stripe).ok_or_else(unexpressed)
}

fn unexpressed() -> PaymentError {
    PaymentError::UnknownOutcome {
        provider: NAME,
        source: "the response has an amount that ISO 4217 cannot express".into(),
    }
}

fn charged(amount: Money) -> Result<String, PaymentError> {
    let amount = to_stripe(amount).map_err(PaymentError::Amount)?;
    Ok(amount.to_string())
}

#[derive(Deserialize)]
struct RefundList {
    data: Vec<RefundObject>,
    #[serde(default)]
    has_more: bool,
}

impl PaymentProvider for Stripe {
    fn name(&self) -> &'static str {
        NAME
    }

    fn check_amount(&self, amount: Money) -> Result<(), AmountRefused> {
        to_stripe(amount).map(|_| ())
    }

    async fn start(&self, payment: PaymentToStart) -> Result<StartedPayment, PaymentError> {
        let amount = charged(payment.amount)?;
        let currency = payment.amount.currency.code().to_ascii_lowercase();
        let (order, id) = (payment.order_id.to_string(), payment.payment_id.to_string());
        let fields = [
            ("amount", amount.as_str()),
            ("currency", &currency),
            ("capture_method", "manual"),
            ("metadata[order_id]", &order),
            ("metadata[payment_id]", &id),
        ];
        let key = format!("start_{id}");
        let path = "/v1/payment_intents";
        let object: IntentObject = self.http.post(path, &fields, Some(&key)).await?;
        let intent = understood(&object)?;
        let secret = object
            .client_secret
            .ok_or_else(|| PaymentError::UnknownOutcome {
                provider: NAME,
                source: "the response has no client secret".into(),
            })?;
        Ok(StartedPayment {
            intent,
            client_secret: Secret::new(secret),
        })
    }

    async fn capture(
        &self,
        provider_reference: &str,
        amount: Money,
    ) -> Result<Intent, PaymentError> {
        let amount = charged(amount)?;
        let fields = [("amount_to_capture", amount.as_str())];
        let is_done = |state| matches!(state, IntentState::Succeeded { .. });
        self.change(provider_reference, "capture", &fields, is_done)
            .await
    }

    async fn cancel(&self, provider_reference: &str) -> Result<Intent, PaymentError> {
        let is_done = |state| {
            matches!(
                state,
                IntentState::Cancelled | IntentState::Succeeded { .. }
            )
        };
        self.change(provider_reference, "cancel", &[], is_done)
            .await
    }

    async fn refund(&self, refund: RefundToMake<'_>) -> Result<Refund, PaymentError> {
        let amount = charged(refund.amount)?;
        let (of, reference) = payment_of_refunds(refund.provider_reference)?;
        let id = refund.refund_id.to_string();
        let fields = [
            (of, reference),
            ("amount", &amount),
            ("metadata[refund_id]", &id),
        ];
        let key = format!("refund_{id}");
        let object: RefundObject = self.http.post("/v1/refunds", &fields, Some(&key)).await?;
        object.refund(from_stripe).ok_or_else(unexpressed)
    }

    async fn look_up(&self, provider_reference: &str) -> Result<Intent, PaymentError> {
        self.intent(provider_reference).await
    }

    async fn refunds(&self, provider_reference: &str) -> Result<Vec<Refund>, PaymentError> {
        let (of, reference) = payment_of_refunds(provider_reference)?;
        let mut refunds: Vec<Refund> = vec![];
        loop {
            let after = match refunds.last() {
                Some(last) => format!("&starting_after={}", segment(&last.refund_reference)?),
                None => String::new(),
            };
            let path = format!("/v1/refunds?{of}={reference}&limit=100{after}");
            let list: RefundList = self.http.get(&path).await?;
            let is_last = !list.has_more || list.data.is_empty();
            for object in &list.data {
                refunds.push(object.refund(from_stripe).ok_or_else(unexpressed)?);
            }
            if is_last {
                return Ok(refunds);
            }
        }
    }

    fn verify_webhook(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Vec<ProviderEvent>, WebhookError> {
        signature::verify(headers, body, &self.webhook_secrets, now)?;
        events(body, from_stripe)
    }
}
