//! What handlers take from a request, each refused with a precise problem: bodies, ids, keys, queries.

mod faults;
mod query;
mod words;

use std::time::Duration;

use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use domain::values::{BuyerId, DropId, HoldId, KeyDigest, Position};
use futures::StreamExt;
use infrastructure::engine::Health;
use infrastructure::log::EventLog;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use self::faults::read_closely;
pub(crate) use self::query::{Limit, Query, no_parameters, position, some_position};
pub use self::query::{NoParams, Params};
use crate::app::App;
use crate::auth::Caller;
use crate::problem::{Code, Problem};

/// The largest body accepted, in characters, and with a few exceptions in bytes.
pub const MAX_BODY: usize = 16 * 1024;

/// The largest body that describes a drop, in bytes: the longest name, description and picture
/// fit, also where each character is written as two escapes (`\ud83d\ude00`), 12 bytes. Only admins
/// send one, so it bounds nothing that a stranger could fill memory with.
pub(crate) const MAX_TERMS_BODY: usize = 96 * 1024;

/// The most that is read of a body that is too large, in bytes.
const MOST_DRAINED: usize = 1024 * 1024;

/// How long a body may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(10);

/// How long a reader waits for a position.
pub(crate) const FRESHNESS_PATIENCE: Duration = Duration::from_secs(2);

/// A JSON body of at most `MOST` bytes. Unknown fields are refused by the types themselves.
#[derive(Debug)]
pub struct Body<T, const MOST: usize = MAX_BODY>(pub T);

impl<T: DeserializeOwned + JsonSchema, const MOST: usize> FromRequest<App> for Body<T, MOST> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &App) -> Result<Self, Problem> {
        let is_json = has_json_type(request.headers());
        let bytes = read_body(request, MOST).await?;
        if !is_json {
            let detail = "Send the body with Content-Type: application/json.";
            return Err(Problem::new(Code::UnsupportedMediaType, detail));
        }
        parse(&bytes).map(Self)
    }
}

/// A JSON body that may be left out altogether. `null` stands for none: clients that
/// openapi-generator 7.26 makes for Rust send it where their caller passes no body.
#[derive(Debug)]
pub struct OptionalBody<T>(pub T);

impl<T: DeserializeOwned + Default + JsonSchema> FromRequest<App> for OptionalBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &App) -> Result<Self, Problem> {
        let is_json = has_json_type(request.headers());
        let bytes = read_body(request, MAX_BODY).await?;
        if bytes.is_empty() || (is_json && bytes.trim_ascii() == b"null") {
            return Ok(Self(T::default()));
        }
        if !is_json {
            let detail = "Send the body with Content-Type: application/json.";
            return Err(Problem::new(Code::UnsupportedMediaType, detail));
        }
        parse(&bytes).map(Self)
    }
}

/// Reads a body to its end. One that is too large is read on, up to a bound: a caller who is answered while still sending
/// sees a broken connection instead of the answer.
async fn read_body(request: Request, most: usize) -> Result<Bytes, Problem> {
    let too_slow = |_| Problem::new(Code::RequestTimeout, "The body did not arrive in time.");
    let body = timeout(BODY_PATIENCE, read_to_end(request, most))
        .await
        .map_err(too_slow)??;
    if body.len() > MAX_BODY && characters(&body) > MAX_BODY {
        let detail = format!("The body may have at most {MAX_BODY} characters.");
        return Err(Problem::new(Code::BodyTooLarge, detail).with("max_bytes", MAX_BODY));
    }
    Ok(body)
}

/// The characters of a JSON text as its reader gets them: one for each escape sequence, and one for
/// the two that stand for a character beyond U+FFFF.
fn characters(json: &[u8]) -> usize {
    let (mut count, mut rest) = (0, json);
    while let [byte, after @ ..] = rest {
        let length = match (byte, after) {
            (
                b'\\',
                [
                    b'u',
                    b'd' | b'D',
                    b'8' | b'9' | b'a' | b'A' | b'b' | b'B',
                    ..,
                ],
            ) if after.get(5..7) == Some(b"\\u".as_slice()) => 12,
            (b'\\', [b'u', ..]) => 6,
            (b'\\', _) => 2,
            _ => 1,
        };
        // The first byte of a character in UTF-8 counts, those that continue it do not.
        count += usize::from(byte & 0xc0 != 0x80);
        rest = rest.get(length..).unwrap_or_default();
    }
    count
}

