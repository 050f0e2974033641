//! Rebuilds tables next to the live ones, compares them, and swaps them in.
//!
//! Promise: the live table serves until one transaction replaces it, at its own checkpoint, with a
//! table that was folded from the log alone. A killed rebuild resumes from its last save if this
//! log and this version of the fold can have produced it; otherwise it starts again.
//! Limit: memory grows with the number of drops, whose rows cannot be joined from parts. The
//! database role must own the tables.
//!
//! ```text
//!   log ──fold──▶ a part's rows in memory ──saved──▶ NAME_rebuild, with its checkpoint
//!                   (meanwhile the next part is folded)  │ at the live checkpoint: compare, swap
//!   runner ──▶ NAME (live) ◀─────────────────────────────┘ generation + 1 clears runners' caches
//! ```

mod part;
mod tables;

use std::pin::pin;

use domain::values::Position;
use futures::{Stream, StreamExt, stream};
use hashbrown::HashSet;
use infrastructure::codec::{RecordedEvent, read};
use infrastructure::error::LogError;
use infrastructure::log::ahead::in_order;
use infrastructure::log::copy::{self, Block, Selection};
use infrastructure::log::postgres::{LogPool, PostgresLog};
use infrastructure::log::{EventLog, EventRef, StoredEvent};
use infrastructure::quarantine::{RefusedEvent, Voids, voided_by};
use infrastructure::sql_values::from_sql;
use sqlx::PgPool;
use tokio_util::task::AbortOnDropHandle;

use self::part::{Part, Saving, save};
use self::tables::{SwapError, prepare, swap};
use crate::error::ProjectionError;
use crate::excluded::ExcludedDrops;
use crate::fold::Placed;
use crate::live_stock::LiveStock;
use crate::replay::Replay;
use crate::sales_timeline::SalesTimeline;
use crate::table::Table;
use crate::top_purchasers::TopPurchasers;

/// Events between two saves.
const SAVE_EVERY: u64 = 250_000;
/// When fewer events remain, they are folded while the live table is locked.
const CLOSE: u64 = 2_000;

/// The names of all projections that have a table.
pub const NAMES: [&str; 3] = [LiveStock::NAME, TopPurchasers::NAME, SalesTimeline::NAME];
/// The version of each fold.
pub const VERSIONS: [i32; 3] = [
    LiveStock::VERSION,
    TopPurchasers::VERSION,
    SalesTimeline::VERSION,
];

/// The result of a rebuild.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    pub name: &'static str,
    /// The checkpoint of the new table.
    pub position: Position,
    /// The number of rows in the new table.
    pub rows: u64,
    /// True if the live table had the same rows; `None` if it was at another position and could not
    /// be compared.
    pub was_equal: Option<bool>,
}

pub struct Rebuild {
    pool: LogPool,
    tables: Vec<Box<dyn Rebuilding>>,
    voids: Voids,
    /// The position up to which all tables are saved or being saved.
    saved: Position,
    saving: Option<AbortOnDropHandle<Result<(), ProjectionError>>>,
}

/// A table that is being rebuilt.
trait Rebuilding: Send {
    fn name(&self) -> &'static str;
    fn version(&self) -> i32;
    fn reached(&self) -> Position;
    fn set_reached(&mut self, position: Position);
    /// Returns the position up to which the table is saved or being saved.
    fn saved(&self) -> Position;
    /// Resumes after the position `saved`.
    fn resume_after(&mut self, saved: Position);
    /// Returns true if previously saved rows must be loaded, because they are changed in memory.
    fn needs_rows(&self) -> bool;
    /// Loads a previously saved row.
    fn resume(&mut self, row: &str) -> Result<(), serde_json::Error>;
    /// Applies an event. If the fold refuses it, its drop is excluded from there on.
    fn apply(&mut self, recorded: &RecordedEvent);
    /// Returns the excluded drops, and those of them that are marked in the database.
    fn left_out(&mut self) -> (&mut ExcludedDrops, &mut ExcludedDrops);
    /// Takes the changes since the last save.
    fn take(&mut self) -> Box<dyn Saving>;
}

struct TableRebuild<F: Table> {
    reached: Position,
    saved: Position,
    /// For rows that can be joined, the part since the last save; otherwise all rows.
    replay: Replay<F>,
    /// The rows that changed since the last save, if they stay in memory.
    changed: HashSet<F::Key>,
    left_out: ExcludedDrops,
    marked: ExcludedDrops,
}

