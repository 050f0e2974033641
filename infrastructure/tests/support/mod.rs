//! What the suites share: builders of events, and a database of one's own.

#![allow(dead_code, reason = "every suite uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

pub mod build;
pub mod database;
