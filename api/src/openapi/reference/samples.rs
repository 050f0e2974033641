//! Samples of an operation in curl, JavaScript and Python, made from its description.
//!
//! Promise: a sample sends the required headers, the example of the body, and the credential that
//! the operation requires; it runs after its placeholders are replaced. The test
//! `tests/clients/samples.rs` runs each in its language. Limit: optional parameters are omitted.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::Row;
use super::literal::{JAVASCRIPT, JSON, PYTHON};
use super::prose::placeholder;
use super::words::Description;
use crate::base_path::base_path;

/// The address in every sample, which the page replaces by its own.
const ORIGIN: &str = "http://localhost:8080";

/// The environment variables that contain the credentials.
const VARIABLES: [(&str, &str); 3] = [
    ("adminKey", "HOLDFAST_ADMIN_KEY"),
    ("auditorKey", "HOLDFAST_AUDITOR_KEY"),
    ("buyerToken", "BUYER_TOKEN"),
];

/// The ids whose name does not follow from the path.
const IDS: [(&str, &str); 3] = [
    ("needs-attention", "MATTER_ID"),
    ("waitlist", "ENTRY_ID"),
    ("webhooks", "ENDPOINT_ID"),
];

/// The value of a header.
#[derive(Debug)]
enum Field {
    Text(String),
    /// A new idempotency key.
    Fresh,
    /// The variable with the bearer key or token.
    Bearer(&'static str),
}

/// The body of the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Json,
    Text,
    /// A text that does not end.
    Events,
}

/// A request, before it is written in a language.
#[derive(Debug)]
struct Call {
    id: String,
    method: String,
    url: String,
    headers: Vec<(String, Field)>,
    body: Option<Value>,
    answer: Answer,
}

