//! The route of the stream.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::extract::{Extension, FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Version, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use domain::values::{DropId, OrderId, Position, WaitlistId};
use infrastructure::log::EventLog;
use schemars::JsonSchema;
use serde::Deserialize;

use super::entries::WatchedEntries;
use super::framing::Framing;
use super::orders::{Reader, WatchedOrders};
use super::shard::Subscriber;
use super::subjects::Subjects;
use super::subscriber::{CompleteUpTo, SubscriberState, Watched};
use crate::app::App;
use crate::auth::{Caller, Visitor};
use crate::connections::Handover;
use crate::drops::quarantine;
use crate::extract::{Params, Query, listed, some_position};
use crate::limiter::Origin;
use crate::orders;
use crate::problem::{Code, Problem};
use crate::viewer::Viewer;
use crate::waitlist;

/// The delay after which a client should reconnect, in milliseconds.
///
/// Like every heartbeat, it has no empty line after it: the line is complete, and the next event's
/// block follows. An empty line would end a block without data, which the standard
/// ignores (WHATWG HTML, section 9.2.6) and httpx-sse 0.4.3 passes on as an empty event.
pub(crate) const RETRY: &[u8] = b"retry: 1000\n";

/// Maximum number of drops that one stream may name.
const MOST_DROPS: usize = 200;

/// Maximum number of entries that one stream watches: the server keeps the last sent state of each.
const MAX_WATCHED_ENTRIES: usize = 20;

/// Maximum number of orders that one stream watches.
const MAX_WATCHED_ORDERS: usize = 20;

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct WatchParams {
    /// At most 200 ids of drops, separated by commas. Default: every drop that has not ended, and
    /// with `orders`: none.
    drops: Option<String>,
    /// With `drops`: also sends every drop that is scheduled from now on. With `Last-Event-ID`, it
    /// also sends the drops that were scheduled since then, the newest 200 of them.
    #[schemars(extend("default" = false))]
    new: Option<bool>,
    /// At most 20 ids of waitlist entries, separated by commas, whose changes are sent as well.
    waitlist: Option<String>,
    /// At most 20 ids of orders, separated by commas, whose states and changes are sent.
    /// Authorization as for reading them.
    orders: Option<String>,
    /// The position in a received `id:`, for clients that cannot send headers. `Last-Event-ID`
    /// takes precedence.
    #[serde(default, deserialize_with = "some_position")]
    #[schemars(with = "Option<String>", extend("pattern" = "^[0-9]{1,19}$"))]
    last_event_id: Option<Position>,
}

impl Query for WatchParams {}

/// The sender of the request. Credentials are necessary only if orders are named.
#[derive(Debug)]
pub(crate) struct Sender(Parts);

impl FromRequestParts<App> for Sender {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        Ok(Self(parts.clone()))
    }
}

impl Sender {
    /// Returns the visitor, and for orders the caller.
    async fn identify(
        mut self,
        app: &App,
        names_orders: bool,
    ) -> Result<(Visitor, Option<Caller>), Problem> {
        let caller = match names_orders {
            true => Some(Caller::from_request_parts(&mut self.0, app).await?),
            false => None,
        };
        let visitor = Visitor::from_request_parts(&mut self.0, app).await?;
        Ok((visitor, caller))
    }
}

/// `GET /v1/stream`
pub(crate) async fn watch(
    State(app): State<App>,
    sender: Sender,
    method: Method,
    version: Version,
    Extension(handover): Extension<Handover>,
    Params(params): Params<WatchParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let complete = last_event(&headers, params.last_event_id);
    let complete = in_this_log(&app, complete).await;
    let complete = complete.map(|position| CompleteUpTo::up_to(position, &app.views));
    let (visitor, caller) = sender.identify(&app, params.orders.is_some()).await?;
    let drops = watched(&app, visitor.viewer, &params)?;
    let entries = watched_entries(&app, visitor.origin, params.waitlist.as_deref()).await?;
    let orders = match (caller, &params.orders) {
        (Some(caller), Some(ids)) => watched_orders(&app, &(caller, visitor), ids).await?,
        _ => WatchedOrders::default(),
    };
    let address_permit = app.streams.of_client(handover.peer.ip(), &headers)?;
    let full = || {
        Problem::unavailable("Limit of concurrent stream clients reached (HOLDFAST_MAX_WATCHERS).")
    };
    let permit = app.hub.try_admit(address_permit).ok_or_else(full)?;
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    if method == Method::HEAD {
        return Ok((headers, Body::empty()).into_response());
    }
    let framing = if version == Version::HTTP_11 {
        Framing::Chunked
    } else {
        Framing::Plain
    };
    let (hub, views) = (app.hub.clone(), &app.views);
    let subjects = Subjects {
        drops,
        entries,
        orders,
        viewer: visitor.viewer,
    };
    let mut subscriber = SubscriberState::new(&hub, views, subjects, framing, complete, permit);
    // The shard sends the rest. hyper frames the body itself.
    let piece = subscriber.next_piece(hub.present(), views, Framing::Plain);
    let first = [Bytes::from_static(RETRY), piece.unwrap_or_default()];
    let first = first.into_iter().filter(|piece| !piece.is_empty());
    let take_over = move |socket| hub.assign(Subscriber::new(socket, subscriber));
    Ok((headers, handover.after(first, take_over)).into_response())
}

