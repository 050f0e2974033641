//! Buyers' tokens and signed sessions.
//!
//! [`jws`] reads and verifies signatures, [`jwks`] reads the shop's public keys, [`key_source`]
//! keeps them current, and [`buyers`] decides for which buyer a token acts. [`sign_in`] is where a
//! buyer gets one.
//!
//! Limit: no HTTP server and no routes; the crate `api` turns errors into responses.

pub mod buyers;
mod fetch;
pub mod jwks;
pub mod jws;
pub mod key_source;
pub mod sign_in;
mod urls;
