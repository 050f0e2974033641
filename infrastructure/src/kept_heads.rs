//! The last head that a server acknowledged, in a file outside the database.
//!
//! Promise: a log that was rolled back, by the restore of an older backup or the promotion of a
//! replica that was behind, is recognised. The file is replaced as a whole and synchronised; it has
//! one entry for each log, so a data directory may serve several databases.
//! Limit: the file is at most as old as its last write; see docs/decisions/0096.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, process, thread};

use domain::incident::TailCut;
use domain::values::{Position, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid};

use crate::log::{Hash, Head};

/// The name of the file in a data directory.
const FILE: &str = "heads.json";
/// A larger file was not written by this program, in bytes.
const MOST_BYTES: u64 = 1 << 20;
/// Most logs of one file; of more, those that were written longest ago are removed.
const MOST_LOGS: usize = 64;
/// Most earlier heads of one log.
const MOST_EARLIER: usize = 32;
/// The least time between two earlier heads, in milliseconds of the log.
const EARLIER_EVERY_MS: i64 = 60_000;

/// The name of a log: a UUID of version 8 (RFC 9562) of the hash of its first event. It is the same
/// in every replica, restore and export of the log. Source:
/// docs/decisions/0049-a-log-is-named-by-its-first-hash.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogId(pub Uuid);

impl LogId {
    /// Returns the name of the log whose first event has the hash `first`.
    #[must_use]
    pub fn of_first(first: Hash) -> Self {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&first.0[..16]);
        Self(Builder::from_custom_bytes(bytes).into_uuid())
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A head, as the file has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptHead {
    pub position: Position,
    #[serde(deserialize_with = "hash")]
    pub hash: Hash,
    /// When the event at this position was recorded.
    pub recorded_at: Timestamp,
}

fn hash<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Hash, D::Error> {
    let digits = String::deserialize(deserializer)?;
    digits.parse().map_err(serde::de::Error::custom)
}

impl From<Head> for KeptHead {
    fn from(head: Head) -> Self {
        Self {
            position: head.position,
            hash: head.hash,
            recorded_at: head.recorded_at,
        }
    }
}

/// The heads of one log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownLog {
    pub log: LogId,
    /// The last head.
    #[serde(flatten)]
    pub head: KeptHead,
    /// Some heads before it, oldest first: they show how far another history is the same.
    #[serde(default)]
    pub earlier: Vec<KeptHead>,
}

/// The contents of the file. The log that was written last is the last entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptHeads {
    heads: Vec<KnownLog>,
}

/// The path of the file in a data directory.
#[must_use]
pub fn file_in(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE)
}

impl KeptHeads {
    /// Reads the file; it is empty if there is none.
    ///
    /// # Errors
    /// When it cannot be read, or is not such a file.
    pub fn read(path: &Path) -> io::Result<Self> {
        let text = match fs::metadata(path) {
            Ok(file) if file.len() > MOST_BYTES => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "is too long"));
            }
            Ok(_) => fs::read(path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        serde_json::from_slice(&text)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// The heads of `log`.
    #[must_use]
    pub fn of(&self, log: LogId) -> Option<&KnownLog> {
        self.heads.iter().find(|known| known.log == log)
    }

    /// Every known log.
    #[must_use]
    pub fn all(&self) -> &[KnownLog] {
        &self.heads
    }

    /// Puts `head` in the place of the last head of `log`.
    fn put(&mut self, log: LogId, head: KeptHead) {
        let index = self.heads.iter().position(|known| known.log == log);
        let mut known = match index {
            Some(index) => self.heads.remove(index),
            None => KnownLog {
                log,
                head,
                earlier: vec![],
            },
        };
        let before = std::mem::replace(&mut known.head, head);
        // After an accepted loss the log is shorter.
        known
            .earlier
            .retain(|earlier| earlier.position < head.position);
        let last = known.earlier.last();
        let is_apart = |last: &KeptHead| {
            before.recorded_at.millis() - last.recorded_at.millis() >= EARLIER_EVERY_MS
        };
        if before.position < head.position && last.is_none_or(is_apart) {
            known.earlier.push(before);
        }
        if known.earlier.len() > MOST_EARLIER {
            // Every second one of the older half, so that they reach far back.
            let mut index = 0;
            known.earlier.retain(|_| {
                index += 1;
                index > MOST_EARLIER / 2 || index % 2 == 1
            });
        }
        self.heads.push(known);
        let surplus = self.heads.len().saturating_sub(MOST_LOGS);
        self.heads.drain(..surplus);
    }
}

