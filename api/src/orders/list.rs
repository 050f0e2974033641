//! The list of orders, as JSON pages or as one CSV file with a line for each item.
//!
//! Promise: one request finds the buyer, the items and the payment of an order. A cell that a
//! spreadsheet would evaluate is written as text.
//! Limit: newest first; an order that is placed while a file is written is not in it.

use axum::body::Body;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use domain::order::ShownStatus;
use domain::values::{BuyerId, DropId, Entered, Money, OrderId, PaymentReference, Tracking};
use futures::stream::{self, Stream, StreamExt};
use projections::orders::OrderFilter;
use schemars::JsonSchema;
use serde::Deserialize;

use super::OrderBody;
use crate::app::App;
use crate::auth::{Admin, Caller};
use crate::drops::MOST_LISTED;
use crate::drops::purchases::inert;
use crate::extract::{Fresh, Query, limit_faults, some_limit};
use crate::negotiate::{preferred, varied};
use crate::problem::{Fault, Problem};
use crate::render::{Page, conditional_at, insert, private};

const CSV: &str = "text/csv";
/// Media types of the list, the default first.
const MEDIA_TYPES: [&str; 2] = ["application/json", CSV];
/// Number of orders that are read together for a CSV file.
const SLICE: usize = 500;

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
        Admin::from_request_parts(parts, app)
            .await
            .map(|_| Self::Admin)
    }
}

/// `GET /v1/orders`
pub(crate) async fn list(
    State(app): State<App>,
    reader: OrdersReader,
    Fresh(params): Fresh<OrdersParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let request = Lines {
        filter: filter(&reader, &params)?,
        is_admin: matches!(reader, OrdersReader::Admin),
        after: params.starting_after,
        left: params.limit.unwrap_or(usize::MAX),
        app,
    };
    let response = match MEDIA_TYPES[preferred(&headers, &MEDIA_TYPES)] {
        CSV => file(request)?,
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

fn page(request: &Lines, limit: usize, headers: &HeaderMap) -> Result<Response, Problem> {
    let mut data = request.slice(limit + 1)?;
    let has_more = data.len() > limit;
    data.truncate(limit);
    let now = data
        .first()
        .map_or_else(|| request.app.now(), |order| order.server_time);
    Ok(conditional_at(headers, now, &Page { data, has_more }))
}

/// Returns orders as CSV. The first slice is read before the response begins, because an error can
/// only cut off a response that has begun.
fn file(mut lines: Lines) -> Result<Response, Problem> {
    let first = lines.next()?.unwrap_or_default();
    let head = Bytes::from_static(HEAD.as_bytes());
    let beginning = stream::iter([head, first].map(Ok));
    let kind = [(header::CONTENT_TYPE, "text/csv; charset=utf-8")];
    let mut response = (kind, Body::from_stream(beginning.chain(lines.rest()))).into_response();
    let name = "attachment; filename=\"orders.csv\"";
    insert(&mut response, header::CONTENT_DISPOSITION, name);
    Ok(response)
}

/// A list, and how far it was read.
struct Lines {
    app: App,
    filter: OrderFilter,
    is_admin: bool,
    after: Option<OrderId>,
    left: usize,
}

/// A file was cut off.
#[derive(Debug, thiserror::Error)]
#[error("the rest of the orders could not be read")]
struct CutOff;

impl Lines {
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

    /// Returns the next slice as CSV lines; `None` after the last.
    fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        let most = self.left.min(SLICE);
        if most == 0 || self.app.stop.is_cancelled() {
            return Ok(None);
        }
        let page = self.slice(most)?;
        let Some(last) = page.last() else {
            return Ok(None);
        };
        self.after = Some(last.id);
        self.left -= page.len();
        lines_of(&page).map(Some)
    }

    /// Streams the remaining slices. An error ends the stream abnormally, so that the reader
    /// notices.
    fn rest(self) -> impl Stream<Item = Result<Bytes, CutOff>> {
        stream::try_unfold(self, |mut lines| async move {
            if lines.app.stop.is_cancelled() {
                return Err(CutOff);
            }
            let next = lines.next().map_err(|_| CutOff)?;
            Ok(next.map(|next| (next, lines)))
        })
    }
}

const HEAD: &str = "order_id,status,fulfilment,buyer_id,drop_id,hold_id,purchase_id,quantity,amount,currency,placed_at,paid_at,payment_reference,tracking,position,refunded_quantity,refunded_amount,refund_requested_at,refund_settled_at\r\n";

fn lines_of(page: &[OrderBody]) -> Result<Bytes, Problem> {
    let mut writer = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer(vec![]);
    for order in page {
        let reference = order.payment_reference.iter().flatten().next();
        let fulfilment = serde_json::to_value(order.fulfilment);
        let fulfilment = fulfilment.map_err(|error| Problem::internal(&error))?;
        for item in &order.items {
            let Money { amount, currency } = item.total;
            let last = order.refunds.iter().rev();
            let last = last.into_iter().find(|refund| refund.has(item.hold_id));
            let requested_at = last.map(|refund| refund.requested_at);
            let settled_at = last.and_then(|refund| refund.settled_at);
            let cells = [
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
            ];
            writer
                .write_record(&cells)
                .map_err(|error| Problem::internal(&error))?;
        }
    }
    let written = writer.into_inner();
    let written = written.map_err(|error| Problem::internal(error.error()))?;
    Ok(written.into())
}
