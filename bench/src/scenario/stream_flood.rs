//! Holds while one or two clients send without pause on connections of the live stream.
//!
//! `/health/live` is polled throughout; its slowest response is reported.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Play;
use super::disturbed::{Shop, WARM_UP, migrated};
use crate::contenders::Contender;
use crate::error::BenchError;
use crate::report::disturbances::Disturbance;
use crate::report::rounded;
use crate::stream_flood::{Flood, StreamFlood};
use crate::wire::{Call, send};

const CLIENTS: [usize; 2] = [1, 2];
/// The interval between two requests to `/health/live`.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// # Errors
/// [`BenchError`].
pub async fn play(play: &mut Play<'_>) -> Result<(), BenchError> {
    for contender in play.builds() {
        on(play, contender).await?;
    }
    Ok(())
}

async fn on(play: &mut Play<'_>, contender: Contender) -> Result<(), BenchError> {
    let (stage, pace) = (play.stage, play.paced());
    let (kept, _seeder) = migrated(stage, contender).await?;
    let mut shop = Shop::open(stage, contender, kept, 1).await?;
    for clients in CLIENTS {
        let from = Instant::now() + WARM_UP + pace.1;
        let disturbance = async |shop: &Shop| {
            let flood = Flood {
                address: shop.nodes[0].address,
                drop_id: shop.a_drop(),
                clients,
            };
            let flood = StreamFlood::start(stage.reaper(), &flood).await?;
            let slowest = slowest_health(shop, Instant::now() + pace.1).await;
            Ok((flood.end().await?, slowest))
        };
        let (outcome, (flooded, slowest)) = shop.disturb(stage, pace, from, disturbance).await?;
        let name = format!("clients that send on a stream without pause: {clients}");
        let detail = format!(
            "{} MB/s on {} connections, {} disconnected; slowest /health/live {} ms",
            rounded(megabytes(flooded.bytes) / flooded.seconds.max(1e-9)),
            flooded.opened,
            flooded.disconnected,
            rounded(slowest.as_secs_f64() * 1000.0),
        );
        let disturbance = Disturbance::new("stream-flood", name, &shop, outcome);
        play.disturbed(disturbance.detail(detail));
        shop.settle(stage).await?;
    }
    play.close(shop).await
}

/// Polls until `until`; returns the longest wait for a response or a failure.
async fn slowest_health(shop: &Shop, until: Instant) -> Duration {
    let call = Call {
        method: "GET",
        path: "/health/live",
        key: None,
    };
    let mut slowest = Duration::ZERO;
    while Instant::now() < until {
        let sent = Instant::now();
        let _any = send(shop.nodes[0].address, call, None::<&()>).await;
        slowest = slowest.max(sent.elapsed());
        sleep(POLL_INTERVAL).await;
    }
    slowest
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
