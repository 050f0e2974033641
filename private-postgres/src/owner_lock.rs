//! One process per cluster: an exclusive `flock` that the kernel releases however the owner ends.
//!
//! Promise: while an [`OwnerLock`] lives, no other process starts, stops or cleans up this cluster.
//! Limit: advisory, and as good as `flock` on that file system; a second machine on a network mount is not kept out.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::Path;
use std::{fs, process};

use super::error::ClusterError;

/// Held for as long as this process owns the cluster.
#[derive(Debug)]
pub(super) struct OwnerLock {
    // Rust opens files close-on-exec, so no child keeps the lock alive after us.
    _file: File,
}

impl OwnerLock {
    /// Takes the lock of `home`, or says who holds it. Never waits.
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
        // The pid is for the other process's message only; the lock itself is the flock.
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
