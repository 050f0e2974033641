//! Checks every response against its description in `/openapi.json`.
//!
//! Promise: a test fails if it receives a response whose status, headers, media type or body is not
//! described, or if a request was accepted that the description does not allow. Fields that are not
//! named are not described. Limit: of streams and NDJSON, only the events and lines that a test
//! reads are checked.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use jsonschema::{Draft, Validator};
use reqwest::{Method, Request};
use serde_json::{Map, Value, json};

use crate::proxies::BELOW;
use crate::reply::Reply;

static DOCUMENT: LazyLock<Value> = LazyLock::new(api::openapi::document_with_pages);
/// The schemas, closed: clients must accept new fields, but the document must describe every field.
static COMPONENTS: LazyLock<Value> = LazyLock::new(|| {
    let mut components = DOCUMENT["components"].clone();
    let schemas = components["schemas"]
        .as_object_mut()
        .expect("the document has schemas");
    for schema in schemas.values_mut() {
        let is_closed = schema.get("additionalProperties").is_some();
        if schema.get("properties").is_some() && !is_closed {
            schema["additionalProperties"] = json!(false);
        }
    }
    components
});
static VALIDATORS: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);

/// A request that was sent.
#[derive(Debug, Clone)]
pub(crate) struct SentRequest {
    method: Method,
    path: String,
    body: Option<Vec<u8>>,
}

/// The path that the document has for a path of a shop that is mounted below another one.
fn at_root(path: &str) -> &str {
    let below = path.strip_prefix(BELOW);
    below.filter(|rest| rest.starts_with('/')).unwrap_or(path)
}

/// The document's constants are those of a shop at the root of its host.
fn at_root_of(mut body: Value) -> Value {
    if let Some(Value::String(kind)) = body.get_mut("type") {
        *kind = at_root(kind).to_owned();
    }
    body
}

impl SentRequest {
    pub(crate) fn of(request: &Request) -> Self {
        let body = request.body().and_then(reqwest::Body::as_bytes);
        Self {
            method: request.method().clone(),
            path: at_root(request.url().path()).to_owned(),
            body: body.map(<[u8]>::to_vec),
        }
    }

    /// Checks that the document describes `reply`.
    ///
    /// # Panics
    /// If it does not.
    pub(crate) fn check_reply(&self, reply: &Reply) {
        let Some((template, item)) = item_at(&self.path) else {
            return self.check_response(
                reply,
                &json!({ "$ref": "#/components/responses/NotFound" }),
                "unknown path",
            );
        };
        let method = if self.method == Method::HEAD {
            "get".to_owned()
        } else {
            self.method.as_str().to_lowercase()
        };
        let Some(operation) = item.get(&method) else {
            let refused = json!({ "$ref": "#/components/responses/MethodNotAllowed" });
            return self.check_response(reply, &refused, "unknown method");
        };
        let status = reply.status.to_string();
        let described = operation["responses"].get(&status);
        let described = described.unwrap_or_else(|| {
            panic!(
                "{self:?} has no described response {status}: {}",
                reply.text()
            )
        });
        self.check_response(reply, described, &format!("{method} {template} {status}"));
        if reply.status < 400 {
            self.check_request(operation, &format!("{method} {template}"));
        }
    }

    fn check_response(&self, reply: &Reply, described: &Value, location: &str) {
        let described = resolve(described);
        self.check_headers(reply, described);
        if reply.body.is_empty() {
            return;
        }
        let media_type = reply
            .header("content-type")
            .split(';')
            .next()
            .unwrap_or_default();
        let content = described["content"].get(media_type);
        let content = content.unwrap_or_else(|| {
            panic!("{self:?} has no described response of type {media_type:?}: {reply:?}")
        });
        if let Some(lines) = content.get("x-lines") {
            for line in reply.text().lines() {
                check_schema(
                    &format!("{location} line"),
                    lines,
                    &serde_json::from_str(line).expect("each line is JSON"),
                );
            }
        }
        if matches!(media_type, "application/json" | "application/problem+json") {
            check_schema(
                &format!("{location} {media_type}"),
                &content["schema"],
                &at_root_of(reply.json()),
            );
        }
        if media_type == "application/problem+json" {
            check_title(&reply.json());
        }
    }

    fn check_headers(&self, reply: &Reply, described: &Value) {
        let known = DOCUMENT["components"]["headers"]
            .as_object()
            .expect("the document has headers");
        for name in known.keys() {
            let described = described["headers"].get(name).map(resolve);
            let mut values = reply.headers.get_all(name.to_lowercase()).iter();
            // Where other origins are permitted, every response has `Vary: origin`.
            let is_present = values.any(|value| name != "Vary" || value != "origin");
            assert!(
                !is_present || described.is_some(),
                "{name} is not described: {self:?} {reply:?}"
            );
            let is_missing =
                !is_present && described.is_some_and(|header| header["required"] == true);
            assert!(!is_missing, "{name} is missing: {self:?} {reply:?}");
        }
    }

