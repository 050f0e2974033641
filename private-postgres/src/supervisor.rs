//! Keeps one server running: starts it, detects its end, restarts it, and stops it on request.
//!
//! Promise: until [`Supervisor::stop`], a server that ends is restarted on the same data and the
//! same socket, without a limit on attempts, with growing pauses. Only one thread waits for the
//! process, so no signal is ever sent to a process id that is not ours.
//! Limit: a thread and not a task, because the cluster must outlive any one runtime (each test
//! starts its own). Connections break when the server ends; pools have to reconnect.

use std::process::ExitStatus;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::error::ClusterError;
use super::lifeline::Lifeline;
use super::server::{Recipe, Started};

/// How soon an ended server is detected.
const POLL: Duration = Duration::from_millis(50);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Long enough to spare a machine in trouble, short enough that the shop is back within seconds
/// after the repair.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// After SIGQUIT, and again after SIGKILL. Neither waits for clients or writes data.
const IMMEDIATE_TIMEOUT: Duration = Duration::from_secs(5);
/// Interval of log lines during a long start.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// Runs the server of one cluster.
#[derive(Debug)]
pub(super) struct Supervisor {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    recipe: Recipe,
    state: Mutex<State>,
    /// Notified when `stopping` is set.
    stop: Condvar,
}

#[derive(Debug)]
struct State {
    server: Option<Started>,
    lifeline: Option<Lifeline>,
    stopping: bool,
}

impl Supervisor {
    /// Clears leftovers of earlier runs, starts the server and waits until it is ready, unless
    /// `stop` is cancelled before.
    pub(super) fn start(recipe: Recipe, stop: &CancellationToken) -> Result<Self, ClusterError> {
        let lifeline = Some(Lifeline::new(recipe.location.account.clone()));
        let state = Mutex::new(State {
            server: None,
            lifeline,
            stopping: false,
        });
        let shared = Arc::new(Shared {
            recipe,
            state,
            stop: Condvar::new(),
        });
        let mut supervisor = Self {
            shared: Arc::clone(&shared),
            thread: None,
        };
        if let Err(error) = shared.launch(Some(stop)) {
            let _ = supervisor.stop(IMMEDIATE_TIMEOUT);
            return Err(error);
        }
        let keeper = thread::Builder::new().name("postgres-keeper".to_owned());
        match keeper.spawn(move || shared.keep_running()) {
            Ok(thread) => supervisor.thread = Some(thread),
            Err(error) => error!(%error, "cannot start the thread that would restart PostgreSQL"),
        }
        Ok(supervisor)
    }

    /// The process id of the server; `None` while it is down.
    pub(super) fn pid(&self) -> Option<u32> {
        self.shared
            .lock()
            .server
            .as_ref()
            .map(|server| server.child.id())
    }

    /// Stops the server for good: fast, after `timeout` immediate, then by SIGKILL. Blocks. A
    /// second call does nothing.
    pub(super) fn stop(&mut self, timeout: Duration) -> Result<(), ClusterError> {
        self.shared.lock().stopping = true;
        self.shared.stop.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let stopped = self.shared.end_server(timeout);
        // Only now: if this process died earlier, the watcher would have to end the server.
        if let Some(lifeline) = self.shared.lock().lifeline.take()
            && stopped.is_ok()
        {
            lifeline.release();
        }
        stopped
    }
}

impl Shared {
    /// A panic while the lock is held leaves no inconsistent state that matters: the process table
    /// is authoritative.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps, but not beyond a stop. Returns whether to stop.
    fn pause(&self, length: Duration) -> bool {
        let waited = self
            .stop
            .wait_timeout_while(self.lock(), length, |state| !state.stopping);
        waited.unwrap_or_else(PoisonError::into_inner).0.stopping
    }

    fn keep_running(&self) {
        while !self.pause(POLL) {
            if let Some(status) = self.reap() {
                warn!(%status, "PostgreSQL ended unexpectedly ({status}); restarting it");
                self.launch_until_it_works();
            }
        }
    }

