//! The command line: its commands, and the exit codes of the process.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::IsTerminal;
use std::panic::PanicHookInfo;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::thread;

use api::base_path::base_path;
use audit::{AuditArgs, BackupArgs};
use clap::{Arg, CommandFactory, FromArgMatches, Parser, Subcommand};
use client::{ClientError, LoadArgs, SeedArgs};
use database::fail;
use terminal::json_lines::JsonLines;
use terminal::text::one_line;
use terminal::{Signals, logging, print_line};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::config::{Settings, admin_key_file, auditor_key_file};
use crate::databases::DatabaseArgs;
use crate::demo::{DemoArgs, DemoError};
use crate::environment::unknown_settings;
use crate::manual::{self, CompletionsArgs, ManArgs};
use crate::migrate::{MigrateArgs, MigrateError};
use crate::parsing::{INVALID_SETTINGS, parse};
use crate::precedence::leaf;
use crate::projections::ProjectionsArgs;
use crate::repair::LogArgs;
use crate::server::{Access, Server, ServerError};
use crate::settings::in_force::describe;
use crate::settings::settings;
use crate::theme::ThemeArgs;

/// Sells limited stock under a stampede, and proves that it never sold a unit twice.
#[derive(Debug, Parser)]
#[command(
    name = "holdfast",
    version,
    override_usage = "holdfast [OPTIONS]\n       holdfast <COMMAND>"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    /// File with settings (TOML), for every command: the names of the variables, without HOLDFAST_
    /// and in lower case. By default holdfast.toml in the data directory, if there is one. Flags
    /// and variables precede it.
    #[arg(long, env = "HOLDFAST_CONFIG", value_name = "FILE", global = true)]
    config: Option<PathBuf>,

    /// Format of the log lines on standard error: text, or one JSON object in each line.
    #[arg(
        long,
        env = "HOLDFAST_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text",
        global = true
    )]
    log_format: LogFormat,

    #[command(flatten)]
    serve: Settings,
}

/// See [`Cli::log_format`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogFormat(pub(crate) logging::Format);

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self(logging::Format::Text)),
            "json" => Ok(Self(logging::Format::Json)),
            _ => Err("expected text or json"),
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API and the pages (the default command).
    Serve(Settings),
    /// Serve with sample drops and simulated shoppers, for trying things out.
    Demo(DemoArgs),
    /// Create the sample drops on a running server.
    Seed(SeedArgs),
    /// Run a load test against a running server and report a verdict, counted from its log.
    Load(LoadArgs),
    /// Verify and recompute the event log.
    Audit(AuditArgs),
    /// Prove that a backup can be restored and served.
    Backup(BackupArgs),
    /// List the tables of the projections, or rebuild them from the log.
    Projections(ProjectionsArgs),
    /// Apply the migrations of the database, and nothing else.
    Migrate(MigrateArgs),
    /// Move the private PostgreSQL to a newer version, or copy a database into an empty one.
    Database(DatabaseArgs),
    /// Find out where the event log is refused, and repair it.
    Log(LogArgs),
    /// Check the theme of a shop, or print an example.
    Theme(ThemeArgs),
    /// Print every setting in force, and where it is from. It takes the flags of serve.
    Config(Settings),
    /// Write the manual pages.
    Man(ManArgs),
    /// Print the script that completes the commands and flags in a shell.
    Completions(CompletionsArgs),
    /// Print the licences of this program and of the software in it.
    #[command(alias = "licenses")]
    Licences,
}

/// Notices that every distribution of the program must include.
const NOTICES: [&str; 3] = [
    include_str!("../../NOTICE"),
    include_str!("../../LICENSE-MIT"),
    include_str!("../../LICENSE-APACHE"),
];

/// The module of the engine that reports quarantines.
const QUARANTINE_REPORTS: &str = "engine::task::admit=off";

/// The module of sqlx that logs each attempt of a pool to open a session, several a second while a
/// database is away. The engine logs the reason, once.
const POOL_ATTEMPTS: &str = "sqlx_core::pool::inner=off";

