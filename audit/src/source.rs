//! The sources that auditors read: a database, or an export alone.
//!
//! Promise: one pass, in order, page by page, with read-ahead; a progress bar on a terminal. Limit:
//! a file has no index, so it is always read from its beginning.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use database::Database;
use database::DatabaseSettings;
use domain::AGGREGATE_TYPE;
use domain::values::{DropId, Position, Timestamp};
use futures::{Stream, stream};
use indicatif::ProgressBar;
use infrastructure::codec::{RecordedEvent, RecordedOrderEvent, decode, decode_order};
use infrastructure::error::LogError;
use infrastructure::log::copy::{self, Block, Blocks, Selection};
use infrastructure::log::lines::{LineReader, ReadError};
use infrastructure::log::postgres;
use infrastructure::log::{EventRef, Hash, Head, StoredEvent};
use infrastructure::quarantine::{Voided, Voids, voided_by};
use infrastructure::sql_values::to_sql;
use sqlx::PgPool;
use terminal::progress::{BYTES, ENDLESS, EVENTS, bar};
use tokio::sync::mpsc;

use super::AuditError;

/// Events per page of a file.
const PAGE: usize = 128;
/// A page of a file ends after this many bytes even with fewer events, because events may be long.
const PAGE_BYTES: u64 = 1 << 20;
/// Pages of a file that are read ahead.
const PAGES_AHEAD: usize = 16;
/// Bytes per read from a file.
const READ_BYTES: usize = 1 << 20;

/// Selects the source of the log.
#[derive(Debug, Clone, Args)]
pub struct SourceArgs {
    /// Read an export (ndjson) instead of a database; - for standard input.
    #[arg(long, env = "HOLDFAST_AUDIT_FILE", value_name = "FILE")]
    pub file: Option<PathBuf>,

    #[command(flatten)]
    pub database: DatabaseSettings,
}

/// A point of the log, as given on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// After the event at this position.
    Position(Position),
    /// After every event that was recorded at or before this time.
    Time(Timestamp),
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Position(position) => write!(f, "position {position}"),
            Self::Time(at) => write!(f, "{at}"),
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(position) = text.parse() {
            return Ok(Self::Position(Position(position)));
        }
        text.parse().map(Self::Time).map_err(|_| {
            "must be a position, or a time such as 2026-01-31T18:00:00.000Z".to_owned()
        })
    }
}

/// Selects events of the log.
#[derive(Debug, Clone, Copy, Default)]
pub struct EventFilter {
    /// Only events after this position.
    pub after: Position,
    /// Only events up to here; `None`: up to the head.
    pub until: Option<Moment>,
    /// Only events of this drop.
    pub drop: Option<DropId>,
    /// Include personal data where present.
    pub private: bool,
}

impl EventFilter {
    /// Checks that a log with this `head` contains all selected positions.
    fn is_within(&self, head: Position) -> Result<(), AuditError> {
        let until = match self.until {
            Some(Moment::Position(position)) => position,
            Some(Moment::Time(_)) | None => Position::default(),
        };
        let requested = until.max(self.after);
        if requested > head {
            return Err(AuditError::BeyondHead { requested, head });
        }
        Ok(())
    }
}

/// A readable log.
#[derive(Debug)]
pub enum Source {
    Database(Box<Database>),
    File(PathBuf),
}

impl Source {
    /// Opens the source that the arguments name.
    ///
    /// # Errors
    /// [`AuditError`].
    pub async fn open(args: &SourceArgs) -> Result<Self, AuditError> {
        match &args.file {
            Some(file) => Ok(Self::File(file.clone())),
            None => {
                let database = Database::open_existing(&args.database).await?;
                Ok(Self::Database(Box::new(database)))
            }
        }
    }

    /// Closes the database, if any.
    pub async fn close(self) {
        match self {
            Self::Database(database) => database.close().await,
            Self::File(_) => {}
        }
    }

    /// Returns every position that the log declares void; nothing for standard input.
    ///
    /// # Errors
    /// [`AuditError`].
    pub async fn voids(&self) -> Result<Voids, AuditError> {
        match self {
            Self::Database(database) => {
                let voided = postgres::voided(&*database.pool).await?;
                Ok(voided.into_iter().collect())
            }
            Self::File(path) => voids_in(path),
        }
    }

