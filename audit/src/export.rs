//! `holdfast audit export`: the log, or a part of it, in a form that other programs read.
//!
//! Promise: every event asked for, once, in order, as it is stored; an export that was cut off goes
//! on where it stopped. Personal data is in none. A finished export leaves its last position and
//! hash in `FILE.head`. Limit: only the whole log as ndjson can be verified, for a part of a chain
//! proves nothing.

mod cloud_source;
mod formats;
#[cfg(feature = "parquet")]
mod parquet;
mod resume;

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use domain::values::{DropId, Position};
use infrastructure::error::LogError;
use infrastructure::log::{EventRef, Hash};

use self::formats::{CloudEvents, Csv, LineFormat, Ndjson};
use self::resume::LastEvent;
use super::kept::{self, KnownHead};
use super::source::{Moment, Page, Reading, Source, SourceArgs, Wanted};
use super::{AuditError, written};

/// Bytes of a table written at once.
const WRITE_BYTES: usize = 1 << 18;

/// What the bar says.
const EXPORTING: &str = "exporting";

/// What `audit export` is told.
#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// How to write the events.
    #[arg(long, env = "HOLDFAST_AUDIT_FORMAT", value_enum, default_value_t = Format::Ndjson)]
    format: Format,

    /// Only what comes after this position.
    #[arg(
        long,
        env = "HOLDFAST_AUDIT_AFTER",
        value_name = "POSITION",
        default_value_t = 0
    )]
    after: u64,

    /// Only up to this position, or to this time.
    #[arg(long, env = "HOLDFAST_AUDIT_UNTIL", value_name = "POSITION|TIME")]
    until: Option<Moment>,

    /// Only this drop's events.
    #[arg(long, env = "HOLDFAST_AUDIT_DROP", value_name = "ID")]
    drop: Option<DropId>,

    /// Write to a file rather than to standard output.
    #[arg(long, short, env = "HOLDFAST_AUDIT_OUTPUT", value_name = "FILE")]
    output: Option<PathBuf>,

    /// Write the position and the hash of the last event to this file once the export is finished,
    /// as POSITION:HASH, which verify --expect-head takes. With --output it is FILE.head unless
    /// said, and verify --file reads it there.
    #[arg(long, env = "HOLDFAST_AUDIT_HEAD", value_name = "FILE")]
    head: Option<PathBuf>,

    /// Go on with a file that an earlier export did not finish; in any format but parquet.
    #[arg(long, env = "HOLDFAST_AUDIT_RESUME", requires = "output")]
    resume: bool,

    /// What CloudEvents say that they come from, a URI reference. Unless said it is a URN of the
    /// log's own, which no other log has, or that of the file that is resumed.
    #[arg(
        long,
        env = "HOLDFAST_AUDIT_CLOUDEVENTS_SOURCE",
        value_name = "URI",
        value_parser = cloud_source::uri_reference
    )]
    cloudevents_source: Option<String>,
}

/// A form for events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A JSON object a line, as GET /v1/log streams them: what verify --file reads.
    Ndjson,
    /// A CloudEvent 1.0 a line.
    Cloudevents,
    /// A table with a header; payload and metadata are JSON.
    Csv,
    /// Apache Parquet, for analysts.
    Parquet,
}

