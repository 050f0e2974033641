//! Erases a buyer: removes their data from the log's table, and informs every running engine.
//!
//! Promise: after [`erase`] returns, no table contains the buyer's id, and no engine appends a
//! batch that it decided while it still had the id. An erasure is an event (`BuyerErased`, in its
//! own stream, without personal data), so it moves the head of the log: an engine that decided
//! earlier gets a conflict, reads the event, removes the buyer, and decides again. The result is as
//! durable as an append, even "no such buyer", because an earlier erasure may have been the reason.
//! Follows and reminders are deleted last, whether or not the log knows the buyer.
//! Limit: finding a buyer reads every row that still has personal data, because no index contains
//! it. Old row versions in PostgreSQL (until vacuum, in its write-ahead log, in backups) are for
//! its operator to expire.

mod choices;

use std::collections::{BTreeSet, HashMap};

use domain::erasure::{self, BuyerErased, ErasureEvent};
use domain::values::{AdminName, BuyerId, DropId, Position, Pseudonym};
use domain::{AGGREGATE_TYPE, order};
use serde_json::Value;
use sqlx::{PgConnection, PgPool, Row};

use crate::codec::metadata_of;
use crate::error::LogError;
use crate::log::postgres::{LogPool, PostgresLog};
use crate::log::{EventLog, Turn};
use crate::sql_values::{from_sql, to_sql};

/// Positions per statement of the search, so that a long search does not block vacuum.
const SLICE: u64 = 200_000;

/// Within this distance of the head, the rest is searched while appends are blocked.
const CLOSE: i64 = 10_000;

/// An erased buyer of a drop or of an order, as the log knows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Erased {
    /// The drop; for the buyer of an order, the order: both ids are random, so they never meet.
    pub drop_id: DropId,
    pub buyer: Pseudonym,
}

/// The result of an erasure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erasure {
    /// The position of its event.
    pub position: Position,
    /// Pseudonyms of the buyer; one per drop, one per order, and another for each return after an
    /// earlier erasure.
    pub pseudonyms: usize,
    /// Events whose personal data was removed.
    pub events: usize,
}

/// Erases a buyer in all drops and orders; `None` when the buyer is not known.
///
/// Continues to completion even if its caller goes away.
///
/// # Errors
/// [`LogError::Unavailable`]. Nothing is erased then, unless only the response to the commit was
/// lost; erasing again finds out.
pub async fn erase(pool: &LogPool, buyer_id: &BuyerId) -> Result<Option<Erasure>, LogError> {
    erase_by(pool, buyer_id, None).await
}

/// [`erase`], at the request of this administrator, whose name is stored in the event's metadata.
///
/// # Errors
/// As [`erase`].
pub async fn erase_by(
    pool: &LogPool,
    buyer_id: &BuyerId,
    author: Option<AdminName>,
) -> Result<Option<Erasure>, LogError> {
    let log = PostgresLog::new(pool.clone());
    let comparable = buyer_id.comparable();
    let erasing = tokio::spawn(async move {
        let erased = erase_everywhere(&log, &comparable, author).await;
        if erased.is_err() {
            // A session that waits for a lock or a standby would remain.
            log.end_sessions().await;
        }
        erased
    });
    erasing
        .await
        .map_err(|ended| LogError::Unavailable(ended.into()))?
}

async fn erase_everywhere(
    log: &PostgresLog,
    comparable: &str,
    author: Option<AdminName>,
) -> Result<Option<Erasure>, LogError> {
    let erased = erase_from(log, comparable, author).await?;
    let failed = |error: sqlx::Error| LogError::Unavailable(error.into());
    let mut connection = log.pool().acquire().await.map_err(failed)?;
    choices::delete(&mut connection, comparable)
        .await
        .map_err(failed)?;
    Ok(erased)
}

