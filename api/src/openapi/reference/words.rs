//! Schemas in words: the type of a value with its bounds and its default.

use serde_json::{Value, json};

/// The largest integer that every JSON reader represents exactly. A bound above it is none.
const MAX_EXACT: i64 = (1 << 53) - 1;

/// A document, whose references can be followed.
#[derive(Debug)]
pub(super) struct Description(pub(super) Value);

impl Description {
    /// Follows references; returns any other value unchanged.
    pub(super) fn follow<'a>(&'a self, value: &'a Value) -> &'a Value {
        let mut value = value;
        while let Some(reference) = value["$ref"].as_str() {
            let target = self.0.pointer(reference.trim_start_matches('#'));
            value = target.unwrap_or(&Value::Null);
        }
        value
    }

    /// The schemas that have a paragraph of their own, by name: those with members or choices,
    /// without problems.
    pub(super) fn schemas(&self) -> impl Iterator<Item = (&String, &Value)> {
        let all = self.0["components"]["schemas"].as_object();
        let all = all.into_iter().flatten();
        all.filter(|(name, schema)| is_listed(name, schema))
    }

    /// Returns the members of a schema: the required ones first.
    pub(super) fn members(&self, schema: &Value) -> Vec<Value> {
        let required = |name: &str| {
            let names = schema["required"].as_array();
            names.is_some_and(|names| names.iter().any(|one| one == name))
        };
        let member = |(name, schema): (&String, &Value)| {
            let note = if required(name) { "required" } else { "" };
            self.member(name, note, schema, schema["description"].as_str())
        };
        let members = schema["properties"].as_object().into_iter().flatten();
        let mut members: Vec<Value> = members.map(member).collect();
        members.sort_by_key(|member| member["note"] != "required");
        members
    }

    /// Describes one member, parameter or header.
    pub(super) fn member(
        &self,
        name: &str,
        note: &str,
        schema: &Value,
        text: Option<&str>,
    ) -> Value {
        // A schema without a paragraph of its own is described where it is used.
        let own = self.follow(schema);
        let listed = self.listed_name(schema).is_some();
        let text = text.or_else(|| own["description"].as_str().filter(|_| !listed));
        json!({ "name": name, "note": note, "kind": self.kind(schema), "text": text })
    }

    /// Describes a schema: words of text, some with a link to the schema that they name.
    pub(super) fn kind(&self, schema: &Value) -> Vec<Value> {
        let mut words = self.words(schema);
        let target = self.follow(schema);
        let mut preset = ["default", "x-default"].iter();
        let preset = preset.find_map(|name| schema.get(name).or_else(|| target.get(name)));
        if let Some(preset) = preset {
            words.push(word(format!(", default {preset}")));
        }
        words
    }

    fn words(&self, schema: &Value) -> Vec<Value> {
        if let Some(name) = self.listed_name(schema) {
            return vec![json!({ "text": name, "to": link(name) })];
        }
        let schema = self.follow(schema);
        if let Some(of_drops) = schema.get("x-of-drops") {
            return joined(
                vec![vec![word("object; for a drop, ")], self.words(of_drops)],
                "",
            );
        }
        let choices = schema["anyOf"].as_array().or(schema["oneOf"].as_array());
        if let Some(choices) = choices {
            let choices = choices.iter().map(|choice| self.kind(choice));
            return joined(choices.collect(), " or ");
        }
        if let Some(items) = schema.get("items") {
            let count = range(&schema["minItems"], &schema["maxItems"]);
            let count = count.map_or_else(String::new, |count| format!(", {count} items"));
            let items = vec![vec![word("list of ")], self.kind(items), vec![word(count)]];
            return joined(items, "");
        }
        if let Some(values) = schema["additionalProperties"].as_object() {
            let values = self.kind(&Value::Object(values.clone()));
            return joined(vec![vec![word("object of ")], values], "");
        }
        vec![word(plain(schema))]
    }

    /// Returns the name of the schema that is referred to, if it has a paragraph of its own.
    fn listed_name<'a>(&'a self, schema: &'a Value) -> Option<&'a str> {
        let name = schema["$ref"].as_str()?.rsplit('/').next()?;
        is_listed(name, self.follow(schema)).then_some(name)
    }
}

/// The URL of a schema's paragraph.
pub(super) fn link(name: &str) -> String {
    format!("/docs/schemas#schema-{name}")
}

fn is_listed(name: &str, schema: &Value) -> bool {
    let parts = ["properties", "oneOf", "x-enum-descriptions"];
    parts.iter().any(|part| schema.get(part).is_some()) && !name.ends_with("Problem")
}

fn word(text: impl Into<String>) -> Value {
    json!({ "text": text.into() })
}

