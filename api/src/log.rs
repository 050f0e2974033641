//! The routes of the log, for auditors: everything, exactly as it is stored.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use domain::values::{Position, Sequence, Timestamp};
use futures::stream::{self, Stream};
use infrastructure::error::LogError;
use infrastructure::log::lines::LineWriter;
use infrastructure::log::{EventLog, Hash, Head, StoredEvent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::app::App;
use crate::auth::Auditor;
use crate::extract::Params;
use crate::openapi::schemas;
use crate::problem::Problem;
use crate::render::{conditional, etag_of};

const MOST_LISTED: usize = 10_000;
const USUALLY_LISTED: usize = 1_000;

/// An `Event` of the contract. Payload and metadata are the stored text byte for byte, so that a reader can recompute the hash.
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
    /// What happened, under the name of its type.
    #[schemars(schema_with = "schemas::payload")]
    payload: &'a RawValue,
    /// What a program noted beside it.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    metadata: &'a RawValue,
    /// SHA-256 over this event and the hash before it.
    #[schemars(with = "schemas::Sha256")]
    hash: Hash,
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
        })
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct LogParams {
    /// Events after this position.
    #[serde(default)]
    after: Position,
    /// How many at most: 1,000 unless said, and no more than 10,000 in JSON; all unless said as NDJSON.
    #[schemars(range(min = 1))]
    limit: Option<usize>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct LogPage<'a> {
    data: Vec<EventBody<'a>>,
    /// Whether there is more after it.
    has_more: bool,
    /// Where the log ends.
    #[schemars(with = "schemas::Head")]
    head: Head,
}

/// `GET /v1/log`
pub(crate) async fn list(
    State(app): State<App>,
    _: Auditor,
    Params(LogParams { after, limit }): Params<LogParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if i64::try_from(after.0).is_err() {
        return Err(Problem::invalid_query("after", "must be a position"));
    }
    if wants_ndjson(&headers) {
        let body = Body::from_stream(lines(app, after, limit));
        return Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response());
    }
    let limit = limit.unwrap_or(USUALLY_LISTED);
    if !(1..=MOST_LISTED).contains(&limit) {
        return Err(Problem::invalid_query(
            "limit",
            format!("must be from 1 to {MOST_LISTED}"),
        ));
    }
    // The head first: the page then holds at least what its entity tag stands for.
    let head = app.log.head().await.map_err(unreadable)?;
    let stored = app.log.read(after, limit).await.map_err(unreadable)?;
    let data = stored
        .iter()
        .map(EventBody::try_from)
        .collect::<Result<Vec<_>, _>>()
        .map_err(unreadable)?;
    let has_more = stored.last().map_or(after, |event| event.position) < head.position;
    let etag = etag_of(&(after, limit, head.hash));
    Ok(conditional(
        &headers,
        &etag,
        LogPage {
            data,
            has_more,
            head,
        },
    ))
}

/// `GET /v1/log/head`
pub(crate) async fn head(
    State(app): State<App>,
    _: Auditor,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let head = app.log.head().await.map_err(unreadable)?;
    Ok(conditional(&headers, &format!("\"{}\"", head.hash), head))
}

fn wants_ndjson(headers: &HeaderMap) -> bool {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("application/x-ndjson"))
}

fn unreadable(error: LogError) -> Problem {
    match error {
        LogError::Unavailable(_) => Problem::unavailable("The event log cannot be reached."),
        corrupt @ LogError::Corrupt { .. } => Problem::internal(&corrupt),
    }
}

/// Where an export has come to.
struct Export {
    app: App,
    after: Position,
    left: usize,
}

/// Events as lines, a page at a time. A fault ends the stream with an error, so that a reader sees that it is cut off.
fn lines(
    app: App,
    after: Position,
    limit: Option<usize>,
) -> impl Stream<Item = Result<Bytes, LogError>> {
    let export = Export {
        app,
        after,
        left: limit.unwrap_or(usize::MAX),
    };
    stream::try_unfold(export, |mut export| async move {
        if export.left == 0 {
            return Ok(None);
        }
        if export.app.stop.is_cancelled() {
            return Err(LogError::Unavailable("the server stops".into()));
        }
        let page = export
            .app
            .log
            .read(export.after, export.left.min(USUALLY_LISTED))
            .await?;
        let Some(last) = page.last() else {
            return Ok(None);
        };
        export.after = last.position;
        export.left -= page.len();
        Ok(Some((to_lines(&page), export)))
    })
}

fn to_lines(page: &[StoredEvent]) -> Bytes {
    let mut lines = vec![];
    let mut writer = LineWriter::default();
    for stored in page {
        writer.write(stored, &mut lines);
    }
    lines.into()
}
