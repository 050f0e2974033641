//! `holdfast audit verify`: the complete verification of a database, or of an export alone.
//!
//! Promise: it verifies the log up to one head, and the tables as they were at that head, also
//! while events are appended. Limit: for an export it verifies the log alone: an export has no
//! tables and no personal data.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;

use clap::Args;
use domain::values::Position;
use futures::StreamExt;
use infrastructure::erasure;
use infrastructure::error::LogError;
use infrastructure::log::Head;
use infrastructure::log::ahead::in_order;
use infrastructure::log::copy::{self, Selection};
use infrastructure::log::postgres;
use infrastructure::quarantine::Voids;
use infrastructure::sqlstate::SqlState;
use projections::checked::{CheckedTable, Comparison, Mismatch, checked_tables, hold_tables};
use projections::error::{ReplayError, SnapshotError};
use serde_json::{Value, json};
use sqlx::{Acquire, Executor, PgPool};
use terminal::say;

use super::acknowledged::{Compared, HeadFile, IN_DATA_DIR};
use super::checkpoint::{CheckpointError, PublicKey, public_key_file};
use super::examine::{Examined, examine};
use super::kept_head::{KnownHead, head_file, read_head};
use super::source::{EventFilter, Moment, Page, Reading, Source, SourceArgs};
use super::verify::{Erasures, Proved, Verifier};
use super::violation::{Claim, Stop, StreamName, Violation};
use super::{AuditError, guards, print};

/// The claim's source for a head from the command line.
const EXPECT_HEAD: &str = "--expect-head";

/// The claim's source for the head file of an export.
const HEAD_FILE: &str = "the head file of the export";

/// The lag of a running server's projections, in events, that is not noted.
const TRAILING: u64 = 10_000;

/// Arguments of `audit verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// A head that was kept: the log must have this hash at this position, so that a truncated tail
    /// is found.
    #[arg(long, env = "HOLDFAST_AUDIT_EXPECT_HEAD", value_name = "POSITION:HASH")]
    expect_head: Option<KnownHead>,

    /// A checkpoint that was kept (`audit checkpoint`): the log must extend it; may be repeated.
    #[arg(long, env = "HOLDFAST_AUDIT_CHECKPOINT", value_name = "FILE")]
    checkpoint: Vec<PathBuf>,

    /// The public key of the checkpoints; without it, checkpoint.pub in the data directory.
    #[arg(
        long,
        env = "HOLDFAST_AUDIT_CHECKPOINT_KEY",
        value_name = "FILE",
        requires = "checkpoint"
    )]
    checkpoint_key: Option<PathBuf>,

    /// File with the last head that a server acknowledged: the log must reach it. Without it,
    /// heads.json in the data directory, and a log that is shorter is only noted.
    #[arg(long, env = "HOLDFAST_AUDIT_HEAD", value_name = "FILE")]
    head: Option<PathBuf>,

    /// Print JSON.
    #[arg(long, env = "HOLDFAST_AUDIT_JSON")]
    json: bool,
}

/// The verification's result, or the reason that it ended early.
pub(super) type Outcome = Result<Proof, Stop>;

/// The verified facts.
pub(super) struct Proof {
    log: Proved,
    tables: Vec<TableProof>,
    /// Checkpoints that the log extends, and their sources.
    extends: Vec<(Position, String)>,
    /// Sentences about missing or disabled triggers, which are among the notes.
    unguarded: Vec<String>,
    notes: Vec<String>,
}

struct TableProof {
    name: &'static str,
    checkpoint: Position,
    rows: u64,
}

