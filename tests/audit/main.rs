//! The auditors' commands on logs that are sound, damaged or manipulated.

mod checkpoint;
mod commands;
mod export;
mod look;
mod orders;
mod payments;
mod verify;