async fn read_to_end(request: Request, most: usize) -> Result<Bytes, Problem> {
    let announced = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > MOST_DRAINED) {
        return Err(too_large(most));
    }
    let mut frames = request.into_body().into_data_stream();
    let (mut body, mut length) = (BytesMut::new(), 0);
    while let Some(frame) = frames.next().await {
        let frame = frame.map_err(|_| {
            let detail = "The body could not be read to its end.";
            Problem::new(Code::MalformedJson, detail)
        })?;
        length += frame.len();
        if length > MOST_DRAINED {
            break;
        }
        if length <= most {
            body.extend_from_slice(&frame);
        }
    }
    if length > most {
        return Err(too_large(most));
    }
    Ok(body.freeze())
}

fn too_large(most: usize) -> Problem {
    let detail = format!("The body may have at most {most} bytes.");
    Problem::new(Code::BodyTooLarge, detail).with("max_bytes", most)
}

fn has_json_type(headers: &HeaderMap) -> bool {
    let Some(value) = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
    else {
        return false;
    };
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// Serde takes an array of the right values for an object, at any depth, which nobody means. So a body with a bracket anywhere is
/// read closely; hardly any has one.
fn parse<T: DeserializeOwned + JsonSchema>(bytes: &[u8]) -> Result<T, Problem> {
    let may_have_array = bytes.contains(&b'[');
    match serde_json::from_slice(bytes) {
        Ok(value) if !may_have_array => Ok(value),
        Ok(_) | Err(_) => read_closely(bytes),
    }
}

/// The drop that the path names. What is no UUID names no drop.
#[derive(Debug, Clone, Copy)]
pub struct DropPath(pub DropId);

impl FromRequestParts<App> for DropPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let not_found = || Problem::new(Code::DropNotFound, "There is no drop with this id.");
        let Path(id) = Path::<String>::from_request_parts(parts, app)
            .await
            .map_err(|_| not_found())?;
        id.parse().map(Self).map_err(|_| not_found())
    }
}

/// A buyer of a drop, as the path names both.
#[derive(Debug, Clone)]
pub struct BuyerPath(pub DropId, pub BuyerId);

impl FromRequestParts<App> for BuyerPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let not_found = || Problem::new(Code::DropNotFound, "There is no drop with this id.");
        let path = Path::<(String, String)>::from_request_parts(parts, app).await;
        let Path((drop_id, buyer_id)) = path.map_err(|rejection| {
            if is_not_utf8(&rejection, "buyer_id") {
                Problem::invalid("/buyer_id", "must be UTF-8")
            } else {
                not_found()
            }
        })?;
        let drop_id = drop_id.parse().map_err(|_| not_found())?;
        let buyer_id = BuyerId::stored(&buyer_id)
            .map_err(|error| Problem::invalid("/buyer_id", error.to_string()))?;
        Ok(Self(drop_id, buyer_id))
    }
}

/// Whether it is the part `name` of the path that is no text.
fn is_not_utf8(rejection: &PathRejection, name: &str) -> bool {
    let PathRejection::FailedToDeserializePathParams(failure) = rejection else {
        return false;
    };
    matches!(failure.kind(), ErrorKind::InvalidUtf8InPathParam { key } if key == name)
}

/// The hold that the path names. What is no UUID names no hold.
#[derive(Debug, Clone, Copy)]
pub struct HoldPath(pub HoldId);

impl FromRequestParts<App> for HoldPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let not_found = || Problem::new(Code::HoldNotFound, "There is no hold with this id.");
        let Path(id) = Path::<String>::from_request_parts(parts, app)
            .await
            .map_err(|_| not_found())?;
        id.parse().map(Self).map_err(|_| not_found())
    }
}

/// The caller's `Idempotency-Key`, not yet digested: its scope is the handler's to say.
#[derive(Debug, Clone)]
pub struct IdempotencyKey(header::HeaderValue);

impl IdempotencyKey {
    /// The key within `scope`.
    ///
    /// # Errors
    /// 400 when it cannot be a key.
    pub fn within(&self, scope: &[u8]) -> Result<KeyDigest, Problem> {
        KeyDigest::new(scope, self.0.as_bytes()).map_err(|error| {
            Problem::new(
                Code::InvalidIdempotencyKey,
                format!("The Idempotency-Key {error}."),
            )
        })
    }

    /// The key of a request for `buyer_id` in a drop: in the caller's own scope, and in the other
    /// one.
    ///
    /// A buyer with a token has keys of their own, so that nobody can use them up. Trusted callers
    /// share one scope per drop, where a key that was used for one buyer is refused for another. A
    /// retry is recognised from either side: the shop's back end may repeat what a browser began,
    /// and a log may be older than the tokens.
    ///
    /// # Errors
    /// 400 when it cannot be a key.
    pub fn of_buyer(
        &self,
        app: &App,
        caller: &Caller,
        drop_id: DropId,
        buyer_id: &BuyerId,
    ) -> Result<BuyersKey, Problem> {
        let shared = self.within(&app.key_scope(drop_id.0.as_bytes()))?;
        let own = self.within(&app.buyer_key_scope(drop_id, buyer_id))?;
        let (key, other_key) = match caller {
            Caller::Trusted => (shared, own),
            Caller::Buyer(_) => (own, shared),
        };
        Ok(BuyersKey { key, other_key })
    }
}

