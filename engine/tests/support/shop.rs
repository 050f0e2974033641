//! The setup of most engine suites: a shop with one drop, and helpers for refusals.

use super::build::{hold, kinds, new_year, schedule, stock_adjust, stock_program};
use super::node::Node;
use super::request::Request;
use domain::command::CancelDrop;
use domain::values::DropId;
use domain::{DropCommand, Refusal};
use engine::{Clock, CommandError, VirtualClock};
use infrastructure::log::memory::MemoryLog;

/// One drop, one engine, one log.
pub struct Shop {
    pub log: MemoryLog,
    pub clock: VirtualClock,
    pub node: Node,
    pub drop_id: DropId,
}

impl Shop {
    pub async fn open(total: i64, hold_seconds: i64) -> Self {
        Self::open_on(MemoryLog::default(), total, hold_seconds).await
    }

    pub async fn open_on(log: MemoryLog, total: i64, hold_seconds: i64) -> Self {
        let clock = VirtualClock::starting_at(new_year());
        let node = Node::start(&log, clock, 1).await;
        let drop_id = node.scheduled(schedule("drop", total, hold_seconds)).await;
        Self {
            log,
            clock,
            node,
            drop_id,
        }
    }

    pub fn hold(&self, key: &str, units: i64) -> Request {
        hold(self.drop_id, key, key, units)
    }

    pub fn kinds(&self) -> Vec<String> {
        kinds(&self.log.snapshot())
    }

    /// Another engine on the same log and clock.
    pub async fn another_node(&self, seed: u64) -> Node {
        Node::start(&self.log, self.clock, seed).await
    }

    /// A stock program adjusts the stock by `delta`.
    pub fn stock_adjusts(&self, delta: i32) {
        stock_program(
            &self.log,
            self.drop_id,
            &stock_adjust(delta, self.clock.now()),
        );
    }

    pub fn stock_cancels(&self) {
        let at = self.clock.now();
        let command = DropCommand::CancelDrop(CancelDrop { at });
        stock_program(&self.log, self.drop_id, &command);
    }
}

#[track_caller]
pub fn refusal<T: std::fmt::Debug>(outcome: Result<T, CommandError>) -> Refusal {
    match outcome {
        Err(CommandError::Refused { refusal, .. }) => refusal,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

pub fn sold_out(requested: u32, available: u32) -> Refusal {
    Refusal::SoldOut {
        requested,
        available,
    }
}
