//! Money, in minor units of a currency.

use std::cmp::Ordering;
use std::fmt;

use iso_currency::{Currency as IsoCurrency, IntoEnumIterator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::visitor::TextVisitor;
use super::{InvalidValue, Quantity};

/// Codes that were withdrawn from ISO 4217. The log may contain them; a new price must not.
///
/// Source: ISO 4217 list one, published 2026-01-01, compared with the codes of `iso_currency`
/// 0.5.3.
const WITHDRAWN: [&str; 5] = ["BGN", "CUC", "HRK", "SLL", "ZWL"];

/// An ISO 4217 currency.
///
/// Deserializing accepts every code that was ever accepted, so that the log stays readable;
/// [`Currency::new`] accepts only the codes that are valid for a new price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency(IsoCurrency);

impl Currency {
    /// Accepts the three-letter code, in capitals, of a current currency that has a minor unit.
    ///
    /// # Errors
    /// [`InvalidValue`] if ISO 4217 does not list the code, if the code was withdrawn, or if it has
    /// no exponent (gold, special drawing rights, test codes): an amount in minor units would have
    /// no meaning.
    pub fn new(code: &str) -> Result<Self, InvalidValue> {
        let currency = Self::recorded(code)?;
        if currency.0.exponent().is_none() {
            return Err(InvalidValue::new(format!(
                "must be a currency with a minor unit; ISO 4217 defines none for {code}"
            )));
        }
        if WITHDRAWN.contains(&code) {
            return Err(InvalidValue::new(format!(
                "must be a current ISO 4217 currency code; {code} was withdrawn"
            )));
        }
        Ok(currency)
    }

    /// Accepts every code that an event may contain.
    fn recorded(code: &str) -> Result<Self, InvalidValue> {
        IsoCurrency::from_code(code)
            .map(Self)
            .ok_or_else(|| InvalidValue::new("must be an ISO 4217 currency code, for example USD"))
    }

    /// Returns the currencies that are valid for a new price, by code.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut all: Vec<Self> = IsoCurrency::iter()
            .filter_map(|currency| Self::new(currency.code()).ok())
            .collect();
        all.sort_unstable_by_key(|currency| currency.code());
        all
    }

    /// Returns the number of decimals of the currency: 2 for USD, 0 for JPY, 3 for KWD.
    ///
    /// ISO 4217 decides, not common usage: HUF has 2. Codes without a minor unit, which only an old
    /// log can contain, count as 0.
    #[must_use]
    pub fn exponent(self) -> u16 {
        self.0.exponent().unwrap_or_default()
    }

    #[must_use]
    pub fn code(self) -> &'static str {
        self.0.code()
    }
}

/// By code.
impl Ord for Currency {
    fn cmp(&self, other: &Self) -> Ordering {
        self.code().cmp(other.code())
    }
}

impl PartialOrd for Currency {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor(Self::recorded))
    }
}

/// An amount of money in the currency's minor units by ISO 4217 (cents for USD, yen for JPY, fillér
/// for HUF).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Money {
    /// Minor units, never negative.
    pub amount: i64,
    /// The currency that `amount` counts.
    pub currency: Currency,
}

impl Money {
    /// The largest price of one unit, in minor units.
    pub const MAX_PRICE: i64 = 1_000_000_000_000;

    /// # Errors
    /// As [`Money::check_price`].
    pub fn price(amount: i64, currency: Currency) -> Result<Self, InvalidValue> {
        Self::check_price(amount)?;
        Ok(Self { amount, currency })
    }

    /// Checks if `amount` is a valid price of one unitin any currency.
    ///
    /// # Errors
    /// [`InvalidValue`] if `amount` is negative or above [`Money::MAX_PRICE`].
    pub fn check_price(amount: i64) -> Result<(), InvalidValue> {
        if (0..=Self::MAX_PRICE).contains(&amount) {
            return Ok(());
        }
        Err(InvalidValue::new(format!(
            "must be a whole number of minor units from 0 to {}",
            Self::MAX_PRICE
        )))
    }

    /// Returns `quantity` times this amount. A price and a quantity within their bounds cannot
    /// overflow.
    #[must_use]
    pub fn times(self, quantity: Quantity) -> Self {
        Self {
            amount: self.amount * i64::from(quantity.get()),
            currency: self.currency,
        }
    }
}

/// In the usual notation: `199.99 USD`, `2500000 JPY`.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = usize::from(self.currency.exponent());
        let unit = 10_u64.pow(self.currency.exponent().into());
        let (amount, code) = (self.amount.unsigned_abs(), self.currency.code());
        let sign = if self.amount < 0 { "-" } else { "" };
        match decimals {
            0 => write!(f, "{sign}{amount} {code}"),
            _ => write!(
                f,
                "{sign}{}.{:0decimals$} {code}",
                amount / unit,
                amount % unit
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_displayed_with_its_currencys_decimals() {
        for (amount, code, text) in [
            (19_999, "USD", "199.99 USD"),
            (5, "EUR", "0.05 EUR"),
            (2_500_000, "JPY", "2500000 JPY"),
            (1_234, "KWD", "1.234 KWD"),
            (1_234_567, "HUF", "12345.67 HUF"),
            (10_001, "UYW", "1.0001 UYW"),
        ] {
            let currency = Currency::new(code).unwrap();
            assert_eq!(Money { amount, currency }.to_string(), text);
        }
    }

    #[test]
    fn price_currency_must_be_current_and_have_a_minor_unit() {
        for code in ["USD", "HUF", "XCG", "ZWG", "SLE", "CLF"] {
            assert!(Currency::new(code).is_ok(), "{code}");
        }
        let without_minor_unit = [
            "XAG", "XAU", "XBA", "XBB", "XBC", "XBD", "XDR", "XPD", "XPT", "XSU", "XTS", "XUA",
            "XXX",
        ];
        for code in without_minor_unit.iter().chain(&WITHDRAWN) {
            assert!(Currency::new(code).is_err(), "{code}");
            let recorded: Currency = serde_json::from_value((*code).into()).unwrap();
            assert_eq!(recorded.code(), *code, "an old log stays readable");
        }
        assert!(Currency::new("ANG").is_err(), "replaced by XCG in 2025");
        assert_eq!(Currency::all().len(), 164);
    }
}
