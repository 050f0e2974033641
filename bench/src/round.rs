//! Rounds: every cell runs once per round, in an order that rotates. Each run is measured, settled
//! and counted.
//!
//! Promise: a figure enters the report only if the store contains the acknowledged holds. Before
//! the next cell runs, the previous one has caught up (Holdfast's projections), and Postgres has
//! written everything to disk.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;
use tokio::time::sleep;
use uuid::Uuid;

use crate::contenders::Contender;
use crate::error::BenchError;
use crate::generator::{Generator, Load, Outcome, Question};
use crate::stage::{Cpu, Running, Stage};
use crate::stats::{Ratio, median, paired};
use crate::watchers::{Seen, Watch, Watchers};

/// The largest stock that Holdfast allows: nothing sells out by accident.
pub const PLENTY: u32 = 10_000_000;
/// The longest hold that Holdfast allows: nothing expires by accident.
pub const LONG_HOLD: u32 = 3_600;
/// The longest time for projections to catch up after a run.
const SETTLING: Duration = Duration::from_secs(1_200);

/// The number and length of rounds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Pace {
    pub rounds: usize,
    /// Measured seconds per round and cell.
    pub seconds: f64,
    /// Seconds of warm-up, not measured.
    pub warm_up: f64,
}

/// One server under one kind of load.
#[derive(Debug, Clone)]
pub struct Cell {
    /// The name in tables.
    pub label: String,
    /// Index of the server.
    pub server: usize,
    pub question: Question,
    /// The number of drops.
    pub drops: usize,
    /// The number of watchers.
    pub watchers: usize,
}

impl Cell {
    /// One drop without watchers, labelled with the contender's name.
    pub fn new(server: usize, contender: Contender, question: Question) -> Self {
        Self {
            label: contender.name().to_owned(),
            server,
            question,
            drops: 1,
            watchers: 0,
        }
    }
}

/// CPU used while measuring, in cores.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Cores {
    /// The server's process.
    pub server: f64,
    /// Its backends in Postgres, or its Redis.
    pub store: f64,
    /// The rest of Postgres.
    pub postgres_rest: f64,
}

impl Cores {
    fn between(before: Cpu, after: Cpu, seconds: f64) -> Self {
        let cores = |before: Duration, after: Duration| {
            after.saturating_sub(before).as_secs_f64() / seconds
        };
        Self {
            server: cores(before.server, after.server),
            store: cores(before.store, after.store),
            postgres_rest: cores(before.rest, after.rest),
        }
    }
}

/// One cell in one round.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// The result of the generator.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Responses other than the expected one, and lost connections.
    pub errors: u64,
    pub cores: Cores,
    /// Holds found in the store, if the load placed holds.
    pub stored: Option<u64>,
    /// The time until projections had caught up after the run, in seconds.
    pub settled_after: f64,
    /// The result of its watchers.
    pub seen: Option<Seen>,
}

/// One cell over all rounds.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The name in tables.
    pub label: String,
    pub contender: Contender,
    /// One entry per round.
    pub rounds: Vec<Figures>,
}

impl Row {
    /// Returns the median of one figure over the rounds.
    pub fn median(&self, figure: impl Fn(&Figures) -> f64) -> f64 {
        let values: Vec<f64> = self.rounds.iter().map(figure).collect();
        median(&values).unwrap_or_default()
    }

    /// Returns the good responses per second, by round.
    pub fn rates(&self) -> Vec<f64> {
        let rate = |figures: &Figures| figures.outcome.per_second;
        self.rounds.iter().map(rate).collect()
    }

    pub fn errors(&self) -> u64 {
        self.rounds.iter().map(|figures| figures.errors).sum()
    }
}

/// One scenario at one number of clients.
#[derive(Debug, Clone, Serialize)]
pub struct Section {
    pub scenario: String,
    pub clients: usize,
    pub rows: Vec<Row>,
}

impl Section {
    /// The row with this label.
    pub fn row(&self, label: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.label == label)
    }

    /// Returns the paired ratio of two rows' rates.
    pub fn ratio(&self, numerator: &str, denominator: &str) -> Option<Ratio> {
        let (numerator, denominator) = (self.row(numerator)?, self.row(denominator)?);
        paired(&numerator.rates(), &denominator.rates())
    }
}

/// Plays all rounds of one scenario on running servers.
///
/// # Errors
/// [`BenchError`], in particular if store and acknowledgements differ.
pub async fn play(
    stage: &Stage,
    pace: Pace,
    servers: &[Running],
    scenario: &str,
    clients: usize,
    cells: &[Cell],
) -> Result<Section, BenchError> {
    let mut rows: Vec<Row> = cells
        .iter()
        .map(|cell| Row {
            label: cell.label.clone(),
            contender: servers[cell.server].contender,
            rounds: vec![],
        })
        .collect();
    for round in 0..pace.rounds {
        for turn in 0..cells.len() {
            let index = (round + turn) % cells.len();
            let cell = &cells[index];
            let server = &servers[cell.server];
            let figures = measure(stage, pace, server, clients, cell).await?;
            progress(scenario, clients, (round, pace.rounds), cell, &figures);
            rows[index].rounds.push(figures);
        }
    }
    Ok(Section {
        scenario: scenario.to_owned(),
        clients,
        rows,
    })
}

