//! The query parameters of an operation.
//!
//! Promise: unknown parameters, parameters without a value, malformed values and values out of
//! bounds are rejected together, each by name. Limit: rules that depend on the server's state
//! are checked by the handler afterwards.

use std::collections::BTreeSet;
use std::fmt::{self, Display};
use std::str::FromStr;

use axum::extract::{FromRequestParts, Request};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use domain::values::{Position, parse_uuid};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::Error as QueryError;
use serde::de::{self, Deserialize, DeserializeOwned, Deserializer, Visitor};
use serde::forward_to_deserialize_any;
use uuid::Uuid;

use super::messages::{field_named, in_words, pointer};
use super::{AtLeast, Fresh, follow_to};
use crate::app::App;
use crate::negotiate::preferred;
use crate::problem::{Fault, Problem};

/// The query parameters of an operation. Every field is optional.
pub(crate) trait Query: DeserializeOwned {
    /// Returns faults of values that could be parsed.
    fn faults(&self, _headers: &HeaderMap) -> Vec<Fault> {
        vec![]
    }
}

/// The query of an operation that has no parameters of its own.
#[derive(Debug, Clone, Copy, Default, serde::Deserialize, JsonSchema)]
pub struct NoParams {}

impl Query for NoParams {}

/// Query parameters. A parameter without a value (`status=`) is rejected: a program that filters by
/// an empty list or text must not get everything.
#[derive(Debug)]
pub struct Params<T>(pub T);

impl<T: Query> FromRequestParts<App> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        let mut faults = Faults::of(parts);
        let params = faults.read(&parts.headers);
        faults.or(params).map(Self)
    }
}

impl<T: Query + Send> FromRequestParts<App> for Fresh<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let mut faults = Faults::of(parts);
        let params = faults.read(&parts.headers);
        let fresh: Option<AtLeast> = faults.read(&parts.headers);
        let position = fresh.as_ref().and_then(|fresh| fresh.at_least);
        let params = faults.or(params)?;
        if let Some(position) = position {
            follow_to(app, position).await?;
        }
        Ok(Self(params))
    }
}

