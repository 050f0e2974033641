//! `holdfast load`: a load test against a server, judged by the server's own log.
//!
//! ```text
//!   head ─▶ create a drop ─▶ connect all ─▶ start! ─▶ every visit ──┐
//!    └──────────────── follow the log from here ─▶ tally ───────────┴─▶ verdict
//! ```
//!
//! Promise: it passes only if the log shows no oversold unit, every acknowledged hold and purchase,
//! and no duplicate.
//! Limit: it creates its own drop and cancels it again, also on an error and on Ctrl-C; the events
//! stay in the log. After `kill -9` the drop stays until it ends, an hour after its start.

pub mod args;
mod buyer;
mod crowd;
mod limits;
pub mod outcome;
mod progress;
pub mod report;
mod retry;
pub mod tally;
pub mod verdict;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use domain::values::{Position, Quantity};
use terminal::print_line;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

pub use self::args::LoadArgs;
use self::buyer::Plan;
use self::outcome::Responses;
use self::progress::{Counts, Phase};
use self::report::Report;
use self::tally::{End, Tally};
use self::verdict::judge;
use super::calls::DropView;
use super::cleanup::{Created, settled, until_interrupted};
use super::error::ClientError;
use super::log_reader::LogReader;
use super::pooled::Client;
use super::socket::{Socket, Target};

