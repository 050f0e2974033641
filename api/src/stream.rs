//! The live stream: server-sent events that carry state, not history.
//!
//! Promise: a watcher gets the present state of every drop it watches, then the newest state after each change; a slow one
//! skips states, never the last. One serialisation per change, however many watch.
//! Limit: a drop is sent at most once per interval; what happened in between is in the log.
//!
//! ```text
//!  committed ──mark──▶ changed drops ──once per interval──▶ one tick ──broadcast──▶ watchers
//!                                                     (behind: only the newest of each drop; far behind: the present state)
//! ```

mod hub;

use std::sync::Arc;
use std::time::Duration;

use async_broadcast::{Receiver, RecvError, TryRecvError};
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use domain::values::{DropId, Position};
use futures::stream::{self, Stream};
use projections::views::DropView;
use serde::Deserialize;
use tokio::time::{Instant, Interval, interval_at};

pub use self::hub::StreamHub;
use self::hub::{Seat, Tick, newest, write_frame};
use crate::app::App;
use crate::extract::Params;
use crate::problem::{Code, Problem};
use crate::render::DropStatus;

/// The longest silence on a stream.
const HEARTBEAT: Duration = Duration::from_secs(10);

#[derive(Debug, Deserialize)]
pub(crate) struct WatchParams {
    drops: Option<String>,
    /// Accepted, and not needed: the present state is always sent, so nothing newer can be missed.
    #[serde(rename = "last_event_id")]
    _last_event_id: Option<String>,
}

/// `GET /v1/stream`
pub(crate) async fn watch(
    State(app): State<App>,
    Params(params): Params<WatchParams>,
) -> Result<Response, Problem> {
    let watched = watched(&app, params.drops.as_deref())?;
    let full = || Problem::unavailable("As many watch as this server allows.");
    let seat = app.hub.enter().ok_or_else(full)?;
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(events(app, watched, seat))).into_response())
}

/// The drops that were named, each once; none: all that are not over, those to come included.
fn watched(app: &App, drops: Option<&str>) -> Result<Option<Box<[DropId]>>, Problem> {
    let Some(drops) = drops.filter(|drops| !drops.is_empty()) else {
        return Ok(None);
    };
    let find = |id: &str| {
        let not_found = || Problem::new(Code::DropNotFound, format!("There is no drop {id:?}."));
        let drop_id: DropId = id.trim().parse().map_err(|_| not_found())?;
        app.views
            .drop(drop_id)
            .map(|_| drop_id)
            .ok_or_else(not_found)
    };
    let mut watched = drops.split(',').map(find).collect::<Result<Vec<_>, _>>()?;
    watched.sort_unstable();
    watched.dedup();
    Ok(Some(watched.into_boxed_slice()))
}

/// One connection. Kept small: a server has thousands.
struct Watcher {
    app: App,
    watched: Option<Box<[DropId]>>,
    receiver: Receiver<Arc<Tick>>,
    /// The position that the state sent last was read at. A tick from before it is old news.
    since: Position,
    /// What is sent before anything that changes.
    first: Option<Bytes>,
    heartbeat: Interval,
    _seat: Seat,
}

fn events(
    app: App,
    watched: Option<Box<[DropId]>>,
    seat: Seat,
) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> {
    // Subscribed before the state is read: a change in between comes twice rather than never.
    let receiver = app.hub.listen();
    let mut watcher = Watcher {
        app,
        watched,
        receiver,
        since: Position::default(),
        first: None,
        heartbeat: interval_at(Instant::now() + HEARTBEAT, HEARTBEAT),
        _seat: seat,
    };
    let mut first = BytesMut::from(&b"retry: 1000\n\n"[..]);
    watcher.write_present_state(&mut first);
    watcher.first = Some(first.freeze());
    stream::unfold(watcher, |mut watcher| async move {
        let bytes = watcher.next().await?;
        Some((Ok(bytes), watcher))
    })
}

impl Watcher {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            tokio::select! {
                () = self.app.stop.cancelled() => return None,
                received = self.receiver.recv() => {
                    let news = match received {
                        Ok(tick) => self.news(tick),
                        Err(RecvError::Overflowed(_)) => self.skip_to_now(),
                        Err(RecvError::Closed) => return None,
                    };
                    if !news.is_empty() {
                        return Some(news);
                    }
                }
                _ = self.heartbeat.tick() => return Some(Bytes::from_static(b": still here\n\n")),
            }
        }
    }

    /// What a tick and those that wait behind it tell this watcher, each drop once.
    fn news(&mut self, tick: Arc<Tick>) -> Bytes {
        let mut ticks = vec![tick];
        loop {
            match self.receiver.try_recv() {
                Ok(tick) => ticks.push(tick),
                Err(TryRecvError::Overflowed(_)) => return self.skip_to_now(),
                // A closed room is met again at the next turn.
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        ticks.retain(|tick| tick.position >= self.since);
        newest(&ticks, self.watched.as_deref())
    }

    /// Too slow even for that: forgets what waits, and goes on from the present state.
    fn skip_to_now(&mut self) -> Bytes {
        self.receiver = self.app.hub.listen();
        let mut present = BytesMut::new();
        self.write_present_state(&mut present);
        present.freeze()
    }

    fn write_present_state(&mut self, to: &mut BytesMut) {
        let now = self.app.now();
        let position = self.app.views.position();
        self.since = position;
        let drops = match &self.watched {
            Some(watched) => watched
                .iter()
                .filter_map(|&id| self.app.views.drop(id))
                .collect(),
            None => self.app.views.drops(),
        };
        let is_wanted =
            |drop: &&DropView| self.watched.is_some() || !DropStatus::at(&drop.row, now).is_over();
        for drop in drops.iter().filter(is_wanted) {
            write_frame(to, drop, position, now);
        }
    }
}
