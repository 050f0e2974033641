//! Decides which tokens with unknown keys cause a reload of the key set.
//!
//! Promise: a key that was not looked for within [`PAUSE`] causes a reload while the budget lasts,
//! whatever other unknown keys there were. Limit: the budget is shared, because anyone can make up
//! key ids; when it is used up, one reload is permitted in [`PAUSE`].

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

use crate::jws::Algorithm;

/// The most reloads at once.
pub(super) const BURST: u32 = 5;

/// The time in which the budget grows by one reload, and in which a key that a reload did not find
/// causes no further one.
pub(super) const PAUSE: Duration = Duration::from_secs(10);

/// The most keys that are remembered: a reload is needed for each, so more than these are older
/// than [`PAUSE`].
const MAX_MISSED: usize = BURST as usize + 1;

/// The budget of reloads, and the keys that they did not find.
#[derive(Debug)]
pub(super) struct Reloads {
    budget: u32,
    /// The time up to which the budget has grown.
    counted_until: Instant,
    /// The start of the last reload.
    last: Option<Instant>,
    /// Digests of the keys that were looked for, and when; the oldest first. Digests, because the
    /// ids come from strangers.
    missed: VecDeque<(u64, Instant)>,
    digests: RandomState,
}

impl Reloads {
    /// Starts with the whole budget.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            budget: BURST,
            counted_until: now,
            last: None,
            missed: VecDeque::new(),
            digests: RandomState::new(),
        }
    }

    /// Reports whether the set is to be loaded for a key, and counts the reload. `arrived` is when
    /// the request did: a reload that began later has answered it.
    pub(super) fn permits(
        &mut self,
        algorithm: Option<Algorithm>,
        kid: Option<&str>,
        arrived: Instant,
    ) -> bool {
        if self.last.is_some_and(|last| last > arrived) {
            return false;
        }
        let now = Instant::now();
        self.grow(now);
        let key = self.digests.hash_one((algorithm, kid));
        self.missed
            .retain(|(_, at)| now.duration_since(*at) < PAUSE);
        let is_missed = self.missed.iter().any(|(missed, _)| *missed == key);
        if is_missed || self.budget == 0 {
            return false;
        }
        self.budget -= 1;
        self.last = Some(now);
        self.missed.push_back((key, now));
        if self.missed.len() > MAX_MISSED {
            self.missed.pop_front();
        }
        true
    }

    /// Adds the reloads for the time since the last call.
    fn grow(&mut self, now: Instant) {
        while self.budget < BURST && now.duration_since(self.counted_until) >= PAUSE {
            self.budget += 1;
            self.counted_until += PAUSE;
        }
        if self.budget == BURST {
            self.counted_until = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn reloads() -> Reloads {
        Reloads::new(Instant::now())
    }

    fn permits(reloads: &mut Reloads, kid: &str) -> bool {
        reloads.permits(Some(Algorithm::EdDsa), Some(kid), Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn key_is_looked_for_although_another_was_not_found_a_moment_ago() {
        let mut reloads = reloads();
        assert!(permits(&mut reloads, "made up"));
        assert!(!permits(&mut reloads, "made up"));
        assert!(permits(&mut reloads, "new"));
        // The same id for another algorithm, and a token without an id, are other keys.
        assert!(reloads.permits(Some(Algorithm::Es256), Some("new"), Instant::now()));
        assert!(reloads.permits(Some(Algorithm::Es256), None, Instant::now()));
        advance(PAUSE - Duration::from_millis(1)).await;
        assert!(!permits(&mut reloads, "made up"));
        advance(Duration::from_millis(1)).await;
        assert!(permits(&mut reloads, "made up"));
    }

    #[tokio::test(start_paused = true)]
    async fn made_up_keys_cause_a_bounded_number_of_reloads() {
        let mut reloads = reloads();
        let mut permitted = 0;
        // A hundred strangers a second, for a minute.
        for number in 0..6_000 {
            permitted += u32::from(permits(&mut reloads, &format!("made up {number}")));
            advance(SECOND / 100).await;
        }
        assert_eq!(permitted, BURST + 5, "five at once, and one in ten seconds");
        // After a quiet time the whole budget is back, and no more.
        advance(PAUSE * 100).await;
        let kids = (0..100).map(|number| format!("later {number}"));
        let permitted = kids.filter(|kid| permits(&mut reloads, kid)).count();
        assert_eq!(permitted, BURST as usize);
        assert!(reloads.missed.len() <= MAX_MISSED);
    }

    #[tokio::test(start_paused = true)]
    async fn one_key_that_stays_unknown_does_not_use_up_the_budget() {
        let mut reloads = reloads();
        for _ in 0..600 {
            permits(&mut reloads, "retired");
            advance(SECOND).await;
        }
        let others = ["a", "b", "c", "d"];
        assert!(others.iter().all(|kid| permits(&mut reloads, kid)));
    }

    #[tokio::test(start_paused = true)]
    async fn request_that_waited_for_a_reload_causes_no_other() {
        let mut reloads = reloads();
        let arrived = Instant::now();
        advance(SECOND).await;
        assert!(permits(&mut reloads, "first"));
        assert!(!reloads.permits(Some(Algorithm::EdDsa), Some("second"), arrived));
        assert!(permits(&mut reloads, "second"));
    }
}
