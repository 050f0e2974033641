//! Runs one projection: reads events after its checkpoint, folds them, commits rows and checkpoint
//! together.
//!
//! Promise: every event reaches the table exactly once, in order, through any crash. Only one
//! process at a time runs it, because it locks the checkpoint's row while it works. A drop in
//! quarantine is excluded by a mark ([`crate::excluded`]); all other drops continue. If the fold
//! cannot apply an event that the engine has applied, the projection stops at that position and
//! logs an error; also if another version of its fold has made the rows.
//! Limit: rows trail the log by a step or two of about [`STEP_EVERY`]; a caller that must see its
//! own write reads the views in memory.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use domain::values::{DropId, Position};
use infrastructure::error::LogError;
use infrastructure::feed::{Committed, Feed};
use infrastructure::log::{EventLog, Head, StreamId};
use infrastructure::sql_values::{from_sql, to_sql};
use infrastructure::sqlstate::SqlState;
use sqlx::{Executor, PgConnection, PgPool};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::error::{CannotApply, ProjectionError};
use crate::excluded::{self, ExcludedDrops, RefoldError};
use crate::fold::{Fold, Rows};
use crate::table::{self, Table};

/// The approximate number of events folded in one transaction.
const STEP_EVENTS: usize = 5_000;
/// The shortest time between two steps. A row that changes often is written once per step, not once
/// per change.
pub const STEP_EVERY: Duration = Duration::from_millis(40);
/// The interval of polling while another process runs this projection, or in case a notification of
/// a new head was missed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The progress of a projection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// The checkpoint, as far as this process knows.
    pub checkpoint: Position,
    /// Why the projection stopped, if it did.
    pub stopped: Option<String>,
}

#[derive(Debug, Clone)]
pub struct Runner<L> {
    pool: PgPool,
    log: L,
    feed: Feed,
}

/// The result of one step.
enum Step {
    /// Advanced to this position; more events may follow.
    Advanced(Position),
    AtHead(Position),
    RunElsewhere,
}

/// The rows that the last step wrote; the next step is likely to change them again.
#[derive(Debug, Default)]
struct LastStep<F: Fold + Clone> {
    checkpoint: Position,
    /// The number of times that a rebuild has replaced the table.
    generation: i64,
    rows: Rows<F>,
    left_out: ExcludedDrops,
}

enum Next {
    Soon,
    WhenWoken,
    Later,
    Never,
}

impl<L: EventLog> Runner<L> {
    /// Creates a runner that reads from `feed`, or from `log` if it is far behind.
    #[must_use]
    pub const fn new(pool: PgPool, log: L, feed: Feed) -> Self {
        Self { pool, log, feed }
    }

    /// Runs `F` until `stop`. If an event cannot be applied, waits there until the table is
    /// rebuilt.
    pub async fn run<F: Table + Clone>(
        self,
        progress: watch::Sender<Progress>,
        stop: CancellationToken,
    ) {
        let mut head = self.feed.watch();
        let mut last = LastStep::<F>::default();
        while !stop.is_cancelled() {
            let next_step = Instant::now() + STEP_EVERY;
            head.mark_unchanged();
            let outcome = self.step(&mut last).await;
            let next = self.note::<F>(outcome, &progress).await;
            if matches!(next, Next::Never) {
                self.wait_for_rebuild::<F>(&stop).await;
                continue;
            }
            let rest = async {
                wait(next, &mut head).await;
                if !self.is_far_behind(last.checkpoint) {
                    sleep_until(next_step).await;
                }
            };
            stop.run_until_cancelled(rest).await;
        }
    }

