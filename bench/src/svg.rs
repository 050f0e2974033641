//! The bar chart of README: holds per second of every contender, one hot drop, 256 clients.
//!
//! Plain SVG without scripts or fonts; readable on light and dark pages, with a text alternative.

use std::fmt::Write as _;

use crate::report::{Report, grouped};

const WIDTH: f64 = 720.0;
const BAR: f64 = 22.0;
const STEP: f64 = 34.0;
const TOP: f64 = 64.0;
const LABELS: f64 = 170.0;
/// Width for the longest number next to the longest bar.
const NUMBERS: f64 = 90.0;

/// Returns the chart, if the scenario was played.
pub fn chart(report: &Report) -> Option<String> {
    let section = report.section("hot", Some(256))?;
    let bars: Vec<(&str, f64)> = section
        .rows
        .iter()
        .map(|row| {
            let rate = row.median(|figures| figures.outcome.per_second);
            (row.label.as_str(), rate)
        })
        .collect();
    Some(draw(&bars, &report.provenance.machine))
}

fn draw(bars: &[(&str, f64)], machine: &str) -> String {
    let longest = bars.iter().map(|(_, rate)| *rate).fold(1.0, f64::max);
    let rows: f64 = bars.iter().map(|_| STEP).sum();
    let height = TOP + rows + 28.0;
    let mut spoken = vec![];
    let mut body = String::new();
    let mut y = TOP;
    for (label, rate) in bars {
        let width = (rate / longest * (WIDTH - LABELS - NUMBERS)).max(1.0);
        let (class, number, label) = (class(label), grouped(*rate), escaped(label));
        let (middle, end) = (y + BAR * 0.72, LABELS + width + 8.0);
        let _infallible = write!(
            body,
            "  <text class=\"label\" x=\"{x:.0}\" y=\"{middle:.1}\" text-anchor=\"end\">{label}</text>\n  \
             <rect class=\"{class}\" x=\"{LABELS:.0}\" y=\"{y:.0}\" width=\"{width:.1}\" height=\"{BAR:.0}\" rx=\"2\"/>\n  \
             <text x=\"{end:.1}\" y=\"{middle:.1}\">{number}</text>\n",
            x = LABELS - 10.0,
        );
        spoken.push(format!("{label} {number}"));
        y += STEP;
    }
    let (spoken, machine) = (spoken.join(", "), escaped(machine));
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0} {height:.0}" role="img" aria-labelledby="title desc">
  <title id="title">Holds a second on one hot drop, 256 clients</title>
  <desc id="desc">{spoken}</desc>
  <style>
    text {{ font: 14px system-ui, sans-serif; fill: #1f2328; font-variant-numeric: tabular-nums; }}
    .title {{ font-size: 17px; font-weight: 600; }}
    .note {{ font-size: 12px; fill: #59636e; }}
    .ours {{ fill: #0a7d4f; }}
    .limit {{ fill: #8c959f; }}
    .rival {{ fill: #54749c; }}
    @media (prefers-color-scheme: dark) {{
      text {{ fill: #e6edf3; }}
      .note {{ fill: #9198a1; }}
      .ours {{ fill: #2fbf83; }}
    }}
  </style>
  <text class="title" x="0" y="20">Holds a second on one hot drop, 256 clients</text>
  <text class="note" x="0" y="42">{machine}; one run, paired rounds, medians; no-op is the HTTP stack alone</text>
{body}</svg>
"#
    )
}

fn class(label: &str) -> &'static str {
    match label {
        "holdfast" => "ours",
        "no-op" => "limit",
        _ => "rival",
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contenders::Contender;
    use crate::report::tests::report;

    #[test]
    fn bars_are_proportional_to_the_rates() {
        let report = report(
            256,
            &[
                (Contender::NoOp, 100_000.0),
                (Contender::Holdfast, 50_000.0),
            ],
        );
        let svg = chart(&report).unwrap();
        let full = WIDTH - LABELS - NUMBERS;
        assert!(svg.contains(&format!(
            "class=\"limit\" x=\"170\" y=\"64\" width=\"{full:.1}\""
        )));
        assert!(svg.contains(&format!(
            "class=\"ours\" x=\"170\" y=\"98\" width=\"{:.1}\"",
            full / 2.0
        )));
        assert!(svg.contains("no-op 100,000, holdfast 50,000</desc>"));
        assert_eq!(svg.matches("<rect").count(), 2);
    }

    #[test]
    fn chart_requires_its_scenario() {
        assert!(chart(&report(64, &[(Contender::NoOp, 1.0)])).is_none());
    }

    #[test]
    fn names_are_escaped_in_the_markup() {
        let svg = draw(&[("<&>", 1.0)], "a <machine>");
        assert!(svg.contains("&lt;&amp;&gt;") && svg.contains("a &lt;machine&gt;"));
    }
}
