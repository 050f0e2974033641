//! `holdfast audit history`: all events of one hold, or of one order and its holds, as sentences.

mod order;

use std::process::ExitCode;

use clap::{ArgGroup, Args};
use domain::values::{DropId, HoldId, OrderId};
use domain::{AGGREGATE_TYPE, DropEvent};
use infrastructure::codec::RecordedEvent;
use infrastructure::log::StoredEvent;
use infrastructure::log::lines::LineWriter;
use serde_json::{Value, json};
use sqlx::PgPool;
use terminal::say;

use super::source::{EventFilter, Source, SourceArgs};
use super::{AuditError, payment_bodies, print, sentences};

/// Arguments of `audit history`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("subject").required(true).args(["hold", "order"])))]
pub struct HistoryArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// The hold.
    #[arg(long, env = "HOLDFAST_AUDIT_HOLD", value_name = "ID")]
    hold: Option<HoldId>,

    /// The order.
    #[arg(long, env = "HOLDFAST_AUDIT_ORDER", value_name = "ID")]
    order: Option<OrderId>,

    /// Print JSON.
    #[arg(long, env = "HOLDFAST_AUDIT_JSON")]
    json: bool,
}

/// The events of a hold, and of its drop while the hold was open.
#[derive(Default)]
struct History {
    /// The scheduling of the drop, kept until the hold's drop is known.
    scheduled: Option<(RecordedEvent, Value)>,
    events: Vec<(RecordedEvent, Value)>,
    is_placed: bool,
    is_open: bool,
}

