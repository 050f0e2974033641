//! What each buyer took of a drop, in order: whether a limit per buyer, or a throttle, was ever passed.
//!
//! Promise: exact for every drop that had such a rule from its start, in bounded memory: sorted runs on disk, read through at the
//! end. Limit: a rule that came later is held against what was taken since then, so it may be passed unseen, but nobody is
//! accused wrongly.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use domain::terms::DropTerms;
use domain::values::{DropId, Position, Pseudonym, ThrottleHolds, Timestamp};
use infrastructure::sorted_runs::{Record, Sorter};
use uuid::Uuid;

use crate::violation::Fault;

/// Takings in memory: some 80 bytes each.
const RUN: usize = 1 << 17;

/// How units were taken or given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Way {
    /// A hold that its buyer asked for.
    Asked,
    /// A hold that was offered to a place in line.
    Offered,
    /// No units yet, but a place in line for them, which is asked for under the same rules.
    Joined,
    /// A hold ran out or was given up.
    GivenBack,
}

const WAYS: [Way; 4] = [Way::Asked, Way::Offered, Way::Joined, Way::GivenBack];

/// One taking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taking {
    pub(super) drop_id: DropId,
    pub(super) buyer: Pseudonym,
    pub(super) position: Position,
    pub(super) way: Way,
    pub(super) units: u32,
    pub(super) at: Timestamp,
    pub(super) rules: Rules,
}

/// The rules in force; a number is 0 where there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Rules {
    max_per_buyer: u32,
    throttle_holds: u32,
    window_seconds: u32,
}

impl Rules {
    pub(super) fn of(terms: &DropTerms) -> Self {
        let throttle = terms.throttle;
        Self {
            max_per_buyer: terms.max_per_buyer.map_or(0, |max| max.get()),
            throttle_holds: throttle.map_or(0, |throttle| throttle.holds.get()),
            window_seconds: throttle.map_or(0, |throttle| throttle.window_seconds.get()),
        }
    }

    /// Whether there is any.
    pub(super) fn are_any(self) -> bool {
        self != Self::default()
    }
}

/// All takings so far.
#[derive(Debug)]
pub(super) struct Takings(Sorter<Taking>);

impl Default for Takings {
    fn default() -> Self {
        Self(Sorter::with_most(RUN))
    }
}

impl Takings {
    /// Adds one.
    ///
    /// # Errors
    /// When the scratch file cannot be written.
    pub(super) fn add(&mut self, taking: Taking) -> io::Result<()> {
        self.0.add(taking)
    }

    /// The first place where somebody took more than they may, or too soon.
    ///
    /// # Errors
    /// When the scratch file cannot be read.
    pub(super) fn first_excess(self) -> io::Result<Option<(Taking, Fault)>> {
        let (mut buyer, mut first) = (Buyer::default(), None::<(Taking, Fault)>);
        for taking in self.0.into_sorted()? {
            let taking = taking?;
            if buyer.of != Some((taking.drop_id, taking.buyer)) {
                buyer.begin(&taking);
            }
            if let Err(fault) = buyer.take(&taking) {
                let is_first = first
                    .as_ref()
                    .is_none_or(|(found, _)| taking.position < found.position);
                first = if is_first {
                    Some((taking, fault))
                } else {
                    first
                };
            }
        }
        Ok(first)
    }
}

/// One buyer in one drop.
#[derive(Debug, Default)]
struct Buyer {
    of: Option<(DropId, Pseudonym)>,
    /// Units held and bought.
    taken: i64,
    /// When their holds were placed, the newest last; as many as a throttle can ask for.
    placed: VecDeque<Timestamp>,
}

impl Buyer {
    fn begin(&mut self, taking: &Taking) {
        self.of = Some((taking.drop_id, taking.buyer));
        self.taken = 0;
        self.placed.clear();
    }

    fn take(&mut self, taking: &Taking) -> Result<(), Fault> {
        let units = i64::from(taking.units);
        let judged = match taking.way {
            Way::Asked | Way::Joined => self.within_limit(taking).and(self.in_time(taking)),
            Way::Offered => self.within_limit(taking),
            Way::GivenBack => Ok(()),
        };
        match taking.way {
            Way::Asked | Way::Offered => {
                self.taken += units;
                self.placed.push_back(taking.at);
                if self.placed.len() > ThrottleHolds::MAX as usize {
                    self.placed.pop_front();
                }
            }
            Way::Joined => {}
            Way::GivenBack => self.taken -= units,
        }
        judged
    }

    fn within_limit(&self, taking: &Taking) -> Result<(), Fault> {
        let most = i64::from(taking.rules.max_per_buyer);
        let (taken, units) = (self.taken.max(0), i64::from(taking.units));
        if most == 0 || taken + units <= most {
            return Ok(());
        }
        let buyer = taking.buyer;
        Err(format!(
            "buyer {buyer} has {taken} units and is given {units} more, but at most {most} are allowed"
        )
        .into())
    }

