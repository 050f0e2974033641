//! Shows a stampede while it runs: a bar on a terminal, otherwise a plain line at most once a second.
//!
//! Promise: counting costs the buyers one atomic addition, and drawing happens on its own time.
//! Limit: for the eye only; the verdict is counted from the visits and from the log.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use terminal::say;
use terminal::table::grouped;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::outcome::Miss;

/// How often the bar is redrawn.
const REDRAW: Duration = Duration::from_millis(100);
/// How often a plain line is written.
const PLAIN: Duration = Duration::from_secs(1);

/// Running counts.
#[derive(Debug, Default)]
pub struct Counts {
    /// How much of the present phase is done.
    pub done: AtomicU64,
    /// Holds acknowledged.
    pub held: AtomicU64,
    /// Purchases acknowledged.
    pub sold: AtomicU64,
    /// Requests refused.
    pub refused: AtomicU64,
    /// Requests failed for good.
    pub failed: AtomicU64,
    /// Requests tried again.
    pub retried: AtomicU64,
}

impl Counts {
    /// Adds what one request came to.
    pub fn note<T>(&self, result: &Result<T, Miss>, succeeded: &AtomicU64) {
        let counter = match result {
            Ok(_) => succeeded,
            Err(Miss::Refused(_)) => &self.refused,
            Err(Miss::Failed(_)) => &self.failed,
        };
        counter.fetch_add(1, Relaxed);
    }

    fn line(&self) -> String {
        let count = |counter: &AtomicU64| grouped(counter.load(Relaxed));
        format!(
            "held {} · sold {} · refused {} · errors {} · retried {}",
            count(&self.held),
            count(&self.sold),
            count(&self.refused),
            count(&self.failed),
            count(&self.retried)
        )
    }
}

/// One phase on show. Dropping it ends the show.
#[derive(Debug)]
pub struct Phase {
    task: JoinHandle<()>,
    bar: ProgressBar,
}

impl Phase {
    /// Shows `name` going from 0 to `total`, from `counts`.
    #[must_use]
    pub fn show(name: &'static str, total: u64, counts: &Arc<Counts>) -> Self {
        counts.done.store(0, Relaxed);
        let bar = bar(name, total);
        let counts = Arc::clone(counts);
        let task = if bar.is_hidden() {
            tokio::spawn(write_lines(name, total, counts))
        } else {
            tokio::spawn(redraw(bar.clone(), counts))
        };
        Self { task, bar }
    }
}

impl Drop for Phase {
    fn drop(&mut self) {
        self.task.abort();
        self.bar.finish_and_clear();
    }
}

fn bar(name: &'static str, total: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{prefix:>10} {bar:24} {human_pos}/{human_len}  {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total).with_style(style).with_prefix(name)
}

async fn redraw(bar: ProgressBar, counts: Arc<Counts>) {
    let mut tick = interval(REDRAW);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tick.tick().await;
        bar.set_position(counts.done.load(Relaxed));
        bar.set_message(counts.line());
    }
}

async fn write_lines(name: &'static str, total: u64, counts: Arc<Counts>) {
    let mut tick = interval(PLAIN);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick.tick().await; // The first is due at once; a phase shorter than a second needs no line.
    loop {
        tick.tick().await;
        let done = grouped(counts.done.load(Relaxed));
        let total = grouped(total);
        say(&format!("{name}: {done} of {total} · {}", counts.line()));
    }
}
