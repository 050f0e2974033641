//! The log as a stream, for who reads all of it: binary `COPY`, a slice at a time, ahead of its reader.
//!
//! Promise: events come as they are stored, in position order (or, of one drop, in stream order); a row that no log can
//! hold ends the stream with its position. A slice is one short statement, so that reading a long log holds back no vacuum
//! of the head's row while others append. Limit: whether positions are dense is for the reader to check.

use std::borrow::Cow;

use bytes::{Buf, BytesMut};
use domain::values::{DropId, Position, Sequence, Timestamp};
use domain::{AGGREGATE_TYPE, DropEvent};
use futures::StreamExt;
use sqlx::postgres::PgPool;
use sqlx::{PgConnection, Row};
use tokio::sync::mpsc;

use super::parts::{AHEAD, Growing};
use super::{Hash, Head, Parts, StoredEvent, StoredRef};
use crate::error::LogError;
use crate::feed::Committed;

/// Events handed over at once.
const PAGE: usize = 2_000;
/// Pages read by one `COPY`. It starts only once there is room for all of them, so that no slow reader keeps it open.
const SLICE_PAGES: usize = 5;
/// Positions (or sequences) covered by one `COPY`.
const SLICE: u64 = (PAGE * SLICE_PAGES) as u64;

/// Microseconds from the Unix epoch to PostgreSQL's, 2000-01-01.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
const FIELDS: usize = 11;

/// Which events to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection {
    /// Only what comes after.
    pub after: Position,
    /// Only up to here.
    pub until: Position,
    /// Only this drop's.
    pub drop: Option<DropId>,
    /// With the personal data beside the events.
    pub private: bool,
}

/// Pages of consecutive events, read ahead by a task that ends with its receiver.
pub type Pages = mpsc::Receiver<Result<Vec<StoredEvent>, LogError>>;

/// Starts reading.
#[must_use]
pub fn pages(pool: PgPool, selection: Selection) -> Pages {
    let (sender, receiver) = mpsc::channel(2 * SLICE_PAGES);
    tokio::spawn(start(pool, selection, sender, Vec::with_capacity(PAGE)));
    receiver
}

/// Starts reading, and decodes events where the database's bytes stand.
pub(super) fn parts(pool: PgPool, selection: Selection) -> Parts {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let growing = Growing::after(selection.after);
    tokio::spawn(start(pool, selection, sender, growing));
    receiver
}

async fn start<G: Gather>(
    pool: PgPool,
    selection: Selection,
    sender: mpsc::Sender<Result<G::Page, LogError>>,
    gather: G,
) {
    let mut reader = Reader {
        sender,
        selection,
        gather,
    };
    if let Err(Stop::Failed(error)) = reader.read(&pool).await {
        let _gone = reader.sender.send(Err(error)).await;
    }
}

/// Makes pages of rows.
trait Gather: Send {
    type Page: Send;
    fn add(&mut self, event: StoredRef<'_>) -> Result<(), LogError>;
    fn count(&self) -> usize;
    fn take(&mut self) -> Self::Page;
}

impl Gather for Vec<StoredEvent> {
    type Page = Self;

    fn add(&mut self, event: StoredRef<'_>) -> Result<(), LogError> {
        self.push(event.copied());
        Ok(())
    }

    fn count(&self) -> usize {
        self.len()
    }

    fn take(&mut self) -> Self {
        std::mem::replace(self, Self::with_capacity(PAGE))
    }
}

impl Gather for Growing {
    type Page = Committed;

    fn add(&mut self, event: StoredRef<'_>) -> Result<(), LogError> {
        Self::add(self, event)
    }

    fn count(&self) -> usize {
        self.read()
    }

    fn take(&mut self) -> Committed {
        Self::take(self)
    }
}

/// The head; and, seen at the same instant, the first event that stands outside the log which it ends.
///
/// # Errors
/// [`LogError`].
pub async fn head_and_stray(
    connection: &mut PgConnection,
) -> Result<(Head, Option<Position>), LogError> {
    let row = sqlx::query(
        "SELECT position, hash, recorded_at,
                (SELECT min(e.position) FROM events e WHERE e.position > h.position OR e.position < 1) AS stray
           FROM log_head h",
    )
    .fetch_one(connection)
    .await
    .map_err(unavailable)?;
    let stray: Option<i64> = row.try_get("stray").map_err(unavailable)?;
    let stray = stray.map(|position| Position(u64::try_from(position).unwrap_or_default()));
    Ok((super::postgres::head_from(&row)?, stray))
}

/// Whether this connection may read personal data.
///
/// # Errors
/// [`LogError::Unavailable`].
pub async fn may_read_private(connection: &mut PgConnection) -> Result<bool, LogError> {
    sqlx::query_scalar("SELECT has_column_privilege('events', 'private', 'SELECT')")
        .fetch_one(connection)
        .await
        .map_err(unavailable)
}

/// Why a reader stops before its end.
enum Stop {
    /// Nobody listens any more.
    Gone,
    Failed(LogError),
}

impl From<LogError> for Stop {
    fn from(error: LogError) -> Self {
        Self::Failed(error)
    }
}

struct Reader<G: Gather> {
    sender: mpsc::Sender<Result<G::Page, LogError>>,
    selection: Selection,
    gather: G,
}

impl<G: Gather> Reader<G> {
    async fn read(&mut self, pool: &PgPool) -> Result<(), Stop> {
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
            self.copy(&mut connection, &statement).await?;
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
            "COPY (SELECT position, recorded_at, aggregate_type, aggregate_id, sequence, event_type, event_version, \
             payload, metadata, hash, {private} FROM events WHERE {slice}) TO STDOUT (FORMAT binary)"
        )
    }

