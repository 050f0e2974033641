//! The event log, the engine that decides and appends to it, and a private PostgreSQL cluster.
//!
//! Read [`log`] for the guarantees of the log, [`engine`] for how requests are decided and when
//! callers get a response, and [`feed`] for how the rest of the process follows the log.

pub mod binary_copy;
pub mod codec;
pub mod engine;
pub mod erasure;
pub mod error;
pub mod feed;
pub mod log;
pub mod payments;
pub mod postgres_cluster;
pub mod quarantine;
pub mod sorted_runs;
#[cfg(feature = "testing")]
pub mod testing;
pub mod upcasters;
