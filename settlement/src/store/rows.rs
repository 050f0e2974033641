//! The rows and jobs that follow from the log.
//!
//! Promise: stored in one transaction with the position that they were derived from, and deriving
//! them again changes nothing.

use domain::values::Position;
use infrastructure::sql_values::{position_in, to_sql};
use sqlx::{Executor, PgConnection, Row as _};
use uuid::Uuid;

use super::{Derived, IntentRow, NOW, NewJob, RETURN, Store};

impl Store {
    /// Returns the position up to which everything of the log has its rows.
    pub(crate) async fn position(&self) -> Result<Position, sqlx::Error> {
        let row = sqlx::query("SELECT position FROM payment_follower")
            .fetch_one(&self.0)
            .await?;
        position_in(&row, "position")
    }

    /// Returns the orders whose events were passed while a server could not apply them, each with
    /// the position of the first such event.
    pub(crate) async fn withheld(&self) -> Result<Vec<(Uuid, Position)>, sqlx::Error> {
        let sql = "SELECT order_id, position FROM payment_withheld_orders ORDER BY position";
        let rows = sqlx::query(sql).fetch_all(&self.0).await?;
        let rows = rows.iter();
        rows.map(|row| Ok((row.try_get("order_id")?, position_in(row, "position")?)))
            .collect()
    }

    /// Stores the rows that follow from the events after `from` up to `to`, unless another server
    /// has done that already. Returns false then.
    pub(crate) async fn follow(
        &self,
        from: Position,
        to: Position,
        derived: &[Derived],
    ) -> Result<bool, sqlx::Error> {
        let mut transaction = self.0.begin().await?;
        // Derived from the log: a lost commit is derived again. So it does not wait for a standby.
        transaction
            .execute("SET LOCAL synchronous_commit = local")
            .await?;
        let moved = sqlx::query("UPDATE payment_follower SET position = $2 WHERE position = $1")
            .bind(to_sql(from))
            .bind(to_sql(to))
            .execute(&mut *transaction)
            .await?;
        if moved.rows_affected() == 0 {
            return Ok(false);
        }
        // Ends of orders are many and mostly without payments, so they are applied together. The
        // successes before and after them then count alike: no payment with money is cancelled.
        let mut ended = (vec![], vec![]);
        for one in derived {
            if let Derived::OrderEnded { order_id, position } = one {
                ended.0.push(*order_id);
                ended.1.push(to_sql(*position));
            } else {
                apply(&mut transaction, one).await?;
            }
        }
        if !ended.0.is_empty() {
            cancel_rest(&mut transaction, ended).await?;
        }
        transaction.commit().await?;
        Ok(true)
    }
}

async fn apply(connection: &mut PgConnection, derived: &Derived) -> Result<(), sqlx::Error> {
    match derived {
        Derived::Started(start) => {
            sqlx::query(
                "INSERT INTO payment_starts (payment_id, order_id, provider, amount, currency) \
                 VALUES ($1, $2, $3, $4, $5) ON CONFLICT (payment_id) DO NOTHING",
            )
            .bind(start.payment_id)
            .bind(start.order_id)
            .bind(&start.provider)
            .bind(start.amount.amount)
            .bind(start.amount.currency.code())
            .execute(connection)
            .await?;
        }
        Derived::Succeeded {
            payment_id,
            order_id,
            intent,
            provider_reference,
        } => {
            sqlx::query("UPDATE payment_starts SET succeeded = true WHERE payment_id = $1")
                .bind(payment_id)
                .execute(&mut *connection)
                .await?;
            sqlx::query(
                "INSERT INTO payment_intents (intent, payment_id, order_id, provider, provider_reference) \
                 SELECT $1, $2, $3, s.provider, $4 FROM payment_starts s \
                  WHERE s.payment_id = $2 AND $4::text IS NOT NULL ON CONFLICT (intent) DO NOTHING",
            )
            .bind(intent)
            .bind(payment_id)
            .bind(order_id)
            .bind(provider_reference)
            .execute(connection)
            .await?;
        }
        Derived::Job(job) => {
            if job.cause.is_some_and(|cause| cause != RETURN) {
                sqlx::query("UPDATE payment_intents SET is_returned = true WHERE intent = $1")
                    .bind(&job.intent)
                    .execute(&mut *connection)
                    .await?;
            }
            insert_job(connection, job).await?;
        }
        Derived::Withheld { order_id, position } => {
            sqlx::query(
                "INSERT INTO payment_withheld_orders (order_id, position) VALUES ($1, $2) \
                 ON CONFLICT (order_id) DO NOTHING",
            )
            .bind(order_id)
            .bind(to_sql(*position))
            .execute(connection)
            .await?;
        }
        Derived::Readmitted { order_id } => {
            sqlx::query("DELETE FROM payment_withheld_orders WHERE order_id = $1")
                .bind(order_id)
                .execute(connection)
                .await?;
        }
        // See `cancel_rest`.
        Derived::OrderEnded { .. } => {}
        Derived::RefundSettled {
            refund_id,
            failure: Some(reason),
        } => fail_refund(connection, "id", *refund_id, reason).await?,
        Derived::RefundSettled {
            refund_id,
            failure: None,
        } => {
            let sql = format!(
                "UPDATE payment_jobs SET status = 'done', next_attempt_at = NULL, \
                        lease_holder = NULL, lease_until = NULL, finished_at = coalesce(finished_at, {NOW}), \
                        attempts = greatest(attempts, 1) \
                  WHERE id = $1 AND kind = 'refund' AND status <> 'done'"
            );
            sqlx::query(&sql)
                .bind(refund_id)
                .execute(connection)
                .await?;
        }
    }
    Ok(())
}

