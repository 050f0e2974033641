//! The record of an erasure: that it happened, and the number of affected events. It does not
//! identify the buyer.
//!
//! These events have their own stream, which belongs to no drop, because a person may be a buyer of
//! many drops.

use serde::{Deserialize, Serialize};

/// The aggregate type of erasures.
pub const AGGREGATE_TYPE: &str = "Erasure";
/// The only stream of erasures.
pub const STREAM: &str = "buyers";
/// The event type of [`ErasureEvent::BuyerErased`].
pub const BUYER_ERASED: &str = "BuyerErased";
/// The version of its payload's schema.
pub const VERSION: &str = "1.0";

/// One recorded fact about personal data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ErasureEvent {
    /// A buyer's personal data was removed.
    BuyerErased(BuyerErased),
}

/// See [`ErasureEvent::BuyerErased`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)] // No other field is allowed, so none can identify a buyer.
pub struct BuyerErased {
    /// The number of events whose personal data was removed.
    pub events: u64,
}
