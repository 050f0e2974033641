//! One buyer over all drops: holds, waitlist entries, purchases and orders in one response.
//!
//! Promise: for any number of drops and purchases of the shop, the cost is that of the buyer's
//! own. Limit: a page of drops, and of each drop the newest holds and entries; the lists that have
//! the rest are named.

use std::collections::HashMap;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use domain::drop::HoldStatus;
use domain::values::{BuyerId, DropId, PaymentReference, Position, Timestamp};
use projections::orders::OrderFilter;
use projections::views::BuyerInDrop;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::auth::Admin;
use crate::base_path::at;
use crate::drops::MOST_LISTED;
use crate::drops::purchases::{RecordedPurchase, references};
use crate::extract::{BuyerIdPath, Fresh, Limit, Query};
use crate::orders::OrderBody;
use crate::problem::Problem;
use crate::render::{HoldBody, PurchaseBody, conditional_at, private};
use crate::waitlist::WaitlistEntryBody;

/// Default number of drops on a page.
const USUALLY_LISTED: usize = 20;
/// Maximum number of holds, and of waitlist entries, of one drop.
const MOST_OF_DROP: usize = 50;
/// Maximum number of orders.
const MOST_ORDERS: usize = 20;

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct BuyerParams {
    /// The maximum number of drops.
    #[schemars(extend("default" = USUALLY_LISTED))]
    limit: Option<Limit<MOST_LISTED>>,
    /// The id of the last drop of the previous page.
    starting_after: Option<DropId>,
}

impl Query for BuyerParams {}

/// The holds and purchases of the buyer in one drop.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "BuyerDrop")]
struct DropBody {
    drop_id: DropId,
    drop_name: String,
    /// Units in holds that are not resolved.
    held: u64,
    /// Units purchased and not refunded.
    purchased: u64,
    /// Units purchased and refunded.
    refunded: u64,
    /// Holds that were not purchased, in every status, newest first.
    holds: Vec<HoldBody>,
    /// Newest first, each with its payment reference.
    purchases: Vec<RecordedPurchase>,
    /// Newest first.
    waitlist: Vec<WaitlistEntryBody>,
    /// True if the buyer has more than 50 holds or waitlist entries in this drop. The older ones
    /// are left out.
    has_more: bool,
    /// Where the buyer's live holds in this drop are listed.
    url: String,
    /// Where all purchases of this drop are listed.
    purchases_url: String,
}

/// The newest orders of the buyer.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "BuyerOrders")]
struct OrdersBody {
    /// Newest first, at most 20.
    data: Vec<OrderBody>,
    /// True if there are more.
    has_more: bool,
    /// Where all orders of the buyer are listed.
    url: String,
}

/// One buyer over all drops.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Buyer")]
pub(crate) struct BuyerBody {
    /// As the newest drop of this page recorded it; as in the path if no drop knows the buyer.
    buyer_id: BuyerId,
    /// A page of the drops in which the buyer held units or waited, newest drop first.
    drops: Vec<DropBody>,
    /// True if there is another page of drops.
    has_more: bool,
    orders: OrdersBody,
    server_time: Timestamp,
}

/// `GET /v1/admin/buyers/{buyer_id}`: empty lists if the buyer is unknown or was erased.
pub(crate) async fn read(
    State(app): State<App>,
    BuyerIdPath(buyer_id): BuyerIdPath,
    _: Admin,
    Fresh(params): Fresh<BuyerParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let limit = params.limit.map_or(USUALLY_LISTED, |Limit(limit)| limit);
    let after = params.starting_after.map(|after| {
        let drop = app.views.drop(after);
        let drop = drop.map(|drop| (drop.row.scheduled_at, drop.drop_id));
        drop.ok_or_else(|| Problem::invalid_query("starting_after", "must be the id of a drop"))
    });
    let mut listed = app.views.drops_of_buyer(&buyer_id, after.transpose()?);
    let has_more = listed.len() > limit;
    listed.truncate(limit);
    let found = listed.into_iter();
    let found = found.filter_map(|key| app.views.buyer_in_drop(key, MOST_OF_DROP));
    let found: Vec<BuyerInDrop> = found.collect();
    let purchased = found.iter().flat_map(|drop| &drop.holds);
    let positions: Vec<Position> = purchased.filter_map(|hold| hold.purchased).collect();
    let mut paid_with = references(&app, &positions).await?;
    let now = app.now();
    let recorded = found.first().map(|drop| drop.buyer_id.clone());
    let drops = found.into_iter();
    let body = BuyerBody {
        drops: drops
            .map(|drop| in_drop(&app, drop, &mut paid_with, now))
            .collect(),
        has_more,
        orders: orders_of(&app, &buyer_id, now),
        buyer_id: recorded.unwrap_or(buyer_id),
        server_time: now,
    };
    Ok(private(conditional_at(&headers, now, &body)))
}

fn in_drop(
    app: &App,
    found: BuyerInDrop,
    paid_with: &mut HashMap<Position, PaymentReference>,
    now: Timestamp,
) -> DropBody {
    let drop_id = found.drop_id;
    let is_purchased = |status| status == HoldStatus::Purchased;
    let all = found.holds.into_iter();
    let (bought, others): (Vec<_>, Vec<_>) = all.partition(|hold| is_purchased(hold.row.status));
    let recorded = |hold: projections::views::HoldView| {
        let position = hold.purchased?;
        let purchase = PurchaseBody::new(hold)?;
        let reference = paid_with.remove(&position);
        Some(RecordedPurchase::new(purchase, reference))
    };
    let others = others.into_iter();
    let entries = found.entries.into_iter();
    DropBody {
        drop_id,
        drop_name: found.name.as_str().to_owned(),
        held: found.held,
        purchased: found.kept,
        refunded: found.refunded,
        holds: others.map(|hold| HoldBody::new(hold, now)).collect(),
        purchases: bought.into_iter().filter_map(recorded).collect(),
        waitlist: entries
            .map(|entry| WaitlistEntryBody::at(app, entry, now))
            .collect(),
        has_more: found.has_more,
        url: path(&format!(
            "/v1/drops/{drop_id}/buyers/{}",
            encoded(&found.buyer_id)
        )),
        purchases_url: path(&format!("/v1/drops/{drop_id}/purchases")),
    }
}

fn orders_of(app: &App, buyer_id: &BuyerId, now: Timestamp) -> OrdersBody {
    let filter = OrderFilter {
        buyer_id: Some(buyer_id.clone()),
        ..OrderFilter::default()
    };
    let found = app.views.orders(&filter, None, MOST_ORDERS + 1, now);
    let mut found = found.unwrap_or_default();
    let has_more = found.len() > MOST_ORDERS;
    found.truncate(MOST_ORDERS);
    let orders = found.into_iter();
    OrdersBody {
        data: orders
            .map(|(order_id, row)| OrderBody::new(order_id, row, now, true))
            .collect(),
        has_more,
        url: path(&format!("/v1/orders?buyer_id={}", encoded(buyer_id))),
    }
}

fn path(path: &str) -> String {
    at(path).into_owned()
}

/// Percent-encodes every byte but ASCII letters and digits, for a path or a query.
fn encoded(buyer_id: &BuyerId) -> String {
    let byte = |byte: u8| match byte.is_ascii_alphanumeric() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    buyer_id.as_str().bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buyer_id_in_a_url_is_percent_encoded() {
        let encoded = |id| encoded(&BuyerId::new(id).unwrap());
        assert_eq!(encoded("ann-1@x/y?z"), "ann%2D1%40x%2Fy%3Fz");
        assert_eq!(encoded("\u{fc}"), "%C3%BC");
    }
}
