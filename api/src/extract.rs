//! Extractors for handlers: bodies, ids, keys and queries, each with a precise problem when it is
//! rejected.

mod faults;
mod headers;
mod messages;
mod query;

use std::time::Duration;

use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use domain::values::{BuyerId, DropId, HoldId, KeyDigest, Position};
use engine::Health;
use futures::StreamExt;
use infrastructure::log::EventLog;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use self::faults::read_closely;
pub(crate) use self::headers::repeated_header;
pub(crate) use self::query::{
    Limit, Query, known_parameters_only, limit_faults, listed, position, some_limit, some_position,
    some_uuid,
};
pub use self::query::{NoParams, Params};
use crate::app::App;
use crate::auth::Caller;
use crate::limiter::BuyersKey;
use crate::problem::{Code, Problem};

/// Maximum length of a body, in characters, and with a few exceptions in bytes.
pub const MAX_BODY: usize = 16 * 1024;

/// Maximum size of a body that describes a drop or a webhook endpoint, in bytes. The longest name,
/// description and picture fit, even if each character is written as two escapes
/// (`\ud83d\ude00`), 12 bytes. Only administrators can send one, so others cannot fill memory with
/// it.
pub(crate) const MAX_TERMS_BODY: usize = 96 * 1024;

/// Maximum number of bytes that are read of a body that is too large.
const MOST_DRAINED: usize = 1024 * 1024;

/// Bodies above [`MAX_BODY`] that are received at a time from senders whose signature is checked
/// only afterwards. Any client can send one, so each of them would otherwise hold memory for as
/// long as [`BODY_TIMEOUT`].
const MOST_LARGE_BODIES: usize = 32;

static LARGE_BODIES: Semaphore = Semaphore::const_new(MOST_LARGE_BODIES);

/// Timeout for a body to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Timeout for the views to reach a position.
pub(crate) const FRESHNESS_TIMEOUT: Duration = Duration::from_secs(2);

/// A JSON body of at most `MOST` bytes. The types themselves reject unknown fields.
#[derive(Debug)]
pub struct Body<T, const MOST: usize = MAX_BODY>(pub T);

impl<T: DeserializeOwned + JsonSchema, const MOST: usize> FromRequest<App> for Body<T, MOST> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &App) -> Result<Self, Problem> {
        let form = check_form(request.headers());
        let bytes = read_body(request, MOST).await?;
        form?;
        parse(&bytes).map(Self)
    }
}

/// A JSON body of at most `MOST` bytes that may be omitted. `null` means the same: clients that
/// openapi-generator 7.26 generates for Rust send it when their caller passes no body.
#[derive(Debug)]
pub struct OptionalBody<T, const MOST: usize = MAX_BODY>(pub T);

impl<T, const MOST: usize> FromRequest<App> for OptionalBody<T, MOST>
where
    T: DeserializeOwned + Default + JsonSchema,
{
    type Rejection = Problem;

    async fn from_request(request: Request, _: &App) -> Result<Self, Problem> {
        let form = check_form(request.headers());
        let bytes = read_body(request, MOST).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        form?;
        if bytes.trim_ascii() == b"null" {
            return Ok(Self(T::default()));
        }
        parse(&bytes).map(Self)
    }
}

/// A body of at most `MOST` bytes as it was sent, for a signature over exactly these bytes. While
/// [`MOST_LARGE_BODIES`] are being received, another one above [`MAX_BODY`] is refused.
#[derive(Debug)]
pub struct RawBody<const MOST: usize>(pub Bytes);

impl<const MOST: usize> FromRequest<App> for RawBody<MOST> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &App) -> Result<Self, Problem> {
        let body = timeout(
            BODY_TIMEOUT,
            read_to_end(request, MOST, Some(&LARGE_BODIES)),
        )
        .await;
        body.map_err(too_slow)?.map(Self)
    }
}

fn too_slow(_: Elapsed) -> Problem {
    let detail = "The body did not arrive in time. Send the request again.";
    Problem::new(Code::RequestTimeout, detail)
}

/// Reads a body to its end. A body that is too large is read further, up to a bound: a client that
/// gets a response while it is still sending sees a broken connection instead of the response.
async fn read_body(request: Request, most: usize) -> Result<Bytes, Problem> {
    let body = timeout(BODY_TIMEOUT, read_to_end(request, most, None))
        .await
        .map_err(too_slow)??;
    if body.len() > MAX_BODY && characters(&body) > MAX_BODY {
        let detail = format!("The body has more than {MAX_BODY} characters, the maximum.");
        return Err(Problem::new(Code::BodyTooLarge, detail)
            .with("max_bytes", most)
            .with("max_characters", MAX_BODY));
    }
    Ok(body)
}

/// Counts the characters of a JSON text as a reader decodes them: an escape sequence counts as one,
/// and so does a surrogate pair of two escapes.
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
        // Only the first byte of a UTF-8 character counts, not its continuation bytes.
        count += usize::from(byte & 0xc0 != 0x80);
        rest = rest.get(length..).unwrap_or_default();
    }
    count
}

