//! The public contract over HTTP: every route, refusal, limit and setting that docs/CONTRACT.md
//! promises.

mod address_bounds;
mod admin;
mod architecture;
mod bounds;
mod commands;
mod conditional;
mod drops;
mod errors;
mod holds;
mod identity;
mod language;
mod licences;
mod log;
mod metrics;
mod openapi;
mod payments;
mod refusals;
mod roles;
mod rules;
mod settings;
mod stream;
mod throttles;
mod tokens;
mod waitlist;
mod webhooks;
