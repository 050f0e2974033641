//! Instants, to the millisecond.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::InvalidValue;
use super::texts::FromText;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

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

/// An instant in RFC 3339, UTC, with three decimals.
struct Text([u8; 24]);

impl Text {
    /// Digit by digit: an event is written with two instants and answered with three, and chrono takes ten times as long.
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
        for (place, mut number) in parts {
            for digit in text[place].iter_mut().rev() {
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

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar.
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

/// Days from 1970-01-01 to a day of the proleptic Gregorian calendar.
///
/// Source: as [`date_of`], `days_from_civil`.
const fn days_to(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Reads the form that [`Text`] writes, digit by digit; none for any other, which chrono reads or refuses. An auditor reads
/// tens of millions of them, and chrono takes five times as long.
fn read(text: &[u8; 24]) -> Option<Timestamp> {
    let number = |range: std::ops::Range<usize>| {
        text[range].iter().try_fold(0, |number, byte| {
            let digit = byte.wrapping_sub(b'0');
            (digit < 10).then(|| number * 10 + i64::from(digit))
        })
    };
    let signs = [4, 7, 10, 13, 16, 19, 23].map(|place| text[place]);
    if signs != *b"--T::.Z" {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let days = days_to(year, month, day);
    // A day that no calendar has comes back as another one; a leap second is left to chrono.
    if days < 0 || date_of(days) != (year, month, day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let millis = ((hour * 60 + minute) * 60 + second) * 1_000 + number(20..23)?;
    Some(Timestamp(days * DAY_MS + millis))
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Text::of(*self).as_str())
    }
}

impl FromStr for Timestamp {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        if let Some(at) = text.as_bytes().try_into().ok().and_then(read) {
            return Ok(at);
        }
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
        serializer.serialize_str(Text::of(*self).as_str())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(FromText::new(Self::from_str))
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
        fn every_instant_is_written_as_chrono_writes_it(millis in 0..=Timestamp::MAX.millis()) {
            let at = Timestamp::from_millis(millis);
            prop_assert_eq!(at.to_string(), as_chrono_writes(at));
            prop_assert_eq!(at.to_string().parse(), Ok(at));
        }

        #[test]
        fn what_looks_like_an_instant_is_read_or_refused_as_chrono_does(
            text in "(0|1|2)[0-9]{3}-[0-1][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]\\.[0-9]{3}[Zz]"
        ) {
            let chronos = DateTime::parse_from_rfc3339(&text).map(|at| at.timestamp_millis());
            let chronos = chronos.ok().filter(|millis| *millis >= 0);
            prop_assert_eq!(text.parse().ok().map(Timestamp::millis), chronos);
        }
    }

    #[test]
    fn leap_days_and_the_ends_of_time_are_written_as_chrono_writes_them() {
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
