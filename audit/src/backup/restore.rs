//! Restores a dump of `pg_dump` into a PostgreSQL of its own, with PostgreSQL's own programs.
//!
//! Promise: owners and privileges of the dump are not restored, because their roles belong to
//! another server; every other error is reported. Limit: a plain dump is a script, and its commands
//! are executed with the rights of the user: restore your own dumps only.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, str};

use database::{Database, DatabaseSettings, Temporary};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::archive::Archive;
use super::unless_stopped;
use crate::AuditError;

/// A restored dump.
#[derive(Debug)]
pub struct Restored {
    temporary: Temporary,
    /// The address of the restored database.
    pub settings: DatabaseSettings,
}

/// The contents of a dump.
#[derive(Debug, PartialEq, Eq)]
struct Contents {
    /// The schema of the table `events`, as an SQL identifier.
    schema: String,
    has_tables: bool,
    is_complete: bool,
}

impl Restored {
    /// Starts a PostgreSQL and restores the dump at `path` into it, unless `stop` interrupts that.
    ///
    /// # Errors
    /// [`AuditError::NotRestored`] for a dump that cannot be restored, [`AuditError::NoProgram`]
    /// without PostgreSQL's programs.
    pub async fn from(
        path: &Path,
        archive: Archive,
        settings: &DatabaseSettings,
        stop: &CancellationToken,
    ) -> Result<Self, AuditError> {
        let written = match archive {
            Archive::Archived => None,
            Archive::Plain | Archive::Export => Some(Contents::of_script(path)?),
        };
        let started = Temporary::start(settings, stop).await;
        let temporary = match started {
            Err(_) if stop.is_cancelled() => return Err(AuditError::Interrupted),
            started => started?,
        };
        let restoring = restore(path, written, settings, &temporary);
        match unless_stopped(stop, restoring).await {
            Ok(settings) => Ok(Self {
                temporary,
                settings,
            }),
            Err(error) => {
                temporary.remove().await;
                Err(error)
            }
        }
    }

    /// Removes everything that was restored.
    pub async fn remove(self) {
        self.temporary.remove().await;
    }
}

/// Restores a script with these contents, or an archive.
async fn restore(
    path: &Path,
    script: Option<Contents>,
    settings: &DatabaseSettings,
    temporary: &Temporary,
) -> Result<DatabaseSettings, AuditError> {
    let not_restored = |reason| not_restored(path, reason);
    let bin_dir = temporary.bin_dir();
    let is_script = script.is_some();
    let contents = match script {
        Some(contents) => contents,
        None => {
            let mut listing = client(bin_dir, "pg_restore")?;
            listing.arg("--list").arg(path);
            let list = finish(listing).await?.map_err(not_restored)?;
            Contents::listed(&list).ok_or_else(|| not_restored(NO_EVENTS.to_owned()))?
        }
    };
    let schema = &contents.schema;
    let url = temporary.create("restored", schema).await?;
    if !contents.has_tables {
        create_tables(temporary, settings, schema, &url).await?;
    }
    if is_script {
        execute(bin_dir, &url, path).await?.map_err(not_restored)?;
        return Ok(at(settings, url));
    }
    let mut restoring = client(bin_dir, "pg_restore")?;
    restoring
        .args(["--exit-on-error", "--no-owner", "--no-privileges"])
        .args(["--no-publications", "--no-subscriptions", "--dbname", &url])
        .arg(path);
    finish(restoring).await?.map_err(not_restored)?;
    Ok(at(settings, url))
}

const NO_EVENTS: &str = "it does not contain the table events";

fn not_restored(path: &Path, reason: String) -> AuditError {
    AuditError::NotRestored {
        path: path.to_owned(),
        reason,
    }
}

fn at(settings: &DatabaseSettings, url: String) -> DatabaseSettings {
    DatabaseSettings {
        database_url: Some(url),
        direct_url: None,
        ..settings.clone()
    }
}

