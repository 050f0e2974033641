//! The application of a server, and its responses before the application exists and while it ends.
//!
//! Promise: `/health/live` responds from the moment the server listens, so that a supervisor does
//! not restart it. While the server starts (it opens its database and reads the event log, which
//! takes seconds per million events) `/health/ready` has the progress, a stream ends at once and is
//! opened again by its client, and every other request gets 503 with `Retry-After`. A connection
//! that is accepted during the start is served by the application later.
//!
//! While the server stops, `/health/ready` is 503 first, and everything else is served, so that a
//! proxy sends its requests elsewhere before one of them fails. Then new commands get 503 with
//! `Retry-After`, and those in flight are completed. Every response closes its connection from the
//! first moment on: a proxy must not reuse one that is about to be closed.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use domain::values::Position;
use projections::views::Views;
use serde_json::json;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::problem::Problem;

/// A stream without an event: its client reconnects, with its `Last-Event-ID`. After a 503, an
/// `EventSource` never reconnects (HTML standard, "fail the connection"). Without `retry:`, which
/// httpx-sse 0.4 would report as an empty event.
const NO_EVENTS: &str = ": the server is starting\n\n";

/// Clones refer to the same application.
#[derive(Debug, Clone, Default)]
pub struct Site(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    application: OnceLock<Router>,
    step: Mutex<Step>,
    ending: AtomicU8,
    /// The commands in flight.
    commands: TaskTracker,
}

/// How far the end of a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Ending {
    /// It serves everything, but is not ready.
    Unready = 1,
    /// It refuses new commands.
    Refusing,
}

impl Ending {
    fn problem(self) -> Problem {
        let detail = match self {
            Self::Unready => {
                "The server is stopping: it still serves, but send requests elsewhere."
            }
            Self::Refusing => {
                "The server is stopping. This request was not recorded; an earlier attempt may \
                 have been. Send the same request again, to another server or in a moment."
            }
        };
        Problem::unavailable(detail)
    }
}

/// A step of a start.
#[derive(Debug, Clone, Default)]
pub enum Step {
    /// It connects to the database, or creates it, and migrates it.
    #[default]
    Database,
    /// It reads the event log up to `head`. The position of `views` is the progress.
    Log { views: Views, head: Position },
}

impl Site {
    /// Records the step that begins.
    pub fn begin(&self, step: Step) {
        *self.step() = step;
    }

    /// Serves `application` from now on.
    pub fn open(&self, application: Router) {
        let _already_open = self.0.application.set(application);
    }

    fn step(&self) -> std::sync::MutexGuard<'_, Step> {
        self.0.step.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the server unready, and closes each connection after its response.
    pub fn become_unready(&self) {
        self.0
            .ending
            .fetch_max(Ending::Unready as u8, Ordering::Relaxed);
    }

    /// Refuses new commands, and returns when those in flight are completed.
    pub async fn refuse_commands(&self) {
        self.0
            .ending
            .fetch_max(Ending::Refusing as u8, Ordering::Relaxed);
        self.0.commands.close();
        self.0.commands.wait().await;
    }

    /// Returns true if each connection is to be closed after its response.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending().is_some()
    }

    fn ending(&self) -> Option<Ending> {
        match self.0.ending.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(Ending::Unready),
            _ => Some(Ending::Refusing),
        }
    }

    pub(crate) async fn respond(&self, request: Request<Body>) -> Response {
        let Some(application) = self.0.application.get() else {
            return self.starting(&request);
        };
        let is_command = !request.method().is_safe();
        if let Some(ending) = self.ending()
            && (is_command && ending == Ending::Refusing || is_readiness(&request))
        {
            return uncached(ending.problem().into_response());
        }
        let _in_flight = is_command.then(|| self.0.commands.token());
        let Ok(response) = application.clone().oneshot(request).await;
        response
    }

    fn starting(&self, request: &Request<Body>) -> Response {
        let is_read = [Method::GET, Method::HEAD].contains(request.method());
        uncached(match request.uri().path() {
            "/health/live" if is_read => Json(json!({ "status": "live" })).into_response(),
            _ if is_read && is_of_stream(request) => {
                let event_stream = HeaderValue::from_static(EVENT_STREAM);
                ([(header::CONTENT_TYPE, event_stream)], NO_EVENTS).into_response()
            }
            _ => self.problem().into_response(),
        })
    }

    fn problem(&self) -> Problem {
        match &*self.step() {
            Step::Database => {
                Problem::unavailable("The server is starting: it opens its database. Retry.")
                    .with("step", "database")
            }
            Step::Log { views, head } => {
                let position = views.position();
                Problem::unavailable(format!(
                    "The server is starting: it has read the event log up to position {position} \
                     of {head}. Retry."
                ))
                .with("step", "log")
                .with("position", position.0)
                .with("head", head.0)
            }
        }
    }
}

const EVENT_STREAM: &str = "text/event-stream";

/// Every client of server-sent events accepts exactly this type.
fn is_of_stream(request: &Request<Body>) -> bool {
    let accepted = request.headers().get(header::ACCEPT);
    accepted.is_some_and(|accepted| accepted == EVENT_STREAM)
}

fn is_readiness(request: &Request<Body>) -> bool {
    request.method().is_safe() && request.uri().path() == "/health/ready"
}

fn uncached(mut response: Response) -> Response {
    let no_store = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_store);
    response
}
