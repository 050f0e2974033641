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

const PEOPLE_ARE: &str = "Half of the buyers come within the first minute, the others later. \
A buyer pays 15 to 75 s after the hold, or releases it (1 of 10). Without the waitlist they look \
again every 5 to 15 s; they give up after 5 to 30 minutes. Their devices do 0.5 to 5 million \
iterations of PBKDF2 a second.";

const BOTS_ARE: &str = "The bots hold every unit that they can, let it expire, and buy \
nothing. They react within 0.2 s. Their operator has 400 identities, 20 addresses, 4 processors \
with 5 million iterations of PBKDF2 a second each, and 10 of the 400 access codes. A \
graphics card is counted as 500 times as fast.";

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
        PEOPLE_ARE,
        BOTS_ARE,
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
        percent(outcome.sold, outcome.units),
        percent(outcome.served, outcome.buyers),
        outcome.bot_holds,
        outcome.bot_cpu_seconds,
    )
}

fn percent(part: u32, whole: u32) -> f64 {
    100.0 * f64::from(part) / f64::from(whole)
}