impl<F: Table> Rebuilding for TableRebuild<F> {
    fn name(&self) -> &'static str {
        F::NAME
    }

    fn version(&self) -> i32 {
        F::VERSION
    }

    fn reached(&self) -> Position {
        self.reached
    }

    fn set_reached(&mut self, position: Position) {
        self.reached = position;
    }

    fn saved(&self) -> Position {
        self.saved
    }

    fn resume_after(&mut self, saved: Position) {
        (self.reached, self.saved) = (saved, saved);
    }

    fn needs_rows(&self) -> bool {
        F::JOIN.is_none()
    }

    fn resume(&mut self, row: &str) -> Result<(), serde_json::Error> {
        let placed: Placed<F> = serde_json::from_str(row)?;
        self.replay.resume(placed);
        Ok(())
    }

    fn apply(&mut self, recorded: &RecordedEvent) {
        if recorded.position <= self.reached || !self.left_out.includes(recorded) {
            return;
        }
        match self.replay.apply(recorded) {
            Ok(key) if self.needs_rows() => self.changed.extend(key),
            Ok(_) => {}
            Err(reason) => self.left_out.refuse::<F>(recorded, &reason),
        }
    }

    fn left_out(&mut self) -> (&mut ExcludedDrops, &mut ExcludedDrops) {
        (&mut self.left_out, &mut self.marked)
    }

    fn take(&mut self) -> Box<dyn Saving> {
        let rows: Vec<Placed<F>> = if self.needs_rows() {
            let keys = self.changed.drain();
            let changed = keys.filter_map(|key| self.replay.get(&key));
            changed.map(Placed::copy).collect()
        } else {
            self.replay.take()
        };
        let after = std::mem::replace(&mut self.saved, self.reached);
        Box::new(Part {
            after,
            reached: self.reached,
            rows,
        })
    }
}

/// A page's events, up to the first that is missing or cannot be read.
struct Decoded {
    /// The position of the first event; `None` for an empty page.
    first: Option<Position>,
    /// The events of drops.
    recorded: Vec<RecordedEvent>,
    /// The events of drops that cannot be read.
    refused: Vec<RefusedEvent>,
    /// The positions that events of this page declare void.
    voided: Vec<Position>,
    /// The position of the last event.
    reached: Position,
    broken: Option<LogError>,
}

impl Decoded {
    fn of<'a>(events: impl Iterator<Item = Result<EventRef<'a>, LogError>>) -> Self {
        let mut decoded = Self {
            first: None,
            recorded: Vec::with_capacity(events.size_hint().0),
            refused: vec![],
            voided: vec![],
            reached: Position::default(),
            broken: None,
        };
        for event in events {
            if let Err(error) = decoded.add(event) {
                decoded.broken = Some(error);
                break;
            }
        }
        decoded
    }

    fn add(&mut self, event: Result<EventRef<'_>, LogError>) -> Result<(), LogError> {
        let event = event?;
        let position = event.position;
        if self.first.is_some() && position != self.reached.next() {
            return Err(hole(self.reached, position));
        }
        match read(event) {
            Ok(recorded) => self.recorded.extend(recorded),
            Err(refused) => self.refused.push(*refused),
        }
        self.voided.extend(voided_by(event));
        self.first = self.first.or(Some(position));
        self.reached = position;
        Ok(())
    }

    /// Applies the events to `table`, except void ones.
    fn apply_to(&self, table: &mut dyn Rebuilding, voids: &Voids) {
        let (left_out, _) = table.left_out();
        for refused in &self.refused {
            if let Some(drop_id) = refused.drop_id
                && !voids.contains(refused.position)
            {
                left_out.exclude(drop_id, refused.position);
            }
        }
        for recorded in &self.recorded {
            if !voids.contains(recorded.position) {
                table.apply(recorded);
            }
        }
        table.set_reached(table.reached().max(self.reached));
    }

    /// Returns the same page if no event is missing between `after` and its first event; otherwise
    /// an empty page with the reason.
    fn following(self, after: Position) -> Self {
        match self.first.filter(|first| *first != after.next()) {
            None => self,
            Some(first) => Self {
                first: None,
                recorded: vec![],
                refused: vec![],
                voided: vec![],
                reached: after,
                broken: Some(hole(after, first)),
            },
        }
    }
}

fn hole(after: Position, found: Position) -> LogError {
    LogError::Corrupt {
        position: after.next(),
        reason: format!("the next event found is at position {found}"),
    }
}

