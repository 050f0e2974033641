//! A disturbed shop under a paced load, and the effect on its other drops: the measurement that the
//! scenarios `consequences`, `stream-flood` and `drop-lists` share.
//!
//! One or two nodes on one log receive holds for [`DROPS`] drops at a fixed rate ([`paced`]); the
//! disturbance concerns another drop, or none. At the end the store is compared with the
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

/// Drops of the paced load.
const DROPS: usize = 8;
/// The warm-up at the beginning of each paced load, not measured.
pub const WARM_UP: Duration = Duration::from_secs(1);
/// A disturbance that takes longer is reported as not over.
pub const LONGEST: Duration = Duration::from_secs(150);
/// The interval of checks that the disturbance is over.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// The timeout of one check. The check of a server that stalls is repeated.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// One build on one log.
pub struct Shop {
    /// Its processes; the first owns the database.
    pub nodes: Vec<Running>,
    drops: Vec<Uuid>,
    acknowledged: u64,
    uncertain: u64,
}

/// Creates a new database of `contender`, migrated by its own program and stopped, ready to be
/// seeded.
///
/// # Errors
/// [`BenchError`].
pub async fn migrated(stage: &Stage, contender: Contender) -> Result<(Kept, Seeder), BenchError> {
    let kept = stage.start(contender).await?.stop().await;
    let seeder = Seeder::connect(kept.url()).await?;
    Ok((kept, seeder))
}

impl Shop {
    /// Starts `nodes` processes on the seeded database, and waits until their projections have
    /// caught up.
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
            // As autovacuum leaves an idle table, so that it does not run during the measurement.
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

    /// Returns one of the drops of the paced load.
    pub fn a_drop(&self) -> Uuid {
        self.drops.first().copied().unwrap_or_default()
    }

    /// Waits until the projections have caught up, and Postgres has written everything to disk.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn settle(&self, stage: &Stage) -> Result<(), BenchError> {
        for node in &self.nodes {
            settle(node).await?;
        }
        stage.checkpoint().await
    }

    /// Waits until `is_over` returns true for the drop at every node, as its API returns it.
    /// Returns true if that was before `deadline`. A node without a response is polled again.
    pub async fn until(
        &self,
        drop_id: Uuid,
        is_over: impl Fn(&Value) -> bool,
        deadline: Instant,
    ) -> bool {
        let path = format!("/v1/drops/{drop_id}");
        for node in &self.nodes {
            loop {
                let response = timeout(CHECK_TIMEOUT, node.get(&path)).await;
                if response.is_ok_and(|drop| drop.is_ok_and(|drop| is_over(&drop))) {
                    break;
                }
                if Instant::now() > deadline {
                    return false;
                }
                sleep(CHECK_INTERVAL).await;
            }
        }
        true
    }

    /// Measures the paced load at `rate` holds per second before, during and after `disturbance`,
    /// which begins at `from`; before and after it for `calm`.
    ///
    /// # Errors
    /// [`BenchError`], also if `from` is too soon.
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

    /// Compares the store with the acknowledgements, runs the build's own `audit verify`, and ends
    /// the shop. Returns the violations, if any.
    ///
    /// # Errors
    /// [`BenchError::Mismatch`] in particular.
    pub async fn close(self, stage: &Stage) -> Result<Option<String>, BenchError> {
        let outcome = Outcome {
            acknowledged: self.acknowledged,
            unanswered: self.uncertain,
            ..Outcome::default()
        };
        count(&self.nodes[0], &outcome, &self.drops, 1).await?;
        let violation = violation(stage, &self.nodes[0]).await?;
        // The first node last: its database is dropped with it.
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
    let summary = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() {
        println!("{name}: audit verify: {summary}");
        return Ok(None);
    }
    let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Ok(Some(format!(
        "{name}: audit verify FAILED: {summary} {complaint}"
    )))
}
