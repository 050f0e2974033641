//! Progress of a load test while it runs: a bar on a terminal, otherwise a plain line at most once
//! a second.
//!
//! Promise: counting costs a buyer one atomic addition; drawing runs in a separate task.
//! Limit: for display only; the verdict is computed from the visits and from the log.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use terminal::say;
use terminal::table::grouped;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::outcome::Unsuccessful;

/// The interval between two redraws of the bar.
const REDRAW: Duration = Duration::from_millis(100);
/// The interval between two plain lines.
const PLAIN: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub struct Counts {
    /// Finished steps of the present phase.
    pub done: AtomicU64,
    pub held: AtomicU64,
    pub sold: AtomicU64,
    pub refused: AtomicU64,
    /// Requests that failed after all retries.
    pub failed: AtomicU64,
    pub retried: AtomicU64,
}

impl Counts {
    /// Counts the result of one request.
    pub fn note<T>(&self, result: &Result<T, Unsuccessful>, succeeded: &AtomicU64) {
        let counter = match result {
            Ok(_) => succeeded,
            Err(Unsuccessful::Refused(_)) => &self.refused,
            Err(Unsuccessful::Failed(_)) => &self.failed,
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

/// Displays one phase until dropped.
#[derive(Debug)]
pub struct Phase {
    task: JoinHandle<()>,
    bar: ProgressBar,
}

impl Phase {
    /// Displays `name` from 0 to `total`, from `counts`.
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
    tick.tick().await; // The first tick is immediate; a phase shorter than a second needs no line.
    loop {
        tick.tick().await;
        let done = grouped(counts.done.load(Relaxed));
        let total = grouped(total);
        say(&format!("{name}: {done} of {total} · {}", counts.line()));
    }
}
