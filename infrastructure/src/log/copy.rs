//! Streams the log to readers of all of it: binary `COPY`, one slice at a time, read ahead.
//!
//! Promise: events arrive as they are stored, in position order (or, for one drop, in stream
//! order); an invalid row ends the stream with its position. A slice is one short statement, so
//! reading a long log does not block vacuum on the head's row while others append.
//! Limit: the reader checks that positions are dense.

mod rows;

use std::borrow::Cow;
use std::time::Duration;

use domain::values::{DropId, Position};
use domain::{AGGREGATE_TYPE, DropEvent, OrderEvent, order};
use futures::TryStreamExt;
use sqlx::postgres::PgPool;
use sqlx::{PgConnection, Row};
use tokio::sync::mpsc;

pub use self::rows::Block;
use self::rows::{COLUMNS, Cutter};
use super::timeout::within;
use super::{Head, StoredEvent};
use crate::error::LogError;

/// Events per page. Small enough that a page and its results stay in the processor's cache, and
/// below the size from which allocators map each block separately.
const PAGE: usize = 128;
/// Pages per `COPY`. A `COPY` starts only once there is room for all of its pages, so a slow reader
/// does not keep it open.
const SLICE_PAGES: usize = 80;
/// Positions (or sequences) per `COPY`.
const SLICE: u64 = (PAGE * SLICE_PAGES) as u64;

/// A server that sends nothing for this long counts as unreachable, even within a slice: a start
/// must fail rather than hang.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection {
    /// Only events after this position.
    pub after: Position,
    /// Only events up to this position.
    pub until: Position,
    /// Only events of this drop.
    pub drop: Option<DropId>,
    /// Includes the personal data of the events.
    pub private: bool,
}

/// Consecutive events, as they arrived.
type Page = Result<Block, LogError>;

/// Blocks of events, read ahead by a task that ends with the receiver.
pub type Blocks = mpsc::Receiver<Page>;

/// Pages of events, read ahead by a task that ends with them.
#[derive(Debug)]
pub struct Pages(Blocks);

impl Pages {
    /// The next events; `None` at the end.
    pub async fn recv(&mut self) -> Option<Result<Vec<StoredEvent>, LogError>> {
        let block = self.0.recv().await?;
        Some(block.and_then(|block| block.to_stored()))
    }
}

#[must_use]
pub fn pages(pool: PgPool, selection: Selection) -> Pages {
    Pages(blocks(pool, selection))
}

/// Starts reading, for consumers that process events in their wire form.
#[must_use]
pub fn blocks(pool: PgPool, selection: Selection) -> Blocks {
    let (sender, receiver) = mpsc::channel(2 * SLICE_PAGES);
    tokio::spawn(async move {
        let reader = Reader { sender, selection };
        if let Err(Stop::Failed(error)) = reader.read(&pool).await {
            let _gone = reader.sender.send(Err(error)).await;
        }
    });
    receiver
}

/// The head and, from the same snapshot, the first event beyond the head.
///
/// # Errors
/// [`LogError`].
pub async fn head_and_stray(
    connection: &mut PgConnection,
) -> Result<(Head, Option<Position>), LogError> {
    let row = sqlx::query(
        "SELECT position, hash, recorded_at,
                (SELECT min(coalesce(e.position, 0)) FROM events e
                  WHERE e.position > h.position OR e.position < 1 OR e.position IS NULL) AS stray
           FROM log_head h",
    )
    .fetch_one(connection)
    .await
    .map_err(super::postgres::no_head)?;
    let stray: Option<i64> = row.try_get("stray").map_err(unavailable)?;
    let stray = stray.map(|position| Position(u64::try_from(position).unwrap_or_default()));
    Ok((super::postgres::head_from(&row)?, stray))
}

/// Reports whether this connection may read personal data.
///
/// # Errors
/// [`LogError::Unavailable`].
pub async fn may_read_private(connection: &mut PgConnection) -> Result<bool, LogError> {
    sqlx::query_scalar("SELECT has_column_privilege('events', 'private', 'SELECT')")
        .fetch_one(connection)
        .await
        .map_err(unavailable)
}

enum Stop {
    /// The receiver was dropped.
    Gone,
    Failed(LogError),
}