/// Reads a body of at most `most` bytes. One above [`MAX_BODY`] needs a permit of `large`, if that
/// is given.
async fn read_to_end(
    request: Request,
    most: usize,
    large: Option<&Semaphore>,
) -> Result<Bytes, Problem> {
    let announced = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > MOST_DRAINED) {
        return Err(too_large(most));
    }
    let mut frames = request.into_body().into_data_stream();
    let (mut body, mut length) = (BytesMut::new(), 0);
    let mut permit = None;
    while let Some(frame) = frames.next().await {
        let frame = frame.map_err(|_| {
            let detail = "The body ended early. Send the request again.";
            Problem::new(Code::MalformedJson, detail)
        })?;
        length += frame.len();
        if let Some(large) = large.filter(|_| length > MAX_BODY && permit.is_none()) {
            permit = Some(large.try_acquire().map_err(|_| {
                let detail = "Too many large bodies are being received. Send the request again.";
                Problem::unavailable(detail)
            })?);
        }
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
    let detail = format!("The body has more than {most} bytes, the maximum.");
    Problem::new(Code::BodyTooLarge, detail).with("max_bytes", most)
}

/// Rejects a body that is not JSON in UTF-8 (RFC 8259, section 8.1), or that is encoded: this
/// server decodes nothing, so it must not parse the encoded bytes.
fn check_form(headers: &HeaderMap) -> Result<(), Problem> {
    let unsupported = |detail: &str| Problem::new(Code::UnsupportedMediaType, detail);
    let codings = headers.get_all(header::CONTENT_ENCODING).iter();
    let mut codings = codings.flat_map(|codings| codings.as_bytes().split(|byte| *byte == b','));
    let is_identity = |coding: &[u8]| {
        let coding = coding.trim_ascii();
        coding.is_empty() || coding.eq_ignore_ascii_case(b"identity")
    };
    if !codings.all(is_identity) {
        // RFC 9110, section 12.5.3: in a response, the field lists the codings that are accepted.
        let detail = "Send the body without a Content-Encoding: only identity is accepted.";
        return Err(unsupported(detail).header(header::ACCEPT_ENCODING, "identity"));
    }
    let detail = "Send the body with Content-Type: application/json.";
    let content_type = headers.get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let mut parts = content_type.ok_or_else(|| unsupported(detail))?.split(';');
    let essence = parts.next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(unsupported(detail));
    }
    let is_other_charset = |parameter: &str| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = value.trim().trim_matches('"');
        name.trim().eq_ignore_ascii_case("charset") && !value.eq_ignore_ascii_case("utf-8")
    };
    if parts.any(is_other_charset) {
        let detail = "Send the body in UTF-8: with the charset utf-8, or without one.";
        return Err(unsupported(detail));
    }
    Ok(())
}

/// Parses a body. Serde accepts an array of the right values for an object, at any depth, which
/// this API does not. A body with a bracket anywhere is therefore checked closely; such bodies are
/// rare.
fn parse<T: DeserializeOwned + JsonSchema>(bytes: &[u8]) -> Result<T, Problem> {
    let may_have_array = bytes.contains(&b'[');
    match serde_json::from_slice(bytes) {
        Ok(value) if !may_have_array => Ok(value),
        Ok(_) | Err(_) => read_closely(bytes),
    }
}

/// The drop id in the path. A value that is not a UUID gets the same problem as an unknown drop.
#[derive(Debug, Clone, Copy)]
pub struct DropPath(pub DropId);

impl FromRequestParts<App> for DropPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let not_found = || Problem::new(Code::DropNotFound, "No drop has this id.");
        let Path(id) = Path::<String>::from_request_parts(parts, app)
            .await
            .map_err(|_| not_found())?;
        id.parse().map(Self).map_err(|_| not_found())
    }
}

/// The drop id and the buyer id in the path.
#[derive(Debug, Clone)]
pub struct BuyerPath(pub DropId, pub BuyerId);

impl FromRequestParts<App> for BuyerPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let not_found = || Problem::new(Code::DropNotFound, "No drop has this id.");
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

/// The buyer id in the path.
#[derive(Debug, Clone)]
pub struct BuyerIdPath(pub BuyerId);

impl FromRequestParts<App> for BuyerIdPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, app).await;
        let Path(buyer_id) = path.map_err(|_| Problem::invalid("/buyer_id", "must be UTF-8"))?;
        let buyer_id = BuyerId::stored(&buyer_id);
        buyer_id
            .map(Self)
            .map_err(|error| Problem::invalid("/buyer_id", error.to_string()))
    }
}

/// Returns true if the path was rejected because its part `name` is not UTF-8.
pub(crate) fn is_not_utf8(rejection: &PathRejection, name: &str) -> bool {
    let PathRejection::FailedToDeserializePathParams(failure) = rejection else {
        return false;
    };
    matches!(failure.kind(), ErrorKind::InvalidUtf8InPathParam { key } if key == name)
}

