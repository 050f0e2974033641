//! When a failed delivery is attempted again, and when an endpoint is given time to recover.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rand::Rng;

/// The pauses after the first failed attempt, the second, and so on. A delivery that fails after
/// the last is given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule(Vec<Duration>);

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// The longest pause that a receiver can request with `Retry-After`.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(24 * HOUR);
/// The pause after the first failure of an endpoint as a whole.
const FIRST_SLOWDOWN: Duration = Duration::from_millis(100);
/// The longest time without any request to an endpoint that is unreachable or overloaded.
pub const LONGEST_SLOWDOWN: Duration = Duration::from_secs(MINUTE);
/// The same, if the receiver requested it.
pub const LONGEST_REQUESTED_SLOWDOWN: Duration = Duration::from_secs(HOUR);

impl Default for Schedule {
    /// The schedule of the Standard Webhooks specification: ten attempts within 75 hours.
    fn default() -> Self {
        let seconds = [
            5,
            5 * MINUTE,
            30 * MINUTE,
            2 * HOUR,
            5 * HOUR,
            10 * HOUR,
            14 * HOUR,
            20 * HOUR,
            24 * HOUR,
        ];
        Self(seconds.map(Duration::from_secs).to_vec())
    }
}

impl Schedule {
    /// Returns the pause after this number of failed attempts, before jitter; `None` if there is
    /// not another attempt.
    #[must_use]
    pub fn pause_after(&self, attempts: u32) -> Option<Duration> {
        let index = usize::try_from(attempts).ok()?.checked_sub(1)?;
        self.0.get(index).copied()
    }
}

/// Returns the pause after `failures` failures in a row of the whole endpoint. It begins short: a
/// single 503 among thousands of requests must not delay the others by a second.
#[must_use]
pub fn slowdown_after(failures: u32) -> Duration {
    let pause = FIRST_SLOWDOWN * (1 << failures.saturating_sub(1).min(10));
    pause.min(LONGEST_SLOWDOWN)
}

/// Varies a pause by up to a tenth in both directions, so that deliveries that failed together are
/// not attempted again together.
#[must_use]
pub fn jittered(pause: Duration, rng: &mut impl Rng) -> Duration {
    pause.mul_f64(rng.random_range(0.9..1.1))
}

impl FromStr for Schedule {
    type Err = String;

    /// Pauses, separated by commas, each a number and a unit: `5s,5m,2h`; `ms` as well.
    fn from_str(text: &str) -> Result<Self, String> {
        let pauses: Vec<Duration> = text.split(',').map(pause).collect::<Result<_, _>>()?;
        let longest = Duration::from_secs(7 * 24 * HOUR);
        if pauses.iter().any(|pause| *pause > longest) || pauses.len() > 100 {
            return Err("at most 100 pauses of at most 7 days (168h)".to_owned());
        }
        Ok(Self(pauses))
    }
}

fn pause(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let wrong = || format!("{text:?} is not a pause like 500ms, 5s, 5m or 2h");
    let number: u32 = number.parse().map_err(|_| wrong())?;
    let one = match unit {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(MINUTE),
        "h" => Duration::from_secs(HOUR),
        _ => return Err(wrong()),
    };
    Ok(one * number)
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pause = |pause: &Duration| match (pause.as_secs(), pause.subsec_millis()) {
            (seconds, 0) if seconds % HOUR == 0 => format!("{}h", seconds / HOUR),
            (seconds, 0) if seconds % MINUTE == 0 => format!("{}m", seconds / MINUTE),
            (seconds, 0) => format!("{seconds}s"),
            _ => format!("{}ms", pause.as_millis()),
        };
        f.write_str(&self.0.iter().map(pause).collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn default_schedule_has_ten_attempts_within_75_hours() {
        let schedule = Schedule::default();
        assert_eq!(schedule.to_string(), "5s,5m,30m,2h,5h,10h,14h,20h,24h");
        let pauses: Vec<Duration> = (1..).map_while(|n| schedule.pause_after(n)).collect();
        assert_eq!(pauses.len() + 1, 10);
        let total: Duration = pauses.iter().sum();
        assert_eq!(total.as_secs(), 75 * HOUR + 35 * MINUTE + 5);
        assert_eq!(
            (schedule.pause_after(0), schedule.pause_after(10)),
            (None, None)
        );
    }

    #[test]
    fn schedules_are_read_as_they_are_printed() {
        for text in ["5s", "500ms,1s,2m,3h", &Schedule::default().to_string()] {
            assert_eq!(text.parse::<Schedule>().unwrap().to_string(), text);
        }
        for text in ["", "5", "s", "5d", "-5s", "5s,", "1.5s", "169h", "5s;6s"] {
            assert!(text.parse::<Schedule>().is_err(), "{text}");
        }
    }

    #[test]
    fn jitter_is_at_most_a_tenth() {
        let mut rng = StdRng::seed_from_u64(1);
        let pause = Duration::from_secs(100);
        let seen: Vec<Duration> = (0..1000).map(|_| jittered(pause, &mut rng)).collect();
        let (least, most) = (seen.iter().min().unwrap(), seen.iter().max().unwrap());
        assert!(*least >= Duration::from_secs(90) && *least < Duration::from_secs(95));
        assert!(*most <= Duration::from_secs(110) && *most > Duration::from_secs(105));
    }

    #[test]
    fn slowdown_grows_to_its_bound() {
        let pauses: Vec<u128> = (1..12).map(|n| slowdown_after(n).as_millis()).collect();
        let doubling = [
            100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200,
        ];
        assert_eq!((&pauses[..10], pauses[10]), (&doubling[..], 60_000));
        assert_eq!(slowdown_after(u32::MAX), LONGEST_SLOWDOWN);
    }
}
