//! Limit groups: the drops of a group share the limit per buyer, as the sizes of a shoe do.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::collections::BTreeMap;

use domain::refusal::Limit;
use domain::terms::{DropTerms, TermsPatch};
use domain::testing::*;
use domain::values::{LimitGroup, Pseudonym};
use domain::{DropAggregate, DropCommand, DropEvent, Refusal};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

/// A size of the shoe: `total` units, of which a buyer may have `per_buyer` over all sizes.
fn size(total: u32, per_buyer: Option<u32>) -> DropEvent {
    let terms = DropTerms {
        limit_group: Some(LimitGroup::new("shoe").unwrap()),
        max_per_hold: quantity(5),
        max_per_buyer: per_buyer.map(buyer_limit),
        ..terms()
    };
    drop_scheduled(terms, total)
}

fn too_many(max: u32, allowance: u32) -> Refusal {
    Refusal::LimitReached {
        limit: Limit::PerBuyer,
        max,
        allowance,
    }
}

/// A size whose buyer `ann` has `elsewhere` units in other sizes.
fn known(history: impl IntoIterator<Item = DropEvent>, elsewhere: u32) -> DropAggregate {
    let mut drop = given(history).aggregate();
    drop.set_taken_elsewhere(buyer("ann"), elsewhere);
    drop
}

fn refused(drop: &DropAggregate, command: &DropCommand) -> Option<Refusal> {
    drop.decide(command).err()
}

#[test]
fn limit_counts_the_units_in_all_sizes() {
    let drop = known([size(9, Some(3)), hold_placed("h1", 1)], 1);
    assert_eq!(refused(&drop, &place_hold("h2", 1)), None);
    assert_eq!(refused(&drop, &place_hold("h2", 2)), Some(too_many(3, 1)));
    assert_eq!(refused(&drop, &place_hold("h2", 2).by("bob")), None);
    let all = known([size(9, Some(3))], 3);
    assert_eq!(refused(&all, &place_hold("h1", 1)), Some(too_many(3, 0)));
    let more = known([size(9, Some(3))], 7);
    assert_eq!(refused(&more, &place_hold("h1", 1)), Some(too_many(3, 0)));
}

#[test]
fn size_without_a_limit_of_its_own_limits_nothing() {
    let drop = known([size(9, None)], 1_000);
    assert_eq!(refused(&drop, &place_hold("h1", 5)), None);
}

#[test]
fn units_are_added_to_a_hold_within_the_limit_of_all_sizes() {
    let drop = known([size(9, Some(4)), hold_placed("h1", 1)], 2);
    assert_eq!(refused(&drop, &change_hold("h1", 2)), None);
    assert_eq!(refused(&drop, &change_hold("h1", 3)), Some(too_many(4, 1)));
    let full = known([size(9, Some(4)), hold_placed("h1", 3)], 4);
    assert_eq!(refused(&full, &change_hold("h1", 2)), None, "returned");
    assert_eq!(refused(&full, &change_hold("h1", 4)), Some(too_many(4, 0)));
}

#[test]
fn allowance_is_that_of_the_group() {
    let allowance = |drop: &DropAggregate| {
        let standing = drop.standing(buyer("ann"), second(0)).unwrap();
        (standing.held, standing.purchased, standing.allowance)
    };
    assert_eq!(allowance(&known([size(9, Some(4))], 3)), (0, 0, 1));
    let bought = [
        size(9, Some(4)),
        hold_placed("h1", 1),
        purchase_confirmed("h1", 1),
    ];
    assert_eq!(allowance(&known(bought, 2)), (0, 1, 1));
    let cancelled = [size(9, Some(4)), hold_placed("h1", 1), drop_cancelled()];
    assert_eq!(allowance(&known(cancelled, 2)), (0, 0, 2));
}

#[test]
fn entry_waits_while_its_buyer_has_used_up_the_limit_in_another_size() {
    let history = [
        size(1, Some(2)),
        hold_placed("h1", 1).by("bob"),
        waitlist_joined("w1", 1),
        waitlist_joined("w2", 1).by("cid"),
        hold_released("h1", 1).by("bob"),
    ];
    let next = |drop: &DropAggregate| drop.next_entry_to_offer(second(0)).map(|entry| entry.id);
    let mut drop = known(history, 2);
    assert_eq!(next(&drop), Some(waitlist_id("w2")), "ann is skipped");
    assert_eq!(drop.waitlist().wanted(), 1);
    assert!(drop.set_taken_elsewhere(buyer("ann"), 1));
    assert_eq!(next(&drop), Some(waitlist_id("w1")), "ann is first again");
    assert_eq!(drop.available_for_direct_holds(second(0)), 0);
    assert!(!drop.set_taken_elsewhere(buyer("ann"), 1), "no change");
    let joining = join_waitlist("w3", 2).by("dot");
    drop.set_taken_elsewhere(buyer("dot"), 1);
    assert_eq!(refused(&drop, &joining), Some(too_many(2, 1)));
}

