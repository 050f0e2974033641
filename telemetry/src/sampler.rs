//! Which traces are recorded: `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`.

use trace_context::Trace;
use tracing::warn;

/// A sampler of the specification.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sampler {
    /// The caller's decision precedes.
    is_parent_based: bool,
    /// The part of the traces that is recorded.
    ratio: f64,
}

impl Default for Sampler {
    fn default() -> Self {
        Self {
            is_parent_based: true,
            ratio: 1.0,
        }
    }
}

impl Sampler {
    /// Reads the variables. Platforms set them for all programs, so an unknown value is a warning.
    pub(super) fn of(name: Option<&str>, argument: Option<&str>) -> Self {
        let Some(name) = name else {
            return Self::default();
        };
        let (is_parent_based, kind) = match name.strip_prefix("parentbased_") {
            Some(kind) => (true, kind),
            None => (false, name),
        };
        let ratio = match (kind, argument.map(str::parse)) {
            ("always_on", _) => Some(1.0),
            ("always_off", _) => Some(0.0),
            ("traceidratio", None) => Some(1.0),
            ("traceidratio", Some(Ok(ratio))) if (0.0..=1.0).contains(&ratio) => Some(ratio),
            _ => None,
        };
        match ratio {
            Some(ratio) => Self {
                is_parent_based,
                ratio,
            },
            None => {
                warn!(
                    "OTEL_TRACES_SAMPLER={name} with OTEL_TRACES_SAMPLER_ARG={} is not known: all \
                     traces are recorded",
                    argument.unwrap_or_default()
                );
                Self::default()
            }
        }
    }

    /// Decides about a trace, by its id: the same at every server.
    pub(super) fn samples(self, trace: &Trace) -> bool {
        if self.is_parent_based && trace.caller().is_some() {
            return trace.is_sampled();
        }
        // The last 7 bytes are random (W3C, level 2).
        let random = trace.id().get(18..).unwrap_or_default();
        let random = u64::from_str_radix(random, 16).unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "a ratio needs no last digits")]
        let part = random as f64 / (1_u64 << 56) as f64;
        part < self.ratio
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(flags: &str) -> Trace {
        let parent = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
        Trace::of([parent.as_str()], [])
    }

    #[test]
    fn caller_decides_unless_the_sampler_ignores_it() {
        for (name, argument, sampled, unsampled, own) in [
            (None, None, true, false, true),
            (Some("parentbased_always_on"), None, true, false, true),
            (Some("parentbased_always_off"), None, true, false, false),
            (
                Some("parentbased_traceidratio"),
                Some("0"),
                true,
                false,
                false,
            ),
            (Some("always_on"), None, true, true, true),
            (Some("always_off"), None, false, false, false),
            (Some("traceidratio"), Some("1"), true, true, true),
            (Some("traceidratio"), Some("2"), true, false, true),
            (Some("jaeger_remote"), None, true, false, true),
        ] {
            let sampler = Sampler::of(name, argument);
            assert_eq!(sampler.samples(&called("01")), sampled, "{name:?}");
            assert_eq!(sampler.samples(&called("00")), unsampled, "{name:?}");
            assert_eq!(sampler.samples(&Trace::start()), own, "{name:?}");
        }
    }

    #[test]
    fn ratio_is_that_part_of_the_traces() {
        let sampler = Sampler::of(Some("traceidratio"), Some("0.25"));
        let sampled = (0..4_000)
            .filter(|_| sampler.samples(&Trace::start()))
            .count();
        assert!((700..1_300).contains(&sampled), "{sampled}");
    }
}
