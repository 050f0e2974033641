//! The location of a data directory's cluster, and the account that can reach it.
//!
//! Promise: the same data directory leads to the same cluster on every start, under any user.
//! Nothing is created elsewhere while a cluster exists: if it cannot be reached any more, that is
//! an error and not an empty shop.
//! Limit: below a directory that the account cannot enter (such as root's home) a new cluster is
//! created in the fallback directory, by default `/var/lib/holdfast/<hash>`. The file
//! `postgres-is-at` in the data directory points to it.
//!
//! ```text
//! <home>/                the data directory, or its directory in the fallback location
//!   postgres/            the cluster (PGDATA): 0700, owned by the account
//!   postgres.new/        its successor, while an upgrade fills it
//!   postgres.15/         the cluster before an upgrade
//!   run/                 its socket: 0700, owned by the account (elsewhere if its path is long)
//!   runtime/<version>/   the bundled programs, if used: readable, not writable, for the account
//!   postgres.log         the server's output
//!   postgres.lock        held by the owner
//! ```

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use sha2::{Digest, Sha256};
use tracing::warn;

use super::account::Account;
use super::error::ClusterError;
use super::swap;

/// A cluster's home directory and the account that runs it.
#[derive(Debug, Clone)]
pub(super) struct Location {
    /// The directory that contains all files of this cluster; absolute, without symbolic links.
    pub(super) home: PathBuf,
    /// The account that runs PostgreSQL here.
    pub(super) account: Account,
    pub(super) which: Which,
}

/// One of the clusters in a home directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// The cluster of the data directory.
    Current,
    /// The one that an upgrade fills.
    Successor,
}

impl Which {
    /// The name of its directory.
    pub(super) const fn directory(self) -> &'static str {
        match self {
            Self::Current => "postgres",
            Self::Successor => "postgres.new",
        }
    }

    /// Distinguishes its other files and processes.
    pub(super) const fn suffix(self) -> &'static str {
        match self {
            Self::Current => "",
            Self::Successor => "-new",
        }
    }
}

impl Location {
    /// Finds the location of `data_dir`'s cluster, or creates one.
    pub(super) fn find(data_dir: &Path, fallback_dir: &Path) -> Result<Self, ClusterError> {
        let data_dir = created(data_dir)?;
        if data_dir.join("PG_VERSION").exists() {
            return Err(ClusterError::ForeignCluster {
                directory: data_dir,
            });
        }
        match pointed_at(&data_dir)? {
            Some(home) => Self::existing_or_new(home),
            None if has_cluster(&data_dir) => Self::existing(data_dir),
            None => Self::new_for(data_dir, fallback_dir),
        }
    }

    /// Reports whether `data_dir` has a cluster. Creates nothing.
    pub(super) fn has(data_dir: &Path) -> Result<bool, ClusterError> {
        if !data_dir.is_dir() {
            return Ok(false);
        }
        let home = pointed_at(data_dir)?;
        Ok(has_cluster(home.as_deref().unwrap_or(data_dir)))
    }

    fn existing_or_new(home: PathBuf) -> Result<Self, ClusterError> {
        if has_cluster(&home) {
            return Self::existing(home);
        }
        Ok(Self {
            home: created(&home)?,
            account: Account::for_new_cluster()?,
            which: Which::Current,
        })
    }

    fn existing(home: PathBuf) -> Result<Self, ClusterError> {
        let which = match home.join(Which::Current.directory()).exists() {
            true => Which::Current,
            // In the middle of a swap.
            false => Which::Successor,
        };
        let account = Account::owning(&home.join(which.directory()))?;
        if account.can_enter(&home) {
            Ok(Self {
                home,
                account,
                which: Which::Current,
            })
        } else {
            Err(ClusterError::Unreachable {
                directory: home,
                account: account.name().to_owned(),
            })
        }
    }

