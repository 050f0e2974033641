//! Shared by the test suites: builders of events, and a separate database.

#![allow(dead_code, reason = "every suite uses its own part")]

pub mod build;
pub mod database;