    async fn copy(&mut self, connection: &mut PgConnection, statement: &str) -> Result<(), Stop> {
        let Self { sender, gather, .. } = self;
        let mut room = sender
            .reserve_many(SLICE_PAGES)
            .await
            .map_err(|_| Stop::Gone)?;
        let mut chunks = connection
            .copy_out_raw(statement)
            .await
            .map_err(unavailable)?;
        let mut buffer = BytesMut::new();
        let mut is_begun = false;
        while let Some(chunk) = chunks.next().await {
            buffer.extend_from_slice(&chunk.map_err(unavailable)?);
            if !is_begun {
                is_begun = skip_header(&mut buffer)?;
            }
            while let Some((event, length)) = next_row(&buffer)? {
                gather.add(event)?;
                buffer.advance(length);
                if gather.count() == PAGE {
                    send(sender, room.next(), gather.take()).await?;
                }
            }
        }
        if gather.count() == 0 {
            return Ok(());
        }
        send(sender, room.next(), gather.take()).await
    }
}

/// A slice with more rows than positions, which no log has, waits for its reader.
async fn send<P>(
    sender: &mpsc::Sender<Result<P, LogError>>,
    room: Option<mpsc::Permit<'_, Result<P, LogError>>>,
    page: P,
) -> Result<(), Stop> {
    match room {
        Some(room) => {
            room.send(Ok(page));
            Ok(())
        }
        None => sender.send(Ok(page)).await.map_err(|_| Stop::Gone),
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

/// The header is 19 bytes and an extension that nobody has defined yet.
fn skip_header(buffer: &mut BytesMut) -> Result<bool, LogError> {
    if buffer.len() < 19 {
        return Ok(false);
    }
    if !buffer.starts_with(SIGNATURE) {
        return Err(LogError::Unavailable("this is no binary COPY".into()));
    }
    buffer.advance(19);
    Ok(true)
}

/// The first row of `buffer` and its length; none when it is not there in full, or there are no more.
fn next_row(buffer: &[u8]) -> Result<Option<(StoredRef<'_>, usize)>, LogError> {
    let mut rest = buffer;
    let Some(count) = take::<2>(&mut rest).map(i16::from_be_bytes) else {
        return Ok(None);
    };
    if count < 0 {
        return Ok(None);
    }
    let mut fields = [None; FIELDS];
    for field in &mut fields {
        let Some(length) = take::<4>(&mut rest).map(i32::from_be_bytes) else {
            return Ok(None);
        };
        let Ok(length) = usize::try_from(length) else {
            continue; // NULL
        };
        let Some((value, after)) = rest.split_at_checked(length) else {
            return Ok(None);
        };
        *field = Some(value);
        rest = after;
    }
    let length = buffer.len() - rest.len();
    let position = fields[0].and_then(integer).unwrap_or_default();
    let event = event(&fields).map_err(|reason| LogError::Corrupt {
        position: Position(u64::try_from(position).unwrap_or_default()),
        reason,
    })?;
    Ok(Some((event, length)))
}

fn event<'a>(fields: &[Option<&'a [u8]>; FIELDS]) -> Result<StoredRef<'a>, String> {
    let field = |index: usize, name: &str| fields[index].ok_or_else(|| format!("{name} is NULL"));
    let number = |index: usize, name: &str| {
        field(index, name)
            .map(integer)?
            .and_then(|number| u64::try_from(number).ok())
            .ok_or_else(|| format!("{name} is no place"))
    };
    let text = |index: usize, name: &str| {
        std::str::from_utf8(field(index, name)?).map_err(|_| format!("{name} is not UTF-8"))
    };
    Ok(StoredRef {
        position: Position(number(0, "position")?),
        recorded_at: timestamp(field(1, "recorded_at")?)?,
        aggregate_type: text(2, "aggregate_type")?,
        aggregate_id: text(3, "aggregate_id")?,
        sequence: Sequence(number(4, "sequence")?),
        event_type: text(5, "event_type")?,
        event_version: text(6, "event_version")?,
        payload: text(7, "payload")?,
        metadata: text(8, "metadata")?,
        hash: hash(field(9, "hash")?)?,
        private: match fields[10] {
            Some(_) => Some(text(10, "private")?),
            None => None,
        },
    })
}

fn hash(bytes: &[u8]) -> Result<Hash, String> {
    Hash::from_slice(bytes).map_err(|_| format!("hash: expected 32 bytes, found {}", bytes.len()))
}

/// The chain covers milliseconds, so what is finer could be altered unseen: it is refused.
fn timestamp(bytes: &[u8]) -> Result<Timestamp, String> {
    let micros = integer(bytes)
        .and_then(|micros| micros.checked_add(POSTGRES_EPOCH_MICROS))
        .ok_or("recorded_at is no time")?;
    if micros % 1000 != 0 {
        return Err("recorded_at is not in whole milliseconds".to_owned());
    }
    Ok(Timestamp::from_millis(micros / 1000))
}

fn integer(bytes: &[u8]) -> Option<i64> {
    bytes.try_into().ok().map(i64::from_be_bytes)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*taken)
}

/// What nearly every row says is kept once for all.
pub(super) fn shared(text: &str) -> Cow<'static, str> {
    const USUAL: [&str; 3] = [AGGREGATE_TYPE, "1.0", "{}"];
    let mut known = USUAL.iter().chain(DropEvent::TYPES);
    known.find(|known| **known == text).map_or_else(
        || Cow::Owned(text.to_owned()),
        |known| Cow::Borrowed(*known),
    )
}

fn unavailable(error: sqlx::Error) -> LogError {
    LogError::Unavailable(error.into())
}
