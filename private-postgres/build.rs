//! Finds the bundled PostgreSQL archive, checks it, and passes it to `private_postgres::bundled` to
//! embed.
//!
//! Promise: the embedded bytes have the SHA-256 below, or the build fails.
//! Limit: the data crate publishes neither a constant nor a path for its archive (its `links`
//! metadata is empty in 0.2.7), so cargo is queried for the location of the crate's source. That
//! also works for vendored sources.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use sha2::{Digest, Sha256};

const DATA_CRATE: &str = "pglite-rs-lib-x86_64-unknown-linux-gnu";
const ARCHIVE: &str = "lib/pglite-runtime.tar.zst";
/// Of the published 0.2.7; docs/decisions/0005-postgres-without-setup.md describes how it was
/// reviewed.
const ARCHIVE_SHA256: &str = "e3fb68210df2e40e534a5db9886a4af5d56d4ef9ca30adeefd437069bda95073";

fn main() {
    println!("cargo::rustc-check-cfg=cfg(bundled_postgres)");
    println!("cargo::rerun-if-changed=build.rs");
    if is_wanted() {
        embed(&crate_directory(DATA_CRATE).join(ARCHIVE));
    }
}

/// The feature alone is not enough: the programs in the archive run on one platform only.
fn is_wanted() -> bool {
    let target = |key: &str| env::var(format!("CARGO_CFG_TARGET_{key}")).unwrap_or_default();
    env::var_os("CARGO_FEATURE_BUNDLED_POSTGRES").is_some()
        && target("OS") == "linux"
        && target("ARCH") == "x86_64"
        && target("ENV") == "gnu"
}

/// Copies the archive into `OUT_DIR`, so that `include_bytes!` contains no path of the build
/// machine.
fn embed(archive: &Path) {
    let bytes =
        fs::read(archive).unwrap_or_else(|e| panic!("cannot read {}: {e}", archive.display()));
    let found = hex::encode(Sha256::digest(&bytes));
    assert!(
        found == ARCHIVE_SHA256,
        "{} has SHA-256 {found}, not the reviewed {ARCHIVE_SHA256}: refusing to embed it",
        archive.display()
    );
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::write(out.join("postgres-runtime.tar.zst"), bytes).expect("OUT_DIR is writable");
    println!("cargo::rerun-if-changed={}", archive.display());
    println!("cargo::rustc-env=BUNDLED_POSTGRES_SHA256={ARCHIVE_SHA256}");
    println!("cargo::rustc-cfg=bundled_postgres");
}

/// Offline first: this crate's dependencies are already fetched, but those of the rest of the
/// workspace may not be.
fn crate_directory(name: &str) -> PathBuf {
    let text = metadata_with(&["--offline"])
        .or_else(|_| metadata_with(&[]))
        .unwrap_or_else(|e| panic!("cannot query cargo for the location of {name}: {e}"));
    directory_in(&text, name).unwrap_or_else(|| panic!("cargo metadata does not list {name}"))
}

fn metadata_with(extra: &[&str]) -> Result<String, String> {
    let cargo = env::var_os("CARGO").expect("cargo sets CARGO");
    let target = env::var("TARGET").expect("cargo sets TARGET");
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--format-version=1",
            "--filter-platform",
            &target,
        ])
        .args(extra)
        .output()
        .map_err(|e| e.to_string())?;
    if output.status.success() {
        String::from_utf8(output.stdout).map_err(|e| e.to_string())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn directory_in(metadata: &str, name: &str) -> Option<PathBuf> {
    let metadata: serde_json::Value = serde_json::from_str(metadata).ok()?;
    let found = metadata["packages"]
        .as_array()?
        .iter()
        .find(|package| package["name"] == name)?;
    Some(
        Path::new(found["manifest_path"].as_str()?)
            .parent()?
            .to_owned(),
    )
}
