//! Holdfast's rules, without IO: every command, refusal and stored form.

mod cancel;
mod challenges;
mod changes;
mod codes;
mod cqrs;
mod fixtures;
mod groups;
mod history;
mod holds;
mod idempotency;
mod limits;
mod orders;
mod pauses;
mod payments;
mod properties;
mod purchases;
mod races;
mod refunds;
mod sale;
mod schedule;
mod serde;
mod stock;
mod throttle;
mod waitlist;
