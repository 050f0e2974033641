//! The process under test: started, stopped and killed as an operator, or a power failure, would.

use std::io::{BufRead, BufReader, Read};
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use private_postgres::testing::{TestDatabase, fresh_database};
use sqlx::PgPool;
use tempfile::TempDir;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::api::Api;
use crate::{TIMEOUT, eventually};

/// The admin key of every server under test.
pub const ADMIN_KEY: &str = "admin-key-of-the-tests";
/// The auditor key of every server under test.
pub const AUDITOR_KEY: &str = "auditor-key-of-the-tests";

/// How to start a program: its database, its data directory and its settings.
#[derive(Debug, Clone)]
pub struct Launch {
    database: Option<TestDatabase>,
    data_dir: Arc<TempDir>,
    environment: Vec<(String, String)>,
    shell: Option<String>,
}

impl Launch {
    /// On a fresh database of its own.
    pub async fn fresh() -> Self {
        Self::on(fresh_database().await)
    }

    /// On an existing database.
    #[must_use]
    pub fn on(database: TestDatabase) -> Self {
        Self {
            database: Some(database),
            ..Self::private()
        }
    }

    /// On a private Postgres in its data directory.
    ///
    /// # Panics
    /// If no temporary directory can be created.
    #[must_use]
    pub fn private() -> Self {
        let data_dir =
            TempDir::with_prefix("holdfast-app-").expect("the temporary directory is writable");
        // If the tests run as root, the account that runs PostgreSQL must be able to enter it.
        fs::set_permissions(data_dir.path(), fs::Permissions::from_mode(0o711))
            .expect("the directory is owned by this process");
        Self {
            database: None,
            data_dir: Arc::new(data_dir),
            environment: vec![],
            shell: None,
        }
    }

