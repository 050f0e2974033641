//! Chooses the PostgreSQL programs: configured, installed on the machine, or bundled, in that
//! order.
//!
//! Promise: the chosen programs have run once (`postgres --version`), as the account that will run
//! them, and can open an existing cluster. A configured directory is used or rejected, never
//! silently skipped.
//! Limit: searches the usual directories of distributions; `PG_BIN_DIR` names any other.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::{env, fmt, fs};

use super::ClusterConfig;
use super::account::Account;
use super::bundled;
use super::cluster_files::MadeBy;
use super::error::ClusterError;
use super::place::Location;

/// The oldest supported major version: 13 added the newest function that the schema may use
/// (`gen_random_uuid`).
pub const OLDEST_MAJOR: u16 = 13;

/// The allowed sources of the programs; a setting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Source {
    /// `PG_BIN_DIR` if set, else an installed PostgreSQL, else the bundled one.
    #[default]
    Auto,
    /// As `Auto`, but never the bundled one.
    Installed,
    /// Only the bundled one, even if another is installed or configured.
    Bundled,
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "installed" => Ok(Self::Installed),
            "bundled" => Ok(Self::Bundled),
            other => Err(format!("'{other}' is not one of auto, installed, bundled")),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Installed => "installed",
            Self::Bundled => "bundled",
        })
    }
}

/// How the programs were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundBy {
    /// Configured (`PG_BIN_DIR`).
    Configured,
    Installed,
    /// Embedded in this program: a patched build, not stock PostgreSQL.
    Bundled,
}

/// The programs that run a cluster, for a log line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub found_by: FoundBy,
    /// The directory of `postgres` and `initdb`.
    pub bin_dir: PathBuf,
    /// The version as the server prints it: `15.18 (Debian 15.18-0+deb12u1)`.
    pub version: String,
    /// The major version, which a data directory belongs to.
    pub major: u16,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.found_by {
            FoundBy::Configured => "named by PG_BIN_DIR",
            FoundBy::Installed => "installed",
            FoundBy::Bundled => "bundled, a patched build",
        };
        write!(
            f,
            "PostgreSQL {} ({how}, {})",
            self.version,
            self.bin_dir.display()
        )
    }
}

impl Origin {
    /// Checks the programs in `bin_dir` by running one; the error is the reason why they are not
    /// usable.
    pub(super) fn inspect(
        bin_dir: &Path,
        found_by: FoundBy,
        account: &Account,
    ) -> Result<Self, String> {
        for program in ["postgres", "initdb"] {
            if !bin_dir.join(program).is_file() {
                return Err(format!("it has no '{program}'"));
            }
        }
        let version = version_of(&bin_dir.join("postgres"), account)?;
        let major =
            leading_number(&version).ok_or_else(|| format!("its version reads '{version}'"))?;
        if major < OLDEST_MAJOR {
            return Err(format!(
                "it is version {version}, older than {OLDEST_MAJOR}"
            ));
        }
        Ok(Self {
            found_by,
            bin_dir: bin_dir.to_owned(),
            version,
            major,
        })
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.bin_dir.join(name)
    }

    /// The mark of a cluster created by these programs.
    pub(super) fn mark(&self) -> MadeBy {
        MadeBy {
            major: self.major,
            bundled: self.found_by == FoundBy::Bundled,
        }
    }
}

/// The requirements for the programs.
#[derive(Debug)]
pub(super) struct Requirements<'a> {
    pub(super) source: Source,
    pub(super) pg_bin_dir: Option<&'a Path>,
    /// The mark of the existing cluster, which the programs must match.
    pub(super) existing: Option<MadeBy>,
}

/// Chooses the programs for `location`.
pub(super) fn choose(
    requirements: &Requirements<'_>,
    location: &Location,
) -> Result<Origin, ClusterError> {
    match (requirements.source, requirements.pg_bin_dir) {
        (Source::Auto | Source::Installed, Some(directory)) => {
            configured(requirements, directory, location)
        }
        (Source::Auto, None) => first_of(requirements, location, true, true),
        (Source::Installed, None) => first_of(requirements, location, true, false),
        (Source::Bundled, _) => first_of(requirements, location, false, true),
    }
}

fn configured(
    requirements: &Requirements<'_>,
    directory: &Path,
    location: &Location,
) -> Result<Origin, ClusterError> {
    Origin::inspect(directory, FoundBy::Configured, &location.account)
        .and_then(|origin| requirements.fit(origin))
        .map_err(unusable(PG_BIN_DIR, directory))
}

const PG_BIN_DIR: &str = "PG_BIN_DIR";

fn unusable(setting: &'static str, directory: &Path) -> impl FnOnce(String) -> ClusterError {
    move |reason| ClusterError::ConfiguredPrograms {
        setting,
        directory: directory.to_owned(),
        reason,
    }
}

/// The programs that an upgrade moves a cluster to.
#[derive(Debug)]
pub(super) enum Newer {
    /// The cluster belongs to them already.
    Same(Origin),
    Found(Origin),
}

