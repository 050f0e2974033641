//! Ends the server when this process ends in any way, `kill -9` included.
//!
//! Promise: a small shell process holds the read end of a pipe whose write end only this process
//! holds. When the kernel closes the write end, the shell requests a fast shutdown of the server,
//! then an immediate one. It runs as the server's account, never as root.
//! Limit: if the shell is killed as well, the server is orphaned; the next start handles that (see
//! `leftovers`). The shell knows the server by process id, so a server that ends just before this
//! process leaves a stale id.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, Stdio};

use tracing::warn;

use super::account::Account;

const SCRIPT: &str = include_str!("lifeline.sh");

/// The watcher process and our end of its pipe.
#[derive(Debug)]
pub(super) struct Lifeline {
    account: Account,
    watcher: Option<Child>,
}

impl Lifeline {
    /// A lifeline that watches nothing yet.
    pub(super) fn new(account: Account) -> Self {
        Self {
            account,
            watcher: None,
        }
    }

    /// Ties `server` to this process; `None` when there is no server.
    ///
    /// A missing shell does not prevent a start: it is logged, and the next start cleans up.
    pub(super) fn watch(&mut self, server: Option<u32>) {
        let line = server.map_or_else(|| "-\n".to_owned(), |pid| format!("{pid}\n"));
        // A failed write means that the watcher is gone; its replacement gets the same line.
        if let Err(error) = self
            .send(&line)
            .or_else(|_| self.replace().and_then(|()| self.send(&line)))
        {
            warn!(%error, "cannot run the watcher of PostgreSQL, which would therefore outlive a crash of this process");
        }
    }

    /// Releases the watcher; the server is not watched any more.
    pub(super) fn release(mut self) {
        let _ = self.send("-\n");
        self.end_watcher();
    }

    fn send(&mut self, line: &str) -> io::Result<()> {
        let pipe = self
            .watcher
            .as_mut()
            .and_then(|watcher| watcher.stdin.as_mut());
        pipe.ok_or(io::ErrorKind::NotConnected)?
            .write_all(line.as_bytes())
    }

    fn replace(&mut self) -> io::Result<()> {
        self.end_watcher();
        let mut command = self.account.command("/bin/sh", Path::new("/"));
        // Rust opens pipes close-on-exec: no other child of this process keeps the write end open.
        command.args(["-c", SCRIPT, "holdfast-lifeline"]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.watcher = Some(command.spawn()?);
        Ok(())
    }

    fn end_watcher(&mut self) {
        if let Some(mut watcher) = self.watcher.take() {
            drop(watcher.stdin.take());
            let _ = watcher.wait();
        }
    }
}
