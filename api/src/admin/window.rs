//! A time window that is divided into buckets, the last of which contains the present.
//!
//! Buckets start at multiples of their length since the Unix epoch, so the same bucket has the same
//! start in every response. Empty buckets are included, because charts need them.

use std::ops::AddAssign;
use std::time::Duration;

use domain::values::Timestamp;
use projections::sales_timeline::SalesTotals;
use schemars::JsonSchema;
use serde::de::{self, Deserialize, Deserializer};

use crate::problem::Problem;

const MINUTE: u64 = 60;
const DAY: u64 = 24 * 60 * MINUTE;
/// Maximum length of a window: 31 days.
const LONGEST_WINDOW: u64 = 31 * 24 * 60 * MINUTE;
/// No window's first bucket starts longer ago: it begins at most one bucket before the window, and
/// a bucket is at most as long as the window.
pub(crate) const FURTHEST_BACK: Duration = Duration::from_secs(2 * LONGEST_WINDOW);
/// Maximum number of buckets in one response: a day by the minute.
const MOST_BUCKETS: u64 = 1440;
/// Number of bars that a chart shows well. The default bucket length is chosen by it.
const USUAL_BUCKETS: u64 = 120;
/// The default lengths of a bucket, in seconds.
const USUAL_LENGTHS: [u64; 8] = [
    MINUTE,
    5 * MINUTE,
    15 * MINUTE,
    30 * MINUTE,
    60 * MINUTE,
    3 * 60 * MINUTE,
    6 * 60 * MINUTE,
    24 * 60 * MINUTE,
];

/// A length of time in a query: an integer followed by `s`, `m`, `h` or `d`, and a whole number of
/// minutes in total.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String", extend("pattern" = "^[0-9]+[smhd]$", "examples" = ["15m", "1h", "7d"]))]
pub(crate) struct Span {
    seconds: u64,
}

impl Span {
    fn parse(text: &str) -> Option<Self> {
        let unit = match text.chars().last()? {
            's' => 1,
            'm' => MINUTE,
            'h' => 60 * MINUTE,
            'd' => 24 * 60 * MINUTE,
            _ => return None,
        };
        let digits = text.get(..text.len() - 1)?;
        let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        let number: u64 = digits.parse().ok().filter(|_| is_plain)?;
        let seconds = number.checked_mul(unit)?;
        (seconds > 0 && seconds % MINUTE == 0 && seconds <= LONGEST_WINDOW)
            .then_some(Self { seconds })
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            de::Error::custom("must be whole minutes, at most 31 days: for example 15m, 1h or 7d")
        })
    }
}

/// The movements of units within one bucket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    pub(crate) start: Timestamp,
    /// Movements from `start` until the next bucket starts.
    pub(crate) moved: SalesTotals,
}

/// The buckets of a window, oldest first. Each has sums of the type `T`.
#[derive(Debug)]
pub(crate) struct Buckets<T = SalesTotals> {
    from: Timestamp,
    length: u64,
    moved: Vec<T>,
}

impl<T: Default> Buckets<T> {
    /// Empty buckets: `window` (default: an hour) in lengths of `bucket` (default: a minute in an
    /// hour, longer in longer windows), the last of which contains `now`.
    ///
    /// # Errors
    /// 400 when a bucket is longer than the window, or there are too many buckets.
    pub(crate) fn ending_at(
        now: Timestamp,
        window: Option<Span>,
        bucket: Option<Span>,
    ) -> Result<Self, Problem> {
        let window = window.map_or(60 * MINUTE, |window| window.seconds);
        let length = bucket.map_or_else(|| usual_length(window), |bucket| bucket.seconds);
        if length > window {
            return Err(Problem::invalid_query(
                "bucket",
                "must be at most as long as the window",
            ));
        }
        Self::of(now, window, length)
    }

