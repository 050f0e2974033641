//! The routes of drops: schedule, read, edit, cancel, adjust, and who bought.

pub(crate) mod buyers;
mod picture;
pub(crate) mod purchases;
pub(crate) mod terms;

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::decide::Subject;
use domain::event::StockAdjusted;
use domain::stock::Stock;
use domain::values::{AdjustmentId, DropId, Entered, Position, Reason, StockCount, Timestamp};
use infrastructure::engine::Request;
use infrastructure::quarantine::RefusedEvent;
use projections::live_stock::Phase;
use projections::views::{AdjustmentView, DropView, NoSuchDrop, PurchaserOrder};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

use self::terms::{EditedDrop, NewDrop};
use crate::app::App;
use crate::auth::Admin;
use crate::extract::{
    Body, DropPath, Fresh, IdempotencyKey, Limit, MAX_TERMS_BODY, OptionalBody, Query,
};
use crate::preconditions::Tags;
use crate::problem::{Code, Problem};
use crate::render::{
    DropBody, DropStatus, Page, PurchaserBody, Representation, conditional_at, insert, replayed,
    total_in_etag, version_in_etag, waitlist_length,
};
use crate::stream::must_be_few;

/// The most drops that one answer lists.
pub(crate) const MOST_LISTED: usize = 100;

/// `POST /v1/drops`
pub(crate) async fn create(
    State(app): State<App>,
    _: Admin,
    key: IdempotencyKey,
    Body(new): Body<NewDrop, MAX_TERMS_BODY>,
) -> Result<Response, Problem> {
    let key = Some(key.within(&app.key_scope(b"drops"))?);
    let (terms, total_stock) = new.into_terms()?;
    let request = Request::ScheduleDrop {
        key,
        terms: Box::new(terms),
        total_stock,
    };
    let answer = app.engine.submit(request).await?;
    let mut response = drop_now(&app, StatusCode::CREATED, answer.drop_id)?;
    insert(
        &mut response,
        header::LOCATION,
        &format!("/v1/drops/{}", answer.drop_id),
    );
    Ok(replayed(response, &answer))
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ListParams {
    /// Lists only drops with this status.
    status: Option<DropStatus>,
    /// `top_purchasers` adds the three buyers with the most units to each drop.
    #[schemars(with = "Option<String>", extend("enum" = ["top_purchasers"]))]
    expand: Option<Expanded>,
    /// The maximum number of drops.
    #[schemars(extend("default" = MOST_LISTED))]
    limit: Option<Limit<MOST_LISTED>>,
    /// The id of the last drop of the previous page.
    starting_after: Option<DropId>,
    /// At most 100 ids of drops, separated by commas. Ids that do not exist are omitted from the
    /// response.
    ids: Option<String>,
}

impl Query for ListParams {}

/// What a list may add to each drop.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Expanded {
    TopPurchasers,
}

/// `GET /v1/drops`: those in quarantine are left out.
pub(crate) async fn list(
    State(app): State<App>,
    Fresh(params): Fresh<ListParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let now = app.now();
    // Before the rows, so that they are at least as new as it says.
    let position = app.views.position();
    let limit = params.limit.map_or(MOST_LISTED, |Limit(limit)| limit);
    let expand = matches!(params.expand, Some(Expanded::TopPurchasers));
    let phases: Vec<Phase> = params.status.map(DropStatus::phase).into_iter().collect();
    // One more than is shown says whether there is more.
    let wanted = Wanted {
        phases: &phases,
        after: params.starting_after,
        most: limit + 1,
    };
    let mut page: Vec<DropView> = match params.ids.as_deref() {
        Some(ids) => wanted.of_named(&app, &named(ids)?, now)?,
        None => wanted.of_all(&app, now)?,
    };
    let has_more = page.len() > limit;
    page.truncate(limit);
    let purchasers = |drop: &DropView| {
        expand.then(|| purchasers_of(&app, drop.drop_id, PurchaserOrder::Units, 3))
    };
    let purchasers: Vec<_> = page.iter().map(purchasers).collect();
    let bodies = page.iter().zip(purchasers).map(|(drop, purchasers)| {
        let body = DropBody::new(drop, now);
        match purchasers {
            Some(purchasers) => body.with_purchasers(purchasers),
            None => body,
        }
    });
    let body = Page {
        data: bodies.collect(),
        has_more,
    };
    let mut response = conditional_at(&headers, now, &body);
    insert(&mut response, POSITION, &position.to_string());
    Ok(response)
}