async fn erase_from(
    log: &PostgresLog,
    comparable: &str,
    author: Option<AdminName>,
) -> Result<Option<Erasure>, LogError> {
    let failed = |error: sqlx::Error| LogError::Unavailable(error.into());
    // Kept to the end, so that concurrent erasures are limited by the size of the pool.
    let mut connection = log.pool().acquire().await.map_err(failed)?;
    let mut found = Found {
        author,
        ..Found::default()
    };
    let mut seen = 0;
    loop {
        let head: i64 = sqlx::query_scalar("SELECT position FROM log_head")
            .fetch_one(&mut *connection)
            .await
            .map_err(failed)?;
        found
            .search(&mut connection, seen, head, comparable)
            .await
            .map_err(failed)?;
        let came = head - seen;
        seen = head;
        if came <= CLOSE {
            break;
        }
    }
    // Appends are blocked from here to the commit. That is short: only recent events are still to
    // be searched.
    let mut turn = log.take_turn().await?;
    let locked = to_sql(turn.head().position);
    found
        .search(turn.connection(), seen, locked, comparable)
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

/// The buyer's pseudonym in each drop, and the positions of their data.
///
/// The database only excludes rows that certainly belong to others; the code here decides about the
/// rest. The database's JSON functions fail on texts that are valid for `json` columns (`\u0000`),
/// so one such row would block every erasure, and it does not compare buyer ids as the shop does.
#[derive(Default)]
struct Found {
    buyers: BTreeSet<Erased>,
    positions: BTreeSet<i64>,
    author: Option<AdminName>,
}

impl Found {
    fn is_empty(&self) -> bool {
        self.buyers.is_empty() && self.positions.is_empty()
    }

    /// Searches the events after `after`, up to `until`.
    async fn search(
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
        self.data_of_orders(connection, after, until).await
    }

    /// Finds introductions of the buyer, in events that can be decoded or not.
    async fn introductions(
        &mut self,
        connection: &mut PgConnection,
        after: i64,
        until: i64,
        comparable: &str,
    ) -> Result<(), sqlx::Error> {
        // A text with an escape or with non-ASCII letters cannot be excluded by the database.
        let rows = sqlx::query(
            "SELECT position, aggregate_id, event_type, payload::text, private::text
               FROM events
              WHERE position > $1 AND position <= $2 AND aggregate_type IN ($3, $5) AND private IS NOT NULL
                AND (strpos(lower(private::text COLLATE \"C\"), $4) > 0 OR strpos(private::text, '\\') > 0
                     OR octet_length(private::text) <> char_length(private::text))",
        )
        .bind(after)
        .bind(until)
        .bind(AGGREGATE_TYPE)
        .bind(comparable)
        .bind(order::AGGREGATE_TYPE)
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

    /// Finds all personal data of these buyers: introductions, later names, payment references.
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

    /// Finds all personal data of the found orders: an order has one buyer, so everything in its
    /// stream is theirs.
    async fn data_of_orders(
        &mut self,
        connection: &mut PgConnection,
        after: i64,
        until: i64,
    ) -> Result<(), sqlx::Error> {
        let streams: Vec<String> = self
            .buyers
            .iter()
            .map(|erased| erased.drop_id.to_string())
            .collect();
        let positions: Vec<i64> = sqlx::query_scalar(
            "SELECT position FROM events
              WHERE aggregate_type = $1 AND aggregate_id = ANY($2) AND private IS NOT NULL AND position > $3 AND position <= $4",
        )
        .bind(order::AGGREGATE_TYPE)
        .bind(streams)
        .bind(after)
        .bind(until)
        .fetch_all(connection)
        .await?;
        self.positions.extend(positions);
        Ok(())
    }

    /// Records the erasure and removes the data, while holding the head's lock.
    async fn remove(&self, connection: &mut PgConnection) -> Result<Erasure, sqlx::Error> {
        let events = self.positions.len();
        let erased = ErasureEvent::BuyerErased(BuyerErased {
            events: events as u64,
        });
        let payload = serde_json::to_string(&erased);
        let payload = payload.map_err(|error| sqlx::Error::Encode(error.into()))?;
        // As a stock program appends: the database assigns the position, the time and the hash.
        let position: i64 = sqlx::query_scalar(
            "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
             SELECT $1, $2, coalesce(max(sequence), 0) + 1, $3, $4, $5::json, $6::json
               FROM events WHERE aggregate_type = $1 AND aggregate_id = $2
             RETURNING position",
        )
        .bind(erasure::AGGREGATE_TYPE)
        .bind(erasure::STREAM)
        .bind(erasure::BUYER_ERASED)
        .bind(erasure::VERSION)
        .bind(payload)
        .bind(self.author.map_or_else(|| "{}".to_owned(), metadata_of))
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
            position: from_sql(position),
            pseudonyms: self.buyers.len(),
            events,
        })
    }
}

/// Parses a stored text as JSON; null if it is invalid.
fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// The buyer named by a payload of this type.
fn buyer_in(payload: &str, event_type: &str) -> Option<Pseudonym> {
    parsed(payload)[event_type]["buyer"].as_str()?.parse().ok()
}

/// All erased buyers, by position; `None` when this database user may not see them.
///
/// # Errors
/// [`sqlx::Error`].
pub async fn recorded(
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
    let erased = rows.into_iter().map(|(position, drop_id, buyer)| {
        let erased = Erased {
            drop_id: DropId(drop_id),
            buyer: Pseudonym(buyer),
        };
        (from_sql(position), erased)
    });
    Ok(Some(erased.collect()))
}

/// The number of events whose personal data was removed by erasures recorded after `position`.
///
/// # Errors
/// [`sqlx::Error`].
pub async fn events_erased_after(pool: &PgPool, position: Position) -> Result<u64, sqlx::Error> {
    let payloads: Vec<String> = sqlx::query_scalar(
        "SELECT payload::text FROM events WHERE position > $1 AND aggregate_type = $2 AND event_type = $3",
    )
    .bind(to_sql(position))
    .bind(erasure::AGGREGATE_TYPE)
    .bind(erasure::BUYER_ERASED)
    .fetch_all(pool)
    .await?;
    let events = |payload: &String| parsed(payload)[erasure::BUYER_ERASED]["events"].as_u64();
    Ok(payloads.iter().filter_map(events).sum())
}

/// Every erased buyer.
pub(crate) async fn all_erased(pool: &PgPool) -> Result<Vec<Erased>, sqlx::Error> {
    let rows = sqlx::query_as("SELECT drop_id, buyer FROM erasures");
    Ok(erased_in(rows.fetch_all(pool).await?))
}

/// The buyers erased at these positions.
pub(crate) async fn erased_at(
    pool: &PgPool,
    positions: &[Position],
) -> Result<Vec<Erased>, sqlx::Error> {
    let positions: Vec<i64> = positions.iter().map(|position| to_sql(*position)).collect();
    let rows: Vec<(uuid::Uuid, uuid::Uuid)> =
        sqlx::query_as("SELECT drop_id, buyer FROM erasures WHERE position = ANY($1)")
            .bind(positions)
            .fetch_all(pool)
            .await?;
    Ok(erased_in(rows))
}

fn erased_in(rows: Vec<(uuid::Uuid, uuid::Uuid)>) -> Vec<Erased> {
    let erased = rows.into_iter().map(|(drop_id, buyer)| Erased {
        drop_id: DropId(drop_id),
        buyer: Pseudonym(buyer),
    });
    erased.collect()
}
