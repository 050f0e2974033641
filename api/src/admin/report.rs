//! The report of one drop: the outcome of its holds, refusals, milestones, and its first seconds.
//!
//! Promise: the numbers are those of the log, from a fold in memory, so a request costs the same
//! for any number of holds. Limit: refusals are counted by minute and kept for about two months
//! ([`crate::refused`]); the opening has ten seconds.

use std::collections::HashMap;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use domain::status::DropStatus;
use domain::stock::Stock;
use domain::values::{AdminName, DropId, Position, Timestamp};
use infrastructure::admins::admin_names;
use projections::drop_body::waitlist_length;
use projections::drop_course::{Counted, DropCourse, LatestEvent, SLOT_MS, Slot};
use projections::views::DropView;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::timeout;

use crate::app::App;
use crate::auth::Admin;
use crate::drops::not_found;
use crate::extract::{DropPath, Fresh};
use crate::problem::Problem;
use crate::refused::Tally;
use crate::render::{conditional, private};

/// The longest wait for the names of administrators, which the database has.
const NAMES_WAIT: Duration = Duration::from_secs(1);

/// Holds, purchases or refunds, and their units.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "CountedUnits")]
struct CountedBody {
    count: u64,
    units: u64,
}

impl From<Counted> for CountedBody {
    fn from(Counted { count, units }: Counted) -> Self {
        Self { count, units }
    }
}

/// The outcome of the holds of a drop. `placed` is the sum of `purchased`, `expired`, `released`
/// and `open`.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "DropFunnel")]
struct FunnelBody {
    /// Holds that were placed, and their units, those added by changes of holds included.
    placed: CountedBody,
    /// Those of `placed` that were offered to waitlist entries.
    offered: CountedBody,
    /// Holds that are neither purchased nor over.
    open: CountedBody,
    purchased: CountedBody,
    expired: CountedBody,
    /// Holds that were released. The units include those freed by changes of holds.
    released: CountedBody,
    /// Refunds of purchases, and the units that were returned.
    refunded: CountedBody,
}

impl From<&DropCourse> for FunnelBody {
    fn from(course: &DropCourse) -> Self {
        let over = [course.purchased, course.expired, course.released];
        let count = over.iter().map(|part| part.count).sum();
        let units = over.iter().map(|part| part.units).sum();
        let open = Counted {
            count: course.placed.count.saturating_sub(count),
            units: course.placed.units.saturating_sub(units),
        };
        Self {
            placed: course.placed.into(),
            offered: course.offered.into(),
            open: open.into(),
            purchased: course.purchased.into(),
            expired: course.expired.into(),
            released: course.released.into(),
            refunded: course.refunded.into(),
        }
    }
}

/// Requests for holds that were refused, by reason. They are not in the log.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "DropRefusals")]
struct RefusalsBody {
    /// More units were requested than were available.
    sold_out: u64,
    /// A limit per hold or per buyer was reached.
    limit_reached: u64,
    /// The rate limit of a buyer or an address was exceeded.
    throttled: u64,
}

impl From<Tally> for RefusalsBody {
    fn from(tally: Tally) -> Self {
        let Tally {
            sold_out,
            limit_reached,
            throttled,
        } = tally;
        Self {
            sold_out,
            limit_reached,
            throttled,
        }
    }
}

/// The holds and units within one bucket of the opening.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "OpeningBucket")]
struct SlotBody {
    /// The start of the bucket, in milliseconds after the first hold.
    after_ms: u32,
    /// Holds placed.
    holds: u32,
    /// Units set aside.
    held: u32,
    /// Units purchased.
    sold: u32,
    /// Units that became available again.
    freed: u32,
}

/// The first ten seconds after the first hold.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "DropOpening")]
struct OpeningBody {
    bucket_ms: u32,
    /// Oldest first, up to the last one in which something happened; empty before the first hold.
    buckets: Vec<SlotBody>,
}

