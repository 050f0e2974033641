//! Log lines on standard error, written by a separate thread.
//!
//! Promise: logging never blocks on standard error or fails because of it, whether the disk is
//! full, the pipe's reader is gone or it has stopped reading. Lines that cannot be written are
//! dropped and counted; the next line that can be written is preceded by the number of lost lines.
//! Limit: a process that is killed loses the queued lines, at most [`QUEUE_LINES`].
//!
//! `tracing-appender` has such a thread, but it neither counts nor reports lines that its writer
//! rejected.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use crate::json_lines;

/// Lines that may wait to be written; further ones are lost.
const QUEUE_LINES: usize = 8_192;
/// How long an exiting process waits for its last lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// The pause between two attempts to queue a flush.
const FULL_QUEUE_PAUSE: Duration = Duration::from_millis(1);

/// Global, as standard error is: the panic hook and [`flush`] must find the queue from anywhere.
static LINES: OnceLock<LogLines> = OnceLock::new();

/// Queues lines for the thread that writes them. Clones share the queue.
#[derive(Debug, Clone)]
pub struct LogLines {
    queue: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// Dropped once every earlier message has been processed.
    Flush(SyncSender<()>),
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// See [`crate::json_lines`].
    Json,
}

/// True if the format is [`Format::Json`]. The lines of a failure have it before logging starts.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Sets the format of the lines that this program writes about failures.
pub fn choose(format: Format) {
    IS_JSON.store(format == Format::Json, Ordering::Relaxed);
}

/// Returns the format that was chosen last; text if none was.
pub fn format() -> Format {
    match IS_JSON.load(Ordering::Relaxed) {
        true => Format::Json,
        false => Format::Text,
    }
}

/// Starts the thread that writes to standard error. If the thread cannot be started, every line is
/// lost. The format is that of the lines that the thread itself adds.
pub fn start(format: Format) -> LogLines {
    LINES
        .get_or_init(|| LogLines::onto(io::stderr(), QUEUE_LINES, format))
        .clone()
}

/// Waits until the lines so far are written or lost, at most one second.
pub fn flush() {
    if let Some(lines) = LINES.get() {
        lines.flush(FLUSH_TIMEOUT);
    }
}

impl LogLines {
    fn onto(output: impl Write + Send + 'static, most: usize, format: Format) -> Self {
        let (queue, waiting) = sync_channel(most);
        let lost = Arc::<AtomicU64>::default();
        let lines = Lines {
            output,
            lost: Arc::clone(&lost),
            format,
            is_torn: false,
        };
        let named = thread::Builder::new().name("log".to_owned());
        let _without_it_they_are_lost = named.spawn(move || lines.write_all(&waiting));
        Self { queue, lost }
    }