fn one<F: Table>() -> Box<dyn Rebuilding> {
    Box::new(TableRebuild::<F> {
        reached: Position::default(),
        saved: Position::default(),
        replay: Replay::default(),
        changed: HashSet::new(),
        left_out: ExcludedDrops::default(),
        marked: ExcludedDrops::default(),
    })
}

impl Rebuild {
    /// Starts a rebuild of the named projections, or resumes an interrupted one of the same
    /// version.
    ///
    /// # Errors
    /// [`ProjectionError::Tables`].
    pub async fn start(pool: LogPool, names: &[&str]) -> Result<Self, ProjectionError> {
        let all = [
            one::<LiveStock>(),
            one::<TopPurchasers>(),
            one::<SalesTimeline>(),
        ];
        let wanted = all
            .into_iter()
            .filter(|table| names.contains(&table.name()));
        let mut tables: Vec<Box<dyn Rebuilding>> = wanted.collect();
        for table in &mut tables {
            let name = table.name();
            prepare(&pool, table.as_mut())
                .await
                .map_err(|source| ProjectionError::Tables { name, source })?;
        }
        let voids = PostgresLog::new(pool.clone()).voided().await;
        let voids = voids.map_err(|source| ProjectionError::Log {
            name: "none",
            source,
        })?;
        for table in &mut tables {
            let saved = table.saved();
            // The interrupted rebuild did not know these void positions.
            let late = voids
                .iter()
                .filter(|voided| voided.position <= saved && saved < voided.at);
            let (left_out, _) = table.left_out();
            for drop_id in late.filter_map(|voided| voided.drop_id()) {
                left_out.invalidate(drop_id);
            }
        }
        let mut rebuild = Self {
            pool,
            tables,
            voids: voids.into_iter().collect(),
            saved: Position::default(),
            saving: None,
        };
        rebuild.saved = rebuild.reached();
        Ok(rebuild)
    }

    /// Returns the position that all tables have reached.
    #[must_use]
    pub fn reached(&self) -> Position {
        let reached = self.tables.iter().map(|table| table.reached());
        reached.min().unwrap_or_default()
    }

    /// Folds the next page, and saves from time to time.
    ///
    /// # Errors
    /// [`ProjectionError`]; saved parts stay.
    pub async fn add(&mut self, page: &[StoredEvent]) -> Result<(), ProjectionError> {
        self.add_decoded(Decoded::of(page.iter().map(|event| Ok(event.into()))))
            .await
    }

    async fn add_decoded(&mut self, page: Decoded) -> Result<(), ProjectionError> {
        self.learn(&page.voided).await?;
        self.fold(page)?;
        self.mark().await?;
        if self.reached().0 >= self.saved.0 + SAVE_EVERY {
            self.begin_saving().await?;
        }
        Ok(())
    }

    fn fold(&mut self, page: Decoded) -> Result<(), ProjectionError> {
        let page = page.following(self.reached());
        for table in &mut self.tables {
            page.apply_to(table.as_mut(), &self.voids);
        }
        match page.broken {
            Some(error) => Err(self.unreadable(error)),
            None => Ok(()),
        }
    }

    /// Reads the positions that were declared void since the rebuild began, and invalidates the
    /// rows of their drops.
    async fn learn(&mut self, voided: &[Position]) -> Result<(), ProjectionError> {
        if voided.iter().all(|position| self.voids.contains(*position)) {
            return Ok(());
        }
        let all = PostgresLog::new(self.pool.clone()).voided().await;
        for voided in all.map_err(|error| self.unreadable(error))? {
            let drop_id = voided.drop_id();
            if !self.voids.add(voided) {
                continue;
            }
            let Some(drop_id) = drop_id else { continue };
            for table in &mut self.tables {
                table.left_out().0.invalidate(drop_id);
            }
        }
        Ok(())
    }

    /// Stores the marks of excluded drops before any later events are saved.
    async fn mark(&mut self) -> Result<(), ProjectionError> {
        for table in &mut self.tables {
            let name = table.name();
            mark(&self.pool, table.as_mut())
                .await
                .map_err(|source| ProjectionError::Tables { name, source })?;
        }
        Ok(())
    }

    fn unreadable(&self, error: LogError) -> ProjectionError {
        let name = self.tables.first().map_or("none", |table| table.name());
        match error {
            LogError::Corrupt { position, reason } => ProjectionError::Stopped {
                name,
                position,
                reason,
            },
            source @ LogError::Unavailable(_) => ProjectionError::Log { name, source },
        }
    }