impl From<&[Slot]> for OpeningBody {
    fn from(slots: &[Slot]) -> Self {
        let starts = (0..).step_by(SLOT_MS as usize);
        let bucket = |(after_ms, slot): (u32, &Slot)| SlotBody {
            after_ms,
            holds: slot.holds,
            held: slot.held,
            sold: slot.sold,
            freed: slot.freed,
        };
        Self {
            bucket_ms: SLOT_MS,
            buckets: starts.zip(slots).map(bucket).collect(),
        }
    }
}

/// An event of the drop; the log has all of it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "LatestEvent")]
struct EventLine {
    position: Position,
    recorded_at: Timestamp,
    event_type: &'static str,
    /// The units that the event is about; negative for an adjustment that removes some.
    units: Option<i64>,
    /// The name of the administrator whose request recorded it; null if no administrator did, and
    /// while the event log is unreachable.
    admin: Option<String>,
}

impl EventLine {
    fn new(event: &LatestEvent, names: &HashMap<Position, AdminName>) -> Self {
        Self {
            position: event.position,
            recorded_at: event.recorded_at,
            event_type: event.event_type,
            units: event.units,
            admin: names.get(&event.position).map(ToString::to_string),
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "DropReport")]
pub(crate) struct Report {
    id: DropId,
    name: String,
    status: DropStatus,
    starts_at: Timestamp,
    ends_at: Option<Timestamp>,
    stock: Stock,
    waitlist_length: u32,
    /// Entries that ever joined the waitlist.
    waitlist_joined: u64,
    funnel: FunnelBody,
    refusals: RefusalsBody,
    /// When the first hold was placed.
    first_hold_at: Option<Timestamp>,
    /// When for the first time no unit was available, because all were held or sold.
    sold_out_at: Option<Timestamp>,
    /// When for the first time all units were sold.
    all_sold_at: Option<Timestamp>,
    opening: OpeningBody,
    /// The latest 20 events of the drop, newest first.
    latest: Vec<EventLine>,
    position: Position,
}

impl Report {
    fn new(
        drop: &DropView,
        course: &DropCourse,
        refused: Tally,
        names: &HashMap<Position, AdminName>,
        now: Timestamp,
    ) -> Self {
        let terms = &drop.row.terms;
        Self {
            id: drop.drop_id,
            name: terms.name.as_str().to_owned(),
            status: drop.row.status(now),
            starts_at: terms.starts_at,
            ends_at: terms.ends_at,
            stock: drop.row.stock,
            waitlist_length: waitlist_length(drop, now),
            waitlist_joined: course.joined,
            funnel: course.into(),
            refusals: refused.into(),
            first_hold_at: course.first_hold_at,
            sold_out_at: course.sold_out_at,
            all_sold_at: course.all_sold_at,
            opening: course.opening.as_slice().into(),
            latest: course
                .latest
                .iter()
                .rev()
                .map(|event| EventLine::new(event, names))
                .collect(),
            position: drop.position,
        }
    }
}

/// `GET /v1/admin/drops/{id}/report`
pub(crate) async fn read(
    State(app): State<App>,
    _: Admin,
    DropPath(drop_id): DropPath,
    _: Fresh,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let found = app.views.drop_and_course(drop_id);
    let (drop, course) = found.ok_or_else(|| not_found(&app, drop_id))?;
    let refused = app.refused.of_drop(drop_id, drop.row.scheduled_at);
    let positions: Vec<Position> = course.latest.iter().map(|event| event.position).collect();
    let names = timeout(NAMES_WAIT, admin_names(app.log.pool(), &positions)).await;
    // The numbers are in memory, and are shown without the names while the database is away.
    let names = names.ok().and_then(Result::ok).unwrap_or_default();
    let report = Report::new(&drop, &course, refused, &names, app.now());
    Ok(private(conditional(&headers, &report)))
}