/// Runs the verification. Exit code 0: verified; 1: violated.
///
/// # Errors
/// [`AuditError`] when the verification failed.
pub async fn run(args: &VerifyArgs) -> Result<ExitCode, AuditError> {
    let mut claims = match claims(args) {
        Err(AuditError::Checkpoint(forged @ CheckpointError::Forged { .. })) if args.json => {
            print_violation(
                &Violation::at(Position::default(), forged.to_string()),
                true,
            )?;
            return Ok(ExitCode::FAILURE);
        }
        claims => claims?,
    };
    let heads = HeadFile::read(args.head.as_deref(), &args.source.database.data_dir)?;
    let source = Source::open(&args.source).await?;
    let note = match heads.compare(&source).await {
        Ok(Compared { claim, note, .. }) => {
            claims.extend(claim);
            note
        }
        Err(error) => {
            source.close().await;
            return Err(error);
        }
    };
    let outcome = match &source {
        Source::Database(database) => verify_database(&database.pool, claims).await,
        Source::File(path) => verify_file(&source, path, claims).await,
    };
    let outcome = match outcome {
        Ok(Err(Stop::Violated(violation))) => {
            Ok(Err(placed_in_stream(&source, *violation).await.into()))
        }
        outcome => outcome,
    };
    source.close().await;
    match outcome? {
        Ok(mut proof) => {
            proof.notes.extend(note);
            proof.print(args.json)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(Stop::Violated(violation)) => {
            print_violation(&violation, args.json)?;
            Ok(ExitCode::FAILURE)
        }
        Err(Stop::Scratch(error)) => Err(AuditError::Scratch(error)),
    }
}

/// Verifies the log and the tables of a database, and prints the verdict. Returns whether they are
/// verified.
///
/// # Errors
/// [`AuditError`] when the verification failed.
pub async fn verified(pool: &PgPool) -> Result<bool, AuditError> {
    match verify_database(pool, Vec::new()).await? {
        Ok(proof) => proof.print(false).map(|_| true),
        Err(Stop::Violated(violation)) => {
            print_violation(&violation, false)?;
            Ok(false)
        }
        Err(Stop::Scratch(error)) => Err(AuditError::Scratch(error)),
    }
}

/// Adds the stream of the event at the violation's position, if it is not known yet.
pub(super) async fn placed_in_stream(source: &Source, mut violation: Violation) -> Violation {
    let position = violation.position;
    if violation.stream.is_some() || position == Position::default() {
        return violation;
    }
    let filter = EventFilter {
        after: Position(position.0 - 1),
        until: Some(Moment::Position(position)),
        ..EventFilter::default()
    };
    // Where the log is damaged, the event may be unreadable.
    if let Ok(mut reading) = source.read(filter, "locating").await
        && let Ok(Some(page)) = reading.next().await
    {
        let event = page.into_iter().next();
        violation.stream =
            event.map(|event| StreamName::new(&event.aggregate_type, event.aggregate_id));
    }
    violation
}

fn claim(known: KnownHead, source: &str) -> Claim {
    Claim {
        position: known.position,
        hash: known.hash,
        source: source.to_owned(),
    }
}

fn claims(args: &VerifyArgs) -> Result<Vec<Claim>, AuditError> {
    let mut claims = vec![];
    claims.extend(args.expect_head.map(|known| claim(known, EXPECT_HEAD)));
    let (key, data_dir) = (
        args.checkpoint_key.as_deref(),
        &args.source.database.data_dir,
    );
    claims.extend(of_checkpoints(&args.checkpoint, key, data_dir)?);
    Ok(claims)
}

/// The claims of checkpoints that were kept, verified with `key` or that of the data directory.
pub(super) fn of_checkpoints(
    files: &[PathBuf],
    key: Option<&Path>,
    data_dir: &Path,
) -> Result<Vec<Claim>, AuditError> {
    if files.is_empty() {
        return Ok(vec![]);
    }
    let kept = public_key_file(data_dir);
    let key = PublicKey::read(key.unwrap_or(&kept))?;
    let claims = files.iter().map(|file| Ok(key.open(file)?));
    claims.collect()
}

/// Verifies an export, also against its head file if there is one.
///
/// # Errors
/// [`AuditError::NoEvents`] for a file without events, unless a claim states that the log is empty.
pub(super) async fn verify_file(
    source: &Source,
    path: &Path,
    mut claims: Vec<Claim>,
) -> Result<Outcome, AuditError> {
    claims.extend(read_head(path)?.map(|known| claim(known, HEAD_FILE)));
    let first = prove_file(source, path, claims.clone(), Voids::default()).await?;
    if !matches!(first, Err(Stop::Violated(_))) {
        return Ok(first);
    }
    // A second pass is worthwhile only now: a later event may declare the faulty position void.
    let voids = source.voids().await?;
    if voids.is_empty() {
        return Ok(first);
    }
    prove_file(source, path, claims, voids).await
}

async fn prove_file(
    source: &Source,
    path: &Path,
    claims: Vec<Claim>,
    voids: Voids,
) -> Result<Outcome, AuditError> {
    let reading = source.read_all("verifying").await?.unchecked();
    let extends = extended(&claims);
    let furthest = claims.iter().map(|claim| claim.position).max();
    let verifier = Verifier::new(claims, false).with_voids(voids);
    let log = match follow(reading, verifier, &mut []).await? {
        Ok(verifier) => verifier.finish(),
        Err(stop) => Err(stop),
    };
    let log = match log {
        Ok(log) => log,
        Err(stop) => return Ok(Err(stop)),
    };
    if log.events == 0 && furthest.is_none() {
        return Err(AuditError::NoEvents(path.to_owned()));
    }
    let mut notes = log.notes.sentences();
    notes.extend(from_future(log.head));
    if furthest.is_none_or(|claimed| claimed < log.head.position) {
        notes.push(unclaimed_end(path, log.head.position));
    }
    Ok(Ok(Proof {
        notes,
        log,
        tables: vec![],
        extends,
        unguarded: vec![],
    }))
}

/// The note on an export whose end nothing outside confirms.
fn unclaimed_end(path: &Path, ends: Position) -> String {
    let kept = if path == Path::new("-") {
        String::new()
    } else {
        format!(", or keep {} with the export", head_file(path).display())
    };
    format!(
        "the end was not verified: an export that was truncated after position {ends} looks the same; \
         add --expect-head or a --checkpoint of that position{kept}"
    )
}

pub(super) async fn verify_database(
    pool: &PgPool,
    claims: Vec<Claim>,
) -> Result<Outcome, AuditError> {
    let snapshot = match snapshot(pool).await.map_err(damage) {
        Ok(snapshot) => snapshot,
        Err(Ok(violation)) => return Ok(Err(violation.into())),
        Err(Err(error)) => return Err(error),
    };
    let (head, knows_private) = (snapshot.head, snapshot.knows_private);
    let mut notes = snapshot.notes();
    let unguarded = snapshot.unguarded.clone();
    let mut tables = snapshot.tables;
    let selection = Selection {
        after: Position::default(),
        until: head.position,
        drop: None,
        private: knows_private,
    };
    let reading = Reading::database(pool, selection, "verifying").unchecked();
    let extends = extended(&claims);
    let mut verifier = Verifier::new(claims, knows_private).with_voids(snapshot.voids);
    if let Some(erasures) = snapshot.erasures {
        verifier = verifier.with_erasures(erasures);
    }
    let outcome = follow(reading, verifier, &mut tables).await?;
    let proved = outcome.and_then(|mut verifier| {
        if let Err(violation) = check_end(&mut verifier, head, snapshot.stray) {
            return Err(verifier.fail(violation));
        }
        // The log first: if its tail was cut off, differing projections are only a consequence.
        let log = verifier.finish()?;
        Ok((log, compare(tables, head)?))
    });
    let (mut log, tables) = match proved {
        Ok(proved) => proved,
        Err(stop) => return Ok(Err(stop)),
    };
    if log.notes.vanished > 0 {
        // Buyers erased during the verification have their erasure events after the
        // verified head.
        let since = erasure::events_erased_after(pool, head.position).await?;
        log.notes.vanished = log.notes.vanished.saturating_sub(since);
    }
    notes.extend(log.notes.sentences());
    notes.extend(from_future(log.head));
    Ok(Ok(Proof {
        log,
        tables,
        extends,
        unguarded,
        notes,
    }))
}

/// A note if the newest event is in the future of this machine's clock, beyond the tolerated skew.
fn from_future(head: Head) -> Option<String> {
    const TOLERATED_MS: i64 = 2_000;
    let ahead = head.recorded_at.millis() - chrono::Utc::now().timestamp_millis();
    (ahead > TOLERATED_MS).then(|| {
        format!(
            "the newest event was recorded {} s in the future of this machine's clock: this machine's clock or the writer's clock is wrong",
            ahead / 1_000
        )
    })
}

/// Turns damage to the log or to the schema into a violation; other errors stay errors.
fn damage(error: AuditError) -> Result<Violation, AuditError> {
    let at = |reason| Ok(Violation::at(Position::default(), reason));
    if let AuditError::Log(LogError::Corrupt { position, reason }) = error {
        return Ok(Violation::at(position, reason));
    }
    if let AuditError::Snapshot(SnapshotError::Sql { table, source }) = &error
        && is_missing(source)
    {
        return at(format!(
            "table {table} does not have the expected schema: {source}"
        ));
    }
    if let AuditError::Sql(source) = &error
        && is_missing(source)
    {
        return at(format!(
            "the database does not have the expected schema: {source}"
        ));
    }
    Err(error)
}

/// Reports whether a table or a column does not exist.
fn is_missing(error: &sqlx::Error) -> bool {
    SqlState::of(error).is_some_and(|code| code.is_missing_name())
}

/// The log's head and every table, read in one snapshot.
pub struct Snapshot {
    head: Head,
    stray: Option<Position>,
    knows_private: bool,
    /// `None` if this user may not read the table.
    erasures: Option<Erasures>,
    voids: Voids,
    /// Sentences about missing or disabled triggers.
    unguarded: Vec<String>,
    pub tables: Vec<Box<dyn CheckedTable>>,
}

/// Kept short: while the transaction is open, no version of the head's row can be vacuumed, and
/// appends become slower.
pub async fn snapshot(pool: &PgPool) -> Result<Snapshot, AuditError> {
    let mut connection = pool.acquire().await?;
    let mut transaction = connection.begin().await?;
    transaction
        .execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        .await?;
    hold_tables(&mut transaction).await?;
    let (head, stray) = copy::head_and_stray(&mut transaction)
        .await
        .map_err(AuditError::Log)?;
    let knows_private = copy::may_read_private(&mut transaction)
        .await
        .map_err(AuditError::Log)?;
    let erasures = erasure::recorded(&mut transaction).await?;
    let voids = postgres::voided(&mut *transaction).await?;
    let unguarded = guards::missing(&mut transaction).await?;
    let tables = checked_tables(&mut transaction).await?;
    transaction.commit().await?;
    Ok(Snapshot {
        head,
        stray,
        knows_private,
        erasures: erasures.map(Erasures::from_iter),
        voids: voids.into_iter().collect(),
        unguarded,
        tables,
    })
}

impl Snapshot {
    /// Observations that are not violations.
    fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = self.unguarded.clone();
        if !self.knows_private {
            notes.push("commitments to personal data, and that each person is one buyer, were not checked: this database user may not read personal data".to_owned());
        }
        if self.erasures.is_none() {
            notes.push(
                "erasures were not checked: this database user may not read the table erasures"
                    .to_owned(),
            );
        }
        for table in &self.tables {
            notes.extend(table.stopped().map(str::to_owned));
            if table.left_out() > 0 {
                notes.push(format!(
                    "view {} was compared without {} drops whose rows are to be rebuilt",
                    table.name(),
                    table.left_out()
                ));
            }
            let (name, checkpoint) = (table.name(), table.checkpoint());
            let behind = self.head.position.0.saturating_sub(checkpoint.0);
            let has_read_nothing = checkpoint == Position::default() && behind > 0;
            if behind > TRAILING || has_read_nothing {
                notes.push(format!(
                    "view {name} was compared as of position {checkpoint}, {behind} events behind the head"
                ));
            }
        }
        notes
    }
}

