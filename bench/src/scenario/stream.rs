//! The latency of the live stream, the cost of a watcher, and the correctness of the last state
//! that every watcher receives.
//!
//! Changes are holds at a given rate, open loop: the next is due by the clock, regardless of the
//! previous response. Latency is measured on every connection: from `recorded_at` to receipt, by
//! one clock. It includes the watchers' own reading time.

use std::net::SocketAddr;

use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep, sleep_until};
use uuid::Uuid;

use super::Play;
use crate::contenders::Contender;
use crate::error::{BenchError, Doing};
use crate::generator::{Generator, Load, Question};
use crate::procfs::resident;
use crate::report::{Figure, grouped, rounded};
use crate::round::{LONG_HOLD, PLENTY, count, settle};
use crate::stage::{Running, place_hold};
use crate::watchers::{Seen, Watch, Watchers};

/// Changes per second: a rate of a real shop, and a rate that only conflation can deliver to ten
/// thousand watchers.
const RATES: [u32; 2] = [10, 50];
/// The minimum duration, in seconds: one watcher of an idle machine needs enough samples for a 99th
/// percentile.
const SHORTEST_IDLE: f64 = 10.0;
const WARM_UP: f64 = 2.0;
/// Watchers of the burst, all of which are checked.
const CHECKED: usize = 1_000;
/// The longest time until the last state reaches every watcher.
const LAST_STATE_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause after connecting.
const CALM: Duration = Duration::from_secs(1);

/// The name of a figure of latency at each rate, without the number of watchers.
pub const LATENCY: [&str; 2] = [
    "commit to receipt p99 at 10 changes/s, watchers: ",
    "commit to receipt p99 at 50 changes/s, watchers: ",
];
/// The same on an idle machine.
pub const IDLE: &str = "commit to receipt p99, idle";
/// The name of the cost of a watcher, without their number.
pub const MEMORY: &str = "memory per watcher, watchers: ";
/// Watchers whose last state differs from the drop's.
pub const WRONG: &str = "watchers of a stampede who ended wrong";

/// # Errors
/// [`BenchError`], in particular if a watcher ended with a wrong state.
pub async fn play(play: &mut Play<'_>, clients: usize) -> Result<(), BenchError> {
    let stage = play.stage;
    let server = stage.start(Contender::Holdfast).await?;
    idle(play, &server).await?;
    many(play, &server).await?;
    burst(play, &server, clients).await?;
    stage.end(server).await
}

async fn idle(play: &mut Play<'_>, server: &Running) -> Result<(), BenchError> {
    let drop_id = server.open_drop(PLENTY, LONG_HOLD).await?;
    let mut watchers = watch(play, server, drop_id, 1).await?;
    // The first commits of a new database are not representative.
    offer(server.address, drop_id, RATES[0], WARM_UP).await?;
    // The first counted change must not fall into the interval of the last uncounted one.
    sleep(CALM).await;
    let seconds = play.settings.pace.seconds.max(SHORTEST_IDLE);
    let seen = offered(server, drop_id, &mut watchers, RATES[0], seconds).await?;
    let detail = format!("{} changes, {}", seen.of_changes.count, latencies(&seen));
    keep(play, IDLE.to_owned(), seen.of_changes.p99_ms, "ms", detail);
    Ok(())
}

async fn many(play: &mut Play<'_>, server: &Running) -> Result<(), BenchError> {
    let number = play.settings.stream_watchers;
    let drop_id = server.open_drop(PLENTY, LONG_HOLD).await?;
    let before = resident(server.pid()).unwrap_or_default();
    let mut watchers = watch(play, server, drop_id, number).await?;
    let seconds = play.settings.pace.seconds;
    for (rate, name) in RATES.into_iter().zip(LATENCY) {
        let cpu = play.stage.cpu(server).server;
        let seen = offered(server, drop_id, &mut watchers, rate, seconds).await?;
        let used = play.stage.cpu(server).server.saturating_sub(cpu);
        let name = format!("{name}{number}");
        let detail = format!(
            "{}; server {} cores",
            latencies(&seen),
            rounded(used.as_secs_f64() / seen.seconds)
        );
        let changes = seen.of_changes;
        keep(play, name, seen.of_frames.p99_ms, "ms", detail);
        let name = format!("until a change is known, p99 at {rate} changes/s, watchers: {number}");
        let detail = format!(
            "p50 {} ms, max {} ms; contains the stream's interval",
            rounded(changes.p50_ms),
            rounded(changes.max_ms)
        );
        keep(play, name, changes.p99_ms, "ms", detail);
    }
    // After much has been sent, because memory that is used only while sending would not show
    // before.
    let grown = resident(server.pid())
        .unwrap_or_default()
        .saturating_sub(before);
    keep(
        play,
        format!("{MEMORY}{number}"),
        kib_each(grown, number),
        "KiB",
        format!(
            "{} MiB more resident memory of the server",
            grown / (1 << 20)
        ),
    );
    Ok(())
}

