//! Checks that each person is one buyer in each drop: with two pseudonyms, every limit would be
//! doubled for them.
//!
//! Promise: exact for every person whose personal data is present, in bounded memory: sorted runs
//! on disk, merged at the end. Limit: an erased person counts as new when they return, and a person
//! whom the shop knows under two ids counts as two.

use std::io::{self, Read, Write};

use domain::values::{Position, Pseudonym};
use infrastructure::sorted_runs::{Record, Sorter};
use uuid::Uuid;

use super::super::examine::Person;
use super::super::violation::Violation;

/// Introductions in memory, at 40 bytes each.
const RUN: usize = 1 << 17;

/// A person, in one introducing event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Introduced {
    person: Person,
    position: Position,
    buyer: Pseudonym,
}

/// All introductions so far.
#[derive(Debug)]
pub(super) struct Persons(Sorter<Introduced>);

impl Default for Persons {
    fn default() -> Self {
        Self(Sorter::with_most(RUN))
    }
}

impl Persons {
    /// Adds an introduction.
    ///
    /// # Errors
    /// When the scratch file cannot be written.
    pub(super) fn add(
        &mut self,
        person: Person,
        buyer: Pseudonym,
        position: Position,
    ) -> io::Result<()> {
        self.0.add(Introduced {
            person,
            position,
            buyer,
        })
    }

    /// Returns the first position at which a person has another pseudonym than before.
    ///
    /// # Errors
    /// When the scratch file cannot be read.
    pub(super) fn first_double(self) -> io::Result<Option<Violation>> {
        let (mut known, mut first) = (None::<Introduced>, None::<(Position, Pseudonym)>);
        for introduced in self.0.into_sorted()? {
            let introduced = introduced?;
            let before = known.filter(|known| known.person == introduced.person);
            let Some(before) = before else {
                known = Some(introduced);
                continue;
            };
            let is_first = first.is_none_or(|(position, _)| introduced.position < position);
            if before.buyer != introduced.buyer && is_first {
                first = Some((introduced.position, before.buyer));
            }
        }
        Ok(first.map(|(position, before)| {
            let reason = format!("the same person was buyer {before} earlier in this drop");
            Violation::at(position, reason)
        }))
    }
}

impl Record for Introduced {
    type Key = (Person, Position);

    fn key(&self) -> Self::Key {
        (self.person, self.position)
    }

    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&self.person.0)?;
        to.write_all(&self.position.0.to_be_bytes())?;
        to.write_all(self.buyer.0.as_bytes())
    }

    fn read(from: &mut impl Read) -> io::Result<Self> {
        let (mut person, mut position, mut buyer) = ([0; 16], [0; 8], [0; 16]);
        for part in [&mut person[..], &mut position, &mut buyer] {
            from.read_exact(part)?;
        }
        Ok(Self {
            person: Person(person),
            position: Position(u64::from_be_bytes(position)),
            buyer: Pseudonym(Uuid::from_bytes(buyer)),
        })
    }
}
