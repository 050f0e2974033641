//! `holdfast log check`: reads the whole log as a server does, and recomputes the hash chain.
//!
//! Promise: reads only. It reports exactly the events that a server of this release refuses.
//! Limit: it needs as much memory as a server on the same log, and reports only the first refused
//! event of each drop and order.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use database::Database;
use database::DatabaseSettings;
use domain::values::{DropId, Position};
use engine::{EngineConfig, Observer, RandomIds, SystemClock, load};
use infrastructure::error::LogError;
use infrastructure::feed::Committed;
use infrastructure::log::copy::{Selection, blocks};
use infrastructure::log::postgres::{LogPool, PostgresLog};
use infrastructure::log::{EventLog, Hash, Head, chain};
use infrastructure::quarantine::{Fault, RefusedEvent};
use serde_json::json;
use sqlx::PgPool;
use terminal::text::visible;
use tokio_util::sync::CancellationToken;

use super::{RepairError, say};

/// Arguments of `log check`.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    database: DatabaseSettings,

    /// Print JSON.
    #[arg(long, env = "HOLDFAST_LOG_JSON")]
    json: bool,
}

/// How a server of this release judges a log.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) head: Head,
    /// The position at which the chain breaks, and the reason.
    pub(super) broken: Option<(Position, String)>,
    /// The first refused event of each drop and order.
    pub(super) refused: Vec<Arc<RefusedEvent>>,
    /// Pairs of event type and version that the database accepts.
    admitted: Vec<String>,
}

impl Report {
    /// Reports whether a later release can apply the event.
    pub(super) fn is_from_later(&self, refused: &RefusedEvent) -> bool {
        let pair = format!("{} {}", refused.event_type, refused.event_version);
        matches!(refused.fault, Fault::UnknownType | Fault::UnknownVersion)
            && self.admitted.contains(&pair)
    }

    fn is_sound(&self) -> bool {
        self.broken.is_none() && self.refused.is_empty()
    }

    /// One line for the chain, and one for each drop or order in quarantine, with the next step.
    fn lines(&self) -> Vec<String> {
        let Head { position, hash, .. } = self.head;
        if let Some((at, reason)) = &self.broken {
            let before = at.0.saturating_sub(1);
            return vec![format!(
                "the chain is broken at position {at}: {}; nothing is recorded and no server can start until the \
                 rows are restored, or cut: holdfast log cut --after {before} --reason TEXT",
                visible(reason)
            )];
        }
        let mut lines = vec![format!(
            "the chain is sound: {position} events, head {position} {hash}"
        )];
        if self.refused.is_empty() {
            lines.push("no drop and no order is in quarantine".to_owned());
        }
        for refused in &self.refused {
            let described = describe(refused);
            lines.push(if self.is_from_later(refused) {
                format!(
                    "{described}; a later release wrote it, and the database accepts its type: start that release"
                )
            } else {
                let position = refused.position;
                format!("{described}; holdfast log void --position {position} --reason TEXT")
            });
        }
        lines
    }
}

/// Describes a refused event in one line.
pub(super) fn describe(refused: &RefusedEvent) -> String {
    let RefusedEvent {
        stream,
        position,
        event_type,
        event_version,
        fault,
        reason,
        ..
    } = refused;
    let kind = refused.subject();
    let event = format!(
        "{kind} {stream} is in quarantine since position {position}, {event_type} {event_version}: {fault}"
    );
    let described = match fault {
        // The reason only names the type and version again.
        Fault::UnknownType | Fault::UnknownVersion => event,
        Fault::Unreadable | Fault::WrongSequence | Fault::Contradiction => {
            format!("{event}: {reason}")
        }
    };
    visible(&described).into_owned()
}

