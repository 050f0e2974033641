//! Starts the real program and talks to it as the world does: over HTTP, by signals, and on its database.
//!
//! Promise: every [`App`] is a process of its own on a fresh database and a data directory of its own, on a port that the
//! system picks; it is killed when dropped, and its log is shown when the test fails.
//! Limit: a test waits for states ([`eventually`]), never for a time, so a hang shows only after [`PATIENCE`].

mod api;
mod app;
mod debian;
mod described;
mod events;
mod lively;
mod python;
mod raw;
mod raw_events;
mod reply;
mod rules;
mod terminal;
mod token;
mod tunnel;
mod watcher;

use std::fmt::Debug;
use std::future::Future;
use std::panic::Location;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

pub use self::api::{Api, key, take};
pub use self::app::{ADMIN_KEY, AUDITOR_KEY, App, Finished, Launch, finish};
pub use self::debian::{install, on_path, run};
pub use self::described::validator;
pub use self::events::{Event, Ledger, Units};
pub use self::lively::Lively;
pub use self::python::Python;
pub use self::raw::{Raw, allow_open_files, holds_at_once};
pub use self::raw_events::RawEvent;
pub use self::reply::{Reply, tally};
pub use self::rules::Rules;
pub use self::terminal::finish_on_terminal;
pub use self::token::{seconds_now, signed, token};
pub use self::tunnel::Tunnel;
pub use self::watcher::{Frame, Watcher};

/// How long anything may take before a test gives up. Generous: it is met only when something is broken.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// How often a state is looked at.
const GLANCE: Duration = Duration::from_millis(15);

/// Asks again until `look` gives a value, and returns it.
///
/// # Panics
/// After [`PATIENCE`], at the caller's place.
#[track_caller]
pub fn eventually<T, Look, Seen>(what: &str, mut look: Look) -> impl Future<Output = T>
where
    Look: FnMut() -> Seen,
    Seen: Future<Output = Option<T>>,
{
    let caller = Location::caller();
    async move {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(value) = look().await {
                return value;
            }
            assert!(
                Instant::now() < deadline,
                "{caller}: never came about: {what}"
            );
            sleep(GLANCE).await;
        }
    }
}

/// Runs all of `work` at the same time, and returns what each came to, in order.
///
/// # Panics
/// When one of them panics.
pub async fn at_once<T, Work>(work: impl IntoIterator<Item = Work>) -> Vec<T>
where
    T: Send + 'static,
    Work: Future<Output = T> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for (index, work) in work.into_iter().enumerate() {
        tasks.spawn(async move { (index, work.await) });
    }
    let mut done: Vec<(usize, T)> = tasks.join_all().await;
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, outcome)| outcome).collect()
}

/// The text of a JSON string.
///
/// # Panics
/// When it is none.
#[track_caller]
pub fn text(value: &serde_json::Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no text: {value}"))
        .to_owned()
}

/// A JSON number that is a whole one and not negative.
///
/// # Panics
/// When it is none.
#[track_caller]
pub fn number(value: &serde_json::Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("no whole number: {value}"))
}

/// Our clock as the API writes times; they order as text.
#[must_use]
pub fn now() -> String {
    in_seconds(0)
}

/// The time `seconds` from now, as the API writes times.
#[must_use]
pub fn in_seconds(seconds: i64) -> String {
    let at = chrono::Utc::now() + chrono::TimeDelta::seconds(seconds);
    at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// Sorted and without what repeats.
pub fn distinct<T: Ord + Debug>(values: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.into_iter().collect();
    values.sort();
    values.dedup();
    values
}
