//! Simulated shoppers: they keep arriving, place holds, and then buy, wait too long, or release.
//!
//! Promise: stock visibly changes for hours. Sold-out drops are restocked after a while, and
//! shoppers return soon after an unreachable server is back. Their number is bounded, and their
//! names are clearly invented.
//! Limit: a demonstration. They neither measure nor check anything; `holdfast load` does.

mod person;
mod restock;

use std::sync::Arc;
use std::time::Duration;

use domain::values::DropId;
use terminal::text::one_line;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::person::Person;
use super::error::ClientError;
use super::pooled::Client;

/// How busy the shop is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Average number of shoppers that arrive per second; above 0.
    pub arrivals_per_second: f64,
    /// Most concurrent shoppers. At the limit, arriving shoppers leave immediately.
    pub max_concurrent: usize,
    /// The shortest and the longest time between a shopper's hold and the decision.
    pub thinking: (Duration, Duration),
    /// How long a drop stays sold out before it is restocked.
    pub restock_after: Duration,
    /// The interval between two checks for sold-out drops.
    pub restock_check: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            arrivals_per_second: 1.5,
            max_concurrent: 64,
            thinking: (Duration::from_secs(2), Duration::from_secs(14)),
            restock_after: Duration::from_secs(20),
            restock_check: Duration::from_secs(2),
        }
    }
}

/// The first pause while the server is unreachable; it doubles with every further failure.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause while the server is unreachable.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Runs shoppers on `drops` until `stop` is cancelled. Then it returns immediately and abandons
/// running visits.
pub async fn run_shoppers(client: Client, drops: Vec<DropId>, pace: Pace, stop: CancellationToken) {
    if drops.is_empty() {
        return;
    }
    let restocking = restock::keep_stocked(&client, &drops, pace);
    let shopping = keep_arriving(&client, &drops, pace);
    tokio::select! {
        () = stop.cancelled() => {}
        ((), ()) = futures::future::join(restocking, shopping) => {}
    }
}

async fn keep_arriving(client: &Client, drops: &[DropId], pace: Pace) {
    let drops: Arc<[DropId]> = drops.into();
    let mut inside = JoinSet::new();
    let mut backoff = Backoff::default();
    loop {
        sleep(until_next(pace, rand::random())).await;
        if let Some(pause) = backoff.note(finished(&mut inside)) {
            sleep(pause).await;
        }
        if inside.len() < pace.max_concurrent {
            let (client, drops) = (client.clone(), Arc::clone(&drops));
            inside
                .spawn(async move { Person::random().visit(&client, &drops, pace.thinking).await });
        }
    }
}

/// The time to the next arrival of a Poisson process. `roll` is a random number from 0 to below 1.
fn until_next(pace: Pace, roll: f64) -> Duration {
    let seconds = -(1.0 - roll).ln() / pace.arrivals_per_second;
    // At most ten seconds: a longer pause looks like a fault.
    Duration::from_secs_f64(seconds.clamp(0.0, 10.0))
}

/// Counts consecutive failures, and logs the first failure and the recovery.
#[derive(Debug, Default)]
struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Notes the results of the latest visits, and returns the pause before the next visit. No
    /// visits change nothing.
    fn note(&mut self, visits: Vec<Result<(), ClientError>>) -> Option<Duration> {
        let any = !visits.is_empty();
        if let Some(error) = visits.into_iter().find_map(Result::err) {
            return Some(self.failed(&error));
        }
        if any && self.failures > 0 {
            self.failures = 0;
            info!("the server is reachable again; simulated shoppers continue");
        }
        None
    }

    fn failed(&mut self, error: &ClientError) -> Duration {
        if self.failures == 0 {
            warn!(error = %one_line(error), "the server is unreachable; simulated shoppers pause");
        }
        let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        pause.min(LONGEST_PAUSE)
    }
}

/// The results of the visits that ended since the last call.
fn finished(inside: &mut JoinSet<Result<(), ClientError>>) -> Vec<Result<(), ClientError>> {
    std::iter::from_fn(|| inside.try_join_next())
        .map(|visit| visit.unwrap_or(Ok(())))
        .collect()
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::super::fake_server::{Behaviour, FakeServer, sample_drop};
    use super::*;

    const FAST: Pace = Pace {
        arrivals_per_second: 400.0,
        max_concurrent: 16,
        thinking: (Duration::from_millis(1), Duration::from_millis(5)),
        restock_after: Duration::from_millis(50),
        restock_check: Duration::from_millis(10),
    };

    async fn shop_until(server: &FakeServer, drops: Vec<DropId>, done: impl Fn(&[&str]) -> bool) {
        let stop = CancellationToken::new();
        let shop = tokio::spawn(run_shoppers(server.client(), drops, FAST, stop.clone()));
        let seen = async {
            while !done(&server.event_types()) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(20), seen).await.unwrap();
        stop.cancel();
        timeout(Duration::from_secs(1), shop)
            .await
            .unwrap()
            .unwrap();
    }

    #[tokio::test]
    async fn shoppers_buy_and_release_and_drops_are_restocked() {
        let server = FakeServer::start(Behaviour::default()).await;
        let drop = server
            .client()
            .create_drop(&sample_drop(8, 60), "d")
            .await
            .unwrap();
        shop_until(&server, vec![drop.id], |events| {
            let all = [
                "HoldPlaced",
                "PurchaseConfirmed",
                "HoldReleased",
                "StockAdjusted",
            ];
            all.iter().all(|event_type| events.contains(event_type))
        })
        .await;
    }

    #[tokio::test]
    async fn shoppers_continue_after_an_outage() {
        let server = FakeServer::start(Behaviour {
            busy: 4,
            ..Behaviour::default()
        })
        .await;
        let drop = server
            .client()
            .create_drop(&sample_drop(8, 60), "d")
            .await
            .unwrap();
        shop_until(&server, vec![drop.id], |events| {
            events.contains(&"HoldPlaced")
        })
        .await;
    }

    #[test]
    fn pauses_grow_during_an_outage_and_reset_after_it() {
        let away = || {
            Err(ClientError::Timeout {
                server: String::new(),
                after: Duration::ZERO,
            })
        };
        let mut backoff = Backoff::default();
        assert_eq!(backoff.note(vec![]), None);
        assert_eq!(backoff.note(vec![away(), away()]), Some(FIRST_PAUSE));
        assert_eq!(backoff.note(vec![]), None, "nothing new, no further pause");
        assert_eq!(backoff.note(vec![away()]), Some(FIRST_PAUSE * 2));
        for _ in 0..100 {
            backoff.note(vec![away()]);
        }
        assert_eq!(backoff.note(vec![away()]), Some(LONGEST_PAUSE));
        assert_eq!(backoff.note(vec![Ok(())]), None);
        assert_eq!(backoff.note(vec![away()]), Some(FIRST_PAUSE));
    }

    #[test]
    fn arrivals_have_the_configured_average_rate() {
        let pace = Pace::default();
        let rolls = (0..1_000).map(|n| f64::from(n) / 1_000.0);
        let total: Duration = rolls.map(|roll| until_next(pace, roll)).sum();
        let mean = total.as_secs_f64() / 1_000.0;
        assert!((0.6..0.7).contains(&mean), "{mean}");
    }
}
