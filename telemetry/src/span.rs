//! Spans, as they are recorded at their end.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span as ProtoSpan, Status};
use trace_context::{Trace, new_span};

use super::record;

/// The role of a span in its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The handling of a request.
    Server,
    /// A request to another server, or to the database.
    Client,
    /// A step in this process.
    Internal,
}

/// A span that is over. Attributes have the names of the semantic conventions.
#[derive(Debug, Clone)]
pub struct Span {
    name: Cow<'static, str>,
    kind: Kind,
    attributes: Vec<KeyValue>,
    error: bool,
}

impl Span {
    #[must_use]
    pub fn new(kind: Kind, name: impl Into<Cow<'static, str>>) -> Self {
        Self {
            name: name.into(),
            kind,
            attributes: vec![],
            error: false,
        }
    }

    /// Adds an attribute.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        let value = Value::StringValue(value.into().into_owned());
        self.attributes.push(attribute(name, value));
        self
    }

    /// Adds a number.
    #[must_use]
    pub fn number(mut self, name: &'static str, value: u64) -> Self {
        let value = Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX));
        self.attributes.push(attribute(name, value));
        self
    }

    /// Marks it as failed, with the kind of the error.
    #[must_use]
    pub fn failed(mut self, error: impl Into<Cow<'static, str>>) -> Self {
        self.error = true;
        self.with("error.type", error)
    }

    /// Records it as the span of this process in `trace`, if the trace is recorded.
    pub fn record_as_root(self, trace: &Trace, since: SystemTime) {
        if let Some(id) = trace.span() {
            let span = self.build(trace, since, SystemTime::now());
            let parent = trace.caller().map(bytes).unwrap_or_default();
            record(ProtoSpan {
                span_id: bytes(id),
                parent_span_id: parent,
                ..span
            });
        }
    }

    /// Records it as a step within the span of this process in `trace`, if the trace is recorded.
    /// It took this long, and ends now.
    pub fn record_within(self, trace: &Trace, took: Duration) {
        if let Some(parent) = trace.span() {
            let until = SystemTime::now();
            let span = self.build(trace, until.checked_sub(took).unwrap_or(until), until);
            record(ProtoSpan {
                span_id: bytes(&new_span()),
                parent_span_id: bytes(parent),
                ..span
            });
        }
    }

    fn build(self, trace: &Trace, since: SystemTime, until: SystemTime) -> ProtoSpan {
        let kind = match self.kind {
            Kind::Server => SpanKind::Server,
            Kind::Client => SpanKind::Client,
            Kind::Internal => SpanKind::Internal,
        };
        ProtoSpan {
            trace_id: bytes(trace.id()),
            trace_state: trace.state().unwrap_or_default().to_owned(),
            // Sampled (W3C).
            flags: 1,
            name: self.name.into_owned(),
            kind: kind.into(),
            start_time_unix_nano: nanoseconds(since),
            end_time_unix_nano: nanoseconds(until.max(since)),
            attributes: self.attributes,
            status: self.error.then(|| Status {
                code: StatusCode::Error.into(),
                ..Status::default()
            }),
            ..ProtoSpan::default()
        }
    }
}

/// Returns the bytes of an id, which has hexadecimal digits.
fn bytes(id: &str) -> Vec<u8> {
    hex::decode(id).unwrap_or_default()
}

/// Returns the nanoseconds since the Unix epoch.
pub(super) fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) fn attribute(name: &str, value: Value) -> KeyValue {
    KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

pub(super) fn text(name: &str, value: &str) -> KeyValue {
    attribute(name, Value::StringValue(value.to_owned()))
}
