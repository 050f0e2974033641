//! Folders that are expensive to make and never change: made once, under the target folder.

use std::env;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// The folder of `kind` for `key`. `make` fills it unless a process has done so before; others wait
/// for it meanwhile.
///
/// # Panics
/// When the target folder cannot be written.
pub(crate) fn made_once(kind: &str, key: impl Hash, make: impl FnOnce(&Path)) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    let all = target().join("tmp").join(kind);
    fs::create_dir_all(&all).expect("the target folder can be written");
    let folder = all.join(format!("{:016x}", hasher.finish()));
    // Held to the end of this function, by one thread of one process at a time.
    let lock = File::create(folder.with_extension("lock")).expect("a lock file");
    lock.lock().expect("the lock of the folder");
    let complete = folder.join(".complete");
    if !complete.is_file() {
        // Unfinished: its process was killed.
        if folder.exists() {
            fs::remove_dir_all(&folder).expect("an unfinished folder can be removed");
        }
        fs::create_dir(&folder).expect("the target folder can be written");
        make(&folder);
        fs::write(complete, "").expect("the folder can be written");
    }
    folder
}

/// The target folder: tests are programs in `target/PROFILE/deps`.
fn target() -> PathBuf {
    let program = env::current_exe().expect("a program knows where it is");
    let target = program.ancestors().nth(3);
    target.expect("it is in the target folder").to_owned()
}
