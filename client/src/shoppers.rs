//! Simulated shoppers: they keep arriving, hold, and then buy, think too long, or change their minds.
//!
//! Promise: stock visibly moves for hours: what sells out is restocked after a while, and a server that goes away finds
//! its shoppers back soon after it returns. They are bounded in number, and plainly invented.
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

/// How lively the shop is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Shoppers that arrive in a second, on average; above 0.
    pub arrivals_per_second: f64,
    /// Shoppers in the shop at a time. When it is full, who arrives goes away again.
    pub most_at_once: usize,
    /// The shortest and the longest time that a shopper thinks before buying or giving up.
    pub thinking: (Duration, Duration),
    /// How long a drop stays bare before it is restocked.
    pub restock_after: Duration,
    /// Between two looks at the shelves.
    pub restock_look: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            arrivals_per_second: 1.5,
            most_at_once: 64,
            thinking: (Duration::from_secs(2), Duration::from_secs(14)),
            restock_after: Duration::from_secs(20),
            restock_look: Duration::from_secs(2),
        }
    }
}

/// The first pause when the server is away; it doubles with every further failure.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause when the server is away.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Sends shoppers to `drops` until `stop` is cancelled. Then it returns at once; shoppers inside simply vanish.
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
    let mut patience = Patience::default();
    loop {
        sleep(until_next(pace, rand::random())).await;
        if let Some(pause) = patience.note(left(&mut inside)) {
            sleep(pause).await;
        }
        if inside.len() < pace.most_at_once {
            let (client, drops) = (client.clone(), Arc::clone(&drops));
            inside
                .spawn(async move { Person::random().visit(&client, &drops, pace.thinking).await });
        }
    }
}

/// The time to the next arrival, as if arrivals were independent. `roll` is a random number from 0 to below 1.
fn until_next(pace: Pace, roll: f64) -> Duration {
    let seconds = -(1.0 - roll).ln() / pace.arrivals_per_second;
    // At most ten: a lull longer than that looks like a fault.
    Duration::from_secs_f64(seconds.clamp(0.0, 10.0))
}

/// Remembers how often in a row the server was away, and says so once.
#[derive(Debug, Default)]
struct Patience {
    failures: u32,
}

impl Patience {
    /// Notes how the latest visits went, and tells how long nobody should come now. Nobody left, nothing learnt.
    fn note(&mut self, visits: Vec<Result<(), ClientError>>) -> Option<Duration> {
        let any = !visits.is_empty();
        if let Some(error) = visits.into_iter().find_map(Result::err) {
            return Some(self.failed(&error));
        }
        if any && self.failures > 0 {
            self.failures = 0;
            info!("shoppers are back");
        }
        None
    }

    fn failed(&mut self, error: &ClientError) -> Duration {
        if self.failures == 0 {
            warn!(error = %one_line(error), "shoppers stay away for now");
        }
        let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        pause.min(LONGEST_PAUSE)
    }
}

/// How the visits went that ended since the last look.
fn left(inside: &mut JoinSet<Result<(), ClientError>>) -> Vec<Result<(), ClientError>> {
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
        most_at_once: 16,
        thinking: (Duration::from_millis(1), Duration::from_millis(5)),
        restock_after: Duration::from_millis(50),
        restock_look: Duration::from_millis(10),
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
    async fn shoppers_buy_release_and_are_restocked_until_told_to_stop() {
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
    async fn shoppers_outlast_a_server_that_is_away() {
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
    fn pauses_grow_while_the_server_is_away_and_end_when_it_is_back() {
        let away = || {
            Err(ClientError::Timeout {
                server: String::new(),
                after: Duration::ZERO,
            })
        };
        let mut patience = Patience::default();
        assert_eq!(patience.note(vec![]), None);
        assert_eq!(patience.note(vec![away(), away()]), Some(FIRST_PAUSE));
        assert_eq!(patience.note(vec![]), None, "nothing new, no further pause");
        assert_eq!(patience.note(vec![away()]), Some(FIRST_PAUSE * 2));
        for _ in 0..100 {
            patience.note(vec![away()]);
        }
        assert_eq!(patience.note(vec![away()]), Some(LONGEST_PAUSE));
        assert_eq!(patience.note(vec![Ok(())]), None);
        assert_eq!(patience.note(vec![away()]), Some(FIRST_PAUSE));
    }

    #[test]
    fn arrivals_come_at_the_asked_rate_on_average() {
        let pace = Pace::default();
        let rolls = (0..1_000).map(|n| f64::from(n) / 1_000.0);
        let total: Duration = rolls.map(|roll| until_next(pace, roll)).sum();
        let mean = total.as_secs_f64() / 1_000.0;
        assert!((0.6..0.7).contains(&mean), "{mean}");
    }
}