    fn flush(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let (done, ended) = sync_channel(0);
        let mut message = Message::Flush(done);
        // A full queue has room again as soon as the thread takes a line.
        while let Err(TrySendError::Full(unsent)) = self.queue.try_send(message) {
            if Instant::now() >= deadline {
                return;
            }
            message = unsent;
            thread::sleep(FULL_QUEUE_PAUSE);
        }
        let _ended_or_given_up =
            ended.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

/// The formatter writes one line per call.
impl Write for &LogLines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Message::Line(line.to_vec())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogLines {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

struct Lines<W> {
    output: W,
    lost: Arc<AtomicU64>,
    format: Format,
    /// The last line was only partly written.
    is_torn: bool,
}

impl<W: Write> Lines<W> {
    fn write_all(mut self, waiting: &Receiver<Message>) {
        while let Ok(message) = waiting.recv() {
            match message {
                Message::Line(line) => self.write(&line),
                Message::Flush(done) => drop(done),
            }
        }
    }

    fn write(&mut self, line: &[u8]) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        let reported = match lost {
            0 => Ok(()),
            lost => self.put(report(lost, self.format).as_bytes()),
        };
        let left = match reported {
            Ok(()) => u64::from(self.put(line).is_err()),
            Err(_) => lost + 1,
        };
        self.lost.fetch_add(left, Ordering::Relaxed);
    }

    fn put(&mut self, mut line: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.output.write_all(b"\n")?;
            self.is_torn = false;
        }
        while !line.is_empty() {
            match self.output.write(line) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    line = &line[written..];
                    self.is_torn = !line.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn report(lost: u64, format: Format) -> String {
    let message = format!("{lost} log lines were lost: standard error did not accept them");
    if format == Format::Json {
        let members = [("message".to_owned(), message.into())];
        let line = json_lines::line("WARN", module_path!(), members.into_iter().collect(), None);
        return format!("{line}\n");
    }
    let mut time = String::new();
    let _infallible = SystemTime.format_time(&mut Writer::new(&mut time));
    format!("{time}  WARN terminal::logging: {message}\n")
}

#[cfg(test)]
mod tests {
    use std::sync::{Condvar, Mutex};

    use super::*;

    /// Reached only when a test fails.
    const TIMEOUT: Duration = Duration::from_secs(60);

    /// An output that a test can fill and block.
    #[derive(Clone, Default)]
    struct Output(Arc<(Mutex<State>, Condvar)>);

    #[derive(Default)]
    struct State {
        text: String,
        /// How many more bytes it accepts; `None` for any number.
        capacity: Option<usize>,
        is_blocked: bool,
        was_called: bool,
    }

    impl Output {
        fn set(&self, change: impl FnOnce(&mut State)) {
            change(&mut self.0.0.lock().unwrap());
            self.0.1.notify_all();
        }

        fn wait_for_write(&self) {
            let (state, changed) = &*self.0;
            drop(changed.wait_while(state.lock().unwrap(), |state| !state.was_called));
        }

        fn lines(&self) -> Vec<String> {
            let text = self.0.0.lock().unwrap().text.clone();
            // Without the timestamps.
            let known = |line: &str| line.split("Z  WARN").last().unwrap_or(line).to_owned();
            text.lines().map(known).collect()
        }
    }

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (state, changed) = &*self.0;
            let mut state = state.lock().unwrap();
            state.was_called = true;
            changed.notify_all();
            let mut state = changed.wait_while(state, |state| state.is_blocked).unwrap();
            let fits = state
                .capacity
                .map_or(bytes.len(), |capacity| capacity.min(bytes.len()));
            if fits == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            state.capacity = state.capacity.map(|capacity| capacity - fits);
            state
                .text
                .push_str(&String::from_utf8_lossy(&bytes[..fits]));
            Ok(fits)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log(lines: &LogLines, line: &str) {
        let mut writer = lines;
        writer.write_all(line.as_bytes()).unwrap();
    }

    const LOST: &str =
        " terminal::logging: 2 log lines were lost: standard error did not accept them";

    #[test]
    fn lines_lost_to_a_full_disk_are_counted_once_writes_succeed() {
        let output = Output::default();
        let lines = LogLines::onto(output.clone(), 10, Format::Text);
        log(&lines, "one\n");
        lines.flush(TIMEOUT);
        output.set(|state| state.capacity = Some(2));
        for line in ["two\n", "three\n"] {
            log(&lines, line);
            lines.flush(TIMEOUT);
        }
        output.set(|state| state.capacity = None);
        log(&lines, "four\n");
        log(&lines, "five\n");
        lines.flush(TIMEOUT);
        assert_eq!(output.lines(), ["one", "tw", LOST, "four", "five"]);
    }

    #[test]
    fn blocked_output_loses_lines_without_blocking_the_logger() {
        let output = Output::default();
        let lines = LogLines::onto(output.clone(), 2, Format::Text);
        output.set(|state| state.is_blocked = true);
        log(&lines, "under way\n");
        output.wait_for_write();
        for line in ["waits\n", "waits too\n", "lost\n", "lost too\n"] {
            log(&lines, line);
        }
        output.set(|state| state.is_blocked = false);
        lines.flush(TIMEOUT);
        log(&lines, "later\n");
        lines.flush(TIMEOUT);
        let written = output.lines();
        assert_eq!(written.first().map(String::as_str), Some("under way"));
        assert!(written.contains(&LOST.to_owned()), "{written:?}");
        assert_eq!(written.len(), 5, "{written:?}");
    }

    #[test]
    fn report_of_lost_lines_is_an_object_among_objects() {
        let text = report(2, Format::Json);
        assert!(text.ends_with("}\n"), "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["target"], "terminal::logging");
        let message = line["message"].as_str().unwrap();
        assert!(message.starts_with("2 log lines were lost"), "{line}");
    }
}
