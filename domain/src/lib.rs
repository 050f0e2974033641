//! The rules of Holdfast, and nothing else: no IO, no clock, no randomness. Time and ids arrive in commands.
//!
//! ```text
//!  a drop   scheduled ──starts_at──▶ live ──ends_at──▶ ended          a hold   placed ──▶ purchased
//!               │                     │ ▲                                         ├─────▶ released
//!               │          none left  ▼ │ units freed                             └─────▶ expired, at expires_at
//!               └──▶ cancelled ◀── sold out
//! ```
//!
//! Who finds a drop sold out may wait in line: what comes back becomes a hold of the first who can use it ([`waitlist`]).
//!
//! Read [`mod@drop`] for the state and its invariant, [`decide`] for every rule, [`event`] for what is stored. A caller does
//! `decide`, records the events, and `evolve`s; if the record fails, `revert`s.

pub mod chunks;
pub mod command;
mod cqrs;
pub mod decide;
pub mod drop;
pub mod erasure;
pub mod event;
pub mod incident;
pub mod lookup;
pub mod packed;
pub mod private;
pub mod refusal;
#[cfg(feature = "schema")]
pub mod schema;
pub mod status;
pub mod stock;
pub mod terms;
#[cfg(feature = "testing")]
pub mod testing;
pub mod values;
pub mod waitlist;

pub use command::DropCommand;
pub use decide::{Decision, Subject};
pub use drop::DropAggregate;
pub use event::DropEvent;
pub use refusal::Refusal;

/// What the log files every drop's stream under.
pub const AGGREGATE_TYPE: &str = "Drop";
