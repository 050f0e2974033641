//! The directory of the server's Unix socket: the only access to the server.
//!
//! Promise: only the account that runs the server (and root) can enter it, so `trust`
//! authentication admits no other user. The same home has the same socket on every start.
//! Limit: a socket path is limited to about 108 bytes on Linux, 104 on macOS, so a long data
//! directory gets a short one elsewhere.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{env, fs};

use super::account::Account;
use super::error::{ClusterError, with_cause};
use super::place::{Location, short_hash};

/// The port is only part of the socket's name. Fixed, so that `PGPORT` in the environment does not
/// change it.
pub(super) const PORT: u16 = 5432;
/// The smaller of the usual limits, minus the closing NUL.
const LONGEST_PATH_BYTES: usize = 103;

/// Finds or creates the socket directory of `location`.
pub(super) fn directory(location: &Location) -> Result<PathBuf, ClusterError> {
    let mut tried = Vec::new();
    for candidate in candidates(location) {
        match usable(&candidate, &location.account) {
            Ok(()) => return Ok(candidate),
            Err(reason) => tried.push(format!("{}: {reason}", candidate.display())),
        }
    }
    Err(ClusterError::NoSocketDirectory { tried })
}

/// Next to the cluster; else a short name below the temporary directory (which may be long because
/// of `TMPDIR`, or closed to others).
fn candidates(location: &Location) -> [PathBuf; 3] {
    let suffix = location.which.suffix();
    let short = format!(
        "holdfast-{}-{}{suffix}",
        location.account.uid(),
        short_hash(&location.home)
    );
    [
        location.home.join(format!("run{suffix}")),
        env::temp_dir().join(&short),
        Path::new("/tmp").join(&short),
    ]
}

fn usable(directory: &Path, account: &Account) -> Result<(), String> {
    if socket(directory).as_os_str().as_bytes().len() > LONGEST_PATH_BYTES {
        return Err("the path is too long for a socket".to_owned());
    }
    if fs::symlink_metadata(directory).is_err() {
        account
            .create_private_dir(directory)
            .map_err(|error| with_cause(&error))?;
    }
    if !is_private(directory, account) {
        return Err(format!(
            "it is not a directory of '{}' with mode 0700",
            account.name()
        ));
    }
    if account.can_enter(directory) {
        Ok(())
    } else {
        Err(format!("'{}' cannot enter it", account.name()))
    }
}

/// Any user can write to the temporary directory: a directory that another user created there must
/// not be used.
fn is_private(directory: &Path, account: &Account) -> bool {
    fs::symlink_metadata(directory).is_ok_and(|found| {
        found.is_dir() && found.uid() == account.uid() && found.mode() & 0o777 == 0o700
    })
}

pub(super) fn socket(directory: &Path) -> PathBuf {
    directory.join(format!(".s.PGSQL.{PORT}"))
}

/// The server's lock file of the socket.
pub(super) fn socket_lock(directory: &Path) -> PathBuf {
    directory.join(format!(".s.PGSQL.{PORT}.lock"))
}
