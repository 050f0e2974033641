//! Money that has left the shop at a provider without a request of Holdfast: refunds that a person
//! made there, and disputes.
//!
//! Promise: one row for each, however often and in which order its reports arrive. While a
//! withdrawal is not closed, refunds of its payment are paid with it first, so that no money is
//! returned twice; each unit of its amount pays one refund.

use chrono::{DateTime, Utc};
use domain::values::{Money, Timestamp};
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::{NOW, Store, money_in};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithdrawalKind {
    /// A person returned money at the provider.
    Refund,
    /// The buyer disputes the payment at their bank, which takes the money back.
    Dispute,
}

impl WithdrawalKind {
    const ALL: [Self; 2] = [Self::Refund, Self::Dispute];

    /// Returns the name in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refund => "refund",
            Self::Dispute => "dispute",
        }
    }
}

/// States follow each other in this order only, so a report that was overtaken changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WithdrawalState {
    /// The outcome is not known.
    Pending,
    /// The buyer has the money.
    Done,
    /// The shop has the money: the refund failed, or the shop won the dispute.
    Undone,
}

impl WithdrawalState {
    const ALL: [Self; 3] = [Self::Pending, Self::Done, Self::Undone];

    /// Returns the name in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Done => "done",
            Self::Undone => "undone",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawal {
    /// Derived from the provider and its reference.
    pub id: Uuid,
    pub kind: WithdrawalKind,
    pub provider: String,
    /// Of the refund or the dispute.
    pub provider_reference: String,
    /// The digest of the intent.
    pub intent: Vec<u8>,
    pub order_id: Uuid,
    pub payment_id: Uuid,
    pub amount: Money,
    pub state: WithdrawalState,
}

/// A withdrawal that needs an administrator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenWithdrawal {
    pub withdrawal: Withdrawal,
    /// The part, in minor units, that has paid refunds.
    pub used: i64,
    pub since: Timestamp,
}

/// The part of a refund that withdrawals pay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Coverage {
    /// In minor units.
    pub(crate) amount: i64,
    /// At least one of the withdrawals may still come to nothing.
    pub(crate) is_pending: bool,
}

/// Withdrawals that need attention, with the amount that has paid refunds.
const OPEN: &str = "
SELECT * FROM (
    SELECT w.*, coalesce((SELECT sum(c.amount) FROM payment_coverage c WHERE c.withdrawal_id = w.id), 0)::bigint AS used
      FROM payment_withdrawals w WHERE w.closed_at IS NULL) w
 WHERE (state = 'pending' OR state = 'done' AND used < amount OR state = 'undone' AND used > 0)";

