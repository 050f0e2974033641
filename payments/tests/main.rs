//! The providers, used as the program uses them.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod demo;
mod events;
mod stripe;
