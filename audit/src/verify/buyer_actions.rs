//! Each buyer's holds in a drop, or in the drops of a limit group, in order: checks limits per
//! buyer and throttles.
//!
//! Promise: exact for every drop that had such a rule from its start, or that has a limit group, in
//! bounded memory: sorted runs on disk, merged at the end. Limit: a rule that was added later to a
//! drop without a group is checked only against actions since then, so an excess may be missed, but
//! a correct log is never rejected.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use domain::terms::DropTerms;
use domain::values::{DropId, LimitGroup, Position, Pseudonym, ThrottleHolds, Timestamp};
use hashbrown::HashMap;
use infrastructure::sorted_runs::{Record, Sorter};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::violation::Fault;

/// Actions in memory, at some 100 bytes each.
const RUN: usize = 1 << 17;

/// How an action changes the units that a buyer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum ActionKind {
    /// A hold that its buyer requested.
    Requested,
    /// A hold that was offered to a waitlist entry.
    Offered,
    /// A waitlist entry, without units yet; the same rules apply to its request.
    Joined,
    /// A hold that expired or was released, or units that a hold or a refund returned.
    Returned,
    /// Units that were added to a hold. The throttle does not count them.
    Added,
}

const ACTION_KINDS: [ActionKind; 5] = [
    ActionKind::Requested,
    ActionKind::Offered,
    ActionKind::Joined,
    ActionKind::Returned,
    ActionKind::Added,
];

/// Where a buyer's actions are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Scope(Uuid);

impl Scope {
    /// Within one drop.
    pub(super) const fn of_drop(drop_id: DropId) -> Self {
        Self(drop_id.0)
    }

    /// Within all drops of a limit group: half of a SHA-256, which no drop has as its id.
    pub(super) fn of_group(group: &LimitGroup) -> Self {
        let whole = Sha256::new()
            .chain_update(b"holdfast.limit_group.v1")
            .chain_update(group.as_str())
            .finalize();
        let mut half = [0; 16];
        half.copy_from_slice(&whole[..16]);
        Self(Uuid::from_bytes(half))
    }

    pub(super) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    pub(super) const fn bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BuyerAction {
    pub(super) scope: Scope,
    pub(super) drop_id: DropId,
    pub(super) buyer: Pseudonym,
    pub(super) position: Position,
    pub(super) kind: ActionKind,
    pub(super) units: u32,
    pub(super) at: Timestamp,
    pub(super) rules: Rules,
}

/// The present rules; 0 means that there is no such rule.
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

    /// Reports whether there is any rule.
    pub(super) fn are_any(self) -> bool {
        self != Self::default()
    }

    /// The rules that hold within one drop although it has a limit group.
    pub(super) fn without_limit(self) -> Self {
        Self {
            max_per_buyer: 0,
            ..self
        }
    }

    /// The rule that holds within a limit group.
    pub(super) fn limit(self) -> Self {
        Self {
            max_per_buyer: self.max_per_buyer,
            ..Self::default()
        }
    }
}

/// All actions so far.
#[derive(Debug)]
pub(super) struct BuyerActions(Sorter<BuyerAction>);

impl Default for BuyerActions {
    fn default() -> Self {
        Self(Sorter::with_most(RUN))
    }
}

impl BuyerActions {
    /// Adds an action.
    ///
    /// # Errors
    /// When the scratch file cannot be written.
    pub(super) fn add(&mut self, action: BuyerAction) -> io::Result<()> {
        self.0.add(action)
    }

    /// Returns the first action that exceeded a limit or came too soon. `groups` has the name of
    /// each limit group.
    ///
    /// # Errors
    /// When the scratch file cannot be read.
    pub(super) fn first_excess(
        self,
        groups: &HashMap<Scope, LimitGroup>,
    ) -> io::Result<Option<(BuyerAction, Fault)>> {
        let (mut buyer, mut first) = (Buyer::default(), None::<(BuyerAction, Fault)>);
        for action in self.0.into_sorted()? {
            let action = action?;
            if buyer.of != Some((action.scope, action.buyer)) {
                buyer.begin(&action);
            }
            if let Err(fault) = buyer.take(&action, groups.get(&action.scope)) {
                let is_first = first
                    .as_ref()
                    .is_none_or(|(found, _)| action.position < found.position);
                first = if is_first {
                    Some((action, fault))
                } else {
                    first
                };
            }
        }
        Ok(first)
    }
}

