//! The audit, compared with the minimal cost of reading a log: `COPY events TO STDOUT`, as
//! PostgreSQL sends it, discarded.
//!
//! Every round runs, in sequence: the `COPY` (read by this program), `audit verify`,
//! `projections rebuild --all`, and `audit export --format ndjson` to the null device; each alone,
//! without a server. Memory is the process's own peak (`VmHWM`), at the full size and at a tenth of
//! it, which shows its growth with the log.
//! Limit: rounds on a long log take minutes, so there are at most [`MOST_ROUNDS`].

use std::process::Stdio;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use tokio::time::sleep;

use super::Play;
use crate::contenders::holdfast;
use crate::error::{BenchError, Doing};
use crate::procfs;
use crate::report::{Figure, grouped, rounded};
use crate::seed_log::{History, write};
use crate::stage::{Database, Stage};
use crate::stats::{median, paired};

/// The maximum number of rounds, even if the run has more.
const MOST_ROUNDS: usize = 3;
/// Drops over which the events are distributed.
const DROPS: u64 = 100;
/// The interval between two samples of a process. The measured peak misses only growth within the
/// last interval.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(10);

/// A job that is compared with the `COPY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Job {
    Verify,
    Rebuild,
    Export,
}

const JOBS: [Job; 3] = [Job::Verify, Job::Rebuild, Job::Export];

/// The figures' names, without the number of events.
pub const RATIOS: [&str; 3] = [
    "audit verify ÷ COPY",
    "projections rebuild ÷ COPY",
    "audit export ÷ COPY",
];

impl Job {
    const fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Verify => &["audit", "verify"],
            Self::Rebuild => &["projections", "rebuild", "--all"],
            Self::Export => &["audit", "export", "--format", "ndjson"],
        }
    }
}

/// The resources that one process used.
#[derive(Debug, Clone, Copy)]
struct ResourceUse {
    seconds: f64,
    /// User and system time of the process, without Postgres.
    cpu: f64,
    peak_bytes: u64,
}

/// # Errors
/// [`BenchError`], for example if verify finds a violation.
pub async fn play(play: &mut Play<'_>) -> Result<(), BenchError> {
    let events = play.settings.long_log;
    let rounds = play.settings.pace.rounds.min(MOST_ROUNDS);
    let (_, small) = measure(play.stage, events / 10, 1).await?;
    let (copies, taken) = measure(play.stage, events, rounds).await?;
    let copy = median(&copies).unwrap_or_default();
    for (job, name) in RATIOS.iter().enumerate() {
        let of = |what: fn(&ResourceUse) -> f64| -> Vec<f64> {
            taken.iter().map(|round| what(&round[job])).collect()
        };
        let seconds = of(|taken| taken.seconds);
        let Some(ratio) = paired(&seconds, &copies) else {
            continue;
        };
        let took = median(&seconds).unwrap_or_default();
        play.report.figure(Figure {
            scenario: "audit".into(),
            name: format!("{name}, {events} events"),
            value: ratio.median,
            unit: "×".into(),
            detail: format!(
                "{} s ({} events/s, {} s of CPU without Postgres) to {} s; {rounds} rounds, {}–{}",
                rounded(took),
                grouped(rate(events, took)),
                rounded(median(&of(|taken| taken.cpu)).unwrap_or_default()),
                rounded(copy),
                rounded(ratio.min),
                rounded(ratio.max),
            ),
        });
        let peak = of(|taken| mebibytes(taken.peak_bytes));
        let command = name.split(" ÷").next().unwrap_or(name);
        play.report.figure(Figure {
            scenario: "audit".into(),
            name: format!("{command}, peak memory, {events} events"),
            value: median(&peak).unwrap_or_default(),
            unit: "MiB".into(),
            detail: format!(
                "{} MiB at {} events",
                rounded(
                    small
                        .first()
                        .map_or(0.0, |round| mebibytes(round[job].peak_bytes))
                ),
                events / 10
            ),
        });
    }
    Ok(())
}

type Rounds = (Vec<f64>, Vec<[ResourceUse; JOBS.len()]>);

/// Seeds a log and plays rounds on it.
async fn measure(stage: &Stage, events: u64, rounds: usize) -> Result<Rounds, BenchError> {
    println!("audit: writing {events} events");
    let database = stage.database().await?;
    write(
        &database.url,
        History {
            events,
            drops: DROPS,
        },
    )
    .await?;
    // As autovacuum leaves an idle table; otherwise the first reader would do its work.
    let vacuumed = sqlx::query("VACUUM (ANALYZE) events")
        .execute(&database.pool)
        .await;
    vacuumed.doing("vacuum the log")?;
    println!("audit: filling the tables");
    run(stage, &database, Job::Rebuild).await?;
    let (mut copies, mut taken) = (vec![], vec![]);
    for round in 1..=rounds {
        stage.checkpoint().await?;
        let copy = copy(&database).await?;
        let [verify, rebuild, export] = JOBS;
        let verify = run(stage, &database, verify).await?;
        let rebuild = run(stage, &database, rebuild).await?;
        stage.checkpoint().await?;
        let export = run(stage, &database, export).await?;
        println!(
            "audit: {events} events, round {round} of {rounds}: COPY {copy:.2} s, verify {:.2}, rebuild {:.2}, export {:.2}",
            verify.seconds, rebuild.seconds, export.seconds
        );
        copies.push(copy);
        taken.push([verify, rebuild, export]);
    }
    stage.drop_database(database).await?;
    Ok((copies, taken))
}

/// Returns the seconds that the server's own `COPY` takes with a reader that discards it.
async fn copy(database: &Database) -> Result<f64, BenchError> {
    let doing = "copy the log";
    let mut connection = database.pool.acquire().await.doing(doing)?;
    let began = Instant::now();
    let mut chunks = connection
        .copy_out_raw("COPY events TO STDOUT")
        .await
        .doing(doing)?;
    while chunks.try_next().await.doing(doing)?.is_some() {}
    Ok(began.elapsed().as_secs_f64())
}

/// Runs the real program, and samples it until it ends.
async fn run(stage: &Stage, database: &Database, job: Job) -> Result<ResourceUse, BenchError> {
    let mut command = holdfast::command(stage.holdfast(), &database.url);
    command
        .args(job.arguments())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true);
    let doing = format!("run holdfast {}", job.arguments().join(" "));
    let began = Instant::now();
    let mut child = command.spawn().doing(doing.clone())?;
    let pid = child.id().unwrap_or_default();
    let (mut cpu, mut peak_bytes) = (Duration::ZERO, 0);
    let status = loop {
        tokio::select! {
            status = child.wait() => break status.doing(doing.clone())?,
            () = sleep(SAMPLE_INTERVAL) => {
                cpu = cpu.max(procfs::cpu_of(pid));
                peak_bytes = peak_bytes.max(procfs::peak(pid).unwrap_or_default());
            }
        }
    };
    if !status.success() {
        return Err(BenchError::Unexpected(format!("cannot {doing}: {status}")));
    }
    Ok(ResourceUse {
        seconds: began.elapsed().as_secs_f64(),
        cpu: cpu.as_secs_f64(),
        peak_bytes,
    })
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn rate(events: u64, seconds: f64) -> f64 {
    events as f64 / seconds.max(1e-9)
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
