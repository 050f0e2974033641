//! When a job is attempted again.
//!
//! Promise: the pauses grow, and vary by up to a tenth, so that jobs that failed together are not
//! attempted again together. A job that fails for longer than the schedule is given up.

use std::time::Duration;

use rand::Rng;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// The pauses after the first failed attempt, the second, and so on, in seconds: 13 attempts within
/// 56 hours. An authorisation lasts about a week at most providers.
const PAUSES: [u64; 12] = [
    1,
    5,
    30,
    2 * MINUTE,
    10 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    4 * HOUR,
    8 * HOUR,
    16 * HOUR,
    24 * HOUR,
];

/// The pause before a state that this process does not change is read again, such as a
/// refund that is pending at the provider.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Returns the pause after this number of failed attempts, with jitter, or the pause that the
/// provider requires if that is longer; `None` if the job is given up.
#[must_use]
pub(crate) fn pause_after(
    attempts: u32,
    required: Option<Duration>,
    rng: &mut impl Rng,
) -> Option<Duration> {
    let index = usize::try_from(attempts).ok()?.checked_sub(1)?;
    let seconds = *PAUSES.get(index)?;
    let pause = Duration::from_secs(seconds).mul_f64(rng.random_range(0.9..1.1));
    Some(pause.max(required.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn pauses_grow_to_13_attempts_within_56_hours() {
        assert!(PAUSES.is_sorted());
        let total: u64 = PAUSES.iter().sum();
        assert_eq!(total / HOUR, 55);
        let mut rng = StdRng::seed_from_u64(1);
        let mut after = |attempts| pause_after(attempts, None, &mut rng);
        assert_eq!((after(0), after(13)), (None, None));
        for (attempts, seconds) in (1..).zip(PAUSES) {
            let pause = after(attempts).unwrap().as_secs_f64();
            let exact = Duration::from_secs(seconds).as_secs_f64();
            assert!((0.9..1.1).contains(&(pause / exact)), "{pause}");
        }
    }

    #[test]
    fn longer_pause_of_the_provider_is_obeyed() {
        let mut rng = StdRng::seed_from_u64(1);
        let required = Some(Duration::from_secs(90));
        assert_eq!(pause_after(1, required, &mut rng), required);
        assert!(pause_after(6, required, &mut rng) > required);
        assert_eq!(pause_after(13, required, &mut rng), None);
    }
}
