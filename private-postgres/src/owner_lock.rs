//! One process per cluster: an exclusive `flock`, which the kernel releases however the owner ends.
//!
//! Promise: while an [`OwnerLock`] lives, no other process starts, stops or cleans up this cluster.
//! Limit: advisory, and only as reliable as `flock` on that file system; another machine on a
//! network mount may not be excluded.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::Path;
use std::{fs, process};

use super::error::ClusterError;

/// Held while this process owns the cluster.
#[derive(Debug)]
pub(super) struct OwnerLock {
    // Rust opens files close-on-exec, so no child process keeps the lock.
    _file: File,
}

impl OwnerLock {
    /// Takes the lock of `home`, or returns an error that names its holder. Never waits.
    pub(super) fn take(home: &Path) -> Result<Self, ClusterError> {
        let path = home.join("postgres.lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path);
        let mut file = file.map_err(ClusterError::file("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use(home, &path)),
            Err(TryLockError::Error(source)) => {
                return Err(ClusterError::file("lock", &path)(source));
            }
        }
        // The pid is only for the other process's message; the lock is the flock.
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", process::id()))
            .map_err(ClusterError::file("write", &path))?;
        Ok(Self { _file: file })
    }
}

fn in_use(home: &Path, path: &Path) -> ClusterError {
    let owner = fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned();
    let owner = if owner.is_empty() {
        "(unknown)".to_owned()
    } else {
        owner
    };
    ClusterError::InUse {
        directory: home.to_owned(),
        owner,
    }
}
