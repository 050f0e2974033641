//! The table of disturbances: the latencies of holds on other drops, with a line for each build.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{columns, grouped, markdown_table, rounded};
use crate::contenders::Contender;
use crate::generator::paced::PacedOutcome;
use crate::scenario::Shop;

#[derive(Debug, Clone, Serialize)]
pub struct Disturbance {
    pub scenario: String,
    /// The kind and the size of the disturbance.
    pub name: String,
    /// The number of processes on the log.
    pub nodes: usize,
    pub contender: Contender,
    /// The holds on other drops.
    pub outcome: PacedOutcome,
    /// True if the disturbance ended while it was observed.
    pub is_complete: bool,
    /// Purchases that were sent in time, if there were any.
    pub purchases: Option<Purchases>,
    /// Further observations.
    pub detail: String,
}

/// Purchases that were sent before their holds expired.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Purchases {
    /// Responses by status; 0 stands for no response.
    pub answers: BTreeMap<u16, u64>,
    /// How late this program sent the latest of them, in milliseconds: the remaining time was
    /// shorter than 1.7 s by this much.
    pub sent_late_ms: f64,
}

impl Purchases {
    pub fn sent(&self) -> u64 {
        self.answers.values().sum()
    }

    /// Returns how many were refused because the hold had expired.
    pub fn expired(&self) -> u64 {
        self.answers.get(&410).copied().unwrap_or_default()
    }

    /// Returns the share of these refusals, in percent.
    #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
    pub fn expired_percent(&self) -> f64 {
        100.0 * self.expired() as f64 / self.sent().max(1) as f64
    }

    fn text(&self) -> String {
        let mut text = format!("{} of {}", self.expired(), self.sent());
        let others = self.answers.iter();
        for (status, count) in others.filter(|(status, _)| !matches!(**status, 201 | 410)) {
            text += &format!(", {count} × {status}");
        }
        if self.sent_late_ms > 100.0 {
            text += &format!(", sent up to {} ms late", rounded(self.sent_late_ms));
        }
        text
    }
}

impl Disturbance {
    /// Creates a disturbance that has ended.
    pub fn new(scenario: &str, name: String, shop: &Shop, outcome: PacedOutcome) -> Self {
        Self {
            scenario: scenario.to_owned(),
            name,
            nodes: shop.nodes.len(),
            contender: shop.nodes[0].contender,
            outcome,
            is_complete: true,
            purchases: None,
            detail: String::new(),
        }
    }

    pub fn complete(self, is_complete: bool) -> Self {
        Self {
            is_complete,
            ..self
        }
    }

    pub fn purchases(self, purchases: Purchases) -> Self {
        Self {
            purchases: Some(purchases),
            ..self
        }
    }

    pub fn detail(self, detail: String) -> Self {
        Self { detail, ..self }
    }

    /// Returns the 99th percentile of holds during the disturbance, in milliseconds, for the
    /// judgement. It is infinite if more than one in a hundred was not answered with 201, or if the
    /// disturbance did not end: the measured responses are then the better part.
    pub fn judged_p99_ms(&self) -> f64 {
        let during = &self.outcome.during;
        if self.is_complete && during.failed() * 100 <= during.due {
            during.p99_ms
        } else {
            f64::INFINITY
        }
    }

    fn also(&self) -> String {
        // Near one core, the latencies are the generator's own.
        let cores = self.outcome.cores;
        let busy = (cores > 0.5).then(|| format!("generator {} cores", rounded(cores)));
        let parts = [Some(self.detail.clone()), busy];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        parts.join("; ").trim_start_matches("; ").to_owned()
    }

