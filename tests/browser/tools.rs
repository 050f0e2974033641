//! The tools of the browser tests: Node, npm, Chromium, and the packages of `package-lock.json`.
//!
//! Promise: the tools are available, or the test fails and names what to install. Nothing is
//! skipped. As root, on a system with apt-get, missing tools are installed.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::Uid;
use tokio::process::Command;
use tokio::sync::OnceCell;
use tokio::time::timeout;

/// The timeout of an installation.
const TIMEOUT: Duration = Duration::from_secs(900);
/// The oldest Node that runs the tests.
const MIN_NODE: u32 = 18;
/// The package of Debian with the same engine and without a window: the tests need half of the
/// processor time. Distributions without it run all tests in the whole browser.
const HEADLESS: &str = "chromium-headless-shell";
/// The names of the executable, on Debian and elsewhere.
const CHROMIUM: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome-stable",
    "google-chrome",
];

/// The paths of the tools.
#[derive(Debug)]
pub struct Tools {
    /// The directory of the JavaScript tests.
    pub folder: PathBuf,
    chromium: PathBuf,
    headless: Option<PathBuf>,
    node: PathBuf,
}

impl Tools {
    /// Returns a command that runs Node in the directory of the tests.
    pub fn node(&self) -> Command {
        let mut node = Command::new(&self.node);
        node.current_dir(&self.folder).kill_on_drop(true);
        node
    }

    /// Returns the browser for a file of tests. Only the whole one has permissions and push
    /// messages.
    pub fn browser_for(&self, file: &str) -> &Path {
        match &self.headless {
            Some(headless) if !["below", "push"].contains(&file) => headless,
            _ => &self.chromium,
        }
    }

    /// Returns a command that runs npm in the directory of the tests.
    pub fn npm(&self) -> Command {
        let mut npm = Command::new("npm");
        npm.current_dir(&self.folder).kill_on_drop(true);
        npm
    }
}

/// Returns the tools. They are prepared once for all tests of this process.
///
/// # Panics
/// If a tool is missing and cannot be installed.
pub async fn ready() -> &'static Tools {
    static TOOLS: OnceCell<Tools> = OnceCell::const_new();
    TOOLS.get_or_init(find_or_install).await
}

async fn find_or_install() -> Tools {
    if missing().next().is_some() {
        install().await;
    }
    let still: Vec<&str> = missing().collect();
    assert!(
        still.is_empty(),
        "the browser tests need {}: install them (Debian: apt-get install nodejs npm chromium) \
         and run again",
        still.join(", "),
    );
    let tools = Tools {
        folder: Path::new(env!("CARGO_MANIFEST_DIR")).join("browser"),
        chromium: chromium().expect("just found"),
        headless: on_path(HEADLESS).filter(|_| env::var_os("CHROMIUM").is_none()),
        node: on_path("node").expect("just found"),
    };
    check_version(&tools).await;
    install_packages(&tools).await;
    tools
}

fn missing() -> impl Iterator<Item = &'static str> {
    let found = [
        ("node", on_path("node")),
        ("npm", on_path("npm")),
        ("chromium", chromium()),
    ];
    let missing = found.into_iter().filter(|(_, path)| path.is_none());
    missing.map(|(name, _)| name)
}

fn chromium() -> Option<PathBuf> {
    let named = env::var_os("CHROMIUM").map(PathBuf::from);
    named
        .filter(|path| path.is_file())
        .or_else(|| CHROMIUM.into_iter().find_map(on_path))
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

async fn install() {
    if !Uid::effective().is_root() || on_path("apt-get").is_none() {
        return;
    }
    run(Command::new("apt-get").args(["update", "-q"])).await;
    let mut packages = vec!["nodejs", "npm", "chromium", "fonts-liberation"];
    let known = Command::new("apt-cache").args(["show", HEADLESS]).output();
    if known.await.is_ok_and(|shown| shown.status.success()) {
        packages.push(HEADLESS);
    }
    println!("installing {}", packages.join(", "));
    let mut install = Command::new("apt-get");
    install
        .args(["install", "-q", "-y", "--no-install-recommends"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive");
    run(&mut install).await;
}

async fn check_version(tools: &Tools) {
    let version = run(tools.node().arg("--version")).await;
    let major = version.trim_start_matches('v').split('.').next();
    let major: u32 = major.and_then(|major| major.parse().ok()).unwrap_or(0);
    assert!(
        major >= MIN_NODE,
        "the browser tests need Node {MIN_NODE} or later; this is {version}"
    );
}

/// Installs exactly the packages of the lock file, once for each version of it.
async fn install_packages(tools: &Tools) {
    let lock = fs::read_to_string(tools.folder.join("package-lock.json"))
        .expect("the lock file is part of the repository");
    let installed = tools.folder.join("node_modules/.installed-from");
    if fs::read_to_string(&installed).is_ok_and(|from| from == lock) {
        return;
    }
    run(tools.npm().args(["ci", "--no-audit", "--no-fund"])).await;
    fs::write(installed, lock).expect("npm has just made the folder");
}

/// Runs a command and returns its standard output.
async fn run(command: &mut Command) -> String {
    let name = format!("{:?}", command.as_std());
    let output = timeout(TIMEOUT, command.kill_on_drop(true).output())
        .await
        .unwrap_or_else(|_| panic!("{name} did not end"))
        .unwrap_or_else(|error| panic!("{name} cannot be run: {error}"));
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{name} failed:\n{stdout}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    stdout.trim().to_owned()
}
