//! Clients and readers that were not written here: generated clients, SSE clients, readers of the
//! log.

mod generated;
mod interop;
mod readers;
mod stream_clients;
