//! Holdfast's program: the command line, the settings, the demo, the repairs, and the life of the process.
//!
//! Read [`server`] for how the parts are wired and stopped.

// A closed pipe or a full disk must end neither a server nor a command by a panic: see [`terminal`].
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod cli;
pub mod config;
pub mod demo;
mod environment;
pub mod projections;
pub mod repair;
pub mod server;
