//! The HTTP side of a server: its listener, the bounds of its connections, and its end.

use std::net::SocketAddr;
use std::time::Duration;

use api::connections::{self, AddressLimit, Bounds, Exemptions, Timeouts};
use api::starting::Site;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::{GRACE, ServerError};
use crate::config::Settings;

/// A listener whose connections are served.
#[derive(Debug)]
pub(super) struct Http {
    pub(super) address: SocketAddr,
    /// The application that serves the connections.
    pub(super) site: Site,
    /// The tasks that write to the streams.
    pub(super) streams: TaskTracker,
    /// Ends the streams, and other responses that have no end of their own.
    pub(super) ending: CancellationToken,
    /// Closes the listener and the idle connections.
    closing: CancellationToken,
    serving: JoinHandle<()>,
}

impl Http {
    /// Listens, and serves the site, which has no application yet.
    ///
    /// # Errors
    /// [`ServerError::Listen`] or [`ServerError::OpenFiles`]
    pub(super) fn start(settings: &Settings) -> Result<Self, ServerError> {
        let bounds = bounds(settings)?;
        let (listener, address) = listen(settings.listen, bounds.timeouts.idle)?;
        let (site, streams) = (Site::default(), TaskTracker::new());
        let closing = CancellationToken::new();
        let serving = serve(
            listener,
            site.clone(),
            bounds,
            streams.clone(),
            closing.clone(),
        );
        Ok(Self {
            address,
            site,
            streams,
            ending: CancellationToken::new(),
            closing,
            serving: tokio::spawn(serving),
        })
    }

    /// Waits until it ends without a request to end.
    pub(super) async fn ended(&mut self) {
        // Its panic is in the server's log already.
        let _panicked = (&mut self.serving).await;
    }

    /// Refuses new commands, ends the streams, completes the requests in flight, and closes the
    /// listener once there is no command among them. After [`GRACE`] the rest is cut off.
    pub(super) async fn stop(&mut self) {
        let deadline = Instant::now() + GRACE;
        self.ending.cancel();
        let completed = timeout_at(deadline, self.site.refuse_commands()).await;
        self.closing.cancel();
        if self.serving.is_finished() {
            return;
        }
        if completed.is_err() || timeout_at(deadline, &mut self.serving).await.is_err() {
            warn!("some requests did not finish in time and are cut off");
            self.serving.abort();
        }
    }
}

/// Connections that may wait to be accepted, because a stampede arrives all at the same moment. The
/// system caps it at its own limit (`net.core.somaxconn`).
const LISTEN_BACKLOG: u32 = 65_535;

/// Returns the listener and its address, which has a port even if `address` leaves the choice to
/// the system.
fn listen(address: SocketAddr, idle: Duration) -> Result<(TcpListener, SocketAddr), ServerError> {
    let listener = bind(address, idle).map_err(|source| ServerError::Listen { address, source })?;
    let address = listener.local_addr().unwrap_or(address);
    Ok((listener, address))
}

fn bind(address: SocketAddr, idle: Duration) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restart must not wait for the previous run's connections to leave TIME_WAIT.
    socket.set_reuseaddr(true)?;
    connections::limit_buffers(&socket, idle)?;
    socket.bind(address)?;
    socket.listen(LISTEN_BACKLOG)
}

/// Open files that are not client connections: the database's, and a reserve.
const OTHER_FILES: u64 = 256;
/// With fewer open files a server is no use: hardly a browser would get a connection.
const FEWEST_FILES: u64 = 512;
/// Fewer connections than this are worth a warning, if more are configured.
const FEW_CONNECTIONS: u32 = 4_000;

/// Returns the number of connections that the limit of open files permits, because every buyer and
/// every watcher is an open file. The program raises the limit when it starts.
///
/// # Errors
/// [`ServerError::OpenFiles`]
fn connections_allowed(most: u32) -> Result<u32, ServerError> {
    let files = rlimit::Resource::NOFILE.get_soft().unwrap_or(1024);
    if files < FEWEST_FILES {
        return Err(ServerError::OpenFiles {
            files,
            fewest: FEWEST_FILES,
        });
    }
    let allowed = u32::try_from(files - OTHER_FILES).unwrap_or(u32::MAX);
    if allowed < most.min(FEW_CONNECTIONS) {
        warn!(
            "at most {allowed} connections instead of {most} (HOLDFAST_MAX_CONNECTIONS): the \
             system permits {files} open files (ulimit -n; LimitNOFILE= of a systemd unit)"
        );
    }
    Ok(allowed.min(most))
}

pub(super) fn exemptions(settings: &Settings) -> Exemptions {
    Exemptions {
        unlimited: settings.edge.unlimited_networks.clone(),
        trusted: settings.edge.trusted_proxies.clone(),
    }
}

fn bounds(settings: &Settings) -> Result<Bounds, ServerError> {
    let of_address = settings.edge.max_connections_per_address;
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    Ok(Bounds {
        most: connections_allowed(settings.max_connections)? as usize,
        address_limit: AddressLimit::of_connections(of_address, exemptions(settings)),
        timeouts: Timeouts {
            head: seconds(settings.head_seconds),
            idle: seconds(settings.idle_seconds),
        },
        origins: settings.edge.cors_origins.clone(),
    })
}

/// Serves until `closing`, and returns when every request is answered and every stream has ended.
async fn serve(
    listener: TcpListener,
    site: Site,
    bounds: Bounds,
    streams: TaskTracker,
    closing: CancellationToken,
) {
    // Limits per address need the peer's address.
    let with_peer = true;
    connections::serve(listener, site, with_peer, bounds, closing).await;
    streams.close();
    streams.wait().await;
}
