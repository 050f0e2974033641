//! Stripe's JSON: payment intents, refunds, events and errors, reduced to the members in use.
//!
//! The demo's webhooks have the same form, so both are read by the same code.

use domain::values::{Money, Timestamp};
use serde::Deserialize;
use uuid::Uuid;

use super::error::WebhookError;
use super::event::{DisputeState, EventKind, ProviderEvent};
use super::provider::{Intent, IntentState, Refund, RefundState};

/// The largest response or webhook that is read.
pub const MAX_BODY_BYTES: usize = 1 << 20;

/// The longest code that is passed on.
const MAX_CODE_BYTES: usize = 64;

/// Converts an amount of the provider, in the provider's spelling of the currency.
pub type ToMoney = fn(i64, &str) -> Option<Money>;

#[derive(Debug, Deserialize)]
pub struct IntentObject {
    pub id: String,
    pub amount: i64,
    pub amount_capturable: Option<i64>,
    pub amount_received: Option<i64>,
    pub currency: String,
    pub status: IntentStatus,
    pub client_secret: Option<Box<str>>,
    #[serde(default)]
    metadata: Metadata,
    last_payment_error: Option<ErrorObject>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntentStatus {
    RequiresPaymentMethod,
    RequiresConfirmation,
    RequiresAction,
    RequiresCapture,
    Processing,
    Succeeded,
    Canceled,
    /// Of a later version: neither paid nor over, as far as this program knows.
    #[serde(other)]
    Other,
}

#[derive(Debug, Default, Deserialize)]
struct Metadata {
    payment_id: Option<String>,
    order_id: Option<String>,
    refund_id: Option<String>,
}

/// Another program may have written the metadata: ids that are not UUIDs are not ours.
fn id(text: Option<&String>) -> Option<Uuid> {
    text.and_then(|text| Uuid::parse_str(text).ok())
}

#[derive(Debug, Deserialize)]
pub struct RefundObject {
    pub id: String,
    amount: i64,
    currency: String,
    /// Null until the refund is processed.
    status: Option<String>,
    failure_reason: Option<String>,
    payment_intent: Option<Reference>,
    charge: Option<Reference>,
    #[serde(default)]
    metadata: Metadata,
}

/// A charge of which something was refunded. Its amounts do not name the refund.
#[derive(Debug, Deserialize)]
struct ChargeObject {
    id: String,
    payment_intent: Option<Reference>,
}

#[derive(Debug, Deserialize)]
struct DisputeObject {
    id: String,
    amount: i64,
    currency: String,
    status: String,
    payment_intent: Option<Reference>,
    charge: Option<Reference>,
}

/// An id, or the object with it if the account expands it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Reference {
    Id(String),
    Object { id: String },
}

impl Reference {
    fn into_id(self) -> String {
        match self {
            Self::Id(id) | Self::Object { id } => id,
        }
    }
}

#[derive(Debug, Deserialize)]
pub struct ErrorBody {
    pub error: ErrorObject,
}

/// Without the message: it may quote the request.
#[derive(Debug, Default, Deserialize)]
pub struct ErrorObject {
    #[serde(rename = "type")]
    pub kind: Option<String>,
    code: Option<String>,
    decline_code: Option<String>,
    pub param: Option<String>,
}

impl ErrorObject {
    /// Returns the most precise code.
    pub fn code(&self) -> Option<&str> {
        let codes = [&self.decline_code, &self.code, &self.kind];
        codes.into_iter().flatten().map(|code| plain(code)).next()
    }
}

/// Returns a code that consists of the characters that Stripe uses; `unknown` for any other.
pub fn plain(code: &str) -> &str {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_[].".contains(&byte);
    if code.len() <= MAX_CODE_BYTES && !code.is_empty() && code.bytes().all(is_plain) {
        code
    } else {
        "unknown"
    }
}