/// Takes events one after the other, for what keeps something from one to the next.
trait Encoder: Send {
    /// Takes the next one.
    fn event(&mut self, event: EventRef<'_>) -> io::Result<()>;
    /// Writes what is still to be written.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// Where an export goes to.
type Output = Box<dyn Write + Send>;

/// Runs it.
///
/// # Errors
/// [`AuditError`]; then a file that was there is as it was, and a new one was not made, unless the source ends before --until.
pub async fn run(args: &ExportArgs) -> Result<ExitCode, AuditError> {
    let source = Source::open(&args.source).await?;
    let outcome = export(args, &source).await;
    source.close().await;
    written(outcome)
}

async fn export(args: &ExportArgs, source: &Source) -> Result<(), AuditError> {
    if cfg!(not(feature = "parquet")) && args.format == Format::Parquet {
        return Err(AuditError::WithoutParquet);
    }
    let wanted = Wanted {
        after: Position(args.after),
        until: args.until,
        drop: args.drop,
        private: false,
    };
    let head_path = args
        .head
        .clone()
        .or_else(|| args.output.as_deref().map(kept::head_file));
    if let Some(path) = args.head.as_deref().filter(|_| !args.resume) {
        refuse_existing(path).map_err(|error| failed(path, error))?;
    }
    let forget_head = || match &head_path {
        Some(path) => forget(path).map_err(|error| failed(path, error)),
        None => Ok(()),
    };
    // No file is touched before it is known that there is what was asked for.
    let (events, output, is_new, cloud): (_, Output, _, _) = match &args.output {
        None => {
            let events = Events::all(source, wanted).await?;
            let cloud = cloud_source::of(args, source, &events, None).await?;
            (events, Box::new(io::stdout()), true, cloud)
        }
        Some(path) if args.resume => {
            let at = |error| failed(path, error);
            let last = resume::last_event(path, args.format).map_err(at)?;
            let events = match &last {
                None => Events::all(source, wanted).await?,
                Some(last) => Events::following(last, path, source, wanted).await?,
            };
            let cloud = cloud_source::of(args, source, &events, last.as_ref()).await?;
            forget_head()?;
            let file = resume::reopen(path, last.as_ref()).map_err(at)?;
            (events, Box::new(file), last.is_none(), cloud)
        }
        Some(path) => {
            let events = Events::all(source, wanted).await?;
            let cloud = cloud_source::of(args, source, &events, None).await?;
            let file = create(path).map_err(|error| failed(path, error))?;
            forget_head()?;
            (events, Box::new(file), true, cloud)
        }
    };
    let last = write(args.format, &cloud, events, output, is_new).await?;
    if let Some(path) = &head_path {
        kept::write_head(path, last).map_err(|error| failed(path, error))?;
    }
    Ok(())
}

/// What is to be written. Its first page is there already.
struct Events {
    first: Option<Page>,
    /// How many of the first page's are written already.
    written: usize,
    /// The last event that was written; none yet: the start of the log.
    last: KnownHead,
    reading: Reading,
}

/// Before the first event.
const START: KnownHead = KnownHead {
    position: Position(0),
    hash: Hash([0; 32]),
};

impl Events {
    async fn all(source: &Source, wanted: Wanted) -> Result<Self, AuditError> {
        let mut reading = source.read(wanted, EXPORTING).await?;
        let first = reading.next_page().await?;
        let written = 0;
        Ok(Self {
            first,
            written,
            last: START,
            reading,
        })
    }

    /// What follows the last event of a file, which is read once more, to see that it is the log's.
    async fn following(
        last: &LastEvent,
        path: &Path,
        source: &Source,
        wanted: Wanted,
    ) -> Result<Self, AuditError> {
        let refused = |reason| AuditError::OtherExport {
            path: path.to_owned(),
            reason,
        };
        if last.position <= wanted.after {
            return Err(refused(last.is_not_asked_for()));
        }
        let before = Position(last.position.0 - 1);
        let wanted = Wanted {
            after: before,
            ..wanted
        };
        let events = Self::all(source, wanted).await.map_err(|error| {
            let is_shorter =
                matches!(error, AuditError::BeyondHead { asked, .. } if asked == before);
            if is_shorter {
                refused(last.is_not_asked_for())
            } else {
                error
            }
        })?;
        let event = events.first.as_ref().and_then(|page| page.events().next());
        let event = event.transpose().map_err(AuditError::Log)?;
        match last.differs_from(event) {
            Some(reason) => Err(refused(reason)),
            None => Ok(Self {
                written: 1,
                last: last.head(),
                ..events
            }),
        }
    }

    /// The next page, and how many of its events are to be left out.
    async fn next(&mut self) -> Result<Option<(Page, usize)>, AuditError> {
        if let Some(first) = self.first.take() {
            return Ok(Some((first, self.written)));
        }
        let page = self.reading.next_page().await?;
        Ok(page.map(|page| (page, 0)))
    }
}

async fn write(
    format: Format,
    cloud_source: &str,
    events: Events,
    output: Output,
    is_new: bool,
) -> Result<KnownHead, AuditError> {
    let encoder: Box<dyn Encoder> = match format {
        Format::Ndjson => return write_lines(events, Ndjson::default(), output).await,
        Format::Cloudevents => {
            let lines = CloudEvents::new(cloud_source);
            return write_lines(events, lines, output).await;
        }
        Format::Csv => {
            let output = BufWriter::with_capacity(WRITE_BYTES, output);
            Box::new(Csv::new(output, is_new).map_err(AuditError::Output)?)
        }
        #[cfg(feature = "parquet")]
        Format::Parquet => Box::new(parquet::Parquet::new(output).map_err(AuditError::Output)?),
        #[cfg(not(feature = "parquet"))]
        Format::Parquet => return Err(AuditError::WithoutParquet),
    };
    write_table(events, encoder).await
}

/// A page at a time through one piece of memory. Beside the server that sends them and the task that receives them, one thread
/// writes faster than events come: more of them only woke each other.
async fn write_lines(
    mut events: Events,
    mut format: impl LineFormat,
    mut output: Output,
) -> Result<KnownHead, AuditError> {
    let mut lines = vec![];
    while let Some((page, written)) = events.next().await? {
        lines.clear();
        let last = &mut events.last;
        let appended = append_lines(&page, written, &mut format, &mut lines, last);
        // What comes before an event that cannot be one is written all the same.
        output.write_all(&lines).map_err(AuditError::Output)?;
        appended.map_err(AuditError::Log)?;
    }
    output.flush().map_err(AuditError::Output)?;
    Ok(events.last)
}

fn append_lines(
    page: &Page,
    written: usize,
    format: &mut impl LineFormat,
    lines: &mut Vec<u8>,
    last: &mut KnownHead,
) -> Result<(), LogError> {
    for event in page.events().skip(written) {
        let event = event?;
        *last = place_of(&event);
        format.line(event, lines);
    }
    Ok(())
}

fn place_of(event: &EventRef<'_>) -> KnownHead {
    KnownHead {
        position: event.position,
        hash: event.hash,
    }
}

async fn write_table(
    mut events: Events,
    mut encoder: Box<dyn Encoder>,
) -> Result<KnownHead, AuditError> {
    while let Some((page, written)) = events.next().await? {
        for event in page.events().skip(written) {
            let event = event.map_err(AuditError::Log)?;
            events.last = place_of(&event);
            encoder.event(event).map_err(AuditError::Output)?;
        }
    }
    encoder.finish().map_err(AuditError::Output)?;
    Ok(events.last)
}

fn failed(path: &Path, source: io::Error) -> AuditError {
    AuditError::File {
        path: path.to_owned(),
        source,
    }
}

/// Before anything is written: what stands where a head was asked for may be something else.
fn refuse_existing(path: &Path) -> io::Result<()> {
    if path.try_exists()? {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    Ok(())
}

/// Until an export is finished, a head beside it would be wrong, or that of one which is gone.
fn forget(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Never over something that is there: it may be somebody's only copy.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}
