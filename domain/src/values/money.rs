//! Money, in minor units of a currency.

use iso_currency::Currency as IsoCurrency;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

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
