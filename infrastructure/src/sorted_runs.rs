//! External sort: sorted runs in a scratch file, merged at the end.
//!
//! Promise: all added records are returned in the order of their keys; equal keys in the order in
//! which they were added. Memory is one buffer per run, [`BUFFERS`] in total. The scratch file has
//! no name, so it is gone when the process ends in any way.
//! Limit: nothing can be read before everything was added.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::marker::PhantomData;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Total bytes of the runs' buffers during a merge.
const BUFFERS: usize = 16 << 20;
/// Maximum and minimum bytes of one buffer.
const MOST: usize = 1 << 18;
const FEWEST: usize = 1 << 12;
/// Bytes of the write buffer.
const WRITE_BYTES: usize = 1 << 18;

/// A record that can be written to the scratch file and read back.
pub trait Record: Sized {
    type Key: Ord;

    /// The sort key.
    fn key(&self) -> Self::Key;

    /// Writes the record.
    ///
    /// # Errors
    /// When it cannot be written.
    fn write(&self, to: &mut impl Write) -> io::Result<()>;

    /// Reads the next record.
    ///
    /// # Errors
    /// When it cannot be read.
    fn read(from: &mut impl Read) -> io::Result<Self>;
}

/// The runs added so far.
#[derive(Debug)]
pub struct SortedRuns<T> {
    file: Option<File>,
    runs: Vec<Location>,
    of: PhantomData<fn() -> T>,
}

/// The location of a run in the file.
#[derive(Debug, Clone, Copy)]
struct Location {
    start: u64,
    end: u64,
    records: u64,
}

impl<T> Default for SortedRuns<T> {
    fn default() -> Self {
        Self {
            file: None,
            runs: vec![],
            of: PhantomData,
        }
    }
}

impl<T: Record> SortedRuns<T> {
    /// Reports whether no run was added.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Adds a run, which must be sorted.
    ///
    /// # Errors
    /// When the scratch file cannot be written.
    pub fn add(&mut self, sorted: impl IntoIterator<Item = T>) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(tempfile::tempfile()?),
        };
        let start = file.stream_position()?;
        let mut writer = BufWriter::with_capacity(WRITE_BYTES, &mut *file);
        let mut records = 0;
        for record in sorted {
            record.write(&mut writer)?;
            records += 1;
        }
        writer.flush()?;
        drop(writer);
        let end = file.stream_position()?;
        self.runs.push(Location {
            start,
            end,
            records,
        });
        Ok(())
    }

    /// All records in order, with one last run that is kept in memory.
    ///
    /// # Errors
    /// When the scratch file cannot be read.
    pub fn merge(self, last: Vec<T>) -> io::Result<Merged<T>> {
        let buffer = (BUFFERS / self.runs.len().max(1)).clamp(FEWEST, MOST);
        let mut runs = vec![];
        if let Some(file) = self.file.map(Arc::new) {
            for location in self.runs {
                let section = Section {
                    file: file.clone(),
                    at: location.start,
                    end: location.end,
                };
                runs.push(Run::Stored {
                    reader: BufReader::with_capacity(buffer, section),
                    left: location.records,
                });
            }
        }
        runs.push(Run::Held(last.into_iter()));
        let mut heads = BinaryHeap::with_capacity(runs.len());
        for (number, run) in runs.iter_mut().enumerate() {
            heads.extend(
                run.next()
                    .transpose()?
                    .map(|record| Reverse(HeadOf { record, number })),
            );
        }
        Ok(Merged { runs, heads })
    }
}

/// Sorts records added in any order, with a limit on memory; the rest is kept in runs.
///
/// Limit: equal keys are returned in any order.
#[derive(Debug)]
pub struct Sorter<T> {
    most: usize,
    run: Vec<T>,
    runs: SortedRuns<T>,
}

impl<T: Record> Sorter<T> {
    /// Keeps up to `most` records in memory.
    #[must_use]
    pub fn with_most(most: usize) -> Self {
        Self {
            most,
            run: vec![],
            runs: SortedRuns::default(),
        }
    }

    /// Adds a record.
    ///
    /// # Errors
    /// When the scratch file cannot be written.
    pub fn add(&mut self, record: T) -> io::Result<()> {
        self.run.push(record);
        if self.run.len() >= self.most {
            self.run.sort_unstable_by_key(Record::key);
            self.runs.add(self.run.drain(..))?;
        }
        Ok(())
    }

    /// All records in order.
    ///
    /// # Errors
    /// When the scratch file cannot be read.
    pub fn into_sorted(mut self) -> io::Result<Merged<T>> {
        self.run.sort_unstable_by_key(Record::key);
        self.runs.merge(self.run)
    }
}

/// Records in the order of their keys.
#[derive(Debug)]
pub struct Merged<T: Record> {
    runs: Vec<Run<T>>,
    heads: BinaryHeap<Reverse<HeadOf<T>>>,
}