impl Store {
    /// Records a withdrawal or its next state. Returns whether that changed anything; waiting
    /// refunds of the payment are due then.
    pub(crate) async fn withdrawn(&self, withdrawal: &Withdrawal) -> Result<bool, sqlx::Error> {
        let mut transaction = self.0.begin().await?;
        let sql = format!(
            "INSERT INTO payment_withdrawals (id, kind, provider, provider_reference, intent, order_id, payment_id, \
                 amount, currency, state) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
             ON CONFLICT (id) DO UPDATE SET state = EXCLUDED.state, changed_at = {NOW}, \
                 closed_at = CASE EXCLUDED.state WHEN 'undone' THEN NULL ELSE payment_withdrawals.closed_at END \
              WHERE array_position($11::text[], EXCLUDED.state) \
                  > array_position($11::text[], payment_withdrawals.state)"
        );
        let changed = sqlx::query(&sql)
            .bind(withdrawal.id)
            .bind(withdrawal.kind.name())
            .bind(&withdrawal.provider)
            .bind(&withdrawal.provider_reference)
            .bind(&withdrawal.intent)
            .bind(withdrawal.order_id)
            .bind(withdrawal.payment_id)
            .bind(withdrawal.amount.amount)
            .bind(withdrawal.amount.currency.code())
            .bind(withdrawal.state.name())
            .bind(WithdrawalState::ALL.map(WithdrawalState::name).to_vec())
            .execute(&mut *transaction)
            .await?
            .rows_affected()
            > 0;
        if changed && withdrawal.state == WithdrawalState::Undone {
            // Refunds that are not made yet are paid otherwise.
            sqlx::query(
                "DELETE FROM payment_coverage c USING payment_jobs j \
                  WHERE c.withdrawal_id = $1 AND j.id = c.refund_id AND j.status <> 'done'",
            )
            .bind(withdrawal.id)
            .execute(&mut *transaction)
            .await?;
        }
        if changed {
            let sql = format!(
                "UPDATE payment_jobs SET next_attempt_at = {NOW} \
                  WHERE intent = $1 AND kind = 'refund' AND status = 'pending'"
            );
            sqlx::query(&sql)
                .bind(&withdrawal.intent)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(changed)
    }

    /// Pays a refund of `amount` with the withdrawals of its intent, as far as they last. Repeating
    /// it changes nothing.
    pub(crate) async fn cover(
        &self,
        refund_id: Uuid,
        intent: &[u8],
        amount: Money,
    ) -> Result<Coverage, sqlx::Error> {
        let mut transaction = self.0.begin().await?;
        let rows = sqlx::query(
            "SELECT w.id, w.amount, w.state, w.closed_at IS NULL AS is_open, \
                    coalesce((SELECT sum(c.amount) FROM payment_coverage c \
                        WHERE c.withdrawal_id = w.id AND c.refund_id <> $2), 0)::bigint AS others, \
                    coalesce((SELECT c.amount FROM payment_coverage c \
                        WHERE c.withdrawal_id = w.id AND c.refund_id = $2), 0) AS own \
               FROM payment_withdrawals w \
              WHERE w.intent = $1 AND w.currency = $3 AND w.state <> 'undone' ORDER BY w.id FOR UPDATE",
        )
        .bind(intent)
        .bind(refund_id)
        .bind(amount.currency.code())
        .fetch_all(&mut *transaction)
        .await?;
        let mut coverage = Coverage {
            amount: 0,
            is_pending: false,
        };
        for row in rows {
            let (own, others): (i64, i64) = (row.try_get("own")?, row.try_get("others")?);
            let left = row.try_get::<i64, _>("amount")? - others;
            let most = match row.try_get("is_open")? {
                true => left,
                false => own,
            };
            let part = most.min(amount.amount - coverage.amount).max(0);
            if part == 0 {
                continue;
            }
            coverage.amount += part;
            coverage.is_pending |=
                row.try_get::<&str, _>("state")? == WithdrawalState::Pending.name();
            sqlx::query(
                "INSERT INTO payment_coverage (withdrawal_id, refund_id, amount) VALUES ($1, $2, $3) \
                 ON CONFLICT (withdrawal_id, refund_id) DO UPDATE SET amount = EXCLUDED.amount",
            )
            .bind(row.try_get::<Uuid, _>("id")?)
            .bind(refund_id)
            .bind(part)
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(coverage)
    }

    /// Returns the withdrawals that need attention, newest first: those that are undecided, or have
    /// not paid refunds of their amount, and those that paid refunds and came to nothing.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn open_withdrawals(
        &self,
        after: Option<(Timestamp, Uuid)>,
        limit: i64,
    ) -> Result<Vec<OpenWithdrawal>, sqlx::Error> {
        let sql = format!(
            "{OPEN} AND ($1::timestamptz IS NULL OR (changed_at, id) < ($1, $2)) \
              ORDER BY changed_at DESC, id DESC LIMIT $3"
        );
        let rows = sqlx::query(&sql)
            .bind(after.map(|(since, _)| DateTime::<Utc>::from(since)))
            .bind(after.map(|(_, id)| id))
            .bind(limit)
            .fetch_all(&self.0)
            .await?;
        rows.iter().map(open).collect()
    }

    /// Returns since when a withdrawal is in its state.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn withdrawn_since(&self, id: Uuid) -> Result<Option<Timestamp>, sqlx::Error> {
        let sql = "SELECT changed_at FROM payment_withdrawals WHERE id = $1";
        let since: Option<DateTime<Utc>> = sqlx::query_scalar(sql)
            .bind(id)
            .fetch_optional(&self.0)
            .await?;
        Ok(since.map(Timestamp::from))
    }

    /// Closes a withdrawal: it needs no attention, and pays no further refund. Returns false if
    /// there is none with this id.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn close_withdrawal(&self, id: Uuid) -> Result<bool, sqlx::Error> {
        let sql = format!(
            "UPDATE payment_withdrawals SET closed_at = coalesce(closed_at, {NOW}) WHERE id = $1"
        );
        let closed = sqlx::query(&sql).bind(id).execute(&self.0).await?;
        Ok(closed.rows_affected() > 0)
    }
}

fn open(row: &PgRow) -> Result<OpenWithdrawal, sqlx::Error> {
    let (kind, state): (&str, &str) = (row.try_get("kind")?, row.try_get("state")?);
    let kinds = WithdrawalKind::ALL.into_iter();
    let states = WithdrawalState::ALL.into_iter();
    let unknown = |name: &str| sqlx::Error::Decode(format!("unknown name {name}").into());
    Ok(OpenWithdrawal {
        withdrawal: Withdrawal {
            id: row.try_get("id")?,
            kind: kinds
                .into_iter()
                .find(|known| known.name() == kind)
                .ok_or_else(|| unknown(kind))?,
            provider: row.try_get("provider")?,
            provider_reference: row.try_get("provider_reference")?,
            intent: row.try_get("intent")?,
            order_id: row.try_get("order_id")?,
            payment_id: row.try_get("payment_id")?,
            amount: money_in(row)?,
            state: states
                .into_iter()
                .find(|known| known.name() == state)
                .ok_or_else(|| unknown(state))?,
        },
        used: row.try_get("used")?,
        since: row.try_get::<DateTime<Utc>, _>("changed_at")?.into(),
    })
}
