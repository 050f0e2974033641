//! A program whose standard error is a terminal, as a person has it.

use std::fs::File;
use std::io::Read;
use std::process::Command;
use std::thread;

use nix::pty::{Winsize, openpty};

use tokio::time::timeout;

use crate::PATIENCE;
use crate::app::Finished;

/// Wide enough for any of our lines.
const SIZE: Winsize = Winsize {
    ws_row: 24,
    ws_col: 132,
    ws_xpixel: 0,
    ws_ypixel: 0,
};

/// Runs a command to its end with a pseudo terminal for its standard error; what it drew there is the [`Finished::stderr`].
///
/// # Panics
/// When there is no pseudo terminal, or the command cannot be run.
pub async fn finish_on_terminal(mut command: Command) -> Finished {
    let terminal = openpty(&SIZE, None).expect("there are pseudo terminals");
    command.env("TERM", "xterm").stderr(terminal.slave);
    let mut screen = File::from(terminal.master);
    let drawn = thread::spawn(move || {
        let (mut drawn, mut chunk) = (vec![], [0; 4096]);
        // Ends with an error rather than with an end once nobody has the other side any more.
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
    // It keeps our end of the other side open, without which the screen would never go dark.
    drop(command);
    let output = timeout(PATIENCE, running.wait_with_output())
        .await
        .expect("the program ends")
        .expect("the program runs");
    Finished {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: drawn.join().expect("it only reads"),
    }
}
