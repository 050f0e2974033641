//! The search index of the reference: small enough to be loaded at the first key.

use serde_json::{Value, json};

use super::{Source, words};
use crate::problem::Code;

/// Returns every entry: its title, its kind, its URL, and further words that find it.
pub(super) fn index(source: &Source) -> Value {
    let operations = source.rows.iter().map(|row| {
        let described = &row.described;
        let parameters = described["parameters"].as_array().into_iter().flatten();
        let parameters = parameters.map(|parameter| {
            source.description.follow(parameter)["name"]
                .as_str()
                .unwrap_or_default()
        });
        let body = &described["requestBody"]["content"]["application/json"]["schema"];
        let members = source.description.follow(body)["properties"].as_object();
        let members = members.into_iter().flatten().map(|(name, _)| name.as_str());
        let path = format!("{} {}", row.method.to_uppercase(), row.path);
        let named = parameters.chain(members).chain([row.id()]);
        let words = named.collect::<Vec<_>>().join(" ");
        json!({ "title": row.text("summary"), "kind": path, "to": row.link(), "words": words })
    });
    let problems = Code::ALL.iter().map(|code| {
        let (name, status) = (code.name(), code.status().as_u16());
        let to = format!("/problems/{name}");
        json!({ "title": name, "kind": format!("Problem {status}"), "to": to, "words": code.title() })
    });
    let about = source.about().into_iter().filter_map(|paragraph| {
        let (title, id) = (paragraph["title"].as_str()?, paragraph["id"].as_str()?);
        Some(json!({ "title": title, "kind": "Basics", "to": format!("/docs#{id}"), "words": "" }))
    });
    let tags = source.contents.as_array().into_iter().flatten().map(|tag| {
        let to = format!("/docs/{}", tag["slug"].as_str().unwrap_or_default());
        json!({ "title": tag["name"], "kind": "Chapter", "to": to, "words": tag["description"] })
    });
    let schemas = source.description.schemas().map(|(name, schema)| {
        let members = schema["properties"].as_object().into_iter().flatten();
        let members: Vec<&str> = members.map(|(name, _)| name.as_str()).collect();
        let words = members.join(" ");
        json!({ "title": name, "kind": "Schema", "to": words::link(name), "words": words })
    });
    about
        .chain(tags)
        .chain(operations)
        .chain(problems)
        .chain(schemas)
        .collect()
}