/// How long the log may lag behind acknowledged requests, and expiries behind their deadlines,
/// before it counts as a failure.
const GRACE: Duration = Duration::from_secs(30);
/// The pause between two reads of the log.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Runs a load test and prints its report. Succeeds only if the test passed.
///
/// # Errors
/// [`ClientError`] when the test could not run, or the log could not be read.
pub async fn run(args: LoadArgs) -> Result<ExitCode, ClientError> {
    let (outcome, cancelled) = stampede_and_cancel(&args).await?;
    if let Ok(report) = &outcome {
        print_line(&report.to_string()).map_err(ClientError::Output)?;
    }
    let report = settled(outcome, cancelled)?;
    Ok(if report.verdict.passed() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs a load test.
///
/// # Errors
/// The same as for [`run`].
pub async fn stampede(args: &LoadArgs) -> Result<Report, ClientError> {
    let (outcome, cancelled) = stampede_and_cancel(args).await?;
    settled(outcome, cancelled)
}

/// Returns the outcome of the load test, and the outcome of cancelling its drop.
async fn stampede_and_cancel(
    args: &LoadArgs,
) -> Result<(Result<Report, ClientError>, Result<(), ClientError>), ClientError> {
    limits::ensure_open_files(args.sockets())?;
    let client = args.server.client()?;
    let created = Created::default();
    let outcome = until_interrupted(stampede_for(&client, args, &created)).await;
    Ok((outcome, created.cancel(&client).await))
}

async fn stampede_for(
    client: &Client,
    args: &LoadArgs,
    created: &Created,
) -> Result<Report, ClientError> {
    let before = client.log_head().await?.position;
    let run = format!("load-{}", Uuid::new_v4().simple());
    let drop = args
        .drop()
        .expect("the arguments are within the domain's bounds");
    let drop = created.create(client, &drop, &run).await?;
    let counts = Arc::new(Counts::default());
    let plan = plan(client, args, &drop, run, Arc::clone(&counts)).await?;
    let (responses, connected) = race(plan, args).await?;

    let mut log = LogReader::new(client.clone(), drop.id, before);
    let tally = count_log(&mut log, &responses, args, &counts).await?;
    let verdict = judge(&responses, &tally, args.expected());
    Ok(Report {
        drop_id: drop.id,
        drop_name: drop.name,
        connected,
        abandoned: args.abandon,
        responses,
        tally,
        span: (before, log.position()),
        verdict,
    })
}

async fn plan(
    client: &Client,
    args: &LoadArgs,
    drop: &DropView,
    run: String,
    counts: Arc<Counts>,
) -> Result<Plan, ClientError> {
    let timeout = Duration::from_secs(args.timeout_seconds);
    Ok(Plan {
        target: Target::resolve(client.server().clone(), client.key(), client.tls(), timeout)
            .await?,
        drop_id: drop.id,
        quantity: Quantity::new(args.quantity.into()).expect("checked by the command line"),
        purchase: args.buys(),
        retries: args.retries,
        run,
        counts,
    })
}

async fn race(plan: Plan, args: &LoadArgs) -> Result<(Responses, u64), ClientError> {
    let sockets = connect(&plan, args.sockets()).await?;
    let connected = sockets.iter().flatten().count() as u64;
    let _shown = Phase::show("buying", args.buyers.into(), &plan.counts);
    let (visits, elapsed) = crowd::run(Arc::new(plan), args.buyers, sockets).await;
    Ok((Responses::gather(visits, elapsed), connected))
}

async fn connect(plan: &Plan, sockets: u32) -> Result<Vec<Option<Socket>>, ClientError> {
    let _shown = Phase::show("connecting", sockets.into(), &plan.counts);
    let opened = || {
        plan.counts.done.fetch_add(1, Relaxed);
    };
    crowd::connect(&plan.target, sockets, opened).await
}

/// Reads the log until it contains every acknowledged request and, with --abandon, every hold has
/// ended.
async fn count_log(
    log: &mut LogReader,
    responses: &Responses,
    args: &LoadArgs,
    counts: &Arc<Counts>,
) -> Result<Tally, ClientError> {
    let _shown = args
        .abandon
        .then(|| Phase::show("expiring", responses.holds.len() as u64, counts));
    let hold_for = Duration::from_secs(args.hold_for().into());
    let mut tally = Tally::default();
    let mut deadline = Instant::now() + GRACE;
    if args.abandon {
        deadline += hold_for;
    }
    loop {
        tally.count(&log.read_to_head().await?);
        counts
            .done
            .store(tally.ended_in(End::Expired) as u64, Relaxed);
        if is_complete(&tally, log.position(), responses, args.abandon) || Instant::now() > deadline
        {
            return Ok(tally);
        }
        sleep(POLL_INTERVAL).await;
    }
}

fn is_complete(tally: &Tally, read: Position, responses: &Responses, abandoned: bool) -> bool {
    read >= responses.last_position() && (!abandoned || tally.open() == 0)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::fake_server::{ADMIN_KEY, Behaviour, FakeServer};
    use super::verdict::Failure;
    use super::*;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        load: LoadArgs,
    }

    fn args(server: &FakeServer, options: &str) -> LoadArgs {
        let line = format!(
            "load --url {} --admin-key {ADMIN_KEY} {options}",
            server.url
        );
        Cli::try_parse_from(line.split_whitespace()).unwrap().load
    }

    async fn run_against(behaviour: Behaviour, options: &str) -> Report {
        let server = FakeServer::start(behaviour).await;
        stampede(&args(&server, options)).await.unwrap()
    }

    #[track_caller]
    fn check(report: &Report, failures: &[Failure]) {
        assert_eq!(report.verdict.failures, failures, "{report}");
    }

    #[tokio::test]
    async fn ten_units_go_to_ten_of_fifty_buyers_on_separate_sockets() {
        let report = run_against(Behaviour::default(), "--buyers 50 --units 10").await;
        check(&report, &[]);
        assert_eq!(report.connected, 50);
        assert_eq!(report.responses.holds.len(), 10);
        assert_eq!(report.responses.refused["sold_out"], 40);
        assert_eq!(report.tally.units.sold, 10);
        assert!(report.to_string().ends_with("PASSED"));
    }

    #[tokio::test]
    async fn no_drop_stays_on_sale_after_any_outcome() {
        for behaviour in [
            Behaviour::default(),
            Behaviour {
                hide_log: true,
                ..Behaviour::default()
            },
            Behaviour {
                lose_drop: true,
                ..Behaviour::default()
            },
        ] {
            let server = FakeServer::start(behaviour).await;
            let outcome = stampede(&args(&server, "--buyers 3 --units 3")).await;
            let fails = behaviour.hide_log || behaviour.lose_drop;
            assert_eq!(outcome.is_err(), fails, "{behaviour:?}");
            let drops = server.client().drops().await.unwrap();
            let statuses: Vec<&str> = drops.iter().map(|drop| drop.status.as_str()).collect();
            assert_eq!(statuses, ["cancelled"], "{behaviour:?}");
        }
    }

    #[tokio::test]
    async fn few_connections_serve_many_buyers() {
        let options = "--buyers 50 --units 10 --connections 3 --no-purchase";
        let report = run_against(Behaviour::default(), options).await;
        check(&report, &[]);
        assert_eq!((report.connected, report.responses.buyers), (3, 50));
        assert_eq!((report.tally.units.held, report.tally.units.sold), (10, 0));
    }

    #[tokio::test]
    async fn overselling_server_is_detected() {
        let behaviour = Behaviour {
            oversell: 1,
            ..Behaviour::default()
        };
        let report = run_against(behaviour, "--buyers 20 --units 5").await;
        check(&report, &[Failure::Oversold(1)]);
        assert!(report.to_string().ends_with("FAILED: 1 units oversold"));
    }

    #[tokio::test]
    async fn server_that_loses_an_acknowledged_hold_is_detected() {
        let behaviour = Behaviour {
            forget_first: true,
            ..Behaviour::default()
        };
        let options = "--buyers 5 --units 5 --no-purchase";
        let report = run_against(behaviour, options).await;
        check(&report, &[Failure::HoldsMissing(1)]);
    }

    #[tokio::test]
    async fn busy_server_fails_without_retries_and_passes_with_them() {
        let behaviour = Behaviour {
            busy: 3,
            ..Behaviour::default()
        };
        let without_retries = run_against(behaviour, "--buyers 20 --units 5").await;
        check(&without_retries, &[Failure::Failed(3)]);
        let with_retries = run_against(behaviour, "--buyers 20 --units 5 --retries 5").await;
        check(&with_retries, &[]);
        assert_eq!(with_retries.responses.retried["HTTP 503 unavailable"], 3);
    }

    #[tokio::test]
    async fn retry_after_a_lost_response_returns_the_same_hold() {
        let behaviour = Behaviour {
            lose: 2,
            ..Behaviour::default()
        };
        let report = run_against(behaviour, "--buyers 5 --units 5 --retries 5").await;
        check(&report, &[]);
        assert_eq!(report.responses.holds.len(), 5);
        assert_eq!(report.verdict.unacknowledged, 0);
    }

    const ABANDON: &str = "--abandon --buyers 20 --units 20 --connections 4 --hold-seconds 1";

    #[tokio::test]
    async fn expiries_of_abandoned_holds_are_awaited_and_timed() {
        let report = run_against(Behaviour::default(), ABANDON).await;
        check(&report, &[]);
        assert_eq!(report.tally.lateness_ms.len(), 20);
        assert_eq!(report.tally.units.expired, 20);
        assert!(report.to_string().contains("expired, once each"));
    }

    #[tokio::test]
    async fn server_that_expires_a_hold_twice_is_detected() {
        let behaviour = Behaviour {
            expire_twice: true,
            ..Behaviour::default()
        };
        let report = run_against(behaviour, ABANDON).await;
        check(&report, &[Failure::Duplicates(20)]);
    }

    #[tokio::test]
    async fn unreachable_server_is_reported_in_one_line() {
        let server = FakeServer::start(Behaviour::default()).await;
        let mut args = args(&server, "");
        args.server.url = "http://127.0.0.1:1".into();
        let error = stampede(&args).await.unwrap_err();
        let line = terminal::text::one_line(&error);
        assert!(
            line.starts_with("no response from http://127.0.0.1:1: "),
            "{line}"
        );
        assert!(line.contains("refused") && !line.contains('\n'), "{line}");
    }
}
