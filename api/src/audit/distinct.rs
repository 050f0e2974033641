//! Whether each of very many ids occurs once, in bounded memory: sorted runs on disk, merged at the end.
//!
//! Promise: exact, for any number of ids, with at most [`RUN`] of them in memory. Limit: it is known at the end only, and
//! takes 24 bytes of scratch space an id once there are more than that.

use std::io::{self, Read, Write};

use domain::values::Position;
use infrastructure::sorted_runs::{Record, SortedRuns};
use uuid::Uuid;

/// Ids in memory: 24 bytes each.
const RUN: usize = 1 << 19;

/// An id in two halves, and where it occurs; in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Occurrence(u64, u64, u64);

impl Record for Occurrence {
    type Key = Self;

    fn key(&self) -> Self {
        *self
    }

    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let parts = [self.0, self.1, self.2].map(u64::to_be_bytes);
        to.write_all(parts.as_flattened())
    }

    fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut parts = [[0; size_of::<u64>()]; 3];
        from.read_exact(parts.as_flattened_mut())?;
        let [high, low, position] = parts.map(u64::from_be_bytes);
        Ok(Self(high, low, position))
    }
}

/// Ids and where they occur.
#[derive(Debug)]
pub struct Distinct {
    most: usize,
    run: Vec<Occurrence>,
    runs: SortedRuns<Occurrence>,
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
            runs: SortedRuns::default(),
        }
    }

    /// Adds one occurrence.
    ///
    /// # Errors
    /// When the scratch file cannot be written.
    pub fn add(&mut self, id: Uuid, position: Position) -> io::Result<()> {
        let (high, low) = id.as_u64_pair();
        self.run.push(Occurrence(high, low, position.0));
        if self.run.len() == self.most {
            self.run.sort_unstable();
            self.runs.add(self.run.drain(..))?;
        }
        Ok(())
    }

    /// The first place where an id occurs again.
    ///
    /// # Errors
    /// When the scratch file cannot be read.
    pub fn first_repeat(mut self) -> io::Result<Option<(Uuid, Position)>> {
        self.run.sort_unstable();
        let (mut last, mut found) = (None, None::<(Uuid, Position)>);
        for occurrence in self.runs.merge(self.run)? {
            let Occurrence(high, low, position) = occurrence?;
            let id = Uuid::from_u64_pair(high, low);
            let is_earlier = found.is_none_or(|(_, earlier)| position < earlier.0);
            if last == Some(id) && is_earlier {
                found = Some((id, Position(position)));
            }
            last = Some(id);
        }
        Ok(found)
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
