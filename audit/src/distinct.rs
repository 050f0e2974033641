//! Finds repeated ids among very many, in bounded memory: sorted runs on disk, merged at the end.
//!
//! Promise: exact for any number of ids, with at most [`RUN`] of them in memory. Limit: the result
//! is known only at the end, and larger sets take 24 bytes of scratch space per id.

use std::fmt;
use std::io::{self, Read, Write};

use domain::values::{DropId, KeyDigest, Position};
use infrastructure::sorted_runs::{Record, Sorter};
use uuid::Uuid;

/// Ids in memory, at 24 bytes each.
const RUN: usize = 1 << 19;
/// Bits of the position; the bits above contain the kind.
const POSITION_BITS: u32 = 60;

/// The kind of object that an id names. Ids of different kinds may coincide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Hold,
    Purchase,
    /// A stock adjustment.
    Adjustment,
    Refund,
    /// A waitlist entry.
    WaitlistEntry,
    /// An idempotency key, within its drop.
    Key,
    /// The idempotency key of an order.
    OrderKey,
    /// A payment of an order.
    Payment,
    /// The intent of a payment that succeeded, in any order.
    Intent,
}

const KINDS: [Kind; 9] = [
    Kind::Hold,
    Kind::Purchase,
    Kind::Adjustment,
    Kind::Refund,
    Kind::WaitlistEntry,
    Kind::Key,
    Kind::OrderKey,
    Kind::Payment,
    Kind::Intent,
];

/// An id that occurs again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeat {
    pub kind: Kind,
    pub id: Uuid,
    /// The first position at which it occurs again.
    pub position: Position,
}

impl Repeat {
    /// A key sorts after the object that it was used for, because the object is the more specific
    /// report.
    const fn rank(&self) -> (u64, u8) {
        (self.position.0, self.kind as u8)
    }
}

impl fmt::Display for Repeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, id, .. } = self;
        match kind {
            Kind::Hold => write!(f, "hold {id} was placed twice"),
            Kind::Purchase => write!(f, "purchase {id} was made twice"),
            Kind::Adjustment => write!(f, "adjustment {id} was made twice"),
            Kind::Refund => write!(f, "refund {id} was made twice"),
            Kind::WaitlistEntry => write!(f, "waitlist entry {id} was joined twice"),
            Kind::OrderKey => write!(f, "the idempotency key was used before for an order"),
            Kind::Payment => write!(f, "payment {id} was started twice"),
            Kind::Intent => write!(f, "intent {} succeeded twice", id.simple()),
            Kind::Key => write!(f, "the idempotency key was used before in the same drop"),
        }
    }
}

/// A key as an id of its own, because two drops may use the same key. Both parts are random, so
/// their difference distinguishes pairs.
#[must_use]
pub fn key_within(drop_id: DropId, key: KeyDigest) -> Uuid {
    Uuid::from_u128(drop_id.0.as_u128() ^ u128::from_be_bytes(key.bytes()))
}

/// An id in two halves; the kind and the position in one number. Sorts in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Occurrence(u64, u64, u64);

impl Occurrence {
    fn new(kind: Kind, id: Uuid, position: Position) -> Self {
        let (high, low) = id.as_u64_pair();
        Self(high, low, ((kind as u64) << POSITION_BITS) | position.0)
    }

    /// The part that must not occur again.
    const fn identity(self) -> (u64, u64, u64) {
        (self.0, self.1, self.2 >> POSITION_BITS)
    }

    fn repeat(self) -> Repeat {
        let kind = usize::try_from(self.2 >> POSITION_BITS).unwrap_or_default();
        Repeat {
            kind: KINDS[kind],
            id: Uuid::from_u64_pair(self.0, self.1),
            position: Position(self.2 & ((1 << POSITION_BITS) - 1)),
        }
    }
}

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
        let [high, low, kind_and_position] = parts.map(u64::from_be_bytes);
        Ok(Self(high, low, kind_and_position))
    }
}

/// Ids and their positions.
#[derive(Debug)]
pub struct Distinct(Sorter<Occurrence>);

impl Default for Distinct {
    fn default() -> Self {
        Self(Sorter::with_most(RUN))
    }
}

impl Distinct {
    /// Adds one occurrence.
    ///
    /// # Errors
    /// When the scratch file cannot be written.
    pub fn add(&mut self, kind: Kind, id: impl Into<Uuid>, position: Position) -> io::Result<()> {
        self.0.add(Occurrence::new(kind, id.into(), position))
    }

    /// Returns the first position at which an id occurs again.
    ///
    /// # Errors
    /// When the scratch file cannot be read.
    pub fn first_repeat(self) -> io::Result<Option<Repeat>> {
        let (mut last, mut found) = (None, None::<Repeat>);
        for occurrence in self.0.into_sorted()? {
            let occurrence = occurrence?;
            if last == Some(occurrence.identity()) {
                let repeat = occurrence.repeat();
                let is_first = found.is_none_or(|found| repeat.rank() < found.rank());
                found = if is_first { Some(repeat) } else { found };
            }
            last = Some(occurrence.identity());
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repeat_among(ids: &[u128], most: usize) -> Option<u64> {
        let mut distinct = Distinct(Sorter::with_most(most));
        for (position, id) in (1..).zip(ids) {
            let id = Uuid::from_u128(*id);
            distinct
                .add(Kind::Purchase, id, Position(position))
                .unwrap();
        }
        distinct.first_repeat().unwrap().map(|repeat| {
            let index = usize::try_from(repeat.position.0).unwrap() - 1;
            assert_eq!(
                (repeat.kind, repeat.id.as_u128()),
                (Kind::Purchase, ids[index])
            );
            repeat.position.0
        })
    }

    #[test]
    fn first_repeat_is_found_within_and_across_runs() {
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

    #[test]
    fn ids_of_different_kinds_may_coincide() {
        let id = Uuid::from_u128(7);
        let mut distinct = Distinct(Sorter::with_most(2));
        for (position, kind) in (1..).zip(KINDS) {
            distinct.add(kind, id, Position(position)).unwrap();
        }
        let again = Position(6);
        for (index, kind) in KINDS.into_iter().enumerate() {
            assert_eq!(kind as usize, index, "kinds are numbered in list order");
        }
        distinct.add(Kind::WaitlistEntry, id, again).unwrap();
        let repeat = distinct.first_repeat().unwrap().unwrap();
        assert_eq!((repeat.kind, repeat.position), (Kind::WaitlistEntry, again));
    }
}
