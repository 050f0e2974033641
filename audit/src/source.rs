//! Where auditors read from: a database, or an export alone.
//!
//! Promise: one pass, in order, a page at a time, read ahead of whoever works on it; a bar shows how far it is, on a
//! terminal only. Limit: a file is read from its beginning whatever is asked of it, for it has no index.

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
use infrastructure::codec::{RecordedEvent, decode};
use infrastructure::error::LogError;
use infrastructure::log::copy::{self, Block, Blocks, Selection};
use infrastructure::log::lines::{LineReader, ReadError};
use infrastructure::log::postgres;
use infrastructure::log::{EventRef, Hash, Head, StoredEvent};
use infrastructure::quarantine::{Voided, Voids, voided_by};
use sqlx::PgPool;
use terminal::progress::{BYTES, ENDLESS, EVENTS, bar};
use tokio::sync::mpsc;

use super::AuditError;

/// Events of a file handed over at once.
const PAGE: usize = 128;
/// Bytes of a file after which a page is handed over, however few events it has: some of them may be long.
const PAGE_BYTES: u64 = 1 << 20;
/// Pages of a file that may wait for their reader.
const PAGES_AHEAD: usize = 16;
/// Bytes read from a file at once.
const READ_BYTES: usize = 1 << 20;

/// Where the log is read from.
#[derive(Debug, Clone, Args)]
pub struct SourceArgs {
    /// Read an export (ndjson) instead of a database; - for standard input.
    #[arg(long, env = "HOLDFAST_AUDIT_FILE", value_name = "FILE")]
    pub file: Option<PathBuf>,

    #[command(flatten)]
    /// The database, when no file is given.
    pub database: DatabaseSettings,
}

/// A place in the log, as people name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// After the event at this position.
    Position(Position),
    /// After everything that was recorded at this time or before.
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

/// Which events are asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted {
    /// Only what comes after.
    pub after: Position,
    /// Only up to here; none: to the end.
    pub until: Option<Moment>,
    /// Only this drop's.
    pub drop: Option<DropId>,
    /// With personal data, where there is some.
    pub private: bool,
}

impl Wanted {
    /// Whether a log that ends at `head` has all these places.
    fn is_within(&self, head: Position) -> Result<(), AuditError> {
        let until = match self.until {
            Some(Moment::Position(position)) => position,
            Some(Moment::Time(_)) | None => Position::default(),
        };
        let asked = until.max(self.after);
        if asked > head {
            return Err(AuditError::BeyondHead { asked, head });
        }
        Ok(())
    }
}

/// A log that can be read.
#[derive(Debug)]
pub enum Source {
    /// In a database.
    Database(Database),
    /// In an export.
    File(PathBuf),
}

impl Source {
    /// Opens what the arguments name.
    ///
    /// # Errors
    /// [`AuditError`].
    pub async fn open(args: &SourceArgs) -> Result<Self, AuditError> {
        match &args.file {
            Some(file) => Ok(Self::File(file.clone())),
            None => Ok(Self::Database(
                Database::open_existing(&args.database).await?,
            )),
        }
    }

    /// Lets go of it.
    pub async fn close(self) {
        match self {
            Self::Database(database) => database.close().await,
            Self::File(_) => {}
        }
    }

    /// Every position that the log declares void; of standard input, none.
    ///
    /// # Errors
    /// [`AuditError`].
    pub async fn voids(&self) -> Result<Voids, AuditError> {
        match self {
            Self::Database(database) => {
                let voided = postgres::voided(&database.pool).await?;
                Ok(voided.into_iter().collect())
            }
            Self::File(path) => voids_in(path),
        }
    }

