//! What an earlier owner left behind: a server that still runs, a `postmaster.pid`, a socket.
//!
//! Promise: afterwards no process works on this cluster. An orphan is stopped (fast, then immediate, then killed), not
//! adopted: its settings and its socket are those of another run.
//! Limit: must be called under the owner's lock. Processes are told by their command lines in `/proc`; on a system
//! without it PostgreSQL's own checks remain, and it refuses to start beside an orphan.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tracing::warn;

use super::error::ClusterError;
use super::sockets;

/// How an orphan is ended: each signal with the patience it gets. Fast shutdown first; it rolls back, writes and syncs.
const STEPS: [(Signal, Duration); 3] = [
    (Signal::SIGINT, Duration::from_secs(10)),
    (Signal::SIGQUIT, Duration::from_secs(5)),
    (Signal::SIGKILL, Duration::from_secs(5)),
];
const POLL: Duration = Duration::from_millis(20);

/// What a server of this cluster can be told by.
#[derive(Debug)]
pub(super) struct Traces<'a> {
    /// PGDATA: an argument of the server's command line.
    pub(super) cluster: &'a Path,
    /// Stands in the process titles of its children.
    pub(super) cluster_name: &'a str,
    /// Holds its socket.
    pub(super) socket_dir: &'a Path,
}

impl Traces<'_> {
    /// Ends what still runs and removes what would mislead the next server.
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
        for (signal, patience) in STEPS {
            let orphans = self.orphans();
            if orphans.is_empty() {
                return Ok(());
            }
            warn!(?orphans, %signal, "an earlier PostgreSQL still runs on {}: sending {signal}", self.cluster.display());
            for orphan in orphans
                .iter()
                .filter(|orphan| signal != Signal::SIGINT || orphan.is_server)
            {
                // It may have ended by itself since.
                let _ = kill(Pid::from_raw(orphan.pid), signal);
            }
            self.wait_for_orphans(patience);
        }
        match self.orphans() {
            left if left.is_empty() => Ok(()),
            left => Err(ClusterError::Orphans {
                cluster: self.cluster.to_owned(),
                pids: left.iter().map(|orphan| orphan.pid).collect(),
            }),
        }
    }

    fn wait_for_orphans(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
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

    /// By command line and not by working directory: a root without `CAP_SYS_PTRACE` (as in most containers) may not
    /// read where other users' processes are, but everybody may read what they are called.
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

    /// PostgreSQL believes a `postmaster.pid` whose number is alive again as somebody else, and refuses to start.
    /// It is removed only if that number is dead, or is visibly another program; else the decision is PostgreSQL's.
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
    /// The server itself; its children follow it.
    is_server: bool,
}

fn process_ids() -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Empty for a zombie; `None` for a process that is gone or hidden, or where there is no `/proc`.
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
    fn only_the_processes_of_this_cluster_are_recognised() {
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
        assert_eq!(recognised(b""), None, "a zombie works on nothing");
    }
}
