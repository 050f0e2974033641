//! Checks that each person is one buyer in each drop, and in all drops of a limit group: with two
//! pseudonyms, every limit would be doubled for them.
//!
//! Promise: exact for every person whose personal data is present, in bounded memory: sorted runs
//! on disk, merged at the end. Two pseudonyms for one spelling of an id are a violation. Two for
//! ids that only case folding or normalization makes equal are a note, because earlier releases
//! took them for two buyers, and a log does not record which release wrote an event.
//! Limit: an erased person counts as new when they return, and a person whom the shop knows under
//! two ids counts as two.
//!
//! Source: docs/decisions/0054-buyers-are-compared-by-case-folding.md.

use std::io::{self, Read, Write};

use domain::values::{Position, Pseudonym};
use infrastructure::sorted_runs::{Record, Sorter};
use uuid::Uuid;

use super::super::examine::Person;
use super::super::violation::Violation;
use super::buyer_actions::Scope;

/// Introductions in memory, at 72 bytes each.
const RUN: usize = 1 << 17;

/// A person, in one introducing event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Introduced {
    scope: Scope,
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
        scope: Scope,
        person: Person,
        buyer: Pseudonym,
        position: Position,
    ) -> io::Result<()> {
        self.0.add(Introduced {
            scope,
            person,
            position,
            buyer,
        })
    }

    /// Finds the persons with more than one pseudonym.
    ///
    /// # Errors
    /// When the scratch file cannot be read.
    pub(super) fn judge(self) -> io::Result<Judged> {
        let mut judged = Judged::default();
        // The first introduction of the spelling, and of all spellings that are equal.
        let (mut known, mut group) = (None::<Introduced>, None::<Introduced>);
        for introduced in self.0.into_sorted()? {
            let introduced = introduced?;
            match known.filter(|known| known.is_same(introduced)) {
                Some(before) => judged.compare(before, introduced),
                None => {
                    known = Some(introduced);
                    let first = group.filter(|first| first.is_equal(introduced));
                    let first = first.unwrap_or(introduced);
                    judged.note(first, introduced);
                    group = Some(first.min_by_position(introduced));
                }
            }
        }
        Ok(judged)
    }
}

impl Introduced {
    /// Reports whether both introduce one spelling.
    fn is_same(self, other: Self) -> bool {
        (self.scope, self.person) == (other.scope, other.person)
    }

    /// Reports whether both introduce spellings that are equal.
    fn is_equal(self, other: Self) -> bool {
        self.scope == other.scope && self.person.caseless == other.person.caseless
    }

    fn min_by_position(self, other: Self) -> Self {
        if other.position < self.position {
            other
        } else {
            self
        }
    }
}

/// The persons with more than one pseudonym in a drop.
#[derive(Debug, Default)]
pub(super) struct Judged {
    double: Option<(Position, Pseudonym)>,
    /// See [`Respelled`].
    pub(super) respelled: Respelled,
}

/// Spellings with another pseudonym than one that is equal without regard to case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Respelled {
    pub spellings: u64,
    /// The first position at which one was introduced.
    pub first: Option<Position>,
}

impl Judged {
    /// Compares two introductions of one spelling.
    fn compare(&mut self, before: Introduced, introduced: Introduced) {
        let is_first = |(position, _): (Position, Pseudonym)| introduced.position < position;
        if before.buyer != introduced.buyer && self.double.is_none_or(is_first) {
            self.double = Some((introduced.position, before.buyer));
        }
    }

    /// Compares the first introductions of two spellings.
    fn note(&mut self, one: Introduced, other: Introduced) {
        if one.buyer == other.buyer {
            return;
        }
        let later = one.position.max(other.position);
        let Respelled { spellings, first } = &mut self.respelled;
        *spellings += 1;
        *first = Some(first.map_or(later, |first| first.min(later)));
    }

    /// The first position at which a person has another pseudonym than before.
    pub(super) fn violation(&self) -> Option<Violation> {
        let (position, before) = self.double?;
        let reason = format!(
            "the same person was buyer {before} earlier in this drop, or in its limit group"
        );
        Some(Violation::at(position, reason))
    }
}

impl Record for Introduced {
    type Key = (Scope, Person, Position);

    fn key(&self) -> Self::Key {
        (self.scope, self.person, self.position)
    }

    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&self.scope.bytes())?;
        to.write_all(&self.person.caseless)?;
        to.write_all(&self.person.spelled)?;
        to.write_all(&self.position.0.to_be_bytes())?;
        to.write_all(self.buyer.0.as_bytes())
    }

    fn read(from: &mut impl Read) -> io::Result<Self> {
        let (mut scope, mut caseless, mut spelled) = ([0; 16], [0; 16], [0; 16]);
        let (mut position, mut buyer) = ([0; 8], [0; 16]);
        let person = [&mut scope[..], &mut caseless, &mut spelled];
        for part in person.into_iter().chain([&mut position[..], &mut buyer]) {
            from.read_exact(part)?;
        }
        Ok(Self {
            scope: Scope::from_bytes(scope),
            person: Person { caseless, spelled },
            position: Position(u64::from_be_bytes(position)),
            buyer: Pseudonym(Uuid::from_bytes(buyer)),
        })
    }
}
