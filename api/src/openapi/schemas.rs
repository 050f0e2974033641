//! The schemas of bodies, generated from the types that read and write them.

use std::borrow::Cow;

use domain::DropEvent;
use domain::values::{Position, Timestamp};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};

const PLACE: &str = "/components/schemas";

/// Collects schemas under their names: one generator for what is read, one for what is written, because a field that may be
/// left out of a request may still always be in an answer.
pub(super) struct Schemas {
    requests: SchemaGenerator,
    answers: SchemaGenerator,
}

impl Default for Schemas {
    fn default() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| settings.definitions_path = PLACE.into())
        };
        Self {
            requests: settings().for_deserialize().into_generator(),
            answers: settings().for_serialize().into_generator(),
        }
    }
}

impl Schemas {
    /// A reference to the schema of a request's body.
    pub(super) fn request<T: JsonSchema>(&mut self) -> Value {
        self.requests.subschema_for::<T>().to_value()
    }

    /// A reference to the schema of an answer's body.
    pub(super) fn answer<T: JsonSchema>(&mut self) -> Value {
        self.answers.subschema_for::<T>().to_value()
    }

    /// The fields of a query, each with its schema; whether there is one is not the schema's to say.
    pub(super) fn query<T: JsonSchema>(&mut self) -> Map<String, Value> {
        let mut schema = T::json_schema(&mut self.requests).to_value();
        let Some(Value::Object(mut fields)) = schema.get_mut("properties").map(Value::take) else {
            return Map::new();
        };
        fields.values_mut().for_each(without_null);
        fields
    }

    /// Every schema that was referred to, by name.
    ///
    /// # Panics
    /// When a name means two things. A test makes the document, so nobody else sees it.
    pub(super) fn take(mut self) -> Map<String, Value> {
        let mut all = self.answers.take_definitions(true);
        for (name, schema) in self.requests.take_definitions(true) {
            let known = all.entry(name.clone()).or_insert_with(|| schema.clone());
            assert_eq!(*known, schema, "{name} is read and written in two forms");
        }
        all.values_mut().for_each(without_null_defaults);
        all
    }
}

/// What may be null in a body cannot be in a query.
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

/// A field that may be left out is not the same as one that is null.
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

/// What stands in an event: one of a drop's, or of another stream's, which this page does not know.
pub(crate) fn payload(generator: &mut SchemaGenerator) -> Schema {
    let drop = generator.subschema_for::<DropEvent>();
    json_schema!({ "anyOf": [drop, { "type": "object" }] })
}

/// 64 hexadecimal digits.
pub(crate) struct Sha256;

impl JsonSchema for Sha256 {
    fn schema_name() -> Cow<'static, str> {
        "Sha256".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9a-f]{64}$" })
    }
}

/// A time as a caller may write it: with any offset, and any fraction of a second.
pub(crate) struct AnyTime;

impl JsonSchema for AnyTime {
    fn schema_name() -> Cow<'static, str> {
        "AnyTime".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time", "description": "RFC 3339, with any offset." })
    }
}

/// [`infrastructure::log::Head`], described.
#[derive(JsonSchema)]
#[schemars(rename = "LogHead")]
#[expect(dead_code, reason = "only described, never made")]
pub(crate) struct Head {
    /// The last position; 0 for an empty log.
    position: Position,
    /// The hash of the last event; zeroes for an empty log.
    hash: Sha256,
    /// When the last event was recorded; the epoch for an empty log.
    recorded_at: Timestamp,
}
