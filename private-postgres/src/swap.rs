//! Replaces a cluster by its successor, at one moment.
//!
//! Promise: the plan is that moment. Before it is on disk, every start uses the old cluster;
//! afterwards every start first completes the plan, and uses the new one, wherever a kill ended the
//! process before. The old cluster is renamed and never removed.
//! Limit: the caller holds the owner's lock, and no server of either cluster runs.

use std::path::{Path, PathBuf};
use std::{fs, io};

use tracing::info;

use super::cluster_files::MARK;
use super::error::ClusterError;
use super::place::{Which, sync_dir};

/// Contains the name under which the old cluster is kept.
const PLAN: &str = "postgres.swap";

/// Reports whether a swap was begun in `home` and not completed.
pub(super) fn is_planned(home: &Path) -> bool {
    home.join(PLAN).exists()
}

/// Makes the successor the cluster of `home`, and returns the directory of the old one, which is of
/// PostgreSQL `major`.
pub(super) fn swap(home: &Path, major: u16) -> Result<PathBuf, ClusterError> {
    let kept = free_name(home, major);
    plan(home, &kept)?;
    complete(home)?;
    Ok(home.join(kept))
}

/// A name that no cluster was kept under before.
fn free_name(home: &Path, major: u16) -> String {
    let current = Which::Current.directory();
    let mut name = format!("{current}.{major}");
    let mut number = 1_u32;
    while home.join(&name).exists() || mark_of(home, &name).exists() {
        number += 1;
        name = format!("{current}.{major}-{number}");
    }
    name
}

fn plan(home: &Path, kept: &str) -> Result<(), ClusterError> {
    let path = home.join(PLAN);
    let scratch = home.join("postgres.swap.new");
    fs::write(&scratch, kept)
        .and_then(|()| fs::File::open(&scratch)?.sync_all())
        .and_then(|()| fs::rename(&scratch, &path))
        .map_err(ClusterError::file("write", &path))?;
    sync_dir(home)
}

/// Completes the swap of `home`, if there is one. Each step finds out whether it was done before.
pub(super) fn complete(home: &Path) -> Result<(), ClusterError> {
    let path = home.join(PLAN);
    let kept = match fs::read_to_string(&path) {
        Ok(kept) => kept,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(ClusterError::file("read", path)(source)),
    };
    for step in STEPS {
        step(home, &kept)?;
        sync_dir(home)?;
    }
    info!(
        "the new cluster is in use; the old one is kept in {}",
        home.join(&kept).display()
    );
    fs::remove_file(&path).map_err(ClusterError::file("remove", &path))?;
    sync_dir(home)
}

type Step = fn(&Path, &str) -> Result<(), ClusterError>;

/// The cluster gets its name last: with it, the mark is the right one.
const STEPS: [Step; 4] = [keep_cluster, keep_mark, place_mark, place_cluster];

fn keep_cluster(home: &Path, kept: &str) -> Result<(), ClusterError> {
    let current = home.join(Which::Current.directory());
    match home.join(kept).exists() || !current.exists() {
        true => Ok(()),
        false => rename(&current, &home.join(kept)),
    }
}

/// Once the successor's mark is in place, the current mark is not that of the old cluster.
fn keep_mark(home: &Path, kept: &str) -> Result<(), ClusterError> {
    let (current, successor) = (home.join(MARK), successors_mark(home));
    match successor.exists() && current.exists() && !mark_of(home, kept).exists() {
        true => rename(&current, &mark_of(home, kept)),
        false => Ok(()),
    }
}

fn place_mark(home: &Path, _kept: &str) -> Result<(), ClusterError> {
    match successors_mark(home) {
        mark if mark.exists() => rename(&mark, &home.join(MARK)),
        _ => Ok(()),
    }
}

fn place_cluster(home: &Path, _kept: &str) -> Result<(), ClusterError> {
    match home.join(Which::Successor.directory()) {
        cluster if cluster.exists() => rename(&cluster, &home.join(Which::Current.directory())),
        _ => Ok(()),
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), ClusterError> {
    fs::rename(from, to).map_err(ClusterError::file("rename", from))
}

fn successors_mark(home: &Path) -> PathBuf {
    mark_of(home, Which::Successor.directory())
}

/// The mark of the cluster in the directory with this name.
pub(super) fn mark_of(home: &Path, name: &str) -> PathBuf {
    match name == Which::Current.directory() {
        true => home.join(MARK),
        false => home.join(format!("{name}.made-by")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(home: &Path, file: &str) -> String {
        fs::read_to_string(home.join(file)).unwrap_or_else(|e| format!("{file}: {e}"))
    }

    /// A home with an old cluster of the bundled build, and a successor of a stock one.
    fn home() -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        for (directory, version) in [("postgres", "17"), ("postgres.new", "18")] {
            fs::create_dir(home.path().join(directory)).unwrap();
            fs::write(home.path().join(directory).join("PG_VERSION"), version).unwrap();
        }
        fs::write(home.path().join("postgres.made-by"), "bundled").unwrap();
        fs::write(home.path().join("postgres.new.made-by"), "stock").unwrap();
        home
    }

    #[track_caller]
    fn assert_swapped(home: &Path) {
        let found = [
            ("postgres/PG_VERSION", "18"),
            ("postgres.made-by", "stock"),
            ("postgres.17/PG_VERSION", "17"),
            ("postgres.17.made-by", "bundled"),
        ];
        for (file, expected) in found {
            assert_eq!(read(home, file), expected, "{file}");
        }
        assert_eq!(fs::read_dir(home).unwrap().count(), 4, "nothing else");
    }

    /// A process that is killed leaves the first steps done, and the next start completes them; a
    /// process that is killed while it completes them does the same again.
    #[test]
    fn swap_that_is_killed_after_any_step_is_completed() {
        for first in 0..=STEPS.len() {
            for second in 0..=STEPS.len() {
                let home = home();
                plan(home.path(), "postgres.17").unwrap();
                for killed_after in [first, second] {
                    assert!(is_planned(home.path()));
                    for step in &STEPS[..killed_after] {
                        step(home.path(), "postgres.17").unwrap();
                    }
                }
                complete(home.path()).unwrap();
                assert_swapped(home.path());
                complete(home.path()).unwrap();
                assert_swapped(home.path());
            }
        }
    }

    #[test]
    fn without_a_plan_the_old_cluster_stays() {
        let home = home();
        fs::write(home.path().join("postgres.swap.new"), "postgres").unwrap();
        assert!(!is_planned(home.path()));
        complete(home.path()).unwrap();
        assert_eq!(read(home.path(), "postgres/PG_VERSION"), "17");
        assert_eq!(read(home.path(), "postgres.made-by"), "bundled");
    }

    #[test]
    fn old_clusters_are_kept_under_different_names() {
        let home = home();
        fs::create_dir(home.path().join("postgres.17")).unwrap();
        let kept = swap(home.path(), 17).unwrap();
        assert_eq!(kept, home.path().join("postgres.17-2"));
        assert_eq!(read(home.path(), "postgres.17-2/PG_VERSION"), "17");
        assert_eq!(read(home.path(), "postgres.17-2.made-by"), "bundled");
        assert_eq!(read(home.path(), "postgres/PG_VERSION"), "18");
    }
}
