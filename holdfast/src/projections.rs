//! `holdfast projections`: lists each projection's table, and rebuilds tables while a server runs.

use std::io;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use infrastructure::error::LogError;
use infrastructure::sql_values::from_sql;
use projections::error::ProjectionError;
use projections::rebuild::{NAMES, Rebuilt, VERSIONS, rebuild};
use serde_json::{Value, json};
use sqlx::PgPool;

use database::DatabaseSettings;
use database::fail;
use database::{Database, DatabaseError};
use terminal::print_line;
use terminal::progress::{EVENTS, bar};
use terminal::table::columns;

/// Arguments of `holdfast projections`.
#[derive(Debug, Args)]
pub struct ProjectionsArgs {
    #[command(subcommand)]
    command: ProjectionsCommand,
}

#[derive(Debug, Subcommand)]
enum ProjectionsCommand {
    /// Show each table's checkpoint, its lag and its number of rows.
    List(ListArgs),
    /// Fold the whole log into new tables, compare them with the live ones, and swap them in.
    Rebuild(RebuildArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    database: DatabaseSettings,

    /// Print JSON.
    #[arg(long, env = "HOLDFAST_PROJECTIONS_JSON")]
    json: bool,
}

#[derive(Debug, Args)]
struct RebuildArgs {
    #[command(flatten)]
    database: DatabaseSettings,

    /// The projections to rebuild.
    #[arg(value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(NAMES))]
    names: Vec<String>,

    /// Rebuild all of them, in one pass over the log.
    #[arg(long, env = "HOLDFAST_PROJECTIONS_ALL", conflicts_with = "names")]
    all: bool,

    /// Print JSON.
    #[arg(long, env = "HOLDFAST_PROJECTIONS_JSON")]
    json: bool,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("no projection is named: give one or several, or --all")]
    NoName,
    #[error("cannot read the database")]
    Sql(#[from] sqlx::Error),
    #[error(transparent)]
    Projection(#[from] ProjectionError),
    #[error("cannot write")]
    Output(#[source] io::Error),
}

impl Failure {
    /// The exit codes of `audit`: 1 for a fault of the log, else 2.
    fn exit_code(&self) -> ExitCode {
        let is_of_log = matches!(
            self,
            Self::Projection(
                ProjectionError::Stopped { .. }
                    | ProjectionError::Log {
                        source: LogError::Corrupt { .. },
                        ..
                    }
            )
        );
        ExitCode::from(if is_of_log { 1 } else { 2 })
    }
}

/// Runs the command. Exit code 0: done; 1: the log violates its invariants; 2: the command failed.
pub async fn run(args: ProjectionsArgs) -> ExitCode {
    let outcome = match args.command {
        ProjectionsCommand::List(args) => list(&args).await,
        ProjectionsCommand::Rebuild(args) => rebuild_tables(&args).await,
    };
    let printed = outcome.and_then(|text| print_line(&text).map_err(Failure::Output));
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            fail(&error);
            error.exit_code()
        }
    }
}

struct Listed {
    name: &'static str,
    checkpoint: i64,
    lag: i64,
    rows: i64,
    stopped: Option<String>,
}

async fn list(args: &ListArgs) -> Result<String, Failure> {
    let database = Database::open_existing(&args.database).await?;
    let listed = read_tables(&database.pool).await;
    database.close().await;
    let listed = listed?;
    if args.json {
        let tables: Vec<Value> = listed.iter().map(|table| json!({
            "name": table.name, "checkpoint": table.checkpoint, "lag": table.lag, "rows": table.rows, "stopped": table.stopped,
        })).collect();
        return Ok(format!("{:#}", json!({ "projections": tables })));
    }
    let header = ["projection", "checkpoint", "lag", "rows", "stopped"].map(str::to_owned);
    let rows = listed.iter().map(|table| {
        vec![
            table.name.to_owned(),
            table.checkpoint.to_string(),
            table.lag.to_string(),
            table.rows.to_string(),
            table.stopped.clone().unwrap_or_else(|| "no".to_owned()),
        ]
    });
    let rows: Vec<_> = std::iter::once(header.to_vec()).chain(rows).collect();
    Ok(columns(&rows, &[1, 2, 3]))
}

async fn read_tables(pool: &PgPool) -> Result<Vec<Listed>, sqlx::Error> {
    let mut listed = vec![];
    for (name, version) in NAMES.into_iter().zip(VERSIONS) {
        let sql = format!(
            "SELECT coalesce(c.position, 0), h.position - coalesce(c.position, 0), (SELECT count(*) FROM {name}), c.stopped,
                    coalesce(c.fold_version, $2)
               FROM log_head h LEFT JOIN projection_checkpoints c ON c.name = $1"
        );
        let (checkpoint, lag, rows, stopped, found): (i64, i64, i64, Option<String>, i32) =
            sqlx::query_as(&sql)
                .bind(name)
                .bind(version)
                .fetch_one(pool)
                .await?;
        listed.push(Listed {
            name,
            checkpoint,
            lag,
            rows,
            stopped: of_other_version(name, checkpoint, found, version).or(stopped),
        });
    }
    Ok(listed)
}

/// The error that a server of this version reports for a table of another version. Independent of
/// whether a server runs.
fn of_other_version(
    name: &'static str,
    checkpoint: i64,
    found: i32,
    version: i32,
) -> Option<String> {
    let checkpoint = from_sql(checkpoint);
    let other = ProjectionError::OtherVersion {
        name,
        checkpoint,
        found,
        version,
    };
    (found != version).then(|| other.to_string())
}

async fn rebuild_tables(args: &RebuildArgs) -> Result<String, Failure> {
    if !args.all && args.names.is_empty() {
        return Err(Failure::NoName);
    }
    let database = Database::open_existing(&args.database).await?;
    let names: Vec<&str> = match args.all {
        true => NAMES.to_vec(),
        false => args.names.iter().map(String::as_str).collect(),
    };
    let bar = bar(0, EVENTS, "rebuilding");
    let done = rebuild(&database.pool, &names, |reached, until| {
        bar.set_length(until.0);
        bar.set_position(reached.0);
    })
    .await;
    bar.finish_and_clear();
    database.close().await;
    let done = done?;
    if args.json {
        let tables: Vec<Value> = done.iter().map(|table| json!({
            "name": table.name, "position": table.position, "rows": table.rows, "was_equal": table.was_equal,
        })).collect();
        return Ok(format!("{:#}", json!({ "rebuilt": tables })));
    }
    Ok(done.iter().map(sentence).collect::<Vec<_>>().join("\n"))
}

fn sentence(table: &Rebuilt) -> String {
    let comparison = match table.was_equal {
        Some(true) => "the old table was equal",
        Some(false) => "the old table DIFFERED and was replaced",
        None => "the old table was behind and was replaced",
    };
    format!(
        "{}: rebuilt up to position {}, {} rows; {comparison}",
        table.name, table.position, table.rows
    )
}
