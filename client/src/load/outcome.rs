//! The responses that buyers received, individually and summed up.
//!
//! Promise: every buyer ends as exactly one of held, refused or failed; retries are counted
//! separately.
//! Limit: this is the buyers' view only. [`super::tally`] has the log's.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use domain::values::Position;
use hdrhistogram::Histogram;

use crate::calls::{HoldView, PurchaseView};
use crate::error::ClientError;

/// A failure that a buyer should never see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A status that is neither success nor a refusal.
    Status {
        status: u16,
        /// The problem's code; empty if there was none.
        code: String,
    },
    /// No response in time.
    Timeout,
    /// The connection was refused or lost.
    Connection,
    /// Success, with a body that does not match the API contract.
    Unreadable,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { status, code } if code.is_empty() => write!(f, "HTTP {status}"),
            Self::Status { status, code } => write!(f, "HTTP {status} {code}"),
            Self::Timeout => f.write_str("timeout"),
            Self::Connection => f.write_str("connection"),
            Self::Unreadable => f.write_str("unreadable response"),
        }
    }
}

/// Why a request did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsuccessful {
    /// The server refused the request, for a reason that a buyer can act on.
    Refused(String),
    /// The request failed.
    Failed(Fault),
}

impl From<&ClientError> for Unsuccessful {
    fn from(error: &ClientError) -> Self {
        match error {
            ClientError::Problem(problem) => match problem.status {
                409 | 410 | 429 if !problem.code.is_empty() => Self::Refused(problem.code.clone()),
                status => Self::Failed(Fault::Status {
                    status,
                    code: problem.code.clone(),
                }),
            },
            ClientError::Timeout { .. } => Self::Failed(Fault::Timeout),
            ClientError::Unreadable { .. } => Self::Failed(Fault::Unreadable),
            ClientError::Connection { .. }
            | ClientError::Address { .. }
            | ClientError::NoKey { .. }
            | ClientError::InvalidKey
            | ClientError::OpenFiles { .. }
            | ClientError::Authorities { .. }
            | ClientError::Interrupted
            | ClientError::LeftBehind { .. }
            | ClientError::Output(_) => Self::Failed(Fault::Connection),
        }
    }
}

/// How one request ended, after all its attempts.
#[derive(Debug, Clone)]
pub struct Outcome<T> {
    pub result: Result<T, Unsuccessful>,
    /// How long the last attempt took.
    pub latency: Duration,
    /// The results of the attempts before it.
    pub retried: Vec<Unsuccessful>,
}

/// The requests of one buyer.
#[derive(Debug, Clone)]
pub struct Visit {
    pub hold: Outcome<HoldView>,
    /// The purchase, if one was attempted.
    pub purchase: Option<Outcome<PurchaseView>>,
}

/// The responses of all visits, summed up.
#[derive(Debug, Clone)]
pub struct Responses {
    /// The number of buyers.
    pub buyers: u64,
    /// Holds that the server acknowledged.
    pub holds: Vec<HoldView>,
    /// Purchases that the server acknowledged.
    pub purchases: Vec<PurchaseView>,
    /// Refusals, by code.
    pub refused: BTreeMap<String, u64>,
    /// Requests that failed after all retries, by kind.
    pub failed: BTreeMap<String, u64>,
    /// Failures that were retried, by kind.
    pub retried: BTreeMap<String, u64>,
    /// Latency of the hold requests that got a response, in microseconds.
    pub latency: Histogram<u64>,
    pub requests: u64,
    /// From the common start to the last response.
    pub elapsed: Duration,
}

impl Responses {
    /// Sums up `visits`, which took `elapsed` together.
    #[must_use]
    pub fn gather(visits: Vec<Visit>, elapsed: Duration) -> Self {
        let mut responses = Self {
            buyers: visits.len() as u64,
            elapsed,
            ..Self::none()
        };
        for visit in visits {
            responses.time(&visit.hold);
            if let Some(hold) = responses.count("", visit.hold) {
                responses.holds.push(hold);
            }
            let purchase = visit.purchase.and_then(|p| responses.count("purchase ", p));
            responses.purchases.extend(purchase);
        }
        responses
    }