/// Returns the name and the text of each sample.
pub(super) fn samples(description: &Description, row: &Row) -> [(&'static str, String); 3] {
    let call = Call::of(description, row);
    [
        ("curl", call.curl()),
        ("JavaScript", call.javascript()),
        ("Python", call.python()),
    ]
}

impl Call {
    fn of(description: &Description, row: &Row) -> Self {
        let described = &row.described;
        let parameters = described["parameters"].as_array().into_iter().flatten();
        let parameters = parameters.map(|parameter| description.follow(parameter));
        let parameters: Vec<&Value> = parameters.collect();
        let media = &described["requestBody"]["content"]["application/json"];
        let body = media.get("example").map(with_placeholders);
        let mut headers: Vec<_> = bearer(described).into_iter().collect();
        headers.extend(required(&parameters, "header").map(|(name, parameter)| {
            let field = match name {
                "Idempotency-Key" => Field::Fresh,
                "If-Match" => Field::Text("*".to_owned()),
                name => Field::Text(value(description, parameter, name)),
            };
            (name.to_owned(), field)
        }));
        if body.is_some() {
            let json = Field::Text("application/json".to_owned());
            headers.push(("Content-Type".to_owned(), json));
        }
        Self {
            id: row.id().to_owned(),
            method: row.method.to_uppercase(),
            url: url(description, &row.path, &parameters),
            headers,
            body,
            answer: answer(described),
        }
    }

    fn curl(&self) -> String {
        let quiet = if self.answer == Answer::Events {
            "-sN"
        } else {
            "-s"
        };
        let default = if self.body.is_some() { "POST" } else { "GET" };
        let mut parts = vec![format!("curl {quiet} {}", quoted(&self.url))];
        if self.method != default {
            parts[0] = format!("curl {quiet} -X {} {}", self.method, quoted(&self.url));
        }
        parts.extend(self.headers.iter().map(|(name, field)| match field {
            Field::Text(text) => format!("-H {}", quoted(&format!("{name}: {text}"))),
            // Constant, so that a retry has the same key.
            Field::Fresh => {
                let key = placeholder("key", &format!("{}-1", self.id));
                format!("-H {}", quoted(&format!("{name}: {key}")))
            }
            Field::Bearer(variable) => format!("-H \"{name}: Bearer ${variable}\""),
        }));
        if let Some(body) = &self.body {
            parts.push(format!("-d {}", quoted(&JSON.write(body, 0, "  -d ''"))));
        }
        parts.join(" \\\n  ")
    }

    fn javascript(&self) -> String {
        let mut options = vec![];
        if self.method != "GET" {
            options.push(format!("method: \"{}\"", self.method));
        }
        let header = |(name, field): &(String, Field)| {
            let value = match field {
                Field::Text(text) => Value::from(text.as_str()).to_string(),
                Field::Fresh => "randomUUID()".to_owned(),
                Field::Bearer(variable) => format!("`Bearer ${{process.env.{variable}}}`"),
            };
            format!("    \"{name}\": {value},\n")
        };
        if !self.headers.is_empty() {
            let headers: String = self.headers.iter().map(header).collect();
            options.push(format!("headers: {{\n{headers}  }}"));
        }
        if let Some(body) = &self.body {
            let body = JAVASCRIPT.write(body, 2, "body: JSON.stringify(),");
            options.push(format!("body: JSON.stringify({body})"));
        }
        let options: String = options
            .iter()
            .map(|option| format!("  {option},\n"))
            .collect();
        let options = if options.is_empty() {
            options
        } else {
            format!(", {{\n{options}}}")
        };
        let print = match self.answer {
            Answer::Json => "console.log(response.status, await response.json());",
            Answer::Text => "console.log(response.status, await response.text());",
            Answer::Events => {
                "for await (const text of response.body.pipeThrough(new TextDecoderStream())) {\n  \
                 console.log(text);\n}"
            }
        };
        let is_fresh = |(_, field): &(String, Field)| matches!(field, Field::Fresh);
        let import = match self.headers.iter().any(is_fresh) {
            true => {
                "import { randomUUID } from \"node:crypto\";

"
            }
            false => "",
        };
        let url = &self.url;
        format!(
            "{import}const response = await fetch(\"{url}\"{options});
{print}
"
        )
    }

    fn python(&self) -> String {
        let has = |is: fn(&Field) -> bool| self.headers.iter().any(|(_, field)| is(field));
        let modules = [
            ("json", self.answer == Answer::Json || self.body.is_some()),
            ("os", has(|field| matches!(field, Field::Bearer(_)))),
            ("uuid", has(|field| matches!(field, Field::Fresh))),
        ];
        let modules = modules.iter().filter(|(_, is_used)| *is_used);
        let mut text: String = modules
            .map(|(name, _)| format!("import {name}\n"))
            .collect();
        text.push_str("from urllib.request import Request, urlopen\n\n");
        text.push_str(&format!("request = Request(\n    \"{}\",\n", self.url));
        if self.method != "GET" {
            text.push_str(&format!("    method=\"{}\",\n", self.method));
        }
        let header = |(name, field): &(String, Field)| {
            let value = match field {
                Field::Text(text) => Value::from(text.as_str()).to_string(),
                Field::Fresh => "str(uuid.uuid4())".to_owned(),
                Field::Bearer(name) => format!("\"Bearer \" + os.environ[\"{name}\"]"),
            };
            format!("        \"{name}\": {value},\n")
        };
        if !self.headers.is_empty() {
            let headers: String = self.headers.iter().map(header).collect();
            text.push_str(&format!("    headers={{\n{headers}    }},\n"));
        }
        if let Some(body) = &self.body {
            let body = PYTHON.write(body, 4, "data=json.dumps().encode(),");
            text.push_str(&format!("    data=json.dumps({body}).encode(),\n"));
        }
        text.push_str(")\nwith urlopen(request) as response:\n");
        text.push_str(match self.answer {
            Answer::Json => "    print(response.status, json.load(response))\n",
            Answer::Text => "    print(response.status, response.read().decode())\n",
            Answer::Events => {
                "    for line in response:\n        print(line.decode(), end=\"\", flush=True)\n"
            }
        });
        text
    }
}

/// Returns the header with the credential, if the operation always requires one.
fn bearer(described: &Value) -> Option<(String, Field)> {
    let choices = described["security"].as_array()?;
    let names = choices.iter().filter_map(Value::as_object);
    if names.clone().any(Map::is_empty) {
        return None;
    }
    let names: Vec<&String> = names.flat_map(Map::keys).collect();
    let known = VARIABLES.iter();
    let mut known = known.filter(|(scheme, _)| names.iter().any(|name| name == scheme));
    let (_, variable) = known.next()?;
    Some(("Authorization".to_owned(), Field::Bearer(variable)))
}

/// The parameters that must be sent in `location`.
fn required<'a>(
    parameters: &'a [&Value],
    location: &'a str,
) -> impl Iterator<Item = (&'a str, &'a Value)> {
    let wanted = parameters.iter();
    let wanted = wanted.filter(move |one| one["in"] == location && one["required"] == true);
    wanted.filter_map(|one| Some((one["name"].as_str()?, *one)))
}

