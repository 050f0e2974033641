//! Requests that this program sends: to payment providers, webhook endpoints and push services.

use std::sync::Arc;
use std::time::SystemTime;

use trace_context::{TRACEPARENT, TRACESTATE, Trace};

use super::{Kind, Span, is_on, observed};

/// A request that is being sent. Dropped without an end, it has failed.
#[derive(Debug)]
pub struct Call {
    /// With a span of its own.
    trace: Trace,
    since: SystemTime,
    span: Option<Span>,
}

impl Call {
    /// Begins a request for `purpose` (`payment`, `webhook`, `push`) to a host: in the trace of the
    /// request that this task handles, or in a new one.
    #[must_use]
    pub fn begin(purpose: &'static str, method: &'static str, host: &str) -> Self {
        let current = trace_context::current();
        let trace = match current.as_deref() {
            Some(trace) => trace.child(),
            None => observed(Trace::start()),
        };
        let span = (is_on() && trace.span().is_some()).then(|| {
            Span::new(Kind::Client, method)
                .with("http.request.method", method)
                .with("server.address", host.to_owned())
                .with("holdfast.call", purpose)
        });
        Self {
            trace,
            since: SystemTime::now(),
            span,
        }
    }

    /// Returns the headers to send.
    #[must_use]
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let state = self.trace.state();
        let state = state.map(|state| (TRACESTATE, state.to_owned()));
        std::iter::once((TRACEPARENT, self.trace.parent()))
            .chain(state)
            .collect()
    }

    /// Ends it with the status of the response.
    pub fn ended(mut self, status: u16) {
        if let Some(span) = self.span.take() {
            let span = span.number("http.response.status_code", status.into());
            let span = match status {
                400.. => span.failed(status.to_string()),
                _ => span,
            };
            span.record_as_root(&self.trace, self.since);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(span) = self.span.take() {
            let span = span.failed("no_response");
            span.record_as_root(&self.trace, self.since);
        }
    }
}

/// The handling of a request of a client. Dropped without an end, it has failed.
#[derive(Debug)]
pub struct Handled {
    trace: Arc<Trace>,
    since: SystemTime,
    span: Option<Span>,
}

impl Handled {
    /// Begins the handling of a request in `trace`; `None` if it is not recorded. The span has the
    /// route and no path, because paths have ids of buyers and of holds.
    #[must_use]
    pub fn begin(trace: &Arc<Trace>, method: &str, route: Option<&str>) -> Option<Self> {
        trace.span()?;
        let span = match route {
            Some(route) => Span::new(Kind::Server, format!("{method} {route}"))
                .with("http.route", route.to_owned())
                .with("url.path", route.to_owned()),
            None => Span::new(Kind::Server, method.to_owned()),
        };
        Some(Self {
            trace: Arc::clone(trace),
            since: SystemTime::now(),
            span: Some(span.with("http.request.method", method.to_owned())),
        })
    }

    /// Ends it with the status of the response.
    pub fn ended(mut self, status: u16) {
        if let Some(span) = self.span.take() {
            let span = span.number("http.response.status_code", status.into());
            // A 4xx is an error of the client.
            let span = match status {
                500.. => span.failed(status.to_string()),
                _ => span,
            };
            span.record_as_root(&self.trace, self.since);
        }
    }
}

impl Drop for Handled {
    fn drop(&mut self) {
        if let Some(span) = self.span.take() {
            let span = span.failed("no_response");
            span.record_as_root(&self.trace, self.since);
        }
    }
}
