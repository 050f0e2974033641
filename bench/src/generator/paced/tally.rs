//! The results of a paced load, by the phase in which each request was due.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::Instant;

use super::{PacedOutcome, Phase, PhaseFigures};

/// The longest recorded latency, in microseconds; longer ones are counted as this long.
const LONGEST_MICROS: u64 = 600_000_000;

#[derive(Debug, Clone, Copy)]
pub struct Due {
    pub at: Instant,
    /// Makes the buyer and the key unique at the node.
    pub number: u64,
    /// `None` during the warm-up.
    pub phase: Option<Phase>,
}

#[derive(Debug)]
struct Part {
    began: Option<Instant>,
    seconds: f64,
    due: u64,
    latencies: Histogram<u64>,
    answers: BTreeMap<u16, u64>,
}

/// The results so far; one thread, so no lock.
#[derive(Debug)]
pub struct Tally {
    phase: Option<Phase>,
    parts: Vec<Part>,
    /// Requests that were due.
    pub due: u64,
    /// Requests that are complete, with or without a response.
    pub ended: u64,
    acknowledged: u64,
    uncertain: u64,
}

impl Tally {
    /// Creates an empty tally.
    ///
    /// # Errors
    /// Never in practice: the histogram's bounds are constants.
    pub fn new() -> std::io::Result<Self> {
        let part = |_phase| {
            Ok(Part {
                began: None,
                seconds: 0.0,
                due: 0,
                latencies: Histogram::new_with_max(LONGEST_MICROS, 3)
                    .map_err(std::io::Error::other)?,
                answers: BTreeMap::new(),
            })
        };
        Ok(Self {
            phase: None,
            parts: Phase::ALL
                .iter()
                .map(part)
                .collect::<std::io::Result<_>>()?,
            due: 0,
            ended: 0,
            acknowledged: 0,
            uncertain: 0,
        })
    }

    /// Counts requests that are due from `now` on in `phase`; `None` ends the last one.
    pub fn enter(&mut self, phase: Option<Phase>, now: Instant) {
        if let Some(part) = self.phase.map(|phase| &mut self.parts[phase as usize]) {
            part.seconds = part.began.map_or(0.0, |began| (now - began).as_secs_f64());
        }
        self.phase = phase;
        if let Some(part) = phase.map(|phase| &mut self.parts[phase as usize]) {
            part.began = Some(now);
        }
    }

    /// Records that a request was due at `at`.
    pub fn due(&mut self, at: Instant, number: u64) -> Due {
        self.due += 1;
        if let Some(phase) = self.phase {
            self.parts[phase as usize].due += 1;
        }
        Due {
            at,
            number,
            phase: self.phase,
        }
    }

    /// Records a response with `status` at `now`; `None` if the connection was lost.
    pub fn record(&mut self, due: Due, status: Option<u16>, now: Instant) {
        self.ended += 1;
        self.acknowledged += u64::from(status == Some(201));
        self.uncertain += u64::from(status.is_none_or(|status| status >= 500));
        let Some(part) = due.phase.map(|phase| &mut self.parts[phase as usize]) else {
            return;
        };
        if let Some(status) = status {
            *part.answers.entry(status).or_default() += 1;
        }
        if status == Some(201) {
            let micros = u64::try_from((now - due.at).as_micros()).unwrap_or(u64::MAX);
            part.latencies.saturating_record(micros);
        }
    }

    pub fn outcome(&self, cores: f64) -> PacedOutcome {
        let figures = |phase: Phase| {
            let part = &self.parts[phase as usize];
            let millis = |micros: u64| Duration::from_micros(micros).as_secs_f64() * 1000.0;
            PhaseFigures {
                seconds: part.seconds,
                due: part.due,
                good: part.latencies.len(),
                p50_ms: millis(part.latencies.value_at_quantile(0.5)),
                p99_ms: millis(part.latencies.value_at_quantile(0.99)),
                max_ms: millis(part.latencies.max()),
                answers: part.answers.clone(),
            }
        };
        PacedOutcome {
            before: figures(Phase::Before),
            during: figures(Phase::During),
            after: figures(Phase::After),
            acknowledged: self.acknowledged,
            uncertain: self.uncertain + (self.due - self.ended),
            cores,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn stall_is_charged_to_every_request_due_meanwhile() {
        let (began, mut tally) = (Instant::now(), Tally::new().unwrap());
        tally.enter(Some(Phase::During), began);
        // Ten requests per second; the server stalls for a second and then responds to all of them.
        let due: Vec<Due> = (0..10)
            .map(|n| tally.due(began + 100 * n * MS, 0))
            .collect();
        for due in due {
            tally.record(due, Some(201), began + 1000 * MS);
        }
        tally.enter(Some(Phase::After), began + 1000 * MS);
        let during = tally.outcome(0.0).during;
        assert_eq!((during.due, during.good, during.failed()), (10, 10, 0));
        assert!((during.seconds - 1.0).abs() < 1e-9);
        assert!((during.max_ms - 1000.0).abs() < 1.0, "{during:?}");
        assert!((during.p50_ms - 500.0).abs() < 1.0, "{during:?}");
    }

    #[test]
    fn request_counts_in_the_phase_in_which_it_was_due() {
        let (began, mut tally) = (Instant::now(), Tally::new().unwrap());
        let warm_up = tally.due(began, 0);
        tally.enter(Some(Phase::Before), began);
        let before = tally.due(began, 1);
        tally.enter(Some(Phase::During), began + MS);
        let during = tally.due(began + MS, 2);
        tally.due(began + MS, 3);
        for due in [warm_up, before] {
            tally.record(due, Some(201), began + 5 * MS);
        }
        tally.record(during, Some(503), began + 5 * MS);
        let outcome = tally.outcome(0.0);
        assert_eq!((outcome.before.due, outcome.before.good), (1, 1));
        assert_eq!((outcome.during.due, outcome.during.failed()), (2, 2));
        assert_eq!(outcome.during.answers, BTreeMap::from([(503, 1)]));
        assert_eq!(outcome.acknowledged, 2);
        assert_eq!(outcome.uncertain, 2, "one 503, and one without a response");
    }
}
