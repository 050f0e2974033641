//! What the HTTP API is, as an OpenAPI 3.1 document: `GET /openapi.json`.
//!
//! Promise: bodies are described by schemas that are generated from the very types that read and write them; every route of
//! the router is in it, the pages for people aside, and nothing else; in the tests every answer is
//! held to it (`tests/harness/described.rs`). Client generators of several languages can read it
//! (`tests/clients/generated.rs`).
//! Limit: OpenAPI has no words for a stream of events or for lines, so those are texts, and `x-events` and `x-lines` name the
//! schema of what is in them.

mod operation;
mod operations;
mod problems;
pub(crate) mod schemas;

use std::collections::HashSet;
use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use self::operation::{Operation, headers, parameters};
use self::schemas::Schemas;
use crate::problem::Code;
use crate::render::{digest, is_known};

/// The document, which is the same for the life of the program: its text, and its entity tag.
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

/// The operations that have no query parameters: path and method.
static WITHOUT_QUERY: LazyLock<HashSet<(String, &'static str)>> = LazyLock::new(|| {
    let operations = operations::all(&mut Schemas::default());
    let without = operations.iter().filter(|operation| !operation.has_query());
    without
        .map(|operation| (operation.path().to_owned(), operation.method()))
        .collect()
});

/// Whether this is an operation that has no query parameters.
pub(crate) fn takes_no_query(path: &str, method: &Method) -> bool {
    let method = match method.as_str() {
        "GET" | "HEAD" => "get",
        "POST" => "post",
        "PUT" => "put",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => return false,
    };
    WITHOUT_QUERY.contains(&(path.to_owned(), method))
}

/// The document: what programs may call.
#[must_use]
pub fn document() -> Value {
    let mut schemas = Schemas::default();
    let operations = operations::all(&mut schemas);
    described(schemas, operations)
}

/// The document, and the pages for people besides. Tests hold every answer to it.
#[must_use]
pub fn document_with_pages() -> Value {
    let mut schemas = Schemas::default();
    let operations = operations::all(&mut schemas);
    let mut document = described(schemas, operations);
    if let Value::Object(paths) = &mut document["paths"] {
        paths.extend(self::paths(operations::pages()));
    }
    let absent = &mut document["components"]["responses"]["NotFound"];
    absent["content"]["text/html"] = json!({ "schema": { "type": "string" } });
    for name in ["ETag", "Vary"] {
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
            "summary": "Limited stock, sold under a stampede, and never twice.",
            "description": include_str!("openapi/description.md"),
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "The server that this document came from." }],
        "tags": operations::TAGS.map(|(name, description)| json!({ "name": name, "description": description })),
        "paths": paths(operations),
        "components": {
            "schemas": components,
            "parameters": parameters(),
            "headers": headers(),
            "responses": {
                "NotFound": problems::answer(&[Code::NotFound]),
                "MethodNotAllowed": problems::answer(&[Code::MethodNotAllowed]),
                "MalformedRequest": problems::answer(&[Code::MalformedRequest]),
                "UriTooLong": problems::answer(&[Code::UriTooLong]),
                "TooManyConnections": problems::answer(&[Code::TooManyConnections]),
                "HeadTooLarge": problems::answer(&[Code::HeadTooLarge]),
                "HttpVersionNotSupported": problems::answer(&[Code::HttpVersionNotSupported]),
            },
            "securitySchemes": security_schemes(),
        },
    })
}

/// Operations under their paths, in the order of the router.
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
        "adminKey": bearer("`HOLDFAST_ADMIN_KEY`. It includes what the auditor key and a buyer's token allow."),
        "auditorKey": bearer("`HOLDFAST_AUDITOR_KEY`, or the admin key: reads the log."),
        "buyerToken": {
            "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
            "description": "Only where the server has a `HOLDFAST_BUYER_SECRET`; the admin key does as well. A token is signed by the shop with HS256. `sub` is the buyer's id, outside ASCII in lower case; `exp` is required, by default at most a day ahead; `nbf` and `iat` are checked if present, with 30 s of leeway by default; `aud` must contain `HOLDFAST_BUYER_AUDIENCE`, and be absent where that is not set. A `crit` header parameter is refused, unknown ones are ignored.",
        },
        "adminSession": {
            "type": "apiKey", "in": "cookie", "name": crate::session::COOKIE,
            "description": "A browser that signed in; believed on requests of this server's own pages only.",
        },
    })
}