/// Rejects query parameters of an operation that has none.
pub(crate) async fn known_parameters_only(request: Request, next: Next) -> Response {
    match no_parameters(request.uri().query()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn no_parameters(query: Option<&str>) -> Result<(), Problem> {
    let mut faults = Faults::in_query(query);
    let nothing: Option<NoParams> = faults.read(&HeaderMap::new());
    faults.or(nothing).map(|NoParams {}| ())
}

/// A condition of each pair of a query.
type Rule = fn(&str) -> bool;

/// The fault of a parameter without a value.
const IS_EMPTY: &str = "must not be empty; omit the parameter instead";

/// The fault of a value that is not a text. Decoding would replace them, so the operation
/// would look for another value than was sent.
const IS_NOT_UTF8: &str = "must be UTF-8, percent-encoded";

/// A query and the faults found so far.
#[derive(Debug)]
struct Faults<'a> {
    pairs: Vec<&'a str>,
    known: Vec<&'static str>,
    found: Vec<Fault>,
}

impl<'a> Faults<'a> {
    fn of(parts: &'a Parts) -> Self {
        Self::in_query(parts.uri.query())
    }

    fn in_query(query: Option<&'a str>) -> Self {
        let pairs = query.unwrap_or_default().split('&');
        Self {
            pairs: pairs.filter(|pair| !pair.is_empty()).collect(),
            known: vec![],
            found: vec![],
        }
    }

    /// Reads the fields of `T`. Skips each malformed one and reads again, so that all faults are
    /// found.
    fn read<T: Query>(&mut self, headers: &HeaderMap) -> Option<T> {
        let names = fields_of::<T>();
        self.known.extend(names);
        let is_its_own = |pair: &&str| names.contains(&name_of(pair).as_str());
        let mut pairs: Vec<&str> = self.pairs.iter().copied().filter(is_its_own).collect();
        let rules: [(Rule, &str); 2] = [(has_value, IS_EMPTY), (is_utf8, IS_NOT_UTF8)];
        for (obeys, detail) in rules {
            let faulty = pairs.iter().filter(|pair| !obeys(pair));
            let faulty: BTreeSet<String> = faulty.map(|pair| name_of(pair)).collect();
            pairs.retain(|pair| !faulty.contains(&name_of(pair)));
            self.found.extend(faulty.into_iter().map(|name| Fault {
                pointer: format!("/{name}"),
                detail: detail.to_owned(),
            }));
        }
        loop {
            let fault = match deserialize::<T>(&pairs.join("&")) {
                Ok(params) => {
                    self.found.extend(params.faults(headers));
                    return Some(params);
                }
                Err(fault) => fault,
            };
            let count = pairs.len();
            let faulty = fault.pointer.strip_prefix('/');
            pairs.retain(|pair| faulty.is_none_or(|name| name != name_of(pair)));
            self.found.push(fault);
            if pairs.len() == count {
                return None;
            }
        }
    }

    /// Returns `params` if there are no faults.
    fn or<T>(mut self, params: Option<T>) -> Result<T, Problem> {
        self.find_unknown();
        match params {
            Some(params) if self.found.is_empty() => Ok(params),
            Some(_) | None => Err(Problem::invalid_queries(self.found)),
        }
    }

    fn find_unknown(&mut self) {
        let names: BTreeSet<String> = self.pairs.iter().map(|pair| name_of(pair)).collect();
        let is_unknown = |name: &String| !self.known.contains(&name.as_str());
        let known = Known(&self.known);
        let fault = |name: String| Fault {
            pointer: format!("/{}", name.replace('~', "~0").replace('/', "~1")),
            detail: format!("unknown parameter; {known}"),
        };
        let unknown = names.into_iter().filter(is_unknown).map(fault);
        self.found.extend(unknown.collect::<Vec<_>>());
    }
}

/// Formats the known parameters for a fault's detail.
struct Known<'a>(&'a [&'static str]);

impl Display for Known<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("this operation has none"),
            [one] => write!(f, "the only parameter is `{one}`"),
            several => write!(f, "the parameters are `{}`", several.join("`, `")),
        }
    }
}

fn deserialize<T: DeserializeOwned>(query: &str) -> Result<T, Fault> {
    let pairs = form_urlencoded::parse(query.as_bytes());
    let deserializer = serde_urlencoded::Deserializer::new(pairs);
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let message = error.inner().to_string();
        let pointer = match field_named(&message) {
            Some(name) => format!("/{name}"),
            None => pointer(error.path()),
        };
        let detail = in_words(&message);
        Fault { pointer, detail }
    })
}

fn has_value(pair: &str) -> bool {
    let first = form_urlencoded::parse(pair.as_bytes()).next();
    first.is_some_and(|(_, value)| !value.is_empty())
}

/// Reports whether a percent-encoded text is UTF-8.
fn is_utf8(pair: &str) -> bool {
    let (mut bytes, mut rest) = (Vec::with_capacity(pair.len()), pair.as_bytes());
    while let [byte, after @ ..] = rest {
        let digits = after.first_chunk().filter(|_| *byte == b'%');
        let encoded = digits.and_then(|digits: &[u8; 2]| hex::decode(digits).ok());
        let length = encoded.as_ref().map_or(1, |_| 3);
        bytes.push(encoded.map_or(*byte, |decoded| decoded[0]));
        rest = &rest[length..];
    }
    std::str::from_utf8(&bytes).is_ok()
}

fn name_of(pair: &str) -> String {
    let first = form_urlencoded::parse(pair.as_bytes()).next();
    first.map_or_else(String::new, |(name, _)| name.into_owned())
}

