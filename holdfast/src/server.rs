//! A running server: wires its parts, starts them in order and stops them in order.
//!
//! Promise: when [`Server::run`] returns after a stop, every in-flight request was answered, every
//! stream has ended, and everything that was answered is in the log. Limit: requests that are not
//! done [`GRACE`] after the drain delay are cut off, and so is the rest [`REST`] later, so that a
//! silent database does not hold a stop up.

mod access;
mod core;
mod error;
mod followers;
mod http;
mod load;
mod observers;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::info;

pub(crate) use self::access::Access;
use self::core::Core;
pub use self::error::ServerError;
use self::http::Http;
use crate::config::Settings;
use crate::config::buyers::load_key_url;

/// How long a stopping server waits for in-flight requests.
pub const GRACE: Duration = Duration::from_secs(5);
/// How long everything behind the HTTP side may take to stop.
pub const REST: Duration = Duration::from_secs(3);
/// The part of [`REST`] in which the engine and then the background tasks must end; what is left
/// is for the database.
const REST_OF_TASKS: Duration = Duration::from_millis(1_500);
/// How long the database may take to end the sessions of appends.
const END_SESSIONS: Duration = Duration::from_millis(500);

/// A server that accepts requests.
#[derive(Debug)]
pub struct Server {
    http: Http,
    core: Core,
    /// How long it goes on serving after it has become unready.
    drain: Duration,
}

impl Server {
    /// Starts everything, and returns once the application serves requests; until then it responds
    /// as [`api::starting`] describes. To read a long log, or to wait for a synchronous standby,
    /// may take minutes, so `stop` interrupts the start.
    ///
    /// # Errors
    /// [`ServerError`], of which [`ServerError::Stopped`] is that of a stop; everything that was
    /// started has been stopped by then.
    pub async fn start(settings: &Settings, stop: &CancellationToken) -> Result<Self, ServerError> {
        let access = Access::open(settings).await?;
        if let Some(tokens) = &access.buyer_tokens {
            let loaded = stop.run_until_cancelled(load_key_url(tokens)).await;
            loaded.ok_or(ServerError::Stopped)?;
        }
        let mut http = Http::start(settings)?;
        match Core::start(settings, access, &http, stop).await {
            Ok(core) => Ok(Self {
                http,
                core,
                drain: Duration::from_secs(settings.drain_seconds.into()),
            }),
            Err(error) => {
                http.stop().await;
                Err(error)
            }
        }
    }

    /// The address it listens on.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.http.address
    }

    /// Describes the database for people.
    #[must_use]
    pub fn database(&self) -> String {
        self.core.database.describe()
    }

    /// Runs until `stop`, then drains in-flight requests and stops everything in order.
    ///
    /// # Errors
    /// [`ServerError`] when the engine, or a task that clients depend on, ended unexpectedly.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), ServerError> {
        let (mut engine, mut task) = (None, None);
        let site = self.http.site.clone();
        let drained = async {
            stop.cancelled().await;
            site.become_unready();
            if !self.drain.is_zero() {
                info!(
                    "not ready any more: serving for {:?} until proxies notice",
                    self.drain
                );
                sleep(self.drain).await;
            }
            info!("refusing new commands, ending streams, completing requests in flight");
        };
        tokio::select! {
            () = drained => {}
            ended = self.core.engine.ended() => engine = Some(ended),
            name = self.core.tasks.essential_panicked() => task = Some(name),
            () = self.http.ended() => task = Some("HTTP"),
        }
        self.http.stop().await;
        info!("stopping the engine, the background tasks and the database");
        let engine = self.core.stop(engine).await;
        match (engine, task) {
            (Some(Err(panic)), _) => Err(ServerError::Failed(panic.into())),
            (Some(Ok(Err(error))), _) => Err(error.into()),
            (_, Some(task)) => Err(ServerError::Task(task)),
            (Some(Ok(Ok(()))) | None, None) => Ok(()),
        }
    }
}
