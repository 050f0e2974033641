//! Checks before every handler, and headers after it: one service of our own, because two
//! `axum::middleware::from_fn` cost a hold several allocations.
//!
//! - A request that repeats a header with one value is rejected.
//! - A read with an entity tag gets the server's time, on a 304 too, if its body has no
//!   `server_time`.
//! - A request with a `traceparent` is handled as a part of its trace, and the response names it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, Method, header};
use axum::response::{IntoResponse, Response};
use pin_project_lite::pin_project;
use telemetry::Handled;
use tower::{Layer, Service};
use trace_context::{TRACEPARENT, TRACESTATE, Trace};

use crate::app::App;
use crate::extract::repeated_header;
use crate::render::{SERVER_TIME, insert};

/// The layer. Clones share the app.
#[derive(Clone)]
pub(crate) struct Edge(Arc<App>);

impl Edge {
    pub(crate) fn of(app: App) -> Self {
        Self(Arc::new(app))
    }
}

impl<S> Layer<S> for Edge {
    type Service = Edged<S>;

    fn layer(&self, inner: S) -> Edged<S> {
        let app = Arc::clone(&self.0);
        Edged { inner, app }
    }
}

#[derive(Clone)]
pub(crate) struct Edged<S> {
    inner: S,
    app: Arc<App>,
}

impl<S: Service<Request, Response = Response>> Service<Request> for Edged<S> {
    type Response = Response;
    type Error = S::Error;
    type Future = EdgeFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if let Some(problem) = repeated_header(request.headers()) {
            let response = Some(problem.into_response());
            return EdgeFuture::Rejected { response };
        }
        let named = request.headers().contains_key(TRACEPARENT);
        let trace = trace_of(request.headers(), named);
        let handled = trace.as_ref().and_then(|trace| {
            let route = request.extensions().get::<MatchedPath>();
            let method = known_method(request.method());
            Handled::begin(trace, method, route.map(MatchedPath::as_str))
        });
        let reader = request.method().is_safe().then(|| Arc::clone(&self.app));
        EdgeFuture::Handled {
            future: self.inner.call(request),
            reader,
            trace,
            is_named: named,
            handled,
        }
    }
}

pin_project! {
    #[project = Projected]
    pub(crate) enum EdgeFuture<F> {
        Rejected {
            response: Option<Response>,
        },
        Handled {
            #[pin]
            future: F,
            // Present for a read.
            reader: Option<Arc<App>>,
            // Present if the request names one, or if it is recorded.
            trace: Option<Arc<Trace>>,
            is_named: bool,
            // Present if it is recorded.
            handled: Option<Handled>,
        },
    }
}

/// Returns the trace of a request that has a `traceparent`, valid or not. Other requests are in no
/// trace, which costs them nothing, unless spans are recorded.
fn trace_of(headers: &HeaderMap, is_named: bool) -> Option<Arc<Trace>> {
    if !is_named && !telemetry::is_on() {
        return None;
    }
    // A value that is no text is not valid.
    let texts = |name| {
        let values = headers.get_all(name).iter();
        values.map(|value| value.to_str().unwrap_or_default())
    };
    let trace = Trace::of(texts(TRACEPARENT), texts(TRACESTATE));
    Some(Arc::new(telemetry::observed(trace)))
}

/// Returns the method, as the semantic conventions have it: a client can choose any other one.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "_OTHER",
    }
}

impl<F: Future<Output = Result<Response, E>>, E> Future for EdgeFuture<F> {
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            // A future is not polled after it was ready.
            Projected::Rejected { response } => {
                Poll::Ready(Ok(response.take().unwrap_or_default()))
            }
            Projected::Handled {
                future,
                reader,
                trace,
                is_named,
                handled,
            } => {
                let polled = match &*trace {
                    Some(trace) => trace_context::sync_scope(trace, || future.poll(context)),
                    None => future.poll(context),
                };
                let mut response = match ready!(polled) {
                    Ok(response) => response,
                    Err(error) => return Poll::Ready(Err(error)),
                };
                if let Some(handled) = handled.take() {
                    handled.ended(response.status().as_u16());
                }
                if let Some(trace) = trace.as_ref().filter(|_| *is_named) {
                    let name = HeaderName::from_static(TRACEPARENT);
                    insert(&mut response, name, &trace.parent());
                }
                let headers = response.headers();
                let is_tagged = headers.contains_key(header::ETAG);
                if let Some(app) = reader.as_ref().filter(|_| is_tagged)
                    && !headers.contains_key(SERVER_TIME)
                {
                    insert(&mut response, SERVER_TIME, &app.now().to_string());
                }
                Poll::Ready(Ok(response))
            }
        }
    }
}
