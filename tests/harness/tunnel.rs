//! A proxy to the database that a test can cut or stall, to simulate a network outage.
//!
//! Promise: connections that were cut or stalled stay so; only connections made after
//! [`Tunnel::restore`] are forwarded.

use private_postgres::testing::TestDatabase;
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Open,
    Cut,
    Stalled,
}

/// The proxy. It ends with the test's runtime.
#[derive(Debug)]
pub struct Tunnel {
    mode: watch::Sender<Mode>,
    target: watch::Sender<PgConnectOptions>,
    /// The database's address through the proxy.
    database: TestDatabase,
}

impl Tunnel {
    /// Starts a proxy to `database`.
    ///
    /// # Panics
    /// If no port is free, or the database's address is invalid.
    pub async fn to(database: TestDatabase) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let port = listener.local_addr().expect("the listener is bound").port();
        let target: PgConnectOptions = database.url.parse().expect("the address is valid");
        let (_, rest) = database
            .url
            .split_once("://")
            .expect("the address is valid");
        let user = rest.split_once('@').map_or("", |(user, _)| user);
        let name = target.get_database().unwrap_or_default();
        let url = format!("postgres://{user}@127.0.0.1:{port}/{name}?sslmode=disable");
        let (mode, watched) = watch::channel(Mode::Open);
        let (target, redirected) = watch::channel(target);
        tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                let target = redirected.borrow().clone();
                tokio::spawn(carry(caller, target, watched.clone()));
            }
        });
        let database = TestDatabase { url, ..database };
        Self {
            mode,
            target,
            database,
        }
    }

    /// The database, reached through the proxy; its pool bypasses the proxy.
    #[must_use]
    pub fn database(&self) -> TestDatabase {
        self.database.clone()
    }

    /// Closes every connection, and new ones immediately.
    pub fn cut(&self) {
        self.mode.send_replace(Mode::Cut);
    }

    /// Forwards nothing more and leaves connections open; new connections are accepted and ignored.
    pub fn stall(&self) {
        self.mode.send_replace(Mode::Stalled);
    }

    /// Forwards to another server from now on, as an address does after a failover.
    ///
    /// # Panics
    /// If its address is invalid.
    pub fn redirect_to(&self, database: &TestDatabase) {
        let target = database.url.parse().expect("the address is valid");
        self.target.send_replace(target);
    }

    /// Forwards connections that are made from now on.
    pub fn restore(&self) {
        self.mode.send_replace(Mode::Open);
    }
}

async fn carry(mut caller: TcpStream, target: PgConnectOptions, mut mode: watch::Receiver<Mode>) {
    let now = *mode.borrow_and_update();
    let ended = match now {
        Mode::Open => {
            // A server that is down refuses connections; so does this one.
            let Ok(mut database) = connect(&target).await else {
                return;
            };
            tokio::select! {
                _ = copy_bidirectional(&mut caller, &mut database) => Mode::Cut,
                ended = ended(&mut mode) => ended,
            }
        }
        Mode::Cut | Mode::Stalled => now,
    };
    if ended == Mode::Stalled {
        // Both ends stay open, and neither receives anything.
        std::future::pending::<()>().await;
    }
}

/// Waits until the mode is no longer open and returns it; `Cut` if the tunnel is dropped.
async fn ended(mode: &mut watch::Receiver<Mode>) -> Mode {
    let ended = mode.wait_for(|mode| *mode != Mode::Open).await;
    ended.map_or(Mode::Cut, |mode| *mode)
}

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

async fn connect(target: &PgConnectOptions) -> std::io::Result<Box<dyn Duplex>> {
    let port = target.get_port();
    Ok(match target.get_socket() {
        Some(directory) => {
            let path = directory.join(format!(".s.PGSQL.{port}"));
            Box::new(UnixStream::connect(path).await?)
        }
        None => Box::new(TcpStream::connect((target.get_host(), port)).await?),
    })
}