    /// Adds one setting.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the program from a shell, after this line of script.
    #[must_use]
    pub fn after(mut self, script: &str) -> Self {
        self.shell = Some(format!("{script} && exec \"$0\" \"$@\""));
        self
    }

    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.data_dir.path()
    }

    /// The database's address, unless it is a private Postgres.
    #[must_use]
    pub fn database_url(&self) -> Option<&str> {
        self.database.as_ref().map(|database| database.url.as_str())
    }

    /// Starts a server and waits until it listens.
    ///
    /// # Panics
    /// If the server does not listen.
    pub async fn start(self) -> App {
        self.start_as(&["serve"]).await
    }

    /// Starts a server with a command other than `serve`, and waits until it listens.
    ///
    /// # Panics
    /// If the server does not listen.
    pub async fn start_as(self, arguments: &[&str]) -> App {
        self.start_at("127.0.0.1:0", arguments).await
    }

    /// Starts a server on a given address, for tests that start it there again.
    ///
    /// # Panics
    /// If the server does not listen.
    pub async fn start_at(self, address: &str, arguments: &[&str]) -> App {
        let mut command = self.command(&[arguments, &["--listen", address]].concat());
        command.envs([
            ("HOLDFAST_ADMIN_KEY", ADMIN_KEY),
            ("HOLDFAST_AUDITOR_KEY", AUDITOR_KEY),
        ]);
        let (process, address) = spawn_blocking(|| Process::listen(command))
            .await
            .expect("the server starts");
        App {
            api: Api::new(address),
            process,
            launch: self,
        }
    }

    /// Runs the program with `arguments` to its end.
    ///
    /// # Panics
    /// If the program does not end.
    pub async fn run(&self, arguments: &[&str]) -> Finished {
        finish(self.command(arguments)).await
    }

    /// The program with `arguments`, on this database and data directory, without the settings in
    /// the environment of the tests.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = match &self.shell {
            None => Command::new(program()),
            Some(script) => {
                let mut shell = Command::new("/bin/sh");
                shell.arg("-c").arg(script).arg(program());
                shell
            }
        };
        for (name, _) in env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            let settings = ["HOLDFAST_", "PG", "RUST_LOG", "DATABASE_URL"];
            if settings.iter().any(|prefix| name.starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        if let Some(bin_dir) = env::var_os("PG_BIN_DIR") {
            command.env("PG_BIN_DIR", bin_dir);
        }
        command
            .args(arguments)
            .env("HOLDFAST_DATA_DIR", self.data_dir())
            // Nothing in front of it has to notice its end.
            .env("HOLDFAST_DRAIN_SECONDS", "0");
        if let Some(url) = self.database_url() {
            command.env("DATABASE_URL", url);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

/// The result of a program that ended.
#[derive(Debug)]
pub struct Finished {
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command to its end.
///
/// # Panics
/// If the command cannot be run.
pub async fn finish(command: Command) -> Finished {
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true);
    let output = timeout(TIMEOUT, command.output())
        .await
        .expect("the program ends")
        .expect("the program runs");
    Finished {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A running server and a client of it.
#[derive(Debug)]
pub struct App {
    api: Api,
    process: Process,
    launch: Launch,
}

impl Deref for App {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

impl App {
    /// A server on a fresh database.
    pub async fn start() -> Self {
        Launch::fresh().await.start().await
    }

    /// A client that may outlive this borrow.
    #[must_use]
    pub fn api(&self) -> Api {
        self.api.clone()
    }

    #[must_use]
    pub const fn launch(&self) -> &Launch {
        &self.launch
    }

    /// A connection pool on its database.
    ///
    /// # Panics
    /// If the database is private.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self
            .launch
            .database
            .as_ref()
            .expect("the database is not private")
            .pool
    }

    /// Its standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.process.stderr()
    }

    /// Its standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        let written = self.process.stdout.lock();
        written.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it has written `words` to standard error. A separate thread writes the log
    /// lines, so a line can follow the response that it is about.
    ///
    /// # Panics
    /// If it does not write them in time.
    pub async fn wait_for_log(&self, words: &str) {
        eventually(&format!("the log contains: {words}"), || async {
            self.stderr().contains(words).then_some(())
        })
        .await;
    }

    /// Waits until its data directory has the head of the log, and returns the head's position.
    ///
    /// # Panics
    /// If the head is not kept in time.
    pub async fn kept_head(&self) -> u64 {
        let head = self.audit("/v1/log/head").await.ok(200)["position"].clone();
        eventually("the head is kept outside the database", || async {
            let metrics = self.get("/metrics").await.text();
            let kept = format!("holdfast_kept_head_position {head}\n");
            metrics.contains(&kept).then_some(())
        })
        .await;
        crate::number(&head)
    }

    /// Sends SIGKILL and waits for the process to end.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Sends SIGTERM without waiting.
    ///
    /// # Panics
    /// If the process does not exist.
    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Sends a signal without waiting.
    ///
    /// # Panics
    /// If the process does not exist.
    pub fn signal(&self, signal: Signal) {
        kill(self.process.pid(), signal).expect("it runs");
    }

    /// Waits for the end of the process.
    ///
    /// # Panics
    /// If the process does not end.
    pub async fn ended(mut self) -> (ExitStatus, Launch) {
        let launch = self.launch.clone();
        let status = spawn_blocking(move || self.process.wait())
            .await
            .expect("the server ends");
        (status, launch)
    }

    /// Sends SIGTERM and asserts that the process exits with success.
    ///
    /// # Panics
    /// If it does not.
    pub async fn stop(self) -> Launch {
        self.terminate();
        let (status, launch) = self.ended().await;
        assert!(status.success(), "{status}");
        launch
    }

    /// Sends SIGTERM, asserts that the process exits with success, and returns everything that it
    /// wrote to standard error.
    ///
    /// # Panics
    /// If it does not.
    pub async fn stop_and_read(mut self) -> String {
        self.terminate();
        let reading = self.process.reading.take().expect("a pipe");
        let stderr = Arc::clone(&self.process.stderr);
        let (status, _) = self.ended().await;
        assert!(status.success(), "{status}");
        spawn_blocking(move || reading.join())
            .await
            .expect("the pipe was read")
            .expect("the pipe was read");
        let written = stderr.lock().unwrap_or_else(PoisonError::into_inner);
        written.clone()
    }

    /// Kills this server and starts another with the same settings.
    pub async fn restart(mut self) -> Self {
        self.kill();
        // From here on the lock file belongs to the next server.
        self.process.postmaster = None;
        self.launch.clone().start().await
    }

    /// Runs `holdfast audit verify` on this server's database, which must pass.
    ///
    /// # Panics
    /// If it does not pass.
    pub async fn audit_verify(&self) -> String {
        let verdict = self.launch.run(&["audit", "verify"]).await;
        assert_eq!(verdict.code, Some(0), "{verdict:?}");
        verdict.stdout
    }
}

#[derive(Debug)]
struct Process {
    child: Child,
    status: Option<ExitStatus>,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
    /// Reads standard error until it ends.
    reading: Option<thread::JoinHandle<()>>,
    /// The lock file of a private Postgres, which can outlive its owner briefly.
    postmaster: Option<PathBuf>,
}

impl Process {
    fn listen(mut command: Command) -> (Self, String) {
        let is_private = !command
            .get_envs()
            .any(|(name, value)| name == "DATABASE_URL" && value.is_some());
        let data_dir = command
            .get_envs()
            .find(|(name, _)| *name == "HOLDFAST_DATA_DIR")
            .and_then(|(_, dir)| dir);
        let postmaster = data_dir
            .filter(|_| is_private)
            .map(|dir| Path::new(dir).join("postgres/postmaster.pid"));
        let mut child = command.spawn().expect("the program can be started");
        let (first_line, line) = mpsc::channel();
        let stdout: Arc<Mutex<String>> = Arc::default();
        if let Some(pipe) = child.stdout.take() {
            let stdout = Arc::clone(&stdout);
            thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    let mut written = stdout.lock().unwrap_or_else(PoisonError::into_inner);
                    written.push_str(&line);
                    written.push('\n');
                    drop(written);
                    let _ended = first_line.send(line);
                }
            });
        }
        let stderr = Arc::new(Mutex::default());
        let reading = child.stderr.take().map(|pipe| {
            let stderr = Arc::clone(&stderr);
            thread::spawn(move || collect(pipe, &stderr))
        });
        let process = Self {
            child,
            status: None,
            stdout,
            stderr,
            reading,
            postmaster,
        };
        let address = line.recv_timeout(TIMEOUT).ok();
        let address = address
            .as_deref()
            .and_then(|line| line.strip_prefix("listening on "))
            .map(str::to_owned);
        let address =
            address.unwrap_or_else(|| panic!("the server does not listen:\n{}", process.stderr()));
        (process, address)
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(
            self.child
                .id()
                .try_into()
                .expect("a process id is positive"),
        )
    }

    fn stderr(&self) -> String {
        self.stderr
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn kill(&mut self) {
        if self.status.is_none() {
            let _ended_already = self.child.kill();
            self.status = self.child.wait().ok();
        }
    }

    fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                self.status = Some(status);
                return status;
            }
            assert!(Instant::now() < deadline, "the server does not exit");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("--- standard error of the server ---\n{}---", self.stderr());
        }
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.postmaster.as_ref().is_some_and(|file| file.exists())
            && Instant::now() < deadline
        {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn collect(mut pipe: impl Read, into: &Mutex<String>) {
    let mut chunk = [0; 4096];
    while let Ok(length @ 1..) = pipe.read(&mut chunk) {
        into.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_str(&String::from_utf8_lossy(&chunk[..length]));
    }
}

/// The program under test. Cargo sets its path in the environment; a test program that is started
/// by hand finds it in the parent of its own directory.
fn program() -> PathBuf {
    const NAME: &str = "holdfast-under-test";
    if let Some(program) = env::var_os(format!("CARGO_BIN_EXE_{NAME}")) {
        return program.into();
    }
    let own = env::current_exe().expect("a running program has a file");
    let candidate = own
        .parent()
        .and_then(Path::parent)
        .map(|directory| directory.join(NAME));
    candidate
        .filter(|program| program.exists())
        .expect("cargo builds the program with the tests")
}
