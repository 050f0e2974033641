//! The account that runs PostgreSQL: our own, or an unprivileged one when we are root.
//!
//! Promise: no PostgreSQL program runs as root, and none inherits our environment (which may hold
//! secrets).
//! Limit: root needs an account with a passwd entry, which `initdb` looks up; `postgres` is tried,
//! then `nobody`.

use std::ffi::OsStr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs, io};

use nix::errno::Errno;
use nix::unistd::{Uid, User};

use super::error::ClusterError;

/// The account that owns the cluster's files and runs its programs.
#[derive(Debug, Clone)]
pub(super) struct Account {
    name: String,
    uid: u32,
    /// Set when we are root and must switch to another user.
    switch_to_gid: Option<u32>,
}

impl Account {
    pub(super) fn for_new_cluster() -> Result<Self, ClusterError> {
        if !Uid::effective().is_root() {
            return Ok(Self::ourselves());
        }
        let known = |name| User::from_name(name).ok().flatten();
        let user = known("postgres")
            .or_else(|| known("nobody"))
            .ok_or(ClusterError::NoAccount)?;
        Self::other(user).checked()
    }

    /// The account of an existing cluster: its owner, independent of the account that starts it
    /// today.
    pub(super) fn owning(cluster: &Path) -> Result<Self, ClusterError> {
        use std::os::unix::fs::MetadataExt;
        let owner = fs::metadata(cluster)
            .map_err(ClusterError::file("look at", cluster))?
            .uid();
        let ours = Uid::effective();
        if owner == ours.as_raw() && !ours.is_root() {
            return Ok(Self::ourselves());
        }
        if !ours.is_root() {
            return Err(ClusterError::NotOurs {
                cluster: cluster.to_owned(),
                owner,
                ours: ours.as_raw(),
            });
        }
        match User::from_uid(Uid::from_raw(owner)).ok().flatten() {
            Some(user) if owner != 0 => Self::other(user).checked(),
            Some(_) | None => Self::for_new_cluster(),
        }
    }

    fn ourselves() -> Self {
        let uid = Uid::effective();
        let name = User::from_uid(uid)
            .ok()
            .flatten()
            .map_or_else(|| format!("uid {uid}"), |user| user.name);
        Self {
            name,
            uid: uid.as_raw(),
            switch_to_gid: None,
        }
    }

    fn other(user: User) -> Self {
        Self {
            name: user.name,
            uid: user.uid.as_raw(),
            switch_to_gid: Some(user.gid.as_raw()),
        }
    }

    /// Switching users may be forbidden even to root (a container without `CAP_SETUID`): check now,
    /// to report a clear error.
    fn checked(self) -> Result<Self, ClusterError> {
        match self.try_enter(Path::new("/")) {
            Err(source) if source.raw_os_error() == Some(Errno::EPERM as i32) => {
                Err(ClusterError::CannotSwitchUser {
                    account: self.name,
                    source,
                })
            }
            Err(_) | Ok(()) => Ok(self),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn uid(&self) -> u32 {
        self.uid
    }

    /// Reports whether this account can make `directory` its working directory.
    ///
    /// Tests it by running a program, because mode bits are only part of the kernel's rule (ACLs,
    /// security modules).
    pub(super) fn can_enter(&self, directory: &Path) -> bool {
        let refused = self
            .try_enter(directory)
            .is_err_and(|e| e.raw_os_error() == Some(Errno::EACCES as i32));
        !refused
    }

    fn try_enter(&self, directory: &Path) -> io::Result<()> {
        // std switches the user before it changes the directory, so a failure is the one that
        // PostgreSQL would have.
        let mut probe = self.command("/bin/sh", directory);
        probe
            .args(["-c", ":"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .map(drop)
    }

    /// A command that runs as this account, in `directory`, in a new process group.
    ///
    /// Ctrl-C in a terminal reaches the whole foreground group: without its own group PostgreSQL
    /// would end before in-flight requests are completed.
    pub(super) fn command(&self, program: impl AsRef<OsStr>, directory: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("LC_ALL", "C").env("TZ", "UTC");
        for kept in ["PATH", "LD_LIBRARY_PATH"] {
            command.envs(env::var_os(kept).map(|value| (kept, value)));
        }
        command
            .stdin(Stdio::null())
            .current_dir(directory)
            .process_group(0);
        if let Some(gid) = self.switch_to_gid {
            // std also drops root's supplementary groups here.
            command.uid(self.uid).gid(gid);
        }
        command
    }

    /// Creates a directory that only this account (and root) can enter.
    pub(super) fn create_private_dir(&self, directory: &Path) -> Result<(), ClusterError> {
        fs::create_dir(directory).map_err(ClusterError::file("create", directory))?;
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700))
            .and_then(|()| {
                chown(
                    directory,
                    self.switch_to_gid.map(|_| self.uid),
                    self.switch_to_gid,
                )
            })
            .map_err(ClusterError::file("hand over", directory))
    }
}