/// Creates the empty tables for a dump of the data alone: those of this release, without the rows
/// that its migrations insert.
async fn create_tables(
    temporary: &Temporary,
    settings: &DatabaseSettings,
    schema: &str,
    url: &str,
) -> Result<(), AuditError> {
    let template = temporary.create("migrated", schema).await?;
    let mut create = client(temporary.bin_dir(), "psql")?;
    let statement = format!("CREATE SCHEMA IF NOT EXISTS {schema}");
    create.args(["--no-psqlrc", "--quiet", "--dbname", &template]);
    create.args(["--command", &statement]);
    let failed = |reason| not_restored(Path::new("the schema of this release"), reason);
    finish(create).await?.map_err(failed)?;
    Database::migrate(&at(settings, template.clone())).await?;
    let script = tempfile::NamedTempFile::new().map_err(AuditError::Scratch)?;
    let mut dump = client(temporary.bin_dir(), "pg_dump")?;
    dump.args([
        "--schema-only",
        "--no-owner",
        "--no-privileges",
        "--dbname",
        &template,
    ]);
    dump.arg("--file").arg(script.path());
    finish(dump).await?.map_err(failed)?;
    execute(temporary.bin_dir(), url, script.path())
        .await?
        .map_err(failed)?;
    Ok(())
}

/// Executes a script. The inner error is the first one that matters.
async fn execute(
    bin_dir: &Path,
    url: &str,
    script: &Path,
) -> Result<Result<(), String>, AuditError> {
    let mut psql = client(bin_dir, "psql")?;
    psql.args(["--no-psqlrc", "--quiet", "--dbname", url, "--file"]);
    psql.arg(script);
    let (ended, _, errors) = run(psql).await?;
    let first = errors
        .lines()
        .find(|line| is_error(line) && !is_expected(line));
    Ok(match first {
        Some(line) => Err(line.to_owned()),
        None if ended => Ok(()),
        None => Err(errors.lines().next().unwrap_or_default().to_owned()),
    })
}

fn is_error(line: &str) -> bool {
    [" ERROR: ", " FATAL: ", " error: "]
        .iter()
        .any(|kind| line.contains(kind))
}

/// Errors about the roles of another server, and about settings and commands of another version.
fn is_expected(line: &str) -> bool {
    (line.contains("role \"") && line.ends_with("does not exist"))
        || line.contains("unrecognized configuration parameter")
        || (line.contains("invalid command \\") && line.ends_with("restrict"))
}

/// A program of PostgreSQL, next to the server's or in the path, without the settings of the
/// environment.
fn client(bin_dir: &Path, name: &'static str) -> Result<Command, AuditError> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut directories = vec![bin_dir.to_owned()];
    directories.extend(env::split_paths(&path));
    let found = directories
        .into_iter()
        .map(|directory| directory.join(name));
    let program = found.into_iter().find(|program| program.is_file());
    let mut command = Command::new(program.ok_or(AuditError::NoProgram(name))?);
    for (variable, _) in env::vars_os() {
        if variable.to_string_lossy().starts_with("PG") {
            command.env_remove(variable);
        }
    }
    command
        .env("LC_ALL", "C")
        .env::<&str, &OsStr>("PATH", &path);
    Ok(command)
}

/// Returns the output of the program; the inner error is its first line of an error.
async fn finish(command: Command) -> Result<Result<String, String>, AuditError> {
    let (ended, output, errors) = run(command).await?;
    let first = || {
        errors
            .lines()
            .find(|line| !line.is_empty())
            .unwrap_or("it failed")
    };
    Ok(if ended {
        Ok(output)
    } else {
        Err(first().to_owned())
    })
}

/// Runs a program to its end: whether it succeeded, its output, and its errors.
async fn run(mut command: Command) -> Result<(bool, String, String), AuditError> {
    command.stdin(Stdio::null());
    let output = spawn_blocking(move || command.output()).await;
    let output = output.map_err(io::Error::other).flatten();
    let output = output.map_err(AuditError::Scratch)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((
        output.status.success(),
        text(&output.stdout),
        text(&output.stderr),
    ))
}

