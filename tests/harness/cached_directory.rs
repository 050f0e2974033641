//! Directories that are expensive to create and never change: created once, in the target
//! directory.

use std::env;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// The directory of `kind` for `key`. `make` fills it unless another process has done so;
/// concurrent callers wait until it is complete.
///
/// # Panics
/// If the target directory cannot be written.
pub(crate) fn made_once(kind: &str, key: impl Hash, make: impl FnOnce(&Path)) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    let all = target().join("tmp").join(kind);
    fs::create_dir_all(&all).expect("the target directory is writable");
    let directory = all.join(format!("{:016x}", hasher.finish()));
    // Locked until this function returns, by one thread of one process at a time.
    let lock =
        File::create(directory.with_extension("lock")).expect("the lock file can be created");
    lock.lock().expect("the directory can be locked");
    let complete = directory.join(".complete");
    if !complete.is_file() {
        // Incomplete: its process was killed.
        if directory.exists() {
            fs::remove_dir_all(&directory).expect("an incomplete directory can be removed");
        }
        fs::create_dir(&directory).expect("the target directory is writable");
        make(&directory);
        fs::write(complete, "").expect("the directory is writable");
    }
    directory
}

/// The target directory: test programs are in `target/PROFILE/deps`.
fn target() -> PathBuf {
    let program = env::current_exe().expect("the path of this program is known");
    let target = program.ancestors().nth(3);
    target.expect("it is in the target directory").to_owned()
}
