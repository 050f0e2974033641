//! Where what the domain decides is kept: the event log.
//!
//! Read [`log`] for the promise that everything rests on,
//! [`feed`] for how the rest of the process follows.

pub mod binary_copy;
pub mod codec;
pub mod erasure;
pub mod error;
pub mod feed;
pub mod log;
pub mod payments;
pub mod ports;
pub mod quarantine;
pub mod sorted_runs;
pub mod upcasters;
