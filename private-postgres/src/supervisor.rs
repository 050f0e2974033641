//! Keeps one server running: starts it, notices when it ends, starts it again, and stops it when asked.
//!
//! Promise: until [`Supervisor::stop`], a server that ends is started again on the same data and the same socket, for as
//! long as it takes, with growing pauses. Exactly one thread waits for the process, so no signal ever goes to a process
//! id that is not ours.
//! Limit: a thread and not a task, because the cluster must outlive any one runtime (tests start a runtime each).
//! Connections break when the server ends; that is for their pools to mend.

use std::process::ExitStatus;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tracing::{error, info, warn};

use super::error::ClusterError;
use super::lifeline::Lifeline;
use super::server::{Recipe, Started};

/// How soon an ended server is noticed.
const POLL: Duration = Duration::from_millis(50);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Long enough to spare a machine in trouble, short enough that the shop is back within seconds of the cure.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// After SIGQUIT, and again after SIGKILL. Neither waits for clients or writes data.
const IMMEDIATE_PATIENCE: Duration = Duration::from_secs(5);
/// While a start takes long, a line in the log says so this often.
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
    /// Told when `stopping` is set.
    stop: Condvar,
}

#[derive(Debug)]
struct State {
    server: Option<Started>,
    lifeline: Option<Lifeline>,
    stopping: bool,
}

impl Supervisor {
    /// Clears what earlier runs left, starts the server and waits until it is ready.
    pub(super) fn start(recipe: Recipe) -> Result<Self, ClusterError> {
        let lifeline = Some(Lifeline::new(recipe.place.account.clone()));
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
        if let Err(error) = shared.launch() {
            let _ = supervisor.stop(IMMEDIATE_PATIENCE);
            return Err(error);
        }
        let keeper = thread::Builder::new().name("postgres-keeper".to_owned());
        match keeper.spawn(move || shared.keep_running()) {
            Ok(thread) => supervisor.thread = Some(thread),
            Err(error) => error!(%error, "cannot start the thread that would restart PostgreSQL"),
        }
        Ok(supervisor)
    }

    /// The process id of the server, unless it is down just now.
    pub(super) fn pid(&self) -> Option<u32> {
        self.shared
            .lock()
            .server
            .as_ref()
            .map(|server| server.child.id())
    }

    /// Stops the server for good: fast, after `patience` immediate, then by SIGKILL. Blocks. The second call does nothing.
    pub(super) fn stop(&mut self, patience: Duration) -> Result<(), ClusterError> {
        self.shared.lock().stopping = true;
        self.shared.stop.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let stopped = self.shared.end_server(patience);
        // Only now: until the server has ended, the watcher would end it if we died.
        if let Some(lifeline) = self.shared.lock().lifeline.take()
            && stopped.is_ok()
        {
            lifeline.release();
        }
        stopped
    }
}

impl Shared {
    /// A panic while the lock is held leaves nothing half done that matters: the process table is the truth.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps, but not past a stop. Tells whether to stop.
    fn pause(&self, length: Duration) -> bool {
        let waited = self
            .stop
            .wait_timeout_while(self.lock(), length, |state| !state.stopping);
        waited.unwrap_or_else(PoisonError::into_inner).0.stopping
    }

    fn keep_running(&self) {
        while !self.pause(POLL) {
            if let Some(status) = self.reap() {
                warn!(%status, "PostgreSQL ended by itself ({status}): starting it again");
                self.launch_until_it_works();
            }
        }
    }

    fn launch_until_it_works(&self) {
        let mut pause = FIRST_PAUSE;
        while let Err(error) = self.launch() {
            if self.pause(pause) {
                return;
            }
            warn!(%error, cause = std::error::Error::source(&error), "cannot start PostgreSQL again yet: {error}");
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One attempt, from clearing what was left to ready. On an error no server of ours is left running.
    fn launch(&self) -> Result<(), ClusterError> {
        self.recipe.clear_leftovers()?;
        let (pid, log_from) = self.spawn()?;
        let ready = self.wait_until_ready(pid, log_from);
        match &ready {
            Ok(()) => info!(pid, "PostgreSQL is ready (process {pid})"),
            Err(_) => self.end_server(IMMEDIATE_PATIENCE)?,
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

    fn wait_until_ready(&self, pid: u32, log_from: u64) -> Result<(), ClusterError> {
        let started = Instant::now();
        let mut next_report = REPORT_EVERY;
        let tail = || self.recipe.log_tail(log_from);
        let log = || self.recipe.place.log();
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
            if self.pause(Duration::from_millis(10)) {
                return Err(ClusterError::Abandoned);
            }
        }
        Ok(())
    }

    /// Collects the server if it has ended. Under the lock, so that nobody signals a number that is free again.
    fn reap(&self) -> Option<ExitStatus> {
        let mut state = self.lock();
        let status = state.server.as_mut()?.child.try_wait().ok()??;
        state.server = None;
        state.watch(None);
        Some(status)
    }

    fn end_server(&self, patience: Duration) -> Result<(), ClusterError> {
        let steps = [
            (Signal::SIGINT, patience),
            (Signal::SIGQUIT, IMMEDIATE_PATIENCE),
            (Signal::SIGKILL, IMMEDIATE_PATIENCE),
        ];
        for (signal, patience) in steps {
            self.signal(signal);
            let deadline = Instant::now() + patience;
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
            // It cannot be gone: we have not collected it.
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
