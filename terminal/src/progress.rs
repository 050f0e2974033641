//! Bars for work that takes a while: how far, how fast, and how long still. On a terminal only, on standard error.

use std::fmt;

use indicatif::{HumanCount, ProgressBar, ProgressState, ProgressStyle};

/// For work that is counted in events.
pub const EVENTS: &str = "{msg} {bar:40} {human_pos}/{human_len} events, {per_sec}, {eta} left";
/// For a file.
pub const BYTES: &str = "{msg} {bar:40} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left";
/// For what comes through a pipe, and ends when it ends.
pub const ENDLESS: &str = "{msg} {spinner} {bytes}, {bytes_per_sec}";

/// A bar, which is hidden where standard error is no terminal; `doing` stands before it.
pub fn bar(length: u64, style: &str, doing: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template(style)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("per_sec", whole_rate);
    ProgressBar::new(length)
        .with_style(style)
        .with_message(doing)
}

/// The library's own has four decimals, which nobody can read while they change.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a rate has no more digits than that"
)]
fn whole_rate(state: &ProgressState, to: &mut dyn fmt::Write) {
    let _infallible = write!(to, "{}/s", HumanCount(state.per_sec().round() as u64));
}
