//! Holdfast's program: the command line, the HTTP API, the live stream and the pages. Thin: parse,
//! call, render.
//!
//! Read [`router`] for every route, [`server`] for how the parts are wired and stopped, [`problem`]
//! for every error.

// A closed pipe or a full disk must not make a server or a command panic: see `cli::print_line` and
// `cli::say`.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod admin;
pub mod app;
pub mod audit;
pub mod auth;
pub mod cli;
pub mod client;
pub mod config;
mod connections;
pub mod database;
pub mod demo;
mod drops;
mod environment;
mod erasure;
mod extract;
mod health;
mod holds;
pub mod jws;
pub mod limiter;
mod log;
mod logging;
pub mod metrics;
mod negotiate;
pub mod openapi;
mod pages;
mod preconditions;
pub mod problem;
mod progress;
pub mod projections;
pub mod refused;
pub mod render;
pub mod repair;
pub mod router;
pub mod server;
pub mod session;
pub mod stream;
pub mod tokens;
mod waitlist;
