//! The projections of Holdfast: pure folds over the log, held in memory for frequent reads and in
//! tables for the rest.
//!
//! Read [`fold`] for the definition of a projection, one of the five for an example, [`runner`] for
//! the tables that follow the log, and [`views`] for the memory that answers the API's requests.

pub mod buyers;
pub mod checked;
pub mod codes;
pub mod columns;
pub mod dense_holds;
pub mod dense_purchasers;
pub mod drop_body;
pub mod drop_course;
pub mod error;
mod excluded;
pub mod fold;
pub mod holds;
pub mod live_stock;
pub mod order_payments;
pub mod orders;
pub mod prices;
pub mod rebuild;
pub mod replay;
pub mod revenue;
pub mod runner;
pub mod sales_timeline;
pub mod table;
mod texts;
pub mod top_purchasers;
pub mod views;
pub mod waitlist;