/// Returns the names of the fields of `T`, which it passes to serde.
fn fields_of<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut fields: &'static [&'static str] = &[];
    // It always fails; only the names are needed.
    drop(T::deserialize(FieldNames(&mut fields)));
    fields
}

/// A deserializer that records the field names of a struct.
struct FieldNames<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for FieldNames<'_> {
    type Error = QueryError;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, QueryError> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, QueryError> {
        Err(de::Error::custom("only field names are read"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// The page size of a list: from 1 to `MOST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit<const MOST: usize>(pub(crate) usize);

impl<'de, const MOST: usize> Deserialize<'de> for Limit<MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let limit = whole(&String::deserialize(deserializer)?);
        limit
            .filter(|limit| (1..=MOST).contains(limit))
            .map(Self)
            .ok_or_else(|| de::Error::custom(format!("must be a whole number from 1 to {MOST}")))
    }
}

/// Parses decimal digits and nothing else.
fn whole<N: FromStr>(text: &str) -> Option<N> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

/// Parses the page size of a list whose maximum depends on the media type. Anything that is not a
/// whole number becomes 0, which [`limit_faults`] refuses with the bounds of the media type.
pub(crate) fn some_limit<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<usize>, D::Error> {
    let limit = whole(&String::deserialize(deserializer)?);
    Ok(Some(limit.unwrap_or(0)))
}

/// Parses an optional UUID.
pub(crate) fn some_uuid<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Uuid>, D::Error> {
    let id = parse_uuid(&String::deserialize(deserializer)?);
    id.map(Some).map_err(de::Error::custom)
}

/// Splits a list of ids: separated by commas, none of them empty, at most `most`. Repeated ids
/// count, because each costs the same to read.
pub(crate) fn listed<'a>(name: &str, list: &'a str, most: usize) -> Result<Vec<&'a str>, Problem> {
    let count = list.split(',').count();
    if count > most {
        let detail = format!("lists {count} ids; send at most {most}");
        return Err(Problem::invalid_query(name, detail).with("most", most));
    }
    let ids: Vec<&str> = list.split(',').map(str::trim).collect();
    if ids.iter().any(|id| id.is_empty()) {
        let detail = "must be ids, separated by commas, none of them empty";
        return Err(Problem::invalid_query(name, detail));
    }
    Ok(ids)
}

impl<const MOST: usize> JsonSchema for Limit<MOST> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("LimitOf{MOST}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": MOST })
    }
}

/// Checks the `limit` of a list that is a page in the first of `media_types`, with at most `most`
/// entries. In the other types the list is streamed and has no maximum.
pub(crate) fn limit_faults(
    limit: Option<usize>,
    most: usize,
    headers: &HeaderMap,
    media_types: &[&str],
) -> Vec<Fault> {
    let is_page = preferred(headers, media_types) == 0;
    let detail = match limit {
        Some(0) if !is_page => "must be a whole number of at least 1".to_owned(),
        Some(limit) if is_page && !(1..=most).contains(&limit) => {
            format!("must be a whole number from 1 to {most}")
        }
        Some(_) | None => return vec![],
    };
    let pointer = "/limit".to_owned();
    vec![Fault { pointer, detail }]
}

/// Parses a position, which fits into an `i64`.
pub(crate) fn position<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Position, D::Error> {
    let position: Option<u64> = whole(&String::deserialize(deserializer)?);
    position
        .filter(|position| i64::try_from(*position).is_ok())
        .map(Position)
        .ok_or_else(|| {
            let bounds = format!("must be a position: a whole number from 0 to {}", i64::MAX);
            de::Error::custom(bounds)
        })
}

