//! Settings of the limits per address, as an operator writes them.

use std::str::FromStr;

/// At most `most` within any window of `window_seconds`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// 1 to 100,000.
    pub most: u32,
    /// 1 to 86,400.
    pub window_seconds: u32,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(most, seconds)| {
            Some(Self {
                most: most.trim().parse().ok()?,
                window_seconds: seconds.trim().parse().ok()?,
            })
        });
        parsed
            .filter(|rate| {
                (1..=100_000).contains(&rate.most) && (1..=86_400).contains(&rate.window_seconds)
            })
            .ok_or_else(|| {
                "must be COUNT/SECONDS, for example 600/60: 1 to 100000 in 1 to 86400 seconds"
                    .to_owned()
            })
    }
}

/// A number of concurrent holds or entries: 1 to 100,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count(pub u32);

impl FromStr for Count {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let count = text.trim().parse().ok();
        count
            .filter(|count| (1..=100_000).contains(count))
            .map(Self)
            .ok_or_else(|| "must be a whole number from 1 to 100000".to_owned())
    }
}

/// A limit, or none: `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound<T>(pub Option<T>);

impl<T: FromStr<Err = String>> FromStr for Bound<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim().eq_ignore_ascii_case("off") {
            return Ok(Self(None));
        }
        let bound = text.parse().map(|bound| Self(Some(bound)));
        bound.map_err(|error| format!("{error}; or off"))
    }
}

/// The limits per address.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Requests for stock within a window.
    pub requests: Bound<Rate>,
    /// Concurrent unresolved holds.
    pub holds: Bound<Count>,
    /// Concurrent waitlist entries that wait.
    pub entries: Bound<Count>,
    /// Expired holds within a window; beyond it, new holds are refused.
    pub expired: Bound<Rate>,
    /// Requests with a wrong key or an unknown id within a window.
    pub attempts: Bound<Rate>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_count_in_seconds_within_bounds() {
        let parsed = |text: &str| text.parse::<Rate>();
        let rate = Rate {
            most: 600,
            window_seconds: 60,
        };
        assert_eq!(parsed("600/60"), Ok(rate));
        assert!(parsed("1/1").is_ok() && parsed("100000/86400").is_ok());
        for wrong in [
            "",
            "600",
            "0/60",
            "100001/60",
            "1/0",
            "1/86401",
            "-1/60",
            "a/b",
        ] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn limit_is_switched_off_by_a_word_and_not_by_a_number() {
        assert_eq!("off".parse::<Bound<Rate>>(), Ok(Bound(None)));
        assert_eq!(" OFF ".parse::<Bound<Count>>(), Ok(Bound(None)));
        assert_eq!("100".parse::<Bound<Count>>(), Ok(Bound(Some(Count(100)))));
        for wrong in ["", "0", "100001", "none", "-1"] {
            let error = wrong.parse::<Bound<Count>>().unwrap_err();
            assert!(error.ends_with("or off"), "{error}");
        }
    }
}