/// Where an answer says its position that cannot say it in its body.
const POSITION: HeaderName = HeaderName::from_static("holdfast-position");

/// Which part of a list.
pub(crate) struct Wanted<'a> {
    /// Any, if none is named.
    pub(crate) phases: &'a [Phase],
    pub(crate) after: Option<DropId>,
    pub(crate) most: usize,
}

impl Wanted<'_> {
    pub(crate) fn of_all(&self, app: &App, now: Timestamp) -> Result<Vec<DropView>, Problem> {
        let page = app
            .views
            .drops_page(self.phases, self.after, self.most, now);
        page.map_err(|NoSuchDrop| self.not_after(app))
    }

    fn of_named(
        &self,
        app: &App,
        ids: &BTreeSet<DropId>,
        now: Timestamp,
    ) -> Result<Vec<DropView>, Problem> {
        let place = |drop: &DropView| (drop.row.scheduled_at, drop.drop_id);
        let below = self.place_after(app)?.map(|drop| place(&drop));
        let is_wanted = |drop: &DropView| {
            let is_below = below.is_none_or(|below| place(drop) < below);
            let phase = drop.row.phase(now);
            is_below && (self.phases.is_empty() || self.phases.contains(&phase))
        };
        let found = ids.iter().filter_map(|&id| app.views.drop(id));
        let mut found: Vec<DropView> = found.filter(is_wanted).collect();
        found.sort_by_key(|drop| Reverse(place(drop)));
        found.truncate(self.most);
        Ok(found)
    }

    /// Those whose name contains `words`, whatever their case: a look at every name.
    pub(crate) fn of_name(
        &self,
        app: &App,
        words: &str,
        now: Timestamp,
    ) -> Result<Vec<DropView>, Problem> {
        self.place_after(app)?;
        let words = words.trim().to_lowercase();
        let found = app.views.drops_after(self.after, self.most, |row, _| {
            let is_wanted = self.phases.is_empty() || self.phases.contains(&row.phase(now));
            is_wanted && row.terms.name.as_str().to_lowercase().contains(&words)
        });
        Ok(found)
    }

    fn place_after(&self, app: &App) -> Result<Option<DropView>, Problem> {
        let found = |after| app.views.drop(after).ok_or_else(|| self.not_after(app));
        self.after.map(found).transpose()
    }

    fn not_after(&self, app: &App) -> Problem {
        let refused = self.after.and_then(|last| app.views.quarantine_of(last));
        quarantine(refused)
            .unwrap_or_else(|| Problem::invalid_query("starting_after", "names no drop"))
    }
}

/// Ids as a query names them.
fn named(ids: &str) -> Result<BTreeSet<DropId>, Problem> {
    let malformed = |_| Problem::invalid_query("ids", "must be ids of drops, separated by commas");
    let ids = ids.split(',').map(|id| id.trim().parse());
    let ids = ids.collect::<Result<BTreeSet<DropId>, _>>();
    let ids = ids.map_err(malformed)?;
    must_be_few("ids", ids.len(), MOST_LISTED)?;
    Ok(ids)
}

/// `GET /v1/drops/{id}`
pub(crate) async fn read(
    State(app): State<App>,
    DropPath(drop_id): DropPath,
    _: Fresh,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let now = app.now();
    let drop = find(&app, drop_id)?;
    Ok(representation(&drop, now)?.unless_known(&headers))
}

