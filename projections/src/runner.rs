//! Runs one projection: reads events after its checkpoint, folds them, commits rows and checkpoint together.
//!
//! Promise: every event reaches the table exactly once, in order, through any crash. One process runs it at a time, for it
//! holds the checkpoint's row while it works. A drop in quarantine is left out, by a mark beside
//! the table ([`crate::left_out`]); all other drops go on. An event that the engine has applied and
//! the fold cannot apply stops it at that position, loudly, and so do rows that another version of
//! its fold has made.
//! Limit: rows trail the log by a step or two, some [`STEP_EVERY`]; who must see their own write reads the views in memory.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use domain::values::{DropId, Position};
use infrastructure::error::LogError;
use infrastructure::feed::{Committed, Feed};
use infrastructure::log::{EventLog, Head};
use sqlx::{Executor, PgConnection, PgPool};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::error::{CannotApply, ProjectionError};
use crate::fold::{Fold, Rows};
use crate::left_out::{self, LeftOut, Stuck};
use crate::table::{self, Table};

/// Events folded in one transaction, about.
const STEP_EVENTS: usize = 5_000;
/// The shortest time from one step to the next: a row that changes often is written once a step, not once a change.
pub const STEP_EVERY: Duration = Duration::from_millis(40);
/// How soon to look again when another process runs this projection, or when the head moved unheard.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Where a projection stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Its checkpoint, as far as this process knows.
    pub checkpoint: Position,
    /// Why it stopped, if it did.
    pub stopped: Option<String>,
}

/// Runs projections on a log.
#[derive(Debug, Clone)]
pub struct Runner<L> {
    pool: PgPool,
    log: L,
    feed: Feed,
}

/// What one step came to.
enum Step {
    /// To this position; there may be more.
    Advanced(Position),
    AtHead(Position),
    RunElsewhere,
}

/// The rows that the last step wrote, which the next one is likely to change again.
#[derive(Debug, Default)]
struct LastStep<F: Fold + Clone> {
    checkpoint: Position,
    /// How often the table was replaced by a rebuilt one.
    generation: i64,
    rows: Rows<F>,
    left_out: LeftOut,
}

/// When to take the next step.
enum Next {
    Soon,
    WhenWoken,
    Later,
    Never,
}

impl<L: EventLog> Runner<L> {
    /// A runner that reads from `feed`, or from `log` where it is far behind.
    #[must_use]
    pub const fn new(pool: PgPool, log: L, feed: Feed) -> Self {
        Self { pool, log, feed }
    }

    /// Runs `F` until `stop`. One that cannot apply an event waits there until its table is rebuilt.
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

    /// A projection that stopped goes on once its table was rebuilt, by whoever can apply what it could not, or folds as it does.
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

    /// Tells the world what a step came to, and decides when to take the next.
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
                    "{stopped}; its rows stay as they were before"
                );
                self.note_stop::<F>(&stopped).await;
                progress.send_modify(|progress| progress.stopped = Some(stopped.to_string()));
                Next::Never
            }
            // Not noted beside the table: another program may go on with it, and does not have to be told.
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
                    "{error}; trying again"
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
        // Derived from the log, so they need not wait for a standby, and do not keep connections waiting while there is none.
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
            // Another process ran this projection meanwhile, or its table was replaced.
            *last = LastStep {
                checkpoint,
                generation,
                left_out: LeftOut::load(&mut transaction, F::NAME)
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
            left_out.fold_anew(drop_id);
        }
        for batch in &batches {
            left_out.withhold(&batch.withheld);
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
            .take_up_again::<F>(&mut transaction, &mut left_out, reached)
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

    fn is_nothing_due(&self, left_out: &LeftOut) -> bool {
        let mut due = left_out.due();
        due.all(|(drop_id, _)| self.feed.is_quarantined(drop_id))
    }

    /// Folds the events that drops are behind by, of those that can be applied again. Tells whether
    /// any row was written.
    async fn take_up_again<F: Table + Clone>(
        &self,
        connection: &mut PgConnection,
        left_out: &mut LeftOut,
        reached: Position,
    ) -> Result<bool, ProjectionError> {
        let due: Vec<(DropId, Position)> = left_out
            .due()
            .filter(|(drop_id, _)| !self.feed.is_quarantined(*drop_id))
            .collect();
        for (drop_id, from) in &due {
            let stream = self.log.stream(*drop_id, reached).await;
            let stream = stream.map_err(unreadable::<F>)?;
            let is_void = |position| self.feed.is_void(position);
            let refused = left_out::fold_stream::<F>(connection, *drop_id, *from, &stream, is_void);
            let refused = refused.await.map_err(|stuck| match stuck {
                Stuck::Sql(error) => unwritable::<F>(reached, error),
                Stuck::Fold(position, reason) => stopped::<F>(position, &reason),
            })?;
            left_out.taken_up(*drop_id, refused);
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
                "cannot note why {} stopped",
                F::NAME
            );
        }
    }
}

/// The engine applied the event, so the rows, or the fold, are not what they should be.
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

/// A row that its table refuses stops a projection like an event that cannot be applied: somewhere after `checkpoint`.
fn unwritable<F: Table>(checkpoint: Position, error: sqlx::Error) -> ProjectionError {
    let code = error.as_database_error().and_then(|error| error.code());
    let code = code.filter(|code| code.starts_with("22") || code.starts_with("23"));
    let Some(code) = code else {
        return ProjectionError::Tables {
            name: F::NAME,
            source: error,
        };
    };
    let reason = format!(
        "the table refuses a row of this step (SQLSTATE {code}; the server's log has the database's message)"
    );
    // Anybody may read why a projection stopped (`/health/ready`), but not what the database says of its tables.
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

/// What a step comes to: rows as they are afterwards, and which of them it started.
struct Folded<F: Fold + Clone> {
    rows: Rows<F>,
    started: BTreeSet<F::Key>,
}

/// The rows that `batches` change, as they are afterwards. Only what is neither in `known` nor started here is loaded.
async fn fold<F: Table + Clone>(
    connection: &mut PgConnection,
    batches: &[Arc<Committed>],
    known: &Rows<F>,
    left_out: &LeftOut,
) -> Result<Folded<F>, ProjectionError> {
    let all = batches.iter().flat_map(|batch| &batch.events);
    let events: Vec<_> = all.filter(|event| left_out.takes(event)).collect();
    let mut rows = Rows::<F>::default();
    let (mut met, mut missing, mut started) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for event in &events {
        let event = *event;
        let Some(key) = F::key(event.into()) else {
            continue;
        };
        if !met.insert(key) {
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

/// A checkpoint that nobody else moves meanwhile.
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
        checkpoint: Position(position.unsigned_abs()),
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
        .bind(i64::try_from(position.0).unwrap_or(i64::MAX))
        .execute(connection)
        .await?;
    Ok(())
}
