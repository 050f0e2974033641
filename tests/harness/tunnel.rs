//! A way to the database that a test can cut, or let fall silent: an outage as a network makes it, not as a database does.
//!
//! Promise: what was cut or fell silent stays so; only connections made after [`Tunnel::restore`] are carried.

use private_postgres::testing::TestDatabase;
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Open,
    Cut,
    Silent,
}

/// See the module. Ends with the test's runtime.
#[derive(Debug)]
pub struct Tunnel {
    mode: watch::Sender<Mode>,
    target: watch::Sender<PgConnectOptions>,
    /// The database, for a server that is to reach it through here.
    database: TestDatabase,
}

impl Tunnel {
    /// A way to `database`.
    ///
    /// # Panics
    /// When there is no port left, or the database's address cannot be read.
    pub async fn to(database: TestDatabase) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("it is bound").port();
        let target: PgConnectOptions = database.url.parse().expect("an address");
        let (_, rest) = database.url.split_once("://").expect("an address");
        let user = rest.split_once('@').map_or("", |(user, _)| user);
        let name = target.get_database().unwrap_or_default();
        let url = format!("postgres://{user}@127.0.0.1:{port}/{name}?sslmode=disable");
        let (mode, watched) = watch::channel(Mode::Open);
        let (target, led_to) = watch::channel(target);
        tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                let target = led_to.borrow().clone();
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

    /// The database, reached through here; the pool goes around.
    #[must_use]
    pub fn database(&self) -> TestDatabase {
        self.database.clone()
    }

    /// Closes every connection, and new ones at once.
    pub fn cut(&self) {
        self.mode.send_replace(Mode::Cut);
    }

    /// Carries nothing more, and says nothing about it; new connections are taken and left alone.
    pub fn fall_silent(&self) {
        self.mode.send_replace(Mode::Silent);
    }

    /// Leads to another server from now on, as an address does after a failover.
    ///
    /// # Panics
    /// When its address cannot be read.
    pub fn lead_to(&self, database: &TestDatabase) {
        let target = database.url.parse().expect("an address");
        self.target.send_replace(target);
    }

    /// Carries what is connected from now on.
    pub fn restore(&self) {
        self.mode.send_replace(Mode::Open);
    }
}

async fn carry(mut caller: TcpStream, target: PgConnectOptions, mut mode: watch::Receiver<Mode>) {
    let now = *mode.borrow_and_update();
    let ended = match now {
        Mode::Open => {
            // A server that is down refuses connections, and so does this.
            let Ok(mut database) = reach(&target).await else {
                return;
            };
            tokio::select! {
                _ = copy_bidirectional(&mut caller, &mut database) => Mode::Cut,
                ended = ended(&mut mode) => ended,
            }
        }
        Mode::Cut | Mode::Silent => now,
    };
    if ended == Mode::Silent {
        // Both ends stay open, and nobody hears anything.
        std::future::pending::<()>().await;
    }
}

/// How it ended; with the test, it is cut.
async fn ended(mode: &mut watch::Receiver<Mode>) -> Mode {
    let ended = mode.wait_for(|mode| *mode != Mode::Open).await;
    ended.map_or(Mode::Cut, |mode| *mode)
}

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

async fn reach(target: &PgConnectOptions) -> std::io::Result<Box<dyn Duplex>> {
    let port = target.get_port();
    Ok(match target.get_socket() {
        Some(directory) => {
            let path = directory.join(format!(".s.PGSQL.{port}"));
            Box::new(UnixStream::connect(path).await?)
        }
        None => Box::new(TcpStream::connect((target.get_host(), port)).await?),
    })
}