/// The state of one buyer in one scope.
#[derive(Debug, Default)]
struct Buyer {
    of: Option<(Scope, Pseudonym)>,
    /// Units held and purchased.
    units_taken: i64,
    /// When their holds were placed, the newest last; as many as the largest throttle needs.
    placed: VecDeque<Timestamp>,
}

impl Buyer {
    fn begin(&mut self, action: &BuyerAction) {
        self.of = Some((action.scope, action.buyer));
        self.units_taken = 0;
        self.placed.clear();
    }

    fn take(&mut self, action: &BuyerAction, group: Option<&LimitGroup>) -> Result<(), Fault> {
        let units = i64::from(action.units);
        let judged = match action.kind {
            ActionKind::Requested | ActionKind::Joined => {
                self.within_limit(action, group).and(self.in_time(action))
            }
            ActionKind::Offered | ActionKind::Added => self.within_limit(action, group),
            ActionKind::Returned => Ok(()),
        };
        match action.kind {
            ActionKind::Requested | ActionKind::Offered => {
                self.units_taken += units;
                self.placed.push_back(action.at);
                if self.placed.len() > ThrottleHolds::MAX as usize {
                    self.placed.pop_front();
                }
            }
            ActionKind::Joined => {}
            ActionKind::Returned => self.units_taken -= units,
            ActionKind::Added => self.units_taken += units,
        }
        judged
    }

    fn within_limit(&self, action: &BuyerAction, group: Option<&LimitGroup>) -> Result<(), Fault> {
        let most = i64::from(action.rules.max_per_buyer);
        let (units_taken, units) = (self.units_taken.max(0), i64::from(action.units));
        if most == 0 || units_taken + units <= most {
            return Ok(());
        }
        let buyer = action.buyer;
        let place = group.map_or_else(String::new, |group| {
            format!(" in the drops of limit group {}", group.as_str())
        });
        Err(format!(
            "buyer {buyer} has {units_taken} units{place} and gets {units} more, but at most {most} are allowed"
        )
        .into())
    }