/// Returns the last position that the client received. The header takes precedence, because a
/// browser that reconnects sends it with an unchanged URL. A header that is not a position is
/// ignored: a browser repeats any id that the address ever sent (WHATWG HTML, section 9.2.3).
pub(crate) fn last_event(headers: &HeaderMap, in_query: Option<Position>) -> Option<Position> {
    let in_header = headers.get("last-event-id");
    let in_header = in_header.and_then(|id| id.to_str().ok());
    let position = in_header.and_then(|id| id.trim().parse::<i64>().ok());
    let position = position.and_then(|position| u64::try_from(position).ok());
    position.map(Position).or(in_query)
}

/// Returns `last`, the position of a client, unless the log does not reach it: the log was restored
/// to an earlier moment, and the client has states that it does not contain. A client may be ahead
/// of this server, but not of the log.
pub(crate) async fn in_this_log(app: &App, last: Option<Position>) -> Option<Position> {
    let last = last?;
    if last <= app.views.position() {
        return Some(last);
    }
    match app.log.head().await {
        Ok(head) if last > head.position => None,
        // Nothing is known against it.
        Ok(_) | Err(_) => Some(last),
    }
}

/// Returns the named drops without duplicates; without names, all drops that are not over, future
/// ones included, or only new drops if orders are named.
fn watched(app: &App, viewer: Viewer, params: &WatchParams) -> Result<Watched, Problem> {
    let and_new = params.new.unwrap_or(false);
    let Some(drops) = params.drops.as_deref() else {
        return Ok(match (params.orders.is_some(), and_new) {
            (false, _) => Watched::All,
            (true, true) => Watched::NamedAndNew(Box::default()),
            (true, false) => Watched::Named(Box::default()),
        });
    };
    let not_found = |id: DropId| {
        let detail = format!("No drop has the id {id}.");
        Problem::new(Code::DropNotFound, detail)
    };
    let malformed =
        |_| Problem::invalid_query("drops", "must be ids of drops, separated by commas");
    let read = |id: &str| id.parse().map_err(malformed);
    let watched = listed("drops", drops, MOST_DROPS)?
        .into_iter()
        .map(read)
        .collect::<Result<BTreeSet<DropId>, _>>()?;
    let is_found = |id: DropId| {
        let terms = app.views.terms(id);
        terms.is_some_and(|terms| viewer.finds(&terms))
    };
    let missing = watched.iter().find(|&&id| !is_found(id));
    if let Some(&id) = missing {
        let refused = quarantine(app.views.quarantine_of(id));
        return Err(refused.unwrap_or_else(|| not_found(id)));
    }
    let watched = watched.into_iter().collect();
    Ok(if and_new {
        Watched::NamedAndNew(watched)
    } else {
        Watched::Named(watched)
    })
}

/// Returns the waitlist entries that `ids` names, separated by commas, without duplicates:
/// [`MAX_WATCHED_ENTRIES`] at most.
async fn watched_entries(
    app: &App,
    origin: Origin,
    ids: Option<&str>,
) -> Result<WatchedEntries, Problem> {
    let ids = ids.map(|ids| listed("waitlist", ids, MAX_WATCHED_ENTRIES));
    let ids = ids.transpose()?.unwrap_or_default().into_iter();
    let entry_ids = ids
        .map(str::parse::<WaitlistId>)
        .collect::<Result<BTreeSet<_>, _>>()
        .map_err(|_| {
            let detail = "must be ids of waitlist entries, separated by commas";
            Problem::invalid_query("waitlist", detail)
        })?;
    let mut watched = vec![];
    for entry_id in entry_ids {
        let entry = waitlist::find(app, origin, entry_id).await?;
        watched.push((entry_id, entry.row.drop_id));
    }
    Ok(WatchedEntries::new(watched))
}

/// Returns the orders that `ids` names, separated by commas, without duplicates:
/// [`MAX_WATCHED_ORDERS`] at most, all of which the caller may read.
async fn watched_orders(
    app: &App,
    (caller, visitor): &(Caller, Visitor),
    ids: &str,
) -> Result<WatchedOrders, Problem> {
    let ids = listed("orders", ids, MAX_WATCHED_ORDERS)?.into_iter();
    let order_ids = ids
        .map(str::parse::<OrderId>)
        .collect::<Result<BTreeSet<_>, _>>()
        .map_err(|_| {
            Problem::invalid_query("orders", "must be ids of orders, separated by commas")
        })?;
    let origin = caller.guesses_from(visitor.origin);
    for &order_id in &order_ids {
        let order = orders::find_anywhere(app, origin, order_id).await?;
        caller.must_own(order.buyer.as_ref().map(|buyer| &buyer.buyer_id))?;
    }
    let reader = Reader {
        is_admin: visitor.is_admin,
        is_buyer: caller.has_token(),
    };
    let registry = app.hub.watched_orders();
    Ok(WatchedOrders::new(registry, order_ids, reader))
}