/// [`position`] for an optional parameter.
pub(crate) fn some_position<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Position>, D::Error> {
    position(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct TestParams {
        limit: Option<Limit<100>>,
        order: Option<Order>,
        name: Option<String>,
    }

    impl Query for TestParams {}

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Order {
        Recent,
    }

    fn read(query: &str) -> Result<TestParams, Problem> {
        let mut faults = Faults::in_query(Some(query));
        let params = faults.read(&HeaderMap::new());
        faults.or(params)
    }

    #[test]
    fn every_fault_of_a_query_is_listed_by_name() {
        for (query, pointers) in [
            ("limit=x", vec!["/limit"]),
            ("limit=0&order=name", vec!["/limit", "/order"]),
            ("limit=101&colour=red", vec!["/colour", "/limit"]),
            ("order=name&limit=300&x=y", vec!["/limit", "/order", "/x"]),
            ("limit=1&limit=2", vec!["/limit"]),
            ("%6Cimit=%78", vec!["/limit"]),
            ("utm=1&limit=", vec!["/limit", "/utm"]),
            ("limit=&x=%ff", vec!["/limit", "/x"]),
            ("limit", vec!["/limit"]),
            ("%6cimit=&order=name", vec!["/limit", "/order"]),
            ("limit=&limit=1&order=", vec!["/limit", "/order"]),
            ("limit=%2B1", vec!["/limit"]),
            ("a/b=1&c~d=", vec!["/a~1b", "/c~0d"]),
            ("bare", vec!["/bare"]),
            ("name=%FF", vec!["/name"]),
            ("name=a%ed%a0%80&limit=0", vec!["/limit", "/name"]),
            ("name=%f0%9f%98", vec!["/name"]),
            ("=1", vec!["/"]),
        ] {
            let problem = read(query).unwrap_err();
            assert_eq!(problem.faulty_pointers(), pointers, "{query}");
        }
    }

    #[test]
    fn limit_has_a_maximum_only_in_the_first_media_type() {
        let faults = |limit, accept| {
            let accept = axum::http::HeaderValue::from_static(accept);
            let headers = HeaderMap::from_iter([(axum::http::header::ACCEPT, accept)]);
            let found = limit_faults(limit, 10, &headers, &["application/json", "text/csv"]);
            found.into_iter().map(|fault| fault.detail).next()
        };
        for (limit, in_json, in_csv) in [
            (None, None, None),
            (
                Some(0),
                Some("must be a whole number from 1 to 10"),
                Some("must be a whole number of at least 1"),
            ),
            (Some(1), None, None),
            (Some(10), None, None),
            (Some(11), Some("must be a whole number from 1 to 10"), None),
            (
                Some(usize::MAX),
                Some("must be a whole number from 1 to 10"),
                None,
            ),
        ] {
            assert_eq!(faults(limit, "application/json").as_deref(), in_json);
            assert_eq!(faults(limit, "text/csv").as_deref(), in_csv);
        }
    }

    #[test]
    fn query_without_parameters_is_empty() {
        for query in ["", "&", "&&"] {
            let params = read(query).unwrap();
            let nothing = TestParams {
                limit: None,
                order: None,
                name: None,
            };
            assert_eq!(params, nothing, "{query}");
        }
        let params = read("order=recent&limit=7").unwrap();
        assert_eq!(params.limit, Some(Limit(7)));
    }

    #[test]
    fn text_is_decoded_as_utf8() {
        for (query, name) in [
            ("name=%F0%9F%98%80+%41", "😀 A"),
            ("name=é", "é"),
            ("name=%EF%BF%BD", "\u{fffd}"),
            ("name=100%", "100%"),
            ("name=%zz%4", "%zz%4"),
        ] {
            assert_eq!(read(query).unwrap().name.as_deref(), Some(name), "{query}");
        }
    }

    #[test]
    fn operation_without_parameters_rejects_every_one() {
        assert!(no_parameters(None).is_ok());
        assert!(no_parameters(Some("")).is_ok());
        let problem = no_parameters(Some("at_least=1&x=")).unwrap_err();
        assert_eq!(problem.faulty_pointers(), ["/at_least", "/x"]);
    }
}
