//! JSON values as literals of three languages.

use serde_json::Value;

use super::prose::columns;

/// The longest line of a sample.
const COLUMNS: usize = 80;

/// How a language writes what JSON writes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Syntax {
    pub(super) null: &'static str,
    /// `true` and `false`.
    pub(super) booleans: [&'static str; 2],
    /// Whether a name needs no quotes.
    pub(super) bare_names: bool,
    /// Whether a comma follows the last of several lines.
    pub(super) last_comma: bool,
    /// Whether spaces separate members from the braces around them.
    pub(super) spaced_braces: bool,
    pub(super) indent: usize,
}

pub(super) const JSON: Syntax = Syntax {
    null: "null",
    booleans: ["true", "false"],
    bare_names: false,
    last_comma: false,
    spaced_braces: false,
    indent: 2,
};

pub(super) const JAVASCRIPT: Syntax = Syntax {
    bare_names: true,
    last_comma: true,
    spaced_braces: true,
    ..JSON
};

pub(super) const PYTHON: Syntax = Syntax {
    null: "None",
    booleans: ["True", "False"],
    last_comma: true,
    indent: 4,
    ..JSON
};

impl Syntax {
    /// Writes `value`, whose first line is indented by `indent` columns and has `before` in it: on
    /// one line if it fits.
    pub(super) fn write(self, value: &Value, indent: usize, before: &str) -> String {
        let line = self.line(value);
        let parts = match value {
            _ if indent + columns(before) + columns(&line) < COLUMNS => return line,
            Value::Object(members) => members
                .iter()
                .map(|(name, value)| {
                    let name = format!("{}: ", self.name(name));
                    let value = self.write(value, indent + self.indent, &name);
                    format!("{name}{value}")
                })
                .collect(),
            Value::Array(items) => items
                .iter()
                .map(|item| self.write(item, indent + self.indent, ""))
                .collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return line,
        };
        let [open, close] = braces(value);
        let inner = " ".repeat(indent + self.indent);
        let parts: Vec<String> = parts;
        let parts = parts.join(&format!(",\n{inner}"));
        let comma = if self.last_comma { "," } else { "" };
        let outer = " ".repeat(indent);
        format!("{open}\n{inner}{parts}{comma}\n{outer}{close}")
    }

    fn line(self, value: &Value) -> String {
        let [open, close] = braces(value);
        match value {
            Value::Null => self.null.to_owned(),
            Value::Bool(is_true) => self.booleans[usize::from(!is_true)].to_owned(),
            Value::Number(number) => number.to_string(),
            // The escapes of JSON have the same meaning in JavaScript and in Python.
            Value::String(_) => value.to_string(),
            Value::Object(members) if members.is_empty() => "{}".to_owned(),
            Value::Object(members) => {
                let member = |(name, value): (&String, &Value)| {
                    format!("{}: {}", self.name(name), self.line(value))
                };
                let members: Vec<String> = members.iter().map(member).collect();
                let space = if self.spaced_braces { " " } else { "" };
                format!("{open}{space}{}{space}{close}", members.join(", "))
            }
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(|item| self.line(item)).collect();
                format!("{open}{}{close}", items.join(", "))
            }
        }
    }

    fn name(self, name: &str) -> String {
        let is_word = |c: char| c.is_ascii_lowercase() || c == '_';
        if self.bare_names && !name.is_empty() && name.chars().all(is_word) {
            return name.to_owned();
        }
        Value::from(name).to_string()
    }
}

fn braces(value: &Value) -> [&'static str; 2] {
    if value.is_array() {
        ["[", "]"]
    } else {
        ["{", "}"]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn literal_is_written_in_the_syntax_of_its_language() {
        let value = json!({ "a_b": [1, null], "c-d": true, "e": "\"f\"" });
        for (syntax, expected) in [
            (JSON, r#"{"a_b": [1, null], "c-d": true, "e": "\"f\""}"#),
            (JAVASCRIPT, r#"{ a_b: [1, null], "c-d": true, e: "\"f\"" }"#),
            (PYTHON, r#"{"a_b": [1, None], "c-d": True, "e": "\"f\""}"#),
        ] {
            assert_eq!(syntax.write(&value, 0, ""), expected);
        }
    }

    #[test]
    fn long_literal_has_a_line_for_each_member() {
        let value = json!({ "items": [{ "name": "n".repeat(70) }], "total": 1 });
        let text = JAVASCRIPT.write(&value, 2, "body: ");
        let expected = format!(
            "{{\n    items: [\n      {{\n        name: \"{}\",\n      }},\n    ],\n    total: 1,\n  }}",
            "n".repeat(70)
        );
        assert_eq!(text, expected);
        let written: Value = serde_json::from_str(&JSON.write(&value, 0, "")).unwrap();
        assert_eq!(written, value);
    }
}