/// `PATCH /v1/drops/{id}`
pub(crate) async fn edit(
    State(app): State<App>,
    _: Admin,
    DropPath(drop_id): DropPath,
    headers: HeaderMap,
    Body(edited): Body<EditedDrop, MAX_TERMS_BODY>,
) -> Result<Response, Problem> {
    let expected_version = expected_version(&app, drop_id, &headers)?;
    let patch = Box::new(edited.into_patch()?);
    app.engine
        .submit(Request::RescheduleDrop {
            drop_id,
            expected_version,
            patch,
        })
        .await?;
    drop_now(&app, StatusCode::OK, drop_id)
}

/// The version that `If-Match` asks for: none for `*`. Of several, the one that is there now; the engine compares once more.
fn expected_version(
    app: &App,
    drop_id: DropId,
    headers: &HeaderMap,
) -> Result<Option<u32>, Problem> {
    let missing = || {
        let detail = "Send the ETag of the drop that you edit as If-Match, or * to overwrite whatever is there.";
        Problem::new(Code::PreconditionRequired, detail)
    };
    let tags = Tags::of(headers, header::IF_MATCH).ok_or_else(missing)?;
    if tags == Tags::Any {
        return Ok(None);
    }
    let versions: Vec<u32> = tags.strong().filter_map(version_in_etag).collect();
    let present = app.views.drop(drop_id).map(|drop| drop.row.terms_version);
    // Versions grow. Should the views be behind, the newest is the one that can be true.
    let stale = || Problem::new(Code::StaleVersion, "If-Match is no ETag of this drop.");
    present
        .filter(|present| versions.contains(present))
        .or_else(|| versions.iter().max().copied())
        .map(Some)
        .ok_or_else(stale)
}

/// The body of a cancellation has no fields; a body with fields is rejected.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cancellation {}

/// `POST /v1/drops/{id}/cancel`
pub(crate) async fn cancel(
    State(app): State<App>,
    _: Admin,
    DropPath(drop_id): DropPath,
    OptionalBody(Cancellation {}): OptionalBody<Cancellation>,
) -> Result<Response, Problem> {
    let answer = app.engine.submit(Request::CancelDrop { drop_id }).await?;
    Ok(replayed(drop_now(&app, StatusCode::OK, drop_id)?, &answer))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAdjustment {
    /// Units to add; a negative number removes available units. Not zero.
    #[serde(deserialize_with = "delta")]
    #[schemars(range(min = -MOST_ADJUSTED, max = MOST_ADJUSTED), extend("not" = { "const": 0 }))]
    delta: i32,
    /// The reason. It is stored in the log permanently, so it must not contain personal data.
    reason: Entered<Reason>,
}

/// As many units as a drop can have.
const MOST_ADJUSTED: i32 = StockCount::MAX.cast_signed();

fn delta<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    match i64::deserialize(deserializer)? {
        0 => Err(de::Error::custom("must not be zero")),
        delta => i32::try_from(delta)
            .ok()
            .filter(|delta| (-MOST_ADJUSTED..=MOST_ADJUSTED).contains(delta))
            .ok_or_else(|| {
                let bounds = format!("must be from -{MOST_ADJUSTED} to {MOST_ADJUSTED}");
                de::Error::custom(bounds)
            }),
    }
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "StockAdjustment")]
pub(crate) struct AdjustmentBody {
    id: AdjustmentId,
    drop_id: DropId,
    /// Units added; negative if units were removed.
    delta: i32,
    reason: Reason,
    /// The current stock of the drop, after added units were offered to the waitlist.
    stock: Stock,
    /// The current number of waiting entries.
    waitlist_length: u32,
    /// The log position of the adjustment.
    position: Position,
}

