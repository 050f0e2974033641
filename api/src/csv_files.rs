//! CSV files (RFC 4180) of lists that are read in slices.
//!
//! Promise: a file is complete, or its response ends abnormally. A cell that a spreadsheet would
//! evaluate is written as text, if it was made [`inert`].
//! Limit: only errors of the first slice become problems, because a response that has begun can
//! only be cut off.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt};
use tokio_util::sync::CancellationToken;

use crate::problem::Problem;
use crate::render::insert;

pub(crate) const CSV: &str = "text/csv";
/// Media types of a list that is also a file, the default first.
pub(crate) const MEDIA_TYPES: [&str; 2] = ["application/json", CSV];
pub(crate) const CONTENT_TYPE: &str = "text/csv; charset=utf-8";
/// Number of rows that are read together.
const SLICE: usize = 500;

/// A list as a file.
pub(crate) trait List: Sized + Send + 'static {
    type Row: Send;

    /// The name of the rows, in the plural, and of the file.
    const NAME: &'static str;
    /// The line of the columns' names.
    const HEAD: &'static str;

    /// Returns the next `most` rows, fewer before the end of the list, and none after it.
    fn next(&mut self, most: usize)
    -> impl Future<Output = Result<Vec<Self::Row>, Problem>> + Send;

    /// Writes the cells of a row; a row may have several lines.
    fn write(lines: &mut Lines, row: &Self::Row) -> Result<(), Problem>;
}

/// Returns at most `limit` rows of a list as a file. The first slice is read before the response
/// begins.
pub(crate) async fn file<L: List>(
    list: L,
    limit: Option<usize>,
    stop: CancellationToken,
) -> Result<Response, Problem> {
    let left = limit.unwrap_or(usize::MAX);
    let mut rest = Rest { list, left, stop };
    let first = rest.next().await?.unwrap_or_default();
    let head = Bytes::from_static(L::HEAD.as_bytes());
    let beginning = stream::iter([head, first].map(Ok));
    let kind = [(header::CONTENT_TYPE, CONTENT_TYPE)];
    let mut response = (kind, Body::from_stream(beginning.chain(rest.stream()))).into_response();
    attach(&mut response, L::NAME);
    Ok(response)
}

/// Names the file that a browser stores.
pub(crate) fn attach(response: &mut Response, name: &str) {
    let value = format!("attachment; filename=\"{name}.csv\"");
    insert(response, header::CONTENT_DISPOSITION, &value);
}

/// A list, and the number of rows that may follow.
struct Rest<L> {
    list: L,
    left: usize,
    stop: CancellationToken,
}

/// A file was cut off.
#[derive(Debug, thiserror::Error)]
#[error("the rest of the {0} could not be read")]
struct CutOff(&'static str);

impl<L: List> Rest<L> {
    /// Returns the lines of the next slice; `None` after the last.
    async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        let most = self.left.min(SLICE);
        if most == 0 || self.stop.is_cancelled() {
            return Ok(None);
        }
        let rows = self.list.next(most).await?;
        if rows.is_empty() {
            return Ok(None);
        }
        self.left -= rows.len();
        let mut lines = Lines::default();
        for row in &rows {
            L::write(&mut lines, row)?;
        }
        lines.finish().map(Some)
    }

    /// Streams the remaining slices. An error ends the stream abnormally, so that the reader
    /// notices.
    fn stream(self) -> impl Stream<Item = Result<Bytes, CutOff>> {
        stream::try_unfold(self, |mut rest| async move {
            if rest.stop.is_cancelled() {
                return Err(CutOff(L::NAME));
            }
            let next = rest.next().await.map_err(|_| CutOff(L::NAME))?;
            Ok(next.map(|next| (next, rest)))
        })
    }
}

/// The lines of one slice.
pub(crate) struct Lines(csv::Writer<Vec<u8>>);

impl Default for Lines {
    fn default() -> Self {
        let mut builder = csv::WriterBuilder::new();
        let writer = builder.terminator(csv::Terminator::CRLF);
        Self(writer.from_writer(vec![]))
    }
}

impl Lines {
    /// Adds a line.
    pub(crate) fn add<const CELLS: usize>(
        &mut self,
        cells: &[String; CELLS],
    ) -> Result<(), Problem> {
        let written = self.0.write_record(cells);
        written.map_err(|error| Problem::internal(&error))
    }

    fn finish(self) -> Result<Bytes, Problem> {
        let written = self.0.into_inner();
        let written = written.map_err(|error| Problem::internal(error.error()))?;
        Ok(written.into())
    }
}

/// Makes a cell inert, so that a spreadsheet shows it and does not evaluate it. A cell that begins
/// like a formula gets a single quote in front, which spreadsheets interpret as a text marker
/// (OWASP, CSV Injection).
pub(crate) fn inert(cell: &str) -> Cow<'_, str> {
    let starts_formula = |c: char| {
        matches!(
            c,
            '=' | '+' | '-' | '@' | '\t' | '\r' | '\n' | '＝' | '＋' | '－' | '＠'
        )
    };
    match cell.starts_with(starts_formula) {
        true => format!("'{cell}").into(),
        false => cell.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::inert;

    #[test]
    fn cell_that_a_spreadsheet_would_evaluate_is_text() {
        for (cell, shown) in [
            (
                "=HYPERLINK(\"https://evil.example\",\"x\")",
                "'=HYPERLINK(\"https://evil.example\",\"x\")",
            ),
            ("+1", "'+1"),
            ("-2+3", "'-2+3"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("＝1", "'＝1"),
            ("pi_1", "pi_1"),
            ("a=b", "a=b"),
            ("", ""),
        ] {
            assert_eq!(inert(cell), shown);
        }
    }
}
