//! The live stream: server-sent events that carry state, not history.
//!
//! Promise: a watcher gets the present state of every drop it watches, then the newest state after each change; a slow one
//! skips states, never the last. One serialisation per change, however many watch.
//! Limit: a drop is sent at most once per interval; what happened in between is in the log.
//!
//! ```text
//!  committed ──mark──▶ changed drops ──once per interval──▶ one frame each ──broadcast──▶ watchers
//!                                                             (overflow: send the present state)
//! ```

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_broadcast::{InactiveReceiver, Receiver, RecvError, Sender};
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use domain::values::{DropId, Position, Timestamp};
use futures::stream::{self, Stream};
use infrastructure::engine::{Clock, Observer, SystemClock};
use infrastructure::feed::Committed;
use projections::views::{DropView, Views};
use serde::Deserialize;
use tokio::sync::Notify;
use tokio::time::{Instant, interval_at, sleep};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::extract::Params;
use crate::problem::{Code, Problem};
use crate::render::{DropBody, DropStatus};
use crate::waitlist::WatchedPlaces;

/// Frames that a watcher may lag behind before it is given the present state instead.
const BACKLOG: usize = 256;
/// The longest silence on a stream.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// The longest time between two looks at the clock for drops that start or end.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(1);

/// One drop's state, ready to be written to any number of watchers.
#[derive(Debug)]
struct Frame {
    drop_id: DropId,
    /// Up to where the views had followed the log when this was written, or a little before.
    position: Position,
    bytes: Bytes,
}

/// Tells watchers what changed. Clones are the same hub.
#[derive(Debug, Clone)]
pub struct StreamHub(Arc<Hub>);

#[derive(Debug)]
struct Hub {
    sender: Sender<Arc<Frame>>,
    /// Keeps the room open while it is empty.
    _room: InactiveReceiver<Arc<Frame>>,
    changed: Mutex<BTreeSet<DropId>>,
    wake: Notify,
    watchers: AtomicUsize,
    most_watchers: usize,
}

impl StreamHub {
    /// A hub for at most `most_watchers`.
    #[must_use]
    pub fn new(most_watchers: usize) -> Self {
        let (mut sender, receiver) = async_broadcast::broadcast(BACKLOG);
        // A slow watcher loses frames; it never holds up the rest.
        sender.set_overflow(true);
        sender.set_await_active(false);
        Self(Arc::new(Hub {
            sender,
            _room: receiver.deactivate(),
            changed: Mutex::default(),
            wake: Notify::new(),
            watchers: AtomicUsize::new(0),
            most_watchers,
        }))
    }

    /// How many watch now.
    #[must_use]
    pub fn watchers(&self) -> usize {
        self.0.watchers.load(Ordering::Relaxed)
    }

    /// Sends what changed, at most once per `interval`, until `stop`.
    pub async fn publish(self, views: Views, interval: Duration, stop: CancellationToken) {
        let mut last_look = SystemClock.now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.0.wake.notified() => {}
                () = sleep(LOOK_AT_CLOCK) => {}
            }
            let now = SystemClock.now();
            self.mark_transitions(&views, last_look, now);
            last_look = now;
            for drop_id in std::mem::take(&mut *self.changed()) {
                // Before the state, so that the state is at least as new as the id says.
                let position = views.position();
                if let Some(drop) = views.drop(drop_id) {
                    let frame = Frame {
                        drop_id,
                        position,
                        bytes: frame(&drop, position, now),
                    };
                    // An error means that nobody watches.
                    let _nobody = self.0.sender.try_broadcast(Arc::new(frame));
                }
            }
            sleep(interval).await;
        }
    }

    /// A drop that starts or ends changes without an event.
    fn mark_transitions(&self, views: &Views, last_look: Timestamp, now: Timestamp) {
        let turned =
            views.drops_where(|row| DropStatus::at(row, last_look) != DropStatus::at(row, now));
        self.changed().extend(turned);
    }

    fn changed(&self) -> MutexGuard<'_, BTreeSet<DropId>> {
        self.0
            .changed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more watcher, given back when dropped.
    fn enter(&self) -> Option<Seat> {
        let hub = Arc::clone(&self.0);
        let taken = hub
            .watchers
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |watchers| {
                (watchers < hub.most_watchers).then_some(watchers + 1)
            });
        taken.ok().map(|_| Seat(hub))
    }
}

