//! The demo's references: each contains its payment and amount, under a digest.
//!
//! After a restart, when the demo's memory is empty, an intent is known again from its reference.

use domain::values::{Currency, Money};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use uuid::Uuid;

use crate::secret::Secret;

/// Derives everything that has to be the same after a restart and on every node.
#[derive(Debug)]
pub struct Seed(Secret);

/// The parts of a reference: `demo_PAYMENT_NUMBER_AMOUNTCURRENCY_DIGEST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    pub payment_id: Uuid,
    /// 1, or 2 for the second intent of a buyer who pays twice.
    pub number: u8,
    pub amount: Money,
}

impl Seed {
    pub const fn new(secret: Secret) -> Self {
        Self(secret)
    }

    /// Returns `digits` hexadecimal digits, at most 64, that depend on the seed, `purpose` and
    /// `text`.
    pub fn derive(&self, purpose: &str, text: &str, digits: usize) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose().as_bytes())
            .expect("HMAC takes keys of any length");
        for part in [purpose, "\0", text] {
            mac.update(part.as_bytes());
        }
        let mut hex = hex::encode(mac.finalize().into_bytes());
        hex.truncate(digits);
        hex
    }

    pub fn reference(&self, parts: Parts) -> String {
        let Parts {
            payment_id,
            number,
            amount: Money { amount, currency },
        } = parts;
        let payment = payment_id.simple();
        let text = format!("demo_{payment}_{number}_{amount}{}", currency.code());
        let digest = self.derive("reference", &text, 16);
        format!("{text}_{digest}")
    }

    /// Returns the parts of a reference of this seed.
    pub fn parse(&self, reference: &str) -> Option<Parts> {
        let fields: Vec<&str> = reference.split('_').collect();
        let ["demo", payment, number, amount, _] = fields[..] else {
            return None;
        };
        let (amount, currency) = amount.split_at_checked(amount.len().checked_sub(3)?)?;
        let parts = Parts {
            payment_id: Uuid::parse_str(payment).ok()?,
            number: number.parse().ok()?,
            amount: Money {
                amount: amount.parse().ok()?,
                currency: Currency::new(currency).ok()?,
            },
        };
        (self.reference(parts) == reference).then_some(parts)
    }

    pub fn client_secret(&self, reference: &str) -> Secret {
        let digest = self.derive("client secret", reference, 32);
        Secret::new(format!("{reference}_secret_{digest}"))
    }

    /// Returns the reference that a client secret grants access to.
    pub fn of_client_secret<'a>(&self, client_secret: &'a str) -> Option<&'a str> {
        let (reference, _) = client_secret.split_once("_secret_")?;
        (self.client_secret(reference).expose() == client_secret).then_some(reference)
    }
}
