//! The trace that a request belongs to: W3C Trace Context, level 1 (`traceparent`, `tracestate`).
//!
//! Promise: a valid `traceparent` is continued, an invalid one is ignored and a new trace starts,
//! as the specification requires. Requests that this program sends have a `traceparent` with the
//! trace of the request that causes them, or that of a new trace.
//! Limit: spans are recorded by the crate `telemetry`, and only where it is switched on. Otherwise
//! the span ids that are sent are random.

use std::fmt::Write as _;
use std::sync::Arc;

/// The header with the trace.
pub const TRACEPARENT: &str = "traceparent";
/// The header with the members that the systems of a trace have added.
pub const TRACESTATE: &str = "tracestate";

/// The longest `tracestate` that is passed on, in bytes; a longer one is dropped as a whole. The
/// specification asks for at least 512.
const MAX_STATE_BYTES: usize = 512;

tokio::task_local! {
    static CURRENT: Arc<Trace>;
}

/// A trace, as a request names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// 32 lower-case hexadecimal digits.
    id: String,
    is_sampled: bool,
    state: Option<String>,
    /// The span of the caller: 16 lower-case hexadecimal digits.
    caller: Option<String>,
    /// The span of this process, if it is recorded.
    span: Option<String>,
}

/// Returns a new id of a span: 16 lower-case hexadecimal digits.
#[must_use]
pub fn new_span() -> String {
    random_hex::<8>()
}

impl Trace {
    /// Starts a new trace, with a random id.
    #[must_use]
    pub fn start() -> Self {
        Self {
            id: random_hex::<16>(),
            is_sampled: false,
            state: None,
            caller: None,
            span: None,
        }
    }

    /// Returns the trace of a request with these values of `traceparent` and `tracestate`: a new
    /// one, without a state, if there is not exactly one valid `traceparent`.
    #[must_use]
    pub fn of<'a>(
        parents: impl IntoIterator<Item = &'a str>,
        states: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let mut parents = parents.into_iter();
        let parent = match (parents.next(), parents.next()) {
            (Some(parent), None) => parse(parent),
            (Some(_) | None, _) => None,
        };
        let Some((id, caller, is_sampled)) = parent else {
            return Self::start();
        };
        // Several fields are one list.
        let members: Vec<&str> = states
            .into_iter()
            .flat_map(|state| state.split(','))
            .map(|member| member.trim_matches([' ', '\t']))
            .filter(|member| !member.is_empty())
            .collect();
        let state = members.join(",");
        let is_kept = (1..=MAX_STATE_BYTES).contains(&state.len());
        Self {
            id: id.to_owned(),
            is_sampled,
            state: is_kept.then_some(state),
            caller: Some(caller.to_owned()),
            span: None,
        }
    }

    /// The id of the trace: 32 lower-case hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The members to pass on, if there are any.
    #[must_use]
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// Returns a `traceparent` in this trace, with the span of this process, or with a new id.
    #[must_use]
    pub fn parent(&self) -> String {
        let flags = u8::from(self.is_sampled);
        let span = self.span.clone().unwrap_or_else(new_span);
        format!("00-{}-{span}-{flags:02x}", self.id)
    }

    /// Returns true if the trace is recorded, as far as this process knows.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.is_sampled
    }

    /// The span of the caller, in another process or in this one.
    #[must_use]
    pub fn caller(&self) -> Option<&str> {
        self.caller.as_deref()
    }

    /// The span of this process, if it is recorded.
    #[must_use]
    pub fn span(&self) -> Option<&str> {
        self.span.as_deref()
    }

    /// Returns the trace with a new span of this process, if it is sampled.
    #[must_use]
    pub fn in_span(self, is_sampled: bool) -> Self {
        Self {
            is_sampled,
            span: is_sampled.then(new_span),
            ..self
        }
    }

    /// Returns the trace for a request that is sent within the span of this process.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            caller: self.span.clone().or_else(|| self.caller.clone()),
            span: self.span.as_ref().map(|_| new_span()),
            ..self.clone()
        }
    }
}

/// Runs `within` as a part of `trace`.
pub fn sync_scope<R>(trace: &Arc<Trace>, within: impl FnOnce() -> R) -> R {
    CURRENT.sync_scope(Arc::clone(trace), within)
}

/// Returns the trace of the request that this task handles, if it named one.
#[must_use]
pub fn current() -> Option<Arc<Trace>> {
    CURRENT.try_with(Arc::clone).ok()
}

