//! The promises that hold through crashes, failovers, hostile clients, broken logs and a second
//! node.

mod clock;
mod connections;
mod crash;
mod demo_day;
mod due_work;
mod erasure;
mod expiry;
mod failover;
mod heads;
mod hostile_clients;
mod log_lines;
mod log_refused;
mod order_quarantine;
mod orders;
mod oversell;
mod payments;
mod pooler;
mod projections;
mod quarantine;
mod rebuild;
mod rolling_upgrade;
mod shutdown;
mod two_processes;
mod unavailable;
mod webhooks;
