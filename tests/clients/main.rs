//! Clients and readers that use only what other programs may use: the examples, generated clients,
//! SSE clients, readers of the log; and the payment providers against Stripe's own libraries.

mod challenges;
mod client_libraries;
mod examples;
mod generated;
mod interop;
mod key_sets;
mod otlp;
mod payments;
mod push_decryption;
mod readers;
mod recipes;
mod samples;
mod stream_clients;
mod webhook_verifiers;
