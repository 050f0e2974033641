//! Python with exact versions of packages from PyPI, for tests that use other people's programs.
//!
//! Promise: the packages of a requirements file and no others, each at its exact version; the
//! environment is made once for each version of the file, under the target folder, however many
//! tests and processes ask for it at once. Limit: needs Python 3.11 or later with its `venv`
//! module; as root, where there is apt-get, they are installed when missing.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use tokio::task::spawn_blocking;

use crate::debian::{install, on_path, run};

/// A Python whose packages are known.
#[derive(Debug, Clone)]
pub struct Python {
    program: PathBuf,
}

impl Python {
    /// One with what `requirements` names: lines of a requirements file, `name==version` each, with
    /// all that these need (`pip freeze`), and comments.
    ///
    /// # Panics
    /// When a line names no exact version, and when Python or a package cannot be had.
    pub async fn with(requirements: &'static str) -> Self {
        spawn_blocking(|| Self::made(requirements))
            .await
            .expect("the Python environment is ready")
    }

    /// The program, to be run with arguments; it imports nothing from outside its environment.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        // -I: neither PYTHONPATH nor the user's own packages.
        command.arg("-I").env("PYTHONUTF8", "1");
        command
    }

    /// A program that a package of the environment installs.
    #[must_use]
    pub fn tool(&self, name: &str) -> Command {
        Command::new(self.program.with_file_name(name))
    }

    /// `PATH` with the programs of the environment first, for those that start others of it.
    #[must_use]
    pub fn tools_first(&self) -> OsString {
        let own = self.program.parent().map(Path::to_owned);
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = own.into_iter().chain(env::split_paths(&path));
        env::join_paths(folders).expect("the target folder has no colon in its name")
    }

    fn made(requirements: &str) -> Self {
        for line in lines(requirements) {
            assert!(line.contains("=="), "no exact version: {line}");
        }
        let python = python();
        let version =
            run(Command::new(&python).args(["-I", "-c", "import sys; print(sys.version)"]));
        let mut key = DefaultHasher::new();
        (requirements, &version).hash(&mut key);
        let environments = target().join("tmp/python");
        fs::create_dir_all(&environments).expect("the target folder can be written");
        let folder = environments.join(format!("{:016x}", key.finish()));
        let made = Self {
            program: folder.join("bin/python"),
        };
        // Held to the end of this function, by one process at a time.
        let lock = File::create(folder.with_extension("lock")).expect("a lock file");
        lock.lock().expect("the lock of the environment");
        let complete = folder.join(".complete");
        if complete.is_file() {
            return made;
        }
        // A part of one: its process was killed.
        if folder.exists() {
            fs::remove_dir_all(&folder).expect("an unfinished environment can be removed");
        }
        run(Command::new(&python)
            .args(["-I", "-m", "venv"])
            .arg(&folder));
        let wanted = folder.join("requirements.txt");
        fs::write(&wanted, requirements).expect("the environment can be written");
        // Without what is not named, so that every version is known.
        let pip = ["-m", "pip", "install", "--quiet", "--no-input", "--no-deps"];
        run(made
            .command()
            .args(pip)
            .args(["--only-binary", ":all:", "-r"])
            .arg(&wanted));
        run(made.command().args(["-m", "pip", "check"]));
        fs::write(complete, version).expect("the environment can be written");
        made
    }
}

fn lines(requirements: &str) -> impl Iterator<Item = &str> {
    let lines = requirements.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// A Python that can make environments.
fn python() -> PathBuf {
    let found = || on_path("python3").filter(|python| can_make_environments(python));
    if let Some(python) = found() {
        return python;
    }
    install(&["python3", "python3-venv"]);
    found().expect(
        "this test needs Python 3.11 or later with the modules venv and ensurepip \
         (Debian: apt-get install python3 python3-venv): install them and run again",
    )
}

fn can_make_environments(python: &Path) -> bool {
    let script = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))";
    let mut command = Command::new(python);
    command.args(["-I", "-c", script]);
    command.output().is_ok_and(|ran| ran.status.success())
}

/// The target folder: tests are programs in `target/PROFILE/deps`.
fn target() -> PathBuf {
    let program = env::current_exe().expect("a program knows where it is");
    let target = program.ancestors().nth(3);
    target.expect("it is in the target folder").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::at_once;

    #[tokio::test]
    async fn an_environment_is_made_once_and_has_what_was_asked_for() {
        let three = at_once([(); 3].map(|()| Python::with("# One.\nsix==1.17.0\n"))).await;
        for python in &three {
            let script = "import six; print(six.__version__)";
            assert_eq!(run(python.command().args(["-c", script])), "1.17.0\n");
            assert_eq!(python.program, three[0].program);
        }
    }

    #[test]
    #[should_panic(expected = "no exact version: six>=1")]
    fn a_version_that_may_move_is_refused() {
        Python::made("six>=1\n");
    }
}
