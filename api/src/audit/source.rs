//! Where auditors read from: a database, or an export alone.
//!
//! Promise: one pass, in order, a page at a time, read ahead of whoever works on it; a bar shows how far it is, on a
//! terminal only. Limit: a file is read from its beginning whatever is asked of it, for it has no index.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use domain::values::{DropId, Position, Timestamp};
use futures::{Stream, stream};
use indicatif::{ProgressBar, ProgressStyle};
use infrastructure::error::LogError;
use infrastructure::log::copy::{self, Block, Blocks, Selection};
use infrastructure::log::lines::{self, LineError};
use infrastructure::log::{EventRef, Head, StoredEvent};
use sqlx::PgPool;
use tokio::sync::mpsc;

use super::AuditError;
use crate::config::DatabaseSettings;
use crate::database::Database;

/// Events of a file handed over at once.
const PAGE: usize = 128;
/// Pages of a file that may wait for their reader.
const PAGES_AHEAD: usize = 64;
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

    /// Starts reading; `doing` says on the bar what for.
    ///
    /// # Errors
    /// [`AuditError`].
    pub async fn read(&self, wanted: Wanted, doing: &str) -> Result<Reading, AuditError> {
        match self {
            Self::Database(database) => {
                let selection = resolve(&database.pool, wanted).await?;
                Ok(Reading::database(&database.pool, selection, doing))
            }
            Self::File(path) => Reading::file(path, wanted, doing),
        }
    }
}