async fn burst(play: &mut Play<'_>, server: &Running, clients: usize) -> Result<(), BenchError> {
    let drop_id = server.open_drop(PLENTY, LONG_HOLD).await?;
    let mut watchers = watch(play, server, drop_id, CHECKED).await?;
    let load = Load {
        address: server.address,
        question: Question::Hold,
        drops: vec![drop_id],
        clients,
        seconds: play.settings.pace.seconds,
        warm_up: 0.0,
    };
    watchers.begin().await?;
    let outcome = Generator::start(play.stage.reaper(), &load)?
        .outcome()
        .await?;
    let seen = watchers.end().await?;
    settle(server).await?;
    count(server, &outcome, &[drop_id], 1).await?;
    let drop = server.get(&format!("/v1/drops/{drop_id}")).await?;
    let expected = serde_json::to_string(&drop["stock"]).doing("read the drop's stock")?;
    let wrong = wrong_in_the_end(&mut watchers, &drop["stock"]).await?;
    if wrong > 0 {
        return Err(BenchError::Unexpected(format!(
            "{wrong} of {CHECKED} watchers did not end with {expected}"
        )));
    }
    let detail = format!(
        "of {CHECKED}, at {} holds/s and {} frames/s; each compared with the drop",
        grouped(outcome.per_second),
        grouped(seen.per_second())
    );
    keep(play, WRONG.to_owned(), 0.0, "", detail);
    Ok(())
}

/// Returns how many watchers received a last state other than `expected`, once everything in flight
/// has arrived.
async fn wrong_in_the_end(
    watchers: &mut Watchers,
    expected: &serde_json::Value,
) -> Result<usize, BenchError> {
    let until = Instant::now() + LAST_STATE_TIMEOUT;
    loop {
        let states = watchers.last_states().await?;
        let is_expected = |text: &str| {
            serde_json::from_str::<serde_json::Value>(text).is_ok_and(|state| state == *expected)
        };
        let wrong = states.iter().filter(|(text, _)| !is_expected(text));
        let wrong = wrong.map(|(_, count)| count).sum();
        if wrong == 0 || Instant::now() > until {
            return Ok(wrong);
        }
        sleep(Duration::from_millis(50)).await;
    }
}

async fn watch(
    play: &Play<'_>,
    server: &Running,
    drop_id: Uuid,
    watchers: usize,
) -> Result<Watchers, BenchError> {
    let watch = Watch {
        address: server.address,
        drop_id,
        watchers,
    };
    let watchers = Watchers::start(play.stage.reaper(), &watch).await?;
    sleep(CALM).await;
    Ok(watchers)
}

/// Places holds at `rate` for `seconds`, and returns the result of the watchers.
async fn offered(
    server: &Running,
    drop_id: Uuid,
    watchers: &mut Watchers,
    rate: u32,
    seconds: f64,
) -> Result<Seen, BenchError> {
    watchers.begin().await?;
    offer(server.address, drop_id, rate, seconds).await?;
    // Frames in flight still count.
    sleep(CALM).await;
    let mut seen = watchers.end().await?;
    seen.join(server.pool()?, drop_id).await?;
    println!(
        "stream: {} watchers, {rate} changes/s: {}",
        seen.watchers,
        latencies(&seen)
    );
    Ok(seen)
}

async fn offer(
    address: SocketAddr,
    drop_id: Uuid,
    rate: u32,
    seconds: f64,
) -> Result<(), BenchError> {
    let (began, length) = (Instant::now(), Duration::from_secs_f64(seconds));
    let mut holds = JoinSet::new();
    for due in (0..).map(|number| began + Duration::from_secs(number) / rate) {
        if due - began >= length {
            break;
        }
        sleep_until(due).await;
        holds.spawn(place_hold(address, drop_id));
    }
    while let Some(placed) = holds.join_next().await {
        placed.doing("wait for a hold")??;
    }
    Ok(())
}

fn latencies(seen: &Seen) -> String {
    format!(
        "p50 {} ms, max {} ms; {} frames/s, whose readers took {} cores",
        rounded(seen.of_frames.p50_ms),
        rounded(seen.of_frames.max_ms),
        grouped(seen.per_second()),
        rounded(seen.cores)
    )
}

#[expect(clippy::cast_precision_loss, reason = "both are far below 2^52")]
fn kib_each(bytes: u64, number: usize) -> f64 {
    bytes as f64 / 1024.0 / number.max(1) as f64
}

fn keep(play: &mut Play<'_>, name: String, value: f64, unit: &str, detail: String) {
    play.report.figure(Figure {
        scenario: "stream".into(),
        name,
        value,
        unit: unit.into(),
        detail,
    });
}
