//! The pause before a buyer retries a request.
//!
//! Promise: never shorter than the server's `Retry-After`, and randomized so that buyers do not
//! retry simultaneously.
//! Limit: the caller decides whether to retry.

use std::time::Duration;

/// The first pause after a lost connection; it doubles with every further attempt.
const FIRST: Duration = Duration::from_millis(50);
/// The longest pause. A server that restarts is back within seconds, and a buyer would not wait
/// longer.
const LONGEST: Duration = Duration::from_secs(2);

/// The pause before retry `attempt` (counted from 0). `roll` is a random number from 0 to 1.
pub fn pause(attempt: u32, retry_after: Option<Duration>, roll: f64) -> Duration {
    match retry_after {
        Some(least) => least.mul_f64(1.0 + roll / 2.0),
        None => backoff(attempt).mul_f64(0.5 + roll / 2.0),
    }
}

fn backoff(attempt: u32) -> Duration {
    FIRST
        .saturating_mul(2_u32.saturating_pow(attempt))
        .min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_is_never_shorter_than_retry_after() {
        let retry_after = Some(Duration::from_secs(2));
        assert_eq!(pause(0, retry_after, 0.0), Duration::from_secs(2));
        assert_eq!(pause(9, retry_after, 1.0), Duration::from_secs(3));
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        assert_eq!(pause(0, None, 1.0), Duration::from_millis(50));
        assert_eq!(pause(0, None, 0.0), Duration::from_millis(25));
        assert_eq!(pause(2, None, 1.0), Duration::from_millis(200));
        assert_eq!(pause(u32::MAX, None, 1.0), LONGEST);
    }
}
