//! For tests that run their own servers: the programs of an installed PostgreSQL, and the account
//! that may run them.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::account::Account;
use super::error::ClusterError;
use super::programs::installed_bin_dirs;

/// An installed PostgreSQL, and the account that may run it: our own, or an unprivileged one when
/// we are root.
#[derive(Debug)]
pub struct Installed {
    bin_dir: PathBuf,
    account: Account,
}

impl Installed {
    /// The best installation that has all of `programs`; `None` when this machine has none.
    ///
    /// # Errors
    /// [`ClusterError`] if no account may run it.
    pub fn with(programs: &[&str]) -> Result<Option<Self>, ClusterError> {
        let account = Account::for_new_cluster()?;
        let configured = std::env::var_os("PG_BIN_DIR").map(PathBuf::from);
        let mut candidates = configured.into_iter().chain(installed_bin_dirs(&account));
        let found = candidates.find(|directory| {
            programs
                .iter()
                .all(|program| directory.join(program).is_file())
        });
        Ok(found.map(|bin_dir| Self { bin_dir, account }))
    }

    /// A command for one of its programs, as the account, in `directory`.
    pub(crate) fn command(&self, program: &str, directory: &Path) -> Command {
        self.account.command(self.bin_dir.join(program), directory)
    }

    /// A command for another program, as the account, in `directory`.
    #[must_use]
    pub fn other_command(&self, program: &Path, directory: &Path) -> Command {
        self.account.command(program, directory)
    }

    /// The directory of its programs.
    #[must_use]
    pub fn bin_dir(&self) -> &Path {
        &self.bin_dir
    }

    /// Creates a directory that only the account can enter.
    ///
    /// # Errors
    /// [`ClusterError`] if it cannot be created.
    pub fn create_dir(&self, directory: &Path) -> Result<(), ClusterError> {
        self.account.create_private_dir(directory)
    }
}