    /// Waits until another process has rebuilt the table: one that can apply the event, or that has
    /// the same version of the fold.
    async fn wait_for_rebuild<F: Table>(&self, stop: &CancellationToken) {
        let is_stopped = async || {
            let sql = "SELECT stopped IS NOT NULL OR fold_version <> $2 FROM projection_checkpoints WHERE name = $1";
            let stopped = sqlx::query_scalar(sql).bind(F::NAME).bind(F::VERSION);
            stopped.fetch_one(&self.pool).await.unwrap_or(true)
        };
        let rebuilt = async {
            sleep(LOOK_AGAIN).await;
            while is_stopped().await {
                sleep(LOOK_AGAIN).await;
            }
        };
        stop.run_until_cancelled(rebuilt).await;
    }

    fn is_far_behind(&self, checkpoint: Position) -> bool {
        let behind = self.feed.head().position.0.saturating_sub(checkpoint.0);
        behind > STEP_EVENTS as u64
    }

    /// Publishes the result of a step, and decides when to take the next.
    async fn note<F: Table>(
        &self,
        outcome: Result<Step, ProjectionError>,
        progress: &watch::Sender<Progress>,
    ) -> Next {
        match outcome {
            Ok(Step::Advanced(checkpoint)) => {
                progress.send_replace(Progress {
                    checkpoint,
                    stopped: None,
                });
                Next::Soon
            }
            Ok(Step::AtHead(checkpoint)) => {
                progress.send_replace(Progress {
                    checkpoint,
                    stopped: None,
                });
                Next::WhenWoken
            }
            Ok(Step::RunElsewhere) => Next::Later,
            Err(stopped @ ProjectionError::Stopped { .. }) => {
                error!(
                    error = &stopped as &dyn std::error::Error,
                    "{stopped}; the rows are unchanged since the previous step"
                );
                self.note_stop::<F>(&stopped).await;
                progress.send_modify(|progress| progress.stopped = Some(stopped.to_string()));
                Next::Never
            }
            // Not recorded in the database: another process with the matching version may continue,
            // and needs no notice.
            Err(stopped @ ProjectionError::OtherVersion { checkpoint, .. }) => {
                error!("{stopped}");
                progress.send_replace(Progress {
                    checkpoint,
                    stopped: Some(stopped.to_string()),
                });
                Next::Never
            }
            Err(error) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "{error}; retrying"
                );
                Next::Later
            }
        }
    }

    async fn step<F: Table + Clone>(
        &self,
        last: &mut LastStep<F>,
    ) -> Result<Step, ProjectionError> {
        let tables = |source| ProjectionError::Tables {
            name: F::NAME,
            source,
        };
        let mut transaction = self.pool.begin().await.map_err(tables)?;
        // The rows are derived from the log, so the commit does not wait for a standby, and does
        // not keep connections waiting while there is none.
        transaction
            .execute("SET LOCAL synchronous_commit = local")
            .await
            .map_err(tables)?;
        let Some(Locked {
            checkpoint,
            generation,
            fold_version,
        }) = lock_checkpoint::<F>(&mut transaction)
            .await
            .map_err(tables)?
        else {
            return Ok(Step::RunElsewhere);
        };
        if fold_version != F::VERSION {
            return Err(ProjectionError::OtherVersion {
                name: F::NAME,
                checkpoint,
                found: fold_version,
                version: F::VERSION,
            });
        }
        let batches = self
            .feed
            .after(&self.log, checkpoint, STEP_EVENTS)
            .await
            .map_err(unreadable::<F>)?;
        if (last.checkpoint, last.generation) != (checkpoint, generation) {
            // Another process ran this projection in the meantime, or its table was replaced.
            *last = LastStep {
                checkpoint,
                generation,
                left_out: ExcludedDrops::load(&mut transaction, F::NAME)
                    .await
                    .map_err(tables)?,
                ..LastStep::default()
            };
        }
        let mut left_out = last.left_out.clone();
        let reached = match batches.last() {
            Some(batch) => batch.head.position,
            None if self.is_nothing_due(&left_out) => return Ok(Step::AtHead(checkpoint)),
            None => checkpoint,
        };
        for drop_id in self.feed.voided_between(checkpoint, reached) {
            left_out.invalidate(drop_id);
        }
        for batch in &batches {
            left_out.exclude_all(&batch.withheld);
        }
        let Folded { rows, started } =
            fold::<F>(&mut transaction, &batches, &last.rows, &left_out).await?;
        let (new, changed): (Vec<_>, Vec<_>) = rows
            .0
            .values()
            .partition(|placed| started.contains(&placed.key));
        let refused = |error| unwritable::<F>(checkpoint, error);
        table::insert::<F>(&mut transaction, &new)
            .await
            .map_err(refused)?;
        table::save::<F>(&mut transaction, &changed)
            .await
            .map_err(refused)?;
        let mended = self
            .refold_excluded::<F>(&mut transaction, &mut left_out, reached)
            .await?;
        left_out
            .save(&mut transaction, F::NAME, &last.left_out)
            .await
            .map_err(tables)?;
        move_checkpoint::<F>(&mut transaction, reached)
            .await
            .map_err(tables)?;
        transaction.commit().await.map_err(tables)?;
        *last = LastStep {
            checkpoint: reached,
            generation,
            rows: if mended { Rows::default() } else { rows },
            left_out,
        };
        Ok(Step::Advanced(reached))
    }

    fn is_nothing_due(&self, left_out: &ExcludedDrops) -> bool {
        let mut due = left_out.due();
        due.all(|(drop_id, _)| self.feed.is_quarantined(drop_id))
    }

    /// Folds the missing events of excluded drops that can be applied again. Returns true if any
    /// row was written.
    async fn refold_excluded<F: Table + Clone>(
        &self,
        connection: &mut PgConnection,
        left_out: &mut ExcludedDrops,
        reached: Position,
    ) -> Result<bool, ProjectionError> {
        let due: Vec<(DropId, Position)> = left_out
            .due()
            .filter(|(drop_id, _)| !self.feed.is_quarantined(*drop_id))
            .collect();
        for (drop_id, from) in &due {
            let stream = self.log.stream(StreamId::Drop(*drop_id), reached).await;
            let stream = stream.map_err(unreadable::<F>)?;
            let is_void = |position| self.feed.is_void(position);
            let refused = excluded::fold_stream::<F>(connection, *drop_id, *from, &stream, is_void);
            let refused = refused.await.map_err(|stuck| match stuck {
                RefoldError::Sql(error) => unwritable::<F>(reached, error),
                RefoldError::Fold(position, reason) => stopped::<F>(position, &reason),
            })?;
            left_out.refolded(*drop_id, refused);
        }
        Ok(!due.is_empty())
    }

    async fn note_stop<F: Table>(&self, stopped: &ProjectionError) {
        let noted = sqlx::query(
            "UPDATE projection_checkpoints SET stopped = $2, updated_at = now() WHERE name = $1",
        )
        .bind(F::NAME)
        .bind(stopped.to_string())
        .execute(&self.pool)
        .await;
        if let Err(error) = noted {
            warn!(
                error = &error as &dyn std::error::Error,
                "cannot record why {} stopped",
                F::NAME
            );
        }
    }
}

