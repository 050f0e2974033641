//! The rules of Holdfast, without IO, clock or randomness: time and ids arrive in commands.
//!
//! ```text
//!  a drop   scheduled ──starts_at──▶ live ──ends_at──▶ ended   a hold   placed ──▶ purchased
//!               │                     │ ▲                                  ├─────▶ released
//!               │          none left  ▼ │ units freed                      └─────▶ expired
//!               └──▶ cancelled ◀── sold out
//! ```
//!
//! A purchase can be refunded, in whole or in parts ([`event::PurchaseRefunded`]). While a hold is
//! unresolved, it can be extended, and its number of units can change
//! ([`event::HoldExtended`], [`event::HoldChanged`]).
//!
//! Buyers who find a drop sold out may join its waitlist: released units become a hold of the first
//! entry that can use them ([`waitlist`]).
//!
//! Read [`mod@drop`] for the state and its invariant, [`decide`] for every rule, [`event`] for the
//! stored form. A caller calls `decide`, records the events and calls `evolve`; if recording fails,
//! it calls `revert`.

mod challenge;
mod changes;
pub mod chunks;
pub mod codes;
pub mod command;
mod cqrs;
pub mod decide;
pub mod drop;
pub mod erasure;
pub mod event;
pub mod incident;
pub mod lookup;
pub mod order;
pub mod packed;
mod pauses;
pub mod private;
mod refunds;
pub mod refusal;
pub mod sale;
#[cfg(feature = "schema")]
pub mod schema;
pub mod status;
pub mod stock;
pub mod stock_level;
pub mod terms;
#[cfg(feature = "testing")]
pub mod testing;
pub mod values;
pub mod waitlist;

pub use command::DropCommand;
pub use decide::{Decision, Subject};
pub use drop::DropAggregate;
pub use event::DropEvent;
pub use order::{Order, OrderEvent};
pub use refusal::Refusal;

/// The aggregate type of every drop's stream in the log.
pub const AGGREGATE_TYPE: &str = "Drop";
