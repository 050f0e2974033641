//! The read models: folds alone, rows and tables in Postgres, and the runner.

mod folds;
mod lists;
mod long_replay;
mod runner;
mod waitlist;