/// Runs the search. Exit code 1 if there is no such hold or order.
///
/// # Errors
/// [`AuditError`].
pub async fn run(args: &HistoryArgs) -> Result<ExitCode, AuditError> {
    let source = Source::open(&args.source).await?;
    let found = match (args.hold, args.order) {
        (Some(hold), _) => find(&source, hold).await.map(|found| {
            found.map(|history| match args.json {
                true => format!("{:#}", history.to_json(hold)),
                false => history.to_text(),
            })
        }),
        (None, Some(order_id)) => order::find(&source, order_id).await.map(|found| {
            found.map(|history| match args.json {
                true => format!("{:#}", history.to_json(order_id)),
                false => history.to_text(),
            })
        }),
        (None, None) => Ok(None),
    };
    source.close().await;
    match (found?, args.hold, args.order) {
        (Some(text), ..) => print(&text),
        (None, Some(hold), _) => {
            say(&format!("holdfast: the log has no hold {hold}"));
            Ok(ExitCode::FAILURE)
        }
        (None, None, order_id) => {
            let order_id = order_id.map_or_else(String::new, |id| id.to_string());
            say(&format!("holdfast: the log has no order {order_id}"));
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn find(source: &Source, hold: HoldId) -> Result<Option<History>, AuditError> {
    if let Source::Database(database) = source {
        for drop_id in likely_drops(&database.pool, hold).await? {
            if let Some(history) = read(source, hold, Some(drop_id)).await? {
                return Ok(Some(history));
            }
        }
    }
    // An export has no index, and other programs may have placed the hold under any id.
    read(source, hold, None).await
}

/// The drops whose ids start like the hold's, which holds for ids from the engine.
async fn likely_drops(pool: &PgPool, hold: HoldId) -> Result<Vec<DropId>, AuditError> {
    let prefix = &hold.to_string()[..8];
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT aggregate_id FROM events
          WHERE aggregate_type = $1 AND aggregate_id >= $2 AND aggregate_id <= $3 AND left(aggregate_id, 8) = $2",
    )
    .bind(AGGREGATE_TYPE)
    .bind(prefix)
    .bind(format!("{prefix}-ffff-ffff-ffff-ffffffffffff"))
    .fetch_all(pool)
    .await?;
    Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
}

async fn read(
    source: &Source,
    hold: HoldId,
    drop: Option<DropId>,
) -> Result<Option<History>, AuditError> {
    let filter = EventFilter {
        drop,
        ..EventFilter::default()
    };
    let mut reading = source.read(filter, "searching").await?;
    // The drop of the hold is known only once it is placed; drops are few, so all schedulings are
    // kept.
    let mut drops = std::collections::HashMap::<DropId, (RecordedEvent, Value)>::new();
    let mut history = History::default();
    let mut of: Option<DropId> = None;
    while let Some(page) = reading.next().await? {
        for stored in &page {
            let Some(recorded) = reading.decode(stored)? else {
                continue;
            };
            if matches!(
                recorded.event,
                DropEvent::DropScheduled(_) | DropEvent::DropDrafted(_)
            ) {
                drops.insert(recorded.drop_id, (recorded, body(stored)));
                continue;
            }
            if hold_of(&recorded.event) == Some(hold) && of.is_none() {
                of = Some(recorded.drop_id);
                history.scheduled = drops.remove(&recorded.drop_id);
            }
            if of == Some(recorded.drop_id) {
                history.add(hold, recorded, stored);
            }
        }
    }
    Ok(history.is_placed.then_some(history))
}

fn body(stored: &StoredEvent) -> Value {
    let mut line = vec![];
    LineWriter::default().write(stored, &mut line);
    let mut body: Value = serde_json::from_slice(&line).unwrap_or_default();
    if let Some(members) = body.as_object_mut() {
        // The stored text matters to a hash alone.
        members.remove("payload_text");
        members.remove("metadata_text");
    }
    body
}

fn hold_of(event: &DropEvent) -> Option<HoldId> {
    match event {
        DropEvent::HoldPlaced(event) => Some(event.hold_id),
        DropEvent::HoldExtended(event) => Some(event.hold_id),
        DropEvent::HoldChanged(event) => Some(event.hold_id),
        DropEvent::HoldExpired(event) => Some(event.hold_id),
        DropEvent::HoldReleased(event) => Some(event.hold_id),
        DropEvent::PurchaseConfirmed(event) => Some(event.hold_id),
        DropEvent::PurchaseRefunded(event) => Some(event.hold_id),
        // The id is assigned when the buyer joins the waitlist.
        DropEvent::WaitlistJoined(event) => Some(event.hold_id),
        DropEvent::DropScheduled(_)
        | DropEvent::DropDrafted(_)
        | DropEvent::DropRescheduled(_)
        | DropEvent::DropStarted(_)
        | DropEvent::DropEnded(_)
        | DropEvent::DropPublished(_)
        | DropEvent::DropPaused(_)
        | DropEvent::DropResumed(_)
        | DropEvent::DropCancelled(_)
        | DropEvent::StockAdjusted(_)
        | DropEvent::WaitlistLeft(_)
        | DropEvent::CodesCreated(_) => None,
    }
}

impl History {
    fn add(&mut self, hold: HoldId, recorded: RecordedEvent, stored: &StoredEvent) {
        let is_its_own = hold_of(&recorded.event) == Some(hold);
        // Changes of the drop during a hold may be the reason that it ended.
        let is_about_its_drop = self.is_open
            && matches!(
                recorded.event,
                DropEvent::DropCancelled(_)
                    | DropEvent::DropRescheduled(_)
                    | DropEvent::DropPaused(_)
                    | DropEvent::DropResumed(_)
            );
        if is_its_own {
            self.is_open = matches!(
                recorded.event,
                DropEvent::HoldPlaced(_) | DropEvent::HoldExtended(_) | DropEvent::HoldChanged(_)
            );
            self.is_placed |= matches!(recorded.event, DropEvent::HoldPlaced(_));
        }
        if is_its_own || is_about_its_drop {
            self.events.push((recorded, body(stored)));
        }
    }

    fn status(&self) -> &'static str {
        let own = self
            .events
            .iter()
            .rev()
            .map(|(recorded, _)| &recorded.event);
        let mut ends = own.filter_map(|event| match event {
            DropEvent::HoldPlaced(_) => Some("held"),
            DropEvent::HoldExpired(_) => Some("expired"),
            DropEvent::HoldReleased(_) => Some("released"),
            DropEvent::PurchaseConfirmed(_) => Some("purchased"),
            DropEvent::DropScheduled(_)
            | DropEvent::DropDrafted(_)
            | DropEvent::DropRescheduled(_)
            | DropEvent::DropStarted(_)
            | DropEvent::DropEnded(_)
            | DropEvent::DropPublished(_)
            | DropEvent::DropPaused(_)
            | DropEvent::DropResumed(_)
            | DropEvent::DropCancelled(_)
            | DropEvent::HoldExtended(_)
            | DropEvent::HoldChanged(_)
            | DropEvent::PurchaseRefunded(_)
            | DropEvent::StockAdjusted(_)
            | DropEvent::WaitlistJoined(_)
            | DropEvent::WaitlistLeft(_)
            | DropEvent::CodesCreated(_) => None,
        });
        ends.next().unwrap_or("held")
    }

    fn to_text(&self) -> String {
        let all = self.scheduled.iter().chain(&self.events);
        let mut lines: Vec<String> = all
            .map(|(recorded, body)| {
                let by = body["metadata"]["admin"].as_str();
                let RecordedEvent {
                    recorded_at,
                    position,
                    event,
                    ..
                } = recorded;
                format!(
                    "{recorded_at}  position {position}: {}{}",
                    sentences::sentence(event),
                    by.map_or_else(String::new, |name| format!(" (by {name})"))
                )
            })
            .collect();
        lines.push(format!(
            "According to the log, the hold is {}.",
            self.status()
        ));
        lines.join("\n")
    }

    fn to_json(&self, hold: HoldId) -> Value {
        let all = self.scheduled.iter().chain(&self.events);
        let events: Vec<Value> = all
            .map(|(recorded, body)| {
                let mut body = body.clone();
                body["words"] = sentences::sentence(&recorded.event).into();
                body
            })
            .collect();
        let drop_id = self.events.first().map(|(recorded, _)| recorded.drop_id);
        json!({ "hold_id": hold, "drop_id": drop_id, "status": self.status(), "events": events })
    }
}
