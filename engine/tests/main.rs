//! The engine's guarantees, on a log in memory and a virtual clock where possible.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod callers;
mod changes;
mod clock;
mod codes;
mod due_work;
mod groups;
mod interactions;
mod keys;
mod memory;
mod order_quarantine;
mod orders;
mod outages;
mod payments;
mod quarantine;
mod refunds;
mod replication;
mod sales;
mod sim;
mod simulation;
mod support;
mod waitlist;
