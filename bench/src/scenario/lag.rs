//! How far the read models are behind the log while the server is fully loaded, by asking `/health/ready` all along.
//!
//! Lag is told in milliseconds: how long ago the log was where the slowest projection is now.

use std::time::Instant;

use tokio::time::{Duration, sleep};

use super::Play;
use crate::contenders::Contender;
use crate::error::BenchError;
use crate::generator::{Generator, Load, Question};
use crate::report::Figure;
use crate::round::{LONG_HOLD, PLENTY, Readiness, count, settle};
use crate::stage::Running;
use crate::stats::{median, quantile};

const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Long enough to see whether lag grows.
const SHORTEST: f64 = 6.0;

/// One look.
#[derive(Debug, Clone, Copy)]
struct Look {
    /// Milliseconds since the first.
    at: f64,
    /// Where the log was.
    position: f64,
    /// Where the slowest projection was.
    slowest: f64,
}

/// Plays it.
///
/// # Errors
/// [`BenchError`].
pub async fn play(play: &mut Play<'_>, clients: usize) -> Result<(), BenchError> {
    let stage = play.stage;
    let server = stage.start(Contender::Holdfast).await?;
    let drop_id = server.open_drop(PLENTY, LONG_HOLD).await?;
    let load = Load {
        address: server.address,
        question: Question::Hold,
        drops: vec![drop_id],
        clients,
        seconds: play.settings.pace.seconds.max(SHORTEST),
        warm_up: play.settings.pace.warm_up,
    };
    println!("lag: looking at the read models under full load");
    let mut generator = Generator::start(stage.reaper(), &load)?;
    let looks = look_until(&server, generator.measured()).await?;
    let outcome = generator.outcome().await?;
    let settled = settle(&server).await?;
    count(&server, &outcome, &[drop_id]).await?;
    stage.end(server).await?;
    let lags = lags(&looks);
    let most = looks.iter().map(|look| look.position - look.slowest);
    let most = most.fold(0.0, f64::max);
    let detail = format!(
        "{:.0} holds/s, at most {most:.0} events behind, caught up {settled:.2} s after",
        outcome.per_second
    );
    let mut figure = |name: &str, value: f64, unit: &str| {
        play.report.figure(Figure {
            scenario: "lag".into(),
            name: name.into(),
            value,
            unit: unit.into(),
            detail: detail.clone(),
        });
    };
    figure(
        "projection lag p50",
        quantile(&lags, 0.5).unwrap_or_default(),
        "ms",
    );
    figure(
        "projection lag p99",
        quantile(&lags, 0.99).unwrap_or_default(),
        "ms",
    );
    figure("projection lag, last third less first", growth(&lags), "ms");
    Ok(())
}

async fn look_until(
    server: &Running,
    end: impl Future<Output = Result<(), BenchError>>,
) -> Result<Vec<Look>, BenchError> {
    let (began, mut looks) = (Instant::now(), vec![]);
    let mut end = std::pin::pin!(end);
    loop {
        tokio::select! {
            ended = &mut end => return ended.map(|()| looks),
            () = sleep(LOOK_EVERY) => {}
        }
        let readiness = Readiness::of(server).await?;
        looks.push(Look {
            at: began.elapsed().as_secs_f64() * 1000.0,
            position: number(readiness.position),
            slowest: number(readiness.slowest()),
        });
    }
}

#[expect(clippy::cast_precision_loss, reason = "positions are far below 2^52")]
const fn number(position: u64) -> f64 {
    position as f64
}

/// For each look, how long before it the log was where the slowest projection is; since the first look at least, where
/// that was behind already.
fn lags(looks: &[Look]) -> Vec<f64> {
    let lag = |(index, look): (usize, &Look)| {
        if look.slowest >= look.position {
            return 0.0;
        }
        // The last pair of looks between which the log passed that place.
        let mut pairs = looks[..=index].windows(2).rev();
        let passed = pairs.find(|pair| pair[0].position <= look.slowest);
        let Some([before, after]) = passed else {
            return look.at - looks[0].at;
        };
        let way = (look.slowest - before.position) / (after.position - before.position).max(1.0);
        look.at - (before.at + (after.at - before.at) * way.min(1.0))
    };
    looks.iter().enumerate().map(lag).collect()
}

/// The median of the last third less that of the first: near zero, or lag is growing.
fn growth(lags: &[f64]) -> f64 {
    let third = lags.len() / 3;
    let first = median(&lags[..third]).unwrap_or_default();
    let last = median(&lags[lags.len() - third..]).unwrap_or_default();
    last - first
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(at: f64, position: f64, slowest: f64) -> Look {
        Look {
            at,
            position,
            slowest,
        }
    }

    #[test]
    fn lag_is_the_time_since_the_log_was_there() {
        let looks = [
            look(0.0, 100.0, 100.0),
            look(20.0, 200.0, 150.0),
            look(40.0, 300.0, 150.0),
        ];
        assert_eq!(lags(&looks), [0.0, 10.0, 30.0]);
    }

    #[test]
    fn what_was_behind_from_the_first_look_on_is_never_called_caught_up() {
        let looks = [look(0.0, 100.0, 50.0), look(500.0, 900.0, 60.0)];
        assert_eq!(lags(&looks), [0.0, 500.0]);
    }

    #[test]
    fn lag_that_grows_shows() {
        assert!(growth(&[1.0, 1.0, 5.0, 5.0, 9.0, 9.0]) > 7.0);
        assert!(growth(&[3.0; 9]).abs() < 1e-9);
        assert!(growth(&[]).abs() < 1e-9);
    }
}
