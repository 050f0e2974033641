//! Starts the server and detects when it is ready.
//!
//! Promise: `fsync`, `full_page_writes` and `synchronous_commit` are on, TCP is off, and the server
//! itself reports that it is ready.
//! Limit: handles one start; `supervisor` restarts it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;
use std::{fs, io};

use super::cluster_files::last_lines;
use super::error::ClusterError;
use super::leftovers::Traces;
use super::place::Location;
use super::programs::Origin;
use super::sockets;

/// At a start, a log larger than this is moved aside; one generation is kept.
const LOG_BYTES_MAX: u64 = 10 << 20;

/// Everything that is needed to start the server repeatedly in the same way.
#[derive(Debug)]
pub(super) struct Recipe {
    pub(super) location: Location,
    pub(super) origin: Origin,
    pub(super) socket_dir: PathBuf,
    pub(super) shared_buffers_mib: u32,
    pub(super) max_connections: u16,
    pub(super) settings: Vec<(String, String)>,
    pub(super) start_timeout: Duration,
}

impl Recipe {
    /// Ends and removes leftovers of an earlier run. Only under the owner's lock, and never while
    /// our own server runs.
    pub(super) fn clear_leftovers(&self) -> Result<(), ClusterError> {
        let cluster_name = self.location.cluster_name();
        Traces {
            cluster: &self.location.cluster(),
            cluster_name: &cluster_name,
            socket_dir: &self.socket_dir,
        }
        .clear()
    }

    /// Starts the server; it is not ready yet.
    pub(super) fn spawn(&self) -> Result<Started, ClusterError> {
        let program = self.origin.program("postgres");
        let (log, log_from) = open_log(&self.location.log())?;
        let second = log
            .try_clone()
            .map_err(ClusterError::file("open", self.location.log()))?;
        let cluster = self.location.cluster();
        let mut command = self.location.account.command(&program, &cluster);
        command
            .arg("-D")
            .arg(&cluster)
            .args(["-p", &sockets::PORT.to_string()]);
        for (name, value) in self.all_settings() {
            let mut setting = OsString::from(format!("{name}="));
            setting.push(value);
            command.arg("-c").arg(setting);
        }
        let child = command
            .stdout(log)
            .stderr(second)
            .stdin(Stdio::null())
            .spawn();
        child
            .map(|child| Started { child, log_from })
            .map_err(|source| ClusterError::Run { program, source })
    }

    /// On the command line, where they override the cluster's own files.
    fn all_settings(&self) -> Vec<(String, OsString)> {
        let fixed = [
            ("listen_addresses", OsString::new()),
            ("unix_socket_directories", quoted(&self.socket_dir)),
            ("unix_socket_permissions", "0700".into()),
            ("cluster_name", self.location.cluster_name().into()),
            // The bundled initdb suggests 25 connections and 400 kB.
            ("max_connections", self.max_connections.to_string().into()),
            (
                "shared_buffers",
                format!("{}MB", self.shared_buffers_mib).into(),
            ),
            // The statements are short; compiling them costs more than it saves.
            ("jit", "off".into()),
            ("timezone", "UTC".into()),
            ("log_timezone", "UTC".into()),
            ("logging_collector", "off".into()),
            ("log_destination", "stderr".into()),
        ];
        // Last, because the last value counts: durability cannot be configured away.
        let durable = ["fsync", "full_page_writes", "synchronous_commit"]
            .map(|name| (name, OsString::from("on")));
        let fixed = fixed
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value));
        let extra = self
            .settings
            .iter()
            .map(|(name, value)| (name.clone(), OsString::from(value)));
        fixed
            .chain(extra)
            .chain(
                durable
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value)),
            )
            .collect()
    }

    /// Reports whether the server with this process id declares in `postmaster.pid` (line 8) that
    /// it accepts connections.
    ///
    /// `pg_ctl` waits for the same. It needs no connection, and another server cannot be mistaken
    /// for this one.
    pub(super) fn is_ready(&self, pid: u32) -> bool {
        let text =
            fs::read_to_string(self.location.cluster().join("postmaster.pid")).unwrap_or_default();
        let mut lines = text.lines().map(str::trim);
        lines.next() == Some(pid.to_string().as_str()) && lines.nth(6) == Some("ready")
    }

    /// The last lines that the server wrote since `log_from`.
    pub(super) fn log_tail(&self, log_from: u64) -> String {
        log_tail(&self.location.log(), log_from)
    }
}

/// The last lines of the log at `path` since `log_from`.
pub(super) fn log_tail(path: &Path, log_from: u64) -> String {
    let mut tail = Vec::new();
    let read = File::open(path).and_then(|mut log| {
        log.seek(SeekFrom::Start(log_from))?;
        log.read_to_end(&mut tail)
    });
    read.map_or_else(|e| format!("(cannot read it: {e})"), |_| last_lines(&tail))
}

#[derive(Debug)]
pub(super) struct Started {
    pub(super) child: Child,
    /// The offset at which its part of the log begins.
    pub(super) log_from: u64,
}

/// The setting is a list: a comma, a quote or a space in the path must not be taken for a part of
/// the list.
fn quoted(path: &Path) -> OsString {
    let mut quoted = OsString::from("\"");
    match path.to_str() {
        Some(text) => quoted.push(text.replace('"', "\"\"")),
        None => quoted.push(path),
    }
    quoted.push("\"");
    quoted
}

/// Opens the log to append to it, and returns its present length.
pub(super) fn open_log(path: &Path) -> Result<(File, u64), ClusterError> {
    set_aside(path).map_err(ClusterError::file("rename", path))?;
    let log = File::options()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path);
    let log = log.map_err(ClusterError::file("open", path))?;
    let length = log.metadata().map_err(ClusterError::file("read", path))?;
    Ok((log, length.len()))
}

fn set_aside(log: &Path) -> io::Result<()> {
    match fs::metadata(log) {
        Ok(found) if found.len() > LOG_BYTES_MAX => fs::rename(log, log.with_extension("log.1")),
        Ok(_) | Err(_) => Ok(()),
    }
}
