//! The HTTP API as an OpenAPI 3.1 document: `GET /openapi.json`.
//!
//! Promise: schemas of bodies are generated from the types that parse and serialize them. The
//! router and the document are made from one table ([`operations`]): a row names the path, the
//! method, the handler and the responses, and the types of the handler's parameters state the rest
//! ([`inputs`]). The document omits the HTML pages. The tests check every response against it
//! (`tests/harness/described.rs`), and generate clients from it in several languages
//! (`tests/clients/generated.rs`). The pages of [`mod@reference`] show it to people.
//! Limit: OpenAPI cannot describe a stream of events or of lines. These are strings, and
//! `x-events` and `x-lines` name the schemas of their parts.

mod inputs;
mod operation;
mod operations;
mod problems;
mod reference;
pub(crate) mod schemas;

use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use bytes::Bytes;
use serde_json::{Map, Value, json};

use self::operation::{Operation, headers, parameters};
use self::schemas::Schemas;
use crate::app::App;
use crate::base_path::of_cookies;
use crate::problem::Code;
use crate::render::{digest, is_known};

/// The text of the document and its entity tag. Both are constant while the program runs.
static SERVED: LazyLock<(Bytes, String)> = LazyLock::new(|| {
    let text = document().to_string();
    let etag = format!("\"{}\"", digest(text.as_bytes()));
    (text.into(), etag)
});

/// `GET /openapi.json`
pub(crate) async fn openapi(headers: HeaderMap) -> Response {
    let (text, etag) = &*SERVED;
    let common = [
        (header::ETAG, HeaderValue::from_str(etag)),
        (
            header::CACHE_CONTROL,
            Ok(HeaderValue::from_static("no-cache")),
        ),
    ];
    let common: HeaderMap = common
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.ok()?)))
        .collect();
    if is_known(&headers, etag) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (common, kind, text.clone()).into_response()
}

/// Returns the path and handler of every route, pages included.
pub(crate) fn routes() -> Vec<(&'static str, MethodRouter<App>)> {
    let mut schemas = Schemas::default();
    let mut operations = operations::all(&mut schemas);
    operations.extend(operations::pages(&mut schemas));
    operations.into_iter().map(Operation::into_route).collect()
}

/// Returns the document of the operations for programs.
#[must_use]
pub fn document() -> Value {
    let mut schemas = Schemas::default();
    let operations = operations::all(&mut schemas);
    described(schemas, operations)
}

/// Returns the document with the HTML pages included. The tests check every response against it.
#[must_use]
pub fn document_with_pages() -> Value {
    let mut schemas = Schemas::default();
    let operations = operations::all(&mut schemas);
    let mut document = described(schemas, operations);
    if let Value::Object(paths) = &mut document["paths"] {
        paths.extend(self::paths(operations::pages(&mut Schemas::default())));
    }
    let absent = &mut document["components"]["responses"]["NotFound"];
    absent["content"]["text/html"] = json!({ "schema": { "type": "string" } });
    for name in [
        "Content-Language",
        "ETag",
        "Holdfast-Server-Time",
        "Set-Cookie",
        "Vary",
    ] {
        absent["headers"][name] = headers()[name].take();
        absent["headers"][name]["required"] = json!(false);
    }
    document
}

fn described(schemas: Schemas, operations: Vec<Operation>) -> Value {
    let mut components = schemas.take();
    components.extend(
        Code::ALL
            .iter()
            .map(|&code| (problems::name(code), problems::schema(code))),
    );
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "Holdfast",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Sells limited stock under heavy load, and never oversells.",
            "description": include_str!("openapi/description.md"),
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": of_cookies(), "description": "The server that returned this document." }],
        "tags": operations::TAGS.map(|(name, description)| json!({ "name": name, "description": description })),
        "paths": paths(operations),
        "components": {
            "schemas": components,
            "parameters": parameters(),
            "headers": headers(),
            "responses": {
                "NotFound": problems::response(&[Code::NotFound]),
                "MethodNotAllowed": problems::response(&[Code::MethodNotAllowed]),
                "MalformedRequest": problems::response(&[Code::MalformedRequest]),
                "UriTooLong": problems::response(&[Code::UriTooLong]),
                "TooManyConnections": problems::response(&[Code::TooManyConnections]),
                "HeadTooLarge": problems::response(&[Code::HeadTooLarge]),
                "HttpVersionNotSupported": problems::response(&[Code::HttpVersionNotSupported]),
            },
            "securitySchemes": security_schemes(),
        },
    })
}

/// Groups operations by path, in the order of the router.
fn paths(operations: Vec<Operation>) -> Map<String, Value> {
    let mut paths = Map::new();
    for operation in operations {
        let (path, method, described) = operation.described();
        let item = paths.entry(path).or_insert_with(|| json!({}));
        item[method] = described;
    }
    paths
}

fn security_schemes() -> Value {
    let bearer = |description: &str| json!({ "type": "http", "scheme": "bearer", "description": description });
    json!({
        "adminKey": bearer("The value of `HOLDFAST_ADMIN_KEY`. It also permits everything that \
                            the auditor key and buyer tokens permit."),
        "auditorKey": bearer("The value of `HOLDFAST_AUDITOR_KEY`. It permits reading the log."),
        "buyerToken": {
            "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
            "description": "Required only if the server has a `HOLDFAST_BUYER_SECRET`; the admin \
                            key is accepted instead. The shop signs the token with HS256. `sub` \
                            is the buyer's id; characters outside ASCII must be lower case. `exp` \
                            is required and by default at most one day ahead. `nbf` and `iat` are \
                            checked if present, with a default leeway of 30 s. `aud` must contain \
                            `HOLDFAST_BUYER_AUDIENCE`, and must be absent if that is not set. A \
                            `crit` header parameter is rejected; unknown header parameters are \
                            ignored.",
        },
        "adminSession": {
            "type": "apiKey", "in": "cookie", "name": crate::session::COOKIE,
            "description": "The session of a browser that has signed in. Accepted only on \
                            requests from this server's own pages.",
        },
    })
}
