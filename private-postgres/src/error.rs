//! Errors of a private cluster, worded for the person who starts the program.
//!
//! Promise: every message names the next step, or carries a cause that does.
//! Limit: covers starting and stopping; sqlx reports errors of a running database.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::programs::Source;

/// Why a private cluster could not be started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A step on a file or directory failed.
    #[error("cannot {step} {}", path.display())]
    File {
        /// The step, as a verb: "create", "read".
        step: &'static str,
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },

    /// A program could not be started.
    #[error("cannot run {}", program.display())]
    Run {
        program: PathBuf,
        /// The system's error.
        source: io::Error,
    },

    /// Another live process owns this data directory.
    #[error("{} is in use by process {owner}: stop that process, or choose another data directory", directory.display())]
    InUse {
        /// The locked directory.
        directory: PathBuf,
        /// The process id in the lock file.
        owner: String,
    },

    /// Root needs another user to run PostgreSQL as.
    #[error(
        "PostgreSQL refuses to run as root, and this machine has neither a user 'postgres' nor 'nobody': \
         add one, start as an ordinary user, or set DATABASE_URL"
    )]
    NoAccount,

    /// Root may not switch to another user here, as in some sandboxes.
    #[error(
        "PostgreSQL refuses to run as root, and this process may not switch to user '{account}': \
         start it as an ordinary user, or set DATABASE_URL"
    )]
    CannotSwitchUser {
        /// The user that was tried.
        account: String,
        /// The system's error.
        source: io::Error,
    },

    /// The existing cluster belongs to another user.
    #[error(
        "the cluster in {} belongs to uid {owner} and this process is uid {ours}: start as that user or as root, \
         or choose another data directory", cluster.display()
    )]
    NotOurs {
        cluster: PathBuf,
        /// The owner's uid.
        owner: u32,
        /// Our uid.
        ours: u32,
    },

    /// A cluster exists, but the account that must run it cannot reach it any more.
    #[error(
        "user '{account}' cannot enter {}, where this data directory's cluster is: \
         grant search permission (chmod o+x) on it and on every directory above it", directory.display()
    )]
    Unreachable {
        /// The cluster's directory.
        directory: PathBuf,
        /// The account that must reach it.
        account: String,
    },

    /// The configured data directory is itself a PostgreSQL cluster.
    #[error(
        "{} is itself a PostgreSQL data directory: choose another data directory, \
         or start that cluster yourself and set DATABASE_URL", directory.display()
    )]
    ForeignCluster {
        /// The configured directory.
        directory: PathBuf,
    },

    /// The cluster's directory contains something else.
    #[error(
        "{} is not a PostgreSQL cluster ({reason}): restore it, move it away, or choose another data directory",
        cluster.display()
    )]
    NotACluster {
        /// The directory in question.
        cluster: PathBuf,
        reason: String,
    },

    /// The directory in `PG_BIN_DIR`, or of the programs that created a cluster, is not usable.
    #[error("{setting}={} cannot be used: {reason}", directory.display())]
    ConfiguredPrograms {
        /// The setting that names it.
        setting: &'static str,
        /// The configured directory.
        directory: PathBuf,
        reason: String,
    },

    /// No usable PostgreSQL for a new cluster.
    #[error(
        "no PostgreSQL to run (allowed: {source_allowed}; {}): install PostgreSQL {} or newer, \
         set PG_BIN_DIR to its programs, or set DATABASE_URL",
        listed(tried),
        super::programs::OLDEST_MAJOR
    )]
    NoPrograms {
        /// The allowed sources.
        source_allowed: Source,
        /// Each directory that was tried, with the reason why it was rejected.
        tried: Vec<String>,
    },

    /// No PostgreSQL that can open the existing cluster.
    #[error(
        "{} was created by {cluster_made_by}, and no such PostgreSQL was found (allowed: {source_allowed}; {}): \
         install that version, set PG_BIN_DIR to its programs, move the cluster to a newer PostgreSQL \
         with `holdfast database upgrade`, or choose another data directory",
        cluster.display(), listed(tried)
    )]
    OtherVersion {
        cluster: PathBuf,
        /// Its version, and the kind of build.
        cluster_made_by: String,
        /// The allowed sources.
        source_allowed: Source,
        /// Each directory that was tried, with the reason why it was rejected.
        tried: Vec<String>,
    },

    /// The programs that created the cluster are needed once more, to move its data.
    #[error(
        "{} was created by {cluster_made_by}, whose programs are needed to move its data and were not found ({}): \
         install that version, or name the directory of its programs with --from-bin-dir",
        cluster.display(), listed(tried)
    )]
    NoOlderPrograms {
        cluster: PathBuf,
        /// Its version, and the kind of build.
        cluster_made_by: String,
        /// Each directory that was tried, with the reason why it was rejected.
        tried: Vec<String>,
    },

    /// Nothing to move the cluster to.
    #[error(
        "{} was created by {cluster_made_by}, and no newer PostgreSQL was found ({}): install one, \
         or set PG_BIN_DIR to its programs",
        cluster.display(), listed(tried)
    )]
    NothingNewer {
        cluster: PathBuf,
        /// Its version, and the kind of build.
        cluster_made_by: String,
        /// Each directory that was tried, with the reason why it was rejected.
        tried: Vec<String>,
    },

    /// The embedded archive could not be unpacked.
    #[error("cannot unpack the bundled PostgreSQL into {}", directory.display())]
    Unpack {
        /// The target directory.
        directory: PathBuf,
        /// The system's error.
        source: io::Error,
    },

    /// The embedded archive is not the reviewed one.
    #[error(
        "the bundled PostgreSQL is damaged: its SHA-256 is {found}, not {expected}; reinstall this program"
    )]
    Damaged {
        /// The actual digest.
        found: String,
        /// The reviewed digest.
        expected: &'static str,
    },

    /// `initdb` ran and failed.
    #[error("cannot create a cluster in {}: initdb reported:\n{output}", cluster.display())]
    Initdb {
        /// The target directory.
        cluster: PathBuf,
        /// The end of its output.
        output: String,
    },

    /// No directory for the socket is short enough and safe.
    #[error(
        "no directory for PostgreSQL's socket: {}; choose a data directory with a shorter path",
        listed(tried)
    )]
    NoSocketDirectory {
        /// Each directory that was tried, with the reason why it was rejected.
        tried: Vec<String>,
    },

    /// The server ended before it was ready.
    #[error("PostgreSQL ended while starting ({status}); the end of {}:\n{tail}", log.display())]
    EndedAtStart {
        /// Its exit status.
        status: String,
        /// Its log file.
        log: PathBuf,
        /// The last lines of its log.
        tail: String,
    },

    /// The server was not ready in time.
    #[error("PostgreSQL was not ready within {} s; the end of {}:\n{tail}", waited.as_secs(), log.display())]
    NotReady {
        /// The time limit.
        waited: Duration,
        /// Its log file.
        log: PathBuf,
        /// The last lines of its log.
        tail: String,
    },

    /// An earlier server of this cluster could not be ended, even by SIGKILL.
    #[error("an earlier PostgreSQL of {} does not end (processes {pids:?}): end them by hand, then start again", cluster.display())]
    Orphans {
        cluster: PathBuf,
        /// The remaining processes.
        pids: Vec<i32>,
    },

    /// Our server could not be ended, even by SIGKILL.
    #[error("PostgreSQL (process {pid}) does not end; its data is safe; end that process by hand")]
    StillRunning { pid: u32 },

    /// The server is running, but the database could not be set up.
    #[error("cannot prepare the database '{database}' in the private cluster")]
    Database {
        database: &'static str,
        /// sqlx's error.
        source: sqlx::Error,
    },

    /// The start was abandoned because the program is stopping.
    #[error("the start of PostgreSQL was abandoned")]
    Abandoned,
}

impl ClusterError {
    /// For `map_err`: names the step and the path, keeps the cause.
    pub(super) fn file(
        step: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { step, path, source }
    }
}

/// An error and its cause on one line. Errors of this crate have one cause at most. Programs print
/// them by `terminal::text::one_line`, but this crate uses no other one of the workspace.
pub(crate) fn with_cause(error: &dyn std::error::Error) -> String {
    error
        .source()
        .map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

fn listed(tried: &[String]) -> String {
    if tried.is_empty() {
        "found none".to_owned()
    } else {
        format!("tried {}", tried.join("; "))
    }
}
