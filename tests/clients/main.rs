//! Clients and readers that use only what other programs may use: the examples, generated clients,
//! SSE clients, readers of the log.

mod examples;
mod generated;
mod interop;
mod readers;
mod stream_clients;
mod webhook_verifiers;
