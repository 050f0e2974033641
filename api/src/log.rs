//! The routes of the log, for auditors: all events, exactly as stored.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use domain::values::{Position, Sequence, Timestamp};
use futures::stream::{self, Stream, StreamExt};
use infrastructure::error::LogError;
use infrastructure::log::lines::LineWriter;
use infrastructure::log::{EventLog, Hash, Head, StoredEvent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::app::App;
use crate::auth::Auditor;
use crate::extract::{Fresh, Query, limit_faults, position, some_limit};
use crate::negotiate::{preferred, varied};
use crate::openapi::schemas;
use crate::problem::{Fault, Problem};
use crate::render::{conditional, private};

const LINES: &str = "application/x-ndjson";
/// Media types of the log, the default first.
const MEDIA_TYPES: [&str; 2] = ["application/json", LINES];
const MOST_LISTED: usize = 10_000;
const USUALLY_LISTED: usize = 1_000;

/// An event of the log. `payload` and `metadata` are the stored text byte for byte, so that a
/// client can recompute the hash. In NDJSON, a stored text with line breaks follows the hash.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Event")]
pub struct EventBody<'a> {
    position: Position,
    aggregate_type: &'a str,
    aggregate_id: &'a str,
    sequence: Sequence,
    event_type: &'a str,
    event_version: &'a str,
    recorded_at: Timestamp,
    /// The event's data, under the name of its type.
    #[schemars(schema_with = "schemas::payload")]
    payload: &'a RawValue,
    /// Additional data of the program that recorded the event.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    metadata: &'a RawValue,
    /// The SHA-256 hash of this event and the previous hash.
    #[schemars(with = "schemas::Sha256")]
    hash: Hash,
    /// Only in NDJSON: the stored text of `payload`, if it has line breaks. `payload` then has
    /// spaces instead of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    payload_text: Option<&'a str>,
    /// As `payload_text`, for `metadata`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    metadata_text: Option<&'a str>,
}

impl<'a> TryFrom<&'a StoredEvent> for EventBody<'a> {
    type Error = LogError;

    fn try_from(stored: &'a StoredEvent) -> Result<Self, LogError> {
        let raw = |text: &'a str| {
            serde_json::from_str(text).map_err(|error| LogError::Corrupt {
                position: stored.position,
                reason: format!("a stored text is not JSON: {error}"),
            })
        };
        Ok(Self {
            position: stored.position,
            aggregate_type: &stored.aggregate_type,
            aggregate_id: &stored.aggregate_id,
            sequence: stored.sequence,
            event_type: &stored.event_type,
            event_version: &stored.event_version,
            recorded_at: stored.recorded_at,
            payload: raw(&stored.payload)?,
            metadata: raw(&stored.metadata)?,
            hash: stored.hash,
            payload_text: None,
            metadata_text: None,
        })
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct LogParams {
    /// Returns the events after this position.
    #[serde(default, deserialize_with = "position")]
    after: Position,
    /// The maximum number of events. JSON: default 1,000, maximum 10,000. NDJSON: default
    /// unlimited.
    #[serde(default, deserialize_with = "some_limit")]
    #[schemars(range(min = 1))]
    limit: Option<usize>,
}

impl Query for LogParams {
    fn faults(&self, headers: &HeaderMap) -> Vec<Fault> {
        limit_faults(self.limit, MOST_LISTED, headers, &MEDIA_TYPES)
    }
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct LogPage<'a> {
    data: Vec<EventBody<'a>>,
    /// True if there are events after this page.
    has_more: bool,
    /// The current head of the log.
    #[schemars(with = "schemas::Head")]
    head: Head,
}

/// `GET /v1/log`
pub(crate) async fn list(
    State(app): State<App>,
    _: Auditor,
    Fresh(params): Fresh<LogParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let response = match MEDIA_TYPES[preferred(&headers, &MEDIA_TYPES)] {
        LINES => export(app, params).await?,
        _ => page(&app, params, &headers).await?,
    };
    Ok(private(varied(response)))
}

async fn page(app: &App, params: LogParams, headers: &HeaderMap) -> Result<Response, Problem> {
    let LogParams { after, limit } = params;
    let limit = limit.unwrap_or(USUALLY_LISTED);
    // Read the head first: the page then contains at least the events up to it.
    let head = app.log.head().await.map_err(read_failed)?;
    let stored = app.log.read(after, limit).await.map_err(read_failed)?;
    let last = stored.last().map_or(head.position, |event| event.position);
    ensure_durable(app, last.max(head.position))
        .await
        .map_err(read_failed)?;
    let data = stored
        .iter()
        .map(EventBody::try_from)
        .collect::<Result<Vec<_>, _>>()
        .map_err(read_failed)?;
    let has_more = stored.last().map_or(after, |event| event.position) < head.position;
    let page = LogPage {
        data,
        has_more,
        head,
    };
    Ok(conditional(headers, &page))
}

/// Returns events as NDJSON. The first page is read before the response begins, because an error
/// can only cut off a response that has begun.
async fn export(app: App, params: LogParams) -> Result<Response, Problem> {
    let LogParams { after, limit } = params;
    let left = limit.unwrap_or(usize::MAX);
    let mut export = Export { app, after, left };
    let first = export.next().await.map_err(read_failed)?;
    let lines = stream::iter(first.map(Ok)).chain(export.lines());
    let kind = [(header::CONTENT_TYPE, LINES)];
    Ok((kind, Body::from_stream(lines)).into_response())
}

/// `GET /v1/log/head`
pub(crate) async fn head(
    State(app): State<App>,
    _: Auditor,
    _: Fresh,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let head = app.log.head().await.map_err(read_failed)?;
    ensure_durable(&app, head.position)
        .await
        .map_err(read_failed)?;
    Ok(private(conditional(&headers, &head)))
}

/// Events that the engine has not published yet may be lost in a failover, and an auditor keeps
/// them: so a barrier precedes the response.
async fn ensure_durable(app: &App, position: Position) -> Result<(), LogError> {
    if position <= app.views.position() {
        return Ok(());
    }
    app.log.barrier().await
}

fn read_failed(error: LogError) -> Problem {
    match error {
        LogError::Unavailable(_) => Problem::unavailable("The event log is unreachable. Retry."),
        corrupt @ LogError::Corrupt { .. } => Problem::internal(&corrupt),
    }
}

/// The progress of an export.
struct Export {
    app: App,
    after: Position,
    left: usize,
}

impl Export {
    /// Returns the next page as lines; `None` after the last.
    async fn next(&mut self) -> Result<Option<Bytes>, LogError> {
        if self.left == 0 {
            return Ok(None);
        }
        if self.app.stop.is_cancelled() {
            return Err(LogError::Unavailable("the server is shutting down".into()));
        }
        let most = self.left.min(USUALLY_LISTED);
        let page = self.app.log.read(self.after, most).await?;
        let Some(last) = page.last() else {
            return Ok(None);
        };
        ensure_durable(&self.app, last.position).await?;
        self.after = last.position;
        self.left -= page.len();
        Ok(Some(to_lines(&page)))
    }

    /// Streams the remaining pages. An error ends the stream abnormally, so that the reader
    /// notices.
    fn lines(self) -> impl Stream<Item = Result<Bytes, LogError>> {
        stream::try_unfold(self, |mut export| async move {
            let lines = export.next().await?;
            Ok(lines.map(|lines| (lines, export)))
        })
    }
}

fn to_lines(page: &[StoredEvent]) -> Bytes {
    let mut lines = vec![];
    let mut writer = LineWriter::default();
    for stored in page {
        writer.write(stored, &mut lines);
    }
    lines.into()
}
