//! The delay of webhooks: from the decision of an event to the arrival of its request at a receiver
//! on this machine, without load and at [`RATE`] events per second to one endpoint.
//!
//! The delay is measured from the `timestamp` in the body, the time of the engine's decision. So it
//! includes the commit, and is an upper bound for "from the commit to the first byte".
//! Limit: that time has whole milliseconds. The receiver responds at once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::time::{Duration, Instant, sleep};

use super::Play;
use crate::contenders::Contender;
use crate::error::{BenchError, Doing};
use crate::generator::paced::{PacedLoad, Pacing, Phase};
use crate::report::Figure;
use crate::round::{LONG_HOLD, PLENTY};
use crate::stage::Running;
use crate::stats::quantile;

/// Events per second under load.
const RATE: u32 = 2_000;
/// Drops under load. One request of a drop is in flight at a time.
const DROPS: usize = 8;
/// Holds that are placed one by one, without load.
const ALONE: usize = 200;
const PAUSE: Duration = Duration::from_millis(20);
/// The minimum duration under load, in seconds, to see a growing delay.
const SHORTEST: f64 = 6.0;
/// How long the last requests may take to arrive.
const LAST: Duration = Duration::from_secs(30);

/// The figure of the idle server.
pub const IDLE_P99: &str = "webhook p99, idle";
/// The figure under load.
pub const LOADED_MAX: &str = "webhook delay max, 2,000 events/s";

/// Milliseconds from the decision to the arrival, in order of arrival.
type Delays = Arc<Mutex<Vec<f64>>>;

/// # Errors
/// [`BenchError`].
pub async fn play(play: &mut Play<'_>) -> Result<(), BenchError> {
    let stage = play.stage;
    let server = stage.start(Contender::Holdfast).await?;
    let delays = Delays::default();
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .doing("listen for webhooks")?;
    let address = listener.local_addr().doing("listen for webhooks")?;
    let router = Router::new()
        .fallback(receive)
        .with_state(Arc::clone(&delays));
    let receiver = tokio::spawn(async move { axum::serve(listener, router).await });
    server
        .subscribe(&format!("http://{address}/"), "hold.placed")
        .await?;

    println!("webhooks: {ALONE} holds one by one");
    let drop_id = server.open_drop(PLENTY, LONG_HOLD).await?;
    for _hold in 0..ALONE {
        server.place(drop_id).await?;
        sleep(PAUSE).await;
    }
    let alone = arrived(&delays, ALONE as u64).await?;
    let figure = |name: &str, value: f64, detail: String| Figure {
        scenario: "webhooks".into(),
        name: name.into(),
        value,
        unit: "ms".into(),
        detail,
    };
    let detail = format!("{ALONE} holds; from the decision, so it includes the commit");
    for (name, share) in [("webhook p50, idle", 0.5), (IDLE_P99, 0.99)] {
        let value = quantile(&alone, share).unwrap_or_default();
        play.report.figure(figure(name, value, detail.clone()));
    }

    println!("webhooks: {RATE} holds/s to {DROPS} drops");
    let outcome = load(play, &server).await?;
    let loaded = arrived(&delays, outcome).await?;
    let detail = format!("{} requests of {DROPS} drops", loaded.len());
    for (name, share) in [
        ("webhook delay p50, 2,000 events/s", 0.5),
        ("webhook delay p99, 2,000 events/s", 0.99),
        (LOADED_MAX, 1.0),
    ] {
        let value = quantile(&loaded, share).unwrap_or_default();
        play.report.figure(figure(name, value, detail.clone()));
    }
    receiver.abort();
    stage.end(server).await
}

/// Runs the load, and returns how many holds were acknowledged.
async fn load(play: &Play<'_>, server: &Running) -> Result<u64, BenchError> {
    let mut drops = vec![];
    for _drop in 0..DROPS {
        drops.push(server.open_drop(PLENTY, LONG_HOLD).await?);
    }
    let pacing = Pacing {
        addresses: vec![server.address],
        drops,
        rate: RATE,
    };
    let mut load = PacedLoad::start(play.stage.reaper(), &pacing).await?;
    load.enter(Phase::Before).await?;
    sleep(Duration::from_secs_f64(
        play.settings.pace.seconds.max(SHORTEST),
    ))
    .await;
    Ok(load.end().await?.acknowledged)
}

/// Waits until this many requests have arrived, and takes their delays.
async fn arrived(delays: &Delays, count: u64) -> Result<Vec<f64>, BenchError> {
    let deadline = Instant::now() + LAST;
    loop {
        {
            let mut delays = delays.lock().unwrap_or_else(PoisonError::into_inner);
            if delays.len() as u64 >= count {
                return Ok(std::mem::take(&mut *delays));
            }
            if Instant::now() > deadline {
                let missing = count - delays.len() as u64;
                let error = format!("{missing} of {count} webhooks did not arrive");
                return Err(BenchError::Unexpected(error));
            }
        }
        sleep(PAUSE).await;
    }
}

async fn receive(State(delays): State<Delays>, body: Bytes) -> StatusCode {
    let now = DateTime::<Utc>::from(SystemTime::now());
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let decided = body["timestamp"]
        .as_str()
        .and_then(|text| text.parse().ok());
    let Some(decided): Option<DateTime<Utc>> = decided else {
        return StatusCode::BAD_REQUEST;
    };
    let delay = (now - decided).as_seconds_f64() * 1_000.0;
    delays
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(delay);
    StatusCode::NO_CONTENT
}
