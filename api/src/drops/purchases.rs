//! Purchases: one, for its buyer, and all of a drop, for administrators, with buyer ids and
//! payment references.
//!
//! Promise: an administrator can read every payment reference until the buyer is
//! erased: references are read from the private column of the log's events.
//! Limit: that requires the database; without it, routes that show references return 503.

use axum::extract::{FromRequestParts, Path, State};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::response::Response;
use domain::values::{BuyerId, DropId, Money, PaymentReference, Position, PurchaseId};
use infrastructure::error::LogError;
use infrastructure::payments::payment_references;
use projections::views::HoldView;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MOST_LISTED, find, quarantine};
use crate::app::App;
use crate::auth::{Admin, Caller, Visitor};
use crate::csv_files::{self, CSV, Lines, List, MEDIA_TYPES, inert};
use crate::extract::{DropPath, Fresh, Query, follow_to_head, limit_faults, some_limit};
use crate::limiter::{AttemptKind, Origin};
use crate::negotiate::{preferred, varied};
use crate::problem::{Code, Fault, Problem};
use crate::render::{Page, PurchaseBody, conditional, private};

/// A purchase with its payment reference, for an admin.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RecordedPurchase")]
pub(crate) struct RecordedPurchase {
    #[serde(flatten)]
    purchase: PurchaseBody,
    /// The shop's identifier of the payment; null if none was sent, and after the erasure of the
    /// buyer. Included only for an admin.
    #[serde(skip_serializing_if = "Option::is_none")]
    payment_reference: Option<Option<PaymentReference>>,
}

impl RecordedPurchase {
    /// For an admin.
    pub(crate) const fn new(
        purchase: PurchaseBody,
        payment_reference: Option<PaymentReference>,
    ) -> Self {
        Self {
            purchase,
            payment_reference: Some(payment_reference),
        }
    }
}

/// `GET /v1/purchases/{id}`
pub(crate) async fn read(
    State(app): State<App>,
    PurchasePath(id): PurchasePath,
    caller: Caller,
    visitor: Visitor,
    _: Fresh,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let hold = find_anywhere(&app, caller.guesses_from(visitor.origin), id).await?;
    caller.must_own(hold.buyer.as_ref().map(|buyer| &buyer.buyer_id))?;
    let position = hold.purchased.unwrap_or(hold.position);
    let purchase = PurchaseBody::new(hold).ok_or_else(purchase_not_found)?;
    let payment_reference = match visitor.is_admin {
        true => Some(references(&app, &[position]).await?.remove(&position)),
        false => None,
    };
    let body = RecordedPurchase {
        purchase,
        payment_reference,
    };
    Ok(private(conditional(&headers, &body)))
}

/// Finds a purchase. One that is unknown here may have been recorded by another node a moment ago.
pub(super) async fn find_anywhere(
    app: &App,
    origin: Origin,
    id: PurchaseId,
) -> Result<HoldView, Problem> {
    if let Some(hold) = app.views.purchase(id) {
        return Ok(hold);
    }
    let attempt = app.limiter.attempt(origin, AttemptKind::Id)?;
    follow_to_head(app).await?;
    let hold = app.views.purchase(id).ok_or_else(purchase_not_found)?;
    attempt.succeeded();
    Ok(hold)
}

fn purchase_not_found() -> Problem {
    Problem::new(Code::PurchaseNotFound, "No purchase has this id.")
}

/// The purchase id in the path. A value that is not a UUID gets the same problem as an unknown
/// purchase.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PurchasePath(pub(super) PurchaseId);

impl FromRequestParts<App> for PurchasePath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Path(id) = Path::<String>::from_request_parts(parts, app)
            .await
            .map_err(|_| purchase_not_found())?;
        id.parse().map(Self).map_err(|_| purchase_not_found())
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct PurchasesParams {
    /// The maximum number of purchases. JSON: default and maximum 100. CSV: default unlimited.
    #[serde(default, deserialize_with = "some_limit")]
    #[schemars(range(min = 1))]
    limit: Option<usize>,
    /// The id of the last purchase of the previous page.
    starting_after: Option<PurchaseId>,
}

impl Query for PurchasesParams {
    fn faults(&self, headers: &HeaderMap) -> Vec<Fault> {
        limit_faults(self.limit, MOST_LISTED, headers, &MEDIA_TYPES)
    }
}

