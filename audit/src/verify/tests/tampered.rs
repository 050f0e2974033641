//! Randomly altered stories: every engine can load a log that is verified.

use domain::DropAggregate;
use domain::order::Order;
use domain::values::{DropId, OrderId};
use hashbrown::HashMap;
use infrastructure::codec::{decode, decode_order};
use infrastructure::log::StoredEvent;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use super::payments::{cancelled_story, late_story, refused_story, sold_story};
use super::story::*;

/// Alters a story without regard to the rules.
fn alter(story: &mut Vec<TestEvent>, random: &mut StdRng) {
    let (one, other) = (
        random.random_range(0..story.len()),
        random.random_range(0..story.len()),
    );
    match random.random_range(0..6) {
        0 => drop(story.remove(one)),
        1 => {
            let again = story[one].clone().later(story[other].at);
            story.insert(other, again);
        }
        2 => {
            let (earlier, later) = (story[one].at, story[other].at);
            story.swap(one, other);
            (story[one].at, story[other].at) = (earlier, later);
        }
        3 => story[one].stream.1 = [A, B][random.random_range(0..2)].to_owned(),
        4 => {
            let from = story[other].fields.clone();
            let fields = story[one].fields.as_object_mut().unwrap();
            let names: Vec<String> = fields.keys().cloned().collect();
            let name = &names[random.random_range(0..names.len())];
            if let Some(value) = from.get(name) {
                fields.insert(name.clone(), value.clone());
            }
        }
        _ => {
            let fields = story[one].fields.as_object_mut().unwrap();
            fields.insert("key".to_owned(), json!(key(random.random_range(0..3))));
        }
    }
}

/// Reports whether every engine can load the log.
fn is_loaded(events: &[StoredEvent]) -> bool {
    let load = || {
        let mut drops: HashMap<DropId, DropAggregate> = HashMap::new();
        let mut orders: HashMap<OrderId, Order> = HashMap::new();
        for event in events {
            if let Some(recorded) = decode(event).unwrap() {
                let drop = drops.entry(recorded.drop_id).or_default();
                drop.evolve(&recorded.event);
            } else if let Some(recorded) = decode_order(event).unwrap() {
                let order = orders.entry(recorded.order_id).or_default();
                order.evolve(&recorded.event);
            }
        }
    };
    std::panic::catch_unwind(load).is_ok()
}

/// Returns how many randomly altered stories are verified, and how many every engine can load.
fn altered(story: fn() -> Vec<TestEvent>, seeds: u64) -> (u64, u64) {
    let (mut proved, mut loaded) = (0, 0);
    for seed in 0..seeds {
        let mut random = StdRng::seed_from_u64(seed);
        let mut changed = story();
        for _ in 0..random.random_range(1..=2) {
            if !changed.is_empty() {
                alter(&mut changed, &mut random);
            }
        }
        let events = seal(&changed);
        if judged(&events, 100, &[], true).is_ok() {
            proved += 1;
            assert!(is_loaded(&events), "seed {seed}: {changed:#?}");
        }
        loaded += u64::from(is_loaded(&events));
    }
    (proved, loaded)
}

#[test]
fn every_verified_log_can_be_loaded() {
    let (proved, loaded) = altered(story, 4_000);
    // The audit has more rules than the engine, but neither rejects everything.
    assert!(
        proved > 100 && loaded > proved,
        "{proved} proved, {loaded} loaded"
    );
}

#[test]
fn every_verified_log_of_payments_can_be_loaded() {
    for story in [sold_story, late_story, refused_story, cancelled_story] {
        let (proved, loaded) = altered(story, 500);
        assert!(
            proved > 10 && loaded > proved,
            "{proved} proved, {loaded} loaded"
        );
    }
}
