//! The report of a load test: the responses, the counts from the log, and the verdict.
//!
//! Promise: every number that the verdict depends on is shown, and the last line is `PASSED` or
//! `FAILED` with the reason.
//! Limit: for people; programs should check the exit code.

use std::collections::BTreeMap;
use std::fmt;

use domain::values::{DropId, Position};
use terminal::table::{columns, grouped};

use super::outcome::Responses;
use super::tally::{End, Tally};
use super::verdict::Verdict;

/// The results of a load test.
#[derive(Debug, Clone)]
pub struct Report {
    /// The drop on sale.
    pub drop_id: DropId,
    pub drop_name: String,
    /// Sockets that were connected before the start.
    pub connected: u64,
    /// True if holds were left to expire.
    pub abandoned: bool,
    /// The buyers' responses.
    pub responses: Responses,
    /// The counts from the log.
    pub tally: Tally,
    /// The log's head before the drop was created, and the last position read.
    pub span: (Position, Position),
    /// The judgement of both.
    pub verdict: Verdict,
}

impl Report {
    fn response_rows(&self) -> Vec<Vec<String>> {
        let responses = &self.responses;
        let seconds = responses.elapsed.as_secs_f64();
        let mut rows = vec![
            count("buyers", responses.buyers),
            count("connections, before the start", self.connected),
            count("holds placed (201)", responses.holds.len() as u64),
            count("sold (201)", responses.purchases.len() as u64),
        ];
        rows.extend(kinds("refused", &responses.refused));
        rows.extend(kinds("errors", &responses.failed));
        rows.extend(kinds("retried after", &responses.retried));
        for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
            let micros = responses.latency.value_at_quantile(quantile);
            rows.push(vec![
                format!("hold request, {name}"),
                milliseconds(micros),
                "ms".into(),
            ]);
        }
        rows.push(vec!["elapsed".into(), format!("{seconds:.3}"), "s".into()]);
        let rate = per_second(responses.requests, seconds);
        rows.push(count("requests per second", rate));
        rows
    }

    fn log_rows(&self) -> Vec<Vec<String>> {
        let units = self.tally.units;
        let shown = |units: i64| u64::try_from(units).unwrap_or(0);
        let mut rows = vec![
            count("units offered", shown(units.total)),
            count("units still held", shown(units.held)),
            count("units sold", shown(units.sold)),
            count("units expired", shown(units.expired)),
            count("units released", shown(units.released)),
            count("oversold", shown(self.tally.oversold)),
            count(
                "acknowledged, missing from the log",
                self.verdict.missing as u64,
            ),
            count("duplicates", self.verdict.duplicates),
        ];
        if self.verdict.unacknowledged > 0 {
            let lost = self.verdict.unacknowledged as u64;
            rows.push(count("holds whose response was lost", lost));
        }
        rows
    }

    fn expiry_rows(&self) -> Vec<Vec<String>> {
        let mut sorted = self.tally.lateness_ms.clone();
        sorted.sort_unstable();
        let mut rows = vec![
            count("holds abandoned", self.tally.holds.len() as u64),
            count("expired, once each", self.once_each()),
            count("never expired", self.tally.open() as u64),
        ];
        for (name, percent) in [("p50", 50), ("p99", 99), ("max", 100)] {
            if let Some(late) = percentile(&sorted, percent) {
                rows.push(vec![
                    format!("recorded after the deadline, {name}"),
                    late.to_string(),
                    "ms".into(),
                ]);
            }
        }
        rows
    }

    fn once_each(&self) -> u64 {
        (self.tally.ended_in(End::Expired) as u64).saturating_sub(self.tally.ended_again)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position(before) = self.span.0;
        let Position(last) = self.span.1;
        let sections = [
            (
                format!("responses to the buyers of {}", self.drop_name),
                self.response_rows(),
            ),
            (
                format!("counted from the log, positions {} to {last}", before + 1),
                self.log_rows(),
            ),
        ];
        writeln!(f, "drop {}", self.drop_id)?;
        for (title, rows) in sections {
            writeln!(f, "\n{title}\n{}", columns(&rows, &[1]))?;
        }
        if self.abandoned {
            writeln!(f, "\nexpiries\n{}", columns(&self.expiry_rows(), &[1]))?;
        }
        if self.verdict.passed() {
            write!(f, "\nPASSED")
        } else {
            write!(f, "\nFAILED: {}", self.verdict.reason())
        }
    }
}

fn count(label: &str, number: u64) -> Vec<String> {
    vec![label.to_owned(), grouped(number)]
}

fn kinds(label: &str, counts: &BTreeMap<String, u64>) -> Vec<Vec<String>> {
    if counts.is_empty() {
        return vec![count(label, 0)];
    }
    let row = |(kind, number): (&String, &u64)| count(&format!("{label}: {kind}"), *number);
    counts.iter().map(row).collect()
}

fn milliseconds(micros: u64) -> String {
    format!("{}.{:03}", grouped(micros / 1_000), micros % 1_000)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a rate for reading: far below 2^52 and never negative"
)]
fn per_second(requests: u64, seconds: f64) -> u64 {
    (requests as f64 / seconds.max(0.001)).round() as u64
}

/// The smallest element of `sorted` that at least `percent` of the elements do not exceed.
fn percentile(sorted: &[i64], percent: usize) -> Option<i64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentile_is_one_of_the_numbers() {
        let numbers: Vec<i64> = (1..=200).collect();
        assert_eq!(percentile(&numbers, 50), Some(100));
        assert_eq!(percentile(&numbers, 99), Some(198));
        assert_eq!(percentile(&numbers, 100), Some(200));
        assert_eq!(percentile(&[7], 1), Some(7));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn microseconds_are_shown_as_milliseconds() {
        assert_eq!(milliseconds(1_234_567), "1,234.567");
        assert_eq!(milliseconds(5), "0.005");
    }
}