/// The engine applied the event, so the rows or the fold are wrong.
fn stopped<F: Table>(position: Position, reason: &CannotApply) -> ProjectionError {
    ProjectionError::Stopped {
        name: F::NAME,
        position,
        reason: reason.to_string(),
    }
}

/// An event that cannot be read stops a projection like one that cannot be applied.
fn unreadable<F: Table>(error: LogError) -> ProjectionError {
    match error {
        LogError::Corrupt { position, reason } => ProjectionError::Stopped {
            name: F::NAME,
            position,
            reason,
        },
        unavailable @ LogError::Unavailable(_) => ProjectionError::Log {
            name: F::NAME,
            source: unavailable,
        },
    }
}

async fn wait(next: Next, head: &mut watch::Receiver<Head>) {
    match next {
        Next::Soon | Next::Never => {}
        Next::Later => sleep(LOOK_AGAIN).await,
        Next::WhenWoken => tokio::select! {
            _ = head.changed() => {}
            () = sleep(LOOK_AGAIN) => {}
        },
    }
}

/// A row that its table rejects stops a projection, like an event that cannot be applied. The event
/// is somewhere after `checkpoint`.
fn unwritable<F: Table>(checkpoint: Position, error: sqlx::Error) -> ProjectionError {
    let Some(code) = SqlState::of(&error).filter(SqlState::rejects_row) else {
        return ProjectionError::Tables {
            name: F::NAME,
            source: error,
        };
    };
    let reason = format!(
        "the table refuses a row of this step (SQLSTATE {code}; the server's log has the database's message)"
    );
    // The reason is public (`/health/ready`), so it must not contain the database's message about
    // its tables.
    error!(
        error = &error as &dyn std::error::Error,
        "a table refuses a row of projection {}",
        F::NAME
    );
    ProjectionError::Stopped {
        name: F::NAME,
        position: checkpoint.next(),
        reason,
    }
}

