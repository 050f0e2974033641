//! Amounts as Stripe counts them, which is not always as ISO 4217 does.
//!
//! Promise: a converted amount is exactly the same money, or it is refused; nothing is rounded.
//! Limit: minimum amounts and the currencies of an account are known to Stripe only; it declines
//! with `amount_too_small`, `invalid_currency` and the like.
//!
//! Source: Stripe's page «Supported currencies» (docs.stripe.com/currencies). Its edition of 2026
//! has "Currencies are two-decimal currencies unless otherwise specified" and the table of special
//! cases; the lists of zero-decimal and three-decimal currencies are from the edition of 2024.

use domain::values::{Currency, Money};

/// Zero-decimal at Stripe. ISO 4217 agrees except for MGA, which has two decimals there.
///
/// Stripe's list also has UGX, which its table of special cases contradicts with an example; the
/// table decides (see [`WHOLE_UNITS`]).
const ZERO_DECIMAL: [&str; 15] = [
    "BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF",
    "XOF", "XPF",
];

/// Sent with two decimals, which must be 00, "for backwards compatibility"; ISO 4217 defines none.
/// HUF and TWD have two decimals in charges; only their payouts are restricted.
const WHOLE_UNITS: [&str; 2] = ["ISK", "UGX"];

/// Sent with three decimals, of which the last must be 0.
const THREE_DECIMAL: [&str; 5] = ["BHD", "JOD", "KWD", "OMR", "TND"];

/// The largest amount of one charge, in Stripe's units: twelve digits, for most cards. Other ways
/// to pay have lower limits, which Stripe applies.
pub const MAX: i64 = 999_999_999_999;

/// Why a provider cannot charge an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AmountRefused {
    #[error("an amount must be more than 0")]
    NotPositive,
    #[error("the amount has more than the {} digits that the provider accepts", MAX.ilog10() + 1)]
    TooLarge,
    /// The currency's smallest amount at the provider is larger than its minor unit.
    #[error("the provider accepts {currency} only in multiples of {step} minor units")]
    NotMultiple {
        currency: &'static str,
        /// In ISO 4217 minor units.
        step: i64,
    },
    #[error("the provider does not offer the currency {0}")]
    Currency(&'static str),
}

/// How Stripe counts a currency.
struct Scale {
    decimals: u32,
    /// Amounts must be multiples of this, in Stripe's units.
    step: i64,
}

fn scale(currency: Currency) -> Result<Scale, AmountRefused> {
    let code = currency.code();
    let scale = |decimals, step| Ok(Scale { decimals, step });
    if ZERO_DECIMAL.contains(&code) {
        return scale(0, 1);
    }
    if WHOLE_UNITS.contains(&code) {
        return scale(2, 100);
    }
    if THREE_DECIMAL.contains(&code) {
        return scale(3, 10);
    }
    // A currency with other decimals that Stripe does not list would be counted differently by the
    // two sides.
    match currency.exponent() {
        2 => scale(2, 1),
        _ => Err(AmountRefused::Currency(code)),
    }
}

/// Returns `money` in Stripe's units.
///
/// # Errors
/// [`AmountRefused`]
pub fn to_stripe(money: Money) -> Result<i64, AmountRefused> {
    let Scale { decimals, step } = scale(money.currency)?;
    if money.amount <= 0 {
        return Err(AmountRefused::NotPositive);
    }
    let (ours, theirs) = units(money.currency, decimals);
    let scaled = i128::from(money.amount) * theirs;
    let step_scaled = i128::from(step) * ours;
    if scaled % step_scaled != 0 {
        // The smallest number of minor units that Stripe can express.
        let step = i64::try_from(step_scaled / theirs).unwrap_or(i64::MAX);
        let currency = money.currency.code();
        return Err(AmountRefused::NotMultiple { currency, step });
    }
    i64::try_from(scaled / ours)
        .ok()
        .filter(|amount| *amount <= MAX)
        .ok_or(AmountRefused::TooLarge)
}

/// Returns an amount in Stripe's units, of a currency in Stripe's spelling, as money. `None` if
/// the currency is unknown, or the amount has a fraction that ISO 4217 does not express.
#[must_use]
pub fn from_stripe(amount: i64, currency: &str) -> Option<Money> {
    let currency = Currency::new(&currency.to_ascii_uppercase()).ok()?;
    let Scale { decimals, .. } = scale(currency).ok()?;
    let (ours, theirs) = units(currency, decimals);
    let scaled = i128::from(amount) * ours;
    if amount < 0 || scaled % theirs != 0 {
        return None;
    }
    let amount = i64::try_from(scaled / theirs).ok()?;
    Some(Money { amount, currency })
}

