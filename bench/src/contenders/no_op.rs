//! No-op: parses the request, keeps nothing, answers a hold. What this stack can do at most on this machine.

use domain::values::Timestamp;
use uuid::Uuid;

use super::desk::{Desk, DeskError, NewDrop, Order, Placed, Stock};

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct NoOp;

/// A hold's length, as every run asks for it.
const HOLD_MILLIS: i64 = 3_600_000;

impl Desk for NoOp {
    async fn open_drop(&self, _: NewDrop) -> Result<Uuid, DeskError> {
        Ok(Uuid::new_v4())
    }

    async fn place(&self, order: &Order) -> Result<Placed, DeskError> {
        let expires_at: Timestamp = order.at.plus_millis(HOLD_MILLIS);
        Ok(Placed::Held {
            expires_at,
            position: 1_000_000,
        })
    }

    async fn stock(&self, _: Uuid) -> Result<Option<Stock>, DeskError> {
        Ok(Some(Stock {
            total: 10_000_000,
            available: 9_000_000,
            held: 1_000_000,
            sold: 0,
        }))
    }
}
