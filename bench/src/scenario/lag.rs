//! How far projections are behind the log while the server is fully loaded, by polling
//! `/health/ready`.
//!
//! Lag is in milliseconds: the time since the log was at the position where the slowest projection
//! is now.

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

const SAMPLE_INTERVAL: Duration = Duration::from_millis(20);
/// The minimum duration, in seconds, to see growing lag.
const SHORTEST: f64 = 6.0;

/// One sample.
#[derive(Debug, Clone, Copy)]
struct Sample {
    /// Milliseconds since the first sample.
    at: f64,
    /// The position of the log.
    position: f64,
    /// The position of the slowest projection.
    slowest: f64,
}

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
    println!("lag: sampling the projections under full load");
    let mut generator = Generator::start(stage.reaper(), &load)?;
    let samples = look_until(&server, generator.measured()).await?;
    let outcome = generator.outcome().await?;
    let settled = settle(&server).await?;
    count(&server, &outcome, &[drop_id], 1).await?;
    stage.end(server).await?;
    let lags = lags(&samples);
    let most = samples
        .iter()
        .map(|sample| sample.position - sample.slowest);
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
) -> Result<Vec<Sample>, BenchError> {
    let (began, mut samples) = (Instant::now(), vec![]);
    let mut end = std::pin::pin!(end);
    loop {
        tokio::select! {
            ended = &mut end => return ended.map(|()| samples),
            () = sleep(SAMPLE_INTERVAL) => {}
        }
        let readiness = Readiness::of(server).await?;
        samples.push(Sample {
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

/// Returns the lag of each sample: the time since the log was at the position of the slowest
/// projection. If that was before the first sample, the time since the first sample.
fn lags(samples: &[Sample]) -> Vec<f64> {
    let lag = |(index, sample): (usize, &Sample)| {
        if sample.slowest >= sample.position {
            return 0.0;
        }
        // The last pair of samples between which the log passed that position.
        let mut pairs = samples[..=index].windows(2).rev();
        let passed = pairs.find(|pair| pair[0].position <= sample.slowest);
        let Some([before, after]) = passed else {
            return sample.at - samples[0].at;
        };
        let way = (sample.slowest - before.position) / (after.position - before.position).max(1.0);
        sample.at - (before.at + (after.at - before.at) * way.min(1.0))
    };
    samples.iter().enumerate().map(lag).collect()
}

/// Returns the median of the last third minus that of the first: near zero unless lag grows.
fn growth(lags: &[f64]) -> f64 {
    let third = lags.len() / 3;
    let first = median(&lags[..third]).unwrap_or_default();
    let last = median(&lags[lags.len() - third..]).unwrap_or_default();
    last - first
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: f64, position: f64, slowest: f64) -> Sample {
        Sample {
            at,
            position,
            slowest,
        }
    }

    #[test]
    fn lag_is_the_time_since_the_log_passed_the_position() {
        let samples = [
            sample(0.0, 100.0, 100.0),
            sample(20.0, 200.0, 150.0),
            sample(40.0, 300.0, 150.0),
        ];
        assert_eq!(lags(&samples), [0.0, 10.0, 30.0]);
    }

    #[test]
    fn lag_since_before_the_first_sample_is_not_zero() {
        let samples = [sample(0.0, 100.0, 50.0), sample(500.0, 900.0, 60.0)];
        assert_eq!(lags(&samples), [0.0, 500.0]);
    }

    #[test]
    fn growing_lag_is_reported() {
        assert!(growth(&[1.0, 1.0, 5.0, 5.0, 9.0, 9.0]) > 7.0);
        assert!(growth(&[3.0; 9]).abs() < 1e-9);
        assert!(growth(&[]).abs() < 1e-9);
    }
}