/// `GET /v1/drops/{id}/purchases`
pub(crate) async fn list(
    State(app): State<App>,
    DropPath(drop_id): DropPath,
    _: Admin,
    Fresh(params): Fresh<PurchasesParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    find(&app, drop_id)?;
    let response = match MEDIA_TYPES[preferred(&headers, &MEDIA_TYPES)] {
        CSV => {
            let stop = app.stop.clone();
            let purchases = Purchases {
                app,
                drop_id,
                after: params.starting_after,
            };
            csv_files::file(purchases, params.limit, stop).await?
        }
        _ => page(&app, drop_id, params, &headers).await?,
    };
    Ok(private(varied(response)))
}

async fn page(
    app: &App,
    drop_id: DropId,
    params: PurchasesParams,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let limit = params.limit.unwrap_or(MOST_LISTED);
    let mut data = slice(app, drop_id, params.starting_after, limit + 1).await?;
    let has_more = data.len() > limit;
    data.truncate(limit);
    Ok(conditional(headers, &Page { data, has_more }))
}

/// Returns at most `limit` purchases of a drop, the earliest first.
async fn slice(
    app: &App,
    drop_id: DropId,
    after: Option<PurchaseId>,
    limit: usize,
) -> Result<Vec<RecordedPurchase>, Problem> {
    let holds = app.views.purchases(drop_id, after, limit).ok_or_else(|| {
        quarantine(app.views.quarantine_of(drop_id)).unwrap_or_else(|| {
            Problem::invalid_query(
                "starting_after",
                "must be the id of a purchase of this drop",
            )
        })
    })?;
    let positions: Vec<Position> = holds.iter().filter_map(|hold| hold.purchased).collect();
    let mut references = references(app, &positions).await?;
    let recorded = holds.into_iter().filter_map(|hold| {
        let position = hold.purchased?;
        Some(RecordedPurchase {
            purchase: PurchaseBody::new(hold)?,
            payment_reference: Some(references.remove(&position)),
        })
    });
    Ok(recorded.collect())
}

pub(crate) async fn references(
    app: &App,
    positions: &[Position],
) -> Result<std::collections::HashMap<Position, PaymentReference>, Problem> {
    if positions.is_empty() {
        return Ok(std::collections::HashMap::new());
    }
    let found = payment_references(app.log.pool(), positions).await;
    found.map_err(|error: LogError| match error.is_away() {
        true => Problem::unavailable(
            "The event log is unreachable, so payment references cannot be read. Retry.",
        ),
        false => Problem::internal(&error),
    })
}

/// The progress of a CSV file.
struct Purchases {
    app: App,
    drop_id: DropId,
    after: Option<PurchaseId>,
}

impl List for Purchases {
    type Row = RecordedPurchase;

    const NAME: &'static str = "purchases";
    const HEAD: &'static str = "id,hold_id,drop_id,buyer_id,quantity,amount,currency,purchased_at,payment_reference,position,refunded_quantity,refunded_amount\r\n";

    async fn next(&mut self, most: usize) -> Result<Vec<RecordedPurchase>, Problem> {
        let page = slice(&self.app, self.drop_id, self.after, most).await?;
        if let Some(last) = page.last() {
            self.after = Some(last.purchase.id());
        }
        Ok(page)
    }

    fn write(lines: &mut Lines, row: &RecordedPurchase) -> Result<(), Problem> {
        let RecordedPurchase {
            purchase,
            payment_reference,
        } = row;
        let Money { amount, currency } = purchase.total;
        let reference = payment_reference.iter().flatten().next();
        lines.add(&[
            purchase.id().to_string(),
            purchase.hold_id.to_string(),
            purchase.drop_id.to_string(),
            inert(purchase.buyer_id.as_ref().map_or("", BuyerId::as_str)).into_owned(),
            purchase.quantity.get().to_string(),
            amount.to_string(),
            currency.code().to_owned(),
            purchase.purchased_at.to_string(),
            inert(reference.map_or("", PaymentReference::as_str)).into_owned(),
            purchase.position.to_string(),
            purchase.refunded.quantity.to_string(),
            purchase.refunded.amount.amount.to_string(),
        ])
    }
}
