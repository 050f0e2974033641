//! Streams of other kinds than ours, which stand in the same log: that they have no gaps, and how many events they are.
//!
//! Promise: exact, for any number of streams, in bounded memory: sorted runs on disk, read through at the end. Limit: nobody here
//! knows what their events mean; and of more kinds than [`KINDS`], the others are counted together.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use domain::values::{Position, Sequence};
use infrastructure::sorted_runs::{Record, Sorter};
use sha2::{Digest, Sha256};

use super::super::violation::{Violation, differs};

/// Events in memory: 32 bytes each.
const RUN: usize = 1 << 17;
/// Kinds that are told apart.
const KINDS: usize = 32;
/// What the others are called.
const OTHERS: &str = "(others)";

/// An event's place in its stream, and in the log.
#[derive(Debug, Clone, Copy)]
struct Place {
    stream: [u8; 16],
    position: Position,
    sequence: Sequence,
}

/// All of their events so far.
#[derive(Debug)]
pub(super) struct Foreign {
    places: Sorter<Place>,
    kinds: BTreeMap<String, u64>,
}

impl Default for Foreign {
    fn default() -> Self {
        Self {
            places: Sorter::with_most(RUN),
            kinds: BTreeMap::new(),
        }
    }
}

impl Foreign {
    /// Adds an event.
    ///
    /// # Errors
    /// When the scratch file cannot be written.
    pub(super) fn add(
        &mut self,
        kind: &str,
        id: &str,
        sequence: Sequence,
        position: Position,
    ) -> io::Result<()> {
        self.places.add(Place {
            stream: digest(kind, id),
            position,
            sequence,
        })
    }

    /// Counts an event that nobody here can judge.
    pub(super) fn count(&mut self, kind: &str) {
        let is_known = self.kinds.len() < KINDS || self.kinds.contains_key(kind);
        let kind = if is_known { kind } else { OTHERS };
        *self.kinds.entry(kind.to_owned()).or_default() += 1;
    }

    /// How many events nobody here can judge, by kind.
    pub(super) const fn kinds(&self) -> &BTreeMap<String, u64> {
        &self.kinds
    }

    /// The first event that does not follow the one before it in its stream.
    ///
    /// # Errors
    /// When the scratch file cannot be read.
    pub(super) fn first_gap(self) -> io::Result<Option<Violation>> {
        let (mut stream, mut due) = (None, Sequence::default());
        let mut first = None::<Violation>;
        for place in self.places.into_sorted()? {
            let place = place?;
            due = match stream == Some(place.stream) {
                true => due.next(),
                false => Sequence::default().next(),
            };
            stream = Some(place.stream);
            let is_first = |first: &Violation| place.position < first.position;
            if place.sequence != due && first.as_ref().is_none_or(is_first) {
                first = Some(differs("sequence", due, place.sequence).at(place.position));
            }
        }
        Ok(first)
    }
}

/// The first half of a SHA-256 of both names.
fn digest(kind: &str, id: &str) -> [u8; 16] {
    let digest = Sha256::new()
        .chain_update((kind.len() as u64).to_be_bytes())
        .chain_update(kind)
        .chain_update(id)
        .finalize();
    let (half, _) = digest.split_at(16);
    half.try_into().unwrap_or_default()
}

impl Record for Place {
    type Key = ([u8; 16], Position);

    fn key(&self) -> Self::Key {
        (self.stream, self.position)
    }

    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&self.stream)?;
        to.write_all(&self.position.0.to_be_bytes())?;
        to.write_all(&self.sequence.0.to_be_bytes())
    }

    fn read(from: &mut impl Read) -> io::Result<Self> {
        let (mut stream, mut position, mut sequence) = ([0; 16], [0; 8], [0; 8]);
        for part in [&mut stream[..], &mut position, &mut sequence] {
            from.read_exact(part)?;
        }
        Ok(Self {
            stream,
            position: Position(u64::from_be_bytes(position)),
            sequence: Sequence(u64::from_be_bytes(sequence)),
        })
    }
}
