//! One operation, as the template shows it.

use serde_json::{Map, Value, json};

use super::Row;
use super::samples::samples;
use super::words::Description;

/// The credentials, by the name of their security scheme.
const CREDENTIALS: [(&str, &str); 4] = [
    ("adminKey", "the admin key"),
    ("auditorKey", "the auditor key, or the admin key"),
    ("buyerToken", "the buyer's token, or the admin key"),
    ("adminSession", "the session of a signed-in browser"),
];

/// The members that every problem has.
const OF_EVERY_PROBLEM: [&str; 5] = ["code", "detail", "status", "title", "type"];

pub(super) fn view(description: &Description, row: &Row) -> Value {
    let described = &row.described;
    let mut view = row.entry();
    view["text"] = described["description"].clone();
    view["access"] = access(&described["security"]).into();
    view["parameters"] = parameters(description, described);
    view["body"] = body(description, &described["requestBody"]);
    view["responses"] = responses(description, described);
    view["problems"] = problems(described);
    let sample = |(name, text)| json!({ "name": name, "text": text });
    view["samples"] = samples(description, row).map(sample).into_iter().collect();
    view
}

fn access(security: &Value) -> String {
    let choices = security.as_array().map_or(&[][..], Vec::as_slice);
    if choices.is_empty() {
        return "No authentication required.".to_owned();
    }
    let choices = choices.iter().filter_map(Value::as_object);
    let is_optional = choices.clone().any(Map::is_empty);
    let words = |name: &String| {
        let known = CREDENTIALS.iter().find(|(scheme, _)| scheme == name);
        known.map_or(name.as_str(), |(_, words)| *words).to_owned()
    };
    let names: Vec<String> = choices.flat_map(Map::keys).map(words).collect();
    let names = names.join(", or ");
    if is_optional {
        format!(
            "If the server requires buyer tokens: {names}. Otherwise no authentication is required."
        )
    } else {
        format!("Requires {names}.")
    }
}

fn parameters(description: &Description, described: &Value) -> Value {
    let all = described["parameters"].as_array().into_iter().flatten();
    let parameter = |parameter: &Value| {
        let parameter = description.follow(parameter);
        let [name, location] = [&parameter["name"], &parameter["in"]];
        let location = location.as_str().unwrap_or_default();
        let note = match parameter["required"] == true {
            true => format!("{location}, required"),
            false => location.to_owned(),
        };
        let text = parameter["description"].as_str();
        description.member(
            name.as_str().unwrap_or_default(),
            &note,
            &parameter["schema"],
            text,
        )
    };
    all.map(parameter).collect()
}

fn body(description: &Description, body: &Value) -> Value {
    let Some(media) = body["content"].get("application/json") else {
        return Value::Null;
    };
    let schema = description.follow(&media["schema"]);
    json!({
        "title": if body["required"] == true { "Body" } else { "Body (optional)" },
        "members": description.members(schema), "example": pretty(&media["example"]),
    })
}

fn responses(description: &Description, described: &Value) -> Value {
    let all = described["responses"].as_object().into_iter().flatten();
    let accepted = all.filter(|(status, _)| status.as_str() < "400");
    let response = |(status, response): (&String, &Value)| {
        let content = response["content"].as_object().into_iter().flatten();
        let content = content.map(|(media_type, media)| {
            json!({
                "media_type": media_type, "kinds": inside(description, media_type, media),
                "example": pretty(&media["example"]),
            })
        });
        let headers = response["headers"].as_object().into_iter().flatten();
        let headers = headers.map(|(name, header)| {
            let header = description.follow(header);
            let note = if header["required"] == true {
                ""
            } else {
                "not always"
            };
            description.member(
                name,
                note,
                &header["schema"],
                header["description"].as_str(),
            )
        });
        json!({
            "status": status, "text": response["description"],
            "content": content.collect::<Value>(), "headers": headers.collect::<Value>(),
        })
    };
    accepted.map(response).collect()
}

/// The content of a body: the kind of the whole, of its lines, or of its events with their names.
fn inside(description: &Description, media_type: &str, media: &Value) -> Value {
    if let Some(events) = media["x-events"].as_object() {
        let event = |(name, schema)| json!({ "name": name, "kind": description.kind(schema) });
        return events.iter().map(event).collect();
    }
    let (name, schema) = match media.get("x-lines") {
        Some(lines) => ("one per line", lines),
        None if media_type == "application/json" => ("", &media["schema"]),
        None => return json!([]),
    };
    json!([{ "name": name, "kind": description.kind(schema) }])
}

fn problems(described: &Value) -> Value {
    let all = described["responses"].as_object().into_iter().flatten();
    let problems = all.flat_map(|(status, response)| {
        let examples = &response["content"]["application/problem+json"]["examples"];
        let examples = examples.as_object().into_iter().flatten();
        examples.map(move |(code, example)| {
            let members = example["value"].as_object().into_iter().flatten();
            let numbers = members.map(|(name, _)| name.as_str());
            let numbers = numbers.filter(|name| !OF_EVERY_PROBLEM.contains(name));
            json!({
                "status": status, "code": code, "title": example["value"]["title"],
                "numbers": numbers.collect::<Vec<_>>().join(", "),
            })
        })
    });
    problems.collect()
}

/// Returns an example as its body has it; an absent one is null.
pub(super) fn pretty(example: &Value) -> Value {
    if example.is_null() || example.is_string() {
        return example.clone();
    }
    format!("{example:#}").into()
}