/// See [`IdempotencyKey::of_buyer`].
#[derive(Debug, Clone, Copy)]
pub struct BuyersKey {
    /// To be recorded.
    pub key: KeyDigest,
    /// To be recognised.
    pub other_key: KeyDigest,
}

impl FromRequestParts<App> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        let mut keys = parts.headers.get_all("idempotency-key").iter();
        let key = keys.next().ok_or_else(|| {
            let detail = "Send an Idempotency-Key of 1 to 255 visible ASCII characters; a retry sends the same one.";
            Problem::new(Code::IdempotencyKeyRequired, detail)
        })?;
        if keys.any(|other| other != key) {
            let detail = "The request has two different Idempotency-Key headers; send one.";
            return Err(Problem::new(Code::InvalidIdempotencyKey, detail));
        }
        Ok(Self(key.clone()))
    }
}

/// The query parameters of a read, once the views are as fresh as `?at_least=POSITION` asks.
#[derive(Debug, Clone, Copy)]
pub struct Fresh<T = NoParams>(pub T);

#[derive(Deserialize)]
pub(crate) struct AtLeast {
    /// Answers once everything up to this position is known here, as a write told it.
    #[serde(default, deserialize_with = "some_position")]
    at_least: Option<Position>,
}

impl Query for AtLeast {}

/// Waits until all that is recorded by now is known here: what is not found before that may be another node's, a moment old.
pub(crate) async fn follow_to_head(app: &App) -> Result<(), Problem> {
    let away = |_| Problem::unavailable("The event log cannot be reached.");
    let head = app.log.head().await.map_err(away)?;
    follow_to(app, head.position).await
}

async fn follow_to(app: &App, position: Position) -> Result<(), Problem> {
    if app.views.position() >= position {
        return Ok(());
    }
    app.engine.nudge();
    let is_refused = matches!(app.engine.health(), Health::Refused { .. });
    if !is_refused && app.views.reach(position, FRESHNESS_PATIENCE).await {
        return Ok(());
    }
    let known = app.views.position();
    if let Health::Refused { position, .. } = app.engine.health() {
        let detail =
            "It is known here up to the position before; reads of what is known are answered.";
        return Err(Problem::log_refused(position, detail));
    }
    let detail = format!("This server has applied the log only up to position {known}.");
    Err(Problem::unavailable(detail).with("position", known.0))
}

#[cfg(test)]
mod tests {
    use domain::values::Quantity;

    use super::*;

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Order {
        #[expect(dead_code, reason = "only read")]
        quantity: Quantity,
    }

    fn problem(body: &str) -> Problem {
        parse::<Order>(body.as_bytes()).unwrap_err()
    }

    fn text(problem: &Problem) -> String {
        format!("{problem:?}")
    }

    #[test]
    fn a_character_counts_once_however_it_is_written() {
        for (json, count) in [
            ("", 0),
            ("{}", 2),
            ("\"é€😀\"", 5),
            (r#""\u00e9\u20ac\ud83d\ude00""#, 5),
            (r#""\n\\\"""#, 5),
            (r#""\ud83dx""#, 4),
            (r#""\u12"#, 2),
            ("\\", 1),
        ] {
            assert_eq!(characters(json.as_bytes()), count, "{json}");
        }
    }

    #[test]
    fn what_is_not_json_is_malformed() {
        for body in [
            "",
            "{",
            "{\"quantity\":1}x",
            "\u{1}",
            "{} {}",
            "{\"quantity\":0,}",
        ] {
            assert_eq!(problem(body).code(), Code::MalformedJson, "{body}");
        }
    }

    #[test]
    fn what_is_not_valid_is_pointed_at() {
        for body in [
            r#"{"quantity":0}"#,
            r#"{"quantity":-1}"#,
            r#"{"quantity":1.5}"#,
            r#"{"quantity":"2abc"}"#,
            r#"{"quantity":99999999999999999999}"#,
            r#"{"quantity":null}"#,
            "{}",
        ] {
            let problem = problem(body);
            assert_eq!(problem.code(), Code::InvalidValue, "{body}");
            assert!(
                text(&problem).contains("\"/quantity\""),
                "{body}: {problem:?}"
            );
        }
        assert!(text(&problem(r#"{"quantity":1,"color":"red"}"#)).contains("\"/color\""));
    }
}
