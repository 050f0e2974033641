//! Events written past every guard of the log except its hash chain, as the owner of the tables
//! could.

use serde_json::{Value, json};
use sqlx::{Executor, PgPool};

/// An arbitrary event of a drop or of an order.
#[derive(Debug, Clone)]
pub struct RawEvent {
    /// The id of the drop or order.
    pub drop: String,
    /// `Drop` or `Order`.
    pub aggregate_type: &'static str,
    /// Its sequence; `None` means the next one.
    pub sequence: Option<i64>,
    /// The value of `event_type`.
    pub event_type: String,
    /// The value of `event_version`.
    pub version: String,
    pub payload: Value,
    /// Personal data that is stored with it.
    pub private: Option<Value>,
}

impl RawEvent {
    /// The next event of a drop's stream.
    #[must_use]
    pub fn next(drop: &str, event_type: &str, version: &str, fields: Value) -> Self {
        Self {
            drop: drop.to_owned(),
            aggregate_type: "Drop",
            sequence: None,
            event_type: event_type.to_owned(),
            version: version.to_owned(),
            payload: json!({ event_type: fields }),
            private: None,
        }
    }

    /// The next event of an order's stream.
    #[must_use]
    pub fn next_of_order(order: &str, event_type: &str, version: &str, fields: Value) -> Self {
        Self {
            aggregate_type: "Order",
            ..Self::next(order, event_type, version, fields)
        }
    }

    /// Appends and chains it, with the guard on types disabled during the append; returns its
    /// position.
    ///
    /// # Panics
    /// If the database rejects it nevertheless.
    pub async fn append(&self, pool: &PgPool) -> i64 {
        let mut transaction = pool.begin().await.expect("the database responds");
        // In the order in which the engine's append takes its locks.
        for statement in [
            "SELECT position FROM log_head FOR UPDATE",
            "ALTER TABLE events DISABLE TRIGGER refuse_beyond_head",
        ] {
            transaction.execute(statement).await.expect(statement);
        }
        let position = sqlx::query_scalar(
            "WITH moved AS (
                 UPDATE log_head SET position = at.position, recorded_at = at.recorded_at,
                        hash = event_hash(at.hash, at.position, at.recorded_at, $7, $1, at.sequence, $3, $4, $5, '{}')
                   FROM (SELECT position + 1 AS position, hash,
                                greatest(date_trunc('milliseconds', clock_timestamp()), recorded_at) AS recorded_at,
                                coalesce($2, (SELECT max(sequence) + 1 FROM events WHERE aggregate_id = $1)) AS sequence
                           FROM log_head) at
                 RETURNING at.position, at.recorded_at, at.sequence, log_head.hash)
             INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                                 position, recorded_at, hash, private)
             SELECT $7, $1, sequence, $3, $4, $5::json, '{}'::json, position, recorded_at, hash, $6::json FROM moved
             RETURNING position",
        )
        .bind(&self.drop)
        .bind(self.sequence)
        .bind(&self.event_type)
        .bind(&self.version)
        .bind(self.payload.to_string())
        .bind(self.private.as_ref().map(Value::to_string))
        .bind(self.aggregate_type)
        .fetch_one(&mut *transaction)
        .await
        .expect("the owner may insert");
        transaction
            .execute("ALTER TABLE events ENABLE ALWAYS TRIGGER refuse_beyond_head")
            .await
            .expect("the owner may alter the trigger");
        transaction.commit().await.expect("the transaction commits");
        position
    }

    /// Inserts it as a program on stock `cqrs-es` would; returns the code of the database error.
    ///
    /// # Panics
    /// If it is not rejected.
    pub async fn is_refused(&self, pool: &PgPool) -> String {
        let inserted = sqlx::query(
            "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
             SELECT 'Drop', $1, coalesce($2, max(sequence) + 1), $3, $4, $5::json, '{}'::json
               FROM events WHERE aggregate_id = $1",
        )
        .bind(&self.drop)
        .bind(self.sequence)
        .bind(&self.event_type)
        .bind(&self.version)
        .bind(self.payload.to_string())
        .execute(pool)
        .await;
        let refused = inserted.expect_err("the database rejects it");
        let code = refused.as_database_error().and_then(|error| error.code());
        code.expect("the error has a code").into_owned()
    }
}
