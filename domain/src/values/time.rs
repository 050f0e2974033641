//! Timestamps, to the millisecond.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::InvalidValue;
use super::visitor::TextVisitor;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// A timestamp: whole milliseconds since the Unix epoch, UTC. Serialized as RFC 3339 with three
/// decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The latest timestamp that RFC 3339 can represent: 9999-12-31T23:59:59.999Z.
    pub const MAX: Self = Self(253_402_300_799_999);

    /// Converts milliseconds since the Unix epoch, clamped to 1970-01-01 and [`Timestamp::MAX`].
    #[must_use]
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.clamp(0, Self::MAX.0))
    }

    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Adds `seconds`.
    #[must_use]
    pub fn plus_seconds(self, seconds: u32) -> Self {
        Self::from_millis(self.0 + i64::from(seconds) * 1000)
    }

    /// Adds `millis`, which may be negative.
    #[must_use]
    pub fn plus_millis(self, millis: i64) -> Self {
        Self::from_millis(self.0.saturating_add(millis))
    }

    /// Returns the start of the minute that contains this timestamp.
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

/// A timestamp in RFC 3339, UTC, with three decimals.
struct Text([u8; 24]);

impl Text {
    /// Formats digit by digit: an event has two timestamps and its response three, and chrono takes
    /// ten times as long.
    fn of(at: Timestamp) -> Self {
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let (days, millis) = (at.0.div_euclid(DAY_MS), at.0.rem_euclid(DAY_MS));
        let (year, month, day) = date_of(days);
        let parts = [
            (0..4, year),
            (5..7, month),
            (8..10, day),
            (11..13, millis / 3_600_000),
            (14..16, millis / 60_000 % 60),
            (17..19, millis / 1_000 % 60),
            (20..23, millis % 1_000),
        ];
        for (range, mut number) in parts {
            for digit in text[range].iter_mut().rev() {
                *digit += u8::try_from(number % 10).unwrap_or_default();
                number /= 10;
            }
        }
        Self(text)
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Converts a day counted from 1970-01-01 to year, month and day, in the proleptic Gregorian
/// calendar.
///
/// Source: Howard Hinnant, «chrono-Compatible Low-Level Date Algorithms», `civil_from_days`.
const fn date_of(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

/// Converts a date to a day counted from 1970-01-01: the inverse of [`date_of`].
///
/// Source: the same, `days_from_civil`.
const fn day_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Parses the one form that [`Text`] writes; `None` for any other form, which may still be a valid
/// time.
fn parse_canonical(text: &str) -> Option<Timestamp> {
    let text: &[u8; 24] = text.as_bytes().try_into().ok()?;
    let number = |range: std::ops::Range<usize>| {
        text[range].iter().try_fold(0, |number, digit| {
            digit
                .is_ascii_digit()
                .then(|| number * 10 + i64::from(digit - b'0'))
        })
    };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute) = (number(11..13)?, number(14..16)?);
    let (second, milli) = (number(17..19)?, number(20..23)?);
    let marks = [4, 7, 10, 13, 16, 19, 23].map(|index| text[index]);
    let days = day_of(year, month, day);
    // A day that its month does not have converts back to a different date.
    let is_date = (1..=12).contains(&month) && date_of(days) == (year, month, day);
    let is_time = hour < 24 && minute < 60 && second < 60;
    let is_instant = marks == *b"--T::.Z" && is_date && is_time && year >= 1970;
    let millis = days * DAY_MS + ((hour * 60 + minute) * 60 + second) * 1_000 + milli;
    is_instant.then_some(Timestamp(millis))
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Text::of(*self).as_str())
    }
}

