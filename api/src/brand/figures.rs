//! Numbers, money and times as the browsers' `Intl` writes them, for pages whose script has not
//! run.
//!
//! Limit: the symbol of a rare currency, or the hours of a zone's future rules, may differ from the
//! browser's. The script then writes its own.

use chrono::{DateTime, Datelike, Offset, TimeZone, Utc};
use chrono_tz::Tz;
use domain::values::{Money, Timestamp};
use serde::{Deserialize, Serialize};

/// The form of numbers and times in one language.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    /// Between groups of three digits.
    group: String,
    decimal: String,
    /// With `{amount}` and `{symbol}`.
    money: String,
    /// As `money`, for a currency without a symbol of its own; default: `money`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    /// With `{day}`, `{month}` and `{time}`.
    day: String,
    /// As `day`, with `{year}`.
    day_of_year: String,
    months: Vec<String>,
}

/// Symbols that are the same in most languages. Others are written as their code.
const SYMBOLS: [(&str, &str); 5] = [
    ("EUR", "€"),
    ("GBP", "£"),
    ("ILS", "₪"),
    ("JPY", "¥"),
    ("USD", "$"),
];

impl Format {
    pub(super) fn check(&self) -> Result<(), String> {
        match self.months.len() {
            12 => Ok(()),
            found => Err(format!("@language: months must be 12, found {found}")),
        }
    }

    /// Formats a whole number.
    pub(crate) fn count(&self, number: u64) -> String {
        self.grouped(&number.to_string())
    }

    fn grouped(&self, digits: &str) -> String {
        let mut text = String::new();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                text.push_str(&self.group);
            }
            text.push(digit);
        }
        text
    }

    /// Formats an amount with the decimals of ISO 4217.
    pub(crate) fn money(&self, money: Money) -> String {
        let major = major(money);
        let (whole, decimals) = major.split_once('.').unwrap_or((&major, ""));
        let mut amount = self.grouped(whole);
        if !decimals.is_empty() {
            amount.push_str(&self.decimal);
            amount.push_str(decimals);
        }
        let code = money.currency.code();
        let symbol = SYMBOLS.iter().find(|(known, _)| *known == code);
        let (pattern, symbol) = match symbol {
            Some((_, symbol)) => (&self.money, *symbol),
            None => (self.code.as_ref().unwrap_or(&self.money), code),
        };
        pattern
            .replace("{amount}", &amount)
            .replace("{symbol}", symbol)
    }

    /// Formats day and time to the minute in `zone`, with the offset from UTC, and with the year if
    /// it is not that of `now`.
    pub(crate) fn day(&self, at: Timestamp, now: Timestamp, zone: Tz) -> String {
        let local = |at| DateTime::<Utc>::from(at).with_timezone(&zone);
        let (at, now) = (local(at), local(now));
        let pattern = match at.year() == now.year() {
            true => &self.day,
            false => &self.day_of_year,
        };
        let month = self.months.get(at.month0() as usize);
        let text = pattern
            .replace("{day}", &at.day().to_string())
            .replace("{month}", month.map_or("", String::as_str))
            .replace("{year}", &at.year().to_string())
            .replace("{time}", &at.format("%H:%M").to_string());
        format!("{text} {}", offset(&at))
    }
}

/// Writes an offset as the script does: `UTC+2`, `UTC−3:30`.
fn offset<Z: TimeZone>(at: &DateTime<Z>) -> String {
    let seconds = at.offset().fix().local_minus_utc();
    let (sign, minutes) = (
        if seconds < 0 { '−' } else { '+' },
        seconds.unsigned_abs() / 60,
    );
    match (minutes / 60, minutes % 60) {
        (0, 0) => "UTC".to_owned(),
        (hours, 0) => format!("UTC{sign}{hours}"),
        (hours, rest) => format!("UTC{sign}{hours}:{rest:02}"),
    }
}

/// Writes an amount in major units with a decimal point: `19.99`, `1999`.
pub(crate) fn major(Money { amount, currency }: Money) -> String {
    let places = usize::from(currency.exponent());
    let digits = format!("{amount:0>width$}", width = places + 1);
    match digits.split_at(digits.len() - places) {
        (whole, "") => whole.to_owned(),
        (whole, decimals) => format!("{whole}.{decimals}"),
    }
}

#[cfg(test)]
mod tests {
    use domain::values::Currency;

    use super::super::texts::Language;
    use super::*;

    fn money(amount: i64, code: &str) -> Money {
        Money {
            amount,
            currency: Currency::new(code).unwrap(),
        }
    }

    #[test]
    fn money_is_written_as_browsers_write_it() {
        for (tag, code, amount, text) in [
            ("en", "EUR", 1_234_550, "€12,345.50"),
            ("en", "CHF", 5, "CHF\u{a0}0.05"),
            ("en", "JPY", 1_999, "¥1,999"),
            ("en", "BHD", 1_234, "BHD\u{a0}1.234"),
            ("de", "EUR", 1_234_550, "12.345,50\u{a0}€"),
            ("de", "USD", 99, "0,99\u{a0}$"),
            ("he", "ILS", 1_234_550, "\u{200f}12,345.50\u{a0}\u{200f}₪"),
        ] {
            let format = Language::shipped(tag).about.format;
            assert_eq!(format.money(money(amount, code)), text, "{tag}");
        }
        assert_eq!(major(money(0, "EUR")), "0.00");
        assert_eq!(major(money(1_999, "EUR")), "19.99");
        assert_eq!(major(money(1_999, "JPY")), "1999");
        assert_eq!(major(money(7, "CLF")), "0.0007");
    }

    #[test]
    fn times_are_those_of_the_zone() {
        let at = Timestamp::from_millis(1_796_475_900_000);
        let now = at.plus_seconds(60);
        let later = Timestamp::from_millis(1_830_000_000_000);
        for (tag, zone, text) in [
            ("en", Tz::UTC, "5 Dec, 13:05 UTC"),
            ("de", Tz::Europe__Berlin, "5. Dez., 14:05 UTC+1"),
            ("he", Tz::Asia__Kolkata, "5 בדצמ׳, 18:35 UTC+5:30"),
            ("en", Tz::America__St_Johns, "5 Dec, 09:35 UTC−3:30"),
        ] {
            let format = Language::shipped(tag).about.format;
            assert_eq!(format.day(at, now, zone), text);
            assert!(format.day(at, later, zone).contains("2026"), "{tag}");
        }
    }
}