impl From<LogError> for Stop {
    fn from(error: LogError) -> Self {
        Self::Failed(error)
    }
}

struct Reader {
    sender: mpsc::Sender<Page>,
    selection: Selection,
}

impl Reader {
    async fn read(&self, pool: &PgPool) -> Result<(), Stop> {
        let mut connection = pool.acquire().await.map_err(unavailable)?;
        let Selection {
            after, until, drop, ..
        } = self.selection;
        let (mut start, end) = match drop {
            None => (after.0, until.0),
            Some(drop_id) => (0, last_sequence(&mut connection, drop_id).await?),
        };
        while start < end {
            let stop = end.min(start + SLICE);
            let statement = self.statement(start, stop);
            let rows = self.copy(&mut connection, &statement).await?;
            if rows == 0 && drop.is_none() {
                // Positions are dense, so the log ends here, even if `log_head` is further.
                break;
            }
            start = stop;
        }
        Ok(())
    }

    fn statement(&self, start: u64, stop: u64) -> String {
        let Selection {
            after,
            until,
            drop,
            private,
        } = self.selection;
        let private = if private { "private" } else { "NULL::json" };
        let slice = match drop {
            None => format!("position > {start} AND position <= {stop} ORDER BY position"),
            Some(drop_id) => format!(
                "aggregate_type = '{AGGREGATE_TYPE}' AND aggregate_id = '{drop_id}' \
                 AND sequence > {start} AND sequence <= {stop} \
                 AND position > {after} AND position <= {until} ORDER BY sequence"
            ),
        };
        format!(
            "COPY (SELECT {COLUMNS}, {private} FROM events WHERE {slice}) TO STDOUT (FORMAT binary)"
        )
    }

    /// Returns the number of rows.
    async fn copy(&self, connection: &mut PgConnection, statement: &str) -> Result<usize, Stop> {
        let mut room = self
            .sender
            .reserve_many(SLICE_PAGES)
            .await
            .map_err(|_| Stop::Gone)?;
        let mut chunks = within(READ_TIMEOUT, connection.copy_out_raw(statement))
            .await
            .map_err(unavailable)?;
        let (mut cutter, mut rows) = (Cutter::default(), 0);
        while let Some(chunk) = within(READ_TIMEOUT, chunks.try_next())
            .await
            .map_err(unavailable)?
        {
            cutter.add(&chunk)?;
            if cutter.rows() >= PAGE {
                rows += cutter.rows();
                self.send(room.next(), cutter.cut()).await?;
            }
        }
        rows += cutter.rows();
        if cutter.rows() > 0 {
            self.send(room.next(), cutter.cut()).await?;
        }
        Ok(rows)
    }

    /// A slice with more rows than positions, which no valid log has, waits for its reader.
    async fn send(&self, room: Option<mpsc::Permit<'_, Page>>, block: Block) -> Result<(), Stop> {
        match room {
            Some(room) => {
                room.send(Ok(block));
                Ok(())
            }
            None => self.sender.send(Ok(block)).await.map_err(|_| Stop::Gone),
        }
    }
}

async fn last_sequence(connection: &mut PgConnection, drop_id: DropId) -> Result<u64, LogError> {
    let last: Option<i64> = sqlx::query_scalar(
        "SELECT max(sequence) FROM events WHERE aggregate_type = $1 AND aggregate_id = $2",
    )
    .bind(AGGREGATE_TYPE)
    .bind(drop_id.to_string())
    .fetch_one(connection)
    .await
    .map_err(unavailable)?;
    Ok(last.unwrap_or_default().unsigned_abs())
}

/// Texts that nearly every row has are shared.
pub(super) fn shared(text: &str) -> Cow<'static, str> {
    const USUAL: [&str; 4] = [AGGREGATE_TYPE, "1.0", "{}", order::AGGREGATE_TYPE];
    let mut known = USUAL
        .iter()
        .chain(DropEvent::TYPES)
        .chain(OrderEvent::TYPES);
    known.find(|known| **known == text).map_or_else(
        || Cow::Owned(text.to_owned()),
        |known| Cow::Borrowed(*known),
    )
}

fn unavailable(error: sqlx::Error) -> LogError {
    LogError::Unavailable(error.into())
}
