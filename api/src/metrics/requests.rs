//! Counts requests by route, method and class of status, and how long they take until their answer begins.
//!
//! The series of a route are found by its template in a table that is never changed, and made once, when they are first
//! needed; from then on a request costs a look-up, two looks at the clock, and a few atomic additions.

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

/// From a read out of memory to the engine's patience, in seconds.
const DURATIONS: [f64; 13] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0,
];
/// Every other method is `other`: its name is the caller's to choose.
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PATCH", "DELETE", "other"];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
/// The route of what no route matches.
const NOWHERE: &str = "none";

/// The families that requests are counted in.
#[derive(Debug)]
pub(crate) struct Requests {
    answered: IntCounterVec,
    duration: HistogramVec,
}

impl Requests {
    pub(super) fn new(registry: &Registry) -> Self {
        let answered = Opts::new(
            "holdfast_http_requests_total",
            "Requests answered, by route, method and class of status.",
        );
        let duration = HistogramOpts::new(
            "holdfast_http_request_duration_seconds",
            "From a request's head until its answer begins, by route and method.",
        );
        let labels = ["route", "method"];
        Self {
            answered: registered(
                registry,
                IntCounterVec::new(answered, &["route", "method", "status"]),
            ),
            duration: registered(
                registry,
                HistogramVec::new(duration.buckets(DURATIONS.into()), &labels),
            ),
        }
    }
}

/// What one route and method comes to.
#[derive(Debug, Default)]
struct Series {
    duration: OnceLock<Histogram>,
    answered: [OnceLock<IntCounter>; CLASSES.len()],
}

#[derive(Debug)]
struct Table {
    requests: Arc<Requests>,
    routes: Vec<(&'static str, [Series; METHODS.len()])>,
    /// Where in `routes` a path is. The first is [`NOWHERE`].
    places: HashMap<&'static str, usize>,
}

impl Table {
    fn place(&self, request: &Request) -> usize {
        let matched = request.extensions().get::<MatchedPath>();
        matched
            .and_then(|path| self.places.get(path.as_str()))
            .copied()
            .unwrap_or_default()
    }

    fn count(&self, asked: Asked, status: StatusCode, took: Duration) {
        let (Some((route, methods)), Some(class)) = (self.routes.get(asked.route), class(status))
        else {
            return;
        };
        let (name, series) = (METHODS[asked.method], &methods[asked.method]);
        let counter = || {
            self.requests
                .answered
                .with_label_values(&[route, name, CLASSES[class]])
        };
        series.answered[class].get_or_init(counter).inc();
        let histogram = || self.requests.duration.with_label_values(&[route, name]);
        series
            .duration
            .get_or_init(histogram)
            .observe(took.as_secs_f64());
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
        _ => 5,
    }
}

/// Where in the table a request is counted.
#[derive(Debug, Clone, Copy)]
struct Asked {
    route: usize,
    method: usize,
}

/// Counts what passes through. A layer of a router, so that routes are known.
#[derive(Debug, Clone)]
pub(crate) struct Measure(&'static Table);

impl Measure {
    pub(super) fn new(requests: Arc<Requests>, paths: &[&'static str]) -> Self {
        let routes: Vec<_> = std::iter::once(&NOWHERE)
            .chain(paths)
            .map(|&path| (path, Default::default()))
            .collect();
        let places = routes
            .iter()
            .enumerate()
            .map(|(place, (path, _))| (*path, place))
            .collect();
        // Never given back: a router lives as long as its program, and counting references costs each request as much as counting it.
        Self(Box::leak(Box::new(Table {
            requests,
            routes,
            places,
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

/// See [`Measure`].
#[derive(Debug, Clone)]
pub(crate) struct Measured<S> {
    inner: S,
    table: &'static Table,
}

impl<S: Service<Request, Response = Response<B>>, B> Service<Request> for Measured<S> {
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let asked = Asked {
            route: self.table.place(&request),
            method: method(request.method()),
        };
        Answering {
            since: Instant::now(),
            inner: self.inner.call(request),
            table: self.table,
            asked,
        }
    }
}

pin_project! {
    /// An answer on its way.
    pub(crate) struct Answering<F> {
        #[pin]
        inner: F,
        table: &'static Table,
        asked: Asked,
        since: Instant,
    }
}

impl<F: Future<Output = Result<Response<B>, E>>, B, E> Future for Answering<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.inner.poll(context));
        if let Ok(response) = &answer {
            this.table
                .count(*this.asked, response.status(), this.since.elapsed());
        }
        Poll::Ready(answer)
    }
}
