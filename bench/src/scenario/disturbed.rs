//! A shop under a paced load that is disturbed, and what its other drops notice: the measurement
//! that the scenarios `consequences`, `stream-flood` and `drop-lists` share.
//!
//! One or two nodes on one log take holds on [`DROPS`] drops at a fixed rate ([`paced`]); the
//! disturbance concerns another drop, or none. At the end the store is counted against the
//! acknowledgements, as after every run.
//!
//! [`paced`]: crate::generator::paced

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use uuid::Uuid;

use crate::contenders::{Contender, holdfast};
use crate::error::{BenchError, Doing};
use crate::generator::Outcome;
use crate::generator::paced::{PacedLoad, PacedOutcome, Pacing, Phase};
use crate::round::{LONG_HOLD, PLENTY, count, settle};
use crate::seed_state::Seeder;
use crate::stage::{Kept, Running, Stage};

/// Drops that the paced load holds units of.
const DROPS: usize = 8;
/// Not measured, at the beginning of each paced load.
pub const WARM_UP: Duration = Duration::from_secs(1);
/// A disturbance that is not over by then is reported as such.
pub const LONGEST: Duration = Duration::from_secs(150);
/// Between two looks at whether it is over.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A look that takes longer is given up; a server that stalls is looked at again.
const LOOK_PATIENCE: Duration = Duration::from_secs(5);

/// One build on one log.
pub struct Shop {
    /// Its processes; the first keeps the database.
    pub nodes: Vec<Running>,
    drops: Vec<Uuid>,
    acknowledged: u64,
    uncertain: u64,
}

/// A new database of `contender`, migrated by its own program and stopped, to be seeded.
///
/// # Errors
/// [`BenchError`].
pub async fn migrated(stage: &Stage, contender: Contender) -> Result<(Kept, Seeder), BenchError> {
    let kept = stage.start(contender).await?.stop().await;
    let seeder = Seeder::connect(kept.url()).await?;
    Ok((kept, seeder))
}

impl Shop {
    /// Starts `nodes` processes on what was seeded, and returns when their read models have caught
    /// up.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn open(
        stage: &Stage,
        contender: Contender,
        kept: Kept,
        nodes: usize,
    ) -> Result<Self, BenchError> {
        if let Kept::Postgres(database) = &kept {
            // As autovacuum leaves a table that was written to in peace, and not while it is
            // measured.
            let vacuumed = sqlx::query("VACUUM (ANALYZE) events").execute(&database.pool);
            vacuumed.await.doing("vacuum the log")?;
        }
        stage.checkpoint().await?;
        let mut shop = Self {
            nodes: vec![stage.start_with(contender, kept).await?],
            drops: vec![],
            acknowledged: 0,
            uncertain: 0,
        };
        for _node in 1..nodes {
            shop.nodes.push(stage.join(&shop.nodes[0]).await?);
        }
        for _drop in 0..DROPS {
            shop.drops
                .push(shop.nodes[0].open_drop(PLENTY, LONG_HOLD).await?);
        }
        for &drop_id in &shop.drops {
            if !shop
                .until(drop_id, |_| true, Instant::now() + LONGEST)
                .await
            {
                let unknown = format!("a node does not know drop {drop_id}");
                return Err(BenchError::Unexpected(unknown));
            }
        }
        shop.settle(stage).await?;
        Ok(shop)
    }

    /// One of the drops that the paced load holds units of.
    pub fn a_drop(&self) -> Uuid {
        self.drops.first().copied().unwrap_or_default()
    }

    /// Waits until the read models have caught up, and Postgres has written everything out.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn settle(&self, stage: &Stage) -> Result<(), BenchError> {
        for node in &self.nodes {
            settle(node).await?;
        }
        stage.checkpoint().await
    }

    /// Returns once `is_over` says so of the drop at every node, as its API shows it; whether that
    /// was before `deadline`. A node that does not answer is asked again.
    pub async fn until(
        &self,
        drop_id: Uuid,
        is_over: impl Fn(&Value) -> bool,
        deadline: Instant,
    ) -> bool {
        let path = format!("/v1/drops/{drop_id}");
        for node in &self.nodes {
            loop {
                let look = timeout(LOOK_PATIENCE, node.get(&path)).await;
                if look.is_ok_and(|drop| drop.is_ok_and(|drop| is_over(&drop))) {
                    break;
                }
                if Instant::now() > deadline {
                    return false;
                }
                sleep(LOOK_EVERY).await;
            }
        }
        true
    }

    /// Measures the paced load at `rate` holds a second before, during and after `disturbance`,
    /// which begins at `from`; before and after it for `calm`.
    ///
    /// # Errors
    /// [`BenchError`], also when `from` is too soon.
    pub async fn disturb<T>(
        &mut self,
        stage: &Stage,
        (rate, calm): (u32, Duration),
        from: Instant,
        disturbance: impl AsyncFnOnce(&Self) -> Result<T, BenchError>,
    ) -> Result<(PacedOutcome, T), BenchError> {
        let calm_from = from - calm;
        sleep_until(calm_from - WARM_UP).await;
        let pacing = Pacing {
            addresses: self.nodes.iter().map(|node| node.address).collect(),
            drops: self.drops.clone(),
            rate,
        };
        let mut load = PacedLoad::start(stage.reaper(), &pacing).await?;
        if Instant::now() > calm_from + calm / 2 {
            let late = "the disturbance began before the undisturbed server could be measured";
            return Err(BenchError::Unexpected(late.into()));
        }
        sleep_until(calm_from).await;
        load.enter(Phase::Before).await?;
        sleep_until(from).await;
        load.enter(Phase::During).await?;
        let result = disturbance(self).await?;
        load.enter(Phase::After).await?;
        sleep(calm).await;
        let outcome = load.end().await?;
        self.acknowledged += outcome.acknowledged;
        self.uncertain += outcome.uncertain;
        Ok((outcome, result))
    }

    /// Counts the store against the acknowledgements, has the build's own `audit verify` prove its
    /// log and its views, and ends the shop. Returns what verify has against it, if anything.
    ///
    /// # Errors
    /// [`BenchError::Mismatch`] above all.
    pub async fn close(self, stage: &Stage) -> Result<Option<String>, BenchError> {
        let outcome = Outcome {
            acknowledged: self.acknowledged,
            unanswered: self.uncertain,
            ..Outcome::default()
        };
        count(&self.nodes[0], &outcome, &self.drops).await?;
        let violation = violation(stage, &self.nodes[0]).await?;
        // The others first: the first one's database goes with it.
        for node in self.nodes.into_iter().rev() {
            stage.end(node).await?;
        }
        Ok(violation)
    }
}

async fn violation(stage: &Stage, node: &Running) -> Result<Option<String>, BenchError> {
    let name = node.contender.name();
    let mut verify = holdfast::command(stage.program(node.contender)?, node.store());
    verify.args(["audit", "verify"]).kill_on_drop(true);
    let output = verify.output().await.doing("run holdfast audit verify")?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() {
        println!("{name}: audit verify: {said}");
        return Ok(None);
    }
    let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Ok(Some(format!(
        "{name}: audit verify FAILED: {said} {complaint}"
    )))
}