/// Runs the program with the arguments of the process.
#[must_use]
pub fn main() -> ExitCode {
    let (cli, in_force) = Cli::from_process();
    let filter = match &cli.command {
        // The command reports each quarantine itself.
        Some(Command::Log(_)) => quarantines_hidden(log_filter()),
        _ => log_filter(),
    };
    start_logging(filter, cli.log_format);
    std::panic::set_hook(Box::new(log_panic));
    raise_open_files();
    let is_server = matches!(
        cli.command,
        None | Some(Command::Serve(_) | Command::Demo(_))
    );
    if let Some(warning) = unknown_settings(&Cli::definition()).filter(|_| is_server) {
        tracing::warn!("{warning}");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let code = runtime.block_on(run(cli, &in_force));
    // A task that waits for a silent database must not hold the process up.
    runtime.shutdown_background();
    logging::flush();
    code
}

fn start_logging(filter: EnvFilter, LogFormat(format): LogFormat) {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(logging::start(format))
        .with_ansi(std::io::stderr().is_terminal())
        .log_internal_errors(false);
    match format {
        logging::Format::Text => lines.init(),
        logging::Format::Json => lines.event_format(JsonLines).init(),
    }
}

impl Cli {
    /// The commands and their settings. A demo has no proxy in front that must notice its end.
    pub(crate) fn definition() -> clap::Command {
        let at_once = |arg: Arg| arg.default_value("0");
        Self::command().mut_subcommand("demo", |demo| demo.mut_arg("drain_seconds", at_once))
    }

    /// Reads the settings of the process, and describes those in force if that is the command. On
    /// invalid input, prints an error and exits.
    fn from_process() -> (Self, String) {
        let definition = Self::definition();
        let parsed = parse(&definition);
        let cli = Self::from_arg_matches(&parsed.given);
        let cli = cli.unwrap_or_else(|error| error.format(&mut Self::definition()).exit());
        let in_force = match cli.command {
            Some(Command::Config(_)) => {
                let (_, matches) = leaf(&definition, &parsed.given);
                describe(&settings(&definition), matches, &parsed)
            }
            _ => String::new(),
        };
        (cli, in_force)
    }
}

/// A request's panic, which gets the response 500, must not block on standard error either.
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

/// The filter in `RUST_LOG`, or the default.
fn log_filter() -> EnvFilter {
    let directives = std::env::var("RUST_LOG").ok();
    let filter = directives
        .filter(|directives| !directives.is_empty())
        .and_then(|directives| EnvFilter::try_new(directives).ok());
    filter.unwrap_or_else(|| EnvFilter::new(format!("info,sqlx=warn,{POOL_ATTEMPTS}")))
}

/// The filter without the engine's reports of quarantines.
fn quarantines_hidden(filter: EnvFilter) -> EnvFilter {
    match QUARANTINE_REPORTS.parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    }
}

/// Every connection is an open file. The usual soft limit of 1,024 exists for programs that use
/// `select`, which this one does not.
fn raise_open_files() {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

async fn run(cli: Cli, in_force: &str) -> ExitCode {
    match cli.command {
        None => ended(serve(&cli.serve).await, ServerError::is_of_settings),
        Some(Command::Serve(settings)) => {
            ended(serve(&settings).await, ServerError::is_of_settings)
        }
        Some(Command::Demo(args)) => {
            ended(crate::demo::run(&args).await, DemoError::is_of_settings)
        }
        Some(Command::Seed(args)) => of_client(client::seed::run(args).await),
        Some(Command::Load(args)) => of_client(client::load::run(args).await),
        Some(Command::Audit(args)) => audit::run(args).await,
        Some(Command::Backup(args)) => audit::run_backup(args).await,
        Some(Command::Projections(args)) => crate::projections::run(args).await,
        Some(Command::Migrate(args)) => ended(
            crate::migrate::run(&args).await,
            MigrateError::is_of_settings,
        ),
        Some(Command::Database(args)) => crate::databases::run(args).await,
        Some(Command::Log(args)) => crate::repair::run(args).await,
        Some(Command::Theme(args)) => crate::theme::run(&args),
        Some(Command::Config(settings)) => show(&settings, in_force).await,
        Some(Command::Man(args)) => exit(manual::write_pages(&args, Cli::definition())),
        Some(Command::Completions(args)) => {
            exit(manual::print_completions(&args, Cli::definition()))
        }
        Some(Command::Licences) => exit(print_line(NOTICES.join("\n").trim_end())),
    }
}

fn exit<E: std::error::Error + 'static>(outcome: Result<(), E>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// The exit code of a command whose error may be one of its settings.
pub(crate) fn ended<E: std::error::Error + 'static>(
    outcome: Result<(), E>,
    is_of_settings: impl FnOnce(&E) -> bool,
) -> ExitCode {
    match outcome {
        Err(error) if is_of_settings(&error) => {
            fail(&error);
            ExitCode::from(INVALID_SETTINGS)
        }
        outcome => exit(outcome),
    }
}

fn of_client(outcome: Result<ExitCode, ClientError>) -> ExitCode {
    match outcome {
        Ok(code) => code,
        Err(error) => ended(Err(error), ClientError::is_of_settings),
    }
}