fn extended(claims: &[Claim]) -> Vec<(Position, String)> {
    let others = [EXPECT_HEAD, HEAD_FILE, IN_DATA_DIR];
    let is_checkpoint = |claim: &&Claim| !others.contains(&claim.source.as_str());
    let of_checkpoints = claims.iter().filter(is_checkpoint);
    of_checkpoints
        .map(|claim| (claim.position, claim.source.clone()))
        .collect()
}

/// Reads everything: examines pages in parallel, checks and folds events in order.
async fn follow(
    reading: Reading,
    mut verifier: Verifier,
    tables: &mut [Box<dyn CheckedTable>],
) -> Result<Result<Verifier, Stop>, AuditError> {
    let knows_private = verifier.knows_private();
    let work = move |page: Result<Page, LogError>| page.map(|page| examine(&page, knows_private));
    let mut pages = pin!(in_order(reading.into_pages(), work));
    while let Some(page) = pages.next().await {
        let (events, broken) = match page {
            Ok(page) => (page.events, page.broken),
            Err(error) => (vec![], Some(error)),
        };
        for event in events {
            match step(&mut verifier, tables, event) {
                Ok(()) => {}
                Err(Stop::Violated(violation)) => return Ok(Err(verifier.fail(*violation))),
                Err(stop @ Stop::Scratch(_)) => return Ok(Err(stop)),
            }
        }
        match broken {
            None => {}
            Some(LogError::Corrupt { position, reason }) => {
                return Ok(Err(verifier.fail(Violation::at(position, reason))));
            }
            Some(error @ LogError::Unavailable(_)) => return Err(AuditError::Log(error)),
        }
    }
    Ok(Ok(verifier))
}

