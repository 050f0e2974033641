//! Payment providers, behind one trait: the built-in [`Demo`] and [`Stripe`].
//!
//! ```text
//!  start ──▶ unpaid ──the buyer pays──▶ authorised ──capture──▶ succeeded ──refund──▶ refunded
//!              │ ▲                         │
//!              │ └─ declined: try again    │
//!              └────────── cancel ─────────┴──▶ cancelled
//! ```
//!
//! Payments are authorised first and captured when the units are sold, so late money is cancelled
//! and not refunded (docs/decisions/0057-payments-are-authorised-first.md).
//!
//! Promise: every call may be repeated with one effect: the idempotency keys of starts and refunds
//! are derived from their ids, and an intent allows one capture or cancellation; a webhook yields
//! events only if its signature is valid; no secret is in a log line, a `Debug` text or an error.
//! Limit: a provider keeps no record of its own. The caller records an intent's reference before it
//! relies on it, and deduplicates events by their id.

pub mod amounts;
pub mod demo;
pub mod error;
pub mod event;
mod object;
pub mod provider;
pub mod secret;
pub mod signature;
pub mod stripe;

pub use amounts::AmountRefused;
pub use demo::{Demo, Scenario};
pub use error::{PaymentError, WebhookError};
pub use event::{DisputeState, EventKind, ProviderEvent};
pub use provider::{
    Intent, IntentState, PaymentProvider, PaymentToStart, Provider, Refund, RefundState,
    RefundToMake, StartedPayment,
};
pub use secret::Secret;
pub use signature::SignatureInvalid;
pub use stripe::{Stripe, StripeSettings};