/// Returns the trace id, the span and the flag *sampled* of a valid `traceparent`.
fn parse(parent: &str) -> Option<(&str, &str, bool)> {
    let parent = parent.trim_matches([' ', '\t']);
    let mut fields = parent.split('-');
    let version = hex(fields.next()?, 2)?;
    let id = hex(fields.next()?, 32).filter(|id| has_value(id))?;
    let span = hex(fields.next()?, 16).filter(|span| has_value(span))?;
    let flags = hex(fields.next()?, 2)?;
    let flags = u8::from_str_radix(flags, 16).ok()?;
    // A later version may have more fields after a dash; version 0 has none.
    let has_more = fields.next().is_some();
    let is_valid = version != "ff" && !(version == "00" && has_more);
    is_valid.then_some((id, span, flags & 1 == 1))
}

/// Returns the text if it has `digits` lower-case hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<&str> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (text.len() == digits && text.bytes().all(is_digit)).then_some(text)
}

/// Reports whether a digit is not zero.
fn has_value(digits: &str) -> bool {
    digits.bytes().any(|digit| digit != b'0')
}

/// Returns random bytes in hexadecimal, not all zero.
fn random_hex<const BYTES: usize>() -> String {
    loop {
        let mut text = String::with_capacity(2 * BYTES);
        for byte in rand::random::<[u8; BYTES]>() {
            let _infallible = write!(text, "{byte:02x}");
        }
        if has_value(&text) {
            return text;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f0671200029017";

    #[test]
    fn valid_parent_is_continued() {
        for (parent, is_sampled) in [
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f0671200029017-01",
                true,
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f0671200029017-00",
                false,
            ),
            // Unknown flags are ignored, and not passed on.
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f0671200029017-ff",
                true,
            ),
            // A later version, also a longer one.
            (
                "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f0671200029017-01",
                true,
            ),
            (
                "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f0671200029017-01-more",
                true,
            ),
            (
                " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f0671200029017-01\t",
                true,
            ),
        ] {
            assert_eq!(parse(parent), Some((ID, SPAN, is_sampled)), "{parent}");
        }
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f0671200029017-01";
        let trace = Trace::of([parent], []);
        let sent = trace.parent();
        assert!(sent.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
        assert!(sent.ends_with("-01") && sent != parent, "{sent}");
        let (id, span, is_sampled) = parse(&sent).unwrap();
        assert_eq!((id, is_sampled), (ID, true));
        assert_ne!(span, SPAN);
    }

    #[test]
    fn invalid_parent_starts_a_new_trace() {
        for parent in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f0671200029017",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f0671200029017-01",
            "00-00000000000000000000000000000000-00f0671200029017-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f0671200029017-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f0671200029017-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47360-00f0671200029017-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473g-00f0671200029017-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f0671200029017-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f0671200029017-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f0671200029017-01-more",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f0671200029017-01.more",
            "0-4bf92f3577b34da6a3ce929d0e0e4736-00f0671200029017-01",
        ] {
            assert_eq!(parse(parent), None, "{parent}");
            let trace = Trace::of([parent], ["a=1"]);
            assert_ne!(trace.id(), ID, "{parent}");
            assert_eq!(trace.state(), None, "{parent}");
            assert!(parse(&trace.parent()).is_some());
        }
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f0671200029017-01";
        assert_ne!(Trace::of([parent, parent], []).id(), ID, "two fields");
        assert_ne!(Trace::of([], []).id(), Trace::of([], []).id());
    }

    #[test]
    fn state_is_one_list_of_bounded_length() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f0671200029017-01";
        let state = |states: &[&str]| {
            let trace = Trace::of([parent], states.iter().copied());
            trace.state().map(str::to_owned)
        };
        assert_eq!(state(&["a=1, b=2", "c=3"]).as_deref(), Some("a=1,b=2,c=3"));
        assert_eq!(state(&["", " , "]), None);
        let longest = format!("a={}", "x".repeat(MAX_STATE_BYTES - 2));
        assert_eq!(state(&[&longest]), Some(longest.clone()));
        assert_eq!(state(&[&format!("{longest}x")]), None);
    }

    #[test]
    fn requests_of_a_recorded_span_are_its_children() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f0671200029017-00";
        let trace = Trace::of([parent], ["a=1"]);
        assert_eq!((trace.caller(), trace.span()), (Some(SPAN), None));
        assert!(current().is_none());
        let seen = sync_scope(&Arc::new(trace.clone()), current).unwrap();
        assert_eq!(*seen, trace);
        let unsampled = trace.clone().in_span(false).child();
        assert_eq!((unsampled.caller(), unsampled.span()), (Some(SPAN), None));
        let recorded = trace.in_span(true);
        let child = recorded.child();
        assert_eq!(child.caller(), recorded.span());
        assert_ne!(child.span(), recorded.span());
        assert_eq!((child.id(), child.state()), (ID, Some("a=1")));
        let sent = child.parent();
        assert_eq!(parse(&sent), Some((ID, child.span().unwrap(), true)));
    }
}
