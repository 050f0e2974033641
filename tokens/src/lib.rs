//! Buyers' tokens, signed sessions and challenges.
//!
//! [`jws`] reads and verifies signatures, [`jwks`] reads the shop's public keys, [`key_source`]
//! keeps them current, and [`buyers`] decides for which buyer a token acts. [`sign_in`] has the
//! addresses where a buyer gets one. [`challenges`] issues proofs of work and verifies their
//! solutions.
//!
//! Limit: no HTTP server and no routes; the crate `api` turns errors into responses.

pub mod buyers;
pub mod challenges;
mod fetch;
pub mod jwks;
pub mod jws;
pub mod key_source;
pub mod sign_in;
mod urls;
