//! Single streams of the log: one drop's or order's, and the log's own incidents. Both use the
//! primary key.

use domain::incident;
use domain::values::{Position, Sequence, Timestamp};
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

/// The stream of the void event is joined: its position is unique.
const VOIDED: &str = "
SELECT i.position, i.event_type, i.event_version, i.payload::text, v.aggregate_type, v.aggregate_id
  FROM events i
  LEFT JOIN events v
    ON v.position = CASE WHEN i.payload -> i.event_type ->> 'position' ~ '^[0-9]{1,18}$'
                         THEN (i.payload -> i.event_type ->> 'position')::bigint END
 WHERE i.aggregate_type = $1 AND i.aggregate_id = $2 AND i.event_type = $3
 ORDER BY i.sequence";

/// The next events of a stream, in stream order.
pub(super) async fn page(
    pool: &PgPool,
    stream: StreamId,
    after: i64,
    until: Position,
) -> Result<Vec<StoredEvent>, sqlx::Error> {
    let rows = sqlx::query(STREAM)
        .bind(stream.aggregate_type())
        .bind(stream.aggregate_id())
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
        .bind(incident::POSITION_VOIDED)
        .fetch_all(database)
        .await?;
    let mut voided = vec![];
    for row in &rows {
        let at: i64 = row.try_get(0)?;
        let (kind, id): (Option<&str>, Option<&str>) = (row.try_get(4)?, row.try_get(5)?);
        let stream = kind
            .zip(id)
            .and_then(|(kind, id)| StreamId::stored(kind, id));
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
            stream,
        }));
    }
    Ok(voided)
}