/// Chooses newer programs than those of the cluster at `location`: the configured ones, else the
/// newest of the installed ones. The bundled ones only if the settings allow no others.
pub(super) fn choose_newer(
    config: &ClusterConfig,
    made_by: MadeBy,
    location: &Location,
) -> Result<Newer, ClusterError> {
    let judged = |origin: Origin| match origin.mark() {
        mark if mark == made_by => Ok(Newer::Same(origin)),
        mark if mark.major < made_by.major => Err(format!(
            "it is {mark}, older than the {made_by} that created the cluster"
        )),
        _ => Ok(Newer::Found(origin)),
    };
    let mut tried = Vec::new();
    match (config.source, &config.pg_bin_dir) {
        (Source::Auto | Source::Installed, Some(directory)) => {
            return Origin::inspect(directory, FoundBy::Configured, &location.account)
                .and_then(judged)
                .map_err(unusable(PG_BIN_DIR, directory));
        }
        (Source::Bundled, _) => match unpacked(location)?.and_then(judged) {
            Ok(newer) => return Ok(newer),
            Err(reason) => tried.push(format!("bundled: {reason}")),
        },
        (Source::Auto | Source::Installed, None) => {
            let mut found = Vec::new();
            for bin_dir in installed_bin_dirs(&location.account) {
                let inspected = Origin::inspect(&bin_dir, FoundBy::Installed, &location.account);
                match inspected.and_then(judged) {
                    Ok(newer) => found.push(newer),
                    Err(reason) => tried.push(format!("{}: {reason}", bin_dir.display())),
                }
            }
            let newest = found.into_iter().max_by_key(|newer| match newer {
                Newer::Same(origin) | Newer::Found(origin) => origin.major,
            });
            if let Some(newest) = newest {
                return Ok(newest);
            }
        }
    }
    Err(ClusterError::NothingNewer {
        cluster: location.cluster(),
        cluster_made_by: made_by.to_string(),
        tried,
    })
}

/// Chooses the programs that created the cluster at `location`, from `bin_dir` if it is named.
pub(super) fn choose_older(
    made_by: MadeBy,
    bin_dir: Option<&Path>,
    location: &Location,
) -> Result<Origin, ClusterError> {
    let requirements = Requirements {
        source: Source::Auto,
        pg_bin_dir: bin_dir,
        existing: Some(made_by),
    };
    if let Some(directory) = bin_dir {
        return Origin::inspect(directory, FoundBy::Configured, &location.account)
            .and_then(|origin| match origin.mark() == made_by {
                true => Ok(origin),
                false => Err(format!(
                    "it is {}, but the cluster was created by {made_by}",
                    origin.mark()
                )),
            })
            .map_err(unusable("--from-bin-dir", directory));
    }
    match choose(&requirements, location) {
        Err(ClusterError::OtherVersion {
            cluster,
            cluster_made_by,
            tried,
            ..
        }) => Err(ClusterError::NoOlderPrograms {
            cluster,
            cluster_made_by,
            tried,
        }),
        chosen => chosen,
    }
}

fn first_of(
    requirements: &Requirements<'_>,
    location: &Location,
    installed: bool,
    bundled: bool,
) -> Result<Origin, ClusterError> {
    let mut tried = Vec::new();
    let bin_dirs = if installed {
        installed_bin_dirs(&location.account)
    } else {
        Vec::new()
    };
    for bin_dir in bin_dirs {
        match Origin::inspect(&bin_dir, FoundBy::Installed, &location.account)
            .and_then(|found| requirements.fit(found))
        {
            Ok(origin) => return Ok(origin),
            Err(reason) => tried.push(format!("{}: {reason}", bin_dir.display())),
        }
    }
    if bundled {
        match from_bundle(requirements, location)? {
            Ok(origin) => return Ok(origin),
            Err(reason) => tried.push(format!("bundled: {reason}")),
        }
    }
    Err(requirements.nothing_found(location, tried))
}

/// The outer error is a fault (such as a full disk); the inner one a reason to skip the bundled
/// programs.
fn from_bundle(
    requirements: &Requirements<'_>,
    location: &Location,
) -> Result<Result<Origin, String>, ClusterError> {
    // Not unpacked for a cluster of stock PostgreSQL, which they could not open.
    if requirements
        .existing
        .is_some_and(|made_by| !made_by.bundled)
    {
        return Ok(Err(
            "a patched build, not used on a cluster that stock PostgreSQL created".to_owned(),
        ));
    }
    let unpacked = unpacked(location)?;
    Ok(unpacked.and_then(|origin| requirements.fit(origin)))
}

/// The bundled programs. The outer error is a fault; the inner one a reason why there are none.
fn unpacked(location: &Location) -> Result<Result<Origin, String>, ClusterError> {
    // initdb passes its own path to a shell, inside double quotes.
    if location
        .home
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .any(|byte| b"\"$`\\".contains(byte))
    {
        return Ok(Err(
            "its programs cannot run below a path with one of \" $ ` \\ in it".to_owned(),
        ));
    }
    let Some(bin_dir) = bundled::unpacked(&location.home)? else {
        return Ok(Err("this build does not include it".to_owned()));
    };
    Ok(Origin::inspect(
        &bin_dir,
        FoundBy::Bundled,
        &location.account,
    ))
}

