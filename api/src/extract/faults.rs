//! Finds every fault of a JSON body: a slow second pass over bodies that the fast first one
//! rejected.
//!
//! Promise: every field that is missing, unknown or has an invalid value is reported once, at its
//! JSON pointer. Limit: required fields and objects are read from the schema, the same as in
//! `/openapi.json`. Only the types know the valid values, and they stop at the first invalid one;
//! so that value is removed and the body is read again.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::messages::{IS_MISSING, at, field_named, in_words, pointer};
use crate::problem::{Code, Fault, MAX_FAULTS, Problem};

/// Returns the body as a `T`, or all its faults.
pub(super) fn read_closely<T: DeserializeOwned + JsonSchema>(bytes: &[u8]) -> Result<T, Problem> {
    let finite = with_finite_numbers(bytes);
    let bytes = finite.as_deref().unwrap_or(bytes);
    let body: Value = serde_json::from_slice(bytes).map_err(|error| malformed(&error, bytes))?;
    let mut faults = Faults::default();
    faults.find_misshapen(&schema_of::<T>(), &body, "");
    faults.find_wrong::<T>(&body);
    match typed(bytes) {
        Ok(_) if finite.is_some() && faults.0.is_empty() => {
            let detail = "must not contain a number that is beyond ±1.7e308";
            Err(Problem::invalid("", detail))
        }
        Ok(value) if faults.0.is_empty() => Ok(value),
        Ok(_) => Err(faults.into_problem()),
        // For example a repeated field, which a `Value` does not show.
        Err(found) => {
            faults.add(found.fault);
            Err(faults.into_problem())
        }
    }
}

/// A number that no field accepts, and that every reader represents.
const HUGE: &[u8] = b"1e300";

/// Returns the body with [`HUGE`] for every number that serde_json would not represent (`1e309`),
/// if there is one: such a body is valid JSON, and the fault is that of the field.
fn with_finite_numbers(body: &[u8]) -> Option<Vec<u8>> {
    let (mut changed, mut copied, mut at) = (vec![], 0, 0);
    while let Some(&byte) = body.get(at) {
        if byte == b'"' {
            at += 1;
            while let Some(&byte) = body.get(at)
                && byte != b'"'
            {
                at += if byte == b'\\' { 2 } else { 1 };
            }
        } else if byte == b'-' || byte.is_ascii_digit() {
            let is_part = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
            let length = body[at..].iter().take_while(|byte| is_part(byte)).count();
            let number = std::str::from_utf8(&body[at..at + length]).unwrap_or_default();
            if number.parse().is_ok_and(f64::is_infinite) {
                changed.extend_from_slice(&body[copied..at]);
                changed.extend_from_slice(HUGE);
                copied = at + length;
            }
            at += length;
            continue;
        }
        at += 1;
    }
    (copied > 0).then(|| [&changed, &body[copied..]].concat())
}

fn malformed(error: &serde_json::Error, bytes: &[u8]) -> Problem {
    let (line, column) = (error.line(), error.column());
    let message = error.to_string();
    if message.starts_with("recursion limit exceeded") {
        return Problem::invalid("", "must not be nested more than 127 levels deep");
    }
    let is_half_pair = message.contains("surrogate in hex escape")
        || message.starts_with("unexpected end of hex escape");
    let detail = if is_half_pair {
        format!(
            "The body has half of a surrogate pair at line {line}, column {column}. An escape \
             from \\ud800 to \\udbff must be followed by one from \\udc00 to \\udfff, and each of \
             those must follow one."
        )
    } else if bytes.trim_ascii().is_empty() {
        "The body is empty. Send a JSON document.".to_owned()
    } else if error.is_eof() {
        format!(
            "The body ends within its JSON document, at line {line}, column {column}. Send the \
             whole document."
        )
    } else {
        format!(
            "The body cannot be read as JSON at line {line}, column {column}. Send one JSON \
             document in UTF-8."
        )
    };
    Problem::new(Code::MalformedJson, detail)
        .with("line", line)
        .with("column", column)
}

/// Returns the schema of a request's body, with subschemas inlined.
fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12()
        .for_deserialize()
        .with(|settings| settings.inline_subschemas = true);
    settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
}

fn typed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Found> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| Found::of(&error))
}

/// A fault that serde found.
struct Found {
    fault: Fault,
    /// True if serde reports a missing or repeated field, and not a value.
    names_field: bool,
}

impl Found {
    /// Converts serde's error. Serde reports a missing or repeated field at its parent; the fault
    /// points at the field.
    fn of(error: &serde_path_to_error::Error<serde_json::Error>) -> Self {
        let message = error.inner().to_string();
        let parent = pointer(error.path());
        let field = field_named(&message);
        let pointer = match field {
            Some(field) => at(&parent, field),
            None => parent,
        };
        let detail = in_words(&message);
        Self {
            fault: Fault { pointer, detail },
            names_field: field.is_some(),
        }
    }
}