    fn cells(&self) -> Vec<String> {
        let PacedOutcome {
            before,
            during,
            after,
            ..
        } = &self.outcome;
        let took = rounded(during.seconds);
        let mut failed = format!(
            "{} of {}",
            grouped(number(during.failed())),
            grouped(number(during.due))
        );
        let statuses = during.answers.iter().filter(|(status, _)| **status != 201);
        let statuses: Vec<String> = statuses.map(|(status, _)| status.to_string()).collect();
        if !statuses.is_empty() {
            failed += &format!(" ({})", statuses.join(", "));
        }
        vec![
            self.name.clone(),
            self.nodes.to_string(),
            self.contender.name().to_owned(),
            if self.is_complete {
                took
            } else {
                format!("not over after {took}")
            },
            rounded(before.p50_ms),
            rounded(before.p99_ms),
            rounded(during.p50_ms),
            rounded(during.p99_ms),
            rounded(during.max_ms),
            failed,
            rounded(after.p99_ms),
            self.purchases
                .as_ref()
                .map_or("–".to_owned(), Purchases::text),
            self.also(),
        ]
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
const fn number(count: u64) -> f64 {
    count as f64
}

const HEADINGS: [&str; 13] = [
    "disturbance",
    "nodes",
    "build",
    "took s",
    "p50 before",
    "p99 before",
    "p50 during",
    "p99 during",
    "max during",
    "not 201 during",
    "p99 after",
    "410 in time",
    "also",
];

/// Formats all lines of each disturbance together, in the order in which the disturbances were
/// first played.
fn all_cells(disturbances: &[Disturbance]) -> Vec<Vec<String>> {
    let mut sorted: Vec<&Disturbance> = disturbances.iter().collect();
    let first = |name: &str| disturbances.iter().position(|other| other.name == name);
    sorted.sort_by_key(|one| (first(&one.name), one.nodes));
    let headings = HEADINGS.map(str::to_owned).to_vec();
    std::iter::once(headings)
        .chain(sorted.into_iter().map(Disturbance::cells))
        .collect()
}

/// Formats the disturbances for a terminal.
pub fn table(disturbances: &[Disturbance]) -> String {
    columns(&all_cells(disturbances))
}

/// Formats the disturbances as Markdown, with a heading; empty if there are none.
pub fn markdown(disturbances: &[Disturbance]) -> String {
    if disturbances.is_empty() {
        return String::new();
    }
    format!(
        "\n### Holds on other drops while a shop is disturbed\n\n\
         Open loop, timed from when each hold was due; milliseconds. `410 in time`: purchases that \
         were sent 1.7 s before their hold expired and were answered 410.\n\n{}",
        markdown_table(&all_cells(disturbances))
    )
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::generator::paced::PhaseFigures;

    /// A disturbance of `contender` on `nodes` nodes during which the 99th percentile was `p99_ms`.
    pub fn disturbance(name: &str, nodes: usize, contender: Contender, p99_ms: f64) -> Disturbance {
        Disturbance {
            scenario: "consequences".into(),
            name: name.into(),
            nodes,
            contender,
            outcome: PacedOutcome {
                during: PhaseFigures {
                    seconds: 2.0,
                    due: 4_000,
                    good: 3_990,
                    p99_ms,
                    answers: BTreeMap::from([(201, 3_990), (503, 10)]),
                    ..PhaseFigures::default()
                },
                ..PacedOutcome::default()
            },
            is_complete: true,
            purchases: None,
            detail: String::new(),
        }
    }

    #[test]
    fn builds_are_listed_on_adjacent_lines() {
        let (new, old) = (Contender::Holdfast, Contender::Against);
        let all = [
            disturbance("restock", 1, new, 20.0),
            disturbance("cancel", 1, new, 30.0),
            disturbance("restock", 1, old, 2_000.0),
            disturbance("cancel", 1, old, 31_000.0).complete(false),
            disturbance("restock", 2, new, 40.0),
        ];
        let lines: Vec<Vec<String>> = all_cells(&all)
            .into_iter()
            .map(|cells| cells[..4].to_vec())
            .collect();
        assert_eq!(
            lines[1..]
                .concat()
                .chunks(4)
                .map(|cells| cells.join(" "))
                .collect::<Vec<_>>(),
            [
                "restock 1 holdfast 2.00",
                "restock 1 against 2.00",
                "restock 2 holdfast 2.00",
                "cancel 1 holdfast 2.00",
                "cancel 1 against not over after 2.00",
            ]
        );
        let text = markdown(&all);
        assert!(
            text.contains("| 31,000 |") && text.contains("| 10 of 4,000 (503) |"),
            "{text}"
        );
        assert!(markdown(&[]).is_empty());
    }

    #[test]
    fn percentile_without_failed_requests_meets_no_target() {
        let mut one = disturbance("cancel", 1, Contender::Holdfast, 20.0);
        assert!((one.judged_p99_ms() - 20.0).abs() < 1e-9);
        one.outcome.during.good = 3_000;
        assert!(one.judged_p99_ms().is_infinite(), "a quarter was refused");
        one.outcome.during.good = 3_990;
        assert!(one.complete(false).judged_p99_ms().is_infinite());
    }

    #[test]
    fn refused_purchases_in_time_are_a_share_of_all() {
        let purchases = Purchases {
            answers: BTreeMap::from([(201, 150), (410, 40), (503, 10)]),
            sent_late_ms: 250.0,
        };
        assert_eq!((purchases.sent(), purchases.expired()), (200, 40));
        assert!((purchases.expired_percent() - 20.0).abs() < 1e-9);
        assert_eq!(
            purchases.text(),
            "40 of 200, 10 × 503, sent up to 250 ms late"
        );
    }
}