    /// Saves the folded rows, each table with its checkpoint.
    ///
    /// # Errors
    /// [`ProjectionError::Tables`], for example if another process rebuilds the same table.
    pub async fn save(&mut self) -> Result<(), ProjectionError> {
        self.begin_saving().await?;
        self.end_saving().await
    }

    /// Saves in the background while folding continues; one part at a time.
    async fn begin_saving(&mut self) -> Result<(), ProjectionError> {
        self.end_saving().await?;
        let parts: Vec<_> = self.tables.iter_mut().map(|table| table.take()).collect();
        self.saved = self.reached();
        let saving = tokio::spawn(save(PgPool::clone(&self.pool), parts));
        self.saving = Some(AbortOnDropHandle::new(saving));
        Ok(())
    }

    async fn end_saving(&mut self) -> Result<(), ProjectionError> {
        match self.saving.take() {
            None => Ok(()),
            Some(saving) => match saving.await {
                Ok(saved) => saved,
                // The task cannot have been cancelled: this is the only handle.
                Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
            },
        }
    }

    /// Folds the last events, compares each table with the live one, and replaces it.
    ///
    /// # Errors
    /// [`ProjectionError`]; the live table of the named projection is unchanged.
    pub async fn swap(mut self) -> Result<Vec<Rebuilt>, ProjectionError> {
        self.save().await?;
        let mut rebuilt = vec![];
        for mut table in std::mem::take(&mut self.tables) {
            let name = table.name();
            let swapped = swap(&self.pool, table.as_mut(), &self.voids).await;
            rebuilt.push(swapped.map_err(|error| match error {
                SwapError::Sql(source) => ProjectionError::Tables { name, source },
                SwapError::Projection(error) => error,
            })?);
        }
        Ok(rebuilt)
    }
}

/// Rebuilds the named projections from the first to the last event.
///
/// # Errors
/// [`ProjectionError`].
pub async fn rebuild(
    pool: &LogPool,
    names: &[&str],
    mut progress: impl FnMut(Position, Position),
) -> Result<Vec<Rebuilt>, ProjectionError> {
    let name = "none";
    let mut rebuild = Rebuild::start(pool.clone(), names).await?;
    loop {
        let after = rebuild.reached();
        let until = head(pool)
            .await
            .map_err(|source| ProjectionError::Tables { name, source })?;
        if until.0 - after.0.min(until.0) <= CLOSE {
            return rebuild.swap().await;
        }
        let mut pages = pin!(decoded(pool, selection(after, until)));
        while let Some(page) = pages.next().await {
            let page = page.map_err(|source| ProjectionError::Log { name, source })?;
            rebuild.add_decoded(page).await?;
            progress(rebuild.reached(), until);
        }
        if rebuild.reached() < until {
            return Err(missing(name, rebuild.reached()));
        }
    }
}

async fn mark(pool: &PgPool, table: &mut dyn Rebuilding) -> Result<(), sqlx::Error> {
    let rebuild_table = part::rebuild_table(table.name());
    let (left_out, marked) = table.left_out();
    if left_out != marked {
        left_out
            .save(&mut *pool.acquire().await?, &rebuild_table, marked)
            .await?;
        marked.clone_from(left_out);
    }
    Ok(())
}

/// The error for a head beyond the last event.
fn missing(name: &'static str, reached: Position) -> ProjectionError {
    ProjectionError::Stopped {
        name,
        position: reached.next(),
        reason: "there is no event here".to_owned(),
    }
}

/// Decodes pages concurrently, and returns them in order.
fn decoded(pool: &PgPool, selection: Selection) -> impl Stream<Item = Result<Decoded, LogError>> {
    let blocks = copy::blocks(pool.clone(), selection);
    let blocks = stream::unfold(blocks, |mut blocks| async {
        Some((blocks.recv().await?, blocks))
    });
    let work = |block: Result<Block, LogError>| block.map(|block| Decoded::of(block.events()));
    in_order(blocks, work)
}

fn selection(after: Position, until: Position) -> Selection {
    Selection {
        after,
        until,
        drop: None,
        private: false,
    }
}

async fn head(pool: &PgPool) -> Result<Position, sqlx::Error> {
    let position: i64 = sqlx::query_scalar("SELECT position FROM log_head")
        .fetch_one(pool)
        .await?;
    Ok(from_sql(position))
}