/// How a write treats the last head that the file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// It stays if it is further: another server with this data directory wrote it.
    Further,
    /// It is replaced: its loss was accepted.
    This,
}

/// How often a lock is tried, and the pause in between.
const LOCK_ATTEMPTS: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Takes the lock of the file, which others hold for milliseconds.
fn take(lock: &File) -> io::Result<()> {
    for _ in 0..LOCK_ATTEMPTS {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    let held = "another process holds the lock of heads.json (heads.lock)";
    Err(io::Error::new(io::ErrorKind::WouldBlock, held))
}

/// Writes `head` as the last head of `log`. Several processes may share the file.
///
/// # Errors
/// When the file cannot be read or replaced; it is unchanged then.
pub fn keep(path: &Path, log: LogId, head: Head, keep: Keep) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let lock = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path.with_extension("lock"))?;
    take(&lock)?;
    let mut heads = KeptHeads::read(path)?;
    if let Some(known) = heads.of(log) {
        let is_further = known.head.position > head.position && keep == Keep::Further;
        if is_further || known.head == head.into() {
            return Ok(());
        }
    }
    heads.put(log, head.into());
    let next = path.with_extension(format!("{}.tmp", process::id()));
    let mut file = File::create(&next)?;
    let written = serde_json::to_writer(&file, &heads)
        .map_err(io::Error::from)
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&next, path));
    if let Err(error) = written {
        let _left_behind = fs::remove_file(&next);
        return Err(error);
    }
    // The rename itself is durable once the directory is.
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => File::open(directory)?.sync_all(),
        Some(_) | None => Ok(()),
    }
}

/// A loss that the log itself records, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedCut {
    /// The position of the record.
    pub at: Position,
    /// When the database recorded it.
    pub recorded_at: Timestamp,
    pub cut: TailCut,
}

impl RecordedCut {
    /// Reports whether the cut removed `known`: the head is beyond it, and is from before it by the
    /// database's clock. The clock of the command that recorded it may have been ahead.
    #[must_use]
    pub fn covers(&self, known: &KeptHead) -> bool {
        let is_its_head = self.cut.removed_head == known.hash.to_string();
        let is_before = known.recorded_at <= self.recorded_at;
        is_its_head || (is_before && known.position > self.cut.position)
    }
}

impl fmt::Display for RecordedCut {
    /// A sentence without its period.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cut, at) = (&self.cut, self.at);
        write!(
            f,
            "{} events after position {} are missing, which was accepted at position {at}: {}",
            cut.events,
            cut.position,
            cut.reason.as_str()
        )
    }
}

/// The part of the known history that a log does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    pub known: KeptHead,
    /// The last position that is known to be the same.
    pub after: KeptHead,
    /// The head of the log.
    pub head: Head,
    /// The hash that the log has at the known head's position; `None` if the log is shorter.
    pub other: Option<Hash>,
    /// The cut that records the loss, if one does.
    pub accepted: Option<RecordedCut>,
}

impl Loss {
    /// How many known events the log does not have; of another history, at most.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.known.position.0.saturating_sub(self.after.position.0)
    }
}

