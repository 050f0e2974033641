//! Placeholder.

pub mod postgres_cluster;
#[cfg(feature = "testing")]
pub mod testing;