/// Adds a cancellation for each payment without money of orders that have ended.
async fn cancel_rest(
    connection: &mut PgConnection,
    (orders, positions): (Vec<Uuid>, Vec<i64>),
) -> Result<(), sqlx::Error> {
    let sql = format!(
        "INSERT INTO payment_jobs (id, kind, order_id, payment_id, provider, amount, currency, status, \
             next_attempt_at, position) \
         SELECT s.payment_id, 'payment_cancel', s.order_id, s.payment_id, s.provider, s.amount, s.currency, \
                'pending', {NOW}, ended.position \
           FROM UNNEST($1::uuid[], $2::bigint[]) AS ended (order_id, position) \
           JOIN payment_starts s ON s.order_id = ended.order_id AND NOT s.succeeded \
         ON CONFLICT (id) DO NOTHING"
    );
    sqlx::query(&sql)
        .bind(orders)
        .bind(positions)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn insert_intent(
    connection: &mut PgConnection,
    intent: &IntentRow,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO payment_intents (intent, payment_id, order_id, provider, provider_reference, is_returned) \
         VALUES ($1, $2, $3, $4, $5, EXISTS (SELECT 1 FROM payment_jobs j \
             WHERE j.intent = $1 AND j.kind = 'refund' AND j.cause <> 'return')) \
         ON CONFLICT (intent) DO NOTHING",
    )
    .bind(&intent.intent)
    .bind(intent.payment_id)
    .bind(intent.order_id)
    .bind(&intent.provider)
    .bind(&intent.provider_reference)
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_job(connection: &mut PgConnection, job: &NewJob) -> Result<(), sqlx::Error> {
    let sql = format!(
        "INSERT INTO payment_jobs (id, kind, order_id, payment_id, intent, provider, amount, currency, cause, \
             operation_id, status, next_attempt_at, position) \
         SELECT $1, $2, $3, $4, $5, \
                coalesce((SELECT provider FROM payment_starts WHERE payment_id = $4), 'unknown'), \
                $6, $7, $8, CASE WHEN $2 = 'refund' THEN $1 END, 'pending', {NOW}, $9 \
         ON CONFLICT (id) DO NOTHING"
    );
    sqlx::query(&sql)
        .bind(job.id)
        .bind(job.kind.name())
        .bind(job.order_id)
        .bind(job.payment_id)
        .bind(&job.intent)
        .bind(job.amount.amount)
        .bind(job.amount.currency.code())
        .bind(job.cause)
        .bind(to_sql(job.position))
        .execute(connection)
        .await?;
    Ok(())
}

/// Gives up a pending refund whose `column` is `id`.
pub(super) async fn fail_refund(
    connection: &mut PgConnection,
    column: &str,
    id: Uuid,
    reason: &str,
) -> Result<(), sqlx::Error> {
    let sql = format!(
        "UPDATE payment_jobs SET status = 'failed', next_attempt_at = NULL, lease_holder = NULL, \
                lease_until = NULL, operation_failed = true, finished_at = {NOW}, attempts = attempts + 1, \
                last_error = 'the provider failed the refund: ' || $2 \
          WHERE {column} = $1 AND kind = 'refund' AND status = 'pending'"
    );
    sqlx::query(&sql)
        .bind(id)
        .bind(reason)
        .execute(connection)
        .await?;
    Ok(())
}
