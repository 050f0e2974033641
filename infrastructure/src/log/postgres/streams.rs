//! Single streams of the log: one drop's or order's, and the log's own incidents. Both use the
//! primary key.

use domain::AGGREGATE_TYPE;
use domain::incident;
use domain::values::{DropId, Position, Sequence, Timestamp};
use sqlx::postgres::PgExecutor;
use sqlx::{PgPool, Row};

use super::{event_from, to_sql};
use crate::log::{EventRef, Hash, StoredEvent, StreamId};
use crate::quarantine::{Voided, voided_by};

/// Events of a stream per statement.
const PAGE: i64 = 10_000;

const STREAM: &str = "
SELECT aggregate_type, aggregate_id, sequence, event_type, event_version, payload::text AS payload,
       metadata::text AS metadata, position, recorded_at, hash, private::text AS private
  FROM events
 WHERE aggregate_type = $1 AND aggregate_id = $2 AND sequence > $3 AND position <= $4
 ORDER BY sequence LIMIT $5";

const PART: &str = "
SELECT aggregate_type, aggregate_id, sequence, event_type, event_version, payload::text AS payload,
       metadata::text AS metadata, position, recorded_at, hash, private::text AS private
  FROM events
 WHERE aggregate_type = $1 AND aggregate_id = $2 AND sequence > $3 AND position > $4 AND position <= $5
 ORDER BY sequence LIMIT $6";

/// The drop of the void event is joined: its position is unique.
const VOIDED: &str = "
SELECT i.position, i.event_type, i.event_version, i.payload::text,
       (SELECT v.aggregate_id FROM events v
         WHERE v.aggregate_type = $3
           AND v.position = CASE WHEN i.payload -> i.event_type ->> 'position' ~ '^[0-9]{1,18}$'
                                 THEN (i.payload -> i.event_type ->> 'position')::bigint END)
  FROM events i
 WHERE i.aggregate_type = $1 AND i.aggregate_id = $2 AND i.event_type = $4
 ORDER BY i.sequence";

/// The next events of a drop's stream, in stream order.
pub(super) async fn page(
    pool: &PgPool,
    drop_id: DropId,
    after: i64,
    until: Position,
) -> Result<Vec<StoredEvent>, sqlx::Error> {
    let rows = sqlx::query(STREAM)
        .bind(AGGREGATE_TYPE)
        .bind(drop_id.to_string())
        .bind(after)
        .bind(to_sql(until.0))
        .bind(PAGE)
        .fetch_all(pool)
        .await?;
    rows.iter().map(event_from).collect()
}

/// The next events of a stream after a position, up to `limit`.
pub(super) async fn part(
    pool: &PgPool,
    stream: StreamId,
    after: Position,
    sequence: Sequence,
    until: Position,
    limit: usize,
) -> Result<Vec<StoredEvent>, sqlx::Error> {
    let rows = sqlx::query(PART)
        .bind(stream.aggregate_type())
        .bind(stream.aggregate_id())
        .bind(to_sql(sequence.0))
        .bind(to_sql(after.0))
        .bind(to_sql(until.0))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(pool)
        .await?;
    rows.iter().map(event_from).collect()
}

/// Every position that was declared void.
///
/// # Errors
/// [`sqlx::Error`].
pub async fn voided(database: impl PgExecutor<'_>) -> Result<Vec<Voided>, sqlx::Error> {
    let rows = sqlx::query(VOIDED)
        .bind(incident::AGGREGATE_TYPE)
        .bind(incident::STREAM)
        .bind(AGGREGATE_TYPE)
        .bind(incident::POSITION_VOIDED)
        .fetch_all(database)
        .await?;
    let mut voided = vec![];
    for row in &rows {
        let (at, stream): (i64, Option<String>) = (row.try_get(0)?, row.try_get(4)?);
        let at = Position(at.unsigned_abs());
        let incident = EventRef {
            position: at,
            recorded_at: Timestamp::default(),
            aggregate_type: incident::AGGREGATE_TYPE,
            aggregate_id: incident::STREAM,
            sequence: Sequence::default(),
            event_type: row.try_get(1)?,
            event_version: row.try_get(2)?,
            payload: row.try_get(3)?,
            metadata: "{}",
            hash: Hash::default(),
            private: None,
        };
        voided.extend(voided_by(incident).map(|position| Voided {
            at,
            position,
            drop_id: stream.and_then(|stream| stream.parse().ok()),
        }));
    }
    Ok(voided)
}
