//! Ends the server when we are gone, however we went: `kill -9` included.
//!
//! Promise: a small shell process holds the reading end of a pipe whose writing end only we hold. When the kernel closes
//! ours, it asks the server for a fast shutdown, then an immediate one. It runs as the server's account, never as root.
//! Limit: kill it as well and the server is orphaned; the next start finds that (see `leftovers`). It knows the server
//! by process id, so a server that ends on its own in the moment before we do leaves it a stale number.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, Stdio};

use tracing::warn;

use super::account::Account;

const SCRIPT: &str = include_str!("lifeline.sh");

/// The watching process and our end of its pipe.
#[derive(Debug)]
pub(super) struct Lifeline {
    account: Account,
    watcher: Option<Child>,
}

impl Lifeline {
    /// Nothing is watched yet.
    pub(super) fn new(account: Account) -> Self {
        Self {
            account,
            watcher: None,
        }
    }

    /// From now on `server` ends with us; `None` when there is no server.
    ///
    /// A missing shell is no reason to refuse to sell: it is logged, and the next start does the cleaning.
    pub(super) fn watch(&mut self, server: Option<u32>) {
        let line = server.map_or_else(|| "-\n".to_owned(), |pid| format!("{pid}\n"));
        // A failure to write means that the watcher is gone; a new one is told the same.
        if let Err(error) = self
            .tell(&line)
            .or_else(|_| self.replace().and_then(|()| self.tell(&line)))
        {
            warn!(%error, "PostgreSQL would outlive a crash of this process: cannot run its watcher");
        }
    }

    /// Lets the watcher go; whatever was watched is on its own.
    pub(super) fn release(mut self) {
        let _ = self.tell("-\n");
        self.end_watcher();
    }

    fn tell(&mut self, line: &str) -> io::Result<()> {
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
        // Rust opens pipes close-on-exec: no other child of ours keeps the writing end open.
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
