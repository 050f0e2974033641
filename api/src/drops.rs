//! The routes of drops: schedule, read, edit, cancel, adjust stock, list purchasers.

pub(crate) mod buyers;
mod challenge;
pub(crate) mod codes;
mod of_catalogue;
pub(crate) mod picture;
pub(crate) mod purchases;
pub(crate) mod refunds;
pub(crate) mod sale;
pub(crate) mod terms;

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::event::StockAdjusted;
use domain::status::DropStatus;
use domain::stock::Stock;
use domain::values::{
    AdjustmentId, CatalogueId, DropId, Entered, Position, Reason, StockCount, Timestamp,
};
use engine::{AdjustStock, CancelDrop, RescheduleDrop, ScheduleDrop, SetStock};
use infrastructure::quarantine::RefusedEvent;
use projections::drop_body::{PurchaserBody, waitlist_length};
use projections::live_stock::LiveStockRow;
use projections::views::{AdjustmentView, DropView, NoSuchDrop, PurchaserOrder};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

use self::of_catalogue::InCatalogue;
use self::terms::{EditedDrop, NewDrop};
use crate::app::App;
use crate::auth::{Admin, Visitor};
use crate::base_path::at;
use crate::extract::{
    Body, DropPath, Fresh, IdempotencyKey, Limit, MAX_TERMS_BODY, OptionalBody, Query, listed,
};
use crate::preconditions::Tags;
use crate::problem::{Code, Problem};
use crate::render::{
    DropTag, POSITION, Page, Representation, conditional_at, insert, positioned, recorded,
};
use crate::viewer::Viewer;

/// Maximum number of drops in one response.
pub(crate) const MOST_LISTED: usize = 100;

/// `POST /v1/drops`
pub(crate) async fn create(
    State(app): State<App>,
    Admin { name }: Admin,
    key: IdempotencyKey,
    Body(new): Body<NewDrop, MAX_TERMS_BODY>,
) -> Result<Response, Problem> {
    let key = Some(key.within(&app.key_scope(b"drops"))?);
    let (terms, total_stock) = new.into_terms()?;
    let request = ScheduleDrop {
        key,
        terms: Box::new(terms),
        total_stock,
    };
    let answer = app.engine.by(name).schedule_drop(request).await?;
    let mut response = drop_now(&app, StatusCode::CREATED, answer.drop_id)?;
    insert(
        &mut response,
        header::LOCATION,
        &at(&format!("/v1/drops/{}", answer.drop_id)),
    );
    Ok(recorded(response, &answer))
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
    /// Lists only the drops of this creator.
    creator_id: Option<Entered<CatalogueId>>,
    /// Lists only the drops of this product.
    product_id: Option<Entered<CatalogueId>>,
    /// At most 100 ids of drops, separated by commas. Ids that do not exist are omitted from the
    /// response.
    ids: Option<String>,
}

impl Query for ListParams {}

/// Additions to each drop of a list.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Expanded {
    TopPurchasers,
}