/// Checks the log and prints the report. Exit code 1 if it is refused.
///
/// # Errors
/// [`RepairError`].
pub(super) async fn run(args: &CheckArgs) -> Result<ExitCode, RepairError> {
    let database = Database::open_existing(&args.database).await?;
    let report = check(&database.pool).await;
    database.close().await;
    let report = report?;
    if args.json {
        let refused = report.refused.iter().map(|refused| {
            json!({
                "drop_id": refused.drop_id, "order_id": refused.order_id, "position": refused.position, "event_type": refused.event_type,
                "event_version": refused.event_version, "fault": refused.fault.name(), "reason": refused.reason,
                "later_release": report.is_from_later(refused),
            })
        });
        let broken = report.broken.as_ref();
        let broken =
            broken.map(|(position, reason)| json!({ "position": position, "reason": reason }));
        let refused: Vec<_> = refused.collect();
        say(&[
            json!({ "head": report.head, "broken": broken, "quarantined": refused }).to_string(),
        ])?;
    } else {
        say(&report.lines())?;
    }
    Ok(ExitCode::from(u8::from(!report.is_sound())))
}

/// Collects the drops and orders that a server would quarantine.
#[derive(Debug, Clone, Default)]
struct Collector(Arc<Mutex<Vec<Arc<RefusedEvent>>>>);

impl Observer for Collector {
    fn committed(&mut self, committed: &Arc<Committed>) {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        found.extend(committed.quarantined.iter().cloned());
    }
}

/// Reads the log as a server does.
pub(super) async fn check(pool: &LogPool) -> Result<Report, RepairError> {
    let log = PostgresLog::new(pool.clone());
    let head = log.head().await;
    let head = match head {
        Ok(head) => head,
        Err(LogError::Corrupt { position, reason }) => {
            return Ok(Report {
                broken: Some((position, reason)),
                ..Report::default()
            });
        }
        Err(error) => return Err(error.into()),
    };
    let mut admitted: Vec<String> = sqlx::query_scalar("SELECT unnest(known_event_types())")
        .fetch_all(&**pool)
        .await?;
    // The database may be one of a release without orders.
    let has_orders: bool =
        sqlx::query_scalar("SELECT to_regproc('known_order_event_types') IS NOT NULL")
            .fetch_one(&**pool)
            .await?;
    if has_orders {
        let of_orders = sqlx::query_scalar("SELECT unnest(known_order_event_types())");
        admitted.extend(of_orders.fetch_all(&**pool).await?);
    }
    let mut report = Report {
        head,
        admitted,
        broken: broken_before(pool, head).await?,
        refused: vec![],
    };
    if report.broken.is_some() {
        return Ok(report);
    }
    let collector = Collector::default();
    let stop = CancellationToken::new();
    let (config, ids) = (EngineConfig::default(), RandomIds::from_os());
    // Loaded but never run: it decides nothing and appends nothing.
    match load(log, SystemClock, ids, collector.clone(), config, stop).await {
        Ok(_engine) => {}
        Err(LogError::Corrupt { position, reason }) => report.broken = Some((position, reason)),
        Err(error) => return Err(error.into()),
    }
    report.refused =
        std::mem::take(&mut *collector.0.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(report)
}

/// Returns where the chain up to `head` breaks, if it does.
pub(super) async fn broken_before(
    pool: &PgPool,
    head: Head,
) -> Result<Option<(Position, String)>, RepairError> {
    let all = Selection {
        after: Position::default(),
        until: head.position,
        drop: None::<DropId>,
        private: false,
    };
    let mut pages = blocks(pool.clone(), all);
    let (mut position, mut hash, mut scratch) = (Position::default(), Hash::default(), vec![]);
    while let Some(page) = pages.recv().await {
        let page = match page {
            Ok(page) => page,
            Err(LogError::Corrupt { position, reason }) => return Ok(Some((position, reason))),
            Err(error) => return Err(error.into()),
        };
        for event in page.events() {
            let event = match event {
                Ok(event) => event,
                Err(LogError::Corrupt { position, reason }) => return Ok(Some((position, reason))),
                Err(error) => return Err(error.into()),
            };
            let next = position.next();
            if event.position != next {
                let reason = format!("the next event is at position {}", event.position);
                return Ok(Some((next, reason)));
            }
            if chain::link_in(&mut scratch, &hash, event) != event.hash {
                let reason = "its hash does not follow from the previous event's hash".to_owned();
                return Ok(Some((next, reason)));
            }
            (position, hash) = (next, event.hash);
        }
    }
    if position < head.position {
        return Ok(Some((position.next(), "the event is missing".to_owned())));
    }
    if hash != head.hash {
        let reason = "log_head has another hash".to_owned();
        return Ok(Some((position, reason)));
    }
    Ok(None)
}