/// Prints the settings in force; then the first one that a server would refuse, if there is one.
async fn show(settings: &Settings, in_force: &str) -> ExitCode {
    if let Err(error) = print_line(in_force.trim_end()) {
        return fail(&error);
    }
    ended(Access::check(settings).await, ServerError::is_of_settings)
}

/// Serves until a signal, which may also arrive before the server has started.
async fn serve(settings: &Settings) -> Result<(), ServerError> {
    let stop = on_signal();
    let Some(server) = started(Server::start(settings, &stop).await, &stop)? else {
        return Ok(());
    };
    announce(settings, &server);
    server.run(stop).await
}

/// Returns the server, or `None` if a signal ended its start, which is a stop as every other one.
pub(crate) fn started(
    started: Result<Server, ServerError>,
    stop: &CancellationToken,
) -> Result<Option<Server>, ServerError> {
    match started {
        Ok(server) => Ok(Some(server)),
        Err(error) if stop.is_cancelled() => {
            tracing::info!("stopped during the start: {}", one_line(&error));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Prints the addresses and key files on standard output. Programs wait for the first line.
pub(crate) fn announce(settings: &Settings, server: &Server) {
    let data_dir = &settings.database.data_dir;
    let mut text = format!(
        "listening on http://{}{}\nlog kept in {}",
        server.address(),
        base_path(),
        server.database()
    );
    if settings.keys.admin_key.is_none() && settings.keys.admin_keys.is_none() {
        text += &format!("\nadmin key in {}", admin_key_file(data_dir).display());
    }
    if settings.keys.auditor_key.is_none() {
        text += &format!("\nauditor key in {}", auditor_key_file(data_dir).display());
    }
    logging::flush();
    // The server runs without a reader on standard output.
    if let Err(error) = print_line(&text) {
        tracing::warn!(%error, "cannot write to standard output");
    }
}

/// Returns a token that the first signal to stop cancels; a second one ends the process
/// immediately.
pub(crate) fn on_signal() -> CancellationToken {
    let stop = CancellationToken::new();
    let token = stop.clone();
    let mut signals = Signals::catch();
    tokio::spawn(async move {
        let name = signals.next().await;
        tracing::info!("{name}: stopping");
        token.cancel();
        let name = signals.next().await;
        tracing::warn!("{name}, the second signal: exiting without draining");
        logging::flush();
        std::process::exit(AT_ONCE);
    });
    stop
}

/// The exit code after a second signal.
const AT_ONCE: i32 = 130;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::Command;

    use super::*;
    use crate::environment::normalized;
    use crate::settings::Kind;
    use crate::settings::file::check;

    fn every_command(command: &Command) -> Vec<&Command> {
        let below = command.get_subcommands().flat_map(every_command);
        std::iter::once(command).chain(below).collect()
    }

    /// Flags that remove a safety step. A variable that is left over must not do that.
    const CONFIRMATIONS: [&str; 2] = ["yes", "force"];

    #[test]
    fn every_flag_but_a_confirmation_has_an_environment_variable() {
        let cli = normalized(Cli::definition(), &BTreeSet::new());
        let (mut seen, mut confirmations) = (0, 0);
        for command in every_command(&cli) {
            let flags = command
                .get_arguments()
                .filter_map(|arg| Some((arg, arg.get_long()?)));
            for (arg, flag) in flags.filter(|(_, flag)| !["help", "version"].contains(flag)) {
                let name = arg.get_env().and_then(std::ffi::OsStr::to_str);
                if CONFIRMATIONS.contains(&flag) {
                    assert_eq!(name, None, "{} --{flag}", command.get_name());
                    confirmations += 1;
                    continue;
                }
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
        assert_eq!(
            confirmations, 5,
            "--yes of `log accept-head`, --yes and --force of `log cut` and `log void`"
        );
    }

    /// Also for numbers that the standard library reads, but that are never meant.
    #[test]
    fn every_number_has_a_range_in_its_error() {
        let mut seen = 0;
        for setting in settings(&Cli::definition()) {
            if setting.kind() != Kind::Number {
                continue;
            }
            for text in ["nan", "inf", "-1", "+1", "1e99", "99999999999999999999"] {
                let fault = check(text, &setting).unwrap_err();
                let range = fault.split(" number from ").nth(1);
                assert!(
                    range.is_some_and(|range| range.contains(" to ")),
                    "{text}: {fault}"
                );
            }
            seen += 1;
        }
        assert!(seen > 25, "{seen}");
    }

    #[test]
    fn command_line_definition_is_valid() {
        normalized(Cli::definition(), &BTreeSet::new()).debug_assert();
    }
}
