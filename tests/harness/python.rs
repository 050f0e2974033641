//! Python with exact versions of packages from PyPI, for tests of third-party programs.
//!
//! Promise: the packages of a requirements file and no others, each at its exact version; the
//! environment is created once for each version of the file, in the target directory, however many
//! tests and processes request it concurrently. Limit: needs Python 3.11 or later with its `venv`
//! module; as root where apt-get exists, they are installed if missing.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tokio::task::spawn_blocking;

use crate::cached_directory::made_once;
use crate::debian::{install, on_path, run};

/// A Python with known packages.
#[derive(Debug, Clone)]
pub struct Python {
    program: PathBuf,
}

impl Python {
    /// Installs `requirements`: lines of a requirements file, `name==version` each, with all of
    /// their dependencies (`pip freeze`), and comments.
    ///
    /// # Panics
    /// If a line names no exact version, or if Python or a package cannot be installed.
    pub async fn with(requirements: &'static str) -> Self {
        spawn_blocking(|| Self::create(requirements))
            .await
            .expect("the Python environment is ready")
    }

    /// The interpreter, to be run with arguments; it imports nothing from outside its environment.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        // -I: ignore PYTHONPATH and the user's packages.
        command.arg("-I").env("PYTHONUTF8", "1");
        command
    }

    /// A program that a package of the environment installs.
    #[must_use]
    pub fn tool(&self, name: &str) -> Command {
        Command::new(self.program.with_file_name(name))
    }

    /// `PATH` with the programs of the environment first, for programs that start others of it.
    #[must_use]
    pub fn tools_first(&self) -> OsString {
        let own = self.program.parent().map(Path::to_owned);
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = own.into_iter().chain(env::split_paths(&path));
        env::join_paths(folders).expect("the path of the target directory contains no colon")
    }

    fn create(requirements: &str) -> Self {
        for line in lines(requirements) {
            assert!(line.contains("=="), "no exact version: {line}");
        }
        let python = python();
        let version =
            run(Command::new(&python).args(["-I", "-c", "import sys; print(sys.version)"]));
        let directory = made_once("python", (requirements, version), |directory| {
            run(Command::new(&python)
                .args(["-I", "-m", "venv"])
                .arg(directory));
            let requirements_file = directory.join("requirements.txt");
            fs::write(&requirements_file, requirements).expect("the environment is writable");
            let pip = |arguments: &[&str]| {
                let mut pip = Self::within(directory).command();
                pip.args(["-m", "pip"]).args(arguments);
                pip
            };
            // Without packages that are not named, so that every version is known.
            let install = ["install", "--quiet", "--no-input", "--no-deps"];
            let wheels = ["--only-binary", ":all:", "-r"];
            run(pip(&[&install[..], &wheels].concat()).arg(&requirements_file));
            run(&mut pip(&["check"]));
        });
        Self::within(&directory)
    }

    fn within(directory: &Path) -> Self {
        Self {
            program: directory.join("bin/python"),
        }
    }
}

fn lines(requirements: &str) -> impl Iterator<Item = &str> {
    let lines = requirements.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// A Python that can create environments.
fn python() -> PathBuf {
    let found = || on_path("python3").filter(|python| can_create_environments(python));
    if let Some(python) = found() {
        return python;
    }
    install(&["python3", "python3-venv"]);
    found().expect(
        "this test needs Python 3.11 or later with the modules venv and ensurepip \
         (Debian: apt-get install python3 python3-venv): install them and run again",
    )
}

fn can_create_environments(python: &Path) -> bool {
    let script = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))";
    let mut command = Command::new(python);
    command.args(["-I", "-c", script]);
    command.output().is_ok_and(|ran| ran.status.success())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::concurrently;

    #[tokio::test]
    async fn environment_is_created_once_with_the_requested_packages() {
        let three =
            concurrently([(); 3].map(|()| Python::with("# A comment.\nsix==1.17.0\n"))).await;
        for python in &three {
            let script = "import six; print(six.__version__)";
            assert_eq!(run(python.command().args(["-c", script])), "1.17.0\n");
            assert_eq!(python.program, three[0].program);
        }
    }

    #[test]
    #[should_panic(expected = "no exact version: six>=1")]
    fn requirement_without_an_exact_version_is_rejected() {
        Python::create("six>=1\n");
    }
}
