//! Child processes that never outlive the run.
//!
//! Promise: a child ends when its [`Process`] is dropped, and also when this program is killed: a
//! small reaper process holds a pipe from this program. When the kernel closes the pipe, the reaper
//! kills the remaining children on its list and removes the run's directories.
//! Limit: if the reaper is killed as well, orphans remain.

use std::io::{BufRead, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::error::{BenchError, Doing, within};

/// Kills children and removes directories after this program has ended.
#[derive(Debug, Clone)]
pub struct Reaper(Arc<Mutex<std::process::Child>>);

impl Reaper {
    /// # Errors
    /// [`BenchError`].
    pub fn start() -> Result<Self, BenchError> {
        use std::os::unix::process::CommandExt;
        let program = std::env::current_exe().doing("find this program")?;
        let child = std::process::Command::new(program)
            .arg("reap")
            .process_group(0) // Ctrl-C is for this program; the reaper must outlive it.
            .stdin(Stdio::piped())
            .spawn()
            .doing("start the reaper")?;
        Ok(Self(Arc::new(Mutex::new(child))))
    }

    fn send_line(&self, line: &str) {
        let mut child = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipe) = &mut child.stdin {
            // The write fails only if the reaper is gone.
            let _gone = writeln!(pipe, "{line}");
        }
    }

    /// Removes `directory` after this program has ended.
    pub fn remove(&self, directory: &Path) {
        self.send_line(&format!("remove {}", directory.display()));
    }
}

/// Runs the reaper: reads its list, and acts on it when its input ends.
pub fn reap() {
    let (mut pids, mut directories) = (Vec::new(), Vec::new());
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        match line.split_once(' ') {
            Some(("kill", pid)) => pids.extend(pid.parse::<i32>()),
            Some(("spare", pid)) => pids.retain(|known| pid.parse() != Ok(*known)),
            Some(("remove", directory)) => directories.push(directory.to_owned()),
            Some(_) | None => {}
        }
    }
    for pid in pids {
        let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    for directory in directories {
        // PostgreSQL ends by its own lifeline, and may still be shutting down.
        for _attempt in 0..100 {
            if std::fs::remove_dir_all(&directory).is_ok() || !Path::new(&directory).exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// A running child whose standard output is read line by line.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: u32,
    child: Child,
    input: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
    reaper: Reaper,
}

impl Process {
    /// Starts `command`.
    ///
    /// # Errors
    /// [`BenchError`] if the program cannot be started.
    pub fn spawn(reaper: &Reaper, name: &str, mut command: Command) -> Result<Self, BenchError> {
        let mut child = command
            .process_group(0)
            .kill_on_drop(true)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .doing(format!("start {name}"))?;
        let pid = child.id().unwrap_or_default();
        reaper.send_line(&format!("kill {pid}"));
        let output = child.stdout.take();
        let output = output.ok_or_else(|| BenchError::Unexpected("no output pipe".into()))?;
        Ok(Self {
            name: name.to_owned(),
            pid,
            input: child.stdin.take(),
            lines: BufReader::new(output).lines(),
            child,
            reaper: reaper.clone(),
        })
    }

    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns the rest of the first line that begins with `prefix`, within `limit`.
    ///
    /// # Errors
    /// [`BenchError`] if the child ends or prints no such line.
    pub async fn line(&mut self, prefix: &str, limit: Duration) -> Result<String, BenchError> {
        let rest = |line: &str| line.strip_prefix(prefix).map(|rest| rest.trim().to_owned());
        self.find_line(prefix, limit, rest).await
    }

    /// Waits until a line contains `words`, within `limit`.
    ///
    /// # Errors
    /// As [`Process::line`].
    pub async fn wait_for(&mut self, words: &str, limit: Duration) -> Result<(), BenchError> {
        let found = |line: &str| line.contains(words).then_some(());
        self.find_line(words, limit, found).await
    }

    async fn find_line<T>(
        &mut self,
        words: &str,
        limit: Duration,
        found: impl Fn(&str) -> Option<T>,
    ) -> Result<T, BenchError> {
        let name = self.name.clone();
        let lines = &mut self.lines;
        let read = async {
            loop {
                let line = lines.next_line().await.doing(format!("read {name}"))?;
                let Some(line) = line else {
                    return Err(BenchError::Unexpected(format!("{name} ended too early")));
                };
                if let Some(found) = found(&line) {
                    return Ok(found);
                }
            }
        };
        within(
            &format!("waiting for {name} to print {words:?}"),
            limit,
            read,
        )
        .await
    }

    /// Sends a line to the child.
    ///
    /// # Errors
    /// [`BenchError`] if the child is gone.
    pub async fn send_line(&mut self, line: &str) -> Result<(), BenchError> {
        let doing = || format!("write to {}", self.name);
        let input = self.input.as_mut();
        let input = input.ok_or_else(|| BenchError::Unexpected(doing()))?;
        let line = format!("{line}\n");
        input.write_all(line.as_bytes()).await.doing(doing())
    }

    /// Sends SIGTERM, and kills the child after `grace`.
    pub async fn stop(mut self, grace: Duration) {
        if let Ok(pid) = i32::try_from(self.pid) {
            let _gone = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        if timeout(grace, self.child.wait()).await.is_err() {
            let _gone = self.child.kill().await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ended = self.child.start_kill();
        self.reaper.send_line(&format!("spare {}", self.pid));
    }
}

/// The lines of standard input as they arrive; ends when the run that writes them is gone.
pub fn lines_of_stdin() -> mpsc::UnboundedReceiver<String> {
    let (send, receive) = mpsc::unbounded_channel();
    // A plain thread: tokio's blocking pool would keep a runtime from ending until the next line.
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if send.send(line.trim().to_owned()).is_err() {
                return;
            }
        }
    });
    receive
}
