//! The main proof: groups of engines on one log with faults, on a virtual clock, checked against
//! every guarantee. One seed determines everything, so a failure can be reproduced.
//!
//! `HOLDFAST_SIM_SEEDS=0..20000 cargo test --release -p engine simulation` runs
//! other seeds than the default.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sim;
use crate::sim::tally::Tally;

/// The seeds that run by default.
const DEFAULT_SEEDS: Range<u64> = 0..200;

#[test]
fn every_guarantee_holds_in_every_simulation() {
    let seeds = seeds();
    let total = sweep(seeds.clone());
    println!("{} seeds: {total:#?}", seeds.end - seeds.start);
    if seeds.end - seeds.start >= 100 {
        total.assert_that_everything_was_tried();
    }
}

#[test]
fn same_seed_produces_the_same_log() {
    for seed in 1_000_000..1_000_012 {
        let (first, second) = (sim::run(seed), sim::run(seed));
        assert_eq!(first.events, second.events, "seed {seed}");
        assert_eq!(first.tally, second.tally, "seed {seed}");
    }
}

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("HOLDFAST_SIM_SEEDS") else {
        return DEFAULT_SEEDS;
    };
    let bounds = text
        .split_once("..")
        .and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    bounds.expect("HOLDFAST_SIM_SEEDS is FROM..TO")
}

/// Runs every seed, on all cores, and panics with the first ones that fail.
fn sweep(seeds: Range<u64>) -> Tally {
    let next = AtomicU64::new(seeds.start);
    let total = Mutex::new(Tally::default());
    let failed = Mutex::new(vec![]);
    let work = || {
        while failed.lock().unwrap().len() < 5 {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            match catch_unwind(AssertUnwindSafe(|| sim::run(seed))) {
                Ok(outcome) => total.lock().unwrap().add(&outcome.tally),
                Err(_) => {
                    eprintln!("seed {seed} failed");
                    failed.lock().unwrap().push(seed);
                }
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(work);
        }
    });
    let failed = failed.into_inner().unwrap();
    if let Some(seed) = failed.iter().min() {
        panic!(
            "seeds {failed:?} failed; HOLDFAST_SIM_SEEDS={seed}..{} reproduces one of them",
            seed + 1
        );
    }
    total.into_inner().unwrap()
}
