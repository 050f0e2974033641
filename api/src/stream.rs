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

use std::convert::Infallible;
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
use infrastructure::engine::{Clock, SystemClock};
use projections::views::{DropView, Views};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::{Instant, Interval, interval_at};
use tokio_util::sync::CancellationToken;

pub use self::hub::StreamHub;
pub(crate) use self::hub::Tick;
use self::hub::{Seat, newest, write_frame};
use crate::app::App;
use crate::extract::Params;
use crate::problem::{Code, Problem};
use crate::render::DropStatus;
use crate::waitlist::WatchedPlaces;

/// The longest silence on a stream.
const HEARTBEAT: Duration = Duration::from_secs(10);

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct WatchParams {
    /// Ids of drops, separated by commas; every drop that is not over unless said.
    drops: Option<String>,
    /// Ids of places in line, separated by commas, to be told of as well.
    waitlist: Option<String>,
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
    let places = WatchedPlaces::named(&app, params.waitlist.as_deref()).await?;
    let full = || Problem::unavailable("As many watch as this server allows.");
    let seat = app.hub.enter().ok_or_else(full)?;
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    let (hub, views, stop) = (app.hub.clone(), app.views.clone(), app.stop.clone());
    let watcher = Watcher {
        places,
        ..Watcher::new(hub, views, stop, watched, seat)
    };
    Ok((headers, Body::from_stream(events(watcher))).into_response())
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
    hub: StreamHub,
    views: Views,
    stop: CancellationToken,
    watched: Option<Box<[DropId]>>,
    places: WatchedPlaces,
    receiver: Receiver<Arc<Tick>>,
    /// The position that the state sent last was read at. A tick from before it is old news.
    since: Position,
    /// What is sent before anything that changes.
    first: Option<Bytes>,
    heartbeat: Interval,
    _seat: Seat,
}

fn events(mut watcher: Watcher) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let mut first = BytesMut::from(&b"retry: 1000\n\n"[..]);
    watcher.write_present_state(&mut first);
    watcher.first = Some(first.freeze());
    stream::unfold(watcher, |mut watcher| async move {
        let bytes = watcher.next().await?;
        Some((Ok(bytes), watcher))
    })
}

impl Watcher {
    fn new(
        hub: StreamHub,
        views: Views,
        stop: CancellationToken,
        watched: Option<Box<[DropId]>>,
        seat: Seat,
    ) -> Self {
        Self {
            // Subscribed before the state is read: a change in between comes twice rather than never.
            receiver: hub.listen(),
            hub,
            views,
            stop,
            watched,
            places: WatchedPlaces::default(),
            since: Position::default(),
            first: None,
            heartbeat: interval_at(Instant::now() + HEARTBEAT, HEARTBEAT),
            _seat: seat,
        }
    }

    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return None,
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
        let news = newest(&ticks, self.watched.as_deref());
        if !ticks.iter().any(|tick| self.places.are_in(tick)) {
            return news;
        }
        let mut joined = BytesMut::from(news);
        self.places.write_news(&self.views, &mut joined);
        joined.freeze()
    }

    /// Too slow even for that: forgets what waits, and goes on from the present state.
    fn skip_to_now(&mut self) -> Bytes {
        self.receiver = self.hub.listen();
        let mut present = BytesMut::new();
        self.write_present_state(&mut present);
        present.freeze()
    }

    fn write_present_state(&mut self, to: &mut BytesMut) {
        let now = SystemClock.now();
        let position = self.views.position();
        self.since = position;
        let drops = match &self.watched {
            Some(watched) => watched
                .iter()
                .filter_map(|&id| self.views.drop(id))
                .collect(),
            None => self.views.drops(),
        };
        let is_wanted =
            |drop: &&DropView| self.watched.is_some() || !DropStatus::at(&drop.row, now).is_over();
        for drop in drops.iter().filter(is_wanted) {
            write_frame(to, drop, position, now);
        }
        self.places.write_news(&self.views, to);
    }
}

