//! The application of a server, and its responses until the application exists: a server that
//! starts opens its database and reads the event log, which takes seconds per million events.
//!
//! Promise: `/health/live` responds from the moment the server listens, so that a supervisor does
//! not restart it; `/health/ready` has the progress; a stream ends at once and is opened again by
//! its client; every other request gets 503 with `Retry-After`. A connection that is accepted
//! during the start is served by the application later.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use domain::values::Position;
use projections::views::Views;
use serde_json::json;
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

    pub(crate) async fn respond(&self, request: Request<Body>) -> Response {
        let Some(application) = self.0.application.get() else {
            return self.starting(&request);
        };
        let Ok(response) = application.clone().oneshot(request).await;
        response
    }

    fn starting(&self, request: &Request<Body>) -> Response {
        let is_read = [Method::GET, Method::HEAD].contains(request.method());
        let mut response = match request.uri().path() {
            "/health/live" if is_read => Json(json!({ "status": "live" })).into_response(),
            _ if is_read && is_of_stream(request) => {
                let event_stream = HeaderValue::from_static(EVENT_STREAM);
                ([(header::CONTENT_TYPE, event_stream)], NO_EVENTS).into_response()
            }
            _ => self.problem().into_response(),
        };
        let no_store = HeaderValue::from_static("no-store");
        response
            .headers_mut()
            .insert(header::CACHE_CONTROL, no_store);
        response
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
