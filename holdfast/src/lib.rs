//! Holdfast's program: command line, settings, demo, repairs, and process lifecycle.
//!
//! Read [`server`] for how the parts are wired and stopped.

// A closed pipe or a full disk must not make a server or a command panic: see [`terminal`].
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod admin_keys;
pub mod cli;
pub mod config;
pub mod databases;
pub mod demo;
mod environment;
pub mod known_head;
mod manual;
pub mod migrate;
mod parsing;
mod precedence;
pub mod projections;
pub mod repair;
pub mod server;
mod settings;
mod tasks;
pub mod theme;