fn step(
    verifier: &mut Verifier,
    tables: &mut [Box<dyn CheckedTable>],
    event: Examined,
) -> Result<(), Stop> {
    let Some(recorded) = verifier.check(event)? else {
        return Ok(());
    };
    for table in tables {
        table.apply(&recorded).map_err(|error| match error {
            ReplayError::CannotApply(reason) => {
                let reason = format!("view {} cannot apply the event: {reason}", table.name());
                Violation::at(recorded.position, reason).into()
            }
            ReplayError::Scratch(error) => Stop::Scratch(error),
        })?;
    }
    Ok(())
}

fn check_end(
    verifier: &mut Verifier,
    head: Head,
    stray: Option<Position>,
) -> Result<(), Violation> {
    let reached = verifier.head().position;
    if reached < head.position {
        let reason = format!(
            "the head is at position {}, but this event is missing",
            head.position
        );
        return Err(Violation::at(reached.next(), reason));
    }
    verifier.check_head(head)?;
    match stray {
        None => verifier.check_closing(),
        Some(position) => {
            let reason = format!(
                "an event exists here, outside the log: the log's head is at position {}",
                head.position
            );
            Err(Violation::at(position, reason))
        }
    }
}

/// Compares every table; returns the violation with the lowest position.
fn compare(tables: Vec<Box<dyn CheckedTable>>, head: Head) -> Result<Vec<TableProof>, Stop> {
    let (mut compared, mut first) = (vec![], None::<Violation>);
    for table in tables {
        let (name, checkpoint) = (table.name(), table.checkpoint());
        let (rows, violation) = match incomparable(&*table, head) {
            Some(violation) => (0, Some(violation)),
            None => {
                let Comparison { rows, mismatch } = table.compare()?;
                (rows, mismatch.map(differs_from_log))
            }
        };
        first = first
            .into_iter()
            .chain(violation)
            .reduce(Violation::or_earlier);
        compared.push(TableProof {
            name,
            checkpoint,
            rows,
        });
    }
    match first {
        None => Ok(compared),
        Some(violation) => Err(violation.into()),
    }
}