#[cfg(test)]
mod tests {
    use domain::DropEvent;
    use domain::testing::{drop_id, drop_opened, hold_placed, second};
    use domain::values::Sequence;
    use futures::FutureExt;
    use infrastructure::codec::RecordedEvent;
    use infrastructure::engine::Observer;
    use infrastructure::feed::Committed;
    use infrastructure::log::Head;

    use super::*;

    /// A shop with one drop and one watcher, without a server around them.
    struct World {
        hub: StreamHub,
        views: Views,
        head: u64,
    }

    impl World {
        fn new() -> Self {
            let mut world = Self {
                hub: StreamHub::new(10),
                views: Views::default(),
                head: 0,
            };
            world.record(drop_opened(1000));
            world
        }

        /// Something happens, and is told at once.
        fn record(&mut self, event: DropEvent) {
            self.head += 1;
            let position = Position(self.head);
            let recorded = RecordedEvent {
                position,
                recorded_at: second(0),
                drop_id: drop_id("d"),
                sequence: Sequence(self.head),
                event,
                private: None,
            };
            let head = Head {
                position,
                ..Head::default()
            };
            let committed = Arc::new(Committed {
                events: vec![recorded],
                head,
            });
            self.views.committed(&committed);
            self.hub.committed(&committed);
            self.hub.tell(&self.views, second(0));
        }

        fn hold(&mut self, number: u64) {
            self.record(hold_placed(&format!("h{number}"), 1));
        }

        fn watch(&self) -> impl Stream<Item = Result<Bytes, Infallible>> + use<> {
            let seat = self.hub.enter().unwrap();
            let stop = CancellationToken::new();
            events(Watcher::new(
                self.hub.clone(),
                self.views.clone(),
                stop,
                None,
                seat,
            ))
        }
    }

    /// What the watcher would be sent now: the ids of its frames, and the units held in the last.
    fn sent(
        stream: &mut (impl Stream<Item = Result<Bytes, Infallible>> + Unpin),
    ) -> Vec<(u64, u64)> {
        use futures::StreamExt;
        let mut told = vec![];
        while let Some(Some(Ok(bytes))) = stream.next().now_or_never() {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            for frame in text.split("\n\n").filter(|frame| frame.contains("data: ")) {
                let (_, rest) = frame.split_once("id: ").unwrap();
                let (id, data) = rest.split_once("\ndata: ").unwrap();
                let data: serde_json::Value = serde_json::from_str(data).unwrap();
                told.push((id.parse().unwrap(), data["stock"]["held"].as_u64().unwrap()));
            }
        }
        told
    }

    #[tokio::test]
    async fn a_watcher_who_reads_is_told_every_tick_and_one_who_pauses_the_newest() {
        let mut world = World::new();
        let mut watcher = Box::pin(world.watch());
        assert_eq!(sent(&mut watcher), [(1, 0)]);
        world.hold(1);
        assert_eq!(sent(&mut watcher), [(2, 1)]);
        for number in 2..=5 {
            world.hold(number);
        }
        assert_eq!(sent(&mut watcher), [(6, 5)]);
    }

    #[tokio::test]
    async fn a_watcher_who_sleeps_through_more_than_is_kept_goes_on_from_the_present_state() {
        for missed in [hub::BACKLOG, hub::BACKLOG + 1, 10 * hub::BACKLOG] {
            let mut world = World::new();
            let mut watcher = Box::pin(world.watch());
            assert_eq!(sent(&mut watcher), [(1, 0)]);
            let missed = missed as u64;
            for number in 1..=missed {
                world.hold(number);
            }
            assert_eq!(sent(&mut watcher), [(missed + 1, missed)]);
            world.hold(missed + 1);
            assert_eq!(
                sent(&mut watcher),
                [(missed + 2, missed + 1)],
                "and follows again"
            );
        }
    }

    #[tokio::test]
    async fn what_was_told_before_somebody_came_is_not_told_to_them() {
        let mut world = World::new();
        let mut early = Box::pin(world.watch());
        world.hold(1);
        let mut late = Box::pin(world.watch());
        assert_eq!(sent(&mut late), [(2, 1)]);
        assert_eq!(sent(&mut early), [(1, 0), (2, 1)]);
    }
}