    fn new_for(data_dir: PathBuf, fallback_dir: &Path) -> Result<Self, ClusterError> {
        let account = Account::for_new_cluster()?;
        if account.can_enter(&data_dir) {
            return Ok(Self {
                home: data_dir,
                account,
                which: Which::Current,
            });
        }
        created(fallback_dir)?;
        let home = created(&fallback_dir.join(short_hash(&data_dir)))?;
        if !account.can_enter(&home) {
            return Err(ClusterError::Unreachable {
                directory: home,
                account: account.name().to_owned(),
            });
        }
        warn!(
            data_dir = %data_dir.display(), home = %home.display(), account = account.name(),
            "user '{}' cannot enter {}: the database is kept in {} instead",
            account.name(), data_dir.display(), home.display()
        );
        write_pointer(&data_dir, &home)?;
        Ok(Self {
            home,
            account,
            which: Which::Current,
        })
    }

    pub(super) fn cluster(&self) -> PathBuf {
        self.home.join(self.which.directory())
    }

    /// The server's log file.
    pub(super) fn log(&self) -> PathBuf {
        let suffix = self.which.suffix();
        self.home.join(format!("postgres{suffix}.log"))
    }

    /// A name for this cluster that is unique on the machine; the server's process titles contain
    /// it.
    pub(super) fn cluster_name(&self) -> String {
        let suffix = self.which.suffix();
        format!("holdfast-{}{suffix}", short_hash(&self.home))
    }
}

fn has_cluster(home: &Path) -> bool {
    home.join(Which::Current.directory()).exists() || swap::is_planned(home)
}

fn pointer(data_dir: &Path) -> PathBuf {
    data_dir.join("postgres-is-at")
}

fn pointed_at(data_dir: &Path) -> Result<Option<PathBuf>, ClusterError> {
    let path = pointer(data_dir);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(PathBuf::from(text.trim()))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ClusterError::file("read", path)(source)),
    }
}

/// Written before the cluster is created: a pointer to nothing is harmless, but a cluster without a
/// pointer would be lost.
fn write_pointer(data_dir: &Path, home: &Path) -> Result<(), ClusterError> {
    let path = pointer(data_dir);
    let scratch = data_dir.join("postgres-is-at.new");
    fs::write(&scratch, format!("{}\n", home.display()))
        .and_then(|()| fs::File::open(&scratch)?.sync_all())
        .and_then(|()| fs::rename(&scratch, &path))
        .map_err(ClusterError::file("write", &path))?;
    sync_dir(data_dir)
}

/// Creates `directory` if necessary and returns its canonical path.
///
/// A directory created by root can be passed through (0711) but not listed: the account must reach
/// its files inside.
fn created(directory: &Path) -> Result<PathBuf, ClusterError> {
    if !directory.exists() {
        let mode = if nix::unistd::Uid::effective().is_root() {
            0o711
        } else {
            0o700
        };
        fs::create_dir_all(directory)
            .and_then(|()| fs::set_permissions(directory, fs::Permissions::from_mode(mode)))
            .map_err(ClusterError::file("create", directory))?;
    }
    let true_name =
        fs::canonicalize(directory).map_err(ClusterError::file("resolve", directory))?;
    if true_name.is_dir() {
        Ok(true_name)
    } else {
        Err(ClusterError::file("use", true_name)(
            io::ErrorKind::NotADirectory.into(),
        ))
    }
}

/// Makes a rename inside `directory` durable.
pub(super) fn sync_dir(directory: &Path) -> Result<(), ClusterError> {
    fs::File::open(directory)
        .and_then(|dir| dir.sync_all())
        .map_err(ClusterError::file("sync", directory))
}

/// Names a path in 16 characters. Not a secret; a collision would need 2^32 data directories on one
/// machine.
pub(super) fn short_hash(path: &Path) -> String {
    let mut hash = hex::encode(Sha256::digest(path.as_os_str().as_bytes()));
    hash.truncate(16);
    hash
}
