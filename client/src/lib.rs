//! The client side: uses a Holdfast server only through its public API.
//!
//! ```text
//!   seed ─────────┐                       ┌─ pooled: one client, shared sockets ──┐
//!   shoppers ─────┼─▶ calls ─▶ wire::Call ┤                                       ├─▶ HTTP/1.1
//!   load ─────────┘  (routes)             └─ socket: one buyer, one TCP socket ───┘
//! ```
//!
//! Promise: no server rule is duplicated here, and no code here bypasses the HTTP interface. `load`
//! counts its results from the log, which any auditor can read.
//! Limit: HTTP/1.1 only. TLS is used for addresses that begin with `https://`; the server itself
//! has no TLS, the proxy in front of it does.

// A closed pipe or a full disk must not end a command by a panic: see [`terminal`].
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod access;
pub mod address;
pub mod calls;
mod cleanup;
pub mod error;
#[cfg(test)]
mod fake_server;
pub mod load;
pub mod log_reader;
pub mod pooled;
pub mod seed;
pub mod shoppers;
pub mod socket;
pub mod story;
mod tls;
pub mod wire;

pub use access::{AccessKey, ServerArgs};
pub use address::ServerAddress;
pub use error::{ClientError, Problem};
pub use load::LoadArgs;
pub use pooled::Client;
pub use seed::SeedArgs;
pub use shoppers::{Pace, run_shoppers};
