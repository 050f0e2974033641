//! Terminal input and output of the commands: lines on standard output and standard error, log
//! lines, tables, progress bars, and signals.

// A closed pipe or a full disk must not make a server or a command panic: see [`print_line`] and
// [`say`].
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod arguments;
pub mod json_lines;
pub mod logging;
pub mod progress;
pub mod table;
pub mod text;

use std::error::Error;
use std::io::{self, Write};
use std::iter::successors;
use std::process::ExitCode;

use self::text::one_line;

/// Writes a text and a line feed to standard output. A reader that closed the pipe is not an error.
///
/// # Errors
/// Any other failure to write.
pub fn print_line(text: &str) -> io::Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if is_broken_pipe(&error) => Ok(()),
        written => written,
    }
}

/// Reports whether the error is a broken pipe: the reader closed its end, which is not a failure.
pub fn is_broken_pipe(error: &io::Error) -> bool {
    let causes = successors(Some(error as &dyn Error), |error| (*error).source());
    causes
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Prints the error and its causes in one line.
pub fn fail(error: &(dyn Error + 'static)) -> ExitCode {
    say(&format!("holdfast: {}", one_line(error)));
    ExitCode::FAILURE
}

/// Writes a line to standard error, after the log lines so far. If that fails, there is nothing
/// left to report it to.
pub fn say(text: &str) {
    logging::flush();
    let _unread = io::stderr()
        .lock()
        .write_all(format!("{text}\n").as_bytes());
}

/// Returns at the next Ctrl-C or SIGTERM.
pub async fn wait_for_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
