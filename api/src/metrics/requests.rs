//! Counts requests by route, method and status class, and measures the time until the response
//! starts.
//!
//! The series of a route are found by its template in an immutable table, and created on first use.
//! After that a request costs one lookup, two clock reads and a few atomic additions.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::http::{Method, Response, StatusCode};
use hashbrown::HashMap;
use pin_project_lite::pin_project;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry,
};
use tower::{Layer, Service};

use super::registered;

/// Buckets in seconds, from a read from memory to the engine's timeout.
const DURATIONS: [f64; 20] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002, 0.002_5, 0.003, 0.004, 0.005, 0.006, 0.007_5, 0.01,
    0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 5.0,
];
/// Any other method is counted as `other`, because a client can choose any name.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PATCH", "DELETE", "PUT", "other"];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
/// The label of requests that no route matches.
const UNMATCHED: &str = "none";

/// The metric families of requests.
#[derive(Debug)]
pub(crate) struct Requests {
    responses: IntCounterVec,
    duration: HistogramVec,
}

impl Requests {
    pub(super) fn new(registry: &Registry) -> Self {
        let responses = Opts::new(
            "holdfast_http_requests_total",
            "Requests with a response, by route, method and status class.",
        );
        let duration = HistogramOpts::new(
            "holdfast_http_request_duration_seconds",
            "Time from a request's head until its response starts, by route and method.",
        );
        let labels = ["route", "method"];
        Self {
            responses: registered(
                registry,
                IntCounterVec::new(responses, &["route", "method", "status"]),
            ),
            duration: registered(
                registry,
                HistogramVec::new(duration.buckets(DURATIONS.into()), &labels),
            ),
        }
    }
}

/// The series of one route and method, created on first use.
#[derive(Debug, Default)]
struct Series {
    duration: OnceLock<Histogram>,
    responses: [OnceLock<IntCounter>; CLASSES.len()],
}

#[derive(Debug)]
struct Table {
    requests: Arc<Requests>,
    routes: Vec<(&'static str, [Series; METHODS.len()])>,
    /// Indices into `routes` by path. The first is [`UNMATCHED`].
    indices: HashMap<&'static str, usize>,
}

impl Table {
    fn index(&self, request: &Request) -> usize {
        let matched = request.extensions().get::<MatchedPath>();
        matched
            .and_then(|path| self.indices.get(path.as_str()))
            .copied()
            .unwrap_or_default()
    }

    fn count(&self, key: SeriesKey, status: StatusCode, elapsed: Duration) {
        let (Some((route, methods)), Some(class)) = (self.routes.get(key.route), class(status))
        else {
            return;
        };
        let (name, series) = (METHODS[key.method], &methods[key.method]);
        let counter = || {
            self.requests
                .responses
                .with_label_values(&[route, name, CLASSES[class]])
        };
        series.responses[class].get_or_init(counter).inc();
        let histogram = || self.requests.duration.with_label_values(&[route, name]);
        series
            .duration
            .get_or_init(histogram)
            .observe(elapsed.as_secs_f64());
    }
}

fn class(status: StatusCode) -> Option<usize> {
    let class = usize::from(status.as_u16() / 100).checked_sub(1)?;
    (class < CLASSES.len()).then_some(class)
}

fn method(method: &Method) -> usize {
    match *method {
        Method::GET => 0,
        Method::HEAD => 1,
        Method::POST => 2,
        Method::PATCH => 3,
        Method::DELETE => 4,
        Method::PUT => 5,
        _ => 6,
    }
}

/// Indices of a request's series in the table.
#[derive(Debug, Clone, Copy)]
struct SeriesKey {
    route: usize,
    method: usize,
}

/// Counts requests. A layer of a router, so that the matched route is known.
#[derive(Debug, Clone)]
pub(crate) struct Measure(&'static Table);

impl Measure {
    pub(super) fn new(requests: Arc<Requests>, paths: &[&'static str]) -> Self {
        let routes: Vec<_> = std::iter::once(&UNMATCHED)
            .chain(paths)
            .map(|&path| (path, Default::default()))
            .collect();
        let indices = routes
            .iter()
            .enumerate()
            .map(|(index, (path, _))| (*path, index))
            .collect();
        // Leaked on purpose: a router lives as long as the program, and reference counting would
        // cost each request as much as the metrics themselves.
        Self(Box::leak(Box::new(Table {
            requests,
            routes,
            indices,
        })))
    }
}

impl<S> Layer<S> for Measure {
    type Service = Measured<S>;

    fn layer(&self, inner: S) -> Measured<S> {
        let table = self.0;
        Measured { inner, table }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Measured<S> {
    inner: S,
    table: &'static Table,
}

impl<S: Service<Request, Response = Response<B>>, B> Service<Request> for Measured<S> {
    type Response = Response<B>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let key = SeriesKey {
            route: self.table.index(&request),
            method: method(request.method()),
        };
        ResponseFuture {
            since: Instant::now(),
            inner: self.inner.call(request),
            table: self.table,
            key,
        }
    }
}

pin_project! {
    /// The future of a [`Measured`] service.
    pub(crate) struct ResponseFuture<F> {
        #[pin]
        inner: F,
        table: &'static Table,
        key: SeriesKey,
        since: Instant,
    }
}

impl<F: Future<Output = Result<Response<B>, E>>, B, E> Future for ResponseFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.inner.poll(context));
        if let Ok(response) = &result {
            this.table
                .count(*this.key, response.status(), this.since.elapsed());
        }
        Poll::Ready(result)
    }
}
