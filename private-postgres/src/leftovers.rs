//! Cleans up after an earlier owner: a server that still runs, a `postmaster.pid`, a socket.
//!
//! Promise: afterwards no process works on this cluster. An orphaned server is stopped (fast, then
//! immediate, then killed), not reused: its settings and its socket belong to another run.
//! Limit: the caller must hold the owner's lock. Processes are recognised by their command lines in
//! `/proc`; on a system without it PostgreSQL's own checks remain, and it refuses to start next to
//! an orphaned server.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tracing::warn;

use super::error::ClusterError;
use super::sockets;

/// The signals for an orphaned server and the time that each may take. Fast shutdown first: it
/// rolls back, writes and syncs.
const STEPS: [(Signal, Duration); 3] = [
    (Signal::SIGINT, Duration::from_secs(10)),
    (Signal::SIGQUIT, Duration::from_secs(5)),
    (Signal::SIGKILL, Duration::from_secs(5)),
];
const POLL: Duration = Duration::from_millis(20);

/// Identifies a server of this cluster.
#[derive(Debug)]
pub(super) struct Traces<'a> {
    /// PGDATA: an argument of the server's command line.
    pub(super) cluster: &'a Path,
    /// Appears in the process titles of its children.
    pub(super) cluster_name: &'a str,
    /// The directory of its socket.
    pub(super) socket_dir: &'a Path,
}

impl Traces<'_> {
    /// Ends running servers and removes files that would mislead the next one.
    pub(super) fn clear(&self) -> Result<(), ClusterError> {
        self.stop_orphans()?;
        let pid_file = self.cluster.join("postmaster.pid");
        if !self.may_belong_to_a_server(&pid_file) {
            remove(&pid_file)?;
        }
        remove(&sockets::socket(self.socket_dir))?;
        remove(&sockets::socket_lock(self.socket_dir))
    }

    fn stop_orphans(&self) -> Result<(), ClusterError> {
        for (signal, time_limit) in STEPS {
            let orphans = self.orphans();
            if orphans.is_empty() {
                return Ok(());
            }
            warn!(?orphans, %signal, "an earlier PostgreSQL still runs on {}: sending {signal}", self.cluster.display());
            for orphan in orphans
                .iter()
                .filter(|orphan| signal != Signal::SIGINT || orphan.is_server)
            {
                // It may have ended meanwhile.
                let _ = kill(Pid::from_raw(orphan.pid), signal);
            }
            self.wait_for_orphans(time_limit);
        }
        match self.orphans() {
            left if left.is_empty() => Ok(()),
            left => Err(ClusterError::Orphans {
                cluster: self.cluster.to_owned(),
                pids: left.iter().map(|orphan| orphan.pid).collect(),
            }),
        }
    }

    fn wait_for_orphans(&self, time_limit: Duration) {
        let deadline = Instant::now() + time_limit;
        while Instant::now() < deadline && !self.orphans().is_empty() {
            thread::sleep(POLL);
        }
    }

    fn orphans(&self) -> Vec<Orphan> {
        process_ids()
            .into_iter()
            .filter_map(|pid| self.recognise(pid, &command_line(pid)?))
            .collect()
    }

    /// By command line and not by working directory: root without `CAP_SYS_PTRACE` (as in most
    /// containers) may not read the working directories of other users' processes, but may read
    /// their command lines.
    fn recognise(&self, pid: i32, command_line: &[u8]) -> Option<Orphan> {
        let mut arguments = command_line.split(|byte| *byte == 0);
        let program = arguments.next().unwrap_or_default();
        if program.starts_with(format!("postgres: {}: ", self.cluster_name).as_bytes()) {
            return Some(Orphan {
                pid,
                is_server: false,
            });
        }
        let cluster = self.cluster.as_os_str().as_encoded_bytes();
        let is_server =
            program.ends_with(b"/postgres") && arguments.any(|argument| argument == cluster);
        is_server.then_some(Orphan { pid, is_server })
    }

    /// PostgreSQL refuses to start if the process id in `postmaster.pid` is in use, even by another
    /// program. The file is removed only if that id is unused or clearly another program's;
    /// otherwise PostgreSQL decides.
    fn may_belong_to_a_server(&self, pid_file: &Path) -> bool {
        let text = fs::read_to_string(pid_file).unwrap_or_default();
        let Some(pid) = text
            .lines()
            .next()
            .and_then(|line| line.trim().parse::<i32>().ok())
        else {
            return false;
        };
        let dead = kill(Pid::from_raw(pid), None) == Err(nix::errno::Errno::ESRCH);
        !dead && command_line(pid).is_none_or(|line| self.recognise(pid, &line).is_some())
    }
}

/// A process of an earlier run.
#[derive(Debug)]
struct Orphan {
    pid: i32,
    /// The server itself; its children end with it.
    is_server: bool,
}

fn process_ids() -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Empty for a zombie; `None` for a process that is gone or hidden, or without `/proc`.
fn command_line(pid: i32) -> Option<Vec<u8>> {
    fs::read(PathBuf::from(format!("/proc/{pid}/cmdline"))).ok()
}

fn remove(path: &Path) -> Result<(), ClusterError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(ClusterError::file("remove", path)(e)),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recognised(command_line: &[u8]) -> Option<bool> {
        let traces = Traces {
            cluster: Path::new("/data/postgres"),
            cluster_name: "holdfast-1",
            socket_dir: Path::new("/data/run"),
        };
        traces
            .recognise(7, command_line)
            .map(|orphan| orphan.is_server)
    }

    #[test]
    fn only_processes_of_this_cluster_are_recognised() {
        assert_eq!(
            recognised(b"/usr/lib/postgresql/15/bin/postgres\0-D\0/data/postgres\0-p\x005432\0"),
            Some(true)
        );
        assert_eq!(
            recognised(b"postgres: holdfast-1: checkpointer \0"),
            Some(false)
        );
        assert_eq!(
            recognised(b"/usr/lib/postgresql/15/bin/postgres\0-D\0/data/postgres2\0"),
            None
        );
        assert_eq!(recognised(b"postgres: holdfast-12: checkpointer \0"), None);
        assert_eq!(recognised(b"vi\0/data/postgres\0"), None);
        assert_eq!(recognised(b""), None, "a zombie does not use the cluster");
    }
}
