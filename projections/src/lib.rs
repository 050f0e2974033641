//! The read models of Holdfast: pure folds over the log, kept in memory for hot reads and in tables for the rest.
//!
//! Read [`fold`] for what a projection is, one of the five for an example, [`runner`] for how tables follow the log, and
//! [`views`] for what the API answers from.

pub mod buyers;
pub mod checked;
pub mod columns;
pub mod dense_holds;
pub mod drop_body;
pub mod error;
pub mod fold;
pub mod holds;
mod left_out;
pub mod live_stock;
pub mod prices;
pub mod rebuild;
pub mod replay;
pub mod runner;
pub mod sales_timeline;
pub mod table;
mod texts;
pub mod top_purchasers;
pub mod views;
pub mod waitlist;
