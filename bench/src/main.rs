//! Holdfast and its rivals, compared in one run on one machine:
//! `cargo run --release -p bench [-- --quick]`.
//!
//! Promise: every contender serves the same requests on the same HTTP stack and the same Postgres.
//! Rounds are interleaved. After every run with writes, the store is compared with the
//! acknowledgements, and a mismatch ends the run.
//! Limit: one machine, loopback TCP, the generator on the same machine as the servers: the ratios
//! are meaningful, the rates are not.
//!
//! `--against PATH` compares two builds of Holdfast. The effect of a disturbance on other drops is
//! measured with a paced load (`generator/paced.rs`), not with a closed loop:
//!
//! ```sh
//! # one and two nodes, a million holds, both builds: about ten minutes on a quiet machine
//! cargo run --release -p bench -- --seconds 4 --against PATH \
//!     --scenario consequences,stream-flood,drop-lists
//! # the same in small, in about two minutes
//! cargo run --release -p bench -- --quick --scenario consequences --against PATH
//! # a slow or busy machine: fewer holds, a lower rate, one node
//! cargo run --release -p bench -- --scenario consequences --consequences 5000 --rate 200 --nodes 1
//! # the shop's page with 10,000 drops and with 10, in Chromium: about a minute
//! cargo run --release -p bench -- --scenario pages
//! ```
//!
//! ```text
//! cli ─▶ stage (Postgres, files) ─▶ scenario ─▶ round ─▶ report ─▶ table, JSON, Markdown, SVG
//!                    │                                 │
//!                    └ contenders, a process each      ├ generator, a process
//!                                                      └ watchers, a process
//! ```

mod cli;
mod contenders;
mod error;
mod generator;
mod process;
mod procfs;
mod provenance;
mod report;
mod round;
mod scenario;
mod seed_log;
mod seed_state;
mod stage;
mod stats;
mod stream_flood;
mod svg;
mod targets;
mod watchers;
mod wire;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
