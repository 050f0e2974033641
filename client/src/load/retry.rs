//! How long a buyer waits before the same request goes out again.
//!
//! Promise: never sooner than the server asked for, and never all buyers at once.
//! Limit: it does not decide whether to try again, only when.

use std::time::Duration;

/// The first pause after a lost connection; it doubles with every further try.
const FIRST: Duration = Duration::from_millis(50);
/// The longest pause. A server that restarts is back within seconds, and a buyer would not wait longer than this.
const LONGEST: Duration = Duration::from_secs(2);

/// The pause before try `attempt` (the first retry is 0). `roll` is a random number from 0 to 1.
pub fn pause(attempt: u32, asked: Option<Duration>, roll: f64) -> Duration {
    match asked {
        Some(asked) => asked.mul_f64(1.0 + roll / 2.0),
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
    fn the_server_is_never_asked_sooner_than_it_wished() {
        let asked = Some(Duration::from_secs(2));
        assert_eq!(pause(0, asked, 0.0), Duration::from_secs(2));
        assert_eq!(pause(9, asked, 1.0), Duration::from_secs(3));
    }

    #[test]
    fn pauses_double_up_to_a_bound() {
        assert_eq!(pause(0, None, 1.0), Duration::from_millis(50));
        assert_eq!(pause(0, None, 0.0), Duration::from_millis(25));
        assert_eq!(pause(2, None, 1.0), Duration::from_millis(200));
        assert_eq!(pause(u32::MAX, None, 1.0), LONGEST);
    }
}
