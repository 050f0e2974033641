//! Whether each of very many ids occurs once, in bounded memory: sorted runs on disk, merged at the end.
//!
//! Promise: exact, for any number of ids, with at most [`RUN`] of them in memory. Limit: it is known at the end only, and
//! takes 24 bytes of scratch space an id once there are more than that.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};

use domain::values::Position;
use uuid::Uuid;

/// Ids in memory: 24 MB.
const RUN: usize = 1 << 20;

/// An id in two halves, and where it occurs; in this order.
type Entry = (u64, u64, u64);

/// Ids and where they occur.
#[derive(Debug)]
pub struct Distinct {
    most: usize,
    run: Vec<Entry>,
    runs: Vec<File>,
}

impl Default for Distinct {
    fn default() -> Self {
        Self::with_run(RUN)
    }
}

impl Distinct {
    fn with_run(most: usize) -> Self {
        Self {
            most,
            run: vec![],
            runs: vec![],
        }
    }

    /// Adds one occurrence.
    ///
    /// # Errors
    /// When the scratch file cannot be written.
    pub fn add(&mut self, id: Uuid, position: Position) -> io::Result<()> {
        let (high, low) = id.as_u64_pair();
        self.run.push((high, low, position.0));
        if self.run.len() == self.most {
            self.spill()?;
        }
        Ok(())
    }

    fn spill(&mut self) -> io::Result<()> {
        self.run.sort_unstable();
        let mut file = BufWriter::new(tempfile::tempfile()?);
        for (high, low, position) in self.run.drain(..) {
            for part in [high, low, position] {
                file.write_all(&part.to_be_bytes())?;
            }
        }
        let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        self.runs.push(file);
        Ok(())
    }

    /// The first place where an id occurs again.
    ///
    /// # Errors
    /// When the scratch files cannot be read.
    pub fn first_repeat(mut self) -> io::Result<Option<(Uuid, Position)>> {
        self.run.sort_unstable();
        let mut runs: Vec<Run> = self.runs.into_iter().map(Run::from).collect();
        let mut heap = BinaryHeap::new();
        for (index, run) in runs.iter_mut().enumerate() {
            heap.extend(run.next()?.map(|entry| Reverse((entry, index))));
        }
        let mut rest = self.run.into_iter();
        let in_memory = runs.len();
        heap.extend(rest.next().map(|entry| Reverse((entry, in_memory))));
        let (mut last, mut found) = (None, None::<(Uuid, Position)>);
        while let Some(Reverse((entry, index))) = heap.pop() {
            let id = (entry.0, entry.1);
            let is_earlier = found.is_none_or(|(_, position)| entry.2 < position.0);
            if last == Some(id) && is_earlier {
                found = Some((Uuid::from_u64_pair(id.0, id.1), Position(entry.2)));
            }
            last = Some(id);
            let next = match runs.get_mut(index) {
                Some(run) => run.next()?,
                None => rest.next(),
            };
            heap.extend(next.map(|entry| Reverse((entry, index))));
        }
        Ok(found)
    }
}

struct Run(BufReader<File>);

impl From<File> for Run {
    fn from(file: File) -> Self {
        Self(BufReader::with_capacity(1 << 16, file))
    }
}

impl Run {
    fn next(&mut self) -> io::Result<Option<Entry>> {
        let mut bytes = [0; 24];
        match self.0.read_exact(&mut bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let mut parts = bytes
            .chunks_exact(8)
            .map(|part| u64::from_be_bytes(part.try_into().unwrap_or_default()));
        let mut part = || parts.next().unwrap_or_default();
        Ok(Some((part(), part(), part())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repeat_among(ids: &[u128], most: usize) -> Option<u64> {
        let mut distinct = Distinct::with_run(most);
        for (position, id) in (1..).zip(ids) {
            distinct
                .add(Uuid::from_u128(*id), Position(position))
                .unwrap();
        }
        let found = distinct.first_repeat().unwrap();
        found.map(|(id, position)| {
            let index = usize::try_from(position.0).unwrap() - 1;
            assert_eq!(id.as_u128(), ids[index]);
            position.0
        })
    }

    #[test]
    fn the_first_repeat_is_found_within_and_across_runs() {
        for most in [1, 2, 3, 100] {
            assert_eq!(repeat_among(&[], most), None);
            assert_eq!(repeat_among(&[9, 7, 8, 1, 5, 3, 2, u128::MAX], most), None);
            assert_eq!(
                repeat_among(&[9, 7, 8, 1, 7, 9, 3], most),
                Some(5),
                "{most}"
            );
            assert_eq!(repeat_among(&[4, 4], most), Some(2));
            assert_eq!(
                repeat_among(&[1, 2, 3, 4, 5, 6, 1], most),
                Some(7),
                "{most}"
            );
        }
    }
}