impl Contents {
    /// Reads the list of `pg_restore --list`; `None` without the table `events`.
    fn listed(list: &str) -> Option<Self> {
        let entries = list.lines().filter(|line| !line.starts_with(';'));
        let (mut schema, mut has_tables) = (None, false);
        for entry in entries {
            let (is_table, rest) = match entry.split_once(" TABLE DATA ") {
                Some((_, rest)) => (false, rest),
                None => match entry.split_once(" TABLE ") {
                    Some((_, rest)) => (true, rest),
                    None => continue,
                },
            };
            if let Some((found, _)) = rest.split_once(" events ") {
                schema = Some(format!("\"{}\"", found.replace('"', "\"\"")));
                has_tables |= is_table;
            }
        }
        Some(Self {
            schema: schema?,
            has_tables,
            is_complete: true,
        })
    }

    /// Reads the script at `path`.
    fn of_script(path: &Path) -> Result<Self, AuditError> {
        let failed = |source| AuditError::File {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        let contents = Self::written(BufReader::new(file)).map_err(failed)?;
        let contents = contents.ok_or_else(|| not_restored(path, NO_EVENTS.to_owned()))?;
        if contents.is_complete {
            return Ok(contents);
        }
        let reason = "it is truncated: the last line of a dump is missing";
        Err(not_restored(path, reason.to_owned()))
    }

    /// Reads a script; `None` without the table `events`.
    fn written(mut script: impl BufRead) -> io::Result<Option<Self>> {
        let (mut schema, mut has_tables, mut is_complete) = (None, false, false);
        let mut line = vec![];
        loop {
            line.clear();
            if script.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            let starts = |start: &str| line.starts_with(start.as_bytes());
            if starts("CREATE TABLE ") || starts("COPY ") {
                let text = str::from_utf8(&line).unwrap_or_default();
                let name = text.split_once(".events (").map(|(name, _)| name);
                let table = name.and_then(|name| name.strip_prefix("CREATE TABLE "));
                let data = name.and_then(|name| name.strip_prefix("COPY "));
                has_tables |= table.is_some();
                schema = table.or(data).map(str::to_owned).or(schema);
            }
            is_complete |= starts("-- PostgreSQL database dump complete");
        }
        Ok(schema.map(|schema| Self {
            schema,
            has_tables,
            is_complete,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_of_a_dump_are_recognised() {
        let list =
            "; Archive created\n5; 1259 1 TABLE shop events me\n6; 0 1 TABLE DATA shop events me\n";
        let found = Contents::listed(list).unwrap();
        assert_eq!(
            (found.schema.as_str(), found.has_tables),
            ("\"shop\"", true)
        );
        let data = "6; 0 1 TABLE DATA public events me\n7; 0 2 TABLE DATA public log_head me\n";
        assert!(!Contents::listed(data).unwrap().has_tables);
        assert_eq!(Contents::listed("1; 2 3 TABLE public other me\n"), None);
        let script = "CREATE TABLE shop.events (\nCOPY shop.events (a) FROM stdin;\n";
        let found = Contents::written(script.as_bytes()).unwrap().unwrap();
        assert_eq!(
            (found.schema.as_str(), found.has_tables, found.is_complete),
            ("shop", true, false)
        );
        let data = "COPY public.events (a) FROM stdin;\n-- PostgreSQL database dump complete\n";
        let found = Contents::written(data.as_bytes()).unwrap().unwrap();
        assert_eq!((found.has_tables, found.is_complete), (false, true));
    }

    #[test]
    fn errors_about_roles_are_expected() {
        for (line, is_fault) in [
            (
                "psql:a:1: ERROR:  role \"holdfast_writer\" does not exist",
                false,
            ),
            (
                "psql:a:1: ERROR:  unrecognized configuration parameter \"x\"",
                false,
            ),
            ("psql:a:1: error: invalid command \\restrict", false),
            ("psql:a:1: ERROR:  relation \"events\" does not exist", true),
            ("psql:a:1: NOTICE:  something", false),
        ] {
            assert_eq!(is_error(line) && !is_expected(line), is_fault, "{line}");
        }
    }
}