    fn launch_until_it_works(&self) {
        let mut pause = FIRST_PAUSE;
        while let Err(error) = self.launch(None) {
            if self.pause(pause) {
                return;
            }
            warn!(%error, cause = std::error::Error::source(&error), "cannot restart PostgreSQL yet, will keep retrying: {error}");
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One attempt, from clearing leftovers to ready. On an error no server of ours is left
    /// running.
    fn launch(&self, stop: Option<&CancellationToken>) -> Result<(), ClusterError> {
        self.recipe.clear_leftovers()?;
        let (pid, log_from) = self.spawn()?;
        let ready = self.wait_until_ready(pid, log_from, stop);
        match &ready {
            Ok(()) => info!(pid, "PostgreSQL is ready (process {pid})"),
            Err(_) => self.end_server(IMMEDIATE_TIMEOUT)?,
        }
        ready
    }

    fn spawn(&self) -> Result<(u32, u64), ClusterError> {
        let mut state = self.lock();
        if state.stopping {
            return Err(ClusterError::Abandoned);
        }
        let started = self.recipe.spawn()?;
        let (pid, log_from) = (started.child.id(), started.log_from);
        state.server = Some(started);
        state.watch(Some(pid));
        Ok((pid, log_from))
    }

    fn wait_until_ready(
        &self,
        pid: u32,
        log_from: u64,
        stop: Option<&CancellationToken>,
    ) -> Result<(), ClusterError> {
        let started = Instant::now();
        let mut next_report = REPORT_EVERY;
        let tail = || self.recipe.log_tail(log_from);
        let log = || self.recipe.location.log();
        while !self.recipe.is_ready(pid) {
            if let Some(status) = self.reap() {
                return Err(ClusterError::EndedAtStart {
                    status: status.to_string(),
                    log: log(),
                    tail: tail(),
                });
            }
            let waited = started.elapsed();
            if waited >= self.recipe.start_timeout {
                return Err(ClusterError::NotReady {
                    waited,
                    log: log(),
                    tail: tail(),
                });
            }
            if waited >= next_report {
                info!(
                    pid,
                    "PostgreSQL is still starting; after a crash it first replays its log"
                );
                next_report += REPORT_EVERY;
            }
            let is_stopping = self.pause(Duration::from_millis(10));
            if is_stopping || stop.is_some_and(CancellationToken::is_cancelled) {
                return Err(ClusterError::Abandoned);
            }
        }
        Ok(())
    }

    /// Reaps the server if it has ended. Under the lock, so that no other thread signals a process
    /// id that was reused.
    fn reap(&self) -> Option<ExitStatus> {
        let mut state = self.lock();
        let status = state.server.as_mut()?.child.try_wait().ok()??;
        state.server = None;
        state.watch(None);
        Some(status)
    }

    fn end_server(&self, timeout: Duration) -> Result<(), ClusterError> {
        let steps = [
            (Signal::SIGINT, timeout),
            (Signal::SIGQUIT, IMMEDIATE_TIMEOUT),
            (Signal::SIGKILL, IMMEDIATE_TIMEOUT),
        ];
        for (signal, timeout) in steps {
            self.signal(signal);
            let deadline = Instant::now() + timeout;
            while self.is_running() {
                if Instant::now() >= deadline {
                    break;
                }
                thread::sleep(Duration::from_millis(10));
            }
        }
        match self.lock().server.as_ref() {
            Some(server) => Err(ClusterError::StillRunning {
                pid: server.child.id(),
            }),
            None => Ok(()),
        }
    }

    fn is_running(&self) -> bool {
        self.reap();
        self.lock().server.is_some()
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self
            .lock()
            .server
            .as_ref()
            .and_then(|server| i32::try_from(server.child.id()).ok())
        {
            // The process id is valid: the server has not been reaped.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}

impl State {
    fn watch(&mut self, server: Option<u32>) {
        if let Some(lifeline) = &mut self.lifeline {
            lifeline.watch(server);
        }
    }
}
