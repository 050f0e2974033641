//! Node with exact versions of packages from npm, for tests of third-party programs.
//!
//! Promise: the packages of a lock file and no others; they are installed once for each version of
//! it, in the target directory, however many tests and processes request them concurrently. Limit:
//! needs Node 18 or later and npm; as root where apt-get exists, they are installed if missing.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tokio::task::spawn_blocking;

use crate::cached_directory::made_once;
use crate::debian::{install, on_path, run};

/// A Node with known packages.
#[derive(Debug, Clone)]
pub struct Node {
    directory: PathBuf,
}

impl Node {
    /// Installs the packages of `lock`, the package-lock.json of `package`, a package.json.
    ///
    /// # Panics
    /// If Node, npm or a package cannot be installed.
    pub async fn with(package: &'static str, lock: &'static str) -> Self {
        spawn_blocking(|| Self::create(package, lock))
            .await
            .expect("the Node packages are ready")
    }

    /// Runs `script`, the text of a module, which can import only these packages and Node's own.
    #[must_use]
    pub fn module(&self, script: &str) -> Command {
        let mut command = Command::new("node");
        command
            .args(["--input-type=module", "--eval", script])
            .current_dir(&self.directory);
        command
    }

    /// The directory with the packages, `node_modules`, for programs elsewhere.
    #[must_use]
    pub fn packages(&self) -> PathBuf {
        self.directory.join("node_modules")
    }

    fn create(package: &str, lock: &str) -> Self {
        let is_missing = || on_path("node").is_none() || on_path("npm").is_none();
        if is_missing() {
            install(&["nodejs", "npm"]);
        }
        assert!(
            !is_missing(),
            "this test needs Node 18 or later and npm (Debian: apt-get install nodejs npm): \
             install them and run again"
        );
        let directory = made_once("npm", (package, lock), |directory| {
            for (name, text) in [("package.json", package), ("package-lock.json", lock)] {
                fs::write(directory.join(name), text).expect("the directory is writable");
            }
            run(Command::new("npm")
                .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"])
                .current_dir(directory));
        });
        Self { directory }
    }
}
