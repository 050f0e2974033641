//! The targets, and their comparison with a report.

use serde::Serialize;

use crate::contenders::Contender;
use crate::report::disturbances::{Disturbance, Purchases};
use crate::report::{Figure, Report, rounded};
use crate::scenario::{
    AUDIT_RATIOS, CANCEL, EXPIRIES, FIRST_ANSWER, FIRST_CARD, FIRST_PAGE, IDLE, IDLE_P99, LATENCY,
    LOADED_MAX, MEMORY, ORDERS, PRESS, RESTOCK, STARTED, WRONG, empty_log_label,
    hundred_drops_label, long_log_label, ratio_name, watched_label,
};

/// The direction of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// At least the target.
    More,
    /// At most the target.
    Less,
}

/// A target and the measured value.
#[derive(Debug, Clone, Serialize)]
pub struct Judgement {
    pub name: String,
    pub better: Better,
    pub target: f64,
    /// A more ambitious target.
    pub stretch: f64,
    /// `None` if the scenario was not played.
    pub measured: Option<f64>,
}

impl Judgement {
    fn reaches(&self, bound: f64) -> Option<bool> {
        self.measured.map(|measured| match self.better {
            Better::More => measured >= bound,
            Better::Less => measured <= bound,
        })
    }

    /// Formats a bound with its direction.
    pub fn wanted(&self, bound: f64) -> String {
        match self.better {
            Better::More => format!("≥ {}", rounded(bound)),
            Better::Less => format!("≤ {}", rounded(bound)),
        }
    }

    /// Returns whether the target is met, exceeded, or missed by how much.
    pub fn verdict(&self) -> String {
        match (self.reaches(self.stretch), self.reaches(self.target)) {
            (None, _) | (_, None) => "–".to_owned(),
            (Some(true), _) => "met, stretch too".to_owned(),
            (Some(false), Some(true)) => "met".to_owned(),
            (Some(false), Some(false)) => {
                let by = self.measured.unwrap_or_default() - self.target;
                format!("SHORT by {}", rounded(by.abs()))
            }
        }
    }
}

/// Compares the report with every target.
pub fn judge(report: &Report) -> Vec<Judgement> {
    let parts = [
        judge_holds(report),
        judge_other_rates(report),
        judge_server(report),
        judge_audit(report),
        judge_stream(report),
        judge_pages(report),
        judge_disturbances(&report.disturbances),
    ];
    parts.into_iter().flatten().collect()
}

fn judge_holds(report: &Report) -> Vec<Judgement> {
    let hot = |clients, rival| ratio(report, "hot", Some(clients), "holdfast", rival);
    let p99 = || {
        let row = report.section("hot", Some(256))?.row("holdfast")?;
        Some(row.median(|figures| figures.outcome.p99_ms))
    };
    vec![
        more("holds ÷ no-op, 256 clients", 0.60, 0.80, hot(256, "no-op")),
        less("p99 of holds in ms, 256 clients", 15.0, 8.0, p99()),
        more("holds ÷ no-op, 64 clients", 0.45, 0.55, hot(64, "no-op")),
        more("holds ÷ FOR UPDATE", 25.0, 40.0, hot(256, "for-update")),
        more(
            "holds ÷ conditional UPDATE",
            15.0,
            25.0,
            hot(256, "conditional-update"),
        ),
        more("holds ÷ stock cqrs-es", 300.0, 600.0, hot(256, "cqrs-es")),
        more("holds ÷ Redis always", 1.0, 1.3, hot(256, "redis-always")),
    ]
}

/// Compares the rates of refusals and reads, and of holds in a larger shop.
fn judge_other_rates(report: &Report) -> Vec<Judgement> {
    let against = |scenario, ours: &str, base: &str| ratio(report, scenario, None, ours, base);
    let long_log = report.section("long-log", None).and_then(|section| {
        let mut labels = section.rows.iter().map(|row| row.label.clone());
        labels.find(|label| label != empty_log_label())
    });
    let long_log_name = long_log
        .clone()
        .unwrap_or_else(|| long_log_label(10_000_000));
    vec![
        more(
            "sold-out refusals ÷ no-op",
            0.85,
            0.95,
            against("sold-out", "holdfast", "no-op"),
        ),
        more(
            "reads ÷ no-op GET",
            0.90,
            0.98,
            against("read", "holdfast", "no-op"),
        ),
        more(
            format!("{long_log_name} ÷ empty log"),
            0.90,
            0.98,
            long_log.and_then(|label| against("long-log", &label, empty_log_label())),
        ),
        more(
            "200 watchers ÷ alone",
            0.85,
            0.95,
            against("watchers", &watched_label(200), "holdfast"),
        ),
        more(
            "100 drops ÷ one drop",
            0.90,
            1.0,
            against("drops", &hundred_drops_label(), "holdfast"),
        ),
    ]
}