    /// Returns the hash of the first event, if it can be read. Standard input cannot.
    ///
    /// # Errors
    /// [`AuditError`].
    pub async fn first_hash(&self) -> Result<Option<Hash>, AuditError> {
        match self {
            Self::Database(database) => {
                let hash: Option<Vec<u8>> =
                    sqlx::query_scalar("SELECT hash FROM events WHERE position = 1")
                        .fetch_optional(&*database.pool)
                        .await?;
                let hash = hash.and_then(|hash| hash.try_into().ok());
                Ok(hash.map(Hash))
            }
            Self::File(path) if path == Path::new("-") => Ok(None),
            Self::File(path) => {
                let file = File::open(path).map_err(|source| AuditError::File {
                    path: path.clone(),
                    source,
                })?;
                let first = LineReader::new(BufReader::new(file)).read();
                let first = first.ok().flatten();
                let first = first.filter(|event| event.position.0 == 1);
                Ok(first.map(|event| event.hash))
            }
        }
    }

    /// Like [`Source::read`], for callers that skip void positions themselves: reads a file only
    /// once.
    ///
    /// # Errors
    /// [`AuditError`].
    pub async fn read_all(&self, doing: &'static str) -> Result<Reading, AuditError> {
        match self {
            Self::Database(_) => self.read(EventFilter::default(), doing).await,
            Self::File(path) => Reading::file(path, EventFilter::default(), doing),
        }
    }

    /// Starts reading; `doing` labels the progress bar.
    ///
    /// # Errors
    /// [`AuditError`].
    pub async fn read(
        &self,
        filter: EventFilter,
        doing: &'static str,
    ) -> Result<Reading, AuditError> {
        match self {
            Self::Database(database) => {
                let selection = resolve(&database.pool, filter).await?;
                if let Some(drop_id) = filter.drop {
                    find(&database.pool, drop_id, selection.until).await?;
                }
                let mut reading = Reading::database(&database.pool, selection, doing);
                reading.until_at = recorded_at(&database.pool, selection.until).await?;
                reading.voids = self.voids().await?;
                Ok(reading)
            }
            Self::File(path) => {
                let mut reading = Reading::file(path, filter, doing)?;
                reading.voids = voids_in(path)?;
                Ok(reading)
            }
        }
    }
}

/// The positions that an export declares void, as far as it can be read. Standard input cannot be
/// read twice and returns nothing.
fn voids_in(path: &Path) -> Result<Voids, AuditError> {
    let mut voids = Voids::default();
    if path == Path::new("-") {
        return Ok(voids);
    }
    let file = File::open(path).map_err(|source| AuditError::File {
        path: path.to_owned(),
        source,
    })?;
    let mut lines = LineReader::new(BufReader::with_capacity(READ_BYTES, file));
    // Errors are left to the pass that reads the events.
    while let Ok(Some(stored)) = lines.read() {
        voids.extend(voided_by(&stored).map(|position| Voided {
            at: stored.position,
            position,
            stream: None,
        }));
    }
    Ok(voids)
}

/// Resolves a selection against the log.
async fn resolve(pool: &PgPool, filter: EventFilter) -> Result<Selection, AuditError> {
    let mut connection = pool.acquire().await?;
    let (head, _) = copy::head_and_stray(&mut connection)
        .await
        .map_err(AuditError::Log)?;
    drop(connection);
    filter.is_within(head.position)?;
    let until = match filter.until {
        None => head.position,
        Some(Moment::Position(position)) => position,
        Some(Moment::Time(at)) => last_until(pool, head, at).await?,
    };
    Ok(Selection {
        after: filter.after,
        until,
        drop: filter.drop,
        private: filter.private,
    })
}

/// Checks that the drop exists at that position.
async fn find(pool: &PgPool, drop_id: DropId, until: Position) -> Result<(), AuditError> {
    let sql = "SELECT EXISTS (SELECT FROM events WHERE aggregate_type = $1 AND aggregate_id = $2 AND position <= $3)";
    let is_there: bool = sqlx::query_scalar(sql)
        .bind(AGGREGATE_TYPE)
        .bind(drop_id.to_string())
        .bind(to_sql(until))
        .fetch_one(pool)
        .await?;
    if is_there {
        Ok(())
    } else {
        Err(AuditError::NoSuchDrop(drop_id))
    }
}

