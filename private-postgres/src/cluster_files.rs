//! The cluster on disk: which build created it, and how to create one.
//!
//! Promise: a cluster exists completely or not at all: `initdb` works in a scratch directory that
//! is renamed afterwards.
//! Limit: a cluster belongs to its major version, and to the bundled build or to stock PostgreSQL,
//! permanently; an upgrade copies its data into another one.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;
use std::{fmt, fs, io, thread};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::error::ClusterError;
use super::lifeline::Lifeline;
use super::place::{Location, sync_dir};
use super::programs::{Origin, leading_number};
use super::server::{log_tail, open_log};
use super::swap;

/// The user that owns everything in the cluster, and the name of the database.
pub(super) const USER: &str = "holdfast";

/// Next to the cluster, not inside it: root must not write where another account could have created
/// a link.
pub(super) const MARK: &str = "postgres.made-by";
const BUNDLED: &str = "bundled";
const STOCK: &str = "stock";

/// The build that created a cluster, and therefore can open it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MadeBy {
    /// PostgreSQL's major version.
    pub(super) major: u16,
    /// Created by the bundled build. Its patches may affect the disk format; it is not documented
    /// that they do not.
    pub(super) bundled: bool,
}

impl fmt::Display for MadeBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { major, bundled } = self;
        write!(
            f,
            "{} PostgreSQL {major}",
            if *bundled { BUNDLED } else { STOCK }
        )
    }
}

/// Returns the build that created the cluster at `location`; `None` if there is none yet.
pub(super) fn made_by(location: &Location) -> Result<Option<MadeBy>, ClusterError> {
    let cluster = location.cluster();
    if is_absent(&cluster)? {
        return Ok(None);
    }
    let wrong = |reason: String| ClusterError::NotACluster {
        cluster: cluster.clone(),
        reason,
    };
    let version = fs::read_to_string(cluster.join("PG_VERSION"))
        .map_err(|e| wrong(format!("PG_VERSION: {e}")))?;
    let major = leading_number(&version)
        .ok_or_else(|| wrong(format!("PG_VERSION reads '{}'", version.trim())))?;
    let bundled = fs::read_to_string(mark(location)).is_ok_and(|mark| mark.trim() == BUNDLED);
    Ok(Some(MadeBy { major, bundled }))
}

/// The mark of the cluster at `location`.
fn mark(location: &Location) -> PathBuf {
    swap::mark_of(&location.home, location.which.directory())
}

fn is_absent(cluster: &Path) -> Result<bool, ClusterError> {
    match fs::read_dir(cluster) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(source) => Err(ClusterError::file("read", cluster)(source)),
    }
}

/// Creates a cluster at `location`, unless `stop` is cancelled before.
pub(super) fn create(
    location: &Location,
    origin: &Origin,
    stop: &CancellationToken,
) -> Result<(), ClusterError> {
    let cluster = location.cluster();
    info!(
        cluster = %cluster.display(), account = location.account.name(),
        "creating a private PostgreSQL {} in {}, run by '{}'", origin.major, cluster.display(), location.account.name()
    );
    let scratch = location.home.join("postgres.initdb");
    if scratch.exists() {
        fs::remove_dir_all(&scratch).map_err(ClusterError::file("remove", &scratch))?;
    }
    location.account.create_private_dir(&scratch)?;
    initdb(location, origin, &scratch, stop)?;
    write_mark(&mark(location), origin)?;
    fs::rename(&scratch, &cluster).map_err(ClusterError::file("create", &cluster))?;
    sync_dir(&location.home)
}

/// How often the end of `initdb` is looked for.
const POLL: Duration = Duration::from_millis(10);

/// Its output goes to the log of the server: a pipe would have to be read meanwhile.
fn initdb(
    location: &Location,
    origin: &Origin,
    scratch: &Path,
    stop: &CancellationToken,
) -> Result<(), ClusterError> {
    let program = origin.program("initdb");
    let (log, log_from) = open_log(&location.log())?;
    let second = log
        .try_clone()
        .map_err(ClusterError::file("open", location.log()))?;
    // It waits until it is watched: if this process is killed before, it does not begin.
    let mut child = location
        .account
        .command("/bin/sh", scratch)
        .args(["-c", "read -r begin && exec \"$@\"", "holdfast-initdb"])
        .arg(&program)
        // The only access is a socket in a directory that only the account can enter, so `trust`
        // admits only that account.
        .args([
            "--encoding=UTF8",
            "--locale=C",
            "--auth=trust",
            "--data-checksums",
            "--username",
            USER,
            "--pgdata",
        ])
        .arg(scratch)
        .stdin(Stdio::piped())
        .stdout(log)
        .stderr(second)
        .spawn()
        .map_err(|source| ClusterError::Run { program, source })?;
    // If this process is killed, it must not go on in a directory that the next start removes.
    let mut lifeline = Lifeline::new(location.account.clone());
    lifeline.watch(Some(child.id()));
    if let Some(mut input) = child.stdin.take() {
        // If it has ended already, its status says so.
        let _ = input.write_all(b"begin\n");
    }
    let ended = ended(child, stop);
    lifeline.release();
    match ended.map_err(ClusterError::file("wait for initdb in", scratch))? {
        Some(status) if status.success() => Ok(()),
        Some(_) => Err(ClusterError::Initdb {
            cluster: location.cluster(),
            output: log_tail(&location.log(), log_from),
        }),
        None => {
            // If it cannot be removed, the next start removes it.
            let _ = fs::remove_dir_all(scratch);
            Err(ClusterError::Abandoned)
        }
    }
}

/// Waits for the end of `initdb`. `None` if `stop` ended it, with its children.
fn ended(mut child: Child, stop: &CancellationToken) -> io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if stop.is_cancelled() {
            // It leads a process group of its own, and was not waited for: the id is valid.
            if let Ok(group) = i32::try_from(child.id()) {
                let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
            }
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

/// Before the cluster gets its name: a mark without a cluster is overwritten, a cluster without a
/// mark would be misread.
fn write_mark(path: &Path, origin: &Origin) -> Result<(), ClusterError> {
    let mark = if origin.mark().bundled {
        BUNDLED
    } else {
        STOCK
    };
    fs::write(path, format!("{mark}\n"))
        .and_then(|()| fs::File::open(path)?.sync_all())
        .map_err(ClusterError::file("write", path))
}

/// Enough to see the cause, but not too much for a terminal.
pub(super) fn last_lines(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
