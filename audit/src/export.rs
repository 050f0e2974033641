//! `holdfast audit export`: the log, or a part of it, in a format that other programs read.
//!
//! Promise: every selected event, once, in order, as stored; an interrupted export can be resumed.
//! No format contains personal data. A finished export writes its last position and hash to
//! `FILE.head`. Limit: only the whole log as ndjson can be verified, because a part of a hash chain
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
use terminal::arguments::position;

use self::formats::{CloudEvents, Csv, LineFormat, Ndjson};
use self::resume::LastEvent;
use super::kept_head::{self, KnownHead};
use super::source::{EventFilter, Moment, Page, Reading, Source, SourceArgs};
use super::{AuditError, written};

/// Bytes per write of a table.
const WRITE_BYTES: usize = 1 << 18;

/// The label of the progress bar.
const EXPORTING: &str = "exporting";

/// Arguments of `audit export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// The format of the events.
    #[arg(long, env = "HOLDFAST_AUDIT_FORMAT", value_enum, default_value_t = Format::Ndjson)]
    format: Format,

    /// Only events after this position.
    #[arg(
        long,
        env = "HOLDFAST_AUDIT_AFTER",
        value_name = "POSITION",
        default_value_t = 0,
        value_parser = position
    )]
    after: u64,

    /// Only events up to this position, or up to this time.
    #[arg(long, env = "HOLDFAST_AUDIT_UNTIL", value_name = "POSITION|TIME")]
    until: Option<Moment>,

    /// Only events of this drop.
    #[arg(long, env = "HOLDFAST_AUDIT_DROP", value_name = "ID")]
    drop: Option<DropId>,

    /// Write to a file instead of standard output.
    #[arg(long, short, env = "HOLDFAST_AUDIT_OUTPUT", value_name = "FILE")]
    output: Option<PathBuf>,

    /// Write the position and hash of the last event to this file when the export is finished, as
    /// POSITION:HASH for verify --expect-head. With --output the default is FILE.head, where verify
    /// --file reads it.
    #[arg(long, env = "HOLDFAST_AUDIT_HEAD", value_name = "FILE")]
    head: Option<PathBuf>,

    /// Resume a file that an earlier export did not finish; in any format but parquet.
    #[arg(long, env = "HOLDFAST_AUDIT_RESUME", requires = "output")]
    resume: bool,

    /// The source attribute of CloudEvents, a URI reference. The default is a URN that is unique to
    /// the log, or the source in the file that is resumed.
    #[arg(
        long,
        env = "HOLDFAST_AUDIT_CLOUDEVENTS_SOURCE",
        value_name = "URI",
        value_parser = cloud_source::uri_reference
    )]
    cloudevents_source: Option<String>,
}

/// An export format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object per line, as GET /v1/log streams them; verify --file reads it.
    Ndjson,
    /// One CloudEvent 1.0 per line.
    Cloudevents,
    /// A table with a header; payload and metadata are JSON.
    Csv,
    /// Apache Parquet, for analysts.
    Parquet,
}