impl Observer for StreamHub {
    fn committed(&mut self, committed: &Arc<Committed>) {
        if committed.events.is_empty() {
            return;
        }
        self.changed()
            .extend(committed.events.iter().map(|recorded| recorded.drop_id));
        self.0.wake.notify_one();
    }
}

struct Seat(Arc<Hub>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

fn frame(drop: &DropView, position: Position, now: Timestamp) -> Bytes {
    let data = serde_json::to_string(&DropBody::new(drop, now)).unwrap_or_default();
    Bytes::from(format!("event: drop\nid: {position}\ndata: {data}\n\n"))
}

#[derive(Debug, Deserialize)]
pub(crate) struct WatchParams {
    drops: Option<String>,
    /// Places in line that the watcher waits in.
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
    Ok((
        headers,
        Body::from_stream(events(app, watched, places, seat)),
    )
        .into_response())
}

/// The drops that were named; none: all that are not over, those to come included.
fn watched(app: &App, drops: Option<&str>) -> Result<Option<HashSet<DropId>>, Problem> {
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
    drops
        .split(',')
        .map(find)
        .collect::<Result<_, _>>()
        .map(Some)
}

struct Watcher {
    app: App,
    watched: Option<HashSet<DropId>>,
    places: WatchedPlaces,
    receiver: Receiver<Arc<Frame>>,
    /// The position that the state sent last was read at. A frame from before it is old news.
    since: Position,
    waiting: VecDeque<Bytes>,
    heartbeat: tokio::time::Interval,
    _seat: Seat,
}

fn events(
    app: App,
    watched: Option<HashSet<DropId>>,
    places: WatchedPlaces,
    seat: Seat,
) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> {
    // Subscribed before the state is read: a change in between comes twice rather than never.
    let receiver = app.hub.0.sender.new_receiver();
    let heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    let mut watcher = Watcher {
        app,
        watched,
        places,
        receiver,
        since: Position::default(),
        waiting: VecDeque::new(),
        heartbeat,
        _seat: seat,
    };
    watcher
        .waiting
        .push_back(Bytes::from_static(b"retry: 1000\n\n"));
    watcher.send_present_state();
    stream::unfold(watcher, |mut watcher| async move {
        let bytes = watcher.next().await?;
        Some((Ok(bytes), watcher))
    })
}

impl Watcher {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.waiting.pop_front() {
                return Some(bytes);
            }
            tokio::select! {
                () = self.app.stop.cancelled() => return None,
                received = self.receiver.recv() => match received {
                    Ok(frame) => self.take(&frame),
                    Err(RecvError::Overflowed(_)) => self.skip_to_now(),
                    Err(RecvError::Closed) => return None,
                },
                _ = self.heartbeat.tick() => return Some(Bytes::from_static(b": still here\n\n")),
            }
        }
    }

    fn take(&mut self, frame: &Frame) {
        if self.wants(frame) {
            self.waiting.push_back(frame.bytes.clone());
        }
        if self.places.are_about(frame.drop_id) {
            self.waiting.extend(self.places.news(&self.app));
        }
    }

    fn wants(&self, frame: &Frame) -> bool {
        let is_watched = |watched: &HashSet<DropId>| watched.contains(&frame.drop_id);
        frame.position >= self.since && self.watched.as_ref().is_none_or(is_watched)
    }

    /// Too slow for every change: forgets what waits, and goes on from the present state.
    fn skip_to_now(&mut self) {
        self.receiver = self.app.hub.0.sender.new_receiver();
        self.send_present_state();
    }

    fn send_present_state(&mut self) {
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
        let frames: Vec<Bytes> = drops
            .iter()
            .filter(is_wanted)
            .map(|drop| frame(drop, position, now))
            .collect();
        self.waiting.extend(frames);
        self.waiting.extend(self.places.news(&self.app));
    }
}