/// Returns the last position that was recorded at or before `at`. Recorded times never decrease, so
/// a binary search finds it.
async fn last_until(pool: &PgPool, head: Head, at: Timestamp) -> Result<Position, AuditError> {
    let (mut known, mut beyond) = (0, head.position.0 + 1);
    while beyond - known > 1 {
        let middle = known + (beyond - known) / 2;
        match recorded_at(pool, Position(middle)).await? {
            Some(recorded) if recorded <= at => known = middle,
            Some(_) | None => beyond = middle,
        }
    }
    Ok(Position(known))
}

/// When an event was recorded; `None` if it does not exist.
async fn recorded_at(pool: &PgPool, position: Position) -> Result<Option<Timestamp>, AuditError> {
    let recorded: Option<chrono::DateTime<chrono::Utc>> =
        sqlx::query_scalar("SELECT recorded_at FROM events WHERE position = $1")
            .bind(to_sql(position))
            .fetch_optional(pool)
            .await?;
    Ok(recorded.map(Timestamp::from))
}

/// Consecutive events, which any thread can process.
#[derive(Debug)]
pub enum Page {
    /// Rows as the database sent them.
    Rows(Block),
    /// Events parsed from a file.
    Events(Vec<StoredEvent>),
}

impl Page {
    /// The number of events.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::Rows(block) => block.len(),
            Self::Events(events) => events.len(),
        }
    }

    /// Iterates over the events. Each item is [`LogError::Corrupt`] if no log can contain it.
    pub fn events(&self) -> impl Iterator<Item = Result<EventRef<'_>, LogError>> {
        let (rows, events) = self.parts();
        let rows = rows.into_iter().flat_map(Block::events);
        rows.chain(events.iter().map(|event| Ok(event.into())))
    }

    fn positions(&self) -> impl Iterator<Item = Position> {
        let (rows, events) = self.parts();
        let rows = rows.into_iter().flat_map(Block::positions);
        rows.chain(events.iter().map(|event| event.position))
    }

    const fn parts(&self) -> (Option<&Block>, &[StoredEvent]) {
        match self {
            Self::Rows(block) => (Some(block), &[]),
            Self::Events(events) => (None, events.as_slice()),
        }
    }

    fn into_events(self) -> Result<Vec<StoredEvent>, LogError> {
        match self {
            Self::Rows(block) => block.to_stored(),
            Self::Events(events) => Ok(events),
        }
    }
}

/// A message from the file reader.
enum FromFile {
    Events(Vec<StoredEvent>),
    /// The end of the file.
    End(FileEnd),
}

/// Facts that are known only after a file was read.
#[derive(Debug, Clone, Copy, Default)]
struct FileEnd {
    /// The position of the last event, selected or not.
    head: Position,
    /// The last position within the selection's end.
    until: Position,
    /// When that event was recorded, if there is one.
    until_at: Option<Timestamp>,
    /// True if the selected drop occurs up to there.
    has_drop: bool,
}

enum Pages {
    Rows(Blocks),
    Events(mpsc::Receiver<Result<FromFile, LogError>>, Option<FileEnd>),
}

impl Pages {
    async fn recv(&mut self) -> Option<Result<Page, LogError>> {
        match self {
            Self::Rows(blocks) => Some(blocks.recv().await?.map(Page::Rows)),
            Self::Events(events, end) => match events.recv().await? {
                Ok(FromFile::Events(events)) => Some(Ok(Page::Events(events))),
                Ok(FromFile::End(reached)) => {
                    *end = Some(reached);
                    None
                }
                Err(error) => Some(Err(error)),
            },
        }
    }
}

/// A running read.
pub struct Reading {
    pages: Pages,
    progress: ProgressBar,
    filter: EventFilter,
    /// The position that must come next; `None` where gaps are expected.
    next: Option<Position>,
    /// The last position of the selection; for a file, known at its end.
    until: Position,
    until_at: Option<Timestamp>,
    /// Void positions.
    voids: Voids,
}

