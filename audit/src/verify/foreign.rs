//! Other kinds of streams in the same log: checks that they have no gaps, and counts their events.
//!
//! Promise: exact for any number of streams, in bounded memory: sorted runs on disk, merged at the
//! end. Limit: the content of their events is not checked; beyond [`KINDS`] kinds, the others are
//! counted together.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use domain::values::{Position, Sequence};
use infrastructure::sorted_runs::{Record, Sorter};
use sha2::{Digest, Sha256};

use super::super::violation::{Violation, differs};

/// Events in memory, at 32 bytes each.
const RUN: usize = 1 << 17;
/// Kinds that are counted separately.
const KINDS: usize = 32;
/// The name under which all further kinds are counted.
const OTHERS: &str = "(others)";

/// An event's number in its stream, and its position.
#[derive(Debug, Clone, Copy)]
struct StreamEvent {
    stream: [u8; 16],
    position: Position,
    sequence: Sequence,
}

/// All such events so far.
#[derive(Debug)]
pub(super) struct Foreign {
    events: Sorter<StreamEvent>,
    kinds: BTreeMap<String, u64>,
}

impl Default for Foreign {
    fn default() -> Self {
        Self {
            events: Sorter::with_most(RUN),
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
        self.events.add(StreamEvent {
            stream: digest(kind, id),
            position,
            sequence,
        })
    }

    /// Counts an event whose content is not checked.
    pub(super) fn count(&mut self, kind: &str) {
        let is_known = self.kinds.len() < KINDS || self.kinds.contains_key(kind);
        let kind = if is_known { kind } else { OTHERS };
        *self.kinds.entry(kind.to_owned()).or_default() += 1;
    }

    /// The counted events, by kind.
    pub(super) const fn kinds(&self) -> &BTreeMap<String, u64> {
        &self.kinds
    }

    /// Returns the first event that does not follow the previous one of its stream.
    ///
    /// # Errors
    /// When the scratch file cannot be read.
    pub(super) fn first_gap(self) -> io::Result<Option<Violation>> {
        let (mut stream, mut due) = (None, Sequence::default());
        let mut first = None::<Violation>;
        for event in self.events.into_sorted()? {
            let event = event?;
            due = match stream == Some(event.stream) {
                true => due.next(),
                false => Sequence::default().next(),
            };
            stream = Some(event.stream);
            let is_first = |first: &Violation| event.position < first.position;
            if event.sequence != due && first.as_ref().is_none_or(is_first) {
                first = Some(differs("sequence", due, event.sequence).at(event.position));
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

impl Record for StreamEvent {
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
