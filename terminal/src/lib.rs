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
use std::future::poll_fn;
use std::io::{self, Write};
use std::iter::successors;
use std::process::ExitCode;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

use self::logging::Format;
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
    say_failure(&one_line(error));
    ExitCode::FAILURE
}

/// Writes why the program ends to standard error, in one line. Where log lines are JSON, so is this
/// one: its collector reads nothing else.
pub fn say_failure(reason: &str) {
    match logging::format() {
        Format::Text => say(&format!("holdfast: {reason}")),
        Format::Json => {
            let members = [("message".to_owned(), reason.into())];
            let members = members.into_iter().collect();
            say(&json_lines::line("ERROR", "holdfast", members, None).to_string());
        }
    }
}

/// Writes a line to standard error, after the log lines so far. If that fails, there is nothing
/// left to report it to.
pub fn say(text: &str) {
    logging::flush();
    let _unread = io::stderr()
        .lock()
        .write_all(format!("{text}\n").as_bytes());
}

/// The signals that ask a program to stop: Ctrl-C (SIGINT), SIGTERM, and SIGHUP, which the end of a
/// terminal sends. A program that was started with SIGHUP ignored, as `nohup` does, ignores it.
#[derive(Debug)]
pub struct Signals([Option<Signal>; 3]);

impl Signals {
    const NAMES: [&str; 3] = ["SIGINT", "SIGTERM", "SIGHUP"];

    /// Catches the signals from now on: none of them ends the process any more.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn catch() -> Self {
        let hangup = match is_hangup_ignored() {
            true => None,
            false => signal(SignalKind::hangup()).ok(),
        };
        Self([
            signal(SignalKind::interrupt()).ok(),
            signal(SignalKind::terminate()).ok(),
            hangup,
        ])
    }

    /// Returns the name of the next signal. Those that arrived since the last call count as one.
    pub async fn next(&mut self) -> &'static str {
        poll_fn(|context| {
            let caught = self.0.iter_mut().zip(Self::NAMES);
            for (signal, name) in caught {
                let Some(signal) = signal else { continue };
                if signal.poll_recv(context).is_ready() {
                    return Poll::Ready(name);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Reads whether SIGHUP, signal 1, is ignored. Where there is no `/proc`, it is not.
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & 1 == 1)
}

/// Returns at the next signal that asks the program to stop; see [`Signals`].
pub async fn wait_for_signal() {
    Signals::catch().next().await;
}