fn joined(kinds: Vec<Vec<Value>>, separator: &str) -> Vec<Value> {
    let mut words = vec![];
    for kind in kinds {
        if !words.is_empty() && !separator.is_empty() {
            words.push(word(separator));
        }
        words.extend(kind);
    }
    words
}

/// Describes a schema without parts.
fn plain(schema: &Value) -> String {
    if let Some(value) = schema.get("const") {
        return value.to_string();
    }
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<String> = values.iter().map(Value::to_string).collect();
        return values.join(" or ");
    }
    let mut text = match &schema["type"] {
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => {
            let kinds: Vec<&str> = kinds.iter().filter_map(Value::as_str).collect();
            kinds.join(" or ")
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => "anything".to_owned(),
    };
    let format = schema["format"].as_str();
    if let Some(format) = format.filter(|format| !format.contains("int")) {
        text.push_str(&format!(" ({format})"));
    }
    if let Some(bounds) = range(&schema["minimum"], &schema["maximum"]) {
        text.push_str(&format!(", {bounds}"));
    }
    if let Some(length) = range(&schema["minLength"], &schema["maxLength"]) {
        text.push_str(&format!(", {length} characters"));
    }
    // A format says the same in fewer characters.
    if let (None, Some(pattern)) = (format, schema["pattern"].as_str()) {
        text.push_str(&format!(", of the form {pattern}"));
    }
    text
}

/// Describes a range of numbers, or nothing if there is no bound that a caller could meet.
fn range(least: &Value, most: &Value) -> Option<String> {
    let most = most.as_i64().filter(|most| *most < MAX_EXACT);
    match (least.as_i64(), most) {
        (Some(least), Some(most)) => Some(format!("{least} to {most}")),
        (None, Some(most)) => Some(format!("at most {most}")),
        (Some(least), None) if least != 0 => Some(format!("at least {least}")),
        (Some(_) | None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(words: &[Value]) -> String {
        words
            .iter()
            .filter_map(|word| word["text"].as_str())
            .collect()
    }

    #[test]
    fn schema_is_described_with_bounds_default_and_links() {
        let description = Description(json!({ "components": { "schemas": {
            "Id": { "type": "string", "format": "uuid", "description": "An id." },
            "Stock": { "type": "object", "properties": { "total": { "type": "integer" } } },
            "Status": { "type": "string", "enum": ["live"], "x-enum-descriptions": ["On sale."] },
        } } }));
        let stock = json!({ "$ref": "#/components/schemas/Stock" });
        let id = json!({ "$ref": "#/components/schemas/Id" });
        for (schema, expected) in [
            (
                json!({ "type": "integer", "format": "int32", "minimum": 1, "maximum": 9, "x-default": 2 }),
                "integer, 1 to 9, default 2",
            ),
            (
                json!({ "type": "integer", "minimum": 0, "maximum": i64::MAX }),
                "integer",
            ),
            (
                json!({ "type": ["integer", "null"], "minimum": 1 }),
                "integer or null, at least 1",
            ),
            (
                json!({ "type": "string", "minLength": 1, "maxLength": 128 }),
                "string, 1 to 128 characters",
            ),
            (
                json!({ "type": "string", "pattern": "^a$" }),
                "string, of the form ^a$",
            ),
            (
                json!({ "type": "array", "items": stock, "minItems": 1, "maxItems": 20 }),
                "list of Stock, 1 to 20 items",
            ),
            (
                json!({ "anyOf": [id, { "type": "null" }] }),
                "string (uuid) or null",
            ),
            (
                json!({ "enum": ["a", "b"], "default": "a" }),
                "\"a\" or \"b\", default \"a\"",
            ),
            (
                json!({ "type": "object", "additionalProperties": { "type": "boolean" } }),
                "object of boolean",
            ),
            (json!({ "const": true }), "true"),
        ] {
            assert_eq!(text(&description.kind(&schema)), expected, "{schema}");
        }
        assert_eq!(
            description.kind(&stock)[0]["to"],
            "/docs/schemas#schema-Stock"
        );
        // Described where it is used, because it has no paragraph.
        assert_eq!(description.member("id", "", &id, None)["text"], "An id.");
        assert_eq!(
            description.member("id", "", &id, Some("Other."))["text"],
            "Other."
        );
        let names: Vec<&String> = description.schemas().map(|(name, _)| name).collect();
        assert_eq!(names, ["Status", "Stock"]);
    }

    #[test]
    fn required_members_are_first() {
        let description = Description(json!({}));
        let schema = json!({
            "properties": { "a": { "type": "string" }, "b": { "type": "string" } }, "required": ["b"],
        });
        let members = description.members(&schema);
        let shown = members
            .iter()
            .map(|member| (&member["name"], &member["note"]));
        assert!(shown.eq([(&json!("b"), &json!("required")), (&json!("a"), &json!(""))]));
    }
}
