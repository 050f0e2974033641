//! What can go wrong with a private cluster, worded for the person who starts the program.
//!
//! Promise: every message says what to do next, or carries the cause that says it.
//! Limit: faults of a running database are sqlx's to report; these are about starting and stopping it.

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
        /// What it was done to.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },

    /// A program could not be started at all.
    #[error("cannot run {}", program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// The system's answer.
        source: io::Error,
    },

    /// Another live process owns this data directory.
    #[error("{} is in use by process {owner}: stop that process, or choose another data directory", directory.display())]
    InUse {
        /// The directory whose lock is held.
        directory: PathBuf,
        /// The process id that the lock names.
        owner: String,
    },

    /// Root needs somebody else to run PostgreSQL as.
    #[error(
        "PostgreSQL refuses to run as root, and this machine has neither a user 'postgres' nor 'nobody': \
         add one, start as an ordinary user, or set DATABASE_URL"
    )]
    NoAccount,

    /// Root may not become another user here, as in some sandboxes.
    #[error(
        "PostgreSQL refuses to run as root, and this process may not become '{account}': \
         start it as an ordinary user, or set DATABASE_URL"
    )]
    CannotSwitchUser {
        /// The user that was tried.
        account: String,
        /// The system's answer.
        source: io::Error,
    },

    /// The cluster that is already here belongs to somebody else.
    #[error(
        "the cluster in {} belongs to uid {owner} and this process is uid {ours}: start as that user or as root, \
         or choose another data directory", cluster.display()
    )]
    NotOurs {
        /// The cluster's directory.
        cluster: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who we are.
        ours: u32,
    },

    /// A cluster is here, but the user who must run it can no longer get to it.
    #[error(
        "user '{account}' cannot enter {}, where this data directory's cluster is: \
         give search permission (chmod o+x) to it and to every directory above it", directory.display()
    )]
    Unreachable {
        /// Where the cluster is.
        directory: PathBuf,
        /// Who must reach it.
        account: String,
    },

    /// The given data directory is itself somebody's cluster.
    #[error(
        "{} is itself a PostgreSQL data directory: give Holdfast a directory of its own, \
         or start that cluster yourself and set DATABASE_URL", directory.display()
    )]
    ForeignCluster {
        /// The directory given.
        directory: PathBuf,
    },

    /// What stands in the cluster's place is no cluster.
    #[error(
        "{} is not a PostgreSQL cluster ({reason}): restore it, move it away, or choose another data directory",
        cluster.display()
    )]
    NotACluster {
        /// The directory in question.
        cluster: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// The directory named by `PG_BIN_DIR` will not do.
    #[error("PG_BIN_DIR={} cannot be used: {reason}", directory.display())]
    ConfiguredPrograms {
        /// The directory given.
        directory: PathBuf,
        /// Why not.
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
        /// Where it was allowed to look.
        source_allowed: Source,
        /// Each place that was tried, with the reason it was passed over.
        tried: Vec<String>,
    },

    /// No PostgreSQL that can open the cluster that is already here.
    #[error(
        "{} was made by {cluster_made_by}, and no such PostgreSQL was found (allowed: {source_allowed}; {}): \
         install that version, set PG_BIN_DIR to its programs, or choose another data directory",
        cluster.display(), listed(tried)
    )]
    OtherVersion {
        /// The cluster's directory.
        cluster: PathBuf,
        /// Its version, and whether it is the bundled build's.
        cluster_made_by: String,
        /// Where it was allowed to look.
        source_allowed: Source,
        /// Each place that was tried, with the reason it was passed over.
        tried: Vec<String>,
    },

    /// The embedded archive could not be unpacked.
    #[error("cannot unpack the bundled PostgreSQL into {}", directory.display())]
    Unpack {
        /// Where to.
        directory: PathBuf,
        /// Why not.
        source: io::Error,
    },

    /// The embedded archive is not the one that was reviewed.
    #[error(
        "the bundled PostgreSQL is damaged: its SHA-256 is {found}, not {expected}; reinstall this program"
    )]
    Damaged {
        /// What it is.
        found: String,
        /// What it must be.
        expected: &'static str,
    },

    /// `initdb` ran and failed.
    #[error("cannot create a cluster in {}: initdb said:\n{output}", cluster.display())]
    Initdb {
        /// Where to.
        cluster: PathBuf,
        /// The end of what it printed.
        output: String,
    },

    /// No directory for the socket is short enough and safe.
    #[error(
        "no directory for PostgreSQL's socket: {}; choose a data directory with a shorter path",
        listed(tried)
    )]
    NoSocketDirectory {
        /// Each directory that was tried, with the reason it was passed over.
        tried: Vec<String>,
    },

    /// The server ended before it was ready.
    #[error("PostgreSQL ended while starting ({status}); the end of {}:\n{tail}", log.display())]
    EndedAtStart {
        /// How it ended.
        status: String,
        /// Its log.
        log: PathBuf,
        /// The last lines it wrote there.
        tail: String,
    },

    /// The server did not become ready in time.
    #[error("PostgreSQL was not ready within {} s; the end of {}:\n{tail}", waited.as_secs(), log.display())]
    NotReady {
        /// How long it was waited for.
        waited: Duration,
        /// Its log.
        log: PathBuf,
        /// The last lines it wrote there.
        tail: String,
    },

    /// An earlier server of this cluster could not be ended, not even by SIGKILL.
    #[error("an earlier PostgreSQL of {} does not end (processes {pids:?}): look into them, then start again", cluster.display())]
    Orphans {
        /// The cluster's directory.
        cluster: PathBuf,
        /// The processes that remain.
        pids: Vec<i32>,
    },

    /// Our server could not be ended, not even by SIGKILL.
    #[error("PostgreSQL (process {pid}) does not end; its data is safe, look into that process")]
    StillRunning {
        /// The server's process id.
        pid: u32,
    },

    /// The server answers, but the database could not be set up.
    #[error("cannot prepare the database '{database}' in the private cluster")]
    Database {
        /// Its name.
        database: &'static str,
        /// sqlx's answer.
        source: sqlx::Error,
    },

    /// The start was abandoned because the whole program is ending.
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

fn listed(tried: &[String]) -> String {
    if tried.is_empty() {
        "found none".to_owned()
    } else {
        format!("tried {}", tried.join("; "))
    }
}