impl Reading {
    /// Reads from a database.
    #[must_use]
    pub fn database(pool: &PgPool, selection: Selection, doing: &'static str) -> Self {
        let events = selection.until.0.saturating_sub(selection.after.0);
        Self {
            pages: Pages::Rows(copy::blocks(pool.clone(), selection)),
            progress: bar(events, EVENTS, doing),
            filter: EventFilter {
                after: selection.after,
                until: Some(Moment::Position(selection.until)),
                drop: selection.drop,
                private: selection.private,
            },
            next: selection.drop.is_none().then(|| selection.after.next()),
            until: selection.until,
            until_at: None,
            voids: Voids::default(),
        }
    }

    fn file(path: &Path, filter: EventFilter, doing: &'static str) -> Result<Self, AuditError> {
        let failed = |source| AuditError::File {
            path: path.to_owned(),
            source,
        };
        let (input, progress): (Box<dyn Read + Send>, _) = if path == Path::new("-") {
            (Box::new(io::stdin()), bar(0, ENDLESS, doing))
        } else {
            let file = File::open(path).map_err(failed)?;
            let bytes = file.metadata().map_err(failed)?.len();
            (Box::new(file), bar(bytes, BYTES, doing))
        };
        let (sender, pages) = mpsc::channel(PAGES_AHEAD);
        let mut reader = FileReader {
            lines: LineReader::new(BufReader::with_capacity(READ_BYTES, input)),
            progress: progress.clone(),
            filter,
            sender,
            end: FileEnd::default(),
        };
        std::thread::spawn(move || {
            if let Err(error) = reader.run() {
                let _gone = reader.sender.blocking_send(Err(error));
            }
        });
        Ok(Self {
            pages: Pages::Events(pages, None),
            progress,
            filter,
            next: filter.drop.is_none().then(|| filter.after.next()),
            until: Position::default(),
            until_at: None,
            voids: Voids::default(),
        })
    }

    /// Decodes an event of a drop. Returns `None` for other streams and for void events.
    ///
    /// # Errors
    /// [`AuditError::Log`].
    pub fn decode(&self, stored: &StoredEvent) -> Result<Option<RecordedEvent>, AuditError> {
        if self.voids.contains(stored.position) {
            return Ok(None);
        }
        decode(stored).map_err(AuditError::Log)
    }

    /// Decodes an event of an order. Returns `None` for other streams and for void events.
    ///
    /// # Errors
    /// [`AuditError::Log`].
    pub fn decode_order(
        &self,
        stored: &StoredEvent,
    ) -> Result<Option<RecordedOrderEvent>, AuditError> {
        if self.voids.contains(stored.position) {
            return Ok(None);
        }
        decode_order(stored).map_err(AuditError::Log)
    }

    /// Leaves the check for dense positions to the caller.
    #[must_use]
    pub fn unchecked(mut self) -> Self {
        self.next = None;
        self
    }

    /// Returns the next events; `None` at the end.
    ///
    /// # Errors
    /// [`AuditError`]; among others for a missing position, and at the end if the selection is not
    /// in the log.
    pub async fn next(&mut self) -> Result<Option<Vec<StoredEvent>>, AuditError> {
        let Some(page) = self.next_page().await? else {
            return Ok(None);
        };
        page.into_events().map(Some).map_err(AuditError::Log)
    }

    /// Like [`Reading::next`], without copying the events.
    ///
    /// # Errors
    /// The same as for [`Reading::next`].
    pub async fn next_page(&mut self) -> Result<Option<Page>, AuditError> {
        let page = self.page().await.map_err(AuditError::Log)?;
        if page.is_none() {
            self.end()?;
        }
        Ok(page)
    }

    async fn page(&mut self) -> Result<Option<Page>, LogError> {
        let Some(page) = self.pages.recv().await.transpose()? else {
            return Ok(None);
        };
        let mut last = None;
        for position in page.positions() {
            if let Some(next) = self.next.filter(|next| position != *next) {
                return Err(LogError::Corrupt {
                    position: next,
                    reason: format!("the next event is at position {position}"),
                });
            }
            self.next = self.next.map(Position::next);
            last = Some(position);
        }
        if let (Some(last), Pages::Rows(_)) = (last, &self.pages) {
            let done = last.0.saturating_sub(self.filter.after.0);
            self.progress.set_position(done);
        }
        Ok(Some(page))
    }

