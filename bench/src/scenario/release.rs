//! The delay until the units of an expired hold are available while the server is fully loaded,
//! from the log: `recorded_at − expired_at`.
//!
//! Every hold of the load lasts [`HOLD_SECONDS`], so soon as many expire as are placed.
//! Limit: `recorded_at` is the time of the engine's decision; the commit follows within one append.

use sqlx::Row;
use tokio::time::{Duration, sleep};

use super::Play;
use crate::contenders::Contender;
use crate::error::{BenchError, Doing};
use crate::generator::{Generator, Load, Question};
use crate::report::Figure;
use crate::round::{PLENTY, count, settle};
use crate::stage::Running;

const HOLD_SECONDS: u32 = 2;
/// The minimum duration, in seconds, so that most of the load runs while holds expire.
const SHORTEST: f64 = 6.0;

const LATENESS: &str = "
SELECT count(*) AS expired,
       percentile_cont(ARRAY[0.5, 0.99, 1.0]) WITHIN GROUP (ORDER BY late) AS late
  FROM (SELECT extract(epoch FROM recorded_at - (payload->'HoldExpired'->>'expired_at')::timestamptz)::float8 * 1000
               AS late
          FROM events
         WHERE aggregate_id = $1 AND event_type = 'HoldExpired'
           AND recorded_at <= (SELECT max(recorded_at) FROM events
                                WHERE aggregate_id = $1 AND event_type = 'HoldPlaced')) AS under_load";

/// # Errors
/// [`BenchError`].
pub async fn play(play: &mut Play<'_>, clients: usize) -> Result<(), BenchError> {
    let stage = play.stage;
    let server = stage.start(Contender::Holdfast).await?;
    let drop_id = server.open_drop(PLENTY, HOLD_SECONDS).await?;
    let load = Load {
        address: server.address,
        question: Question::Hold,
        drops: vec![drop_id],
        clients,
        seconds: play.settings.pace.seconds.max(SHORTEST),
        warm_up: f64::from(HOLD_SECONDS),
    };
    println!("release: holds of {HOLD_SECONDS} s under full load");
    let generator = Generator::start(stage.reaper(), &load)?;
    let outcome = generator.outcome().await?;
    count(&server, &outcome, &[drop_id], 1).await?;
    wait_until_all_are_over(&server, drop_id).await?;
    settle(&server).await?;
    let (expired, late) = lateness(&server, drop_id).await?;
    stage.end(server).await?;
    let rate = outcome.per_second;
    for (name, value) in ["p50", "p99", "max"].into_iter().zip(late) {
        play.report.figure(Figure {
            scenario: "release".into(),
            name: format!("release lateness {name}"),
            value,
            unit: "ms".into(),
            detail: format!("{expired} expiries at {rate:.0} holds/s"),
        });
    }
    Ok(())
}

async fn wait_until_all_are_over(server: &Running, drop_id: uuid::Uuid) -> Result<(), BenchError> {
    const ATTEMPTS: u32 = 600;
    for _attempt in 0..ATTEMPTS {
        let drop = server.get(&format!("/v1/drops/{drop_id}")).await?;
        if drop["stock"]["held"] == 0 {
            return Ok(());
        }
        sleep(Duration::from_millis(100)).await;
    }
    Err(BenchError::Unexpected(
        "expired holds were never recorded".into(),
    ))
}

async fn lateness(server: &Running, drop_id: uuid::Uuid) -> Result<(i64, Vec<f64>), BenchError> {
    let row = sqlx::query(LATENESS)
        .bind(drop_id.to_string())
        .fetch_one(server.pool()?)
        .await
        .doing("read how late stock returned")?;
    let late: Option<Vec<f64>> = row.try_get("late").doing("read lateness")?;
    let expired = row.try_get("expired").doing("read expiries")?;
    Ok((expired, late.unwrap_or_default()))
}
