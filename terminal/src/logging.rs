//! Log lines on standard error, written by a thread of their own.
//!
//! Promise: nobody who logs waits for standard error or fails because of it, be it a full disk, a pipe whose reader has gone,
//! or one whose reader has stopped reading. What cannot be written is dropped and counted; the next line that can be is
//! preceded by one that says how many were lost.
//! Limit: a process that is killed loses the lines that wait, [`QUEUE_LINES`] at most.
//!
//! `tracing-appender` has such a thread, and neither counts nor reports what its writer refused.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// Lines that may wait to be written; one more is lost.
const QUEUE_LINES: usize = 8_192;
/// How long an ending process waits for its last lines.
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);
/// Between two attempts to put a flush into a full queue.
const FULL_QUEUE_PAUSE: Duration = Duration::from_millis(1);

static LINES: OnceLock<LogLines> = OnceLock::new();

/// Hands lines to the thread that writes them. Clones share it.
#[derive(Debug, Clone)]
pub struct LogLines {
    queue: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// Everything before it has been dealt with once this is dropped.
    Flush(SyncSender<()>),
}

/// Starts the thread for standard error. Where the system gives none, every line is lost.
pub fn start() -> LogLines {
    LINES
        .get_or_init(|| LogLines::onto(io::stderr(), QUEUE_LINES))
        .clone()
}

/// Waits until the lines so far are written or lost, a second at most.
pub fn flush() {
    if let Some(lines) = LINES.get() {
        lines.flush(FLUSH_PATIENCE);
    }
}

impl LogLines {
    fn onto(output: impl Write + Send + 'static, most: usize) -> Self {
        let (queue, waiting) = sync_channel(most);
        let lost = Arc::<AtomicU64>::default();
        let lines = Lines {
            output,
            lost: Arc::clone(&lost),
            is_torn: false,
        };
        let named = thread::Builder::new().name("log".to_owned());
        let _without_it_they_are_lost = named.spawn(move || lines.write_all(&waiting));
        Self { queue, lost }
    }

    fn flush(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let (done, ended) = sync_channel(0);
        let mut message = Message::Flush(done);
        // A full queue has room as soon as its reader has taken a line.
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

/// One line a call, for that is how the formatter writes.
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
    /// The last line was written in part.
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
            lost => self.put(report(lost).as_bytes()),
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

fn report(lost: u64) -> String {
    let mut time = String::new();
    let _infallible = SystemTime.format_time(&mut Writer::new(&mut time));
    format!(
        "{time}  WARN terminal::logging: {lost} log lines were lost: standard error did not take them\n"
    )
}

#[cfg(test)]
mod tests {
    use std::sync::{Condvar, Mutex};

    use super::*;

    /// Met only when something is broken.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A place to write to that a test can fill and block.
    #[derive(Clone, Default)]
    struct Output(Arc<(Mutex<State>, Condvar)>);

    #[derive(Default)]
    struct State {
        text: String,
        /// Bytes that it takes yet; none for any number.
        room: Option<usize>,
        is_blocked: bool,
        is_met: bool,
    }

    impl Output {
        fn set(&self, change: impl FnOnce(&mut State)) {
            change(&mut self.0.0.lock().unwrap());
            self.0.1.notify_all();
        }

        fn until_met(&self) {
            let (state, changed) = &*self.0;
            drop(changed.wait_while(state.lock().unwrap(), |state| !state.is_met));
        }

        fn lines(&self) -> Vec<String> {
            let text = self.0.0.lock().unwrap().text.clone();
            // Without their times.
            let known = |line: &str| line.split("Z  WARN").last().unwrap_or(line).to_owned();
            text.lines().map(known).collect()
        }
    }

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (state, changed) = &*self.0;
            let mut state = state.lock().unwrap();
            state.is_met = true;
            changed.notify_all();
            let mut state = changed.wait_while(state, |state| state.is_blocked).unwrap();
            let fits = state.room.map_or(bytes.len(), |room| room.min(bytes.len()));
            if fits == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            state.room = state.room.map(|room| room - fits);
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
        " terminal::logging: 2 log lines were lost: standard error did not take them";

    #[test]
    fn lines_that_a_full_disk_refused_are_counted_once_there_is_room() {
        let output = Output::default();
        let lines = LogLines::onto(output.clone(), 10);
        log(&lines, "one\n");
        lines.flush(PATIENCE);
        output.set(|state| state.room = Some(2));
        for line in ["two\n", "three\n"] {
            log(&lines, line);
            lines.flush(PATIENCE);
        }
        output.set(|state| state.room = None);
        log(&lines, "four\n");
        log(&lines, "five\n");
        lines.flush(PATIENCE);
        assert_eq!(output.lines(), ["one", "tw", LOST, "four", "five"]);
    }

    #[test]
    fn lines_for_which_a_reader_has_no_time_are_lost_and_nobody_waits() {
        let output = Output::default();
        let lines = LogLines::onto(output.clone(), 2);
        output.set(|state| state.is_blocked = true);
        log(&lines, "under way\n");
        output.until_met();
        for line in ["waits\n", "waits too\n", "lost\n", "lost too\n"] {
            log(&lines, line);
        }
        output.set(|state| state.is_blocked = false);
        lines.flush(PATIENCE);
        log(&lines, "later\n");
        lines.flush(PATIENCE);
        let written = output.lines();
        assert_eq!(written.first().map(String::as_str), Some("under way"));
        assert!(written.contains(&LOST.to_owned()), "{written:?}");
        assert_eq!(written.len(), 5, "{written:?}");
    }
}
