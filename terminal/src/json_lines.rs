//! Log lines as JSON: one object in each line, for programs that collect them.
//!
//! Promise: every line is one JSON object with `timestamp`, `level`, `target` and `message`; line
//! breaks and control characters in values are escaped. `trace_id` is the trace of the request that
//! is handled, `request_id` the instance of an internal error, `drop_id` the drop.

use std::error::Error;
use std::fmt;
use std::iter::successors;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Formats events.
#[derive(Debug, Clone, Copy)]
pub struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let mut members = Members(Map::new());
        event.record(&mut members);
        let trace = trace_context::current();
        let line = line(
            metadata.level().as_str(),
            metadata.target(),
            members.0,
            trace.as_ref().map(|trace| trace.id()),
        );
        writeln!(writer, "{line}")
    }
}

/// Returns the object of one event. `members` are its fields, with its message.
pub(crate) fn line(
    level: &str,
    target: &str,
    mut members: Map<String, Value>,
    trace_id: Option<&str>,
) -> Value {
    // Fields that have names of their own in this format.
    for (field, name) in [
        ("instance", "request_id"),
        ("drop.id", "drop_id"),
        ("order.id", "order_id"),
    ] {
        if let Some(value) = members.remove(field) {
            members.insert(name.to_owned(), value);
        }
    }
    let mut time = String::new();
    let _infallible = SystemTime.format_time(&mut Writer::new(&mut time));
    members.entry("message").or_insert_with(|| "".into());
    if let Some(id) = trace_id {
        members.insert("trace_id".to_owned(), id.into());
    }
    for (name, value) in [
        ("timestamp", time.as_str()),
        ("level", level),
        ("target", target),
    ] {
        members.insert(name.to_owned(), value.into());
    }
    Value::Object(members)
}

/// The fields of an event, by name.
struct Members(Map<String, Value>);

impl Members {
    fn set(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Members {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value);
    }

    /// The whole chain of causes.
    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let causes = successors(Some(value), |error| (*error).source());
        let texts: Vec<String> = causes.map(ToString::to_string).collect();
        self.set(field, texts.join(": "));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use trace_context::Trace;
    use tracing::{error, warn};
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Output(Arc<Mutex<Vec<u8>>>);

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Output {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn every_event_is_one_object_in_one_line() {
        let output = Output::default();
        let subscriber = tracing_subscriber::fmt()
            .event_format(JsonLines)
            .with_writer(output.clone())
            .finish();
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = Arc::new(Trace::of([parent], []));
        tracing::subscriber::with_default(subscriber, || {
            let cause = io::Error::other("two\nlines \u{1b}[31m and a \"quote\"");
            trace_context::sync_scope(&trace, || {
                error!(
                    drop.id = %"d1",
                    instance = %"r1",
                    error = &cause as &dyn Error,
                    count = 3_u64,
                    "it\r\nfailed\0"
                );
            });
            warn!(is_late = true, "no request");
        });
        let text = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
        assert!(!text.contains(['\u{1b}', '\r', '\0']), "{text}");
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let [failed, late] = &lines[..] else {
            panic!("two lines: {text}");
        };
        for (name, value) in [
            ("level", "ERROR"),
            ("target", "terminal::json_lines::tests"),
            ("message", "it\r\nfailed\0"),
            ("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"),
            ("request_id", "r1"),
            ("drop_id", "d1"),
            ("error", "two\nlines \u{1b}[31m and a \"quote\""),
        ] {
            assert_eq!(failed[name], value, "{name} in {failed}");
        }
        assert_eq!(failed["count"], 3);
        assert!(failed["timestamp"].as_str().unwrap().ends_with('Z'));
        assert_eq!(late["is_late"], true);
        assert_eq!(late.get("trace_id"), None);
    }
}
