//! Reminders: the drops of which buyers are reminded.

use domain::values::{DropId, Timestamp};
use infrastructure::sql_values::time_in;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::{Actor, Chosen, Store, forget_idle, lock_buyer, lock_known_buyer};

/// The most drops of which a buyer is reminded.
pub const MOST_REMINDERS: u32 = 1_000;

/// A drop of which a buyer is reminded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reminder {
    pub drop_id: DropId,
    pub created_at: Timestamp,
}

impl Store {
    /// Reminds a buyer of a drop, which exists.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn remind(&self, actor: &Actor, drop_id: DropId) -> Result<Chosen, sqlx::Error> {
        let buyer = actor.buyer_id.comparable();
        let mut transaction = self.0.begin().await?;
        if !lock_buyer(&mut transaction, actor).await? {
            return Ok(Chosen::OtherAccount);
        }
        let inserted = sqlx::query(
            "INSERT INTO reminders (buyer, drop_id, position) \
             SELECT $1, $2, h.position FROM log_head h ON CONFLICT (buyer, drop_id) DO NOTHING",
        )
        .bind(&*buyer)
        .bind(drop_id.0)
        .execute(&mut *transaction)
        .await?;
        if inserted.rows_affected() == 0 {
            return Ok(Chosen::Done);
        }
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM reminders WHERE buyer = $1")
            .bind(&*buyer)
            .fetch_one(&mut *transaction)
            .await?;
        if count > i64::from(MOST_REMINDERS) {
            return Ok(Chosen::Full);
        }
        transaction.commit().await?;
        Ok(Chosen::Done)
    }

    /// Reminds a buyer of a drop no more. Returns false if there was no reminder.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn forget_reminder(
        &self,
        actor: &Actor,
        drop_id: DropId,
    ) -> Result<bool, sqlx::Error> {
        let buyer = actor.buyer_id.comparable();
        let mut transaction = self.0.begin().await?;
        if !lock_known_buyer(&mut transaction, actor).await? {
            return Ok(false);
        }
        let deleted = sqlx::query("DELETE FROM reminders WHERE buyer = $1 AND drop_id = $2")
            .bind(&*buyer)
            .bind(drop_id.0)
            .execute(&mut *transaction)
            .await?;
        forget_idle(&mut transaction, &[buyer.to_string()]).await?;
        transaction.commit().await?;
        Ok(deleted.rows_affected() > 0)
    }

    /// Returns at most `limit` reminders of a buyer, newest first, after `after`. Empty if there is
    /// none for that drop.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn reminders(
        &self,
        actor: &Actor,
        after: Option<DropId>,
        limit: i64,
    ) -> Result<Vec<Reminder>, sqlx::Error> {
        let rows = sqlx::query(
            "WITH own AS ( \
                 SELECT r.drop_id, r.created_at \
                   FROM following_buyers b JOIN reminders r ON r.buyer = b.buyer \
                  WHERE b.buyer = $1 AND ($2::text IS NULL OR b.account = $2)) \
             SELECT * FROM own \
              WHERE $3::uuid IS NULL OR (created_at, drop_id) < \
                    (SELECT a.created_at, a.drop_id FROM own a WHERE a.drop_id = $3) \
              ORDER BY created_at DESC, drop_id DESC LIMIT $4",
        )
        .bind(&*actor.buyer_id.comparable())
        .bind(
            actor
                .is_account
                .then(|| actor.buyer_id.spelling().to_string()),
        )
        .bind(after.map(|drop_id| drop_id.0))
        .bind(limit)
        .fetch_all(&self.0)
        .await?;
        let reminder = |row: &PgRow| {
            Ok(Reminder {
                drop_id: DropId(row.try_get::<Uuid, _>("drop_id")?),
                created_at: time_in(row, "created_at")?.unwrap_or_default(),
            })
        };
        rows.iter().map(reminder).collect()
    }
}
