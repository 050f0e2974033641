//! Web Push: notifications for browsers in which no page of the shop is open.
//!
//! ```text
//!  notifications (a fold of the log) ──position──▶ push_jobs: one row for each notification
//!       │                                             │ lease
//!       │                                             ▼
//!       └──text──▶ encryption ◀──page of 200── push_subscriptions, in the order of their ids
//!                      │
//!                      ▼ POST, signed (VAPID)
//!                 push services ──▶ a subscription that fails gets a row of its own
//! ```
//!
//! Promise: each subscription is sent each notification of its buyer at least once, unless the
//! notification is out of date or the push service refuses it. Nothing is written for each
//! follower: a job keeps the last subscription of the page that was sent, and continues there after
//! a crash, on any server. A job is worked on by one server. A browser that has unsubscribed and a
//! buyer that was erased are sent nothing more.
//! Limit: at least once. The page in flight at a crash is sent again; topics and tags let the later
//! message replace the earlier one. Requests in flight are not recalled.
//!
//! Source: docs/decisions/0078-web-push-is-sent-by-jobs.md.

pub mod counts;
mod delivery;
pub mod encryption;
mod message;
pub mod service;
pub mod store;
pub mod vapid;
mod worker;