/// An encoder that keeps state between events.
trait Encoder: Send {
    fn event(&mut self, event: EventRef<'_>) -> io::Result<()>;
    /// Writes buffered data.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// The destination of an export.
type Output = Box<dyn Write + Send>;

/// Runs the export.
///
/// # Errors
/// [`AuditError`]; then an existing file is unchanged and no new file was created, unless the
/// source ends before --until.
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
    let filter = EventFilter {
        after: Position(args.after),
        until: args.until,
        drop: args.drop,
        private: false,
    };
    let head_path = args
        .head
        .clone()
        .or_else(|| args.output.as_deref().map(kept_head::head_file));
    if let Some(path) = args.head.as_deref().filter(|_| !args.resume) {
        refuse_existing(path).map_err(|error| failed(path, error))?;
    }
    let remove_head = || match &head_path {
        Some(path) => remove_existing(path).map_err(|error| failed(path, error)),
        None => Ok(()),
    };
    // No file is touched before the selection is known to exist.
    let (events, output, is_new, cloud): (_, Output, _, _) = match &args.output {
        None => {
            let events = Events::all(source, filter).await?;
            let cloud = cloud_source::of(args, source, &events, None).await?;
            (events, Box::new(io::stdout()), true, cloud)
        }
        Some(path) if args.resume => {
            let at = |error| failed(path, error);
            let last = resume::last_event(path, args.format).map_err(at)?;
            let events = match &last {
                None => Events::all(source, filter).await?,
                Some(last) => Events::following(last, path, source, filter).await?,
            };
            let cloud = cloud_source::of(args, source, &events, last.as_ref()).await?;
            remove_head()?;
            let file = resume::reopen(path, last.as_ref()).map_err(at)?;
            (events, Box::new(file), last.is_none(), cloud)
        }
        Some(path) => {
            let events = Events::all(source, filter).await?;
            let cloud = cloud_source::of(args, source, &events, None).await?;
            let file = create(path).map_err(|error| failed(path, error))?;
            remove_head()?;
            (events, Box::new(file), true, cloud)
        }
    };
    let last = write(args.format, &cloud, events, output, is_new).await?;
    if let Some(path) = &head_path {
        kept_head::write_head(path, last).map_err(|error| failed(path, error))?;
    }
    Ok(())
}

/// The events to write. The first page is already read.
struct Events {
    first: Option<Page>,
    /// How many events of the first page are already written.
    written: usize,
    /// The last written event; before the first, the start of the log.
    last: KnownHead,
    reading: Reading,
}

/// The head of an empty log.
const START: KnownHead = KnownHead {
    position: Position(0),
    hash: Hash([0; 32]),
};

impl Events {
    async fn all(source: &Source, filter: EventFilter) -> Result<Self, AuditError> {
        let mut reading = source.read(filter, EXPORTING).await?;
        let first = reading.next_page().await?;
        let written = 0;
        Ok(Self {
            first,
            written,
            last: START,
            reading,
        })
    }

    /// The events after the last event of a file. That event is read again, to check that it is the
    /// log's.
    async fn following(
        last: &LastEvent,
        path: &Path,
        source: &Source,
        filter: EventFilter,
    ) -> Result<Self, AuditError> {
        let refused = |reason| AuditError::OtherExport {
            path: path.to_owned(),
            reason,
        };
        if last.position <= filter.after {
            return Err(refused(last.is_not_selected()));
        }
        let before = Position(last.position.0 - 1);
        let filter = EventFilter {
            after: before,
            ..filter
        };
        let events = Self::all(source, filter).await.map_err(|error| {
            let is_shorter =
                matches!(error, AuditError::BeyondHead { requested, .. } if requested == before);
            if is_shorter {
                refused(last.is_not_selected())
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

    /// The next page, and how many of its events to skip.
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

/// Writes a page at a time through one buffer. Together with the database server and the receiving
/// task, one thread writes faster than events arrive; more threads only woke each other.
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
        // Events before an unreadable one are written nevertheless.
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
        *last = head_of(&event);
        format.line(event, lines);
    }
    Ok(())
}

fn head_of(event: &EventRef<'_>) -> KnownHead {
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
            events.last = head_of(&event);
            encoder.event(event).map_err(AuditError::Output)?;
        }
    }
    encoder.finish().map_err(AuditError::Output)?;
    Ok(events.last)
}

fn failed(path: &Path, source: io::Error) -> AuditError {
    let path = path.to_owned();
    if source.kind() == io::ErrorKind::AlreadyExists {
        AuditError::FileExists(path)
    } else {
        AuditError::File { path, source }
    }
}

/// Checked before anything is written: the file may be something else.
fn refuse_existing(path: &Path) -> io::Result<()> {
    if path.try_exists()? {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    Ok(())
}

/// Removes an old head file: until the export is finished, it would be wrong.
fn remove_existing(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Never overwrites a file: it may be the only copy.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}