impl IntentObject {
    /// `None` if an amount cannot be expressed.
    pub fn intent(&self, to_money: ToMoney) -> Option<Intent> {
        let money = |amount| to_money(amount, &self.currency);
        // Doubles of Stripe leave the two amounts out.
        let whole = |amount: Option<i64>| money(amount.unwrap_or(self.amount));
        let state = match self.status {
            IntentStatus::RequiresPaymentMethod
            | IntentStatus::RequiresConfirmation
            | IntentStatus::RequiresAction => IntentState::Unpaid,
            IntentStatus::Processing | IntentStatus::Other => IntentState::Processing,
            IntentStatus::RequiresCapture => IntentState::Authorised {
                amount: whole(self.amount_capturable)?,
            },
            IntentStatus::Succeeded => IntentState::Succeeded {
                amount: whole(self.amount_received)?,
            },
            IntentStatus::Canceled => IntentState::Cancelled,
        };
        Some(Intent {
            provider_reference: self.id.clone(),
            amount: money(self.amount)?,
            state,
        })
    }
}

impl RefundObject {
    /// `None` if the amount cannot be expressed.
    pub fn refund(&self, to_money: ToMoney) -> Option<Refund> {
        let state = match self.status.as_deref() {
            Some("succeeded") => RefundState::Succeeded,
            Some(status @ ("failed" | "canceled")) => RefundState::Failed {
                reason: plain(self.failure_reason.as_deref().unwrap_or(status)).to_owned(),
            },
            // Pending, a step that the buyer must take, and statuses to come.
            _ => RefundState::Pending,
        };
        Some(Refund {
            refund_reference: self.id.clone(),
            refund_id: id(self.metadata.refund_id.as_ref()),
            amount: to_money(self.amount, &self.currency)?,
            state,
        })
    }
}

/// An event, without its object, which only some types need.
#[derive(Deserialize)]
struct Envelope<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    created: i64,
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    object: &'a serde_json::value::RawValue,
}

/// Returns the events in a signed webhook: one or none.
///
/// # Errors
/// [`WebhookError::Unreadable`] if the body is not an event, or an event of a type that is used
/// here lacks a member.
pub fn events(body: &[u8], to_money: ToMoney) -> Result<Vec<ProviderEvent>, WebhookError> {
    let unreadable = |reason| {
        move |source| WebhookError::Unreadable {
            reason,
            source: Some(source),
        }
    };
    let envelope: Envelope<'_> = serde_json::from_slice(body).map_err(unreadable("event"))?;
    let object = envelope.data.object.get();
    let parts = match envelope.kind.as_str() {
        "payment_intent.amount_capturable_updated"
        | "payment_intent.succeeded"
        | "payment_intent.payment_failed"
        | "payment_intent.canceled" => {
            let intent = serde_json::from_str(object).map_err(unreadable("payment intent"))?;
            of_intent(&envelope.kind, intent, to_money)?
        }
        // Older versions of the API send only the last of these.
        "refund.created" | "refund.updated" | "refund.failed" | "charge.refund.updated" => {
            let refund = serde_json::from_str(object).map_err(unreadable("refund"))?;
            Some(of_refund(refund, to_money)?)
        }
        // Its refund has events of its own, to which an account may not be subscribed.
        "charge.refunded" => {
            let charge = serde_json::from_str(object).map_err(unreadable("charge"))?;
            Some(of_charge(charge))
        }
        "charge.dispute.created"
        | "charge.dispute.updated"
        | "charge.dispute.closed"
        | "charge.dispute.funds_withdrawn"
        | "charge.dispute.funds_reinstated" => {
            let dispute = serde_json::from_str(object).map_err(unreadable("dispute"))?;
            Some(of_dispute(dispute, to_money)?)
        }
        _ => None,
    };
    let Some(Parts {
        provider_reference,
        payment_id,
        order_id,
        kind,
    }) = parts
    else {
        return Ok(vec![]);
    };
    Ok(vec![ProviderEvent {
        id: envelope.id,
        provider_reference,
        payment_id,
        order_id,
        kind,
        at: Timestamp::from_millis(envelope.created.saturating_mul(1_000)),
    }])
}

