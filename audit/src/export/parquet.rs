//! Apache Parquet, one row group at a time.

use std::io;
use std::sync::Arc;

use infrastructure::log::{EventRef, StoredEvent};
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use super::{Encoder, Output};

/// Events per row group, which are kept in memory.
const GROUP: usize = 100_000;

/// `TIMESTAMP(MILLIS,true)` is UTC. The older `TIMESTAMP_MILLIS` has no zone, and DuckDB 2.0.1 and
/// polars 2.1.0 read it as local time.
const SCHEMA: &str = "
message event {
  required int64 position;
  required binary aggregate_type (UTF8);
  required binary aggregate_id (UTF8);
  required int64 sequence;
  required binary event_type (UTF8);
  required binary event_version (UTF8);
  required int64 recorded_at (TIMESTAMP(MILLIS,true));
  required binary payload (UTF8);
  required binary metadata (UTF8);
  required binary hash (UTF8);
}";

/// A Parquet file that is being written.
pub struct Parquet {
    writer: SerializedFileWriter<Output>,
    group: Vec<StoredEvent>,
}

impl Parquet {
    pub fn new(output: Output) -> io::Result<Self> {
        let schema = Arc::new(parse_message_type(SCHEMA).map_err(io_error)?);
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .build();
        let writer =
            SerializedFileWriter::new(output, schema, Arc::new(properties)).map_err(io_error)?;
        Ok(Self {
            writer,
            group: vec![],
        })
    }

    fn write_group(&mut self) -> Result<(), ParquetError> {
        let events = std::mem::take(&mut self.group);
        let mut group = self.writer.next_row_group()?;
        numbers(&mut group, &events, |event| event.position.0)?;
        texts(&mut group, &events, |event| {
            event.aggregate_type.as_bytes().into()
        })?;
        texts(&mut group, &events, |event| {
            event.aggregate_id.as_str().into()
        })?;
        numbers(&mut group, &events, |event| event.sequence.0)?;
        texts(&mut group, &events, |event| {
            event.event_type.as_bytes().into()
        })?;
        texts(&mut group, &events, |event| {
            event.event_version.as_bytes().into()
        })?;
        numbers(&mut group, &events, |event| {
            event.recorded_at.millis().unsigned_abs()
        })?;
        texts(&mut group, &events, |event| event.payload.as_str().into())?;
        texts(&mut group, &events, |event| {
            event.metadata.as_bytes().into()
        })?;
        texts(&mut group, &events, |event| {
            event.hash.to_string().as_str().into()
        })?;
        group.close().map(drop)
    }
}

impl Encoder for Parquet {
    fn event(&mut self, event: EventRef<'_>) -> io::Result<()> {
        self.group.push(event.into());
        if self.group.len() == GROUP {
            self.write_group().map_err(io_error)?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        if !self.group.is_empty() {
            self.write_group().map_err(io_error)?;
        }
        self.writer.close().map(drop).map_err(io_error)
    }
}

type Group<'a> = SerializedRowGroupWriter<'a, Output>;

fn numbers(
    group: &mut Group<'_>,
    events: &[StoredEvent],
    value: impl Fn(&StoredEvent) -> u64,
) -> Result<(), ParquetError> {
    let number = |event: &StoredEvent| i64::try_from(value(event)).unwrap_or(i64::MAX);
    column::<Int64Type>(group, &events.iter().map(number).collect::<Vec<_>>())
}

fn texts(
    group: &mut Group<'_>,
    events: &[StoredEvent],
    value: impl Fn(&StoredEvent) -> ByteArray,
) -> Result<(), ParquetError> {
    column::<ByteArrayType>(group, &events.iter().map(value).collect::<Vec<_>>())
}

fn column<T: DataType>(group: &mut Group<'_>, values: &[T::T]) -> Result<(), ParquetError> {
    let Some(mut column) = group.next_column()? else {
        return Err(ParquetError::General(
            "the schema has fewer columns".to_owned(),
        ));
    };
    column.typed::<T>().write_batch(values, None, None)?;
    column.close()
}

fn io_error(error: ParquetError) -> io::Error {
    io::Error::other(error)
}
