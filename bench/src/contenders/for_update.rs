//! `SELECT … FOR UPDATE`, the textbook solution. The row lock is held for four round trips and a
//! commit, so one drop sells one hold per commit, for any number of connections.

use chrono::{DateTime, Utc};
use sqlx::Row;
use uuid::Uuid;

use super::http::{NewDrop, Order, Placed, Rival, RivalError, Stock};
use super::sql_shop::SqlShop;

#[derive(Debug, Clone)]
pub struct ForUpdate(pub SqlShop);

impl Rival for ForUpdate {
    async fn open_drop(&self, drop: NewDrop) -> Result<Uuid, RivalError> {
        self.0.open_drop(drop).await
    }

    async fn place(&self, order: &Order) -> Result<Placed, RivalError> {
        let quantity = i64::from(order.quantity);
        let mut transaction = self.0.0.begin().await?;
        let row = sqlx::query(
            "SELECT total, available, hold_seconds FROM drops WHERE id = $1 FOR UPDATE",
        )
        .bind(order.drop_id)
        .fetch_one(&mut *transaction)
        .await?;
        let (total, available): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        let hold_seconds: i32 = row.try_get(2)?;
        if available < quantity {
            return Ok(Placed::SoldOut {
                available: available.unsigned_abs(),
            });
        }
        let expires_at = order.at.plus_seconds(hold_seconds.unsigned_abs());
        sqlx::query("UPDATE drops SET available = available - $2 WHERE id = $1")
            .bind(order.drop_id)
            .bind(quantity)
            .execute(&mut *transaction)
            .await?;
        sqlx::query("INSERT INTO holds VALUES ($1, $2, $3, $4, $5, 'held', $6, $7)")
            .bind(order.hold_id)
            .bind(order.drop_id)
            .bind(order.buyer_id.as_str())
            .bind(&order.key)
            .bind(quantity)
            .bind(DateTime::<Utc>::from(order.at))
            .bind(DateTime::<Utc>::from(expires_at))
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(Placed::Held {
            expires_at,
            position: (total - available + quantity).unsigned_abs(),
        })
    }

    async fn stock(&self, drop_id: Uuid) -> Result<Option<Stock>, RivalError> {
        self.0.stock(drop_id).await
    }
}
