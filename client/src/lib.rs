//! The client side: everything that speaks to a Holdfast server through its public contract and nothing else.
//!
//! ```text
//!   seed ─────────┐                       ┌─ pooled: one client, shared sockets ──┐
//!   shoppers ─────┼─▶ calls ─▶ wire::Call ┤                                       ├─▶ HTTP/1.1
//!   load ─────────┘  (routes)             └─ socket: one buyer, one TCP socket ───┘
//! ```
//!
//! Promise: no rule of the server is repeated here, and nothing here can reach around its HTTP interface; what `load`
//! counts, it counts from the log that any auditor can read.
//! Limit: HTTP/1.1 only. TLS is used where the address begins with `https://`; the server itself has
//! none, the proxy in front of it does.

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
mod tls;
pub mod wire;

pub use access::{AccessKey, ServerArgs};
pub use address::ServerAddress;
pub use error::{ClientError, Problem};
pub use load::LoadArgs;
pub use pooled::Client;
pub use seed::SeedArgs;
pub use shoppers::{Pace, run_shoppers};