/// The reason that a table cannot be compared, if any.
fn incomparable(table: &dyn CheckedTable, head: Head) -> Option<Violation> {
    let (name, checkpoint) = (table.name(), table.checkpoint());
    if checkpoint > head.position {
        let reason =
            format!("view {name} has its checkpoint at position {checkpoint}, beyond the head");
        return Some(Violation::at(head.position, reason));
    }
    let other = table.other_version()?;
    Some(Violation::at(checkpoint, other.to_string()))
}

fn differs_from_log(mismatch: Mismatch) -> Violation {
    let reason = format!("a row of view {} differs from the log", mismatch.table);
    Violation {
        expected: Some(mismatch.expected.unwrap_or_else(|| "no row".to_owned())),
        found: Some(mismatch.found.unwrap_or_else(|| "no row".to_owned())),
        ..Violation::at(mismatch.position, reason)
    }
}

impl Proof {
    /// The head up to which the log was verified.
    pub(super) const fn head(&self) -> Head {
        self.log.head
    }

    /// Sentences about missing or disabled triggers.
    pub(super) fn unguarded(&self) -> &[String] {
        &self.unguarded
    }

    /// Returns the facts about the log; prints the notes to standard error.
    pub(super) fn with_notes_printed(&self) -> &Proved {
        for note in &self.notes {
            say(&format!("note: {note}"));
        }
        &self.log
    }

