//! The live stream: server-sent events that carry state, not history.
//!
//! Promise: a watcher gets the present state of every drop it watches, then the newest state after each change; a slow one, or one
//! that was away, skips states, never the last. One serialisation per change, however many watch.
//! Limit: a drop is sent at most once per interval; what happened in between is in the log.
//!
//! ```text
//!  committed ──mark──▶ changed drops ──at once──▶ one tick ──broadcast──▶ rooms ──at most once per interval──▶ sockets
//!                                                     (behind: only the newest of each drop; far behind: the present state)
//! ```

mod framing;
mod hub;
mod present;
mod room;
mod watcher;

use std::collections::BTreeSet;
use std::io;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, Method, Version, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use domain::values::{DropId, Position};
use projections::views::Views;
use schemars::JsonSchema;
use serde::Deserialize;

use self::framing::Framing;
pub use self::hub::StreamHub;
pub(crate) use self::hub::Tick;
pub(crate) use self::room::Room;
use self::room::{Guest, Pipe};
use self::watcher::{Told, Watched, Watcher};
use crate::app::App;
use crate::connections::{Handover, Socket};
use crate::drops::quarantine;
use crate::extract::{Params, Query};
use crate::limiter::Origin;
use crate::problem::{Code, Problem};
use crate::waitlist::WatchedPlaces;

/// Where the stream is.
pub(crate) const PATH: &str = "/v1/stream";

/// How soon a client should reconnect, in milliseconds.
///
/// Without an empty line after it, as every heartbeat: the line is complete, and the next event's
/// block goes on behind it. An empty line would end a block without data, which the standard
/// ignores (WHATWG HTML, section 9.2.6) and httpx-sse 0.4.3 hands on as an empty event.
const RETRY: &[u8] = b"retry: 1000\n";

/// A hub for at most `most_watchers` of `views`, and its rooms: each is one task.
#[must_use]
pub(crate) fn open(views: &Views, most_watchers: usize, rooms: usize) -> (StreamHub, Vec<Room>) {
    let (hub, entrances) = StreamHub::with_doors(most_watchers, rooms.max(1));
    let room = |entrance| Room::new(&hub, views.clone(), entrance);
    let rooms = entrances.into_iter().map(room).collect();
    (hub, rooms)
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct WatchParams {
    /// At most 200 ids of drops, separated by commas. Default: every drop that has not ended.
    drops: Option<String>,
    /// With `drops`: also sends every drop that is scheduled from now on. With `Last-Event-ID`, it
    /// also sends the drops that were scheduled since then, the newest 200 of them.
    #[schemars(extend("default" = false))]
    new: Option<bool>,
    /// At most 20 ids of waitlist entries, separated by commas, whose changes are sent as well.
    waitlist: Option<String>,
    /// As `Last-Event-ID`, for clients that cannot send headers.
    last_event_id: Option<String>,
}

impl Query for WatchParams {}

/// `GET /v1/stream`
pub(crate) async fn watch(
    State(app): State<App>,
    origin: Origin,
    method: Method,
    version: Version,
    Extension(handover): Extension<Handover>,
    Params(params): Params<WatchParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let told = last_event(&headers, params.last_event_id.as_deref());
    let told = told.map(|position| Told::up_to(position, &app.views));
    let watched = watched(&app, params.drops.as_deref(), params.new.unwrap_or(false))?;
    let places = WatchedPlaces::named(&app, origin, params.waitlist.as_deref()).await?;
    let of_address = app.streams.of_client(handover.peer.ip(), &headers)?;
    let full = || {
        Problem::unavailable("Limit of concurrent stream clients reached (HOLDFAST_MAX_WATCHERS).")
    };
    let seat = app.hub.enter(of_address).ok_or_else(full)?;
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
    let mut watcher = Watcher::new(&hub, views, watched, places, framing, told, seat);
    // The rest is sent by the room. hyper frames the body for itself.
    let piece = watcher.next_piece(hub.present(), views, Framing::Plain);
    let first = [Bytes::from_static(RETRY), piece.unwrap_or_default()];
    let first = first.into_iter().filter(|piece| !piece.is_empty());
    let heir = move |socket| hub.seat(Guest::new(socket, watcher));
    Ok((headers, handover.after(first, heir)).into_response())
}

/// The position that was told last. A browser that comes back says it in the header, whatever its address says; what is no
/// position says nothing.
fn last_event(headers: &HeaderMap, in_query: Option<&str>) -> Option<Position> {
    let header = headers.get("last-event-id");
    let in_header = header.and_then(|id| id.to_str().ok());
    let position = |id: &str| id.trim().parse().ok().map(Position);
    in_header
        .and_then(position)
        .or_else(|| in_query.and_then(position))
}

impl Pipe for Socket {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.try_write(bytes)
    }

    fn is_gone(&self) -> bool {
        Self::is_gone(self)
    }

    fn discard(&self) {
        Self::discard(self);
    }
}

/// The most drops that one stream names.
const MOST_DROPS: usize = 200;

/// Refuses more than `most` ids of a query parameter.
pub(crate) fn must_be_few(name: &str, ids: usize, most: usize) -> Result<(), Problem> {
    if ids <= most {
        return Ok(());
    }
    let detail = format!("must name at most {most} different ids, and names {ids}");
    Err(Problem::invalid_query(name, detail).with("most", most))
}

/// The drops that were named, each once; none: all that are not over, those to come included.
fn watched(app: &App, drops: Option<&str>, and_new: bool) -> Result<Watched, Problem> {
    let Some(drops) = drops.filter(|drops| !drops.is_empty()) else {
        return Ok(Watched::All);
    };
    let not_found =
        |id: &str| Problem::new(Code::DropNotFound, format!("There is no drop {id:?}."));
    let read = |id: &str| id.trim().parse().map_err(|_| not_found(id));
    let watched = drops
        .split(',')
        .map(read)
        .collect::<Result<BTreeSet<DropId>, _>>()?;
    must_be_few("drops", watched.len(), MOST_DROPS)?;
    let missing = watched.iter().find(|&&id| app.views.drop(id).is_none());
    if let Some(&id) = missing {
        let refused = quarantine(app.views.quarantine_of(id));
        return Err(refused.unwrap_or_else(|| not_found(&id.to_string())));
    }
    let watched = watched.into_iter().collect();
    Ok(if and_new {
        Watched::NamedAndNew(watched)
    } else {
        Watched::Named(watched)
    })
}

#[cfg(test)]
mod tests;