/// Compares the figures of a server's start, memory and delays.
fn judge_server(report: &Report) -> Vec<Judgement> {
    let figure = |name| value(report, name);
    let restart = figure_named(report, FIRST_ANSWER);
    let restart_name = restart.map_or(FIRST_ANSWER, |figure| &figure.name);
    let started = figure_named(report, STARTED);
    let started_name = started.map_or(STARTED, |figure| &figure.name);
    vec![
        less(
            format!("{restart_name}, s"),
            2.0,
            0.5,
            restart.map(|figure| figure.value),
        ),
        less(
            "memory per live hold, B",
            400.0,
            200.0,
            figure("memory per live hold"),
        ),
        less(
            "release lateness p99, ms",
            50.0,
            10.0,
            figure("release lateness p99"),
        ),
        less(
            "projection lag p99, ms",
            100.0,
            100.0,
            figure("projection lag p99"),
        ),
        less(
            "projection lag growth, ms",
            100.0,
            100.0,
            figure("projection lag, last third less first"),
        ),
        more(ORDERS, 0.8, 1.0, figure(ORDERS)),
        less(format!("{IDLE_P99}, ms"), 50.0, 10.0, figure(IDLE_P99)),
        less(
            format!("{LOADED_MAX}, ms"),
            2_000.0,
            500.0,
            figure(LOADED_MAX),
        ),
        less(FIRST_PAGE, 1.5, 1.1, figure(FIRST_PAGE)),
        less(
            format!("{started_name}, ms"),
            500.0,
            200.0,
            started.map(|figure| figure.value),
        ),
    ]
}

fn judge_audit(report: &Report) -> Vec<Judgement> {
    let [verify, rebuild, export] = AUDIT_RATIOS;
    let audit = |ratio: &str, target, stretch| {
        let found = figure_named(report, ratio);
        let name = found.map_or(ratio, |figure| &figure.name);
        less(name, target, stretch, found.map(|figure| figure.value))
    };
    vec![
        audit(verify, 3.0, 2.0),
        audit(rebuild, 4.0, 2.5),
        audit(export, 2.0, 1.3),
    ]
}

fn judge_stream(report: &Report) -> Vec<Judgement> {
    let of_watchers = |prefix: &str, unit: &str, target, stretch| {
        let found = figure_named(report, prefix);
        let name = found.map_or_else(|| format!("{prefix}10000"), |figure| figure.name.clone());
        let measured = found.map(|figure| figure.value);
        less(format!("{name}, {unit}"), target, stretch, measured)
    };
    let figure = |name| value(report, name);
    vec![
        of_watchers(LATENCY[0], "ms", 100.0, 50.0),
        of_watchers(LATENCY[1], "ms", 50.0, 50.0),
        less(format!("{IDLE}, ms"), 10.0, 10.0, figure(IDLE)),
        of_watchers(MEMORY, "KiB", 32.0, 16.0),
        less(WRONG, 0.0, 0.0, figure(WRONG)),
    ]
}

fn judge_pages(report: &Report) -> Vec<Judgement> {
    let page = |prefix: &str| {
        let is_ratio = |figure: &&Figure| figure.name.starts_with(prefix) && figure.unit == "×";
        let found = report.figures.iter().find(is_ratio);
        let name = found.map_or_else(|| ratio_name(prefix, 10_000), |figure| figure.name.clone());
        less(name, 3.0, 1.5, found.map(|figure| figure.value))
    };
    vec![page(FIRST_CARD), page(PRESS)]
}

fn more(name: impl Into<String>, target: f64, stretch: f64, measured: Option<f64>) -> Judgement {
    Judgement {
        name: name.into(),
        better: Better::More,
        target,
        stretch,
        measured,
    }
}

fn less(name: impl Into<String>, target: f64, stretch: f64, measured: Option<f64>) -> Judgement {
    Judgement {
        better: Better::Less,
        ..more(name, target, stretch, measured)
    }
}

