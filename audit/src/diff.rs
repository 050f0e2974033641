//! `holdfast audit diff`: the changes between two points of the log, per drop.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use domain::stock::Stock;
use domain::values::{DropId, Position};
use infrastructure::codec::RecordedEvent;
use projections::live_stock::{DropKey, LiveStock, LiveStockRow};
use projections::replay::Replay;
use serde_json::{Value, json};
use terminal::table::columns;

use super::sentences::shown;
use super::source::{EventFilter, Moment, Source, SourceArgs};
use super::{AuditError, print};

/// Arguments of `audit diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// The earlier point: after this position, or after all events recorded by this time.
    #[arg(value_name = "FROM")]
    from: Moment,

    /// The later point; without it, the head.
    #[arg(value_name = "TO")]
    to: Option<Moment>,

    /// Only this drop.
    #[arg(long, env = "HOLDFAST_AUDIT_DROP", value_name = "ID")]
    drop: Option<DropId>,

    /// Print JSON.
    #[arg(long, env = "HOLDFAST_AUDIT_JSON")]
    json: bool,
}

/// The changes of one drop.
#[derive(Default)]
struct Changed {
    before: Option<LiveStockRow>,
    events: BTreeMap<&'static str, u64>,
}

/// The changes between two points.
#[derive(Default)]
struct Diff {
    drops: Replay<LiveStock>,
    changed: BTreeMap<DropId, Changed>,
    from: Position,
    to: Position,
}

/// Runs the comparison.
///
/// # Errors
/// [`AuditError`].
pub async fn run(args: &DiffArgs) -> Result<ExitCode, AuditError> {
    let source = Source::open(&args.source).await?;
    let diff = read(&source, args).await;
    source.close().await;
    let diff = diff?;
    if args.json {
        print(&format!("{:#}", diff.to_json()))
    } else {
        print(&diff.to_text())
    }
}

async fn read(source: &Source, args: &DiffArgs) -> Result<Diff, AuditError> {
    let filter = EventFilter {
        until: args.to,
        drop: args.drop,
        ..EventFilter::default()
    };
    if let (Moment::Time(from), Some(Moment::Time(to))) = (args.from, args.to)
        && from > to
    {
        return Err(backwards(args.from, Moment::Time(to)));
    }
    let mut reading = source.read(filter, "replaying").await?;
    let mut diff = Diff::default();
    while let Some(page) = reading.next().await? {
        for stored in &page {
            let is_before = match args.from {
                Moment::Position(position) => stored.position <= position,
                Moment::Time(at) => stored.recorded_at <= at,
            };
            if is_before {
                diff.from = stored.position;
            }
            if let Some(recorded) = reading.decode(stored)? {
                diff.apply(&recorded, is_before)?;
            }
        }
    }
    diff.to = reading.until();
    match args.from {
        Moment::Position(from) if from > diff.to => Err(match args.to {
            Some(_) => backwards(args.from, Moment::Position(diff.to)),
            None => AuditError::BeyondHead {
                requested: from,
                head: diff.to,
            },
        }),
        Moment::Position(from) => Ok(Diff { from, ..diff }),
        Moment::Time(_) => Ok(diff),
    }
}

const fn backwards(from: Moment, to: Moment) -> AuditError {
    AuditError::Backwards { from, to }
}

impl Diff {
    fn apply(&mut self, recorded: &RecordedEvent, is_before: bool) -> Result<(), AuditError> {
        let drop_id = recorded.drop_id;
        if !is_before {
            let before = self.drops.get(&DropKey { drop_id });
            let changed = self.changed.entry(drop_id).or_insert_with(|| Changed {
                before: before.map(|placed| placed.row.clone()),
                events: BTreeMap::new(),
            });
            *changed
                .events
                .entry(recorded.event.event_type())
                .or_default() += 1;
        }
        self.drops
            .apply(recorded)
            .map(drop)
            .map_err(|reason| AuditError::cannot_apply(recorded.position, &reason))
    }

    fn after(&self, drop_id: DropId) -> Option<&LiveStockRow> {
        self.drops
            .get(&DropKey { drop_id })
            .map(|placed| &placed.row)
    }

    fn to_json(&self) -> Value {
        let drops: Vec<Value> = self
            .changed
            .iter()
            .map(|(drop_id, changed)| {
                json!({
                    "drop_id": drop_id, "before": changed.before, "after": self.after(*drop_id),
                    "events": changed.events,
                })
            })
            .collect();
        json!({ "from": self.from, "to": self.to, "drops": drops })
    }

    fn to_text(&self) -> String {
        let mut text = format!("From position {} to position {}:", self.from, self.to);
        if self.changed.is_empty() {
            text.push_str("\n\n  no drop changed");
        }
        for (drop_id, changed) in &self.changed {
            let Some(after) = self.after(*drop_id) else {
                continue;
            };
            text.push_str(&format!("\n\n“{}” ({drop_id})\n", shown(&after.terms.name)));
            text.push_str(&columns(&changed.rows(after), &[]));
        }
        text
    }
}

impl Changed {
    fn rows(&self, after: &LiveStockRow) -> Vec<Vec<String>> {
        let stock = self.before.as_ref().map(|row| row.stock);
        let units = |name: &str, of: fn(&Stock) -> u32| {
            let now = of(&after.stock);
            let change = match stock.as_ref().map(of) {
                None => format!("{now} (new)"),
                Some(before) if before == now => format!("{now}"),
                Some(before) => {
                    format!(
                        "{before} → {now} ({:+})",
                        i64::from(now) - i64::from(before)
                    )
                }
            };
            vec![name.to_owned(), change]
        };
        let mut rows = vec![
            units("total", |stock| stock.total),
            units("available", |stock| stock.available),
            units("held", |stock| stock.held),
            units("sold", |stock| stock.sold),
        ];
        if let Some(before) = self
            .before
            .as_ref()
            .filter(|before| before.terms != after.terms)
        {
            let name =
                |row: &LiveStockRow| format!("“{}” at {}", shown(&row.terms.name), row.terms.price);
            rows.push(vec![
                "terms".to_owned(),
                format!("{} → {}", name(before), name(after)),
            ]);
        }
        let happened = self.events.iter();
        rows.extend(
            happened.map(|(event, count)| vec![label(event).to_owned(), count.to_string()]),
        );
        rows
    }
}

fn label(event_type: &'static str) -> &'static str {
    match event_type {
        "DropScheduled" => "scheduled",
        "DropRescheduled" => "terms changed",
        "DropDrafted" => "drafted",
        "DropPublished" => "published",
        "DropPaused" => "paused",
        "DropResumed" => "resumed",
        "DropCancelled" => "cancelled",
        "DropStarted" => "started",
        "DropEnded" => "ended",
        "CodesCreated" => "batches of codes created",
        "HoldPlaced" => "holds placed",
        "HoldExtended" => "holds extended",
        "HoldChanged" => "holds changed",
        "HoldExpired" => "holds expired",
        "HoldReleased" => "holds released",
        "PurchaseConfirmed" => "holds purchased",
        "PurchaseRefunded" => "purchases refunded",
        "StockAdjusted" => "stock adjusted",
        "WaitlistJoined" => "waitlist entries joined",
        "WaitlistLeft" => "waitlist entries removed",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_type_has_a_label() {
        for event_type in domain::DropEvent::TYPES {
            assert_ne!(label(event_type), *event_type);
        }
    }
}