    fn in_time(&self, taking: &Taking) -> Result<(), Fault> {
        let Rules {
            throttle_holds,
            window_seconds,
            ..
        } = taking.rules;
        let back = self.placed.len().checked_sub(throttle_holds as usize);
        let blocking = back.and_then(|index| self.placed.get(index));
        match blocking {
            Some(blocking) if blocking.plus_seconds(window_seconds) > taking.at => {
                let buyer = taking.buyer;
                Err(format!(
                    "buyer {buyer} asks at {} for one more than {throttle_holds} holds within {window_seconds} seconds",
                    taking.at
                )
                .into())
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Record for Taking {
    type Key = (DropId, Pseudonym, Position);

    fn key(&self) -> Self::Key {
        (self.drop_id, self.buyer, self.position)
    }

    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(self.drop_id.0.as_bytes())?;
        to.write_all(self.buyer.0.as_bytes())?;
        to.write_all(&self.position.0.to_be_bytes())?;
        to.write_all(&self.at.millis().to_be_bytes())?;
        to.write_all(&[self.way as u8])?;
        let Rules {
            max_per_buyer,
            throttle_holds,
            window_seconds,
        } = self.rules;
        let numbers = [self.units, max_per_buyer, throttle_holds, window_seconds];
        to.write_all(numbers.map(u32::to_be_bytes).as_flattened())
    }

    fn read(from: &mut impl Read) -> io::Result<Self> {
        let drop_id = DropId(Uuid::from_bytes(bytes(from)?));
        let buyer = Pseudonym(Uuid::from_bytes(bytes(from)?));
        let position = Position(u64::from_be_bytes(bytes(from)?));
        let at = Timestamp::from_millis(i64::from_be_bytes(bytes(from)?));
        let [way] = bytes(from)?;
        let mut number = || bytes(from).map(u32::from_be_bytes);
        let (units, max_per_buyer) = (number()?, number()?);
        let (throttle_holds, window_seconds) = (number()?, number()?);
        Ok(Self {
            drop_id,
            buyer,
            position,
            way: WAYS[usize::from(way)],
            units,
            at,
            rules: Rules {
                max_per_buyer,
                throttle_holds,
                window_seconds,
            },
        })
    }
}

fn bytes<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taking(buyer: u128, position: u64, way: Way, units: u32, at: i64) -> Taking {
        Taking {
            drop_id: DropId(Uuid::from_u128(1)),
            buyer: Pseudonym(Uuid::from_u128(buyer)),
            position: Position(position),
            way,
            units,
            at: Timestamp::from_millis(at * 1_000),
            rules: Rules {
                max_per_buyer: 3,
                throttle_holds: 2,
                window_seconds: 10,
            },
        }
    }

    /// The first excess, however many fit into memory.
    #[track_caller]
    fn first_excess(takings: &[Taking]) -> Option<u64> {
        let found: Vec<_> = [1, 2, 100]
            .into_iter()
            .map(|most| {
                let mut all = Takings(Sorter::with_most(most));
                takings.iter().for_each(|taking| all.add(*taking).unwrap());
                let found = all.first_excess().unwrap();
                found.map(|(taking, _)| taking.position.0)
            })
            .collect();
        assert!(found.iter().all(|position| *position == found[0]));
        found[0]
    }

    #[test]
    fn a_buyer_may_take_up_to_the_limit_and_again_what_they_gave_back() {
        use Way::{Asked, GivenBack, Offered};
        let mut takings = vec![
            taking(7, 1, Asked, 2, 0),
            taking(8, 2, Asked, 3, 0),
            taking(7, 3, GivenBack, 2, 5),
            taking(7, 4, Offered, 3, 6),
        ];
        assert_eq!(first_excess(&takings), None);
        takings.push(taking(7, 5, Offered, 1, 6));
        assert_eq!(first_excess(&takings), Some(5));
        takings.push(taking(8, 6, GivenBack, 3, 7));
        assert_eq!(first_excess(&takings), Some(5));
    }

    #[test]
    fn the_first_of_several_is_the_one_with_the_lowest_position() {
        let takings = [
            taking(1, 9, Way::Asked, 4, 0),
            taking(2, 4, Way::Asked, 4, 0),
            taking(3, 6, Way::Asked, 4, 0),
        ];
        assert_eq!(first_excess(&takings), Some(4));
    }

    #[test]
    fn a_throttle_paces_what_is_asked_for_and_not_what_is_offered() {
        use Way::{Asked, GivenBack, Joined, Offered};
        let two = [
            taking(7, 1, Asked, 1, 0),
            taking(7, 2, GivenBack, 1, 1),
            taking(7, 3, Asked, 1, 2),
        ];
        let then = |way, at| {
            let last = taking(7, 4, way, 1, at);
            first_excess(&[two.as_slice(), &[last]].concat())
        };
        // The second newest hold leaves the window at the tenth second, and not before.
        assert_eq!(then(Asked, 9), Some(4));
        assert_eq!(then(Joined, 9), Some(4));
        assert_eq!(then(Asked, 10), None);
        assert_eq!(then(Offered, 9), None);
    }

    #[test]
    fn a_drop_without_rules_has_none() {
        let mut free = taking(1, 1, Way::Asked, 1_000, 0);
        free.rules = Rules::default();
        assert!(!free.rules.are_any());
        let again = Taking {
            position: Position(2),
            ..free
        };
        assert_eq!(first_excess(&[free, again]), None);
    }
}
