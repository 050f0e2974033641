//! Holds while many clients read the first entry of a long list of drops, closed loop.

use tokio::time::Instant;

use super::Play;
use super::disturbed::{Shop, WARM_UP, migrated};
use crate::contenders::Contender;
use crate::error::BenchError;
use crate::generator::{Generator, Load, Question};
use crate::report::disturbances::Disturbance;
use crate::report::{grouped, rounded};

const DROPS: u32 = 3_000;
const READERS: usize = 128;

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
    let (kept, mut seeder) = migrated(stage, contender).await?;
    seeder.drops(DROPS).await?;
    let mut shop = Shop::open(stage, contender, kept, 1).await?;
    let from = Instant::now() + WARM_UP + pace.1;
    let disturbance = async |shop: &Shop| {
        let load = Load {
            address: shop.nodes[0].address,
            question: Question::List,
            drops: vec![shop.a_drop()],
            clients: READERS,
            seconds: pace.1.as_secs_f64(),
            warm_up: 0.0,
        };
        let mut readers = Generator::start(stage.reaper(), &load)?;
        readers.measured().await?;
        readers.outcome().await
    };
    let (outcome, read) = shop.disturb(stage, pace, from, disturbance).await?;
    let other = read.answers.iter().filter(|(status, _)| **status != 200);
    let other: u64 = other.map(|(_, count)| count).sum();
    let name = format!("readers of GET /v1/drops?limit=1 with {DROPS} drops: {READERS}");
    let detail = format!(
        "{} lists/s, p99 {} ms, {other} not 200, {} lost",
        grouped(read.per_second),
        rounded(read.p99_ms),
        read.lost
    );
    let disturbance = Disturbance::new("drop-lists", name, &shop, outcome);
    play.disturbed(disturbance.detail(detail));
    play.close(shop).await
}
