//! The log in memory and in Postgres, and every form of an event that it may contain.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod event_types;
mod every_log;
mod log_postgres;
mod migrations;
mod replication;
mod support;
mod upcasters;