/// The hold id in the path. A value that is not a UUID gets the same problem as an unknown hold.
#[derive(Debug, Clone, Copy)]
pub struct HoldPath(pub HoldId);

impl FromRequestParts<App> for HoldPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let not_found = || Problem::new(Code::HoldNotFound, "No hold has this id.");
        let Path(id) = Path::<String>::from_request_parts(parts, app)
            .await
            .map_err(|_| not_found())?;
        id.parse().map(Self).map_err(|_| not_found())
    }
}

/// The caller's `Idempotency-Key`, not yet digested: the handler defines its scope.
#[derive(Debug, Clone)]
pub struct IdempotencyKey(header::HeaderValue);

impl IdempotencyKey {
    /// Returns the key's digest within `scope`.
    ///
    /// # Errors
    /// 400 when the value is not a valid key.
    pub fn within(&self, scope: &[u8]) -> Result<KeyDigest, Problem> {
        KeyDigest::new(scope, self.0.as_bytes()).map_err(|error| {
            Problem::new(
                Code::InvalidIdempotencyKey,
                format!("The Idempotency-Key {error}."),
            )
        })
    }

    /// Returns the key of a request for `buyer_id` in a drop: in the caller's own scope, and in the
    /// other scope.
    ///
    /// A buyer with a token has their own scope, so that other callers cannot use up their keys.
    /// Trusted callers share one scope per drop, in which a key that was used for one buyer is
    /// refused for another. A retry is recognized in either scope: the shop's back end may repeat a
    /// request of a browser, and a log may be older than the tokens.
    ///
    /// # Errors
    /// 400 when the value is not a valid key.
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

    /// Returns the key of an order of `buyer_id`, in the scopes of [`IdempotencyKey::of_buyer`]:
    /// trusted callers share one scope for all orders.
    ///
    /// # Errors
    /// 400 when the value is not a valid key.
    pub fn of_ordering_buyer(
        &self,
        app: &App,
        caller: &Caller,
        buyer_id: &BuyerId,
    ) -> Result<BuyersKey, Problem> {
        let shared = self.within(&app.key_scope(b"orders"))?;
        let spelling = buyer_id.spelling();
        let own = [b"orders/buyer/".as_slice(), spelling.as_bytes()].concat();
        let own = self.within(&app.key_scope(&own))?;
        let (key, other_key) = match caller {
            Caller::Trusted => (shared, own),
            Caller::Buyer(_) => (own, shared),
        };
        Ok(BuyersKey { key, other_key })
    }
}

impl FromRequestParts<App> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        let mut keys = parts.headers.get_all("idempotency-key").iter();
        let key = keys.next().ok_or_else(|| {
            let detail = "Send an Idempotency-Key of 1 to 255 visible ASCII characters; repeat it on every retry.";
            Problem::new(Code::IdempotencyKeyRequired, detail)
        })?;
        if keys.any(|other| other != key) {
            let detail = "The request has different Idempotency-Key headers. Send one.";
            return Err(Problem::new(Code::InvalidIdempotencyKey, detail));
        }
        Ok(Self(key.clone()))
    }
}

/// The query parameters of a read. The views have reached the position of `?at_least=POSITION`.
#[derive(Debug, Clone, Copy)]
pub struct Fresh<T = NoParams>(pub T);

#[derive(Deserialize)]
pub(crate) struct AtLeast {
    /// Delays the response until this server has applied the log up to this position, which a write
    /// returned.
    #[serde(default, deserialize_with = "some_position")]
    at_least: Option<Position>,
}

impl Query for AtLeast {}

/// Waits until the views have reached the log's head. An id that is unknown before may come from
/// another node.
pub(crate) async fn follow_to_head(app: &App) -> Result<(), Problem> {
    let unreachable = |_| {
        Problem::unavailable("The event log is unreachable, so the response could be outdated.")
    };
    let head = app.log.head().await.map_err(unreachable)?;
    follow_to(app, head.position).await
}

async fn follow_to(app: &App, position: Position) -> Result<(), Problem> {
    if app.views.position() >= position {
        return Ok(());
    }
    app.engine.nudge();
    let is_refused = matches!(app.engine.health(), Health::Refused { .. });
    if !is_refused && app.views.reach(position, FRESHNESS_TIMEOUT).await {
        return Ok(());
    }
    let known = app.views.position();
    if let Health::Refused { position, .. } = app.engine.health() {
        let detail =
            "This server has applied the log up to the position before; reads of that state work.";
        return Err(Problem::log_refused(position, detail));
    }
    // A position that was acknowledged is in the log.
    if let Ok(head) = app.log.head().await
        && head.position < position
    {
        return Err(Problem::beyond_head(position, head.position, known));
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
        #[expect(dead_code, reason = "only deserialized")]
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
    fn invalid_json_is_malformed() {
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
    fn invalid_value_is_reported_with_its_pointer() {
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
