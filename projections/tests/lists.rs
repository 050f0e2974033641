//! Lists of drops and charts: correct for any history, at a cost proportional to their rows.

use std::collections::HashMap;
use std::sync::Arc;

use domain::DropEvent;
use domain::status::DropStatus;
use domain::terms::DropTerms;
use domain::testing::*;
use domain::values::{DropId, Position, Sequence, Timestamp};
use infrastructure::codec::RecordedEvent;
use infrastructure::feed::Committed;
use infrastructure::log::Head;
use infrastructure::ports::Observer;
use projections::revenue::Resolution;
use projections::views::{DropView, NoSuchDrop, Views};
use proptest::prelude::*;

/// Views, and the position of the next event.
#[derive(Default)]
struct World {
    views: Views,
    position: u64,
}

impl World {
    fn record(&mut self, drop: &str, at: Timestamp, event: DropEvent) {
        self.record_at(drop_id(drop), at, event);
    }

    fn record_at(&mut self, drop_id: DropId, at: Timestamp, event: DropEvent) {
        self.position += 1;
        let position = Position(self.position);
        let recorded = RecordedEvent {
            position,
            recorded_at: at,
            drop_id,
            sequence: Sequence(self.position),
            event,
            private: None,
        };
        self.views.committed(&Arc::new(Committed {
            events: vec![recorded],
            head: Head {
                position,
                ..Head::default()
            },
            ..Committed::default()
        }));
    }

    /// Returns how many rows `read` visited.
    fn visited<T>(&self, read: impl FnOnce(&Views) -> T) -> (T, u64) {
        let before = self.views.rows_visited();
        let result = read(&self.views);
        (result, self.views.rows_visited() - before)
    }
}

/// A shop with `drops` drops, one scheduled each second, all on sale, each with ten units.
fn shop(drops: i64) -> World {
    let mut world = World::default();
    for number in 0..drops {
        let event = drop_scheduled(terms(), 10).at(second(number));
        world.record(&format!("d{number}"), second(number), event);
    }
    world
}

fn ids(page: &[DropView]) -> Vec<DropId> {
    page.iter().map(|drop| drop.drop_id).collect()
}

fn names(numbers: impl IntoIterator<Item = i64>) -> Vec<DropId> {
    let name = |number| drop_id(&format!("d{number}"));
    numbers.into_iter().map(name).collect()
}

#[test]
fn page_visits_only_its_own_rows() {
    let world = shop(3_000);
    let now = second(4_000);
    for phase in [None, Some(DropStatus::Live)] {
        let (page, visited) =
            world.visited(|views| views.drops_page(phase.as_slice(), None, 2, now));
        assert_eq!(ids(&page.unwrap()), names([2_999, 2_998]));
        assert_eq!(visited, 2, "{phase:?}");
        let after = Some(drop_id("d1500"));
        let (page, visited) =
            world.visited(|views| views.drops_page(phase.as_slice(), after, 3, now));
        assert_eq!(ids(&page.unwrap()), names([1_499, 1_498, 1_497]));
        assert_eq!(visited, 3, "{phase:?}");
    }
    let (all, visited) = world.visited(|views| views.drops_page(&[], None, 9_000, now));
    assert_eq!(ids(&all.unwrap()), names((0..3_000).rev()));
    assert_eq!(visited, 3_000);
}

#[test]
fn page_of_two_phases_visits_only_its_own_rows() {
    let mut world = shop(3_000);
    let now = second(4_000);
    for number in [2_998, 1_000] {
        world.record(&format!("d{number}"), now, drop_cancelled().at(now));
    }
    let both = [DropStatus::Live, DropStatus::Cancelled];
    let page =
        |phases: &[DropStatus]| world.visited(|views| views.drops_page(phases, None, 3, now));
    let (found, visited) = page(&both);
    let newest = names([2_999, 2_998, 2_997]);
    assert_eq!((ids(&found.unwrap()), visited), (newest, 3));
    let (found, visited) = page(&[DropStatus::SoldOut, DropStatus::Cancelled]);
    assert_eq!((ids(&found.unwrap()), visited), (names([2_998, 1_000]), 2));
}