    /// Empty buckets from the one that contains `first`, of any age, to the one that contains
    /// `now`.
    ///
    /// # Errors
    /// 400 when there are too many buckets.
    pub(crate) fn since(
        first: Timestamp,
        now: Timestamp,
        bucket: Option<Span>,
    ) -> Result<Self, Problem> {
        let age = (now.millis() - first.millis()).max(0).unsigned_abs() / 1000;
        let length = bucket.map_or_else(|| usual_length(age), |bucket| bucket.seconds);
        let start = |at: Timestamp| at.millis().div_euclid(millis(length));
        let count = (start(now) - start(first)).max(0).unsigned_abs() + 1;
        Self::of(now, count.saturating_mul(length), length)
    }

    /// # Errors
    /// 400 when there are too many buckets.
    fn of(now: Timestamp, window: u64, length: u64) -> Result<Self, Problem> {
        let count = window.div_ceil(length);
        if count > MOST_BUCKETS {
            let detail =
                format!("yields {count} buckets; choose one that yields at most {MOST_BUCKETS}");
            return Err(Problem::invalid_query("bucket", detail).with("most", MOST_BUCKETS));
        }
        let length_ms = millis(length);
        let running = now.millis() - now.millis().rem_euclid(length_ms);
        let before = i64::try_from(count - 1).unwrap_or_default() * length_ms;
        Ok(Self {
            from: Timestamp::from_millis(running - before),
            length,
            moved: (0..count).map(|_| T::default()).collect(),
        })
    }

    /// Returns the same buckets, empty.
    pub(crate) fn emptied(&self) -> Self {
        Self {
            from: self.from,
            length: self.length,
            moved: self.moved.iter().map(|_| T::default()).collect(),
        }
    }

    /// Returns the first instant of the first bucket.
    pub(crate) const fn from(&self) -> Timestamp {
        self.from
    }

    /// Returns the length of a bucket in seconds.
    pub(crate) const fn length_seconds(&self) -> u64 {
        self.length
    }

    /// Returns the buckets, each with its first instant.
    pub(crate) fn starts(&self) -> impl Iterator<Item = (Timestamp, &T)> {
        let start = |index| self.from.plus_millis(index * millis(self.length));
        (0..)
            .zip(&self.moved)
            .map(move |(index, moved)| (start(index), moved))
    }

    /// Adds minutes, or other parts of a bucket, to their buckets. A minute after the last bucket,
    /// from a clock that went back, is counted in the last.
    pub(crate) fn fill<U>(&mut self, minutes: impl IntoIterator<Item = (Timestamp, U)>)
    where
        T: AddAssign<U>,
    {
        let last = self.moved.len().saturating_sub(1);
        for (minute, moved) in minutes {
            let since = minute.millis() - self.from.millis();
            let Ok(index) = usize::try_from(since.div_euclid(millis(self.length))) else {
                continue;
            };
            if let Some(bucket) = self.moved.get_mut(index.min(last)) {
                *bucket += moved;
            }
        }
    }
}

impl Buckets {
    /// Returns the movements in the whole window.
    pub(crate) fn total(&self) -> SalesTotals {
        let mut total = SalesTotals::default();
        for &moved in &self.moved {
            total += moved;
        }
        total
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Bucket> {
        self.starts().map(|(start, &moved)| Bucket { start, moved })
    }
}

fn millis(seconds: u64) -> i64 {
    i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX)
}

