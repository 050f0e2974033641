//! Who runs PostgreSQL: ourselves, or an unprivileged account when we are root.
//!
//! Promise: no PostgreSQL program is ever run as root, and none inherits our environment (which may hold secrets).
//! Limit: root needs an account with a passwd entry (`initdb` looks itself up); `postgres` is tried, then `nobody`.

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
    /// Set when we are root and must become somebody else.
    switch_to_gid: Option<u32>,
}

impl Account {
    /// The account for a new cluster.
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

    /// The account for a cluster that exists: whoever made it, whichever of us starts it today.
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

    /// Becoming somebody else may be forbidden to root (a container without `CAP_SETUID`): find out now, say it plainly.
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

    /// The account's name, for messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its uid.
    pub(super) fn uid(&self) -> u32 {
        self.uid
    }

    /// Whether this account can make `directory` its working directory.
    ///
    /// The kernel is asked, because mode bits are only half of its rule (ACLs, security modules).
    pub(super) fn can_enter(&self, directory: &Path) -> bool {
        let refused = self
            .try_enter(directory)
            .is_err_and(|e| e.raw_os_error() == Some(Errno::EACCES as i32));
        !refused
    }

    fn try_enter(&self, directory: &Path) -> io::Result<()> {
        // std becomes the other user first and changes directory then, so the failure is the one PostgreSQL would meet.
        let mut probe = self.command("/bin/sh", directory);
        probe
            .args(["-c", ":"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .map(drop)
    }

    /// A command that runs as this account, in `directory`, in a process group of its own.
    ///
    /// Its own group, because Ctrl-C in a terminal reaches the whole foreground group: PostgreSQL would be gone before
    /// the requests in flight are answered.
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

    /// Creates a directory that only this account can enter (and root, whom nothing stops).
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
