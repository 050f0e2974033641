//! Holdfast against its rivals, in one run on one machine: `cargo run --release -p bench [-- --quick]`.
//!
//! Promise: every contender serves the same requests on the same HTTP stack and the same Postgres; rounds are interleaved;
//! after every write run the store is counted against the acknowledgements, and a mismatch ends the run.
//! Limit: one machine, loopback TCP, the generator beside the servers: ratios are what to trust, not rates.
//!
//! ```text
//! cli ─▶ stage (Postgres, directories) ─▶ scenario ─▶ round ─▶ report ─▶ table, JSON, Markdown, SVG
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
