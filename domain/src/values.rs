//! The values that rules are written in: checked once, where they enter, and trusted from there on.
//!
//! Promise: a value of one of these types satisfies its rule, so nothing below the edge checks it again.
//! Limit: a rule that needs two values (an end after its start) belongs to the command that sees both.

mod digests;
mod ids;
mod money;
mod numbers;
mod places;
mod texts;
mod time;
mod visitor;

pub use self::digests::{Commitment, KeyDigest, Salt};
pub use self::ids::{AdjustmentId, DropId, HoldId, Pseudonym, PurchaseId, WaitlistId};
pub use self::money::{Currency, Money};
pub use self::numbers::{
    BuyerLimit, HoldSeconds, Quantity, StockCount, Throttle, ThrottleHolds, ThrottleSeconds,
};
pub use self::places::{Position, Sequence};
pub(crate) use self::texts::as_stored;
pub use self::texts::{
    BuyerId, Description, DisplayName, DropName, ImageUrl, PaymentReference, Reason,
};
pub use self::time::Timestamp;

/// Why a value was turned away: a sentence that completes "the value …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValue(pub String);

impl InvalidValue {
    fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_timestamp_is_written_with_three_decimals_and_read_back() {
        let at = Timestamp::from_millis(1_700_000_000_120);
        assert_eq!(at.to_string(), "2023-11-14T22:13:20.120Z");
        assert_eq!(at.to_string().parse::<Timestamp>().unwrap(), at);
    }

    #[test]
    fn a_quantity_is_one_to_a_thousand() {
        assert!(Quantity::new(0).is_err());
        assert!(Quantity::new(-1).is_err());
        assert_eq!(Quantity::new(1).unwrap().get(), 1);
        assert_eq!(Quantity::new(1_000).unwrap().get(), 1_000);
        assert!(Quantity::new(1_001).is_err());
        assert!(Quantity::new(i64::MAX).is_err());
    }

    #[test]
    fn texts_are_counted_in_characters_and_refuse_control_characters() {
        assert!(DropName::new(&"é".repeat(200)).is_ok());
        assert!(DropName::new(&"é".repeat(201)).is_err());
        assert!(DropName::new("  ").is_err());
        assert!(DropName::new("a\0b").is_err());
        assert!(Description::new("two\nlines").is_ok());
    }

    #[test]
    fn buyers_are_compared_without_case_and_outer_white_space() {
        let one = BuyerId::new("  Alice@Example.com ").unwrap();
        let other = BuyerId::new("alice@example.COM").unwrap();
        assert_eq!(one.comparable(), other.comparable());
        assert_eq!(one.as_str(), "Alice@Example.com");
    }

    #[test]
    fn a_key_is_visible_ascii_and_its_digest_depends_on_the_scope() {
        assert!(KeyDigest::new(b"s", b"").is_err());
        assert!(KeyDigest::new(b"s", b"a b").is_err());
        assert!(KeyDigest::new(b"s", &[b'k'; 255]).is_ok());
        assert!(KeyDigest::new(b"s", &[b'k'; 256]).is_err());
        assert_ne!(
            KeyDigest::new(b"ab", b"c").unwrap(),
            KeyDigest::new(b"a", b"bc").unwrap()
        );
    }

    #[test]
    fn an_unknown_currency_is_refused() {
        assert!(Currency::new("USD").is_ok());
        assert!(Currency::new("usd").is_err());
        assert!(Currency::new("XYZ").is_err());
    }

    #[test]
    fn a_hold_id_carries_its_drop() {
        let drop_id = DropId(Uuid::from_u128(0x0123_4567_89ab_4def_8123_4567_89ab_cdef));
        let hold = HoldId::for_drop(drop_id, Uuid::from_u128(u128::MAX));
        assert_eq!(hold.prefix(), drop_id.prefix());
        assert_ne!(hold.0, drop_id.0);
    }
}
