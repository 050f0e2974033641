//! The values that rules are written in: checked once, where they enter, and trusted from there on.
//!
//! Promise: a value of one of these types satisfies its rule, so nothing below the edge checks it again.
//! Limit: a rule that needs two values (an end after its start) belongs to the command that sees both.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use iso_currency::Currency as IsoCurrency;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Why a value was turned away: a sentence that completes "the value …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValue(pub String);

impl InvalidValue {
    fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// An instant: whole milliseconds since the Unix epoch, UTC. On the wire RFC 3339 with three decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The latest instant that RFC 3339 can write: 9999-12-31T23:59:59.999Z.
    pub const MAX: Self = Self(253_402_300_799_999);

    /// From milliseconds since the Unix epoch, held within 1970-01-01 and [`Timestamp::MAX`].
    #[must_use]
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.clamp(0, Self::MAX.0))
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// This instant and `seconds` more.
    #[must_use]
    pub fn plus_seconds(self, seconds: u32) -> Self {
        Self::from_millis(self.0 + i64::from(seconds) * 1000)
    }

    /// This instant and `millis` more (or fewer, when negative).
    #[must_use]
    pub fn plus_millis(self, millis: i64) -> Self {
        Self::from_millis(self.0.saturating_add(millis))
    }

    /// The start of the minute that this instant falls in.
    #[must_use]
    pub const fn minute(self) -> Self {
        Self(self.0 - self.0.rem_euclid(60_000))
    }
}