impl FromStr for Timestamp {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        if let Some(at) = parse_canonical(text) {
            return Ok(at);
        }
        let at = DateTime::parse_from_rfc3339(text).map_err(|_| {
            InvalidValue::new("must be an RFC 3339 time, for example 2026-01-31T18:00:00.000Z")
        })?;
        // A leap second has no number of its own: chrono reads it as the second before.
        if text.get(17..19) == Some("60") {
            return Err(InvalidValue::new(
                "must have seconds from 00 to 59: leap seconds (:60) are not supported",
            ));
        }
        if (0..=Self::MAX.0).contains(&at.timestamp_millis()) {
            Ok(at.with_timezone(&Utc).into())
        } else {
            Err(InvalidValue::new("must be a time from 1970 to 9999"))
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(Text::of(*self).as_str())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor(|text| text.parse()))
    }
}

#[cfg(test)]
mod tests {
    use chrono::SecondsFormat;
    use proptest::prelude::*;

    use super::*;

    fn as_chrono_writes(at: Timestamp) -> String {
        DateTime::<Utc>::from(at).to_rfc3339_opts(SecondsFormat::Millis, true)
    }

    proptest! {
        #[test]
        fn timestamps_are_formatted_as_chrono_formats_them(millis in 0..=Timestamp::MAX.millis()) {
            let at = Timestamp::from_millis(millis);
            prop_assert_eq!(at.to_string(), as_chrono_writes(at));
        }

        #[test]
        fn formatted_timestamps_are_parsed_without_chrono(millis in 0..=Timestamp::MAX.millis()) {
            let at = Timestamp::from_millis(millis);
            prop_assert_eq!(parse_canonical(&at.to_string()), Some(at));
        }

        #[test]
        fn parsing_without_chrono_agrees_with_chrono(
            text in "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]\\.[0-9]{3}Z",
        ) {
            let ours = parse_canonical(&text);
            let theirs = DateTime::parse_from_rfc3339(&text).ok().map(|at| at.timestamp_millis());
            match ours {
                Some(at) => prop_assert_eq!(Some(at.millis()), theirs),
                // Leap seconds and years before 1970 are left to chrono.
                None => prop_assert!(theirs.is_none() || text[17..19] == *"60" || &text[..4] < "1970"),
            }
        }
    }

    #[test]
    fn other_forms_are_left_to_chrono() {
        let text = "2026-01-31T18:00:00.000Z";
        assert!(parse_canonical(text).is_some());
        for index in 0..text.len() {
            let mut other = text.to_owned();
            other.replace_range(index..=index, "x");
            assert_eq!(parse_canonical(&other), None, "{other}");
        }
        for other in [
            "2026-02-29T18:00:00.000Z",
            "2026-13-01T18:00:00.000Z",
            "2026-00-01T18:00:00.000Z",
        ] {
            assert_eq!(parse_canonical(other), None, "{other}");
            assert!(other.parse::<Timestamp>().is_err());
        }
        let elsewhere: Timestamp = "2026-01-31T19:00:00+01:00".parse().unwrap();
        assert_eq!(elsewhere.to_string(), text);
    }

    #[test]
    fn leap_seconds_are_refused() {
        for text in [
            "2016-12-31T23:59:60Z",
            "2016-12-31T23:59:60.500Z",
            "2017-01-01T00:59:60+01:00",
        ] {
            let refused = text.parse::<Timestamp>().unwrap_err().to_string();
            assert!(refused.contains("leap seconds"), "{text}: {refused}");
        }
        assert!("2016-12-31T23:60:00Z".parse::<Timestamp>().is_err());
        assert!("2016-12-31T23:59:59Z".parse::<Timestamp>().is_ok());
    }

    #[test]
    fn leap_days_and_extreme_times_are_formatted_as_by_chrono() {
        let days = [
            "1970-01-01",
            "1972-02-29",
            "2000-02-29",
            "2000-03-01",
            "2100-02-28",
            "2100-03-01",
            "9999-12-31",
        ];
        for day in days {
            let at: Timestamp = format!("{day}T23:59:59.999Z").parse().unwrap();
            assert_eq!(at.to_string(), format!("{day}T23:59:59.999Z"));
            assert_eq!(at.to_string(), as_chrono_writes(at));
        }
    }
}
