//! The HTTP API, the SSE stream and the pages. Thin: parse, call, render.
//!
//! Read [`router`] for every route, [`problem`] for every error.

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod admin;
pub mod app;
pub mod auth;
pub mod base_path;
pub mod brand;
mod challenge;
mod checkout;
pub mod connections;
mod creators;
mod csv_files;
pub mod demo_sign_in;
mod drops;
mod edge;
mod erasure;
mod extract;
mod feeds;
mod follows;
mod forwarded;
mod health;
mod holds;
mod jobs;
pub mod keys;
pub mod lateness;
pub mod limiter;
mod log;
pub mod metrics;
mod negotiate;
pub mod notifications;
pub mod openapi;
mod orders;
pub mod origins;
pub mod pages;
mod preconditions;
pub mod problem;
mod products;
mod push;
pub mod refused;
pub mod render;
pub mod router;
pub mod session;
pub mod starting;
pub mod stopped;
pub mod stream;
mod urls;
mod viewer;
mod waitlist;
mod web_files;
mod webhook_routes;
