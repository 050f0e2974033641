//! Shared by the test suites: builders of events and requests, an engine, and a separate database.

#![allow(dead_code, reason = "every suite uses its own part")]

pub mod build;
pub mod counted;
#[path = "../../../infrastructure/tests/support/database.rs"]
pub mod database;
pub mod node;
pub mod request;
pub mod shop;
