//! The list of orders, as JSON pages or as one CSV file with a line for each item.
//!
//! Promise: one request finds the buyer, the items and the payment of an order. A cell that a
//! spreadsheet would evaluate is written as text.
//! Limit: newest first; an order that is placed while a file is written is not in it.

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use domain::order::ShownStatus;
use domain::values::{BuyerId, DropId, Entered, Money, OrderId, PaymentReference, Tracking};
use projections::orders::OrderFilter;
use schemars::JsonSchema;
use serde::Deserialize;

use super::OrderBody;
use crate::app::App;
use crate::auth::{Admin, Caller, with_sign_in};
use crate::csv_files::{self, CSV, Lines, List, MEDIA_TYPES, inert};
use crate::drops::MOST_LISTED;
use crate::extract::{Fresh, Query, limit_faults, some_limit};
use crate::negotiate::{preferred, varied};
use crate::problem::{Fault, Problem};
use crate::render::{Page, conditional_at, private};

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct OrdersParams {
    /// Only orders of this buyer. With a buyer's token: that buyer, which is also the default.
    buyer_id: Option<Entered<BuyerId>>,
    /// Only orders with an item of this drop.
    drop_id: Option<DropId>,
    /// Only orders with this status.
    status: Option<ShownStatus>,
    /// Only orders that were paid with this reference. Only for an admin.
    payment_reference: Option<Entered<PaymentReference>>,
    /// The maximum number of orders. JSON: default and maximum 100. CSV: default unlimited.
    #[serde(default, deserialize_with = "some_limit")]
    #[schemars(range(min = 1))]
    limit: Option<usize>,
    /// The id of the last order of the previous page.
    starting_after: Option<OrderId>,
}

impl Query for OrdersParams {
    fn faults(&self, headers: &HeaderMap) -> Vec<Fault> {
        limit_faults(self.limit, MOST_LISTED, headers, &MEDIA_TYPES)
    }
}

/// The reader of a list: an administrator reads all orders, a buyer with a token their own.
#[derive(Debug)]
pub(crate) enum OrdersReader {
    Admin,
    Buyer(BuyerId),
}

impl FromRequestParts<App> for OrdersReader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        if app.buyer_tokens.is_some()
            && parts.headers.contains_key(header::AUTHORIZATION)
            && let Caller::Buyer(buyer_id) = Caller::from_request_parts(parts, app).await?
        {
            return Ok(Self::Buyer(buyer_id));
        }
        // A browser that signed in with the admin key sends no key.
        match Admin::from_request_parts(parts, app).await {
            Ok(Admin) => Ok(Self::Admin),
            Err(problem) => Err(with_sign_in(problem, app)),
        }
    }
}

/// `GET /v1/orders`
pub(crate) async fn list(
    State(app): State<App>,
    reader: OrdersReader,
    Fresh(params): Fresh<OrdersParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let request = Orders {
        filter: filter(&reader, &params)?,
        is_admin: matches!(reader, OrdersReader::Admin),
        after: params.starting_after,
        app,
    };
    let response = match MEDIA_TYPES[preferred(&headers, &MEDIA_TYPES)] {
        CSV => {
            let stop = request.app.stop.clone();
            csv_files::file(request, params.limit, stop).await?
        }
        _ => page(&request, params.limit.unwrap_or(MOST_LISTED), &headers)?,
    };
    Ok(private(varied(response)))
}

fn filter(reader: &OrdersReader, params: &OrdersParams) -> Result<OrderFilter, Problem> {
    let buyer_id = params.buyer_id.as_ref().map(|Entered(id)| id.clone());
    let reference = params.payment_reference.as_ref();
    let mut filter = OrderFilter {
        buyer_id,
        is_account: matches!(reader, OrdersReader::Buyer(_)),
        drop_id: params.drop_id,
        status: params.status,
        payment_reference: reference.map(|Entered(reference)| reference.clone()),
    };
    if let OrdersReader::Buyer(own) = reader {
        let buyer_id = filter.buyer_id.get_or_insert_with(|| own.clone());
        Caller::Buyer(own.clone()).must_be(buyer_id)?;
        if filter.payment_reference.is_some() {
            let detail = "is permitted only with the admin key";
            return Err(Problem::invalid_query("payment_reference", detail));
        }
    }
    Ok(filter)
}

fn page(request: &Orders, limit: usize, headers: &HeaderMap) -> Result<Response, Problem> {
    let mut data = request.slice(limit + 1)?;
    let has_more = data.len() > limit;
    data.truncate(limit);
    let now = data
        .first()
        .map_or_else(|| request.app.now(), |order| order.server_time);
    Ok(conditional_at(headers, now, &Page { data, has_more }))
}

/// A list, and how far it was read.
struct Orders {
    app: App,
    filter: OrderFilter,
    is_admin: bool,
    after: Option<OrderId>,
}

impl Orders {
    fn slice(&self, limit: usize) -> Result<Vec<OrderBody>, Problem> {
        let now = self.app.now();
        let found = self.app.views.orders(&self.filter, self.after, limit, now);
        let found = found.ok_or_else(|| {
            Problem::invalid_query("starting_after", "must be the id of an order")
        })?;
        let found = found.into_iter();
        Ok(found
            .map(|(order_id, row)| OrderBody::new(order_id, row, now, self.is_admin))
            .collect())
    }
}

impl List for Orders {
    type Row = OrderBody;

    const NAME: &'static str = "orders";
    const HEAD: &'static str = "order_id,status,fulfilment,buyer_id,drop_id,hold_id,purchase_id,quantity,amount,currency,placed_at,paid_at,payment_reference,tracking,position,refunded_quantity,refunded_amount,refund_requested_at,refund_settled_at\r\n";

    async fn next(&mut self, most: usize) -> Result<Vec<OrderBody>, Problem> {
        let page = self.slice(most)?;
        if let Some(last) = page.last() {
            self.after = Some(last.id);
        }
        Ok(page)
    }

    fn write(lines: &mut Lines, order: &OrderBody) -> Result<(), Problem> {
        let reference = order.payment_reference.iter().flatten().next();
        let fulfilment = serde_json::to_value(order.fulfilment);
        let fulfilment = fulfilment.map_err(|error| Problem::internal(&error))?;
        for item in &order.items {
            let Money { amount, currency } = item.total;
            let last = order.refunds.iter().rev();
            let last = last.into_iter().find(|refund| refund.has(item.hold_id));
            let requested_at = last.map(|refund| refund.requested_at);
            let settled_at = last.and_then(|refund| refund.settled_at);
            lines.add(&[
                order.id.to_string(),
                order.status.name().to_owned(),
                fulfilment.as_str().unwrap_or_default().to_owned(),
                inert(order.buyer_id.as_ref().map_or("", BuyerId::as_str)).into_owned(),
                item.drop_id.to_string(),
                item.hold_id.to_string(),
                item.purchase_id
                    .map_or_else(String::new, |id| id.to_string()),
                item.quantity.get().to_string(),
                amount.to_string(),
                currency.code().to_owned(),
                order.placed_at.to_string(),
                order.paid_at.map_or_else(String::new, |at| at.to_string()),
                inert(reference.map_or("", PaymentReference::as_str)).into_owned(),
                inert(order.tracking.as_ref().map_or("", Tracking::as_str)).into_owned(),
                order.position.to_string(),
                item.refunded.quantity.to_string(),
                item.refunded.amount.amount.to_string(),
                requested_at.map_or_else(String::new, |at| at.to_string()),
                settled_at.map_or_else(String::new, |at| at.to_string()),
            ])?;
        }
        Ok(())
    }
}
