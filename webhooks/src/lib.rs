//! Outgoing webhooks (Standard Webhooks 1.0.0): a dispatcher per endpoint follows the log by
//! position and posts each event that the endpoint subscribes to.
//!
//! ```text
//!  log ──position──▶ dispatcher ──▶ lane of drop A: e41 ▶ e44 ▶ …    one request at a time
//!                    (one per       lane of drop B: e42 (failed,     in each lane
//!                     endpoint)                     held back) ▶ …
//!                                   lane of order C: e43 ▶ …
//! ```
//!
//! Promise: no event is skipped. Each is delivered at least once, under the same `webhook-id`
//! however often it is sent, and in order within its drop or its order: later events of one wait
//! until an earlier one is delivered or given up. Other drops and orders do not wait.
//! After a crash at any step the next dispatcher continues from the stored position.
//! Limit: at least once. Requests whose outcome was not stored before a crash, and the requests in
//! flight when another server takes over, are sent again. Receivers deduplicate by `webhook-id`.

pub mod counts;
mod dispatcher;
pub mod kind;
mod lanes;
mod message;
pub mod networks;
pub mod notices;
pub mod orders;
pub mod schedule;
pub mod sender;
pub mod service;
pub mod signature;
pub mod store;
