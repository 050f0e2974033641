//! The command line, and the course of a run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::contenders::{Contender, ServeRival, Store, holdfast, serve_rival};
use crate::error::{BenchError, Doing, within};
use crate::generator::paced::{Pacing, pace};
use crate::generator::{Load, generate};
use crate::process::reap;
use crate::provenance::collect_provenance;
use crate::report::disturbances::table;
use crate::report::{Report, markdown, targets_table};
use crate::round::Pace;
use crate::scenario::{Play, Scenario, Settings};
use crate::stage::{Plan, Stage, has_redis, results_directory};
use crate::stream_flood::{Flood, flood};
use crate::svg::chart;
use crate::watchers::{Watch, watch};

/// The limit of a whole run.
const LONGEST: Duration = Duration::from_secs(6 * 3600);
/// Connections of watchers and clients, at both ends, with a margin.
const OPEN_FILES: u64 = 30_000;

/// Compares Holdfast with its rivals in one run
#[derive(Debug, Parser)]
#[command(name = "bench", args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    hidden: Option<Hidden>,

    #[command(flatten)]
    options: Options,
}

/// Internal commands, with which this program starts itself.
#[derive(Debug, Subcommand)]
enum Hidden {
    /// Serve as a rival.
    #[command(hide = true)]
    ServeRival(ServeRival),
    /// Generate load.
    #[command(hide = true)]
    Generate(Load),
    /// Place holds at a fixed rate.
    #[command(hide = true)]
    Pace(Pacing),
    /// Send without pause on live streams.
    #[command(hide = true)]
    FloodStream(Flood),
    /// Watch live streams.
    #[command(hide = true)]
    Watch(Watch),
    /// Clean up after a run that was killed.
    #[command(hide = true)]
    Reap,
}

#[derive(Debug, clap::Args)]
struct Options {
    /// A few minutes instead of the full run: fewer and shorter rounds, shorter logs, fewer rivals
    /// outside the main scenario
    #[arg(long)]
    quick: bool,

    /// Run rivals only where a target needs them; implied by --quick
    #[arg(long)]
    few_rivals: bool,

    /// Scenarios to run [default: all]
    #[arg(long, value_enum, value_delimiter = ',')]
    scenario: Vec<Scenario>,

    /// Contenders to run [default: all]
    #[arg(long, value_enum, value_delimiter = ',')]
    contenders: Vec<Contender>,

    /// Numbers of connections [default: 64, 256 and 1000]
    #[arg(long, value_delimiter = ',')]
    clients: Vec<usize>,

    /// Numbers of watchers; the scenario stream uses the largest [default: 200, and 10000 in the
    /// full run]
    #[arg(long, value_delimiter = ',')]
    watchers: Vec<usize>,

    /// Rounds [default: 5; 3 with --quick]
    #[arg(long)]
    rounds: Option<usize>,

    /// Seconds measured in each round [default: 8; 2 with --quick]
    #[arg(long)]
    seconds: Option<f64>,

    /// Events of the long log [default: 10000000; 200000 with --quick]
    #[arg(long)]
    long_log: Option<u64>,

    /// Unresolved holds of the drop that is cancelled in the scenario consequences; the waitlist
    /// and the holds that expire together have the same number, at most 100,000 [default: 1000000;
    /// 50000 with --quick]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=5_000_000))]
    consequences: Option<u32>,

    /// Numbers of processes on one log in the scenario consequences
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    nodes: Vec<usize>,

    /// Holds per second on other drops in consequences, stream-flood and drop-lists, over all
    /// processes
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,

