//! The PostgreSQL embedded in this program, for machines without an installed one.
//!
//! Promise: the archive has the reviewed SHA-256 (checked at build time and again here), and a
//! directory with the final name is complete.
//! Limit: a patched build of 17.5 for Linux x86_64 with glibc 2.34 or newer, from the crate
//! `pglite-rs-lib-…`; not stock PostgreSQL, and without extensions. Evaluated in
//! docs/decisions/0005-postgres-without-setup.md.

use std::path::{Path, PathBuf};

use super::error::ClusterError;

/// The directory of the bundled programs below `home`, unpacked on first use; `None` in a build
/// without them.
#[cfg(not(bundled_postgres))]
pub(super) fn unpacked(_home: &Path) -> Result<Option<PathBuf>, ClusterError> {
    Ok(None)
}

/// The directory of the bundled programs below `home`, unpacked on first use; `None` in a build
/// without them.
#[cfg(bundled_postgres)]
pub(super) fn unpacked(home: &Path) -> Result<Option<PathBuf>, ClusterError> {
    archive::unpacked(home).map(Some)
}

#[cfg(bundled_postgres)]
mod archive {
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};
    use std::{fs, io};

    use sha2::{Digest, Sha256};
    use tracing::info;

    use super::super::error::ClusterError;
    use super::super::place::sync_dir;

    static ARCHIVE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/postgres-runtime.tar.zst"));
    const ARCHIVE_SHA256: &str = env!("BUNDLED_POSTGRES_SHA256");
    /// The versions of PostgreSQL and of the crate: another archive is unpacked into another
    /// directory.
    const VERSION: &str = "17.5-pglite-0.2.7";

    pub(super) fn unpacked(home: &Path) -> Result<PathBuf, ClusterError> {
        let parent = home.join("runtime");
        let target = parent.join(VERSION);
        if !target.exists() {
            info!(directory = %target.display(), "unpacking the bundled PostgreSQL into {}", target.display());
            check_archive()?;
            unpack(&parent, &target).map_err(|source| ClusterError::Unpack {
                directory: target.clone(),
                source,
            })?;
            sync_dir(&parent)?;
        }
        Ok(target.join("bin"))
    }

    fn check_archive() -> Result<(), ClusterError> {
        let found = hex::encode(Sha256::digest(ARCHIVE));
        if found == ARCHIVE_SHA256 {
            Ok(())
        } else {
            Err(ClusterError::Damaged {
                found,
                expected: ARCHIVE_SHA256,
            })
        }
    }

    /// Unpacks into a scratch directory, which is then renamed: a crash leaves no incomplete
    /// directory under the final name.
    fn unpack(parent: &Path, target: &Path) -> io::Result<()> {
        let scratch = parent.join("unpacking");
        if scratch.exists() {
            fs::remove_dir_all(&scratch)?;
        }
        fs::create_dir_all(&scratch)?;
        let tar = ruzstd::decoding::StreamingDecoder::new(ARCHIVE).map_err(io::Error::other)?;
        tar::Archive::new(tar).unpack(&scratch)?;
        make_readable(parent)?;
        // One sync for hundreds of files. Without it, a power cut could leave empty files under the
        // final name.
        nix::unistd::syncfs(fs::File::open(parent)?)?;
        fs::rename(&scratch, target)
    }

    /// Independent of our umask, the account that runs the programs must be able to read them, and
    /// only to read.
    fn make_readable(path: &Path) -> io::Result<()> {
        let found = fs::symlink_metadata(path)?;
        if found.is_symlink() {
            return Ok(());
        }
        let runs = found.is_dir() || found.permissions().mode() & 0o100 != 0;
        fs::set_permissions(
            path,
            fs::Permissions::from_mode(if runs { 0o755 } else { 0o644 }),
        )?;
        if found.is_dir() {
            for entry in fs::read_dir(path)? {
                make_readable(&entry?.path())?;
            }
        }
        Ok(())
    }
}
