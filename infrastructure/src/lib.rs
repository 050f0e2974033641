//! Placeholder.

pub mod postgres_cluster;