/// `POST /v1/drops/{id}/stock-adjustments`
pub(crate) async fn adjust(
    State(app): State<App>,
    _: Admin,
    DropPath(drop_id): DropPath,
    key: IdempotencyKey,
    headers: HeaderMap,
    Body(new): Body<NewAdjustment>,
) -> Result<Response, Problem> {
    let key = Some(key.within(&app.key_scope(drop_id.0.as_bytes()))?);
    let request = Request::AdjustStock {
        drop_id,
        key,
        expected_total: expected_total(&app, drop_id, &headers),
        delta: new.delta,
        reason: new.reason.0,
    };
    let answer = app.engine.submit(request).await?;
    let Subject::Adjustment(id) = answer.subject else {
        return Err(Problem::internal(&std::io::Error::other(
            "an adjustment was answered with something else",
        )));
    };
    let made = app.views.adjustment(id).ok_or_else(|| {
        Problem::internal(&std::io::Error::other(
            "an adjustment is missing from the views",
        ))
    })?;
    let body = AdjustmentBody::new(made, &find(&app, drop_id)?, app.now());
    Ok(replayed(
        (StatusCode::CREATED, Json(body)).into_response(),
        &answer,
    ))
}

/// The units in all that `If-Match` asks for: none without it, and for `*`. Of several, those that
/// the drop has now. A tag of something else stands for units that no drop has: the engine refuses
/// it, unless the request is a retry, whose answer comes from history.
fn expected_total(app: &App, drop_id: DropId, headers: &HeaderMap) -> Option<u32> {
    let tags = Tags::of(headers, header::IF_MATCH)?;
    if tags == Tags::Any {
        return None;
    }
    let totals: Vec<u32> = tags.strong().filter_map(total_in_etag).collect();
    let present = app.views.drop(drop_id).map(|drop| drop.row.stock.total);
    present
        .filter(|present| totals.contains(present))
        .or_else(|| totals.first().copied())
        .or(Some(u32::MAX))
}

impl AdjustmentBody {
    fn new(made: AdjustmentView, drop: &DropView, now: Timestamp) -> Self {
        let AdjustmentView {
            drop_id,
            position,
            event,
        } = made;
        let StockAdjusted {
            adjustment_id: id,
            delta,
            reason,
            ..
        } = event;
        Self {
            id,
            drop_id,
            delta,
            reason,
            stock: drop.row.stock,
            waitlist_length: waitlist_length(drop, now),
            position,
        }
    }
}

fn purchasers_of(
    app: &App,
    drop_id: DropId,
    order: PurchaserOrder,
    limit: usize,
) -> Vec<PurchaserBody> {
    app.views
        .purchasers(drop_id, order, limit)
        .into_iter()
        .map(PurchaserBody::from)
        .collect()
}

pub(crate) fn find(app: &App, drop_id: DropId) -> Result<DropView, Problem> {
    let detail = "There is no drop with this id.";
    app.views.drop(drop_id).ok_or_else(|| {
        quarantine(app.views.quarantine_of(drop_id))
            .unwrap_or_else(|| Problem::new(Code::DropNotFound, detail))
    })
}

/// The answer to a read of a drop in quarantine.
pub(crate) fn quarantine(refused: Option<Arc<RefusedEvent>>) -> Option<Problem> {
    let refused = refused?;
    let detail = "The drop is in quarantine on this server, so its state is not known here.";
    Some(Problem::quarantined(
        refused.drop_id?,
        refused.position,
        detail,
    ))
}

/// The drop as it is now, with its entity tag.
fn drop_now(app: &App, status: StatusCode, drop_id: DropId) -> Result<Response, Problem> {
    let now = app.now();
    let drop = find(app, drop_id)?;
    Ok(representation(&drop, now)?.with_status(status))
}

fn representation(drop: &DropView, now: Timestamp) -> Result<Representation, Problem> {
    let body = Representation::json(&DropBody::new(drop, now))?;
    Ok(body
        .at(now)
        .of_drop(drop.row.terms_version, drop.row.stock.total))
}