    /// The hash of the first event; none where it cannot be read, as of standard input.
    ///
    /// # Errors
    /// [`AuditError`].
    pub async fn first_hash(&self) -> Result<Option<Hash>, AuditError> {
        match self {
            Self::Database(database) => {
                let hash: Option<Vec<u8>> =
                    sqlx::query_scalar("SELECT hash FROM events WHERE position = 1")
                        .fetch_optional(&database.pool)
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

    /// As [`Source::read`], for who leaves out by itself what is void: reads a file once.
    ///
    /// # Errors
    /// [`AuditError`].
    pub async fn read_all(&self, doing: &'static str) -> Result<Reading, AuditError> {
        match self {
            Self::Database(_) => self.read(Wanted::default(), doing).await,
            Self::File(path) => Reading::file(path, Wanted::default(), doing),
        }
    }

    /// Starts reading; `doing` says on the bar what for.
    ///
    /// # Errors
    /// [`AuditError`].
    pub async fn read(&self, wanted: Wanted, doing: &'static str) -> Result<Reading, AuditError> {
        match self {
            Self::Database(database) => {
                let selection = resolve(&database.pool, wanted).await?;
                if let Some(drop_id) = wanted.drop {
                    find(&database.pool, drop_id, selection.until).await?;
                }
                let mut reading = Reading::database(&database.pool, selection, doing);
                reading.until_at = recorded_at(&database.pool, selection.until).await?;
                reading.voids = self.voids().await?;
                Ok(reading)
            }
            Self::File(path) => {
                let mut reading = Reading::file(path, wanted, doing)?;
                reading.voids = voids_in(path)?;
                Ok(reading)
            }
        }
    }
}

/// What an export declares void, as far as it can be read. Standard input cannot be read twice:
/// nothing.
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
    // Where it is no export any more, whoever reads it for good says so.
    while let Ok(Some(stored)) = lines.read() {
        voids.extend(voided_by(&stored).map(|position| Voided {
            at: stored.position,
            position,
            drop_id: None,
        }));
    }
    Ok(voids)
}

/// Turns a moment into the last position that it covers.
async fn resolve(pool: &PgPool, wanted: Wanted) -> Result<Selection, AuditError> {
    let mut connection = pool.acquire().await?;
    let (head, _) = copy::head_and_stray(&mut connection)
        .await
        .map_err(AuditError::Log)?;
    drop(connection);
    wanted.is_within(head.position)?;
    let until = match wanted.until {
        None => head.position,
        Some(Moment::Position(position)) => position,
        Some(Moment::Time(at)) => last_until(pool, head, at).await?,
    };
    Ok(Selection {
        after: wanted.after,
        until,
        drop: wanted.drop,
        private: wanted.private,
    })
}

/// Whether the drop is there at that place of the log.
async fn find(pool: &PgPool, drop_id: DropId, until: Position) -> Result<(), AuditError> {
    let sql = "SELECT EXISTS (SELECT FROM events WHERE aggregate_type = $1 AND aggregate_id = $2 AND position <= $3)";
    let is_there: bool = sqlx::query_scalar(sql)
        .bind(AGGREGATE_TYPE)
        .bind(drop_id.to_string())
        .bind(i64::try_from(until.0).unwrap_or(i64::MAX))
        .fetch_one(pool)
        .await?;
    if is_there {
        Ok(())
    } else {
        Err(AuditError::NoSuchDrop(drop_id))
    }
}

/// The last position that was recorded at `at` or before: time never runs backwards along the log, so halving finds it.
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

/// When an event was recorded; none where there is none.
async fn recorded_at(pool: &PgPool, position: Position) -> Result<Option<Timestamp>, AuditError> {
    let recorded: Option<chrono::DateTime<chrono::Utc>> =
        sqlx::query_scalar("SELECT recorded_at FROM events WHERE position = $1")
            .bind(i64::try_from(position.0).unwrap_or(i64::MAX))
            .fetch_optional(pool)
            .await?;
    Ok(recorded.map(Timestamp::from))
}

/// Consecutive events, on which to work on any thread.
#[derive(Debug)]
pub enum Page {
    /// As the database sent them.
    Rows(Block),
    /// As a file told them.
    Events(Vec<StoredEvent>),
}

impl Page {
    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::Rows(block) => block.len(),
            Self::Events(events) => events.len(),
        }
    }

