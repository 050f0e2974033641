//! Compares the log with the last head that is kept outside the database.

use chrono::{DateTime, Utc};
use domain::incident::{self, LogEvent};
use domain::values::Position;
use sqlx::PgPool;

use super::{PostgresLog, unavailable};
use crate::error::LogError;
use crate::kept_heads::{KeptHead, KnownLog, LogId, Loss, RecordedCut};
use crate::log::{EventLog, Head, StoredEvent};

const CUTS: &str = "
SELECT position, recorded_at, payload::text FROM events
 WHERE aggregate_type = $1 AND aggregate_id = $2 AND event_type = $3
 ORDER BY sequence";

/// Every cut that the log records, in the order of the log.
///
/// # Errors
/// [`sqlx::Error`].
pub async fn cuts(pool: &PgPool) -> Result<Vec<RecordedCut>, sqlx::Error> {
    let rows: Vec<(i64, DateTime<Utc>, String)> = sqlx::query_as(CUTS)
        .bind(incident::AGGREGATE_TYPE)
        .bind(incident::STREAM)
        .bind(incident::TAIL_CUT)
        .fetch_all(pool)
        .await?;
    let cut = |(at, recorded_at, payload): (i64, DateTime<Utc>, String)| match serde_json::from_str(
        &payload,
    ) {
        Ok(LogEvent::TailCut(cut)) => Some(RecordedCut {
            at: Position(at.unsigned_abs()),
            recorded_at: recorded_at.into(),
            cut,
        }),
        Ok(LogEvent::PositionVoided(_)) | Err(_) => None,
    };
    Ok(rows.into_iter().filter_map(cut).collect())
}

impl PostgresLog {
    /// The name of the log; `None` while it has no event.
    ///
    /// # Errors
    /// [`LogError`].
    pub async fn id(&self) -> Result<Option<LogId>, LogError> {
        let first = self.read(Position::default(), 1).await?;
        Ok(first.first().map(|event| LogId::of_first(event.hash)))
    }

    /// See [`cuts`].
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    pub async fn cuts(&self) -> Result<Vec<RecordedCut>, LogError> {
        let cuts = self.in_time(cuts(&self.readers)).await;
        cuts.map_err(unavailable)
    }

    /// Compares the log with its known heads. Returns `None` if it continues that history.
    ///
    /// # Errors
    /// [`LogError`].
    pub async fn loss(&self, known: &KnownLog) -> Result<Option<Loss>, LogError> {
        let head = self.head().await?;
        let found = self.at(known.head.position, head).await?;
        if found
            .as_ref()
            .is_some_and(|event| event.hash == known.head.hash)
        {
            return Ok(None);
        }
        // A log with newer events than the known head is no part of its history.
        let is_part = found.is_none() && head.recorded_at <= known.head.recorded_at;
        let accepted = self.cuts().await?.into_iter();
        let accepted = accepted.rev().find(|recorded| recorded.covers(&known.head));
        Ok(Some(Loss {
            known: known.head,
            after: self.common(known, head, is_part).await?,
            head,
            other: found.map(|event| event.hash),
            accepted,
        }))
    }

    /// The last position that is known to be the same. A log that may be a `part` of the known
    /// history ends there, if it has the last known head before its end.
    async fn common(&self, known: &KnownLog, head: Head, part: bool) -> Result<KeptHead, LogError> {
        let start = KeptHead::from(Head::default());
        let within = known.earlier.iter().rev();
        let mut within = within
            .filter(|earlier| earlier.position <= head.position)
            .peekable();
        let last = within.peek().map(|last| last.position);
        for earlier in within {
            let found = self.at(earlier.position, head).await?;
            if found.is_some_and(|event| event.hash == earlier.hash) {
                let is_last = Some(earlier.position) == last;
                return Ok(if part && is_last {
                    head.into()
                } else {
                    *earlier
                });
            }
        }
        // Nothing contradicts it.
        Ok(if part && last.is_none() {
            head.into()
        } else {
            start
        })
    }

    /// The event at `position`, if the log reaches it.
    async fn at(&self, position: Position, head: Head) -> Result<Option<StoredEvent>, LogError> {
        if position > head.position || position == Position::default() {
            return Ok(None);
        }
        let before = Position(position.0 - 1);
        Ok(self.read(before, 1).await?.pop())
    }
}
