//! Finding and installing the programs that tests need and cargo does not build.
//!
//! Promise: [`install`] runs only as root where apt-get exists, and once at a time on a machine.
//! Elsewhere it does nothing, and the test that needs the program fails with the package's name.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;

use nix::unistd::Uid;

/// The program called `name`, from PATH or from Debian's directories of system programs.
#[must_use]
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// Installs Debian's `packages` as root where apt-get exists; otherwise does nothing.
///
/// # Panics
/// If apt-get fails, with its output.
pub fn install(packages: &[&str]) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    if !Uid::effective().is_root() || on_path("apt-get").is_none() {
        return;
    }
    let _turn = ONE_AT_A_TIME.lock().expect("another installation failed");
    println!("installing {}", packages.join(", "));
    // Another process may be running apt-get: wait for its lock.
    let apt_get = || {
        let mut command = Command::new("apt-get");
        command
            .args(["-q", "-y", "-o", "DPkg::Lock::Timeout=600"])
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    run(apt_get().arg("update"));
    run(apt_get()
        .args(["install", "--no-install-recommends"])
        .args(packages));
}

/// Runs a command to its end and returns its standard output.
///
/// # Panics
/// If it cannot be run or fails, with all of its output.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let name = format!("{command:?}");
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{name} cannot be run: {error}"));
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{name} failed ({}):\n{stdout}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    stdout
}
