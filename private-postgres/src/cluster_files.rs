//! The cluster on disk: which build created it, and how to create one.
//!
//! Promise: a cluster exists completely or not at all: `initdb` works in a scratch directory that
//! is renamed afterwards.
//! Limit: a cluster belongs to its major version, and to the bundled build or to stock PostgreSQL,
//! permanently; `pg_dump` can move its data.

use std::path::Path;
use std::{fmt, fs, io};

use tracing::info;

use super::error::ClusterError;
use super::place::{Location, sync_dir};
use super::programs::{Origin, leading_number};

/// The user that owns everything in the cluster, and the name of the database.
pub(super) const USER: &str = "holdfast";

/// Next to the cluster, not inside it: root must not write where another account could have created
/// a link.
const MARK: &str = "postgres.made-by";
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
    let bundled =
        fs::read_to_string(location.home.join(MARK)).is_ok_and(|mark| mark.trim() == BUNDLED);
    Ok(Some(MadeBy { major, bundled }))
}

fn is_absent(cluster: &Path) -> Result<bool, ClusterError> {
    match fs::read_dir(cluster) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(source) => Err(ClusterError::file("read", cluster)(source)),
    }
}

/// Creates a cluster at `location`.
pub(super) fn create(location: &Location, origin: &Origin) -> Result<(), ClusterError> {
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
    initdb(location, origin, &scratch)?;
    write_mark(&location.home, origin)?;
    fs::rename(&scratch, &cluster).map_err(ClusterError::file("create", &cluster))?;
    sync_dir(&location.home)
}

fn initdb(location: &Location, origin: &Origin, scratch: &Path) -> Result<(), ClusterError> {
    let program = origin.program("initdb");
    let output = location
        .account
        .command(&program, scratch)
        // The only access is a socket in a directory that only the account can enter, so `trust`
        // admits only that account.
        .args([
            "--encoding=UTF8",
            "--locale=C",
            "--auth=trust",
            "--username",
            USER,
            "--pgdata",
        ])
        .arg(scratch)
        .output()
        .map_err(|source| ClusterError::Run { program, source })?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(ClusterError::Initdb {
        cluster: location.cluster(),
        output: last_lines(&said),
    })
}

/// Before the cluster gets its name: a mark without a cluster is overwritten, a cluster without a
/// mark would be misread.
fn write_mark(home: &Path, origin: &Origin) -> Result<(), ClusterError> {
    let path = home.join(MARK);
    let mark = if origin.mark().bundled {
        BUNDLED
    } else {
        STOCK
    };
    fs::write(&path, format!("{mark}\n"))
        .and_then(|()| fs::File::open(&path)?.sync_all())
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
