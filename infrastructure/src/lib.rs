//! The event log, which stores the events that the domain decides, and its feed.
//!
//! Read [`log`] for the guarantees of the log, and [`feed`] for how the rest of the process follows
//! the log.

pub mod admins;
pub mod binary_copy;
pub mod codec;
pub mod erasure;
pub mod error;
pub mod feed;
pub mod head_keeper;
pub mod kept_heads;
pub mod log;
pub mod migrations;
pub mod payments;
pub mod ports;
pub mod quarantine;
pub mod sorted_runs;
pub mod sql_values;
pub mod sqlstate;
pub mod unwritable;
pub mod upcasters;