    /// Drops of the shop whose page is opened in the scenario pages, compared with a shop of 10
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(11..=1_000_000))]
    page_drops: u32,

    /// Followers of the creator whose lists are read in the scenario followers, compared with 1,000
    /// [default: 1000000; 50000 with --quick]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    followers: Option<u32>,

    /// Another build of holdfast, which runs as `against`, to compare two builds in one run. It
    /// gets its own database, migrates it itself, and receives no flag that only this build has
    #[arg(long)]
    against: Option<PathBuf>,

    /// Use this build of holdfast instead of building one
    #[arg(long)]
    holdfast: Option<PathBuf>,

    /// Connections to Postgres of each rival that uses it; more connections made the row-locking
    /// rivals slower
    #[arg(long, default_value_t = 8)]
    pool: u32,

    /// Directory for runs and results, on a disk with a real fsync [default: target/bench]
    #[arg(long)]
    directory: Option<PathBuf>,

    /// Write the bar chart to this file
    #[arg(long)]
    svg: Option<PathBuf>,

    /// Write the tables to this file, as Markdown
    #[arg(long)]
    markdown: Option<PathBuf>,
}

pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match &cli.hidden {
        Some(Hidden::ServeRival(options)) => serve_rival(options),
        Some(Hidden::Generate(load)) => generate(load),
        Some(Hidden::Pace(pacing)) => pace(pacing),
        Some(Hidden::FloodStream(clients)) => flood(clients),
        Some(Hidden::Watch(watchers)) => watch(watchers),
        Some(Hidden::Reap) => {
            reap();
            ExitCode::SUCCESS
        }
        None => bench(&cli.options),
    }
}

fn bench(options: &Options) -> ExitCode {
    tracing_subscriber::fmt()
        // A slow checkpoint is not worth a warning.
        .with_env_filter(EnvFilter::new("warn,sqlx=error"))
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(until_signal(options)),
        Err(error) => Err(error).doing("start a runtime"),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {}", terminal::text::one_line(&error));
            ExitCode::FAILURE
        }
    }
}

/// Runs until the end, Ctrl-C or SIGTERM. Children end when their owners are dropped.
async fn until_signal(options: &Options) -> Result<(), BenchError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).doing("listen for signals")?;
    tokio::select! {
        outcome = within("the whole run", LONGEST, run(options)) => outcome,
        _ = tokio::signal::ctrl_c() => Err(BenchError::Unexpected("interrupted".into())),
        _ = terminate.recv() => Err(BenchError::Unexpected("terminated".into())),
    }
}

async fn run(options: &Options) -> Result<(), BenchError> {
    allow_open_files()?;
    let (settings, notes) = settings(options).await;
    for note in &notes {
        println!("{note}");
    }
    let directory = options
        .directory
        .clone()
        .map_or_else(results_directory, Ok)?;
    let holdfast = match &options.holdfast {
        Some(named) => named.clone(),
        None => holdfast::build().await?,
    };
    let stage = Stage::build(Plan {
        directory: directory.clone(),
        holdfast,
        against: options.against.clone(),
        pool: options.pool,
    })
    .await?;
    let mut report = Report {
        provenance: collect_provenance(stage.postgres()),
        notes,
        sections: vec![],
        figures: vec![],
        disturbances: vec![],
    };
    let played = play(&stage, &settings, &mut report, &options.scenario).await;
    if !report.disturbances.is_empty() {
        println!("\n{}", table(&report.disturbances));
    }
    println!("\n{}", targets_table(&report));
    // The results before a failure are written as well.
    let written = write(&report, options, &directory);
    let cleared = stage.clear().await;
    played.and(written).and(cleared)
}

async fn play(
    stage: &Stage,
    settings: &Settings,
    report: &mut Report,
    wanted: &[Scenario],
) -> Result<(), BenchError> {
    let wanted: BTreeSet<Scenario> = if wanted.is_empty() {
        Scenario::value_variants().iter().copied().collect()
    } else {
        wanted.iter().copied().collect()
    };
    for scenario in wanted {
        let play = &mut Play {
            stage,
            settings,
            report: &mut *report,
        };
        play.play(scenario).await?;
    }
    Ok(())
}

