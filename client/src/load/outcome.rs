//! What the buyers were told, one by one and summed up.
//!
//! Promise: every buyer ends in exactly one of held, refused or failed; what was tried again is counted apart.
//! Limit: this is the buyers' side only. Whether it is true, the log says: see [`super::tally`].

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use domain::values::Position;
use hdrhistogram::Histogram;

use crate::calls::{HoldView, PurchaseView};
use crate::error::ClientError;

/// Something that should not happen to a buyer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A status that is neither success nor a refusal.
    Status {
        /// The status.
        status: u16,
        /// The problem's code, if there was one.
        code: String,
    },
    /// No answer in time.
    Timeout,
    /// The connection was refused or lost.
    Connection,
    /// Success, with a body that is not what the contract says.
    Unreadable,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { status, code } if code.is_empty() => write!(f, "HTTP {status}"),
            Self::Status { status, code } => write!(f, "HTTP {status} {code}"),
            Self::Timeout => f.write_str("timeout"),
            Self::Connection => f.write_str("connection"),
            Self::Unreadable => f.write_str("unreadable answer"),
        }
    }
}

/// Why a request did not get what it asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Miss {
    /// The server said no, for a reason that a buyer can act on.
    Refused(String),
    /// Something went wrong.
    Failed(Fault),
}

impl From<&ClientError> for Miss {
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

/// How one request ended, after all its tries.
#[derive(Debug, Clone)]
pub struct Outcome<T> {
    /// What came of it.
    pub result: Result<T, Miss>,
    /// How long the last try took.
    pub latency: Duration,
    /// What the tries before it met.
    pub retried: Vec<Miss>,
}

/// How one buyer fared.
#[derive(Debug, Clone)]
pub struct Visit {
    /// The hold.
    pub hold: Outcome<HoldView>,
    /// The purchase, if one was tried.
    pub purchase: Option<Outcome<PurchaseView>>,
}

/// All visits, summed up.
#[derive(Debug, Clone)]
pub struct Answers {
    /// Buyers that came.
    pub buyers: u64,
    /// Holds that the server acknowledged.
    pub holds: Vec<HoldView>,
    /// Purchases that the server acknowledged.
    pub purchases: Vec<PurchaseView>,
    /// Refusals, by code.
    pub refused: BTreeMap<String, u64>,
    /// Failures that stood, by kind.
    pub failed: BTreeMap<String, u64>,
    /// Failures that were tried again, by kind.
    pub retried: BTreeMap<String, u64>,
    /// Latency of the hold requests that were answered, in microseconds.
    pub latency: Histogram<u64>,
    /// Requests sent in all.
    pub requests: u64,
    /// From the common start to the last answer.
    pub elapsed: Duration,
}

impl Answers {
    /// Sums `visits` up, which took `elapsed` together.
    #[must_use]
    pub fn gather(visits: Vec<Visit>, elapsed: Duration) -> Self {
        let mut answers = Self {
            buyers: visits.len() as u64,
            elapsed,
            ..Self::none()
        };
        for visit in visits {
            answers.time(&visit.hold);
            if let Some(hold) = answers.count("", visit.hold) {
                answers.holds.push(hold);
            }
            let purchase = visit.purchase.and_then(|p| answers.count("purchase ", p));
            answers.purchases.extend(purchase);
        }
        answers
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
        if !matches!(hold.result, Err(Miss::Failed(_))) {
            let micros = u64::try_from(hold.latency.as_micros()).unwrap_or(u64::MAX);
            // Not `saturating_record`: that clamps to what the histogram has grown to, instead of growing it.
            self.latency
                .record(micros)
                .expect("a histogram that grows takes any duration");
        }
    }

    fn count<T>(&mut self, what: &str, outcome: Outcome<T>) -> Option<T> {
        self.requests += 1 + outcome.retried.len() as u64;
        for miss in outcome.retried {
            add(&mut self.retried, what, &miss.kind());
        }
        match outcome.result {
            Ok(answer) => return Some(answer),
            Err(Miss::Refused(code)) => add(&mut self.refused, what, &code),
            Err(Miss::Failed(fault)) => add(&mut self.failed, what, &fault.to_string()),
        }
        None
    }
}

impl Miss {
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

    fn problem(status: u16, code: &str) -> Miss {
        Miss::from(&ClientError::Problem(Problem {
            status,
            code: code.into(),
            detail: String::new(),
            retry_after: None,
        }))
    }

    fn missed(miss: Miss, retried: Vec<Miss>) -> Visit {
        Visit {
            hold: Outcome {
                result: Err(miss),
                latency: Duration::from_millis(3),
                retried,
            },
            purchase: None,
        }
    }

    #[test]
    fn a_refusal_is_what_a_buyer_can_act_on_and_anything_else_is_a_failure() {
        assert_eq!(problem(409, "sold_out"), Miss::Refused("sold_out".into()));
        assert_eq!(problem(429, "throttled"), Miss::Refused("throttled".into()));
        for (status, code) in [
            (400, "malformed"),
            (401, "x"),
            (404, "x"),
            (500, "x"),
            (409, ""),
        ] {
            assert!(
                matches!(problem(status, code), Miss::Failed(_)),
                "{status} {code}"
            );
        }
    }

    #[test]
    fn visits_are_summed_up_by_code_and_by_kind() {
        let busy = || problem(503, "unavailable");
        let answers = Answers::gather(
            vec![
                missed(problem(409, "sold_out"), vec![busy(), busy()]),
                missed(problem(409, "sold_out"), vec![]),
                missed(Miss::Failed(Fault::Timeout), vec![]),
            ],
            Duration::from_secs(1),
        );
        assert_eq!(answers.buyers, 3);
        assert_eq!(answers.requests, 5);
        assert_eq!(answers.refused["sold_out"], 2);
        assert_eq!(answers.failed["timeout"], 1);
        assert_eq!(answers.retried["HTTP 503 unavailable"], 2);
        assert_eq!(answers.latency.len(), 2, "a timeout has no latency");
        let median = answers.latency.value_at_quantile(0.5);
        assert!((2_997..=3_003).contains(&median), "{median} µs");
    }
}