    /// The highest position that the server acknowledged; the log must reach at least this far.
    #[must_use]
    pub fn last_position(&self) -> Position {
        let holds = self.holds.iter().map(|hold| hold.position);
        let purchases = self.purchases.iter().map(|purchase| purchase.position);
        holds.chain(purchases).max().unwrap_or_default()
    }

    fn none() -> Self {
        Self {
            buyers: 0,
            holds: vec![],
            purchases: vec![],
            refused: BTreeMap::new(),
            failed: BTreeMap::new(),
            retried: BTreeMap::new(),
            latency: Histogram::new(3).expect("three digits are within bounds"),
            requests: 0,
            elapsed: Duration::ZERO,
        }
    }

    fn time(&mut self, hold: &Outcome<HoldView>) {
        if !matches!(hold.result, Err(Unsuccessful::Failed(_))) {
            let micros = u64::try_from(hold.latency.as_micros()).unwrap_or(u64::MAX);
            // Not `saturating_record`: it clamps to the histogram's present range instead of
            // growing it.
            self.latency
                .record(micros)
                .expect("a histogram that grows takes any duration");
        }
    }

    fn count<T>(&mut self, what: &str, outcome: Outcome<T>) -> Option<T> {
        self.requests += 1 + outcome.retried.len() as u64;
        for attempt in outcome.retried {
            add(&mut self.retried, what, &attempt.kind());
        }
        match outcome.result {
            Ok(answer) => return Some(answer),
            Err(Unsuccessful::Refused(code)) => add(&mut self.refused, what, &code),
            Err(Unsuccessful::Failed(fault)) => add(&mut self.failed, what, &fault.to_string()),
        }
        None
    }
}

impl Unsuccessful {
    fn kind(&self) -> String {
        match self {
            Self::Refused(code) => code.clone(),
            Self::Failed(fault) => fault.to_string(),
        }
    }
}

fn add(counts: &mut BTreeMap<String, u64>, what: &str, kind: &str) {
    *counts.entry(format!("{what}{kind}")).or_default() += 1;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Problem;

    fn problem(status: u16, code: &str) -> Unsuccessful {
        Unsuccessful::from(&ClientError::Problem(Problem {
            status,
            code: code.into(),
            detail: String::new(),
            retry_after: None,
        }))
    }

    fn unsuccessful(reason: Unsuccessful, retried: Vec<Unsuccessful>) -> Visit {
        Visit {
            hold: Outcome {
                result: Err(reason),
                latency: Duration::from_millis(3),
                retried,
            },
            purchase: None,
        }
    }

    #[test]
    fn problems_are_refusals_only_if_a_buyer_can_act_on_them() {
        assert_eq!(
            problem(409, "sold_out"),
            Unsuccessful::Refused("sold_out".into())
        );
        assert_eq!(
            problem(429, "throttled"),
            Unsuccessful::Refused("throttled".into())
        );
        for (status, code) in [
            (400, "malformed"),
            (401, "x"),
            (404, "x"),
            (500, "x"),
            (409, ""),
        ] {
            assert!(
                matches!(problem(status, code), Unsuccessful::Failed(_)),
                "{status} {code}"
            );
        }
    }

    #[test]
    fn visits_are_summed_up_by_code_and_by_kind() {
        let busy = || problem(503, "unavailable");
        let responses = Responses::gather(
            vec![
                unsuccessful(problem(409, "sold_out"), vec![busy(), busy()]),
                unsuccessful(problem(409, "sold_out"), vec![]),
                unsuccessful(Unsuccessful::Failed(Fault::Timeout), vec![]),
            ],
            Duration::from_secs(1),
        );
        assert_eq!(responses.buyers, 3);
        assert_eq!(responses.requests, 5);
        assert_eq!(responses.refused["sold_out"], 2);
        assert_eq!(responses.failed["timeout"], 1);
        assert_eq!(responses.retried["HTTP 503 unavailable"], 2);
        assert_eq!(responses.latency.len(), 2, "a timeout has no latency");
        let median = responses.latency.value_at_quantile(0.5);
        assert!((2_997..=3_003).contains(&median), "{median} µs");
    }
}
