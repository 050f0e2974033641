//! Forgetting a person: their data is removed from beside the log, and every running engine is told.
//!
//! Promise: once [`erase`] returns, no table holds what the shop called them, and no engine appends anything that it decided
//! while it still knew them. An erasure is an event of its own (`BuyerErased`, in a stream of its own, naming nobody), so it
//! moves the head of the log: whoever decided before it loses the race, reads it, forgets, and decides again. What is
//! acknowledged is as durable as an append, "nobody of that name" too, for an earlier erasure may have been the reason.
//! Limit: finding a person reads every row that still has personal data, for nothing indexes people. What PostgreSQL
//! itself still keeps of an old row (until vacuum, in its write-ahead log, in backups) is its operator's to expire.

use std::collections::{BTreeSet, HashMap};

use domain::AGGREGATE_TYPE;
use domain::erasure::{self, BuyerErased, ErasureEvent};
use domain::values::{BuyerId, DropId, Position, Pseudonym};
use serde_json::Value;
use sqlx::{PgConnection, PgPool, Row};

use crate::error::LogError;
use crate::log::postgres::PostgresLog;
use crate::log::{EventLog, Turn};

/// Positions looked through by one statement, so that a long search holds back no vacuum.
const SLICE: u64 = 200_000;

/// Closer than this to the head, the rest is looked through while nobody appends.
const CLOSE: i64 = 10_000;

/// A buyer of a drop who was erased, as the log knows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Erased {
    /// The drop.
    pub drop_id: DropId,
    /// The buyer.
    pub buyer: Pseudonym,
}

/// What an erasure came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erasure {
    /// Its event in the log.
    pub position: Position,
    /// Pseudonyms that lead to nobody any more; one a drop, and one more for whoever came back after an earlier erasure.
    pub pseudonyms: usize,
    /// Events whose personal data was removed.
    pub events: usize,
}

/// Erases a buyer everywhere; none when nobody of that name is known.
///
/// It goes on to its end when its caller goes away meanwhile.
///
/// # Errors
/// [`LogError::Unavailable`]. Nothing is erased then, unless it was the answer to the commit that was lost; erasing again finds out.
pub async fn erase(pool: &PgPool, buyer_id: &BuyerId) -> Result<Option<Erasure>, LogError> {
    let log = PostgresLog::new(pool.clone());
    let comparable = buyer_id.comparable();
    let erasing = tokio::spawn(async move {
        let erased = erase_from(&log, &comparable).await;
        if erased.is_err() {
            // A session that waits for a lock or a standby would stay.
            log.end_sessions().await;
        }
        erased
    });
    erasing
        .await
        .map_err(|ended| LogError::Unavailable(ended.into()))?
}

async fn erase_from(log: &PostgresLog, comparable: &str) -> Result<Option<Erasure>, LogError> {
    let failed = |error: sqlx::Error| LogError::Unavailable(error.into());
    // Kept to the end: no more erasures run at once than the pool has connections.
    let mut connection = log.pool().acquire().await.map_err(failed)?;
    let (mut found, mut seen) = (Found::default(), 0);
    loop {
        let head: i64 = sqlx::query_scalar("SELECT position FROM log_head")
            .fetch_one(&mut *connection)
            .await
            .map_err(failed)?;
        found
            .look(&mut connection, seen, head, comparable)
            .await
            .map_err(failed)?;
        let came = head - seen;
        seen = head;
        if came <= CLOSE {
            break;
        }
    }
    // From here to the commit nobody appends. It is short: only what came meanwhile is still to be looked at.
    let mut turn = log.take_turn().await?;
    let locked = i64::try_from(turn.head().position.0).unwrap_or(i64::MAX);
    found
        .look(turn.connection(), seen, locked, comparable)
        .await
        .map_err(failed)?;
    if found.is_empty() {
        turn.pass().await;
        log.barrier().await?;
        return Ok(None);
    }
    let erasure = found.remove(turn.connection()).await.map_err(failed)?;
    turn.commit().await.map_err(failed)?;
    Ok(Some(erasure))
}

/// Who a person is in each drop, and where their data stands.
///
/// The database only leaves out what is surely another's; whether a row is meant is decided here. Its
/// functions on JSON fail on texts that are valid for `json` columns (`\u0000`), so that one such row
/// would keep everybody from being erased, and it does not compare buyers as the shop does.
#[derive(Default)]
struct Found {
    buyers: BTreeSet<Erased>,
    positions: BTreeSet<i64>,
}