/// Turns a moment into the last position that it covers.
async fn resolve(pool: &PgPool, wanted: Wanted) -> Result<Selection, AuditError> {
    let mut connection = pool.acquire().await?;
    let (head, _) = copy::head_and_stray(&mut connection)
        .await
        .map_err(AuditError::Log)?;
    drop(connection);
    let until = match wanted.until {
        None => head.position,
        Some(Moment::Position(position)) if position > head.position => {
            return Err(AuditError::BeyondHead {
                asked: position,
                head: head.position,
            });
        }
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

/// The last position that was recorded at `at` or before: time never runs backwards along the log, so halving finds it.
async fn last_until(pool: &PgPool, head: Head, at: Timestamp) -> Result<Position, AuditError> {
    let (mut known, mut beyond) = (0, head.position.0 + 1);
    while beyond - known > 1 {
        let middle = known + (beyond - known) / 2;
        let recorded: Option<chrono::DateTime<chrono::Utc>> =
            sqlx::query_scalar("SELECT recorded_at FROM events WHERE position = $1")
                .bind(i64::try_from(middle).unwrap_or(i64::MAX))
                .fetch_optional(pool)
                .await?;
        match recorded {
            Some(recorded) if Timestamp::from(recorded) <= at => known = middle,
            Some(_) | None => beyond = middle,
        }
    }
    Ok(Position(known))
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

#[derive(Debug)]
enum Pages {
    Rows(Blocks),
    Events(mpsc::Receiver<Result<Vec<StoredEvent>, LogError>>),
}

impl Pages {
    async fn recv(&mut self) -> Option<Result<Page, LogError>> {
        match self {
            Self::Rows(blocks) => Some(blocks.recv().await?.map(Page::Rows)),
            Self::Events(events) => Some(events.recv().await?.map(Page::Events)),
        }
    }
}

/// Events that are on their way.
pub struct Reading {
    pages: Pages,
    progress: ProgressBar,
    counts_positions: bool,
    /// The position that must come next; none where gaps are expected.
    next: Option<Position>,
    after: Position,
    last: Option<Head>,
}

impl Reading {
    /// From a database.
    #[must_use]
    pub fn database(pool: &PgPool, selection: Selection, doing: &str) -> Self {
        let events = selection.until.0.saturating_sub(selection.after.0);
        let style = "{msg} {bar:40} {human_pos}/{human_len} events, {per_sec}, {eta} left";
        Self {
            pages: Pages::Rows(copy::blocks(pool.clone(), selection)),
            progress: bar(events, style, doing),
            counts_positions: true,
            next: selection.drop.is_none().then(|| selection.after.next()),
            after: selection.after,
            last: None,
        }
    }

    fn file(path: &Path, wanted: Wanted, doing: &str) -> Result<Self, AuditError> {
        let failed = |source| AuditError::File {
            path: path.to_owned(),
            source,
        };
        let (input, progress): (Box<dyn Read + Send>, _) = if path == Path::new("-") {
            let style = "{msg} {spinner} {bytes}, {bytes_per_sec}";
            (Box::new(io::stdin()), bar(0, style, doing))
        } else {
            let file = File::open(path).map_err(failed)?;
            let bytes = file.metadata().map_err(failed)?.len();
            let style = "{msg} {bar:40} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left";
            (Box::new(file), bar(bytes, style, doing))
        };
        let (sender, pages) = mpsc::channel(PAGES_AHEAD);
        let mut reader = FileReader {
            input: BufReader::with_capacity(READ_BYTES, input),
            progress: progress.clone(),
            wanted,
            sender,
            last: Position::default(),
        };
        std::thread::spawn(move || {
            if let Err(error) = reader.run() {
                let _gone = reader.sender.blocking_send(Err(error));
            }
        });
        Ok(Self {
            pages: Pages::Events(pages),
            progress,
            counts_positions: false,
            next: wanted.drop.is_none().then(|| wanted.after.next()),
            after: wanted.after,
            last: None,
        })
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
    /// [`LogError`]; among others where a position is missing.
    pub async fn next(&mut self) -> Result<Option<Vec<StoredEvent>>, LogError> {
        let Some(page) = self.next_page().await? else {
            return Ok(None);
        };
        let events = page.into_events()?;
        self.last = events.last().map(StoredEvent::head).or(self.last);
        Ok(Some(events))
    }

    /// As [`Reading::next`], for who works on events where they lie.
    ///
    /// # Errors
    /// As [`Reading::next`].
    pub async fn next_page(&mut self) -> Result<Option<Page>, LogError> {
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
        if let Some(last) = last.filter(|_| self.counts_positions) {
            self.progress
                .set_position(last.0.saturating_sub(self.after.0));
        }
        Ok(Some(page))
    }

    /// All pages, to be worked on beside one another.
    pub fn into_pages(self) -> impl Stream<Item = Result<Page, LogError>> {
        stream::unfold(self, |mut reading| async {
            let page = reading.next_page().await.transpose()?;
            Some((page, reading))
        })
    }

    /// The head of a log that ends with the last event read; none when nothing was.
    #[must_use]
    pub const fn last(&self) -> Option<Head> {
        self.last
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.progress.finish_and_clear();
    }
}

/// Hidden where standard error is no terminal.
fn bar(length: u64, style: &str, doing: &str) -> ProgressBar {
    let style =
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length)
        .with_style(style)
        .with_message(doing.to_owned())
}

struct FileReader {
    input: BufReader<Box<dyn Read + Send>>,
    progress: ProgressBar,
    wanted: Wanted,
    sender: mpsc::Sender<Result<Vec<StoredEvent>, LogError>>,
    last: Position,
}

impl FileReader {
    fn run(&mut self) -> Result<(), LogError> {
        let mut page = Vec::with_capacity(PAGE);
        let mut text = String::new();
        let mut bytes = 0;
        loop {
            let event = match self.event(&mut text) {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(error) => {
                    // What is wrong before that is to be found first.
                    self.send(page);
                    return Err(error);
                }
            };
            bytes += text.len() as u64;
            self.last = event.position;
            if self.is_over(&event) {
                break;
            }
            if self.is_wanted(&event) {
                page.push(event);
            }
            if page.len() == PAGE {
                self.progress.set_position(bytes);
                let full = std::mem::replace(&mut page, Vec::with_capacity(PAGE));
                if !self.send(full) {
                    return Ok(());
                }
            }
        }
        self.send(page);
        Ok(())
    }

    /// Whether anybody listens still.
    fn send(&self, page: Vec<StoredEvent>) -> bool {
        page.is_empty() || self.sender.blocking_send(Ok(page)).is_ok()
    }

    /// The next event. A stored text may hold line breaks, so one that is cut off goes on in the next line.
    fn event(&mut self, text: &mut String) -> Result<Option<StoredEvent>, LogError> {
        text.clear();
        loop {
            let read = self.input.read_line(text).map_err(|error| {
                if error.kind() == io::ErrorKind::InvalidData {
                    self.corrupt("the line is not UTF-8")
                } else {
                    LogError::Unavailable(error.into())
                }
            })?;
            if text.trim_ascii().is_empty() {
                if read == 0 {
                    return Ok(None);
                }
                text.clear();
                continue;
            }
            match lines::parse(text) {
                Ok(event) => return Ok(Some(event)),
                Err(LineError::Unfinished) if read > 0 => {}
                Err(error) => return Err(self.corrupt(&error.to_string())),
            }
        }
    }

    fn corrupt(&self, reason: &str) -> LogError {
        LogError::Corrupt {
            position: self.last.next(),
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

    fn is_wanted(&self, event: &StoredEvent) -> bool {
        event.position > self.wanted.after
            && self.wanted.drop.is_none_or(|drop_id| {
                event.aggregate_type == domain::AGGREGATE_TYPE
                    && event.aggregate_id == drop_id.to_string()
            })
    }
}
