//! Payments of orders and their providers: starts, webhooks, and the jobs that follow from the log.
//!
//! ```text
//!  api ──start, webhook──▶ service ──request──▶ engine ──▶ log
//!                             │                             │
//!                             ▼                             ▼
//!                          provider ◀──call── worker ◀── rows and jobs, by position
//! ```
//!
//! The engine decides what money buys; a provider moves it; this crate connects the two
//! (docs/decisions/0064-payments-are-settled-by-jobs.md).
//!
//! Promise: every step may be repeated with one effect, and the remaining work is derived from the
//! log, so a crash between any two steps loses nothing and does nothing twice.

pub mod counts;
mod derive;
pub mod providers;
mod schedule;
pub mod service;
pub mod store;
mod withdrawals;
mod worker;

pub use self::providers::Providers;
pub use self::service::{OpenError, Opened, Settlement, WebhookRefused};
