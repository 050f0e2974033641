//! The settings of all commands, as clap defines them.
//!
//! Promise: nothing about a setting is written a second time. Its name in a file, its type and its
//! default follow from the definition of its flag.

pub(crate) mod file;
pub(crate) mod in_force;

use std::any::TypeId;

use clap::{Arg, ArgAction, Command};

/// Prefix of the variables of settings, which a file leaves out.
const PREFIX: &str = "HOLDFAST_";
/// The setting that names the file, so it cannot be in the file.
pub(crate) const CONFIG: &str = "HOLDFAST_CONFIG";

/// A setting of one or several commands.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    /// Its name in a file: that of its variable, in lower case and without the prefix.
    pub(crate) key: String,
    pub(crate) variable: String,
    /// The first command that has it; empty for one that has no command, as `serve` may be left
    /// out.
    pub(crate) command: String,
    pub(crate) arg: Arg,
}

/// The type of a setting in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Switch,
    Number,
    Text,
    /// A number, or a word such as `off`.
    NumberOrText,
}

impl Setting {
    pub(crate) fn kind(&self) -> Kind {
        let numbers = [
            TypeId::of::<u16>(),
            TypeId::of::<u32>(),
            TypeId::of::<u64>(),
            TypeId::of::<usize>(),
            TypeId::of::<i64>(),
            TypeId::of::<f64>(),
        ];
        let parsed = self.arg.get_value_parser().type_id();
        let is_number = |text: &str| text.parse::<u64>().is_ok();
        if is_switch(&self.arg) {
            Kind::Switch
        } else if numbers.iter().any(|number| parsed == *number) {
            Kind::Number
        } else if self.default().is_some_and(|text| is_number(&text)) {
            Kind::NumberOrText
        } else {
            Kind::Text
        }
    }

    /// The default as text, if there is one.
    pub(crate) fn default(&self) -> Option<String> {
        let values = self.arg.get_default_values();
        let texts: Vec<_> = values.iter().map(|value| value.to_string_lossy()).collect();
        (!texts.is_empty()).then(|| texts.join(","))
    }

    /// Returns true if its value must not be shown.
    pub(crate) fn is_secret(&self) -> bool {
        self.arg.is_hide_env_values_set()
    }
}

pub(crate) fn is_switch(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue)
}

/// Returns the name in a file of a variable.
fn key_of(variable: &str) -> String {
    let name = variable.strip_prefix(PREFIX).unwrap_or(variable);
    name.to_ascii_lowercase()
}

/// Returns the variable of an argument that is a setting.
pub(crate) fn variable_of(arg: &Arg) -> Option<&str> {
    arg.get_env()?.to_str().filter(|name| *name != CONFIG)
}

/// Returns every setting of a command and its subcommands once, in the order of their definition.
pub(crate) fn settings(command: &Command) -> Vec<Setting> {
    let mut found = vec![];
    collect(command, "", &mut found);
    found
}

fn collect(command: &Command, path: &str, found: &mut Vec<Setting>) {
    for arg in command.get_arguments() {
        let Some(variable) = variable_of(arg) else {
            continue;
        };
        if found.iter().all(|setting| setting.variable != variable) {
            found.push(Setting {
                key: key_of(variable),
                variable: variable.to_owned(),
                command: path.to_owned(),
                arg: arg.clone(),
            });
        }
    }
    for below in command.get_subcommands() {
        let path = format!("{path} {}", below.get_name());
        collect(below, path.trim_start(), found);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::*;
    use crate::cli::Cli;

    /// The variables in the tables of the operator's page, with their defaults as written there.
    fn documented() -> BTreeMap<String, String> {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/OPERATING.md");
        let text = fs::read_to_string(page).unwrap();
        let section = text.split("\n## Settings\n").nth(1).unwrap();
        let section = section.split("\n## ").next().unwrap();
        let mut found = BTreeMap::new();
        for row in section.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<&str> = row.split(" | ").collect();
            let names = cells[0].trim_start_matches("| ").split(", ");
            for name in names {
                let name = name.trim_matches('`').to_owned();
                assert!(found.insert(name, cells[1].to_owned()).is_none(), "{row}");
            }
        }
        found
    }

    /// The value at the start of a cell: `600/60`, 16,384, none.
    fn value_in(cell: &str) -> String {
        match cell.strip_prefix('`') {
            Some(code) => code.split('`').next().unwrap().to_owned(),
            None => cell.replace(',', ""),
        }
    }

    #[test]
    fn tables_of_the_operators_page_are_those_of_the_program() {
        let mut rows = documented();
        let all = settings(&Cli::definition());
        let is_servers = |setting: &&Setting| setting.command.is_empty();
        let mut compared = 0;
        for setting in all.iter().filter(is_servers) {
            let cell = rows.remove(&setting.variable);
            let cell = cell.unwrap_or_else(|| panic!("{} has no row", setting.variable));
            let default = setting.default().filter(|default| !default.is_empty());
            if let Some(default) = default {
                assert_eq!(value_in(&cell), default, "{}", setting.variable);
                compared += 1;
            }
        }
        assert!(compared > 25, "{compared}");
        let others: Vec<&str> = rows.keys().map(String::as_str).collect();
        assert_eq!(others, [CONFIG, "HOLDFAST_DEMO_SIGN_IN", "RUST_LOG"]);
    }

    #[test]
    fn every_secret_is_masked() {
        let all = settings(&Cli::definition());
        let shown: Vec<&str> = all
            .iter()
            .filter(|setting| {
                let words = ["secret", "_key", "_keys", "password", "database_url"];
                words.iter().any(|word| setting.key.contains(word)) && !setting.is_secret()
            })
            .map(|setting| setting.key.as_str())
            .collect();
        let files_and_public_halves = [
            "vapid_public_key",
            "audit_checkpoint_key",
            "audit_signing_key",
        ];
        assert_eq!(shown, files_and_public_halves);
    }
}