impl From<Timestamp> for DateTime<Utc> {
    fn from(at: Timestamp) -> Self {
        DateTime::from_timestamp_millis(at.0).unwrap_or_default()
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(at: DateTime<Utc>) -> Self {
        Self::from_millis(at.timestamp_millis())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&DateTime::<Utc>::from(*self).to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

impl FromStr for Timestamp {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let at = DateTime::parse_from_rfc3339(text).map_err(|_| {
            InvalidValue::new("must be an RFC 3339 time, for example 2026-01-31T18:00:00.000Z")
        })?;
        if (0..=Self::MAX.0).contains(&at.timestamp_millis()) {
            Ok(at.with_timezone(&Utc).into())
        } else {
            Err(InvalidValue::new("must be a time from 1970 to 9999"))
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidValue;

            fn from_str(text: &str) -> Result<Self, InvalidValue> {
                Uuid::parse_str(text).map(Self).map_err(|_| InvalidValue::new("must be a UUID"))
            }
        }
    };
}

uuid_id!(
    /// Names one drop; also the id of its stream in the log.
    DropId
);
uuid_id!(
    /// Names one hold. Unguessable: knowing it is the right to buy or to release.
    HoldId
);
uuid_id!(
    /// Names one purchase.
    PurchaseId
);
uuid_id!(
    /// Names one stock adjustment.
    AdjustmentId
);
uuid_id!(
    /// A buyer inside one drop, as the log knows them: random, and linked to nobody outside `private`.
    Pseudonym
);

impl HoldId {
    /// A hold id that carries its drop: the first four bytes are the drop's, the rest come from `random`.
    ///
    /// So a hold is found from its id alone, with no table from hold to drop. Ninety random bits remain.
    #[must_use]
    pub fn for_drop(drop_id: DropId, random: Uuid) -> Self {
        let mut bytes = *random.as_bytes();
        bytes[..4].copy_from_slice(&drop_id.prefix());
        Self(Uuid::from_bytes(bytes))
    }

    /// The four bytes that a hold id shares with its drop's.
    #[must_use]
    pub fn prefix(self) -> [u8; 4] {
        prefix(self.0)
    }
}

impl DropId {
    /// The four bytes that every hold id of this drop starts with.
    #[must_use]
    pub fn prefix(self) -> [u8; 4] {
        prefix(self.0)
    }
}

fn prefix(id: Uuid) -> [u8; 4] {
    let bytes = id.as_bytes();
    [bytes[0], bytes[1], bytes[2], bytes[3]]
}

macro_rules! bounded_number {
    ($(#[$doc:meta])* $name:ident, $min:literal ..= $max:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "i64", into = "i64")]
        pub struct $name(u32);

        impl $name {
            /// The smallest value allowed.
            pub const MIN: u32 = $min;
            /// The largest value allowed.
            pub const MAX: u32 = $max;

            /// Accepts a whole number within the bounds.
            ///
            /// # Errors
            /// [`InvalidValue`] names the bounds.
            pub fn new(value: i64) -> Result<Self, InvalidValue> {
                match u32::try_from(value) {
                    Ok(value) if (Self::MIN..=Self::MAX).contains(&value) => Ok(Self(value)),
                    _ => Err(InvalidValue::new(format!(
                        concat!("must be a whole number of ", $what, " from {} to {}"),
                        Self::MIN, Self::MAX
                    ))),
                }
            }

            /// The number itself.
            #[must_use]
            pub const fn get(self) -> u32 {
                self.0
            }
        }

        impl TryFrom<i64> for $name {
            type Error = InvalidValue;
            fn try_from(value: i64) -> Result<Self, InvalidValue> {
                Self::new(value)
            }
        }

        impl From<$name> for i64 {
            fn from(value: $name) -> i64 {
                i64::from(value.0)
            }
        }
    };
}

bounded_number!(
    /// Units asked for by one hold.
    Quantity, 1..=1_000, "units"
);
bounded_number!(
    /// Units that a drop offers in all.
    StockCount, 0..=10_000_000, "units"
);
bounded_number!(
    /// How long a hold lasts, in seconds.
    HoldSeconds, 1..=3_600, "seconds"
);
bounded_number!(
    /// The most units that one buyer may hold and have bought, across holds.
    BuyerLimit, 1..=10_000_000, "units"
);
bounded_number!(
    /// The most holds that one buyer may place within a throttle's window.
    ThrottleHolds, 1..=10_000, "holds"
);
bounded_number!(
    /// The length of a throttle's window, in seconds.
    ThrottleSeconds, 1..=86_400, "seconds"
);

macro_rules! bounded_text {
    ($(#[$doc:meta])* $name:ident, $min:literal ..= $max:literal, $rule:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// The longest text allowed, in characters.
            pub const MAX_CHARS: usize = $max;

            /// Trims the text and accepts it within the bounds.
            ///
            /// # Errors
            /// [`InvalidValue`] names the bounds, or the kind of character that is not allowed.
            pub fn new(text: &str) -> Result<Self, InvalidValue> {
                checked_text(text, $min, $max, $rule).map(Self)
            }

            /// The text itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidValue;
            fn try_from(text: String) -> Result<Self, InvalidValue> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0.into()
            }
        }
    };
}

fn one_line(text: &str) -> Result<(), InvalidValue> {
    no_control(text, |_| false)
}

fn many_lines(text: &str) -> Result<(), InvalidValue> {
    no_control(text, |c| matches!(c, '\r' | '\n' | '\t'))
}

fn no_control(text: &str, except: fn(char) -> bool) -> Result<(), InvalidValue> {
    if text.chars().any(|c| c.is_control() && !except(c)) {
        return Err(InvalidValue::new("must not contain control characters"));
    }
    Ok(())
}

fn picture_address(text: &str) -> Result<(), InvalidValue> {
    one_line(text)?;
    let starts = ["https://", "http://", "/", "data:image/"];
    if starts.iter().any(|start| text.starts_with(start)) {
        return Ok(());
    }
    Err(InvalidValue::new(
        "must be an http or https address, a path on this server, or a data:image/ URL",
    ))
}

fn checked_text(
    text: &str,
    min: usize,
    max: usize,
    rule: fn(&str) -> Result<(), InvalidValue>,
) -> Result<Box<str>, InvalidValue> {
    let text = text.trim();
    // Bytes are at least as many as characters, so the usual short text is not counted.
    let fits = text.len() <= max || text.chars().count() <= max;
    if text.len() < min || !fits {
        return Err(InvalidValue::new(format!(
            "must have {min} to {max} characters"
        )));
    }
    rule(text)?;
    Ok(text.into())
}

bounded_text!(
    /// A drop's name, as shoppers read it.
    DropName, 1..=200, one_line
);
bounded_text!(
    /// A drop's description; line breaks are kept.
    Description, 0..=5_000, many_lines
);
bounded_text!(
    /// Where a drop's picture is: an absolute `http(s)` address, a path on this server, or a `data:` URL.
    ImageUrl, 1..=2_048, picture_address
);
bounded_text!(
    /// Why stock was adjusted.
    Reason, 1..=500, one_line
);
bounded_text!(
    /// The name that a buyer agreed to show to others.
    DisplayName, 1..=100, one_line
);
bounded_text!(
    /// What the shop's payment system calls a payment.
    PaymentReference, 1..=200, one_line
);
bounded_text!(
    /// What the shop calls a buyer. Two that differ only in case or outer white space are one buyer.
    BuyerId, 1..=128, one_line
);

impl BuyerId {
    /// The form that buyers are compared by: lower case.
    #[must_use]
    pub fn comparable(&self) -> String {
        self.0.to_lowercase()
    }
}

/// An ISO 4217 currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency(IsoCurrency);

impl Currency {
    /// Accepts a three-letter code in capitals.
    ///
    /// # Errors
    /// [`InvalidValue`] when ISO 4217 has no such code.
    pub fn new(code: &str) -> Result<Self, InvalidValue> {
        IsoCurrency::from_code(code)
            .map(Self)
            .ok_or_else(|| InvalidValue::new("must be an ISO 4217 currency code, for example USD"))
    }

    /// The three-letter code.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.0.code()
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// An amount of money in the currency's minor units (cents for USD, yen for JPY).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    /// Minor units, never negative.
    pub amount: i64,
    /// The currency that `amount` counts.
    pub currency: Currency,
}

impl Money {
    /// The largest price of one unit, in minor units.
    pub const MAX_PRICE: i64 = 1_000_000_000_000;

    /// A price for one unit.
    ///
    /// # Errors
    /// [`InvalidValue`] when `amount` is negative or above [`Money::MAX_PRICE`].
    pub fn price(amount: i64, currency: Currency) -> Result<Self, InvalidValue> {
        if (0..=Self::MAX_PRICE).contains(&amount) {
            Ok(Self { amount, currency })
        } else {
            Err(InvalidValue::new(format!(
                "must be a whole number of minor units from 0 to {}",
                Self::MAX_PRICE
            )))
        }
    }

    /// This amount `quantity` times. A price and a quantity within their bounds cannot overflow.
    #[must_use]
    pub fn times(self, quantity: Quantity) -> Self {
        Self {
            amount: self.amount * i64::from(quantity.get()),
            currency: self.currency,
        }
    }
}

/// At most `holds` holds by one buyer within any `window_seconds`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttle {
    /// Holds allowed within the window.
    pub holds: ThrottleHolds,
    /// Length of the sliding window, in seconds.
    pub window_seconds: ThrottleSeconds,
}

/// An idempotency key as the log keeps it: the first 16 bytes of a SHA-256, so that what a caller
/// writes into a key never reaches the log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyDigest([u8; 16]);

impl KeyDigest {
    /// The longest key accepted, in characters.
    pub const MAX_CHARS: usize = 255;

