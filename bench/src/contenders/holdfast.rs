//! Holdfast: the real program, built from this workspace and started as in production.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::error::{BenchError, Doing};
use crate::wire::ADMIN_KEY;

/// Builds the program in the profile of this program, and returns its path.
///
/// # Errors
/// [`BenchError`] if the build fails.
pub async fn build() -> Result<PathBuf, BenchError> {
    let me = std::env::current_exe().doing("find this program")?;
    let profile = me.parent().map(Path::to_owned).unwrap_or_default();
    let target = profile.parent().map(Path::to_owned).unwrap_or_default();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--package", "holdfast", "--bin", "holdfast"])
        .arg("--target-dir")
        .arg(target)
        .current_dir(workspace())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let status = command
        .status()
        .await
        .doing("run cargo to build holdfast")?;
    if !status.success() {
        return Err(BenchError::Unexpected(format!(
            "holdfast does not build: cargo ended with {status}"
        )));
    }
    Ok(profile.join("holdfast"))
}

/// The workspace that this program was built from.
pub fn workspace() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().map(Path::to_owned).unwrap_or_default()
}

/// Returns a command for the program on `database`, without inherited environment variables that
/// would change its behaviour.
pub fn command(program: &Path, database: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("HOLDFAST_") || text.starts_with("PG") {
            command.env_remove(&name);
        }
    }
    command
        .env("DATABASE_URL", database)
        // Statements that are slow on a busy machine must not be logged one by one.
        .env("RUST_LOG", "warn,sqlx=error");
    command
}

/// Returns the command that serves `database`.
pub fn serve(program: &Path, database: &str, data_dir: &Path) -> Command {
    let mut command = command(program, database);
    command
        .arg("serve")
        .env("HOLDFAST_LISTEN", "127.0.0.1:0")
        .env("HOLDFAST_DATA_DIR", data_dir)
        .env("HOLDFAST_WEBHOOK_NETWORKS", "127.0.0.0/8")
        .env("HOLDFAST_ADMIN_KEY", ADMIN_KEY)
        .env("HOLDFAST_AUDITOR_KEY", "bench-auditor-key-of-no-value");
    command
}