    fn check_request(&self, operation: &Value, location: &str) {
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        let body = self
            .body
            .as_deref()
            .and_then(|body| serde_json::from_slice(body).ok());
        // `null` represents an omitted body.
        let may_be_left_out = operation["requestBody"]["required"] == false;
        let body = body.filter(|body: &Value| !(may_be_left_out && body.is_null()));
        if let (Value::Object(_), Some(body)) = (schema, body) {
            check_schema(&format!("{location} request"), schema, &body);
        }
    }
}

/// Checks that a problem has the title of its code. The document does not fix the titles, so that
/// no client depends on them.
///
/// # Panics
/// If it has another title.
fn check_title(problem: &Value) {
    let has_code = |code: &&api::problem::Code| problem["code"] == code.name();
    let code = api::problem::Code::ALL.iter().find(has_code);
    let title = code.map(|code| code.title());
    assert_eq!(problem["title"].as_str(), title, "{problem}");
}

/// Checks that the data of an SSE event is as described.
///
/// # Panics
/// If it is not.
pub(crate) fn check_event(name: &str, data: &Value) {
    let streams = ["/v1/stream", "/v1/buyers/{buyer_id}/notifications/stream"];
    let mut schemas = streams.iter().filter_map(|path| {
        let response = &DOCUMENT["paths"][path]["get"]["responses"]["200"];
        response["content"]["text/event-stream"]["x-events"].get(name)
    });
    let schema = schemas.next();
    check_schema(
        &format!("event {name}"),
        schema.unwrap_or_else(|| panic!("no SSE stream has the event {name}")),
        data,
    );
}

fn check_schema(location: &str, schema: &Value, value: &Value) {
    let mut validators = VALIDATORS.lock().unwrap_or_else(PoisonError::into_inner);
    let validator = validators
        .entry(location.to_owned())
        .or_insert_with(|| Arc::new(validator(schema)));
    let validator = Arc::clone(validator);
    drop(validators);
    let errors: Vec<String> = validator
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path))
        .collect();
    assert!(
        errors.is_empty(),
        "{location} does not match its description: {errors:#?}\n{value}"
    );
}

/// A validator of `schema`, which may refer to the document's components.
///
/// # Panics
/// If it is not a valid schema.
#[must_use]
pub fn validator(schema: &Value) -> Validator {
    let mut schemas = Map::new();
    collect(schema, &mut schemas);
    let whole = json!({ "allOf": [schema], "components": { "schemas": schemas } });
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .should_validate_formats(true)
        .build(&whole)
        .unwrap_or_else(|error| panic!("{error}: {schema}"))
}

/// Adds the schemas that `value` refers to, transitively. Compiling all of the document's schemas
/// each time is slow.
fn collect(value: &Value, to: &mut Map<String, Value>) {
    let name = value
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|to| to.rsplit('/').next());
    if let Some(name) = name.filter(|&name| !to.contains_key(name)) {
        let schema = COMPONENTS["schemas"][name].clone();
        to.insert(name.to_owned(), schema.clone());
        collect(&schema, to);
    }
    match value {
        Value::Object(members) => members.values().for_each(|value| collect(value, to)),
        Value::Array(items) => items.iter().for_each(|value| collect(value, to)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn item_at(path: &str) -> Option<(&'static str, &'static Value)> {
    let items = DOCUMENT["paths"]
        .as_object()
        .expect("the document has paths");
    let mut matching = items
        .iter()
        .filter(|(template, _)| matches_template(template, path));
    matching
        .next()
        .map(|(template, item)| (template.as_str(), item))
}

fn matches_template(template: &str, path: &str) -> bool {
    if let Some(prefix) = template.strip_suffix("{path}") {
        return path
            .strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty());
    }
    let (mut expected, mut actual) = (template.split('/'), path.split('/'));
    loop {
        match (expected.next(), actual.next()) {
            (None, None) => return true,
            (Some(expected), Some(actual))
                if expected == actual || (expected.starts_with('{') && !actual.is_empty()) => {}
            _ => return false,
        }
    }
}

fn resolve(value: &Value) -> &Value {
    match value["$ref"].as_str() {
        Some(reference) => DOCUMENT
            .pointer(reference.trim_start_matches('#'))
            .unwrap_or_else(|| panic!("nothing at {reference}")),
        None => value,
    }
}