/// Returns the options with their defaults, and notes about contenders that cannot run.
async fn settings(options: &Options) -> (Settings, Vec<String>) {
    let quick = options.quick;
    let mut notes = vec![];
    if cfg!(debug_assertions) {
        notes.push("This is a debug build: its figures have no meaning.".to_owned());
    }
    let mut contenders = or_all(&options.contenders, Contender::value_variants());
    contenders.retain(|contender| *contender != Contender::Against || options.against.is_some());
    let is_redis = |contender: &Contender| matches!(contender.store(), Store::Redis { .. });
    if contenders.iter().any(is_redis) && !has_redis().await {
        notes.push("redis-server is not installed: the Redis contenders are omitted.".into());
        contenders.retain(|contender| !is_redis(contender));
    }
    let watchers: &[usize] = if quick { &[200] } else { &[200, 10_000] };
    let usual = if quick { (3, 2.0, 0.5) } else { (5, 8.0, 2.0) };
    let (rounds, seconds, warm_up) = usual;
    let settings = Settings {
        pace: Pace {
            rounds: options.rounds.unwrap_or(rounds).max(1),
            seconds: options.seconds.unwrap_or(seconds).max(0.1),
            warm_up,
        },
        clients: or_all(&options.clients, &[64, 256, 1000]),
        contenders,
        watchers: or_all(&options.watchers, watchers),
        stream_watchers: options.watchers.iter().copied().max().unwrap_or(if quick {
            2_000
        } else {
            10_000
        }),
        long_log: options
            .long_log
            .unwrap_or(if quick { 200_000 } else { 10_000_000 }),
        restart: if quick { 200_000 } else { 1_000_000 },
        holds: if quick { 200_000 } else { 1_000_000 },
        few_rivals: quick || options.few_rivals,
        consequences: options
            .consequences
            .unwrap_or(if quick { 50_000 } else { 1_000_000 }),
        nodes: options.nodes.iter().map(|&nodes| nodes.max(1)).collect(),
        rate: options.rate,
        page_drops: options.page_drops,
        followers: options
            .followers
            .unwrap_or(if quick { 50_000 } else { 1_000_000 }),
    };
    (settings, notes)
}

fn or_all<T: Clone>(named: &[T], all: &[T]) -> Vec<T> {
    if named.is_empty() { all } else { named }.to_vec()
}

fn write(report: &Report, options: &Options, directory: &Path) -> Result<(), BenchError> {
    let json = report.json().doing("write the report as JSON")?;
    let name = chrono::Utc::now().format("%Y%m%d-%H%M%S.json").to_string();
    let path = directory.join(name);
    write_file(&path, &json)?;
    println!("\nwritten to {}", path.display());
    if let Some(path) = &options.markdown {
        write_file(path, &markdown(report))?;
    }
    match (&options.svg, chart(report)) {
        (Some(path), Some(svg)) => write_file(path, &svg),
        (Some(_), None) => {
            println!("no chart: it needs the scenario hot with 256 clients");
            Ok(())
        }
        (None, _) => Ok(()),
    }
}

fn write_file(path: &Path, text: &str) -> Result<(), BenchError> {
    std::fs::write(path, text).doing(format!("write {}", path.display()))
}

/// Ten thousand watchers need as many sockets at both ends; children inherit the limit.
fn allow_open_files() -> Result<(), BenchError> {
    rlimit::increase_nofile_limit(OPEN_FILES).doing("raise the limit of open files")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_valid() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn scenarios_and_contenders_are_parsed_from_lists() {
        let cli = Cli::try_parse_from([
            "bench",
            "--quick",
            "--scenario",
            "hot,sold-out",
            "--contenders",
            "no-op,holdfast",
            "--clients",
            "64,256",
        ]);
        let options = cli.unwrap().options;
        assert_eq!(options.scenario, [Scenario::Hot, Scenario::SoldOut]);
        assert_eq!(options.contenders, [Contender::NoOp, Contender::Holdfast]);
        assert_eq!(options.clients, [64, 256]);
        assert_eq!(options.nodes, [1, 2]);
    }
}