fn progress(
    scenario: &str,
    clients: usize,
    (round, rounds): (usize, usize),
    cell: &Cell,
    figures: &Figures,
) {
    let outcome = &figures.outcome;
    println!(
        "{scenario}, {clients} clients, round {}/{rounds}: {} {:.0}/s, p50 {:.1} ms, p99 {:.1} ms, {} errors; \
         cores: server {:.2}, store {:.2}, generator {:.2}",
        round + 1,
        cell.label,
        outcome.per_second,
        outcome.p50_ms,
        outcome.p99_ms,
        figures.errors,
        figures.cores.server,
        figures.cores.store,
        outcome.generator_cores
    );
}

/// # Errors
/// As for [`play`].
pub async fn measure(
    stage: &Stage,
    pace: Pace,
    server: &Running,
    clients: usize,
    cell: &Cell,
) -> Result<Figures, BenchError> {
    let drops = open_drops(server, cell).await?;
    let mut watchers = open_watchers(stage, server, cell, &drops).await?;
    let load = Load {
        address: server.address,
        question: cell.question,
        drops: drops.clone(),
        clients,
        seconds: pace.seconds,
        warm_up: pace.warm_up,
    };
    let mut generator = Generator::start(stage.reaper(), &load)?;
    generator.begun().await?;
    let before = stage.cpu(server);
    if let Some(watchers) = &mut watchers {
        watchers.begin().await?;
    }
    generator.measured().await?;
    let cores = Cores::between(before, stage.cpu(server), pace.seconds);
    let mut seen = match watchers {
        Some(mut watchers) => Some(watchers.end().await?),
        None => None,
    };
    let outcome = generator.outcome().await?;
    let settled_after = settle(server).await?;
    if let (Some(seen), Some(&drop_id)) = (&mut seen, drops.first()) {
        seen.join(server.pool()?, drop_id).await?;
    }
    let stored = match cell.question {
        Question::Hold | Question::Order => {
            let holds = cell.question.holds(drops.len());
            count(server, &outcome, &drops, holds).await?
        }
        Question::Refusal | Question::Read | Question::List => None,
    };
    stage.checkpoint().await?;
    Ok(Figures {
        errors: errors(&outcome, cell.question),
        outcome,
        cores,
        stored,
        settled_after,
        seen,
    })
}

async fn open_drops(server: &Running, cell: &Cell) -> Result<Vec<Uuid>, BenchError> {
    let is_sold_out = cell.question == Question::Refusal;
    let units = if is_sold_out { 1 } else { PLENTY };
    let mut drops = Vec::with_capacity(cell.drops);
    for _drop in 0..cell.drops {
        let drop_id = server.open_drop(units, LONG_HOLD).await?;
        if is_sold_out {
            server.place(drop_id).await?;
        }
        drops.push(drop_id);
    }
    Ok(drops)
}

async fn open_watchers(
    stage: &Stage,
    server: &Running,
    cell: &Cell,
    drops: &[Uuid],
) -> Result<Option<Watchers>, BenchError> {
    let Some(&drop_id) = drops.first().filter(|_| cell.watchers > 0) else {
        return Ok(None);
    };
    let watch = Watch {
        address: server.address,
        drop_id,
        watchers: cell.watchers,
    };
    Watchers::start(stage.reaper(), &watch).await.map(Some)
}

fn errors(outcome: &Outcome, question: Question) -> u64 {
    let unexpected = |(status, count): (&u16, &u64)| {
        if *status == question.expected() {
            0
        } else {
            *count
        }
    };
    outcome.answers.iter().map(unexpected).sum::<u64>() + outcome.lost
}

/// Compares the store with the acknowledgements, each of which is for `holds` holds.
///
/// # Errors
/// [`BenchError::Mismatch`].
pub async fn count(
    server: &Running,
    outcome: &Outcome,
    drops: &[Uuid],
    holds: u64,
) -> Result<Option<u64>, BenchError> {
    let Some(stored) = server.stored(drops).await? else {
        return Ok(None);
    };
    let (acknowledged, unanswered) = (outcome.acknowledged * holds, outcome.unanswered * holds);
    if !adds_up(acknowledged, unanswered, stored) {
        return Err(BenchError::Mismatch {
            contender: server.contender.name().to_owned(),
            acknowledged,
            unanswered,
            stored,
        });
    }
    Ok(Some(stored))
}

