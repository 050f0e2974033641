//! The results of a run: tables for people, JSON for programs, Markdown for docs/PERFORMANCE.md.

pub mod disturbances;

use std::fmt::Write as _;

use serde::Serialize;

use self::disturbances::Disturbance;
use crate::round::{Row, Section};
use crate::stats::Ratio;
use crate::targets::{Judgement, judge};

/// The origin of the results.
#[derive(Debug, Clone, Serialize)]
pub struct Provenance {
    /// The start of the run, UTC.
    pub date: String,
    /// The commit of this workspace; `+` if there were uncommitted changes.
    pub commit: String,
    pub command: String,
    /// Processor, cores and memory.
    pub machine: String,
    pub kernel: String,
    pub postgres: String,
    /// The build profile: the figures of a debug build have no meaning.
    pub profile: &'static str,
}

/// One figure that is not a rate.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    pub scenario: String,
    pub name: String,
    pub value: f64,
    pub unit: String,
    /// How it was measured.
    pub detail: String,
}

/// All results of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub provenance: Provenance,
    /// Contenders and scenarios that were omitted, and the reason.
    pub notes: Vec<String>,
    pub sections: Vec<Section>,
    pub figures: Vec<Figure>,
    /// The latencies of holds during disturbances.
    pub disturbances: Vec<Disturbance>,
}

impl Report {
    /// Adds and prints `figure`.
    pub fn figure(&mut self, figure: Figure) {
        println!(
            "{}: {} {} ({})",
            figure.name,
            rounded(figure.value),
            figure.unit,
            figure.detail
        );
        self.figures.push(figure);
    }

    /// Returns the section of `scenario` at `clients`; `None` for `clients` matches any number.
    pub fn section(&self, scenario: &str, clients: Option<usize>) -> Option<&Section> {
        self.sections.iter().find(|section| {
            section.scenario == scenario && clients.is_none_or(|wanted| section.clients == wanted)
        })
    }

    /// Returns the report as JSON, with its judgements.
    ///
    /// # Errors
    /// Never in practice: it is plain data.
    pub fn json(&self) -> serde_json::Result<String> {
        #[derive(Serialize)]
        struct Whole<'a> {
            #[serde(flatten)]
            report: &'a Report,
            ratios: Vec<Compared>,
            targets: Vec<Judgement>,
        }
        serde_json::to_string_pretty(&Whole {
            report: self,
            ratios: self.sections.iter().flat_map(compared).collect(),
            targets: judge(self),
        })
    }
}

#[derive(Debug, Clone, Serialize)]
struct Compared {
    scenario: String,
    clients: usize,
    numerator: String,
    denominator: String,
    ratio: Ratio,
}

/// Compares each row with the no-op, and Holdfast with each row.
fn compared(section: &Section) -> Vec<Compared> {
    let labels: Vec<&str> = section.rows.iter().map(|row| row.label.as_str()).collect();
    let against_no_op = labels.iter().map(|label| (*label, "no-op"));
    let holdfast_against = labels.iter().map(|label| ("holdfast", *label));
    against_no_op
        .chain(holdfast_against)
        .filter(|(numerator, denominator)| numerator != denominator)
        .filter_map(|(numerator, denominator)| {
            Some(Compared {
                scenario: section.scenario.clone(),
                clients: section.clients,
                numerator: numerator.to_owned(),
                denominator: denominator.to_owned(),
                ratio: section.ratio(numerator, denominator)?,
            })
        })
        .collect()
}

const HEADINGS: [&str; 12] = [
    "contender",
    "requests/s",
    "p50 ms",
    "p99 ms",
    "max ms",
    "errors",
    "server",
    "store",
    "generator",
    "µs/request",
    "÷ no-op",
    "holdfast ÷",
];

/// Formats one section as rows of cells.
fn section_cells(section: &Section) -> Vec<Vec<String>> {
    let headings = HEADINGS.map(str::to_owned).to_vec();
    let rows = section.rows.iter().map(|row| row_cells(section, row));
    std::iter::once(headings).chain(rows).collect()
}