    /// The events.
    ///
    /// # Errors
    /// Each: [`LogError::Corrupt`] for what no log can hold.
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

/// What comes from a file.
enum FromFile {
    Events(Vec<StoredEvent>),
    /// All was read that there is to read.
    End(FileEnd),
}

/// What is known of a file only once it was read.
#[derive(Debug, Clone, Copy, Default)]
struct FileEnd {
    /// The last event's place, wanted or not.
    head: Position,
    /// The last event's that is not beyond what was asked for.
    until: Position,
    /// When that was recorded; none when there is none.
    until_at: Option<Timestamp>,
    /// Whether the drop that was asked for occurs up to there.
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

/// Events that are on their way.
pub struct Reading {
    pages: Pages,
    progress: ProgressBar,
    wanted: Wanted,
    /// The position that must come next; none where gaps are expected.
    next: Option<Position>,
    /// Where it ends; of a file, once that was read.
    until: Position,
    until_at: Option<Timestamp>,
    /// Positions without effect.
    voids: Voids,
}

impl Reading {
    /// From a database.
    #[must_use]
    pub fn database(pool: &PgPool, selection: Selection, doing: &'static str) -> Self {
        let events = selection.until.0.saturating_sub(selection.after.0);
        Self {
            pages: Pages::Rows(copy::blocks(pool.clone(), selection)),
            progress: bar(events, EVENTS, doing),
            wanted: Wanted {
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

    fn file(path: &Path, wanted: Wanted, doing: &'static str) -> Result<Self, AuditError> {
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
            wanted,
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
            wanted,
            next: wanted.drop.is_none().then(|| wanted.after.next()),
            until: Position::default(),
            until_at: None,
            voids: Voids::default(),
        })
    }

    /// Reads what an event of a drop says; none for other streams, and for an event that is void.
    ///
    /// # Errors
    /// [`AuditError::Log`].
    pub fn decode(&self, stored: &StoredEvent) -> Result<Option<RecordedEvent>, AuditError> {
        if self.voids.contains(stored.position) {
            return Ok(None);
        }
        decode(stored).map_err(AuditError::Log)
    }

    /// Leaves it to the reader whether positions are dense.
    #[must_use]
    pub fn unchecked(mut self) -> Self {
        self.next = None;
        self
    }

    /// The next events; none at the end.
    ///
    /// # Errors
    /// [`AuditError`]; among others where a position is missing, and at the end when there was not what was asked for.
    pub async fn next(&mut self) -> Result<Option<Vec<StoredEvent>>, AuditError> {
        let Some(page) = self.next_page().await? else {
            return Ok(None);
        };
        page.into_events().map(Some).map_err(AuditError::Log)
    }

    /// As [`Reading::next`], for who works on events where they lie.
    ///
    /// # Errors
    /// As [`Reading::next`].
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
                    reason: format!("the next event found is at position {position}"),
                });
            }
            self.next = self.next.map(Position::next);
            last = Some(position);
        }
        if let (Some(last), Pages::Rows(_)) = (last, &self.pages) {
            let done = last.0.saturating_sub(self.wanted.after.0);
            self.progress.set_position(done);
        }
        Ok(Some(page))
    }

    /// What a database was asked before it was read, a file can be asked only now.
    fn end(&mut self) -> Result<(), AuditError> {
        match &self.pages {
            Pages::Events(_, Some(end)) => {
                (self.until, self.until_at) = (end.until, end.until_at);
                self.wanted.is_within(end.head)?;
                match self.wanted.drop {
                    Some(drop_id) if !end.has_drop => Err(AuditError::NoSuchDrop(drop_id)),
                    Some(_) | None => Ok(()),
                }
            }
            Pages::Events(_, None) | Pages::Rows(_) => match self.next {
                Some(position) if position <= self.until => {
                    let reason =
                        format!("the log ends at {}, but there is no event here", self.until);
                    Err(AuditError::Log(LogError::Corrupt { position, reason }))
                }
                Some(_) | None => Ok(()),
            },
        }
    }

    /// All pages, to be worked on beside one another.
    pub fn into_pages(self) -> impl Stream<Item = Result<Page, LogError>> {
        stream::unfold(self, |mut reading| async {
            let page = reading.page().await.transpose()?;
            Some((page, reading))
        })
    }

    /// The last position that was covered by what was asked for, whether or not its event was wanted; known at the end.
    #[must_use]
    pub const fn until(&self) -> Position {
        self.until
    }

    /// When the event there was recorded; none before the first. Known when [`Reading::until`] is.
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
    wanted: Wanted,
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
                    // What is wrong before that is to be found first.
                    self.send(page);
                    return Err(error);
                }
            };
            self.end.head = event.position;
            if self.is_over(&event) {
                // Whether there is what comes after, is known there only.
                if event.position >= self.wanted.after {
                    break;
                }
                continue;
            }
            self.end.until = event.position;
            self.end.until_at = Some(event.recorded_at);
            if self.is_wanted(&event) {
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

    /// Whether anybody listens still.
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
            // Such as a directory, or a disk that fails.
            ReadError::File(error) => LogError::Unavailable(error.into()),
        })
    }

    fn corrupt(&self, reason: &str) -> LogError {
        LogError::Corrupt {
            position: self.end.head.next(),
            reason: format!("the line where it should be is no event of an export: {reason}"),
        }
    }

    fn is_over(&self, event: &StoredEvent) -> bool {
        match self.wanted.until {
            None => false,
            Some(Moment::Position(position)) => event.position > position,
            Some(Moment::Time(at)) => event.recorded_at > at,
        }
    }

    fn is_wanted(&mut self, event: &StoredEvent) -> bool {
        let is_of_drop = self.wanted.drop.is_none_or(|drop_id| {
            event.aggregate_type == AGGREGATE_TYPE && event.aggregate_id == drop_id.to_string()
        });
        self.end.has_drop |= is_of_drop;
        is_of_drop && event.position > self.wanted.after
    }
}
