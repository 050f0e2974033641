//! No-op: parses the request, stores nothing, and responds with a hold. This is the limit of the
//! HTTP stack on this machine.

use domain::values::Timestamp;
use uuid::Uuid;

use super::http::{NewDrop, Order, Placed, Rival, RivalError, Stock};

#[derive(Debug, Clone, Copy)]
pub struct NoOp;

/// The duration of a hold, the same as in every run.
const HOLD_MILLIS: i64 = 3_600_000;

impl Rival for NoOp {
    async fn open_drop(&self, _: NewDrop) -> Result<Uuid, RivalError> {
        Ok(Uuid::new_v4())
    }

    async fn place(&self, order: &Order) -> Result<Placed, RivalError> {
        let expires_at: Timestamp = order.at.plus_millis(HOLD_MILLIS);
        Ok(Placed::Held {
            expires_at,
            position: 1_000_000,
        })
    }

    async fn stock(&self, _: Uuid) -> Result<Option<Stock>, RivalError> {
        Ok(Some(Stock {
            total: 10_000_000,
            available: 9_000_000,
            held: 1_000_000,
            sold: 0,
        }))
    }
}
