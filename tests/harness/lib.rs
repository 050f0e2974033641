//! Starts the real program and uses it over HTTP, by signals, and through its database.
//!
//! Promise: every [`App`] is a process of its own on a fresh database and data directory, on a port
//! chosen by the system. It is killed when dropped, and its log is printed when the test fails.
//! Limit: a test waits for states ([`eventually`]), never for a time, so a hang is detected only
//! after [`TIMEOUT`].

mod api;
mod app;
mod cached_directory;
mod debian;
mod described;
mod events;
mod node;
mod patroni;
mod postgres;
pub mod proxies;
mod python;
mod raw;
mod raw_events;
mod receiver;
mod reply;
mod rules;
mod sample_log;
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

pub use self::api::{Api, fetch, key};
pub use self::app::{ADMIN_KEY, AUDITOR_KEY, App, Finished, Launch, finish};
pub use self::debian::{install, on_path, run};
pub use self::described::validator;
pub use self::events::{Event, Ledger, Units};
pub use self::node::Node;
pub use self::patroni::{Patroni, Promotion};
pub use self::postgres::PostgresPrograms;
pub use self::python::Python;
pub use self::raw::{Raw, allow_open_files, concurrent_holds};
pub use self::raw_events::RawEvent;
pub use self::receiver::{Answer, Received, Receiver, in_order};
pub use self::reply::{Reply, tally};
pub use self::rules::Rules;
pub use self::sample_log::SampleLog;
pub use self::terminal::finish_on_terminal;
pub use self::token::{seconds_now, signed, token};
pub use self::tunnel::Tunnel;
pub use self::watcher::{Frame, Watcher};

/// How long a state may take before a test fails. Generous: it is reached only when something is
/// broken.
pub const TIMEOUT: Duration = Duration::from_secs(120);
/// How often a state is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(15);

/// Polls `look` until it returns a value, and returns that value.
///
/// # Panics
/// After [`TIMEOUT`], at the caller's location.
#[track_caller]
pub fn eventually<T, Look, Seen>(what: &str, mut look: Look) -> impl Future<Output = T>
where
    Look: FnMut() -> Seen,
    Seen: Future<Output = Option<T>>,
{
    let caller = Location::caller();
    async move {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let Some(value) = look().await {
                return value;
            }
            assert!(
                Instant::now() < deadline,
                "{caller}: timed out waiting until {what}"
            );
            sleep(POLL_INTERVAL).await;
        }
    }
}

/// Runs all of `work` concurrently and returns the results in order.
///
/// # Panics
/// If one of them panics.
pub async fn concurrently<T, Work>(work: impl IntoIterator<Item = Work>) -> Vec<T>
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
/// If the value is not a string.
#[track_caller]
pub fn text(value: &serde_json::Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("not a string: {value}"))
        .to_owned()
}

/// The value of a non-negative JSON integer.
///
/// # Panics
/// If the value is not one.
#[track_caller]
pub fn number(value: &serde_json::Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("not a non-negative integer: {value}"))
}

/// The present time as the API writes it; such times sort as text.
#[must_use]
pub fn now() -> String {
    in_seconds(0)
}

/// The time `seconds` from now, as the API writes it.
#[must_use]
pub fn in_seconds(seconds: i64) -> String {
    in_seconds_of(chrono::Utc::now(), seconds)
}

/// The present time and the time `seconds` after exactly that, as the API writes them. Two calls of
/// [`in_seconds`] may be a millisecond further apart.
#[must_use]
pub fn now_and_in(seconds: i64) -> (String, String) {
    let now = chrono::Utc::now();
    (in_seconds_of(now, 0), in_seconds_of(now, seconds))
}

fn in_seconds_of(start: chrono::DateTime<chrono::Utc>, seconds: i64) -> String {
    let at = start + chrono::TimeDelta::seconds(seconds);
    at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// Sorts and removes duplicates.
pub fn distinct<T: Ord + Debug>(values: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.into_iter().collect();
    values.sort();
    values.dedup();
    values
}
