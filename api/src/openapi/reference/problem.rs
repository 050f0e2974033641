//! The pages of problems, and their texts for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Source;
use super::operation::pretty;
use crate::openapi::problems::{example, schema};
use crate::problem::Code;

/// The members that every problem has.
const OF_EVERY_PROBLEM: [&str; 5] = ["code", "detail", "status", "title", "type"];

/// One problem, as the template shows it.
pub(super) fn view(source: &Source, code: Code) -> Value {
    let schema = schema(code);
    let members = source.description.members(&schema);
    let own = |member: &&Value| !OF_EVERY_PROBLEM.iter().any(|name| member["name"] == *name);
    let members: Vec<&Value> = members.iter().filter(own).collect();
    let returns = |described: &Value| {
        let content = &described["content"]["application/problem+json"];
        content["examples"].get(code.name()).is_some()
    };
    let rows = source.rows.iter();
    let rows = rows.filter(|row| returns(&row.described["responses"][code.status().as_str()]));
    let anywhere = source.description.0["components"]["responses"].as_object();
    let anywhere = anywhere
        .into_iter()
        .flatten()
        .any(|(_, described)| returns(described));
    json!({
        "name": code.name(), "status": code.status().as_u16(),
        "reason": code.status().canonical_reason(), "title": code.title(),
        "meaning": code.meaning(), "remedy": code.remedy(), "members": members,
        "anywhere": anywhere, "operations": rows.map(super::Row::entry).collect::<Value>(),
        "example": pretty(&example(code)),
    })
}

/// Every problem, by its status.
pub(super) fn by_status() -> Value {
    let mut statuses = BTreeMap::<u16, Vec<Value>>::new();
    for code in Code::ALL {
        let entry =
            json!({ "name": code.name(), "title": code.title(), "meaning": code.meaning() });
        statuses
            .entry(code.status().as_u16())
            .or_default()
            .push(entry);
    }
    let reason = |status| {
        Code::ALL
            .iter()
            .find(|code| code.status().as_u16() == status)
    };
    let status = |(status, codes)| {
        json!({
            "status": status, "codes": codes,
            "reason": reason(status).and_then(|code| code.status().canonical_reason()),
        })
    };
    statuses.into_iter().map(status).collect()
}

/// The explanation for programs and terminals.
pub(super) fn text(code: Code) -> String {
    let (name, status, title) = (code.name(), code.status(), code.title());
    let mut text = format!("{name} ({status})\n\n{title}.\n");
    if let Some(meaning) = code.meaning() {
        let _infallible = writeln!(text, "\n{meaning}");
    }
    let _infallible = writeln!(text, "\n{}.", code.remedy());
    text
}

/// The list of all problems for programs and terminals.
pub(super) fn list() -> String {
    let line = |code: &Code| format!("{} ({}): {}.\n", code.name(), code.status(), code.title());
    Code::ALL.iter().map(line).collect()
}
