//! Personal data, and the commitment that lets the log vouch for it without containing it.
//!
//! Promise: after an erasure, the personal data cannot be recovered from anything that the hash
//! chain covers: the commitment is salted, and the salt is erased as well.
//! Limit: while `private` is present, every reader of the database can read it.
//!
//! The commitment is SHA-256 over `holdfast.private.v1`, the 16 bytes of the salt, and then for
//! each field that is present, in the order of the struct: the field's name and its text, each
//! preceded by its length in bytes as a big-endian 64-bit number. Two different contents never
//! share an encoding.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::values::{
    BuyerId, Commitment, DisplayName, PaymentReference, Salt, Tracking, as_stored,
};

/// The contents of the `private` column of the event that introduced them; erased by setting the
/// column to NULL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Private {
    /// Random. Without it, a guess at the fields cannot be checked against the commitment.
    pub salt: Salt,
    /// The shop's identifier of the buyer.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "as_stored"
    )]
    pub buyer_id: Option<BuyerId>,
    /// The name that the buyer agreed to show.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "as_stored"
    )]
    pub display_name: Option<DisplayName>,
    /// The payment system's identifier of the payment.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "as_stored"
    )]
    pub payment_reference: Option<PaymentReference>,
    /// The carrier's identifier of the parcel.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "as_stored"
    )]
    pub tracking: Option<Tracking>,
}

impl Private {
    /// The personal data of an event that introduces a buyer.
    #[must_use]
    pub fn buyer(salt: Salt, buyer_id: BuyerId, display_name: Option<DisplayName>) -> Self {
        Self {
            salt,
            buyer_id: Some(buyer_id),
            display_name,
            payment_reference: None,
            tracking: None,
        }
    }

    /// The personal data of a purchase.
    #[must_use]
    pub fn payment(salt: Salt, payment_reference: PaymentReference) -> Self {
        Self {
            salt,
            buyer_id: None,
            display_name: None,
            payment_reference: Some(payment_reference),
            tracking: None,
        }
    }

    /// The personal data of a shipment.
    #[must_use]
    pub fn shipment(salt: Salt, tracking: Tracking) -> Self {
        Self {
            salt,
            buyer_id: None,
            display_name: None,
            payment_reference: None,
            tracking: Some(tracking),
        }
    }

    /// Returns the commitment that the event's payload carries.
    #[must_use]
    pub fn commitment(&self) -> Commitment {
        let fields = [
            ("buyer_id", self.buyer_id.as_ref().map(BuyerId::as_str)),
            (
                "display_name",
                self.display_name.as_ref().map(DisplayName::as_str),
            ),
            (
                "payment_reference",
                self.payment_reference
                    .as_ref()
                    .map(PaymentReference::as_str),
            ),
            ("tracking", self.tracking.as_ref().map(Tracking::as_str)),
        ];
        let mut hasher = Sha256::new()
            .chain_update(b"holdfast.private.v1")
            .chain_update(self.salt.0);
        for (name, text) in fields {
            let Some(text) = text else { continue };
            for part in [name, text] {
                hasher.update((part.len() as u64).to_be_bytes());
                hasher.update(part.as_bytes());
            }
        }
        Commitment(hasher.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alice(salt: u8, display_name: Option<&str>) -> Private {
        Private::buyer(
            Salt([salt; 16]),
            BuyerId::new("alice").unwrap(),
            display_name.map(|name| DisplayName::new(name).unwrap()),
        )
    }

    #[test]
    fn commitment_depends_on_every_field_and_the_salt() {
        let commitment = alice(1, Some("Al")).commitment();
        assert_eq!(commitment, alice(1, Some("Al")).commitment());
        assert_ne!(commitment, alice(2, Some("Al")).commitment());
        assert_ne!(commitment, alice(1, None).commitment());
        assert_ne!(commitment, alice(1, Some("A")).commitment());
    }

    #[test]
    fn private_data_round_trips_and_rejects_unknown_fields() {
        let json = serde_json::to_string(&alice(1, None)).unwrap();
        assert_eq!(
            serde_json::from_str::<Private>(&json).unwrap(),
            alice(1, None)
        );
        assert!(serde_json::from_str::<Private>(r#"{"salt":"00","age":4}"#).is_err());
        for altered in [
            r#""buyer_id":" alice""#,
            r#""buyer_id":"alice\n""#,
            r#""buyer_id":null"#,
        ] {
            let altered = json.replace(r#""buyer_id":"alice""#, altered);
            assert!(altered != json && serde_json::from_str::<Private>(&altered).is_err());
        }
    }
}
