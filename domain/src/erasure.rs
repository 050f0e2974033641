//! What the log says of an erasure: that there was one, and of how many events. Of whom, it does not say.
//!
//! Its events are in a stream of their own, which belongs to no drop: a person may be a buyer of many.

use serde::{Deserialize, Serialize};

/// What the log files erasures under.
pub const AGGREGATE_TYPE: &str = "Erasure";
/// The one stream of erasures.
pub const STREAM: &str = "buyers";
/// The name that the log files [`ErasureEvent::BuyerErased`] under.
pub const BUYER_ERASED: &str = "BuyerErased";
/// The version of its payload's schema.
pub const VERSION: &str = "1.0";

/// One recorded fact about personal data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ErasureEvent {
    /// What a buyer was called was removed from beside the log.
    BuyerErased(BuyerErased),
}

/// See [`ErasureEvent::BuyerErased`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)] // It says nothing else, of nobody.
pub struct BuyerErased {
    /// Events beside which there was something to remove.
    pub events: u64,
}