    pub(super) fn print(&self, as_json: bool) -> Result<ExitCode, AuditError> {
        if as_json {
            return print(&self.to_json().to_string());
        }
        let Proved {
            events,
            head,
            introductions,
            erased,
            erasures,
            incidents,
            payments,
            ..
        } = &self.log;
        let mut lines = vec![format!(
            "verified {events} events, head {} {}",
            head.position, head.hash
        )];
        for (position, source) in &self.extends {
            lines.push(format!("extends {source} at position {position}"));
        }
        if let Some(erased @ 1..) = erased {
            lines.push(format!(
                "personal data of {erased} of {introductions} events erased"
            ));
        }
        lines.extend(payments.sentence());
        if *erasures > 0 {
            lines.push(format!("erasures: {erasures}"));
        }
        if !incidents.is_empty() {
            let what = match incidents.len() {
                1 => "1 incident".to_owned(),
                many => format!("{many} incidents"),
            };
            let described: Vec<String> = incidents.iter().map(ToString::to_string).collect();
            lines.push(format!("{what}: {}", described.join("; ")));
        }
        self.with_notes_printed();
        print(&lines.join("\n"))
    }

    fn to_json(&self) -> Value {
        let Proved {
            events,
            head,
            drops,
            open_holds,
            payments,
            introductions,
            erased,
            erasures,
            incidents,
            notes,
        } = &self.log;
        let incidents: Vec<Value> = incidents
            .iter()
            .map(|incident| json!({ "position": incident.position, "event": incident.event }))
            .collect();
        let views: Vec<Value> = self
            .tables
            .iter()
            .map(|table| json!({ "name": table.name, "checkpoint": table.checkpoint, "rows": table.rows }))
            .collect();
        json!({
            "verified": true, "events": events, "head": head, "drops": drops, "open_holds": open_holds,
            "payments": {
                "started": payments.started, "succeeded": payments.succeeded, "sales": payments.sales,
                "refunds_settled": payments.refunds_settled, "refunds_open": payments.refunds_open,
            },
            "extends": self.extends.iter().map(|(position, source)| json!({ "position": position, "claim": source })).collect::<Vec<_>>(),
            "events_with_personal_data": introductions, "events_erased": erased, "erasures": erasures, "incidents": incidents, "views": views,
            "late_purchases": notes.times.late_purchases, "decided_far_from_recorded": notes.times.far, "vanished": notes.vanished,
            "respelled": { "spellings": notes.respelled.spellings, "first_position": notes.respelled.first },
            "closing": { "drops": notes.closing.drops, "holds": notes.closing.holds, "waitlist_entries": notes.closing.entries },
            "foreign_events": notes.foreign, "notes": self.notes,
        })
    }
}

pub(super) fn print_violation(violation: &Violation, as_json: bool) -> Result<(), AuditError> {
    if as_json {
        let report = json!({ "verified": false, "violation": violation });
        print(&report.to_string())?;
    } else {
        say(&format!("holdfast: {violation}"));
    }
    Ok(())
}