/// Returns the number of ISO 4217 minor units and of Stripe's units in one unit of the currency.
fn units(currency: Currency, decimals: u32) -> (i128, i128) {
    (
        10_i128.pow(currency.exponent().into()),
        10_i128.pow(decimals),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(amount: i64, code: &str) -> Money {
        let currency = Currency::new(code).unwrap();
        Money { amount, currency }
    }

    #[test]
    fn amounts_are_counted_as_stripe_documents() {
        for (ours, code, theirs) in [
            // "1000 to charge 10 USD", "10 to charge 10 JPY", "500 to charge 500 JPY".
            (1_000, "USD", 1_000),
            (10, "JPY", 10),
            (500, "KRW", 500),
            // "to charge 5 ISK, provide an amount value of 500"; UGX alike.
            (5, "ISK", 500),
            (5, "UGX", 500),
            // "you can charge two-decimal amounts"
            (1_045, "HUF", 1_045),
            (80_045, "TWD", 80_045),
            // "5.124 KWD must be rounded to 5120 or 5130"
            (5_120, "KWD", 5_120),
            (5_130, "TND", 5_130),
            // Two decimals in ISO 4217, none at Stripe.
            (50_000, "MGA", 500),
        ] {
            let money = money(ours, code);
            assert_eq!(to_stripe(money), Ok(theirs), "{money}");
            assert_eq!(from_stripe(theirs, &code.to_lowercase()), Some(money));
        }
    }

    #[test]
    fn amounts_that_stripe_cannot_express_are_refused_and_not_rounded() {
        for (amount, code, step) in [(5_124, "KWD", 10), (1, "OMR", 10), (50_050, "MGA", 100)] {
            let refused = AmountRefused::NotMultiple {
                currency: Currency::new(code).unwrap().code(),
                step,
            };
            assert_eq!(to_stripe(money(amount, code)), Err(refused));
        }
        // Half a króna, of which ISO 4217 knows no half; more digits than fit; unknown currencies.
        assert_eq!(from_stripe(550, "isk"), None);
        assert_eq!(from_stripe(i64::MAX, "mga"), None);
        assert_eq!(from_stripe(-1, "usd"), None);
        assert_eq!(from_stripe(100, "zzz"), None);
        assert_eq!(from_stripe(100, "iqd"), None);
        for code in ["IQD", "LYD", "CLF", "UYW", "UYI"] {
            let code = Currency::new(code).unwrap().code();
            assert_eq!(
                to_stripe(money(1_000, code)),
                Err(AmountRefused::Currency(code))
            );
        }
    }

    #[test]
    fn amounts_are_limited_to_twelve_digits_of_stripes_units() {
        assert_eq!(to_stripe(money(0, "EUR")), Err(AmountRefused::NotPositive));
        assert_eq!(to_stripe(money(-1, "EUR")), Err(AmountRefused::NotPositive));
        assert_eq!(to_stripe(money(1, "EUR")), Ok(1));
        assert_eq!(to_stripe(money(MAX, "EUR")), Ok(MAX));
        assert_eq!(
            to_stripe(money(MAX + 1, "EUR")),
            Err(AmountRefused::TooLarge)
        );
        assert_eq!(to_stripe(money(9_999_999_999, "ISK")), Ok(999_999_999_900));
        assert_eq!(
            to_stripe(money(10_000_000_000, "ISK")),
            Err(AmountRefused::TooLarge)
        );
        assert_eq!(
            to_stripe(money(i64::MAX, "UGX")),
            Err(AmountRefused::TooLarge)
        );
    }

    /// The conversion must lose nothing in any currency in which a drop may have a price.
    #[test]
    fn every_currency_converts_both_ways_or_is_refused() {
        let mut offered = 0;
        for currency in Currency::all() {
            for amount in [1, 10, 99, 100, 12_340, 999_999_900] {
                let money = Money { amount, currency };
                match to_stripe(money) {
                    Ok(theirs) => {
                        offered += usize::from(amount == 12_340 || amount == 100);
                        assert_eq!(from_stripe(theirs, currency.code()), Some(money), "{money}");
                    }
                    Err(AmountRefused::Currency(code)) => {
                        assert!(currency.exponent() != 2, "{code}");
                    }
                    Err(AmountRefused::NotMultiple { step, .. }) => {
                        assert!(amount % step != 0, "{money} {step}");
                    }
                    Err(other) => panic!("{money}: {other}"),
                }
            }
        }
        assert!(offered > 2 * 150, "{offered}");
        for code in ZERO_DECIMAL.iter().chain(&WHOLE_UNITS) {
            let expected = if *code == "MGA" { 2 } else { 0 };
            assert_eq!(Currency::new(code).unwrap().exponent(), expected, "{code}");
        }
        for code in THREE_DECIMAL {
            assert_eq!(Currency::new(code).unwrap().exponent(), 3, "{code}");
        }
    }
}