fn row_cells(section: &Section, row: &Row) -> Vec<String> {
    let ratio = |ratio: Option<Ratio>| match ratio {
        Some(ratio) => format!(
            "{} ({}–{})",
            rounded(ratio.median),
            rounded(ratio.min),
            rounded(ratio.max)
        ),
        None => "–".to_owned(),
    };
    let rate = row.median(|figures| figures.outcome.per_second);
    let server = row.median(|figures| figures.cores.server);
    let store = row.median(|figures| figures.cores.store);
    vec![
        row.label.clone(),
        grouped(rate),
        rounded(row.median(|figures| figures.outcome.p50_ms)),
        rounded(row.median(|figures| figures.outcome.p99_ms)),
        rounded(row.median(|figures| figures.outcome.max_ms)),
        row.errors().to_string(),
        format!("{server:.2}"),
        format!("{store:.2}"),
        format!(
            "{:.2}",
            row.median(|figures| figures.outcome.generator_cores)
        ),
        rounded((server + store) * 1e6 / rate.max(1e-9)),
        ratio(section.ratio(&row.label, "no-op")),
        ratio(section.ratio("holdfast", &row.label)),
    ]
}

fn judgement_cells(judgements: &[Judgement]) -> Vec<Vec<String>> {
    let headings = ["target", "wanted", "stretch", "measured", "verdict"];
    let rows = judgements.iter().map(|judgement| {
        vec![
            judgement.name.clone(),
            judgement.wanted(judgement.target),
            judgement.wanted(judgement.stretch),
            judgement.measured.map_or("not measured".into(), rounded),
            judgement.verdict(),
        ]
    });
    std::iter::once(headings.map(str::to_owned).to_vec())
        .chain(rows)
        .collect()
}

pub fn section_table(section: &Section) -> String {
    let Section {
        scenario, clients, ..
    } = section;
    let table = columns(&section_cells(section));
    format!(
        "{scenario}, {clients} clients (medians; CPU in cores; ratios paired, lowest–highest)\n{table}"
    )
}

/// Formats the targets and the measured values, for a terminal.
pub fn targets_table(report: &Report) -> String {
    columns(&judgement_cells(&judge(report)))
}

/// Formats the whole report for docs/PERFORMANCE.md.
pub fn markdown(report: &Report) -> String {
    let Provenance {
        date,
        commit,
        command,
        machine,
        kernel,
        postgres,
        profile,
    } = &report.provenance;
    let mut text = format!(
        "Measured {date} at commit {commit} ({profile} build): `{command}`\n\
         On {machine}, Linux {kernel}, {postgres}, fsync on.\n"
    );
    for note in &report.notes {
        let _infallible = writeln!(text, "{note}");
    }
    for section in &report.sections {
        let (scenario, clients) = (&section.scenario, section.clients);
        text += &format!("\n### {scenario}, {clients} clients\n\n");
        text += &markdown_table(&section_cells(section));
    }
    text += &disturbances::markdown(&report.disturbances);
    if !report.figures.is_empty() {
        text += "\n### Other figures\n\n";
        let rows = report.figures.iter().map(|figure| {
            vec![
                figure.name.clone(),
                format!("{} {}", rounded(figure.value), figure.unit),
                figure.detail.clone(),
            ]
        });
        let headings = ["figure", "value", "from"].map(str::to_owned).to_vec();
        let cells: Vec<_> = std::iter::once(headings).chain(rows).collect();
        text += &markdown_table(&cells);
    }
    text += "\n### Targets\n\n";
    text + &markdown_table(&judgement_cells(&judge(report)))
}

