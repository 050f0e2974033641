//! The command line: what may be said, and what the process exits with.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::IsTerminal;
use std::panic::PanicHookInfo;
use std::process::ExitCode;
use std::thread;

use audit::AuditArgs;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use client::{LoadArgs, SeedArgs};
use database::fail;
use terminal::{logging, print_line, wait_for_signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::config::{Settings, admin_key_file, auditor_key_file};
use crate::demo::DemoArgs;
use crate::environment::tidied;
use crate::projections::ProjectionsArgs;
use crate::repair::LogArgs;
use crate::server::{Server, ServerError};

/// Sells limited stock under a stampede, and proves that it never sold a unit twice.
#[derive(Debug, Parser)]
#[command(name = "holdfast", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    serve: Settings,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API and the pages (what happens without a command).
    Serve(Settings),
    /// Serve with sample drops and simulated shoppers, to look at and to try things on.
    Demo(DemoArgs),
    /// Create the sample drops on a running server.
    Seed(SeedArgs),
    /// Hold a stampede against a running server and give a verdict, counted from its log.
    Load(LoadArgs),
    /// Recompute and prove the event log.
    Audit(AuditArgs),
    /// List the tables of the views, or rebuild them from the log.
    Projections(ProjectionsArgs),
    /// Find out where the event log is refused, and repair it.
    Log(LogArgs),
    /// Print the licences of this program and of the software in it.
    #[command(alias = "licenses")]
    Licences,
}

/// What must be passed on with the program.
const NOTICES: [&str; 3] = [
    include_str!("../../NOTICE"),
    include_str!("../../LICENSE-MIT"),
    include_str!("../../LICENSE-APACHE"),
];

/// Runs the program with the arguments of the process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::from_process();
    tracing_subscriber::fmt()
        .with_env_filter(log_filter())
        .with_writer(logging::start())
        .with_ansi(std::io::stderr().is_terminal())
        .log_internal_errors(false)
        .init();
    std::panic::set_hook(Box::new(log_panic));
    raise_open_files();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let code = runtime.block_on(run(cli));
    logging::flush();
    code
}

impl Cli {
    /// What the arguments and the environment of the process say. What cannot be understood ends it, with words.
    fn from_process() -> Self {
        let mut command = tidied(Self::command());
        let understood = Self::from_arg_matches(&command.get_matches_mut());
        understood.unwrap_or_else(|error| error.format(&mut command).exit())
    }
}

/// A panic of one request, which is answered 500, must not wait for standard error either.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let trace = Backtrace::capture();
    if trace.status() == BacktraceStatus::Captured {
        tracing::error!("{panic}\n{trace}");
    } else {
        tracing::error!("{panic}");
    }
    if thread::current().name() == Some("main") {
        logging::flush();
    }
}

/// What `RUST_LOG` asks for.
fn log_filter() -> EnvFilter {
    let asked = std::env::var("RUST_LOG").ok();
    let filter = asked
        .filter(|asked| !asked.is_empty())
        .and_then(|asked| EnvFilter::try_new(asked).ok());
    filter.unwrap_or_else(|| EnvFilter::new("info,sqlx=warn"))
}

/// Every caller is an open file, and the usual soft limit of 1,024 is for programs that use `select`. We do not.
fn raise_open_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

async fn run(cli: Cli) -> ExitCode {
    match cli.command {
        None => exit(serve(&cli.serve).await),
        Some(Command::Serve(settings)) => exit(serve(&settings).await),
        Some(Command::Demo(args)) => exit(crate::demo::run(&args).await),
        Some(Command::Seed(args)) => exit_with(client::seed::run(args).await),
        Some(Command::Load(args)) => exit_with(client::load::run(args).await),
        Some(Command::Audit(args)) => audit::run(args).await,
        Some(Command::Projections(args)) => crate::projections::run(args).await,
        Some(Command::Log(args)) => crate::repair::run(args).await,
        Some(Command::Licences) => exit(print_line(NOTICES.join("\n").trim_end())),
    }
}

fn exit<E: std::error::Error + 'static>(outcome: Result<(), E>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn exit_with<E: std::error::Error + 'static>(outcome: Result<ExitCode, E>) -> ExitCode {
    outcome.unwrap_or_else(|error| fail(&error))
}

async fn serve(settings: &Settings) -> Result<(), ServerError> {
    let stop = on_signal();
    let server = Server::start(settings, &stop).await?;
    announce(settings, &server);
    server.run(stop).await
}

/// What a person needs to go on, on standard output; the first line is what programs wait for.
pub(crate) fn announce(settings: &Settings, server: &Server) {
    let data_dir = &settings.database.data_dir;
    let mut text = format!(
        "listening on http://{}\nlog kept in {}",
        server.address(),
        server.database()
    );
    if settings.keys.admin_key.is_none() {
        text += &format!("\nadmin key in {}", admin_key_file(data_dir).display());
    }
    if settings.keys.auditor_key.is_none() {
        text += &format!("\nauditor key in {}", auditor_key_file(data_dir).display());
    }
    logging::flush();
    // A server does not need anybody to read it.
    if let Err(error) = print_line(&text) {
        tracing::warn!(%error, "cannot write to standard output");
    }
}

/// Is cancelled by the first Ctrl-C or SIGTERM; a second one ends the process at once.
pub(crate) fn on_signal() -> CancellationToken {
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        wait_for_signal().await;
        tracing::info!("stopping: answering who is in flight");
        token.cancel();
        wait_for_signal().await;
        tracing::warn!("stopped at once");
        logging::flush();
        std::process::exit(130);
    });
    stop
}

#[cfg(test)]
mod tests {
    use clap::Command;

    use super::*;

    fn every_command(command: &Command) -> Vec<&Command> {
        let below = command.get_subcommands().flat_map(every_command);
        std::iter::once(command).chain(below).collect()
    }

    #[test]
    fn every_flag_is_a_variable_too() {
        let cli = tidied(Cli::command());
        let mut seen = 0;
        for command in every_command(&cli) {
            let flags = command
                .get_arguments()
                .filter_map(|arg| Some((arg, arg.get_long()?)));
            for (arg, flag) in flags.filter(|(_, flag)| !["help", "version"].contains(flag)) {
                let name = arg.get_env().and_then(std::ffi::OsStr::to_str);
                let is_ours = |name: &str| {
                    name.starts_with("HOLDFAST_") || ["DATABASE_URL", "PG_BIN_DIR"].contains(&name)
                };
                assert!(
                    name.is_some_and(is_ours),
                    "{} --{flag}: {name:?}",
                    command.get_name()
                );
                seen += 1;
            }
        }
        assert!(seen > 100, "{seen}");
    }

    #[test]
    fn the_command_line_is_well_made() {
        tidied(Cli::command()).debug_assert();
    }
}
