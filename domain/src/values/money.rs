//! Money, in minor units of a currency.

use std::fmt;

use iso_currency::Currency as IsoCurrency;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::visitor::TextVisitor;
use super::{InvalidValue, Quantity};

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
        deserializer.deserialize_str(TextVisitor(Self::new))
    }
}

/// An amount of money in the currency's minor units (cents for USD, yen for JPY).
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

    /// A price for one unit.
    ///
    /// # Errors
    /// As [`Money::check_price`].
    pub fn price(amount: i64, currency: Currency) -> Result<Self, InvalidValue> {
        Self::check_price(amount)?;
        Ok(Self { amount, currency })
    }

    /// Whether one unit may cost `amount`, whatever the currency.
    ///
    /// # Errors
    /// [`InvalidValue`] when `amount` is negative or above [`Money::MAX_PRICE`].
    pub fn check_price(amount: i64) -> Result<(), InvalidValue> {
        if (0..=Self::MAX_PRICE).contains(&amount) {
            return Ok(());
        }
        Err(InvalidValue::new(format!(
            "must be a whole number of minor units from 0 to {}",
            Self::MAX_PRICE
        )))
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

/// As people write it: `199.99 USD`, `2500000 JPY`.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = usize::from(self.currency.0.exponent().unwrap_or_default());
        let unit = 10_u64.pow(self.currency.0.exponent().unwrap_or_default().into());
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
    fn money_is_written_with_its_currencys_decimals() {
        for (amount, code, text) in [
            (19_999, "USD", "199.99 USD"),
            (5, "EUR", "0.05 EUR"),
            (2_500_000, "JPY", "2500000 JPY"),
            (1_234, "KWD", "1.234 KWD"),
        ] {
            let currency = Currency::new(code).unwrap();
            assert_eq!(Money { amount, currency }.to_string(), text);
        }
    }
}