#[test]
fn group_is_fixed_when_the_drop_is_scheduled() {
    let drop = known([size(9, Some(2))], 0);
    let patch = TermsPatch {
        max_per_buyer: Some(Some(buyer_limit(3))),
        ..TermsPatch::default()
    };
    let decision = drop.decide(&reschedule_drop(patch)).unwrap();
    let [DropEvent::DropRescheduled(edited)] = &decision.events[..] else {
        panic!("{decision:?}");
    };
    assert_eq!(edited.terms.limit_group, drop.limit_group().cloned());
}

/// Two sizes and a lamp, which belongs to no group.
fn market(per_buyer: u32) -> Market {
    Market::default()
        .with("eight", [size(9, Some(per_buyer))])
        .with("nine", [size(9, Some(per_buyer))])
        .with("lamp", [drop_opened(9)])
}

#[test]
fn items_of_one_order_count_together() {
    let lines = [("lamp", 5), ("eight", 2), ("nine", 2)];
    let refused = market(3).place_order("o", &lines, second(5)).unwrap_err();
    let refusal = Box::new(too_many(3, 1));
    assert_eq!(refused, Refusal::OfItem { item: 2, refusal });
    assert_eq!(market(4).place_order("o", &lines, second(5)), Ok(4));
    let mut market = market(4);
    let nine = market.drops.get_mut(&drop_id("nine")).unwrap();
    nine.set_taken_elsewhere(buyer("ann"), 1);
    let refused = market.place_order("o", &lines, second(5)).unwrap_err();
    let refusal = Box::new(too_many(4, 1));
    assert_eq!(refused, Refusal::OfItem { item: 2, refusal });
}

/// A step of a random story: the request of a buyer in a size.
#[derive(Debug, Clone, Copy)]
enum Step {
    Hold(u32),
    Join(u32),
    Change(u32),
    Release,
    Purchase,
    Refund,
}

fn story() -> impl Strategy<Value = Vec<(usize, usize, Step)>> {
    let step = prop_oneof![
        4 => (1..=3_u32).prop_map(Step::Hold),
        2 => (1..=2_u32).prop_map(Step::Join),
        2 => (1..=3_u32).prop_map(Step::Change),
        2 => Just(Step::Release),
        2 => Just(Step::Purchase),
        1 => Just(Step::Refund),
    ];
    proptest::collection::vec((0..LIMITS.len(), 0..BUYERS.len(), step), 1..80)
}

const BUYERS: [&str; 3] = ["ann", "bob", "cid"];
/// The limit of each size; the last one only counts.
const LIMITS: [Option<u32>; 3] = [Some(4), Some(3), None];

/// The sizes, and a naive account of them.
struct Story {
    drops: [DropAggregate; 3],
    taken: BTreeMap<(usize, Pseudonym), i64>,
    holds: u32,
    accepted: u32,
    refused: u32,
    offered: u32,
}

impl Story {
    fn new() -> Self {
        let drop = |limit: &Option<u32>| given([size(4, *limit)]).aggregate();
        Self {
            drops: LIMITS.each_ref().map(drop),
            taken: BTreeMap::new(),
            holds: 0,
            accepted: 0,
            refused: 0,
            offered: 0,
        }
    }

    fn in_all(&self, of: Pseudonym) -> i64 {
        let theirs = self.taken.iter().filter(|((_, buyer), _)| *buyer == of);
        theirs.map(|(_, units)| units).sum()
    }

    /// Applies an event, as an engine does: every size learns the units in the others.
    fn record(&mut self, index: usize, event: &DropEvent) {
        let of = event.buyer().unwrap();
        let units = if let DropEvent::HoldPlaced(event) = event {
            i64::from(event.quantity.get())
        } else if let DropEvent::HoldChanged(event) = event {
            event.units_added()
        } else if let DropEvent::HoldReleased(event) = event {
            -i64::from(event.quantity.get())
        } else if let DropEvent::PurchaseRefunded(event) = event {
            -i64::from(event.quantity.get())
        } else {
            0
        };
        *self.taken.entry((index, of)).or_default() += units;
        if units > 0 {
            let max = LIMITS[index].map_or(i64::MAX, i64::from);
            assert!(self.in_all(of) <= max, "{event:?} exceeds the limit");
        }
        self.drops[index].evolve(event);
        for (other, drop) in self.drops.iter_mut().enumerate() {
            let theirs = self
                .taken
                .iter()
                .filter(|((at, buyer), _)| *at != other && *buyer == of);
            let elsewhere: i64 = theirs.map(|(_, units)| units).sum();
            drop.set_taken_elsewhere(of, u32::try_from(elsewhere).unwrap());
        }
    }