    fn in_time(&self, action: &BuyerAction) -> Result<(), Fault> {
        let Rules {
            throttle_holds,
            window_seconds,
            ..
        } = action.rules;
        let back = self.placed.len().checked_sub(throttle_holds as usize);
        let blocking = back.and_then(|index| self.placed.get(index));
        match blocking {
            Some(blocking) if blocking.plus_seconds(window_seconds) > action.at => {
                let buyer = action.buyer;
                Err(format!(
                    "buyer {buyer} requests, at {}, more than {throttle_holds} holds within {window_seconds} seconds",
                    action.at
                )
                .into())
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Record for BuyerAction {
    type Key = (Scope, Pseudonym, Position);

    fn key(&self) -> Self::Key {
        (self.scope, self.buyer, self.position)
    }

    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&self.scope.bytes())?;
        to.write_all(self.drop_id.0.as_bytes())?;
        to.write_all(self.buyer.0.as_bytes())?;
        to.write_all(&self.position.0.to_be_bytes())?;
        to.write_all(&self.at.millis().to_be_bytes())?;
        to.write_all(&[self.kind as u8])?;
        let Rules {
            max_per_buyer,
            throttle_holds,
            window_seconds,
        } = self.rules;
        let numbers = [self.units, max_per_buyer, throttle_holds, window_seconds];
        to.write_all(numbers.map(u32::to_be_bytes).as_flattened())
    }

    fn read(from: &mut impl Read) -> io::Result<Self> {
        let scope = Scope::from_bytes(bytes(from)?);
        let drop_id = DropId(Uuid::from_bytes(bytes(from)?));
        let buyer = Pseudonym(Uuid::from_bytes(bytes(from)?));
        let position = Position(u64::from_be_bytes(bytes(from)?));
        let at = Timestamp::from_millis(i64::from_be_bytes(bytes(from)?));
        let [kind] = bytes(from)?;
        let mut number = || bytes(from).map(u32::from_be_bytes);
        let (units, max_per_buyer) = (number()?, number()?);
        let (throttle_holds, window_seconds) = (number()?, number()?);
        Ok(Self {
            scope,
            drop_id,
            buyer,
            position,
            kind: ACTION_KINDS[usize::from(kind)],
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

    fn action(buyer: u128, position: u64, kind: ActionKind, units: u32, at: i64) -> BuyerAction {
        let drop_id = DropId(Uuid::from_u128(1));
        BuyerAction {
            scope: Scope::of_drop(drop_id),
            drop_id,
            buyer: Pseudonym(Uuid::from_u128(buyer)),
            position: Position(position),
            kind,
            units,
            at: Timestamp::from_millis(at * 1_000),
            rules: Rules {
                max_per_buyer: 3,
                throttle_holds: 2,
                window_seconds: 10,
            },
        }
    }

    /// The first excess, independent of how many actions fit into memory.
    #[track_caller]
    fn first_excess(actions: &[BuyerAction]) -> Option<u64> {
        let found: Vec<_> = [1, 2, 100]
            .into_iter()
            .map(|most| {
                let mut all = BuyerActions(Sorter::with_most(most));
                actions.iter().for_each(|action| all.add(*action).unwrap());
                let found = all.first_excess(&HashMap::new()).unwrap();
                found.map(|(action, _)| action.position.0)
            })
            .collect();
        assert!(found.iter().all(|position| *position == found[0]));
        found[0]
    }

    #[test]
    fn buyer_may_reach_the_limit_and_reuse_returned_units() {
        use ActionKind::{Offered, Requested, Returned};
        let mut actions = vec![
            action(7, 1, Requested, 2, 0),
            action(8, 2, Requested, 3, 0),
            action(7, 3, Returned, 2, 5),
            action(7, 4, Offered, 3, 6),
        ];
        assert_eq!(first_excess(&actions), None);
        actions.push(action(7, 5, Offered, 1, 6));
        assert_eq!(first_excess(&actions), Some(5));
        actions[3].kind = ActionKind::Added;
        assert_eq!(first_excess(&actions), Some(5));
        actions.push(action(8, 6, Returned, 3, 7));
        assert_eq!(first_excess(&actions), Some(5));
    }

    #[test]
    fn first_of_several_excesses_has_the_lowest_position() {
        let actions = [
            action(1, 9, ActionKind::Requested, 4, 0),
            action(2, 4, ActionKind::Requested, 4, 0),
            action(3, 6, ActionKind::Requested, 4, 0),
        ];
        assert_eq!(first_excess(&actions), Some(4));
    }

    #[test]
    fn throttle_applies_to_requests_but_not_to_offers() {
        use ActionKind::{Joined, Offered, Requested, Returned};
        let two = [
            action(7, 1, Requested, 1, 0),
            action(7, 2, Returned, 1, 1),
            action(7, 3, Requested, 1, 2),
        ];
        let then = |kind, at| {
            let last = action(7, 4, kind, 1, at);
            first_excess(&[two.as_slice(), &[last]].concat())
        };
        // The second newest hold leaves the window exactly at the tenth second.
        assert_eq!(then(Requested, 9), Some(4));
        assert_eq!(then(Joined, 9), Some(4));
        assert_eq!(then(Requested, 10), None);
        assert_eq!(then(Offered, 9), None);
        assert_eq!(then(ActionKind::Added, 9), None);
    }

    #[test]
    fn drop_without_rules_has_no_excess() {
        let mut free = action(1, 1, ActionKind::Requested, 1_000, 0);
        free.rules = Rules::default();
        assert!(!free.rules.are_any());
        let again = BuyerAction {
            position: Position(2),
            ..free
        };
        assert_eq!(first_excess(&[free, again]), None);
    }

    #[test]
    fn limit_counts_the_drops_of_a_group_together() {
        let group = LimitGroup::new("shoe").unwrap();
        let in_group = |drop: u128, action: BuyerAction| BuyerAction {
            scope: Scope::of_group(&group),
            drop_id: DropId(Uuid::from_u128(drop)),
            rules: action.rules.limit(),
            ..action
        };
        use ActionKind::{Requested, Returned};
        let mut actions = vec![
            in_group(1, action(7, 1, Requested, 2, 0)),
            in_group(2, action(7, 2, Requested, 1, 0)),
            in_group(1, action(7, 3, Returned, 1, 1)),
            in_group(3, action(7, 4, Requested, 1, 2)),
            in_group(3, action(8, 5, Requested, 3, 2)),
        ];
        assert_eq!(first_excess(&actions), None);
        actions.push(in_group(2, action(7, 6, Requested, 1, 3)));
        assert_eq!(first_excess(&actions), Some(6));
        let mut all = BuyerActions::default();
        actions.iter().for_each(|action| all.add(*action).unwrap());
        let names = HashMap::from([(Scope::of_group(&group), group)]);
        let (_, fault) = all.first_excess(&names).unwrap().unwrap();
        let sentence = fault.at(Position(6)).to_string();
        assert!(
            sentence.contains("has 3 units in the drops of limit group shoe and gets 1 more"),
            "{sentence}"
        );
    }
}