fn url(description: &Description, path: &str, parameters: &[&Value]) -> String {
    let mut url = placeholder("origin", &format!("{ORIGIN}{}", base_path()));
    let mut collection = "";
    for part in path.split('/').skip(1) {
        let name = part
            .strip_prefix('{')
            .and_then(|part| part.strip_suffix('}'));
        let filled = match name {
            None => part.to_owned(),
            Some("id") => of_collection(collection),
            Some(name) => {
                let parameter = required(parameters, "path").find(|(known, _)| *known == name);
                parameter.map_or_else(
                    || placeholder(name, &name.to_uppercase()),
                    |(name, parameter)| value(description, parameter, name),
                )
            }
        };
        url.push_str(&format!("/{filled}"));
        collection = part;
    }
    let query = required(parameters, "query");
    let query =
        query.map(|(name, parameter)| format!("{name}={}", value(description, parameter, name)));
    let query: Vec<String> = query.collect();
    if !query.is_empty() {
        url.push_str(&format!("?{}", query.join("&")));
    }
    url
}

/// Returns the placeholder of an id in a path: `DROP_ID` after `drops`.
fn of_collection(collection: &str) -> String {
    let known = IDS.iter().find(|(name, _)| *name == collection);
    let text = known.map_or_else(
        || {
            let one = match collection.strip_suffix("ies") {
                Some(stem) => format!("{stem}y"),
                None => collection.trim_end_matches('s').to_owned(),
            };
            format!("{}_ID", one.replace('-', "_").to_uppercase())
        },
        |(_, text)| (*text).to_owned(),
    );
    placeholder(&text.to_lowercase(), &text)
}

/// Returns a value of a parameter: its example, its first name, or a placeholder.
fn value(description: &Description, parameter: &Value, name: &str) -> String {
    let schema = description.follow(&parameter["schema"]);
    let examples = [
        &parameter["example"],
        &schema["examples"][0],
        &schema["enum"][0],
    ];
    let example = examples.iter().find_map(|example| example.as_str());
    // Every example of a body has this buyer.
    let example = example.or((name == "buyer_id").then_some("buyer-1"));
    match example {
        Some(example) => example.to_owned(),
        None => placeholder(name, &name.to_uppercase()),
    }
}

/// Replaces the ids of other resources: each is a member of the name `…_id` with a UUID.
fn with_placeholders(example: &Value) -> Value {
    match example {
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| {
                let id = value.as_str().filter(|text| Uuid::try_parse(text).is_ok());
                let value = match id.filter(|_| name.ends_with("_id")) {
                    Some(_) => placeholder(name, &name.to_uppercase()).into(),
                    None => with_placeholders(value),
                };
                (name.clone(), value)
            };
            Value::Object(members.iter().map(member).collect())
        }
        Value::Array(items) => items.iter().map(with_placeholders).collect(),
        // The name of a secret, such as ADMIN_KEY.
        Value::String(text) if is_name(text) => placeholder(&text.to_lowercase(), text).into(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => example.clone(),
    }
}

fn is_name(text: &str) -> bool {
    text.contains('_') && text.chars().all(|c| c.is_ascii_uppercase() || c == '_')
}

fn answer(described: &Value) -> Answer {
    let responses = described["responses"].as_object().into_iter().flatten();
    let mut accepted = responses.filter(|(status, _)| status.starts_with('2'));
    let content = accepted
        .next()
        .map_or(&Value::Null, |(_, response)| &response["content"]);
    match content {
        content if content.get("application/json").is_some() => Answer::Json,
        content if content.get("text/event-stream").is_some() => Answer::Events,
        _ => Answer::Text,
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