/// Formats a first row of headings, then rows; the first column is aligned left, the others right.
fn markdown_table(rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        text += &format!("| {} |\n", row.join(" | "));
        if index == 0 {
            let rule: Vec<&str> = (0..row.len())
                .map(|column| if column == 0 { ":--" } else { "--:" })
                .collect();
            text += &format!("| {} |\n", rule.join(" | "));
        }
    }
    text
}

/// Formats columns as wide as their widest cell; the first is aligned left, the others right.
fn columns(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let line = |row: &Vec<String>| {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let width = width(column);
            if column == 0 {
                format!("{cell:<width$}")
            } else {
                format!("{cell:>width$}")
            }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Formats three significant figures, with at most two decimals.
pub fn rounded(value: f64) -> String {
    let size = value.abs();
    if size >= 100.0 {
        grouped(value)
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// Formats a whole number with a comma after every three digits.
pub fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    if value < -0.5 {
        text.push('-');
    }
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::contenders::Contender;
    use crate::generator::Outcome;
    use crate::round::{Cores, Figures};

    /// A report of one round in which `rates` were measured with one hot drop.
    pub fn report(clients: usize, rates: &[(Contender, f64)]) -> Report {
        let row = |(contender, per_second): &(Contender, f64)| Row {
            label: contender.name().to_owned(),
            contender: *contender,
            rounds: vec![Figures {
                outcome: Outcome {
                    per_second: *per_second,
                    p99_ms: 12.0,
                    ..Outcome::default()
                },
                errors: 0,
                cores: Cores::default(),
                stored: None,
                settled_after: 0.0,
                seen: None,
            }],
        };
        Report {
            provenance: Provenance {
                date: "2026-01-31".into(),
                commit: "abc".into(),
                command: "bench --quick".into(),
                machine: "a machine".into(),
                kernel: "6".into(),
                postgres: "PostgreSQL 15".into(),
                profile: "release",
            },
            notes: vec![],
            sections: vec![Section {
                scenario: "hot".into(),
                clients,
                rows: rates.iter().map(row).collect(),
            }],
            figures: vec![],
            disturbances: vec![],
        }
    }

    #[test]
    fn numbers_are_short_and_grouped() {
        let texts = [
            (1_234_567.0, "1,234,567"),
            (999.6, "1,000"),
            (12.345, "12.3"),
            (0.456, "0.46"),
            (0.0, "0.00"),
            (-1_500.0, "-1,500"),
        ];
        for (value, text) in texts {
            assert_eq!(rounded(value), text);
        }
    }

    #[test]
    fn section_shows_ratios_in_both_directions() {
        let report = report(
            256,
            &[
                (Contender::NoOp, 100_000.0),
                (Contender::Holdfast, 60_000.0),
                (Contender::ForUpdate, 2_000.0),
            ],
        );
        let table = section_table(&report.sections[0]);
        let line = |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(line("holdfast").contains("0.60 (0.60–0.60)"), "{table}");
        assert!(line("for-update").ends_with("30.0 (30.0–30.0)"), "{table}");
    }

    #[test]
    fn markdown_has_a_table_for_each_section_and_the_targets() {
        let report = report(256, &[(Contender::NoOp, 10.0), (Contender::Holdfast, 5.0)]);
        let text = markdown(&report);
        assert!(text.contains("### hot, 256 clients\n\n| contender | requests/s |"));
        assert!(text.contains("| :-- | --: |"));
        assert!(text.contains("### Targets"));
        let wide = text.lines().filter(|line| line.starts_with("| holdfast |"));
        assert_eq!(wide.count(), 1);
    }

    #[test]
    fn json_has_the_ratios_and_the_judgements() {
        let report = report(256, &[(Contender::NoOp, 10.0), (Contender::Holdfast, 5.0)]);
        let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
        assert_eq!(json["ratios"][0]["numerator"], "holdfast");
        assert_eq!(json["ratios"][0]["ratio"]["median"], 0.5);
        assert!(
            json["targets"]
                .as_array()
                .is_some_and(|all| !all.is_empty())
        );
    }
}
