//! The simulation of bots: the order of its rows, for several seeds. The units are counted after
//! every step of a run.

#[path = "../examples/bots/defences.rs"]
mod defences;
#[path = "../examples/bots/operator.rs"]
mod operator;
#[path = "../examples/bots/people.rs"]
mod people;
#[path = "../examples/bots/world.rs"]
mod world;

use defences::*;
use world::{Outcome, World, mean_of_seeds};

const SEEDS: [u64; 3] = [1, 2, 77];
/// Units that a buyer gets by the luck of a few milliseconds, in another race for each defence.
const LUCK: u32 = world::UNITS / 100;

fn outcome(changes: &[Change], seed: u64) -> Outcome {
    World::new(&defence("tested", changes), seed).run()
}

#[test]
fn equal_seeds_have_equal_outcomes() {
    let all = all();
    let last = all.last().expect("has rows");
    let [one, other] = [7, 7].map(|seed| mean_of_seeds(last, seed, 1));
    assert_eq!(one, other);
    assert_ne!(one, mean_of_seeds(last, 8, 1));
}

#[test]
fn sale_without_bots_sells_out_to_buyers() {
    for seed in SEEDS {
        let sale = outcome(&[NO_BOTS], seed);
        assert_eq!((sale.sold, sale.served), (sale.units, sale.units));
        assert_eq!((sale.bot_holds, sale.bot_cpu_seconds), (0, 0.0));
        assert!(sale.sold_out_after.is_some());
    }
}

#[test]
fn no_defence_sells_fewer_units_to_buyers_than_none() {
    for seed in SEEDS {
        let undefended = outcome(&[], seed);
        assert!(undefended.bot_holds > 0);
        for one in all() {
            let sale = World::new(&one, seed).run();
            let sold = sale.sold + LUCK;
            assert!(sold >= undefended.sold, "{}: {sale:?}", one.name);
            assert!(sale.sold <= sale.units && sale.served == sale.sold);
        }
    }
}

#[test]
fn more_work_sells_more_units_and_costs_a_bot_more_for_each_hold() {
    for seed in SEEDS {
        let [free, light, hard] = [&[][..], &[CHALLENGE], &[HARD]].map(|of| outcome(of, seed));
        assert!(free.sold <= light.sold && light.sold <= hard.sold);
        let cost = |sale: &Outcome| sale.bot_cpu_seconds / f64::from(sale.bot_holds);
        assert!(cost(&free) < cost(&light) && cost(&light) < cost(&hard));
    }
}

#[test]
fn graphics_card_makes_a_challenge_cheap() {
    for seed in SEEDS {
        let processors = outcome(&[PER_BUYER, HARD], seed);
        let card = outcome(&[PER_BUYER, HARD, CARD], seed);
        assert!(card.sold <= processors.sold);
        assert!(card.bot_cpu_seconds < processors.bot_cpu_seconds);
    }
}

#[test]
fn defences_work_together() {
    for seed in SEEDS {
        let sold = |changes: &[Change]| outcome(changes, seed).sold;
        for other in [THROTTLE, STRICT, CODES, HARD] {
            assert!(sold(&[PER_BUYER, other]) >= sold(&[PER_BUYER]));
            assert!(sold(&[PER_BUYER, other]) >= sold(&[other]));
        }
    }
}