/// A `ProviderEvent` without the members of its envelope.
struct Parts {
    provider_reference: String,
    payment_id: Option<Uuid>,
    order_id: Option<Uuid>,
    kind: EventKind,
}

fn of_intent(
    event_type: &str,
    object: IntentObject,
    to_money: ToMoney,
) -> Result<Option<Parts>, WebhookError> {
    let money = |amount: Option<i64>| {
        to_money(amount.unwrap_or(object.amount), &object.currency)
            .ok_or(WebhookError::unreadable("amount"))
    };
    // The type reports the event; the status may be of a later moment.
    let kind = match event_type {
        "payment_intent.amount_capturable_updated" => match object.amount_capturable {
            // A capture or an expiry has brought it to nothing, and has an event of its own.
            Some(0) => return Ok(None),
            amount => EventKind::Authorised {
                amount: money(amount)?,
            },
        },
        "payment_intent.succeeded" => EventKind::Succeeded {
            amount: money(object.amount_received)?,
        },
        "payment_intent.canceled" => EventKind::Cancelled,
        _ => EventKind::Failed {
            reason: object
                .last_payment_error
                .as_ref()
                .and_then(ErrorObject::code)
                .unwrap_or("unknown")
                .to_owned(),
        },
    };
    Ok(Some(Parts {
        payment_id: id(object.metadata.payment_id.as_ref()),
        order_id: id(object.metadata.order_id.as_ref()),
        provider_reference: object.id,
        kind,
    }))
}

fn of_refund(object: RefundObject, to_money: ToMoney) -> Result<Parts, WebhookError> {
    let refund = object
        .refund(to_money)
        .ok_or(WebhookError::unreadable("amount"))?;
    let Refund {
        refund_reference,
        refund_id,
        amount,
        state,
    } = refund;
    let kind = match state {
        RefundState::Pending => EventKind::RefundPending {
            refund_reference,
            refund_id,
            amount,
        },
        RefundState::Succeeded => EventKind::Refunded {
            refund_reference,
            refund_id,
            amount,
        },
        RefundState::Failed { reason } => EventKind::RefundFailed {
            refund_reference,
            refund_id,
            amount,
            reason,
        },
    };
    let provider_reference = object
        .payment_intent
        .or(object.charge)
        .map(Reference::into_id)
        .ok_or(WebhookError::unreadable("payment of the refund"))?;
    Ok(Parts {
        payment_id: id(object.metadata.payment_id.as_ref()),
        order_id: id(object.metadata.order_id.as_ref()),
        provider_reference,
        kind,
    })
}

fn of_charge(object: ChargeObject) -> Parts {
    let provider_reference = object.payment_intent.map(Reference::into_id);
    Parts {
        payment_id: None,
        order_id: None,
        provider_reference: provider_reference.unwrap_or(object.id),
        kind: EventKind::RefundsChanged,
    }
}

fn of_dispute(object: DisputeObject, to_money: ToMoney) -> Result<Parts, WebhookError> {
    let amount = to_money(object.amount, &object.currency);
    let provider_reference = object.payment_intent.or(object.charge);
    Ok(Parts {
        payment_id: None,
        order_id: None,
        provider_reference: provider_reference
            .map(Reference::into_id)
            .ok_or(WebhookError::unreadable("payment of the dispute"))?,
        kind: EventKind::Disputed {
            dispute_reference: object.id,
            amount: amount.ok_or(WebhookError::unreadable("amount"))?,
            state: match object.status.as_str() {
                "won" | "warning_closed" | "prevented" => DisputeState::Won,
                "lost" => DisputeState::Lost,
                // Evidence may be submitted or is examined, and statuses to come.
                _ => DisputeState::Open,
            },
        },
    })
}