#[test]
fn only_drop_of_a_phase_is_found_without_a_scan() {
    let mut world = shop(3_000);
    let now = second(5_000);
    world.record("d7", now, hold_placed("h", 10).at(now));
    world.record("d8", now, drop_cancelled().at(now));
    let ends = DropTerms {
        ends_at: Some(second(6_000)),
        ..terms()
    };
    world.record("d9", now, drop_rescheduled(ends).at(now));
    let page = |phase, now| world.visited(|views| views.drops_page(&[phase], None, 9, now));
    for (phase, number) in [(DropStatus::SoldOut, 7), (DropStatus::Cancelled, 8)] {
        let (found, visited) = page(phase, now);
        assert_eq!(ids(&found.unwrap()), names([number]), "{phase:?}");
        assert_eq!(visited, 1, "{phase:?}");
    }
    let (found, visited) = page(DropStatus::Ended, second(5_999));
    assert_eq!((found, visited), (Ok(vec![]), 0));
    // The end is not an event.
    let (found, visited) = page(DropStatus::Ended, second(6_000));
    assert_eq!((ids(&found.unwrap()), visited), (names([9]), 1));
    let (turned, visited) = world.visited(|views| views.turned(second(5_500), second(6_500)));
    assert_eq!((turned, visited), (names([9]), 1));
    let (turned, visited) = world.visited(|views| views.turned(second(6_500), second(7_500)));
    assert_eq!((turned, visited), (vec![], 0));
}

#[test]
fn page_continues_after_a_drop_that_left_its_phase_but_not_after_an_unknown_one() {
    let mut world = shop(4);
    world.record("d2", second(9), drop_cancelled().at(second(9)));
    let page = |after| {
        let after = Some(drop_id(after));
        world
            .views
            .drops_page(&[DropStatus::Live], after, 9, second(9))
    };
    assert_eq!(ids(&page("d2").unwrap()), names([1, 0]));
    assert_eq!(page("nowhere"), Err(NoSuchDrop));
}

#[test]
fn chart_of_all_drops_visits_each_minute_once() {
    let mut world = shop(300);
    // Each drop has changes in each of ten minutes.
    for minute in 0..10 {
        for number in 0..300 {
            let at = second(10_000 + 60 * minute);
            let hold = format!("h{number}-{minute}");
            world.record(&format!("d{number}"), at, hold_placed(&hold, 1).at(at));
        }
    }
    let from = second(10_000 + 60 * 4).minute();
    let (minutes, visited) = world.visited(|views| views.timeline(None, from));
    assert_eq!(minutes.len(), 6);
    assert!(minutes.iter().all(|(_, moved)| moved.held == 300));
    assert_eq!(visited, 6);
    let one = Some(drop_id("d5"));
    let (minutes, visited) = world.visited(|views| views.timeline(one, from));
    assert!(minutes.iter().all(|(_, moved)| moved.held == 1));
    assert_eq!((minutes.len(), visited), (6, 6));
}