#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    /// Adds a fault, unless it is inside a value that is faulty as a whole.
    fn add(&mut self, fault: Fault) {
        let is_within = |whole: &Fault| {
            let rest = fault.pointer.strip_prefix(&whole.pointer);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if !self.0.iter().any(is_within) {
            self.0.push(fault);
        }
    }

    /// Finds values that must be objects and are not, and required fields that are missing.
    fn find_misshapen(&mut self, schema: &Value, value: &Value, pointer: &str) {
        if !may_be(schema, "object") || (value.is_null() && may_be(schema, "null")) {
            return;
        }
        let Value::Object(members) = value else {
            let (pointer, detail) = (pointer.to_owned(), "must be a JSON object".to_owned());
            return self.add(Fault { pointer, detail });
        };
        let required = schema["required"].as_array().into_iter().flatten();
        for name in required.filter_map(Value::as_str) {
            if !members.contains_key(name) {
                let (pointer, detail) = (at(pointer, name), IS_MISSING.to_owned());
                self.add(Fault { pointer, detail });
            }
        }
        let properties = schema["properties"].as_object().into_iter().flatten();
        for (name, schema) in properties {
            if let Some(member) = members.get(name) {
                self.find_misshapen(schema, member, &at(pointer, name));
            }
        }
    }

    /// Finds unknown fields and invalid values.
    fn find_wrong<T: DeserializeOwned>(&mut self, body: &Value) {
        let mut rest = body.clone();
        // Serde would accept an array for an object.
        for misshapen in &self.0 {
            remove(&mut rest, &misshapen.pointer);
        }
        while self.0.len() < MAX_FAULTS {
            let Err(error) = serde_path_to_error::deserialize::<_, T>(&rest) else {
                return;
            };
            let faulty = pointer(error.path());
            let Found { fault, names_field } = Found::of(&error);
            // A removed value is missing now, which is not a fault of the body.
            if !names_field || body.pointer(&fault.pointer).is_none() {
                self.add(fault);
            }
            if !remove(&mut rest, &faulty) {
                return;
            }
        }
    }

    fn into_problem(self) -> Problem {
        Problem::invalid_values(self.0)
    }
}

/// Returns true if the schema allows values of type `wanted`.
fn may_be(schema: &Value, wanted: &str) -> bool {
    let kind = &schema["type"];
    let kinds = kind
        .as_array()
        .map_or(std::slice::from_ref(kind), Vec::as_slice);
    kinds.iter().any(|kind| kind == wanted)
}

/// Removes the value at `pointer` from its object. Returns true if there was one.
fn remove(body: &mut Value, pointer: &str) -> bool {
    let Some((parent, name)) = pointer.rsplit_once('/') else {
        return false;
    };
    let name = name.replace("~1", "/").replace("~0", "~");
    let parent = body.pointer_mut(parent).and_then(Value::as_object_mut);
    parent.is_some_and(|members| members.remove(&name).is_some())
}

#[cfg(test)]
mod tests {
    use domain::values::{DisplayName, Quantity};
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only deserialized")]
    struct Order {
        quantity: Quantity,
        name: DisplayName,
        gift: Option<Gift>,
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only deserialized")]
    struct Gift {
        to: DisplayName,
        from: DisplayName,
    }

    #[track_caller]
    fn faults_of(body: &str) -> Vec<String> {
        let problem = read_closely::<Order>(body.as_bytes()).unwrap_err();
        assert_eq!(problem.code(), Code::InvalidValue);
        problem.faulty_pointers()
    }

    #[test]
    fn every_fault_is_reported_once_and_in_order() {
        for (body, pointers) in [
            ("{}", vec!["/name", "/quantity"]),
            (r#"{"quantity":0,"name":""}"#, vec!["/name", "/quantity"]),
            (
                r#"{"quantity":0,"zeal":1}"#,
                vec!["/name", "/quantity", "/zeal"],
            ),
            (
                r#"{"quantity":1,"name":"n","a/b":1,"c~d":1}"#,
                vec!["/a~1b", "/c~0d"],
            ),
            (
                r#"{"gift":{"to":1,"wrap":true},"colour":"red"}"#,
                vec![
                    "/colour",
                    "/gift/from",
                    "/gift/to",
                    "/gift/wrap",
                    "/name",
                    "/quantity",
                ],
            ),
            (
                r#"{"quantity":1,"name":"n","gift":{}}"#,
                vec!["/gift/from", "/gift/to"],
            ),
            (
                r#"{"quantity":1,"quantity":2,"name":"n"}"#,
                vec!["/quantity"],
            ),
            (
                r#"{"name":"n","name":"","quantity":0}"#,
                vec!["/name", "/quantity"],
            ),
        ] {
            assert_eq!(faults_of(body), pointers, "{body}");
        }
    }

    #[test]
    fn number_of_reported_faults_is_bounded() {
        let fields: Vec<String> = (0..1000).map(|i| format!("\"f{i}\":{i}")).collect();
        assert_eq!(
            faults_of(&format!("{{{}}}", fields.join(","))).len(),
            MAX_FAULTS
        );
    }

    #[test]
    fn body_without_a_fault_is_read() {
        let body = br#"{"quantity":1,"name":"n","gift":{"to":"a","from":"b"}}"#;
        assert!(read_closely::<Order>(body).is_ok());
        assert!(read_closely::<Order>(br#"{"quantity":1,"name":"n","gift":null}"#).is_ok());
    }
}