/// Returns true if every acknowledged hold is stored, and every stored hold was requested.
const fn adds_up(acknowledged: u64, unanswered: u64, stored: u64) -> bool {
    acknowledged <= stored && stored <= acknowledged + unanswered
}

/// Waits until the projections have caught up. Returns how long that took, in seconds.
///
/// # Errors
/// [`BenchError`] if they do not within [`SETTLING`], or have stopped.
pub async fn settle(server: &Running) -> Result<f64, BenchError> {
    if !server.contender.is_holdfast() {
        return Ok(0.0);
    }
    let began = Instant::now();
    loop {
        let lag = Readiness::of(server).await?.lag();
        if lag == 0 {
            return Ok(began.elapsed().as_secs_f64());
        }
        if began.elapsed() > SETTLING {
            return Err(BenchError::Unexpected(format!(
                "projections are still {lag} events behind after {SETTLING:?}"
            )));
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// The positions of the log and its projections, as reported by Holdfast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// The log's head.
    pub position: u64,
    /// Each projection's checkpoint.
    pub checkpoints: BTreeMap<String, u64>,
}

impl Readiness {
    /// Reads the readiness of `server`.
    ///
    /// # Errors
    /// [`BenchError`] if it is not ready, or a projection has stopped.
    pub async fn of(server: &Running) -> Result<Self, BenchError> {
        Self::read(&server.get("/health/ready").await?)
    }

    fn read(body: &Value) -> Result<Self, BenchError> {
        let unreadable = || BenchError::Unexpected(format!("not a readiness report: {body}"));
        let position = body["position"].as_u64().ok_or_else(unreadable)?;
        let mut checkpoints = BTreeMap::new();
        for (name, progress) in body["projections"].as_object().ok_or_else(unreadable)? {
            if let Some(reason) = progress["stopped"].as_str() {
                return Err(BenchError::Unexpected(format!("{name} stopped: {reason}")));
            }
            let checkpoint = progress["checkpoint"].as_u64().ok_or_else(unreadable)?;
            checkpoints.insert(name.clone(), checkpoint);
        }
        Ok(Self {
            position,
            checkpoints,
        })
    }

    /// Returns the checkpoint of the slowest projection.
    pub fn slowest(&self) -> u64 {
        let slowest = self.checkpoints.values().min();
        slowest.copied().unwrap_or(self.position)
    }

    /// Returns how many events the slowest projection is behind.
    pub fn lag(&self) -> u64 {
        self.position.saturating_sub(self.slowest())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn figures(per_second: f64) -> Figures {
        Figures {
            outcome: Outcome {
                per_second,
                ..Outcome::default()
            },
            errors: 0,
            cores: Cores::default(),
            stored: None,
            settled_after: 0.0,
            seen: None,
        }
    }

    fn row(contender: Contender, rates: &[f64]) -> Row {
        Row {
            label: contender.name().to_owned(),
            contender,
            rounds: rates.iter().copied().map(figures).collect(),
        }
    }

    #[test]
    fn rows_are_compared_round_by_round() {
        let section = Section {
            scenario: "hot".into(),
            clients: 256,
            rows: vec![
                row(Contender::NoOp, &[100.0, 50.0]),
                row(Contender::Holdfast, &[60.0, 30.0]),
            ],
        };
        let ratio = section.ratio("holdfast", "no-op").unwrap();
        assert!((ratio.median - 0.6).abs() < 1e-9);
        assert!(section.ratio("holdfast", "nobody").is_none());
    }

    #[test]
    fn acknowledged_holds_are_stored_and_stored_holds_were_requested() {
        assert!(adds_up(10, 0, 10));
        assert!(!adds_up(10, 0, 9), "lost");
        assert!(!adds_up(10, 0, 11), "invented");
        assert!(
            adds_up(10, 2, 12),
            "requests without a response may be stored"
        );
        assert!(!adds_up(10, 2, 13));
    }

    #[test]
    fn readiness_reports_the_slowest_projection_and_rejects_stopped_ones() {
        let body = |stopped: Value| {
            json!({ "status": "ready", "position": 9, "projections": {
                "holds": { "checkpoint": 7, "lag": 2, "stopped": stopped },
                "buyers": { "checkpoint": 9, "lag": 0, "stopped": null },
            } })
        };
        let readiness = Readiness::read(&body(Value::Null)).unwrap();
        assert_eq!((readiness.slowest(), readiness.lag()), (7, 2));
        assert!(Readiness::read(&body(json!("a defect"))).is_err());
        assert!(Readiness::read(&json!({})).is_err());
    }

    #[test]
    fn response_with_an_unexpected_status_is_an_error() {
        let outcome = Outcome {
            answers: BTreeMap::from([(201, 5), (503, 2)]),
            lost: 1,
            ..Outcome::default()
        };
        assert_eq!(errors(&outcome, Question::Hold), 3);
        assert_eq!(errors(&outcome, Question::Refusal), 8);
    }
}
