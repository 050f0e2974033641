//! Progress bars for long work: position, rate and remaining time. Shown only on a terminal, on
//! standard error.

use std::fmt;

use indicatif::{HumanCount, ProgressBar, ProgressState, ProgressStyle};

/// For work counted in events.
pub const EVENTS: &str = "{msg} {bar:40} {human_pos}/{human_len} events, {per_sec}, {eta} left";
/// For a file of known size.
pub const BYTES: &str = "{msg} {bar:40} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left";
/// For input of unknown size, such as a pipe.
pub const ENDLESS: &str = "{msg} {spinner} {bytes}, {bytes_per_sec}";

/// Creates a bar with `doing` in front of it; hidden if standard error is not a terminal.
pub fn bar(length: u64, style: &str, doing: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template(style)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("per_sec", whole_rate);
    ProgressBar::new(length)
        .with_style(style)
        .with_message(doing)
}

/// The library's own rate has four decimals, which are unreadable while they change.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a rate has no more digits than that"
)]
fn whole_rate(state: &ProgressState, to: &mut dyn fmt::Write) {
    let _infallible = write!(to, "{}/s", HumanCount(state.per_sec().round() as u64));
}
