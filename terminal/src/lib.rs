//! What the commands share towards a terminal: lines on standard output and standard error, log
//! lines, tables, bars, and Ctrl-C.

// A closed pipe or a full disk must end neither a server nor a command by a panic: see [`print_line`] and [`say`].
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod logging;
pub mod progress;
pub mod table;
pub mod text;

use std::error::Error;
use std::io::{self, Write};
use std::iter::successors;
use std::process::ExitCode;

use self::text::one_line;

/// Writes a text and a line feed to standard output, and knows who does not read it to its end.
///
/// # Errors
/// When it cannot be written.
pub fn print_line(text: &str) -> io::Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if was_enough(&error) => Ok(()),
        written => written,
    }
}

/// Whether whoever reads what we write has had enough, which is no error.
pub fn was_enough(error: &io::Error) -> bool {
    let causes = successors(Some(error as &dyn Error), |error| (*error).source());
    causes
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// One line that says what went wrong and why.
pub fn fail(error: &(dyn Error + 'static)) -> ExitCode {
    say(&format!("holdfast: {}", one_line(error)));
    ExitCode::FAILURE
}

/// Writes a line to standard error, after the lines of the log so far. When it cannot be written, nobody would read it.
pub fn say(text: &str) {
    logging::flush();
    let _unread = io::stderr()
        .lock()
        .write_all(format!("{text}\n").as_bytes());
}

/// Returns at the first Ctrl-C or SIGTERM from now on.
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
