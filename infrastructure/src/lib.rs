//! Where what the domain decides is kept: the event log, and the engine that appends to it.
//!
//! Read [`log`] for the promise that everything rests on, [`engine`] for who decides and when a caller is answered,
//! [`feed`] for how the rest of the process follows.

pub mod binary_copy;
pub mod codec;
pub mod engine;
pub mod erasure;
pub mod error;
pub mod feed;
pub mod log;
pub mod payments;
pub mod quarantine;
pub mod sorted_runs;
pub mod upcasters;