    /// Digests `key`, which is 1 to 255 visible ASCII characters, within `scope` (what the key is unique in).
    ///
    /// # Errors
    /// [`InvalidValue`] when the key is empty, too long, or has other characters.
    pub fn new(scope: &[u8], key: &[u8]) -> Result<Self, InvalidValue> {
        let visible = key.iter().all(u8::is_ascii_graphic);
        if key.is_empty() || key.len() > Self::MAX_CHARS || !visible {
            return Err(InvalidValue::new(
                "must have 1 to 255 visible ASCII characters",
            ));
        }
        let digest = Sha256::new()
            .chain_update(b"holdfast.key.v1")
            .chain_update((scope.len() as u64).to_be_bytes())
            .chain_update(scope)
            .chain_update(key)
            .finalize();
        let mut short = [0; 16];
        short.copy_from_slice(&digest[..16]);
        Ok(Self(short))
    }
}

macro_rules! hex_bytes {
    ($name:ident, $length:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = [0u8; $length * 2];
                hex::encode_to_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
                f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidValue;

            fn from_str(text: &str) -> Result<Self, InvalidValue> {
                let mut bytes = [0u8; $length];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| {
                    InvalidValue::new(format!("must be {} hexadecimal digits", $length * 2))
                })?;
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?
                    .parse()
                    .map_err(de::Error::custom)
            }
        }
    };
}

hex_bytes!(KeyDigest, 16);

/// A salted SHA-256 that commits the log to personal data it does not contain. See [`crate::private`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Commitment(pub [u8; 32]);
hex_bytes!(Commitment, 32);

/// The random salt of a [`Commitment`]: without it, a guess cannot be checked.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Salt(pub [u8; 16]);
hex_bytes!(Salt, 16);

/// An event's place in the whole log: dense, in commit order, from 1. 0 is before the first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Position(pub u64);

/// An event's place in its own stream: from 1, no gaps. 0 is before the first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Sequence(pub u64);

macro_rules! log_number {
    ($name:ident) => {
        impl $name {
            /// The place after this one.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}
log_number!(Position);
log_number!(Sequence);

#[cfg(test)]
mod tests {
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
