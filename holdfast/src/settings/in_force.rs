//! `holdfast config`: the settings in force, and where each is from.
//!
//! Promise: the output is a file of settings in which nothing is unknown; secrets are comments, and
//! masked, as is the password of a URL.
//! Limit: settings of other commands than the server's are those of the environment and the file,
//! because their flags are not given to this command.

use clap::ArgMatches;
use clap::parser::ValueSource;

use terminal::text::without_credentials;

use super::{Kind, Setting};
use crate::environment::{LOCKS, variable_is_off};
use crate::parsing::Parsed;

/// Shown instead of a secret.
const MASK: &str = "********";

/// Returns the settings in force as TOML, one a line, each with its source in a comment. `matches`
/// are those of the command that prints them.
pub(crate) fn describe(settings: &[Setting], matches: &ArgMatches, parsed: &Parsed) -> String {
    let file = &parsed.file;
    let mut text = match &file.path {
        Some(path) => format!("# Settings in force, with the file {}.", path.display()),
        None => "# Settings in force, without a file.".to_owned(),
    };
    text += "\n# A flag precedes the environment, which precedes the file, then the default.\n";
    let mut command = None;
    for setting in settings {
        if command != Some(&setting.command) {
            command = Some(&setting.command);
            let of = match setting.command.as_str() {
                "" => "serve".to_owned(),
                other => other.to_owned(),
            };
            text += &format!("\n# {of}\n");
        }
        let (value, source) = in_force(setting, matches, parsed);
        let key = &setting.key;
        text += &match value {
            // As a value it would be a known password.
            Some(_) if setting.is_secret() => format!("# {key} = {MASK} # {source}\n"),
            Some(value) => format!("{key} = {} # {source}\n", shown(setting, &value)),
            None => format!("# {key}: not set\n"),
        };
    }
    text
}

/// Returns the value as text, if there is one, and its source.
fn in_force(setting: &Setting, matches: &ArgMatches, parsed: &Parsed) -> (Option<String>, String) {
    let file = &parsed.file;
    let id = setting.arg.get_id().as_str();
    let given = matches.try_contains_id(id).is_ok();
    let source = given.then(|| matches.value_source(id)).flatten();
    let is_flag = source == Some(ValueSource::CommandLine);
    if is_flag {
        let raw = matches.get_raw(id).into_iter().flatten();
        let values: Vec<_> = raw.map(|value| value.to_string_lossy()).collect();
        let value = match setting.kind() {
            Kind::Switch => "true".to_owned(),
            Kind::Number | Kind::Text | Kind::NumberOrText => values.join(","),
        };
        let flag = setting.arg.get_long().unwrap_or_default();
        return (Some(value), format!("flag --{flag}"));
    }
    let is_ignored = parsed.ignored.contains(&setting.variable);
    let variable = std::env::var(&setting.variable).ok();
    let variable = variable.filter(|_| !is_ignored);
    let is_lock = LOCKS.contains(&setting.variable.as_str());
    if let Some(value) = variable.filter(|value| is_lock || !value.is_empty()) {
        let value = match setting.kind() {
            Kind::Switch => (!variable_is_off(&setting.variable)).to_string(),
            Kind::Number | Kind::Text | Kind::NumberOrText => value,
        };
        return (Some(value), format!("environment {}", setting.variable));
    }
    if let (Some(entry), Some(path)) = (file.entry(setting), &file.path) {
        let source = format!("file {}:{}", path.display(), entry.line);
        return (Some(entry.text.clone()), source);
    }
    let default = match setting.kind() {
        Kind::Switch => Some("false".to_owned()),
        Kind::Number | Kind::Text | Kind::NumberOrText => setting.default(),
    };
    (default, "default".to_owned())
}

fn shown(setting: &Setting, value: &str) -> String {
    let is_number = value.parse::<f64>().is_ok_and(f64::is_finite);
    match setting.kind() {
        Kind::Switch => value.to_owned(),
        Kind::Number | Kind::NumberOrText if is_number => value.to_owned(),
        // The escapes of JSON are escapes of TOML as well.
        Kind::Number | Kind::NumberOrText | Kind::Text => {
            serde_json::json!(without_credentials(value)).to_string()
        }
    }
}
