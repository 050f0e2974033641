//! Everything that is wrong with a JSON body: the slow second look at one that the first, quick one did not take.
//!
//! Promise: every field that is missing, unknown or no value of its type is told, each once, at its JSON pointer.
//! Limit: what must be there, and be an object, is read from the schema, the one that `/openapi.json` shows. What a value may be
//! only the types say, and they stop at the first that is wrong; so that one is taken out, and they read on.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::words::{at, field_named, in_words, pointer};
use crate::problem::{Code, Fault, MOST_FAULTS, Problem};

/// The body as a `T`, or all that is wrong with it.
pub(super) fn read_closely<T: DeserializeOwned + JsonSchema>(bytes: &[u8]) -> Result<T, Problem> {
    let body: Value = serde_json::from_slice(bytes).map_err(|error| malformed(&error))?;
    let mut faults = Faults::default();
    faults.find_misshapen(&schema_of::<T>(), &body, "");
    faults.find_wrong::<T>(&body);
    match typed(bytes) {
        Ok(value) if faults.0.is_empty() => Ok(value),
        Ok(_) => Err(faults.told()),
        // A field that is there twice, for instance, which a `Value` does not show.
        Err(fault) => {
            faults.add(fault);
            Err(faults.told())
        }
    }
}

fn malformed(error: &serde_json::Error) -> Problem {
    Problem::new(Code::MalformedJson, format!("{error}."))
        .with("line", error.line())
        .with("column", error.column())
}

/// What a request's body must look like, in one piece.
fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12()
        .for_deserialize()
        .with(|settings| settings.inline_subschemas = true);
    settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
}

fn typed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| fault(&error))
}

/// What serde stopped at. A missing or repeated field is reported at its parent; it is the field that the caller looks for.
fn fault(error: &serde_path_to_error::Error<serde_json::Error>) -> Fault {
    let detail = in_words(&error.inner().to_string());
    let place = pointer(error.path());
    let pointer = match field_named(&detail) {
        Some(field) => at(&place, field),
        None => place,
    };
    Fault { pointer, detail }
}

#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    /// A fault within what is wrong as a whole is no news.
    fn add(&mut self, fault: Fault) {
        let is_within = |whole: &Fault| {
            let rest = fault.pointer.strip_prefix(&whole.pointer);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if !self.0.iter().any(is_within) {
            self.0.push(fault);
        }
    }

    /// What must be an object and is none, and the fields that must be there and are not.
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
                let (pointer, detail) = (at(pointer, name), format!("missing field `{name}`"));
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

    /// What is unknown, and what is no value of its type.
    fn find_wrong<T: DeserializeOwned>(&mut self, body: &Value) {
        let mut rest = body.clone();
        // An array would do for an object with the right values in the right order.
        for misshapen in &self.0 {
            take_out(&mut rest, &misshapen.pointer);
        }
        while self.0.len() < MOST_FAULTS {
            let Err(error) = serde_path_to_error::deserialize::<_, T>(&rest) else {
                return;
            };
            let place = pointer(error.path());
            let fault = fault(&error);
            // What was taken out is missing now; that is no fault of the body.
            if field_named(&fault.detail).is_none() || body.pointer(&fault.pointer).is_none() {
                self.add(fault);
            }
            if !take_out(&mut rest, &place) {
                return;
            }
        }
    }

    fn told(self) -> Problem {
        Problem::invalid_values(self.0)
    }
}

/// Whether the schema lets a value be of this type.
fn may_be(schema: &Value, wanted: &str) -> bool {
    let kind = &schema["type"];
    let kinds = kind
        .as_array()
        .map_or(std::slice::from_ref(kind), Vec::as_slice);
    kinds.iter().any(|kind| kind == wanted)
}

/// Takes the value at `pointer` out of its object. Tells whether there was one.
fn take_out(body: &mut Value, pointer: &str) -> bool {
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
    #[expect(dead_code, reason = "only read")]
    struct Order {
        quantity: Quantity,
        name: DisplayName,
        gift: Option<Gift>,
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct Gift {
        to: DisplayName,
        from: DisplayName,
    }

    #[track_caller]
    fn told(body: &str) -> Vec<String> {
        let problem = read_closely::<Order>(body.as_bytes()).unwrap_err();
        assert_eq!(problem.code(), Code::InvalidValue);
        problem.faulty_places()
    }

    #[test]
    fn everything_that_is_wrong_is_told_once_and_in_order() {
        for (body, places) in [
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
            assert_eq!(told(body), places, "{body}");
        }
    }

    #[test]
    fn a_body_of_nothing_but_faults_is_told_so_many_of_them() {
        let fields: Vec<String> = (0..1000).map(|i| format!("\"f{i}\":{i}")).collect();
        assert_eq!(
            told(&format!("{{{}}}", fields.join(","))).len(),
            MOST_FAULTS
        );
    }

    #[test]
    fn a_body_without_a_fault_is_read() {
        let body = br#"{"quantity":1,"name":"n","gift":{"to":"a","from":"b"}}"#;
        assert!(read_closely::<Order>(body).is_ok());
        assert!(read_closely::<Order>(br#"{"quantity":1,"name":"n","gift":null}"#).is_ok());
    }
}