/// The median ratio of two rows of a scenario.
fn ratio(
    report: &Report,
    scenario: &str,
    clients: Option<usize>,
    numerator: &str,
    denominator: &str,
) -> Option<f64> {
    let section = report.section(scenario, clients)?;
    Some(section.ratio(numerator, denominator)?.median)
}

/// The first figure whose name begins with `prefix`. The rest of a name is the number of events or
/// watchers, which may differ from the target's.
fn figure_named<'a>(report: &'a Report, prefix: &str) -> Option<&'a Figure> {
    let mut figures = report.figures.iter();
    figures.find(|figure| figure.name.starts_with(prefix))
}

/// The value of the figure with exactly this name.
fn value(report: &Report, name: &str) -> Option<f64> {
    let mut figures = report.figures.iter();
    let found = figures.find(|figure| figure.name == name)?;
    Some(found.value)
}

/// Compares the holds on other drops during each disturbance, and the purchases in time, with their
/// targets.
fn judge_disturbances(all: &[Disturbance]) -> Vec<Judgement> {
    let played = |name: &str| {
        let ours = all
            .iter()
            .filter(|one| one.contender == Contender::Holdfast && one.name.starts_with(name));
        ours.collect::<Vec<_>>()
    };
    let mut judgements = vec![];
    for name in [RESTOCK, EXPIRIES, CANCEL] {
        for one in played(name) {
            let name = format!("p99 during {}, nodes: {}, ms", one.name, one.nodes);
            judgements.push(less(name, 100.0, 50.0, Some(one.judged_p99_ms())));
        }
        if played(name).is_empty() {
            let name = format!("p99 during {}, ms", name.trim_end_matches([':', ' ']));
            judgements.push(less(name, 100.0, 50.0, None));
        }
    }
    let purchases = played(EXPIRIES)
        .into_iter()
        .filter_map(|one| one.purchases.as_ref());
    let worst = purchases.map(Purchases::expired_percent).reduce(f64::max);
    judgements.push(less("purchases in time answered 410, %", 0.0, 0.0, worst));
    judgements
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::disturbances::tests::disturbance;
    use crate::report::tests::report;

    fn verdict(rate: f64, name: &str) -> String {
        let report = report(
            256,
            &[(Contender::NoOp, 100.0), (Contender::Holdfast, rate)],
        );
        let judgements = judge(&report);
        judgements
            .iter()
            .find(|judgement| judgement.name == name)
            .unwrap()
            .verdict()
    }

    #[test]
    fn each_disturbance_of_this_build_is_compared_with_the_target() {
        let mut report = report(256, &[]);
        let name = format!("{CANCEL}1000");
        let (ours, theirs) = (Contender::Holdfast, Contender::Against);
        let verdict = |report: &Report, name: &str| {
            let all = judge(report);
            let found = all.iter().find(|judgement| judgement.name == name);
            found.map(Judgement::verdict)
        };
        let not_played = format!("p99 during {}, ms", CANCEL.trim_end_matches(": "));
        assert_eq!(verdict(&report, &not_played).as_deref(), Some("–"));
        let late = Purchases {
            answers: [(201, 3), (410, 1)].into(),
            ..Purchases::default()
        };
        report.disturbances = vec![
            disturbance(&name, 1, theirs, 31_000.0),
            disturbance(&name, 1, ours, 80.0),
            disturbance(&name, 2, ours, 20.0).complete(false),
            disturbance(&format!("{EXPIRIES}9"), 1, ours, 300.0).purchases(late),
        ];
        let of = |nodes| verdict(&report, &format!("p99 during {name}, nodes: {nodes}, ms"));
        assert_eq!(of(1).as_deref(), Some("met"));
        assert!(of(2).unwrap().starts_with("SHORT"));
        assert_eq!(verdict(&report, &not_played), None);
        let late = verdict(&report, "purchases in time answered 410, %");
        assert_eq!(late.as_deref(), Some("SHORT by 25.0"));
    }

    #[test]
    fn verdict_reports_met_exceeded_or_missed_by_how_much() {
        let name = "holds ÷ no-op, 256 clients";
        assert_eq!(verdict(85.0, name), "met, stretch too");
        assert_eq!(verdict(60.0, name), "met");
        assert_eq!(verdict(40.0, name), "SHORT by 0.20");
        assert_eq!(verdict(40.0, "holds ÷ no-op, 64 clients"), "–");
        assert_eq!(verdict(40.0, "p99 of holds in ms, 256 clients"), "met");
    }
}