/// `GET /v1/drops`: omits drops in quarantine.
pub(crate) async fn list(
    State(app): State<App>,
    Visitor { viewer, .. }: Visitor,
    Fresh(params): Fresh<ListParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let now = app.now();
    // Read before the rows, so that the rows are at least as new.
    let position = app.views.position();
    let limit = params.limit.map_or(MOST_LISTED, |Limit(limit)| limit);
    let expand = matches!(params.expand, Some(Expanded::TopPurchasers));
    // One row more than is returned shows if there is a next page.
    let selection = DropSelection {
        phases: params.status.as_slice(),
        after: params.starting_after,
        most: limit + 1,
        viewer,
    };
    let of = InCatalogue {
        creator_id: params.creator_id.as_ref().map(|Entered(id)| id),
        product_id: params.product_id.as_ref().map(|Entered(id)| id),
    };
    let mut page: Vec<DropView> = match params.ids.as_deref() {
        Some(ids) => {
            // All of them, because the catalogue's filter follows.
            let most = MOST_LISTED;
            let selection = DropSelection { most, ..selection };
            let mut named = selection.by_ids(&app, &named(ids)?, now)?;
            named.retain(|drop| of.has(&drop.row.terms));
            named
        }
        None => selection.within(&app, of, now)?,
    };
    let has_more = page.len() > limit;
    page.truncate(limit);
    let purchasers = |drop: &DropView| {
        expand.then(|| purchasers_of(&app, viewer, drop, PurchaserOrder::Units, 3))
    };
    let purchasers: Vec<_> = page.iter().map(purchasers).collect();
    let bodies = page.iter().zip(purchasers).map(|(drop, purchasers)| {
        let body = viewer.body(drop, now);
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

/// Selects a part of a list.
pub(crate) struct DropSelection<'a> {
    /// Any phase, if empty.
    pub(crate) phases: &'a [DropStatus],
    pub(crate) after: Option<DropId>,
    pub(crate) most: usize,
    pub(crate) viewer: Viewer,
}

impl DropSelection<'_> {
    pub(crate) fn all(&self, app: &App, now: Timestamp) -> Result<Vec<DropView>, Problem> {
        self.drop_after(app)?;
        let shows = |row: &LiveStockRow| self.viewer.lists_row(row);
        let page = app
            .views
            .drops_page_of(self.phases, self.after, self.most, now, shows);
        page.map_err(|NoSuchDrop| self.invalid_start(app))
    }

    pub(crate) fn by_ids(
        &self,
        app: &App,
        ids: &BTreeSet<DropId>,
        now: Timestamp,
    ) -> Result<Vec<DropView>, Problem> {
        let order_key = |drop: &DropView| (drop.row.scheduled_at, drop.drop_id);
        let below = self.drop_after(app)?.map(|drop| order_key(&drop));
        let is_wanted = |drop: &DropView| {
            let is_below = below.is_none_or(|below| order_key(drop) < below);
            let phase = drop.row.status(now);
            let is_found = self.viewer.finds(&drop.row.terms);
            is_found && is_below && (self.phases.is_empty() || self.phases.contains(&phase))
        };
        let found = ids.iter().filter_map(|&id| app.views.drop(id));
        let mut found: Vec<DropView> = found.filter(is_wanted).collect();
        found.sort_by_key(|drop| Reverse(order_key(drop)));
        found.truncate(self.most);
        Ok(found)
    }

    /// Returns drops whose name contains `words`, ignoring case. Scans every name.
    pub(crate) fn by_name(
        &self,
        app: &App,
        words: &str,
        now: Timestamp,
    ) -> Result<Vec<DropView>, Problem> {
        self.drop_after(app)?;
        let words = words.to_lowercase();
        let found = app.views.drops_after(self.after, self.most, |row, _| {
            let is_wanted = self.phases.is_empty() || self.phases.contains(&row.status(now));
            is_wanted
                && self.viewer.lists_row(row)
                && row.terms.name.as_str().to_lowercase().contains(&words)
        });
        Ok(found)
    }

    fn drop_after(&self, app: &App) -> Result<Option<DropView>, Problem> {
        let found = |after| {
            let drop = app.views.drop(after);
            drop.filter(|drop| self.viewer.finds(&drop.row.terms))
                .ok_or_else(|| self.invalid_start(app))
        };
        self.after.map(found).transpose()
    }

    fn invalid_start(&self, app: &App) -> Problem {
        let refused = self.after.and_then(|last| app.views.quarantine_of(last));
        quarantine(refused)
            .unwrap_or_else(|| Problem::invalid_query("starting_after", "must be the id of a drop"))
    }
}

/// Parses the ids of a query.
fn named(ids: &str) -> Result<BTreeSet<DropId>, Problem> {
    let malformed = |_| Problem::invalid_query("ids", "must be ids of drops, separated by commas");
    let ids = listed("ids", ids, MOST_LISTED)?;
    let ids = ids.into_iter().map(str::parse);
    ids.collect::<Result<BTreeSet<DropId>, _>>()
        .map_err(malformed)
}

/// `GET /v1/drops/{id}`
pub(crate) async fn read(
    State(app): State<App>,
    Visitor { viewer, .. }: Visitor,
    DropPath(drop_id): DropPath,
    _: Fresh,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let now = app.now();
    Ok(representation(&app, viewer, drop_id, now)?.unless_known(&headers))
}

/// `PATCH /v1/drops/{id}`
pub(crate) async fn edit(
    State(app): State<App>,
    Admin { name }: Admin,
    DropPath(drop_id): DropPath,
    headers: HeaderMap,
    Body(edited): Body<EditedDrop, MAX_TERMS_BODY>,
) -> Result<Response, Problem> {
    let expected_version = expected_version(&app, drop_id, &headers)?;
    let patch = Box::new(edited.into_patch()?);
    let request = RescheduleDrop {
        drop_id,
        expected_version,
        patch,
    };
    let answer = app.engine.by(name).reschedule_drop(request).await?;
    let response = drop_now(&app, StatusCode::OK, drop_id)?;
    Ok(positioned(response, &answer))
}

/// Returns the version in `If-Match`; `None` for `*`. Of several, the present one; the engine
/// compares again.
fn expected_version(
    app: &App,
    drop_id: DropId,
    headers: &HeaderMap,
) -> Result<Option<u32>, Problem> {
    let missing = || {
        let detail = "Send the drop's ETag as If-Match, or * to overwrite any version.";
        Problem::new(Code::PreconditionRequired, detail)
    };
    let tags = Tags::of(headers, header::IF_MATCH).ok_or_else(missing)?;
    if tags == Tags::Any {
        return Ok(None);
    }
    let versions: Vec<u32> = tags
        .strong()
        .filter_map(|tag| DropTag::of(drop_id, tag))
        .map(|tag| tag.version)
        .collect();
    let present = app.views.drop(drop_id).map(|drop| drop.row.terms_version);
    // Versions only grow. If the views are behind, the newest may be the present one.
    let stale = || {
        let detail = "If-Match is not an ETag of this drop. Read the drop, then send its ETag.";
        Problem::new(Code::StaleVersion, detail)
    };
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
    Admin { name }: Admin,
    DropPath(drop_id): DropPath,
    headers: HeaderMap,
    OptionalBody(Cancellation {}): OptionalBody<Cancellation>,
) -> Result<Response, Problem> {
    must_match(&app, drop_id, &headers, |row| row.cancelled_at.is_some())?;
    let answer = app
        .engine
        .by(name)
        .cancel_drop(CancelDrop { drop_id })
        .await?;
    Ok(recorded(drop_now(&app, StatusCode::OK, drop_id)?, &answer))
}

/// Rejects an `If-Match` that names other versions of the drop than the present one. A drop of
/// which `is_done` is true passes: the request may be a retry, and changes nothing.
fn must_match(
    app: &App,
    drop_id: DropId,
    headers: &HeaderMap,
    is_done: impl Fn(&LiveStockRow) -> bool,
) -> Result<(), Problem> {
    if !headers.contains_key(header::IF_MATCH) {
        return Ok(());
    }
    let Some(expected) = expected_version(app, drop_id, headers)? else {
        return Ok(());
    };
    let present = app.views.drop(drop_id);
    let is_stale = |drop: &DropView| !is_done(&drop.row) && drop.row.terms_version != expected;
    let Some(version) = present.filter(is_stale).map(|drop| drop.row.terms_version) else {
        return Ok(());
    };
    let detail = "The drop was edited since the ETag in If-Match was read. Read the drop again.";
    Err(Problem::new(Code::StaleVersion, detail).with("version", version))
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

/// The maximum number of units of a drop.
const MOST_ADJUSTED: i32 = StockCount::MAX.cast_signed();

fn delta<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    let delta = i32::deserialize(deserializer).ok();
    let delta = delta.filter(|delta| (-MOST_ADJUSTED..=MOST_ADJUSTED).contains(delta));
    delta.filter(|delta| *delta != 0).ok_or_else(|| {
        let bounds = format!(
            "must be a whole number of units from -{MOST_ADJUSTED} to {MOST_ADJUSTED}, and not 0"
        );
        de::Error::custom(bounds)
    })
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
    Admin { name }: Admin,
    DropPath(drop_id): DropPath,
    key: IdempotencyKey,
    headers: HeaderMap,
    Body(new): Body<NewAdjustment>,
) -> Result<Response, Problem> {
    let key = Some(key.within(&app.key_scope(drop_id.0.as_bytes()))?);
    let request = AdjustStock {
        drop_id,
        key,
        expected_stock_version: expected_stock_version(&app, drop_id, &headers)?,
        delta: new.delta,
        reason: new.reason.0,
    };
    let answer = app.engine.by(name).adjust_stock(request).await?;
    let drop = find(&app, drop_id)?;
    let adjustment = app.views.adjustment(answer.subject);
    let adjustment = adjustment.ok_or_else(Problem::declared_void)?;
    let body = AdjustmentBody::new(adjustment, &drop, app.now());
    Ok(recorded(
        (StatusCode::CREATED, Json(body)).into_response(),
        &answer,
    ))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CountedStock {
    /// All units of the drop from now on, held and sold ones included.
    total: StockCount,
    /// The reason. It is stored in the log permanently, so it must not contain personal data.
    reason: Entered<Reason>,
}

/// `PUT /v1/drops/{id}/stock`
pub(crate) async fn set_stock(
    State(app): State<App>,
    Admin { name }: Admin,
    DropPath(drop_id): DropPath,
    headers: HeaderMap,
    Body(counted): Body<CountedStock>,
) -> Result<Response, Problem> {
    if !headers.contains_key(header::IF_MATCH) {
        let detail = "Send the drop's ETag as If-Match, or * to set the total of any stock.";
        return Err(Problem::new(Code::PreconditionRequired, detail));
    }
    let request = SetStock {
        drop_id,
        expected_stock_version: expected_stock_version(&app, drop_id, &headers)?,
        total: counted.total,
        reason: counted.reason.0,
    };
    let answer = app.engine.by(name).set_stock(request).await?;
    let response = drop_now(&app, StatusCode::OK, drop_id)?;
    Ok(positioned(response, &answer))
}

/// Returns the version of the stock in `If-Match`; `None` without it, and for `*`. Of several, the
/// drop's present one.
///
/// # Errors
/// 412 if no tag is one of this drop. A tag with an earlier version is refused by the engine,
/// unless the request is a retry of a recorded adjustment.
fn expected_stock_version(
    app: &App,
    drop_id: DropId,
    headers: &HeaderMap,
) -> Result<Option<u32>, Problem> {
    let Some(tags) = Tags::of(headers, header::IF_MATCH).filter(|tags| *tags != Tags::Any) else {
        return Ok(None);
    };
    let of_drop = tags.strong().filter_map(|tag| DropTag::of(drop_id, tag));
    let versions: Vec<u32> = of_drop.map(|tag| tag.stock_version).collect();
    let (drop, present) = find_with_stock_version(app, drop_id)?;
    if versions.contains(&present) {
        return Ok(Some(present));
    }
    let stock = drop.row.stock;
    let detail = "If-Match is not an ETag of this drop. Read the drop, then send its ETag.";
    let other = || {
        Problem::new(Code::StaleStock, detail)
            .with("total", stock.total)
            .with("available", stock.available)
    };
    versions.iter().max().copied().map(Some).ok_or_else(other)
}

impl AdjustmentBody {
    fn new(adjustment: AdjustmentView, drop: &DropView, now: Timestamp) -> Self {
        let AdjustmentView {
            drop_id,
            position,
            event,
        } = adjustment;
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

/// Returns the first `limit` purchasers of a drop; none for a reader without a right to its
/// numbers, because the units of purchasers add up to the sold units.
fn purchasers_of(
    app: &App,
    viewer: Viewer,
    drop: &DropView,
    order: PurchaserOrder,
    limit: usize,
) -> Vec<PurchaserBody> {
    if !viewer.sees_numbers(&drop.row.terms) {
        return vec![];
    }
    app.views
        .purchasers(drop.drop_id, order, limit)
        .into_iter()
        .map(PurchaserBody::from)
        .collect()
}

pub(crate) fn find(app: &App, drop_id: DropId) -> Result<DropView, Problem> {
    app.views
        .drop(drop_id)
        .ok_or_else(|| not_found(app, drop_id))
}

/// [`find`] for a reader, for whom some drops do not exist.
pub(crate) fn find_for(app: &App, viewer: Viewer, drop_id: DropId) -> Result<DropView, Problem> {
    let drop = find(app, drop_id)?;
    match viewer.finds(&drop.row.terms) {
        true => Ok(drop),
        false => Err(Problem::new(Code::DropNotFound, NO_DROP)),
    }
}

/// The detail of a 404: the same for a drop that does not exist and for a hidden one.
const NO_DROP: &str = "No drop has this id.";

fn find_with_stock_version(app: &App, drop_id: DropId) -> Result<(DropView, u32), Problem> {
    let found = app.views.drop_and_stock_version(drop_id);
    found.ok_or_else(|| not_found(app, drop_id))
}

/// Returns the problem for a drop that is unknown, or in quarantine.
pub(crate) fn not_found(app: &App, drop_id: DropId) -> Problem {
    quarantine(app.views.quarantine_of(drop_id))
        .unwrap_or_else(|| Problem::new(Code::DropNotFound, NO_DROP))
}

/// Returns the problem for a drop in quarantine.
pub(crate) fn quarantine(refused: Option<Arc<RefusedEvent>>) -> Option<Problem> {
    let refused = refused?;
    let detail = "This server has quarantined the drop, so its state is unknown here.";
    Some(Problem::quarantined(
        refused.drop_id?,
        refused.position,
        detail,
    ))
}

/// Responds to an administrator with the present drop and its entity tag.
fn drop_now(app: &App, status: StatusCode, drop_id: DropId) -> Result<Response, Problem> {
    let now = app.now();
    Ok(representation(app, Viewer::Staff, drop_id, now)?.with_status(status))
}

fn representation(
    app: &App,
    viewer: Viewer,
    drop_id: DropId,
    now: Timestamp,
) -> Result<Representation, Problem> {
    let (drop, stock_version) = find_with_stock_version(app, drop_id)?;
    if !viewer.finds(&drop.row.terms) {
        return Err(Problem::new(Code::DropNotFound, NO_DROP));
    }
    let body = Representation::json(&viewer.body(&drop, now))?;
    let tag = DropTag {
        version: drop.row.terms_version,
        stock_version,
    };
    Ok(body.at(now).of_drop(drop_id, tag))
}