fn usual_length(window: u64) -> u64 {
    let fits = |length: &u64| window.div_ceil(*length) <= USUAL_BUCKETS;
    let whole_days = || window.div_ceil(USUAL_BUCKETS).div_ceil(DAY) * DAY;
    USUAL_LENGTHS
        .into_iter()
        .find(fits)
        .unwrap_or_else(whole_days)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(now: i64, window: &str, bucket: &str) -> Result<Buckets, Problem> {
        let span = |text: &str| Some(Span::parse(text).unwrap());
        Buckets::ending_at(Timestamp::from_millis(now), span(window), span(bucket))
    }

    fn sold(minute: i64) -> (Timestamp, SalesTotals) {
        let moved = SalesTotals {
            sold: 1,
            ..SalesTotals::default()
        };
        (Timestamp::from_millis(minute), moved)
    }

    #[test]
    fn duration_is_whole_minutes() {
        for (text, seconds) in [("60s", 60), ("15m", 900), ("1h", 3600), ("31d", 2_678_400)] {
            assert_eq!(Span::parse(text), Some(Span { seconds }), "{text}");
        }
        for text in [
            "",
            "h",
            "0m",
            "59s",
            "61s",
            "1",
            "1w",
            "-1h",
            "+1h",
            "1.5h",
            "32d",
            "1é",
            "99999999999999999999h",
        ] {
            assert_eq!(Span::parse(text), None, "{text}");
        }
    }

    #[test]
    fn last_bucket_contains_the_present() {
        let hour = buckets(3_600_000, "1h", "1m").unwrap();
        assert_eq!(hour.from().millis(), 60_000);
        let before = buckets(3_599_999, "1h", "1m").unwrap();
        assert_eq!(before.from().millis(), 0);
        let starts: Vec<i64> = before.iter().map(|bucket| bucket.start.millis()).collect();
        assert_eq!((starts.len(), starts[59]), (60, 3_540_000));
    }

    #[test]
    fn every_minute_of_the_window_is_counted_once() {
        let mut hour = buckets(7_200_000, "1h", "5m").unwrap();
        let first = hour.from().millis();
        hour.fill([
            sold(first - 60_000),
            sold(first),
            sold(first + 240_000),
            sold(first + 300_000),
            sold(7_200_000),
        ]);
        let sold: Vec<u64> = hour.iter().map(|bucket| bucket.moved.sold).collect();
        assert_eq!((sold[0], sold[1], sold[11]), (2, 1, 1));
        assert_eq!(hour.total().sold, 4);
    }

    #[test]
    fn buckets_since_a_time_contain_it_and_the_present() {
        let since = |first, now, length: &str| {
            let (first, now) = (Timestamp::from_millis(first), Timestamp::from_millis(now));
            let buckets: Buckets = Buckets::since(first, now, Span::parse(length)).unwrap();
            let starts = buckets.starts().map(|(start, _)| start.millis() / 60_000);
            starts.collect::<Vec<_>>()
        };
        assert_eq!(since(59_999, 60_000, "1m"), [0, 1]);
        assert_eq!(since(60_000, 60_000, "1m"), [1]);
        assert_eq!(since(60_000, 0, "1m"), [0], "a clock that went back");
        assert_eq!(since(0, 3_600_000, "1d"), [0]);
        let too_many: Result<Buckets, _> = Buckets::since(
            Timestamp::from_millis(0),
            Timestamp::from_millis(1440 * 60_000),
            Span::parse("1m"),
        );
        assert!(too_many.is_err());
    }

    #[test]
    fn minute_from_a_clock_that_went_back_is_not_lost() {
        let mut hour = buckets(7_200_000, "1h", "1m").unwrap();
        hour.fill([sold(9_000_000)]);
        assert_eq!(hour.total().sold, 1);
    }

    #[test]
    fn too_many_buckets_and_buckets_longer_than_the_window_are_rejected() {
        assert!(buckets(0, "1d", "1m").is_ok());
        assert!(buckets(0, "2d", "1m").is_err());
        assert!(buckets(0, "1h", "1h").is_ok());
        assert!(buckets(0, "1h", "2h").is_err());
        let now = 100 * 86_400_000;
        for length in ["1d", "7d", "30d", "31d"] {
            let from = buckets(now - 1, "31d", length).unwrap().from();
            let back = u128::from((now - 1 - from.millis()).unsigned_abs());
            assert!(back < FURTHEST_BACK.as_millis(), "{length}: {back}");
        }
        for (window, length) in [(3600, 60), (7200, 60), (86_400, 900), (604_800, 10_800)] {
            assert_eq!(usual_length(window), length);
        }
        assert_eq!(usual_length(120 * DAY), DAY);
        assert_eq!(usual_length(120 * DAY + 1), 2 * DAY);
    }
}