impl fmt::Display for Loss {
    /// A sentence without its period.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (known, after, head) = (self.known, self.after, self.head);
        let events = self.events();
        let first = after.position.next();
        match self.other {
            None if after.position == head.position => write!(
                f,
                "the event log ends at position {} ({}), but it reached position {} ({}) before: \
                 {events} acknowledged events are missing, positions {first} to {}",
                head.position, head.recorded_at, known.position, known.recorded_at, known.position
            ),
            Some(_) | None => write!(
                f,
                "the event log has another history than before: it is known to be the same up to \
                 position {} ({}), and up to {events} acknowledged events are missing, positions \
                 {first} to {} ({})",
                after.position, after.recorded_at, known.position, known.recorded_at
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(byte: u8) -> LogId {
        LogId::of_first(Hash([byte; 32]))
    }

    fn head(position: u64, minutes: i64) -> Head {
        Head {
            position: Position(position),
            hash: Hash([u8::try_from(position % 251).unwrap(); 32]),
            recorded_at: Timestamp::from_millis(minutes * 60_000),
        }
    }

    #[test]
    fn file_keeps_the_furthest_head_of_each_log() {
        let directory = tempfile::tempdir().unwrap();
        let path = file_in(directory.path());
        assert_eq!(KeptHeads::read(&path).unwrap(), KeptHeads::default());
        for (id, head) in [(1, head(7, 0)), (2, head(3, 0)), (1, head(5, 0))] {
            keep(&path, log(id), head, Keep::Further).unwrap();
        }
        let kept = KeptHeads::read(&path).unwrap();
        assert_eq!(kept.of(log(1)).unwrap().head, head(7, 0).into());
        assert_eq!(kept.of(log(2)).unwrap().head, head(3, 0).into());
        assert_eq!(kept.of(log(3)), None);
        keep(&path, log(1), head(5, 0), Keep::This).unwrap();
        let kept = KeptHeads::read(&path).unwrap();
        assert_eq!(kept.of(log(1)).unwrap().head, head(5, 0).into());
        let names = fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(names, 2, "the file and its lock");
    }

    #[test]
    fn other_files_are_not_read_and_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = file_in(directory.path());
        for text in ["", "{}", "[]", "{\"heads\":[{\"log\":\"x\"}]}"] {
            fs::write(&path, text).unwrap();
            assert!(KeptHeads::read(&path).is_err(), "{text}");
            assert!(keep(&path, log(1), head(1, 0), Keep::This).is_err());
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn earlier_heads_are_few_and_reach_far_back() {
        let mut heads = KeptHeads::default();
        for minute in 1..1_000_u32 {
            heads.put(log(1), head(minute.into(), minute.into()).into());
        }
        let known = heads.of(log(1)).unwrap();
        assert!(known.earlier.len() <= MOST_EARLIER);
        assert_eq!(known.earlier[0], head(1, 1).into());
        assert_eq!(known.earlier.last(), Some(&head(998, 998).into()));
        assert!(known.earlier.is_sorted_by_key(|earlier| earlier.position));
        heads.put(log(1), head(500, 2_000).into());
        let known = heads.of(log(1)).unwrap();
        assert!(known.earlier.iter().all(|earlier| earlier.position.0 < 500));
    }

    #[test]
    fn number_of_logs_is_bounded() {
        let mut heads = KeptHeads::default();
        for byte in 0..100 {
            heads.put(log(byte), head(1, 0).into());
        }
        assert_eq!(heads.all().len(), MOST_LOGS);
        assert_eq!(heads.of(log(0)), None);
        assert!(heads.of(log(99)).is_some());
    }

    #[test]
    fn lock_that_another_process_keeps_is_an_error_and_no_wait_without_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("heads.json");
        let other = File::create(path.with_extension("lock")).unwrap();
        other.lock().unwrap();
        let kept = keep(&path, log(1), head(3, 1), Keep::Further);
        assert_eq!(kept.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(other);
        keep(&path, log(1), head(3, 1), Keep::Further).unwrap();
        assert!(KeptHeads::read(&path).unwrap().of(log(1)).is_some());
    }

    #[test]
    fn cut_covers_heads_beyond_it_that_are_from_before_it() {
        let recorded = |position, removed: Hash, minutes: i64| RecordedCut {
            at: Position(90),
            recorded_at: Timestamp::from_millis(minutes * 60_000),
            cut: TailCut {
                position: Position(position),
                events: 1,
                removed_head: removed.to_string(),
                reason: domain::values::Reason::new("restored").unwrap(),
                // The clock of the command was an hour ahead.
                cut_at: Timestamp::from_millis((minutes + 60) * 60_000),
            },
        };
        let known = KeptHead::from(head(20, 5));
        assert!(recorded(19, Hash::default(), 5).covers(&known));
        assert!(!recorded(20, Hash::default(), 5).covers(&known));
        // The next loss is another one, although its positions are the same.
        assert!(!recorded(19, Hash::default(), 4).covers(&known));
        assert!(recorded(19, known.hash, 4).covers(&known));
    }
}