    /// Offers every unit that an entry can use, and checks that no other entry could use one.
    fn serve(&mut self) {
        for (index, max) in LIMITS.into_iter().enumerate() {
            let max = max.map_or(i64::MAX, i64::from);
            while self.drops[index].next_entry_to_offer(second(0)).is_some() {
                let decision = self.drops[index].decide(&serve_waitlist()).unwrap();
                self.record(index, &decision.events[0]);
                self.offered += 1;
            }
            let drop = &self.drops[index];
            for entry in drop.waitlist().waiting_entries() {
                let units = i64::from(entry.quantity.get());
                let has_room = self.in_all(drop.buyer_of_entry(entry).id) + units <= max;
                let is_available = units <= i64::from(drop.stock().available);
                assert!(!(has_room && is_available), "{entry:?} was not served");
            }
        }
    }

    fn run(&mut self, (index, who, step): (usize, usize, Step)) {
        let (drop, name) = (&self.drops[index], BUYERS[who]);
        let theirs = |purchased: bool| {
            let status = match purchased {
                true => domain::drop::HoldStatus::Purchased,
                false => domain::drop::HoldStatus::Held,
            };
            let mut holds = drop.holds_of(buyer(name));
            holds.find(|hold| hold.status == status && (!purchased || drop.refundable(hold) > 0))
        };
        self.holds += 1;
        let next = format!("h{}", self.holds);
        let (command, more) = match step {
            Step::Hold(units) => (place_hold(&next, units).by(name), units),
            Step::Join(units) => (join_waitlist(&next, units).by(name), units),
            Step::Change(units) => {
                let Some(hold) = theirs(false) else { return };
                let more = units.saturating_sub(hold.quantity.get());
                let mut command = change_hold(&next, units);
                let DropCommand::ChangeHold(change) = &mut command else {
                    return;
                };
                change.hold_id = hold.id;
                (command, more)
            }
            Step::Release => {
                let Some(hold) = theirs(false) else { return };
                let mut command = release_hold(&next);
                let DropCommand::ReleaseHold(release) = &mut command else {
                    return;
                };
                release.hold_id = hold.id;
                (command, 0)
            }
            Step::Purchase => {
                let Some(hold) = theirs(false) else { return };
                let mut command = confirm_purchase(&next);
                let DropCommand::ConfirmPurchase(confirm) = &mut command else {
                    return;
                };
                confirm.hold_id = hold.id;
                confirm.purchase_id.0 = hold.id.0;
                (command, 0)
            }
            Step::Refund => {
                let Some(hold) = theirs(true) else { return };
                let mut command = refund_purchase(&next, &next, Some(1));
                let DropCommand::RefundPurchase(refund) = &mut command else {
                    return;
                };
                (refund.hold_id, refund.purchase_id.0) = (hold.id, hold.id.0);
                (command, 0)
            }
        };
        let max = LIMITS[index].map_or(i64::MAX, i64::from);
        let allowed = self.in_all(buyer(name)) + i64::from(more) <= max;
        match drop.decide(&command) {
            Ok(decision) => {
                assert!(allowed || more == 0, "{command:?} exceeds the limit");
                self.accepted += 1;
                for event in &decision.events {
                    self.record(index, event);
                }
            }
            Err(Refusal::LimitReached { allowance, .. }) => {
                self.refused += 1;
                assert!(
                    i64::from(more) > i64::from(allowance),
                    "{command:?} was allowed"
                );
                let left = (max - self.in_all(buyer(name))).max(0);
                assert!(
                    i64::from(allowance) <= left,
                    "more is promised than is left"
                );
            }
            Err(_) => {}
        }
        self.serve();
    }
}

#[test]
fn no_story_exceeds_the_limit_of_the_group() {
    let (mut accepted, mut refused, mut offered) = (0, 0, 0);
    let mut runner = TestRunner::deterministic();
    for _ in 0..400 {
        let steps = story().new_tree(&mut runner).unwrap().current();
        let mut story = Story::new();
        steps.iter().for_each(|step| story.run(*step));
        accepted += story.accepted;
        refused += story.refused;
        offered += story.offered;
    }
    println!("{accepted} accepted, {refused} refused by a limit, {offered} offered");
    assert!(accepted > 1_000 && refused > 500 && offered > 50);
}

#[test]
fn units_elsewhere_survive_a_rollback() {
    let mut drop = known([size(9, Some(3))], 2);
    let before = drop.clone();
    let placed = drop.decide(&place_hold("h1", 1)).unwrap().events;
    drop.evolve(&placed[0]);
    assert_eq!(refused(&drop, &place_hold("h2", 1)), Some(too_many(3, 0)));
    drop.revert(&placed[0]);
    assert_eq!(drop, before);
    assert_eq!(drop.taken_elsewhere(buyer("ann")), 2);
}