impl Found {
    fn is_empty(&self) -> bool {
        self.buyers.is_empty() && self.positions.is_empty()
    }

    /// Looks through what was recorded after `after`, up to `until`.
    async fn look(
        &mut self,
        connection: &mut PgConnection,
        after: i64,
        until: i64,
        comparable: &str,
    ) -> Result<(), sqlx::Error> {
        let slice = i64::try_from(SLICE).unwrap_or(i64::MAX);
        let mut start = after;
        while start < until {
            let end = until.min(start.saturating_add(slice));
            self.introductions(connection, start, end, comparable)
                .await?;
            start = end;
        }
        let mut drops = HashMap::<DropId, Vec<Pseudonym>>::new();
        for Erased { drop_id, buyer } in &self.buyers {
            drops.entry(*drop_id).or_default().push(*buyer);
        }
        for (drop_id, buyers) in drops {
            self.data_of(connection, after, until, drop_id, &buyers)
                .await?;
        }
        Ok(())
    }

    /// Where a person was introduced, by an event that can be read or not.
    async fn introductions(
        &mut self,
        connection: &mut PgConnection,
        after: i64,
        until: i64,
        comparable: &str,
    ) -> Result<(), sqlx::Error> {
        // A text with an escape or with other letters than ASCII may be anybody's.
        let rows = sqlx::query(
            "SELECT position, aggregate_id, event_type, payload::text, private::text
               FROM events
              WHERE position > $1 AND position <= $2 AND aggregate_type = $3 AND private IS NOT NULL
                AND (strpos(lower(private::text COLLATE \"C\"), $4) > 0 OR strpos(private::text, '\\') > 0
                     OR octet_length(private::text) <> char_length(private::text))",
        )
        .bind(after)
        .bind(until)
        .bind(AGGREGATE_TYPE)
        .bind(comparable)
        .fetch_all(connection)
        .await?;
        for row in rows {
            let private: Value = parsed(row.try_get(4)?);
            let named = private["buyer_id"].as_str();
            let is_meant = named
                .and_then(|named| BuyerId::stored(named).ok())
                .is_some_and(|named| *named.comparable() == *comparable);
            if is_meant {
                self.positions.insert(row.try_get(0)?);
                let stream: String = row.try_get(1)?;
                let buyer = buyer_in(row.try_get(3)?, row.try_get(2)?);
                let drop_id = stream.parse().ok();
                let erased = drop_id.zip(buyer);
                self.buyers
                    .extend(erased.map(|(drop_id, buyer)| Erased { drop_id, buyer }));
            }
        }
        Ok(())
    }

    /// Everything that stands beside the events of these buyers: introductions, later names, payment references.
    async fn data_of(
        &mut self,
        connection: &mut PgConnection,
        after: i64,
        until: i64,
        drop_id: DropId,
        buyers: &[Pseudonym],
    ) -> Result<(), sqlx::Error> {
        let digits = |buyer: &Pseudonym| buyer.0.simple().to_string();
        let digits: Vec<String> = buyers.iter().map(digits).collect();
        let rows = sqlx::query(
            "SELECT position, event_type, payload::text FROM events
              WHERE aggregate_type = $1 AND aggregate_id = $2 AND private IS NOT NULL AND position > $3 AND position <= $4
                AND (strpos(payload::text, '\\') > 0
                     OR EXISTS (SELECT 1 FROM unnest($5::text[]) digits
                                 WHERE strpos(replace(lower(payload::text COLLATE \"C\"), '-', ''), digits) > 0))",
        )
        .bind(AGGREGATE_TYPE)
        .bind(drop_id.to_string())
        .bind(after)
        .bind(until)
        .bind(digits)
        .fetch_all(connection)
        .await?;
        for row in rows {
            let buyer = buyer_in(row.try_get(2)?, row.try_get(1)?);
            if buyer.is_some_and(|buyer| buyers.contains(&buyer)) {
                self.positions.insert(row.try_get(0)?);
            }
        }
        Ok(())
    }

    /// Records the erasure and removes the data, under the head's lock.
    async fn remove(&self, connection: &mut PgConnection) -> Result<Erasure, sqlx::Error> {
        let events = self.positions.len();
        let erased = ErasureEvent::BuyerErased(BuyerErased {
            events: events as u64,
        });
        let payload = serde_json::to_string(&erased);
        let payload = payload.map_err(|error| sqlx::Error::Encode(error.into()))?;
        // As a stock program appends: the database gives the place, the time and the hash.
        let position: i64 = sqlx::query_scalar(
            "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
             SELECT $1, $2, coalesce(max(sequence), 0) + 1, $3, $4, $5::json, '{}'::json
               FROM events WHERE aggregate_type = $1 AND aggregate_id = $2
             RETURNING position",
        )
        .bind(erasure::AGGREGATE_TYPE)
        .bind(erasure::STREAM)
        .bind(erasure::BUYER_ERASED)
        .bind(erasure::VERSION)
        .bind(payload)
        .fetch_one(&mut *connection)
        .await?;
        let (drops, buyers): (Vec<_>, Vec<_>) = self
            .buyers
            .iter()
            .map(|erased| (erased.drop_id.0, erased.buyer.0))
            .unzip();
        sqlx::query("INSERT INTO erasures SELECT $1, * FROM UNNEST($2::uuid[], $3::uuid[])")
            .bind(position)
            .bind(drops)
            .bind(buyers)
            .execute(&mut *connection)
            .await?;
        let positions: Vec<i64> = self.positions.iter().copied().collect();
        sqlx::query("UPDATE events SET private = NULL WHERE position = ANY($1)")
            .bind(positions)
            .execute(connection)
            .await?;
        Ok(Erasure {
            position: Position(position.unsigned_abs()),
            pseudonyms: self.buyers.len(),
            events,
        })
    }
}

/// A stored text as JSON; null where it is none.
fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// The buyer that a payload of this type names.
fn buyer_in(payload: &str, event_type: &str) -> Option<Pseudonym> {
    parsed(payload)[event_type]["buyer"].as_str()?.parse().ok()
}

/// Everybody who was erased, and where; none when this user may not see them.
///
/// # Errors
/// [`sqlx::Error`].
pub async fn told(
    connection: &mut PgConnection,
) -> Result<Option<Vec<(Position, Erased)>>, sqlx::Error> {
    let may_see: bool = sqlx::query_scalar("SELECT has_table_privilege('erasures', 'SELECT')")
        .fetch_one(&mut *connection)
        .await?;
    if !may_see {
        return Ok(None);
    }
    let rows: Vec<(i64, uuid::Uuid, uuid::Uuid)> =
        sqlx::query_as("SELECT position, drop_id, buyer FROM erasures")
            .fetch_all(connection)
            .await?;
    let told = rows.into_iter().map(|(position, drop_id, buyer)| {
        let erased = Erased {
            drop_id: DropId(drop_id),
            buyer: Pseudonym(buyer),
        };
        (Position(position.unsigned_abs()), erased)
    });
    Ok(Some(told.collect()))
}

/// Events whose personal data was removed by erasures that were recorded after `position`.
///
/// # Errors
/// [`sqlx::Error`].
pub async fn events_erased_after(pool: &PgPool, position: Position) -> Result<u64, sqlx::Error> {
    let payloads: Vec<String> = sqlx::query_scalar(
        "SELECT payload::text FROM events WHERE position > $1 AND aggregate_type = $2 AND event_type = $3",
    )
    .bind(i64::try_from(position.0).unwrap_or(i64::MAX))
    .bind(erasure::AGGREGATE_TYPE)
    .bind(erasure::BUYER_ERASED)
    .fetch_all(pool)
    .await?;
    let events = |payload: &String| parsed(payload)[erasure::BUYER_ERASED]["events"].as_u64();
    Ok(payloads.iter().filter_map(events).sum())
}

/// Who was erased at these positions.
pub(crate) async fn erased_at(
    pool: &PgPool,
    positions: &[Position],
) -> Result<Vec<Erased>, sqlx::Error> {
    let positions: Vec<i64> = positions
        .iter()
        .map(|position| i64::try_from(position.0).unwrap_or(i64::MAX))
        .collect();
    let rows: Vec<(uuid::Uuid, uuid::Uuid)> =
        sqlx::query_as("SELECT drop_id, buyer FROM erasures WHERE position = ANY($1)")
            .bind(positions)
            .fetch_all(pool)
            .await?;
    let erased = rows.into_iter().map(|(drop_id, buyer)| Erased {
        drop_id: DropId(drop_id),
        buyer: Pseudonym(buyer),
    });
    Ok(erased.collect())
}
