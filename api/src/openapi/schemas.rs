//! The schemas of bodies, generated from the types that parse and serialize them.

use std::borrow::Cow;

use domain::DropEvent;
use domain::values::{Position, Timestamp};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};

const DEFINITIONS_PATH: &str = "/components/schemas";

/// Collects schemas by name. Requests and responses have separate generators, because a field that
/// is optional in a request may always be present in a response.
pub(super) struct Schemas {
    requests: SchemaGenerator,
    responses: SchemaGenerator,
}

impl Default for Schemas {
    fn default() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12()
                .with(|settings| settings.definitions_path = DEFINITIONS_PATH.into())
        };
        Self {
            requests: settings().for_deserialize().into_generator(),
            responses: settings().for_serialize().into_generator(),
        }
    }
}

impl Schemas {
    /// Returns a reference to the schema of a request body.
    pub(super) fn request<T: JsonSchema>(&mut self) -> Value {
        self.requests.subschema_for::<T>().to_value()
    }

    /// Returns a reference to the schema of a response body.
    pub(super) fn response<T: JsonSchema>(&mut self) -> Value {
        self.responses.subschema_for::<T>().to_value()
    }

    /// Returns the query parameters of `T`, each with its schema.
    pub(super) fn query<T: JsonSchema>(&mut self) -> Map<String, Value> {
        let mut schema = T::json_schema(&mut self.requests).to_value();
        let Some(Value::Object(mut fields)) = schema.get_mut("properties").map(Value::take) else {
            return Map::new();
        };
        fields.values_mut().for_each(without_null);
        fields.values_mut().for_each(with_enums);
        fields.values_mut().for_each(with_formats);
        fields
    }

    /// Returns every referenced schema, by name.
    ///
    /// # Panics
    /// If one name has two schemas. A test builds the document, so this cannot happen in
    /// production.
    pub(super) fn take(mut self) -> Map<String, Value> {
        let mut all = self.responses.take_definitions(true);
        for (name, schema) in self.requests.take_definitions(true) {
            let known = all.entry(name.clone()).or_insert_with(|| schema.clone());
            assert_eq!(
                *known, schema,
                "{name} differs between requests and responses"
            );
        }
        all.values_mut().for_each(without_null_defaults);
        all.values_mut().for_each(with_enums);
        all.values_mut().for_each(with_formats);
        all.values_mut().for_each(with_noted_defaults);
        all
    }
}

/// The members of a schema that contain values, not schemas.
const VALUES: [&str; 5] = ["const", "default", "enum", "example", "examples"];

