//! Bots that hold everything and let it expire, against each defence of a shop:
//! `cargo run --release -p domain --example bots [SEED]`.
//!
//! Promise: every hold, offer, purchase and refusal is decided by the domain, with the terms that a
//! shop can set; the population comes from a seed, so equal seeds print equal tables. Limit: the
//! people, the bots and the limits per address are a model. The assumptions are printed with the
//! table: the order of the rows means more than their numbers.

mod defences;
mod operator;
mod people;
mod world;

use std::process::ExitCode;

use defences::{Defence, all};
use world::{Outcome, mean_of_seeds};

/// The seeds that one table is the mean of.
const RUNS: u64 = 5;

fn main() -> ExitCode {
    let seed = match std::env::args().nth(1).map(|text| text.parse()) {
        None => 1,
        Some(Ok(seed)) => seed,
        Some(Err(_)) => {
            eprintln!("bots: SEED must be a whole number from 0 to 18446744073709551615");
            return ExitCode::from(2);
        }
    };
    println!("{}", assumptions());
    println!("{}", table(seed));
    ExitCode::SUCCESS
}

/// The assumptions as a paragraph.
fn assumptions() -> String {
    format!(
        "{} units, {} buyers for one unit each, {} minutes. {}\n\n{}\n\nMeans of {RUNS} seeds.\n",
        world::UNITS,
        people::PEOPLE,
        world::MINUTES,
        people::ASSUMPTIONS,
        operator::ASSUMPTIONS,
    )
}

/// The outcomes of all defences as a table in Markdown.
fn table(seed: u64) -> String {
    let mut lines = vec![
        "| defence | sold to buyers | buyers with a unit | sold out after | holds of bots | CPU of bots |"
            .to_owned(),
        "| --- | --: | --: | --: | --: | --: |".to_owned(),
    ];
    lines.extend(all().iter().map(|defence| {
        let outcome = mean_of_seeds(defence, seed, RUNS);
        row(defence, &outcome)
    }));
    lines.join("\n")
}

fn row(defence: &Defence, outcome: &Outcome) -> String {
    let after = match outcome.sold_out_after {
        Some(seconds) => format!("{}:{:02}", seconds / 60, seconds % 60),
        None => "never".to_owned(),
    };
    format!(
        "| {} | {:.0} % | {:.0} % | {after} | {} | {:.0} s |",
        defence.name,
        100.0 * outcome.share_sold(),
        100.0 * outcome.share_served(),
        outcome.bot_holds,
        outcome.bot_cpu_seconds,
    )
}