/// The result of a step: the changed rows, and those of them that are new.
struct Folded<F: Fold + Clone> {
    rows: Rows<F>,
    started: BTreeSet<F::Key>,
}

/// Returns the rows that `batches` change, in their new state. Only rows that are neither in
/// `known` nor new are loaded.
async fn fold<F: Table + Clone>(
    connection: &mut PgConnection,
    batches: &[Arc<Committed>],
    known: &Rows<F>,
    left_out: &ExcludedDrops,
) -> Result<Folded<F>, ProjectionError> {
    let all = batches.iter().flat_map(|batch| &batch.events);
    let events: Vec<_> = all.filter(|event| left_out.includes(event)).collect();
    let mut rows = Rows::<F>::default();
    let (mut seen, mut missing, mut started) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for event in &events {
        let event = *event;
        let Some(key) = F::key(event.into()) else {
            continue;
        };
        if !seen.insert(key) {
            continue;
        }
        if F::starts(&event.event) {
            started.insert(key);
            continue;
        }
        match known.get(&key) {
            Some(placed) => drop(rows.0.insert(key, placed.clone())),
            None => drop(missing.insert(key)),
        }
    }
    if !missing.is_empty() {
        let missing: Vec<F::Key> = missing.into_iter().collect();
        let tables = |source| ProjectionError::Tables {
            name: F::NAME,
            source,
        };
        rows.0.extend(
            table::load::<F>(connection, &missing)
                .await
                .map_err(tables)?,
        );
    }
    for event in events {
        rows.apply(event.position, event.into())
            .map_err(|reason| stopped::<F>(event.position, &reason))?;
    }
    Ok(Folded { rows, started })
}

/// A locked checkpoint.
struct Locked {
    checkpoint: Position,
    generation: i64,
    fold_version: i32,
}

async fn lock_checkpoint<F: Table>(
    connection: &mut PgConnection,
) -> Result<Option<Locked>, sqlx::Error> {
    sqlx::query(
        "INSERT INTO projection_checkpoints (name, position, fold_version) VALUES ($1, 0, $2) ON CONFLICT DO NOTHING",
    )
    .bind(F::NAME)
    .bind(F::VERSION)
    .execute(&mut *connection)
    .await?;
    let found: Option<(i64, i64, i32)> = sqlx::query_as(
        "SELECT position, generation, fold_version FROM projection_checkpoints WHERE name = $1 FOR UPDATE SKIP LOCKED",
    )
    .bind(F::NAME)
    .fetch_optional(connection)
    .await?;
    Ok(found.map(|(position, generation, fold_version)| Locked {
        checkpoint: from_sql(position),
        generation,
        fold_version,
    }))
}

async fn move_checkpoint<F: Table>(
    connection: &mut PgConnection,
    position: Position,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE projection_checkpoints SET position = $2, stopped = NULL, updated_at = now() WHERE name = $1")
        .bind(F::NAME)
        .bind(to_sql(position))
        .execute(connection)
        .await?;
    Ok(())
}