fn in_every_schema(schema: &mut Value, change: &mut impl FnMut(&mut Map<String, Value>)) {
    match schema {
        Value::Object(members) => {
            change(members);
            let schemas = members.iter_mut();
            let schemas = schemas.filter(|(name, _)| !VALUES.contains(&name.as_str()));
            schemas.for_each(|(_, schema)| in_every_schema(schema, change));
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|schema| in_every_schema(schema, change)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Replaces a `oneOf` of constant strings by an `enum`. schemars writes enums with descriptions as
/// `oneOf`, for which openapi-python-client 0.29.1 generates code that raises on every value. The
/// descriptions move to `x-enum-descriptions`, which other generators read.
fn with_enums(schema: &mut Value) {
    in_every_schema(schema, &mut |members| {
        let Some(Value::Array(choices)) = members.get("oneOf") else {
            return;
        };
        let named = choices.iter().map(named_texts);
        let Some(named) = named.collect::<Option<Vec<_>>>() else {
            return;
        };
        let (names, descriptions): (Vec<Value>, Vec<Value>) = named.into_iter().flatten().unzip();
        members.remove("oneOf");
        members.insert("type".to_owned(), "string".into());
        members.insert("enum".to_owned(), names.into());
        members.insert("x-enum-descriptions".to_owned(), descriptions.into());
    });
}

/// Returns the constant strings of a schema, each with its description. Returns `None` for any
/// other schema.
fn named_texts(schema: &Value) -> Option<Vec<(Value, Value)>> {
    if schema["type"] != "string" {
        return None;
    }
    let description = schema.get("description").cloned();
    let description = description.unwrap_or_else(|| "".into());
    let one = schema.get("const").cloned().map(|name| vec![name]);
    let several = || schema.get("enum").and_then(Value::as_array).cloned();
    let names = one.or_else(several)?.into_iter();
    Some(names.map(|name| (name, description.clone())).collect())
}

/// Sets the format of every integer to `int32` or `int64`, which generators know. With `uint64`, or
/// without a format, some languages use 32 bits.
fn with_formats(schema: &mut Value) {
    in_every_schema(schema, &mut |members| {
        let is_whole = match &members.get("type") {
            Some(Value::Array(types)) => types.iter().any(|kind| kind == "integer"),
            Some(kind) => *kind == "integer",
            None => false,
        };
        if !is_whole {
            return;
        }
        let most = members.get("maximum").and_then(Value::as_i64);
        let is_narrow = most.is_some_and(|most| i32::try_from(most).is_ok())
            || members
                .get("format")
                .is_some_and(|format| format == "int32");
        let format = if is_narrow { "int32" } else { "int64" };
        members.insert("format".to_owned(), format.into());
    });
}

/// Renames `default` to `x-default`: openapi-typescript 7.13 makes a field with a `default`
/// required, which is right for responses and wrong for requests.
fn with_noted_defaults(schema: &mut Value) {
    in_every_schema(schema, &mut |members| {
        if let Some(default) = members.remove("default") {
            members.insert("x-default".to_owned(), default);
        }
    });
}

/// Removes `null`, which a body can contain and a query cannot.
fn without_null(schema: &mut Value) {
    let Value::Object(members) = schema else {
        return;
    };
    if let Some(Value::Array(types)) = members.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            members.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(kinds)) = members.get_mut("anyOf") {
        kinds.retain(|kind| kind["type"] != "null");
        if let [Value::Object(only)] = kinds.as_slice() {
            let only = only.clone();
            members.remove("anyOf");
            members.extend(only);
        }
    }
    if let Some(Value::Array(values)) = members.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    members.retain(|name, value| name != "default" || !value.is_null());
}

/// Removes `null` defaults: an optional field is not the same as a nullable one.
fn without_null_defaults(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            members.retain(|name, value| name != "default" || !value.is_null());
            members.values_mut().for_each(without_null_defaults);
        }
        Value::Array(items) => items.iter_mut().for_each(without_null_defaults),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Returns the schema of an event's payload: that of a drop, or of a stream of another kind.
///
/// Any object is allowed. `anyOf` of a `DropEvent` and an object would be no stricter, and
/// openapi-generator 7.26 turns it into a struct that requires the fields of all events.
pub(crate) fn payload(generator: &mut SchemaGenerator) -> Schema {
    let drop = generator.subschema_for::<DropEvent>().to_value();
    json_schema!({ "type": "object", "x-of-drops": drop })
}

/// The schema of a SHA-256 hash: 64 hexadecimal digits.
pub(crate) struct Sha256;

impl JsonSchema for Sha256 {
    fn schema_name() -> Cow<'static, str> {
        "Sha256".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9a-f]{64}$" })
    }
}

/// The schema of a time in a request: with any offset, and any fraction of a second.
pub(crate) struct AnyTime;

impl JsonSchema for AnyTime {
    fn schema_name() -> Cow<'static, str> {
        "AnyTime".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time", "description": "RFC 3339, with any offset." })
    }
}

/// The head of the log.
#[derive(JsonSchema)]
#[schemars(rename = "LogHead")]
#[expect(dead_code, reason = "describes a type, never constructed")]
pub(crate) struct Head {
    /// The last position; 0 if the log is empty.
    position: Position,
    /// The hash of the last event; zeroes if the log is empty.
    hash: Sha256,
    /// The time at which the last event was recorded; the Unix epoch if the log is empty.
    recorded_at: Timestamp,
}