    /// Makes the checks of a file that a database allows before reading.
    fn end(&mut self) -> Result<(), AuditError> {
        match &self.pages {
            Pages::Events(_, Some(end)) => {
                (self.until, self.until_at) = (end.until, end.until_at);
                self.filter.is_within(end.head)?;
                match self.filter.drop {
                    Some(drop_id) if !end.has_drop => Err(AuditError::NoSuchDrop(drop_id)),
                    Some(_) | None => Ok(()),
                }
            }
            Pages::Events(_, None) | Pages::Rows(_) => match self.next {
                Some(position) if position <= self.until => {
                    let reason = format!(
                        "the log ends at position {}, but this event is missing",
                        self.until
                    );
                    Err(AuditError::Log(LogError::Corrupt { position, reason }))
                }
                Some(_) | None => Ok(()),
            },
        }
    }

    /// Returns all pages, for parallel processing.
    pub fn into_pages(self) -> impl Stream<Item = Result<Page, LogError>> {
        stream::unfold(self, |mut reading| async {
            let page = reading.page().await.transpose()?;
            Some((page, reading))
        })
    }

    /// The last position of the selection, selected or not; known at the end.
    #[must_use]
    pub const fn until(&self) -> Position {
        self.until
    }

    /// When the event at [`Reading::until`] was recorded; `None` before the first event.
    #[must_use]
    pub const fn until_at(&self) -> Option<Timestamp> {
        self.until_at
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.progress.finish_and_clear();
    }
}

struct FileReader {
    lines: LineReader<BufReader<Box<dyn Read + Send>>>,
    progress: ProgressBar,
    filter: EventFilter,
    sender: mpsc::Sender<Result<FromFile, LogError>>,
    end: FileEnd,
}

impl FileReader {
    fn run(&mut self) -> Result<(), LogError> {
        let mut page = Vec::with_capacity(PAGE);
        let mut sent = 0;
        loop {
            let event = match self.event() {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(error) => {
                    // Faults in the earlier events must be found first.
                    self.send(page);
                    return Err(error);
                }
            };
            self.end.head = event.position;
            if self.is_over(&event) {
                // Continue until the selection's start, to find out whether that position exists.
                if event.position >= self.filter.after {
                    break;
                }
                continue;
            }
            self.end.until = event.position;
            self.end.until_at = Some(event.recorded_at);
            if self.is_selected(&event) {
                page.push(event);
            }
            let bytes = self.lines.bytes();
            if page.len() == PAGE || bytes - sent > PAGE_BYTES {
                sent = bytes;
                let full = std::mem::replace(&mut page, Vec::with_capacity(PAGE));
                if !self.send(full) {
                    return Ok(());
                }
            }
        }
        self.send(page);
        let _gone = self.sender.blocking_send(Ok(FromFile::End(self.end)));
        Ok(())
    }

    /// Reports whether the receiver is still there.
    fn send(&self, page: Vec<StoredEvent>) -> bool {
        self.progress.set_position(self.lines.bytes());
        page.is_empty()
            || self
                .sender
                .blocking_send(Ok(FromFile::Events(page)))
                .is_ok()
    }

    fn event(&mut self) -> Result<Option<StoredEvent>, LogError> {
        self.lines.read().map_err(|error| match error {
            ReadError::NoEvent(error) => self.corrupt(&error.to_string()),
            // For example a directory, or a failing disk.
            ReadError::File(error) => LogError::Unavailable(error.into()),
        })
    }

    fn corrupt(&self, reason: &str) -> LogError {
        LogError::Corrupt {
            position: self.end.head.next(),
            reason: format!("the line is not an event of an export: {reason}"),
        }
    }

    fn is_over(&self, event: &StoredEvent) -> bool {
        match self.filter.until {
            None => false,
            Some(Moment::Position(position)) => event.position > position,
            Some(Moment::Time(at)) => event.recorded_at > at,
        }
    }

    fn is_selected(&mut self, event: &StoredEvent) -> bool {
        let is_of_drop = self.filter.drop.is_none_or(|drop_id| {
            event.aggregate_type == AGGREGATE_TYPE && event.aggregate_id == drop_id.to_string()
        });
        self.end.has_drop |= is_of_drop;
        is_of_drop && event.position > self.filter.after
    }
}