impl<T: Record> Iterator for Merged<T> {
    type Item = io::Result<T>;

    fn next(&mut self) -> Option<io::Result<T>> {
        let mut least = self.heads.peek_mut()?;
        match self.runs[least.0.number].next() {
            Some(Ok(next)) => Some(Ok(std::mem::replace(&mut least.0.record, next))),
            Some(Err(error)) => {
                PeekMut::pop(least);
                Some(Err(error))
            }
            None => Some(Ok(PeekMut::pop(least).0.record)),
        }
    }
}

/// The first record of a run that was not returned yet.
#[derive(Debug)]
struct HeadOf<T> {
    record: T,
    number: usize,
}

impl<T: Record> Ord for HeadOf<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let by_key = self.record.key().cmp(&other.record.key());
        by_key.then(self.number.cmp(&other.number))
    }
}

impl<T: Record> PartialOrd for HeadOf<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Record> PartialEq for HeadOf<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T: Record> Eq for HeadOf<T> {}

#[derive(Debug)]
enum Run<T> {
    Stored {
        reader: BufReader<Section>,
        left: u64,
    },
    Held(std::vec::IntoIter<T>),
}

impl<T: Record> Iterator for Run<T> {
    type Item = io::Result<T>;

    fn next(&mut self) -> Option<io::Result<T>> {
        match self {
            Self::Stored { reader, left } => {
                *left = left.checked_sub(1)?;
                Some(T::read(reader))
            }
            Self::Held(records) => records.next().map(Ok),
        }
    }
}

/// A part of a file; other readers use other parts.
#[derive(Debug)]
struct Section {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let read = self.file.read_at(&mut buffer[..wanted], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sorted by the first number; the second is the order of adding.
    type Pair = (u8, u8);

    impl Record for Pair {
        type Key = u8;

        fn key(&self) -> u8 {
            self.0
        }

        fn write(&self, to: &mut impl Write) -> io::Result<()> {
            to.write_all(&[self.0, self.1])
        }

        fn read(from: &mut impl Read) -> io::Result<Self> {
            let mut bytes = [0; 2];
            from.read_exact(&mut bytes)?;
            Ok((bytes[0], bytes[1]))
        }
    }

    fn merged(runs: SortedRuns<Pair>, last: Vec<Pair>) -> Vec<Pair> {
        runs.merge(last).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn records_are_sorted_and_equal_keys_keep_their_order() {
        let mut runs = SortedRuns::default();
        assert!(runs.is_empty());
        runs.add([(1, 0), (3, 0), (3, 1)]).unwrap();
        runs.add([]).unwrap();
        runs.add([(0, 2), (3, 2), (9, 2)]).unwrap();
        assert!(!runs.is_empty());
        assert_eq!(
            merged(runs, vec![(3, 3), (4, 3)]),
            [
                (0, 2),
                (1, 0),
                (3, 0),
                (3, 1),
                (3, 2),
                (3, 3),
                (4, 3),
                (9, 2)
            ]
        );
        assert_eq!(merged(SortedRuns::default(), vec![]), []);
        assert_eq!(merged(SortedRuns::default(), vec![(7, 7)]), [(7, 7)]);
    }

    #[test]
    fn unsorted_records_are_sorted_with_any_memory_limit() {
        let added: [Pair; 6] = [(5, 0), (1, 1), (6, 2), (2, 3), (0, 4), (9, 5)];
        for most in 1..=7 {
            let mut sorter = Sorter::with_most(most);
            for pair in added {
                sorter.add(pair).unwrap();
            }
            let sorted: Vec<_> = sorter.into_sorted().unwrap().map(Result::unwrap).collect();
            assert_eq!(
                sorted,
                [(0, 4), (1, 1), (2, 3), (5, 0), (6, 2), (9, 5)],
                "{most}"
            );
        }
    }

    #[test]
    fn runs_longer_than_their_buffers_are_read_completely() {
        let mut runs = SortedRuns::default();
        let long = (0..=u8::MAX).flat_map(|key| std::iter::repeat_n(key, 1_000));
        for run in 0..3 {
            runs.add(long.clone().map(|key| (key, run))).unwrap();
        }
        let all = merged(runs, vec![]);
        assert_eq!(all.len(), 3 * 256 * 1_000);
        assert!(all.is_sorted());
    }

    #[test]
    fn truncated_scratch_file_is_an_error() {
        let mut runs = SortedRuns::default();
        runs.add([(1, 0), (2, 0), (3, 0)]).unwrap();
        runs.file.as_ref().unwrap().set_len(5).unwrap();
        let read: Vec<_> = runs.merge(vec![]).unwrap().take(3).collect();
        assert!(read.iter().any(Result::is_err), "{read:?}");
    }
}
