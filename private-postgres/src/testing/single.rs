//! A PostgreSQL server of a test's own, with settings that no other test has.
//!
//! Promise: it listens on a free port of loopback and on a socket, and nothing is left behind, as
//! with the cluster of [`super`]. Roles log in with passwords over TCP, and without on the socket.
//! Limit: needs an installed PostgreSQL. `fsync` is off.

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::time::{sleep, timeout};

use super::{spawn_sweeper, temporary_directory};
use crate::Installed;

/// The owner of the server.
pub const USER: &str = "holdfast";
/// Timeout for a state of the server. Generous: it is reached only when something is broken.
const TIMEOUT: Duration = Duration::from_secs(120);
const CHECK_EVERY: Duration = Duration::from_millis(20);

/// Ends the server when the test program has ended, and removes its file system.
const SWEEP: &str = r#"
read -r never
lock="$1/home/data/postmaster.pid"
[ -e "$lock" ] && kill -QUIT "$(head -n 1 "$lock")"
seconds=0
while [ -e "$lock" ] && [ "$seconds" -lt 30 ]; do sleep 1; seconds=$((seconds + 1)); done
umount "$1/home" 2>/dev/null
rm -rf "$1"
"#;

/// The server. Dropping it ends it.
#[derive(Debug)]
pub struct Single {
    installed: Installed,
    home: PathBuf,
    port: u16,
    settings: Vec<(String, String)>,
    process: Option<Child>,
    sweeper: Child,
}

impl Single {
    /// Creates the server without starting it. `prepare` may change its directory before.
    ///
    /// # Panics
    /// When no PostgreSQL is installed, or its directory cannot be created.
    #[must_use]
    pub fn create(prepare: impl FnOnce(&Path)) -> Self {
        let installed = Installed::with(&["postgres", "initdb"])
            .expect("an account for PostgreSQL exists")
            .expect("an installed PostgreSQL (Debian: postgresql)");
        let directory = temporary_directory().expect("the temporary directory is writable");
        let sweeper = spawn_sweeper(SWEEP, &directory).expect("a shell is available");
        let home = directory.join("home");
        installed.create_dir(&home).expect("it can be created");
        prepare(&home);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("the listener is bound").port();
        let mut initdb = installed.command("initdb", Path::new("/"));
        initdb
            .args(["--auth-local=trust", "--auth-host=scram-sha-256"])
            .args(["--encoding=UTF8", "--locale=C", "--no-sync"])
            .args(["--wal-segsize=1", "--username", USER, "--pgdata"])
            .arg(home.join("data"));
        let output = initdb.output().expect("initdb can be run");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        Self {
            installed,
            home,
            port,
            settings: vec![],
            process: None,
            sweeper,
        }
    }

    /// The directory of its data and its socket, which its account owns.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Gives it a setting for its next start.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Writes a file into its directory, readable by its account only.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) {
        let shell = Path::new("/bin/sh");
        let mut command = self.installed.other_command(shell, &self.home);
        command.args(["-c", r#"umask 077; cat >"$0""#, name]);
        let mut child = command
            .stdin(Stdio::piped())
            .spawn()
            .expect("a shell is available");
        let mut stdin = child.stdin.take().expect("it is piped");
        stdin
            .write_all(text.as_bytes())
            .expect("the shell reads it");
        drop(stdin);
        assert!(child.wait().expect("it is our child").success(), "{name}");
    }

    /// Starts it, and returns once it accepts connections.
    ///
    /// # Panics
    /// When it does not.
    pub async fn start(&mut self) {
        let mut command: Command = self.installed.command("postgres", &self.home);
        command.arg("-D").arg(self.home.join("data"));
        let home = self.home.display().to_string();
        let port = self.port.to_string();
        let own = [
            ("listen_addresses", "127.0.0.1"),
            ("port", port.as_str()),
            ("unix_socket_directories", home.as_str()),
            ("max_connections", "60"),
            ("shared_buffers", "16MB"),
            ("fsync", "off"),
        ];
        let others = self.settings.iter();
        let others = others.map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in own.into_iter().chain(others) {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(command.spawn().expect("PostgreSQL starts"));
        let options = self.options();
        let ready = async {
            while options.connect().await.is_err() {
                sleep(CHECK_EVERY).await;
            }
        };
        timeout(TIMEOUT, ready).await.expect("PostgreSQL starts");
    }

    /// Reports whether it has ended by itself.
    ///
    /// # Panics
    /// When it was not started.
    pub fn has_ended(&mut self) -> bool {
        let process = self.process.as_mut().expect("it was started");
        process.try_wait().expect("it is our child").is_some()
    }

    /// A connection of its owner that needs no password.
    ///
    /// # Panics
    /// When it does not respond.
    pub async fn operator(&self) -> PgConnection {
        let options = self.options();
        options.connect().await.expect("the server responds")
    }

    fn options(&self) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(&self.home)
            .port(self.port)
            .username(USER)
            .database("postgres")
    }
}

impl Drop for Single {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let pid = i32::try_from(process.id()).expect("a process id is positive");
            // It may have ended by itself.
            let _ended = kill(Pid::from_raw(pid), Signal::SIGQUIT);
            let _ended = process.wait();
        }
        drop(self.sweeper.stdin.take());
        let _ended = self.sweeper.wait();
    }
}
