//! The purchasers of a drop, and the holds and purchases of one buyer.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use domain::Refusal;
use domain::decide::Standing;
use domain::drop::HoldStatus;
use domain::values::{BuyerId, Timestamp};
use engine::{CommandError, LookUpBuyer};
use projections::views::PurchaserOrder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MOST_LISTED, find_for, purchasers_of};
use crate::app::App;
use crate::auth::{Caller, Visitor};
use crate::extract::{BuyerPath, DropPath, Fresh, Limit, Query};
use crate::problem::{Problem, unanswered};
use crate::render::{HoldBody, Page, conditional, conditional_at, private};
use crate::waitlist::WaitlistEntryBody;

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum OrderParam {
    /// Most units first.
    Units,
    /// Latest purchase first.
    Recent,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct PurchasersParams {
    /// The maximum number of purchasers.
    #[schemars(extend("default" = USUALLY_LISTED))]
    limit: Option<Limit<MOST_LISTED>>,
    /// The order: most units first, or latest purchase first.
    #[schemars(extend("default" = "units"))]
    order: Option<OrderParam>,
}

impl Query for PurchasersParams {}

/// Default number of purchasers in a list.
const USUALLY_LISTED: usize = 3;

/// `GET /v1/drops/{id}/purchasers`
pub(crate) async fn purchasers(
    State(app): State<App>,
    Visitor { viewer, .. }: Visitor,
    DropPath(drop_id): DropPath,
    Fresh(params): Fresh<PurchasersParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let drop = find_for(&app, viewer, drop_id)?;
    let limit = params.limit.map_or(USUALLY_LISTED, |Limit(limit)| limit);
    let order = match params.order {
        None | Some(OrderParam::Units) => PurchaserOrder::Units,
        Some(OrderParam::Recent) => PurchaserOrder::Recent,
    };
    let mut data = purchasers_of(&app, viewer, &drop, order, limit + 1);
    let has_more = data.len() > limit;
    data.truncate(limit);
    Ok(conditional(&headers, &Page { data, has_more }))
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "BuyerStanding")]
pub(crate) struct BuyerBody {
    buyer_id: BuyerId,
    /// Units in holds that are not resolved.
    held: u32,
    /// Units purchased.
    purchased: u32,
    /// The maximum number of units in a new hold, if enough are available.
    allowance: u32,
    /// The earliest time at which the throttle permits the next hold; null if it permits one now.
    next_hold_at: Option<Timestamp>,
    /// The buyer's unresolved holds, newest first, at most 1,000. The id of a hold permits its
    /// purchase, so this is included only for the buyer's own token and for the admin key.
    #[serde(skip_serializing_if = "Option::is_none")]
    holds: Option<Vec<HoldBody>>,
    /// The buyer's waitlist entry; null if the buyer does not wait. Included under the same
    /// conditions as `holds`.
    #[serde(skip_serializing_if = "Option::is_none")]
    waitlist: Option<Option<WaitlistEntryBody>>,
    server_time: Timestamp,
}

/// `GET /v1/drops/{id}/buyers/{buyer_id}`
///
/// Read from the engine and not from the views: only the engine recognizes a buyer by the shop's
/// identifier (by digest, see docs/decisions/0022-engines-recognise-buyers-by-digest.md), and it
/// responds after the log has confirmed its state. Views may be behind: another node may have sold
/// units to the buyer a moment ago.
pub(crate) async fn standing(
    State(app): State<App>,
    BuyerPath(drop_id, buyer_id): BuyerPath,
    caller: Caller,
    visitor: Visitor,
    _: Fresh,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.must_be(&buyer_id)?;
    let terms = app.views.terms(drop_id);
    if terms.is_some_and(|terms| !visitor.viewer.finds(&terms)) {
        // In the words of the engine, which responds for a drop that does not exist.
        return Err(unanswered(CommandError::Refused {
            refusal: Refusal::DropNotFound,
            at: app.now(),
        }));
    }
    let may_see_ids = visitor.may_see_ids(&caller);
    let request = LookUpBuyer {
        drop_id,
        buyer_id: buyer_id.clone(),
        is_from_token: caller.has_token(),
    };
    let answer = app
        .engine
        .look_up_buyer(request)
        .await
        .map_err(unanswered)?;
    let Standing {
        held,
        purchased,
        allowance,
        next_hold_at,
        holds,
        entry,
    } = answer.subject;
    let server_time = answer.at;
    // The views have applied everything that the engine's response is based on.
    let live = |hold_id| {
        let hold = app.views.hold(hold_id)?;
        let is_live = hold.row.status == HoldStatus::Held && server_time < hold.row.expires_at;
        is_live.then(|| HoldBody::new(hold, server_time))
    };
    let holds = may_see_ids.then(|| holds.into_iter().filter_map(live).collect());
    let entry = || {
        let entry = app.views.entry(entry?)?;
        Some(WaitlistEntryBody::at(&app, entry, server_time))
    };
    let waitlist = may_see_ids.then(entry);
    let body = BuyerBody {
        buyer_id,
        held,
        purchased,
        allowance,
        next_hold_at,
        holds,
        waitlist,
        server_time,
    };
    Ok(private(conditional_at(&headers, server_time, &body)))
}