impl Requirements<'_> {
    fn fit(&self, origin: Origin) -> Result<Origin, String> {
        match self.existing {
            Some(existing) if existing != origin.mark() => Err(self.misfit(existing, &origin)),
            Some(_) | None => Ok(origin),
        }
    }

    fn misfit(&self, existing: MadeBy, origin: &Origin) -> String {
        let reason = format!(
            "it is {}, but the cluster was created by {existing}",
            origin.mark()
        );
        // Among several directories, the error itself names the command.
        match self.pg_bin_dir.is_some() && origin.major >= existing.major {
            true => format!("{reason}; `holdfast database upgrade` moves the cluster to it"),
            false => reason,
        }
    }

    fn nothing_found(&self, location: &Location, tried: Vec<String>) -> ClusterError {
        let source_allowed = self.source;
        match self.existing {
            Some(made_by) => ClusterError::OtherVersion {
                cluster: location.cluster(),
                cluster_made_by: made_by.to_string(),
                source_allowed,
                tried,
            },
            None => ClusterError::NoPrograms {
                source_allowed,
                tried,
            },
        }
    }
}

fn version_of(postgres: &Path, account: &Account) -> Result<String, String> {
    let output = account
        .command(postgres, Path::new("/"))
        .arg("--version")
        .output();
    let output = output.map_err(|e| {
        format!(
            "'{}' cannot run {}: {e}",
            account.name(),
            postgres.display()
        )
    })?;
    let printed = String::from_utf8_lossy(&output.stdout);
    match printed.trim().strip_prefix("postgres (PostgreSQL) ") {
        Some(version) => Ok(version.to_owned()),
        None => Err(format!(
            "'postgres --version' printed '{}{}'",
            printed.trim(),
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}

/// `15.18 (Debian …)`, `17beta1` and `16` all start with their major version.
pub(super) fn leading_number(version: &str) -> Option<u16> {
    let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// Every directory of this machine that contains both programs, best first, each once.
pub(super) fn installed_bin_dirs(account: &Account) -> Vec<PathBuf> {
    let mut seen = HashSet::new();
    let directories = pg_config_bin_dir(account)
        .into_iter()
        .chain(distribution_bin_dirs())
        .chain(path_bin_dirs());
    directories
        .filter(|dir| has_programs(dir) && seen.insert(true_name(dir)))
        .collect()
}

/// `pg_config` is also part of the client library, so its directory may lack the server.
fn pg_config_bin_dir(account: &Account) -> Option<PathBuf> {
    let output = account
        .command("pg_config", Path::new("/"))
        .arg("--bindir")
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(text.trim()))
}

fn distribution_bin_dirs() -> Vec<PathBuf> {
    let mut found = Vec::new();
    // Debian, Ubuntu; Red Hat; Alpine; Homebrew on Arm and Intel.
    found.extend(versioned("/usr/lib/postgresql", "", "bin"));
    found.extend(versioned("/usr", "pgsql-", "bin"));
    found.extend(versioned("/usr/libexec", "postgresql", ""));
    found.extend(versioned("/opt/homebrew/opt", "postgresql@", "bin"));
    found.extend(versioned("/usr/local/opt", "postgresql@", "bin"));
    found.push(PathBuf::from("/usr/local/pgsql/bin"));
    found
}

/// Directories `<parent>/<prefix><version>/<suffix>`, newest version first.
fn versioned(parent: &str, prefix: &str, suffix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let mut found: Vec<(u16, PathBuf)> = entries
        .filter_map(|entry| {
            let version = leading_number(entry.file_name().to_str()?.strip_prefix(prefix)?)?;
            Some((version, entry.path().join(suffix)))
        })
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, path)| path).collect()
}

/// A link on the PATH is resolved to its directory, which contains the other programs.
fn path_bin_dirs() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .filter(|dir| dir.join("postgres").is_file())
        .map(|dir| {
            match fs::canonicalize(dir.join("postgres"))
                .ok()
                .as_deref()
                .and_then(Path::parent)
            {
                Some(target) if has_programs(target) => target.to_owned(),
                Some(_) | None => dir,
            }
        })
        .collect()
}

fn has_programs(bin_dir: &Path) -> bool {
    ["postgres", "initdb"]
        .iter()
        .all(|program| bin_dir.join(program).is_file())
}

fn true_name(directory: &Path) -> PathBuf {
    fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_format_of_postgres_is_parsed() {
        for (text, major) in [
            ("15.18 (Debian 15.18-0+deb12u1)", 15),
            ("17beta1", 17),
            ("16\n", 16),
        ] {
            assert_eq!(leading_number(text), Some(major), "{text}");
        }
        assert_eq!(leading_number("devel"), None);
    }

    #[test]
    fn a_source_parses_from_its_display_form() {
        for source in [Source::Auto, Source::Installed, Source::Bundled] {
            assert_eq!(source.to_string().parse(), Ok(source));
        }
        assert!("sometimes".parse::<Source>().is_err());
    }
}
