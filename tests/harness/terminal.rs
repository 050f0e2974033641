//! Runs a program whose standard error is a terminal, as for an interactive user.

use std::fs::File;
use std::io::Read;
use std::process::Command;
use std::thread;

use nix::pty::{Winsize, openpty};

use tokio::time::timeout;

use crate::TIMEOUT;
use crate::app::Finished;

/// Wide enough for any line of the program.
const SIZE: Winsize = Winsize {
    ws_row: 24,
    ws_col: 132,
    ws_xpixel: 0,
    ws_ypixel: 0,
};

/// Runs a command to its end with a pseudo terminal as its standard error; the output there becomes
/// [`Finished::stderr`].
///
/// # Panics
/// If no pseudo terminal can be opened, or the command cannot be run.
pub async fn finish_on_terminal(mut command: Command) -> Finished {
    let terminal = openpty(&SIZE, None).expect("a pseudo terminal can be opened");
    command.env("TERM", "xterm").stderr(terminal.slave);
    let mut screen = File::from(terminal.master);
    let drawn = thread::spawn(move || {
        let (mut drawn, mut chunk) = (vec![], [0; 4096]);
        // Reading fails, rather than ends, once the other side is closed everywhere.
        while let Ok(length @ 1..) = screen.read(&mut chunk) {
            drawn.extend_from_slice(&chunk[..length]);
        }
        String::from_utf8_lossy(&drawn).into_owned()
    });
    let mut command = tokio::process::Command::from(command);
    let running = command
        .kill_on_drop(true)
        .spawn()
        .expect("the program runs");
    // `command` keeps our copy of the other side open; without this the read would never end.
    drop(command);
    let output = timeout(TIMEOUT, running.wait_with_output())
        .await
        .expect("the program ends")
        .expect("the program runs");
    Finished {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: drawn.join().expect("the reader thread does not panic"),
    }
}