/// A change of a list, by an event of this drop or by the clock.
#[derive(Debug, Clone)]
enum Step {
    Schedule {
        starts: i64,
        ends: Option<i64>,
    },
    Reschedule {
        drop: usize,
        starts: i64,
        ends: Option<i64>,
    },
    Hold {
        drop: usize,
    },
    Cancel {
        drop: usize,
    },
    /// Forward or back.
    Clock {
        seconds: i64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (starts, ends) = (-20..40_i64, proptest::option::of(0..60_i64));
    let drop = 0..12_usize;
    let step = prop_oneof![
        3 => (starts.clone(), ends.clone())
            .prop_map(|(starts, ends)| Step::Schedule { starts, ends }),
        1 => (drop.clone(), starts, ends)
            .prop_map(|(drop, starts, ends)| Step::Reschedule { drop, starts, ends }),
        2 => drop.clone().prop_map(|drop| Step::Hold { drop }),
        1 => drop.prop_map(|drop| Step::Cancel { drop }),
        4 => (-15..30_i64).prop_map(|seconds| Step::Clock { seconds }),
    ];
    proptest::collection::vec(step, 1..60)
}

fn between(now: i64, starts: i64, ends: Option<i64>) -> DropTerms {
    DropTerms {
        starts_at: second((now + starts).max(0)),
        ends_at: ends.map(|ends| second((now + starts).max(0) + ends)),
        ..terms()
    }
}

/// The list by definition: all rows, sorted, filtered and truncated.
fn naive(
    all: &[DropView],
    phases: &[DropStatus],
    after: Option<DropId>,
    limit: usize,
    now: Timestamp,
) -> Vec<DropId> {
    let mut sorted = all.to_vec();
    sorted.sort_by_key(|drop| std::cmp::Reverse((drop.row.scheduled_at, drop.drop_id)));
    let rest = sorted
        .iter()
        .skip_while(|drop| after.is_some_and(|id| drop.drop_id != id));
    let rest = rest.skip(usize::from(after.is_some()));
    let is_wanted = |phase| phases.is_empty() || phases.contains(&phase);
    let wanted = rest.filter(|drop| is_wanted(drop.row.status(now)));
    wanted.map(|drop| drop.drop_id).take(limit).collect()
}

/// Every subset of phases, including the empty one.
fn subsets(phases: &[DropStatus]) -> Vec<Vec<DropStatus>> {
    let subset = |bits: usize| {
        let chosen = (0..phases.len()).filter(|place| bits >> place & 1 == 1);
        chosen.map(|place| phases[place]).collect()
    };
    (0..1 << phases.len()).map(subset).collect()
}

proptest! {
    #[test]
    fn pages_equal_the_naive_list_for_any_history_and_clock(
        steps in steps(),
        limit in 1..5_usize,
    ) {
        let mut world = World::default();
        let (mut drops, mut now) = (vec![], 100_i64);
        let mut firsts: HashMap<DropId, Position> = HashMap::new();
        for (number, step) in steps.into_iter().enumerate() {
            let at = second(now);
            let pick = |drop: usize| {
                let count = drops.len();
                (count > 0).then(|| drops[drop % count])
            };
            let view = |id: DropId| world.views.drop(id).unwrap();
            let event = match step {
                Step::Schedule { starts, ends } => {
                    let name = format!("d{number}");
                    drops.push(drop_id(&name));
                    let event = drop_scheduled(between(now, starts, ends), 1).at(at);
                    Some((drop_id(&name), event))
                }
                Step::Reschedule { drop, starts, ends } => pick(drop)
                    .filter(|&id| view(id).row.cancelled_at.is_none())
                    .map(|id| (id, drop_rescheduled(between(now, starts, ends)).at(at))),
                Step::Hold { drop } => pick(drop)
                    .filter(|&id| view(id).row.stock.available > 0)
                    .map(|id| (id, hold_placed(&format!("h{number}"), 1).at(at))),
                Step::Cancel { drop } => pick(drop)
                    .filter(|&id| view(id).row.cancelled_at.is_none())
                    .map(|id| (id, drop_cancelled().at(at))),
                Step::Clock { seconds } => {
                    now = (now + seconds).max(0);
                    None
                }
            };
            if let Some((id, event)) = event {
                world.record_at(id, at, event);
                firsts.entry(id).or_insert(Position(world.position));
            }
            let all: Vec<DropView> = drops.iter().map(|&id| world.views.drop(id).unwrap()).collect();
            let after = [None, drops.get(number % 7).copied()];
            let now = second(now);
            for phases in subsets(&DropStatus::ALL) {
                for after in after {
                    let page = world.views.drops_page(&phases, after, limit, now).unwrap();
                    let expected = naive(&all, &phases, after, limit, now);
                    prop_assert_eq!(ids(&page), expected, "{:?} after {:?}", phases, after);
                }
            }
            let until = Position(world.position / 2);
            let scheduled: Vec<DropId> = drops.iter().rev().copied().collect();
            let newer = scheduled.iter().take_while(|id| firsts[*id] > until);
            let newer: Vec<DropId> = newer.copied().collect();
            prop_assert_eq!(world.views.scheduled_after(until, 99), newer.clone());
            let few = world.views.scheduled_after(until, 2);
            prop_assert_eq!(few, newer.iter().copied().take(2).collect::<Vec<_>>());
            let last = scheduled.iter().find(|id| firsts[*id] <= until);
            let last = last.map(|&id| world.views.drop(id).unwrap().row.scheduled_at);
            prop_assert_eq!(world.views.scheduled_by(until), last);
            let earlier = now.plus_millis(-20_000);
            let mut turned: Vec<DropId> = all
                .iter()
                .filter(|drop| drop.row.status(earlier) != drop.row.status(now))
                .map(|drop| drop.drop_id)
                .collect();
            turned.sort_unstable();
            prop_assert_eq!(world.views.turned(earlier, now), turned.clone());
            prop_assert_eq!(world.views.turned(now, earlier), turned);
        }
    }
}

#[test]
fn revenue_visits_minutes_and_hours_and_not_purchases() {
    let mut world = World::default();
    world.record("d", second(0), drop_scheduled(terms(), 10_000));
    for number in 0..2_000 {
        let hold = format!("h{number}");
        world.record("d", second(0), hold_placed(&hold, 1));
        world.record("d", second(0), purchase_confirmed(&hold, 1));
    }
    for by in [Resolution::Minutes, Resolution::Hours] {
        let from = Timestamp::from_millis(0);
        let (rows, visited) = world.visited(|views| views.revenue_rows(None, by, from));
        assert_eq!((rows.len(), visited), (1, 1));
        let (_, (_, sums)) = rows[0];
        assert_eq!((sums.purchases, sums.units), (2_000, 2_000));
    }
    let drops = world.views.drops_sold_since(Timestamp::from_millis(0));
    assert_eq!(drops, [drop_id("d")]);
}
