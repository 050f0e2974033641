//! The file with settings: `holdfast.toml` in the data directory, or the one that `--config` names.
//!
//! Promise: the file has the settings of every command under the names of their variables, without
//! `HOLDFAST_` and in lower case. A flag and a variable precede it. An unknown key, a value of the
//! wrong type and a value that cannot be used are refused with the line, whichever command reads
//! the file. A value of the file satisfies a rule that asks for a flag.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgGroup, ArgMatches, Command, Id};
use nix::unistd::Uid;
use terminal::text::{visible, without_credentials};
use toml::de::DeTable;
use toml::{Table, Value};

use super::{Kind, Setting, is_switch, key_of, settings, variable_of};
use crate::environment::{LOCKS, nearest, variable_is_off};
use crate::precedence::rivals;

/// The name of the file in the data directory.
const FILE_NAME: &str = "holdfast.toml";

/// The settings in a file. Without a file there are none.
#[derive(Debug, Clone, Default)]
pub(crate) struct SettingsFile {
    pub(crate) path: Option<PathBuf>,
    entries: BTreeMap<String, Entry>,
}

/// The value of a setting in a file.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// As it would be written on the command line.
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("cannot read the settings in {path}: {source}")]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    /// It was found, not named, and another user could have written it: it names the programs and
    /// the addresses that keys are sent to.
    #[error(
        "{path} belongs to another user, or every user may change it: correct that, or name the \
         file with --config"
    )]
    Foreign { path: PathBuf },
    #[error("{path}:{line}: {fault}")]
    Faulty {
        path: PathBuf,
        line: usize,
        fault: String,
    },
}

impl SettingsFile {
    /// Reads the file that `matches`, of the given command, name, or else that in the data
    /// directory.
    ///
    /// # Errors
    /// [`FileError`], also if a file that was named does not exist.
    pub(crate) fn find(matches: &ArgMatches, command: &Command) -> Result<Self, FileError> {
        let given = |id| matches.try_get_one::<PathBuf>(id).ok().flatten();
        if let Some(path) = given("config") {
            return Self::read(path, command, true);
        }
        let variable = std::env::var_os("HOLDFAST_DATA_DIR").filter(|value| !value.is_empty());
        let data_dir = given("data_dir").cloned().or(variable.map(PathBuf::from));
        let path = data_dir
            .unwrap_or_else(|| PathBuf::from(".holdfast"))
            .join(FILE_NAME);
        Self::read(&path, command, false)
    }

    fn read(path: &Path, command: &Command, is_named: bool) -> Result<Self, FileError> {
        let text = match read_owned(path) {
            Ok((text, is_ours)) if is_ours || is_named => text,
            Ok(_) => {
                let path = path.to_owned();
                return Err(FileError::Foreign { path });
            }
            Err(error) if is_absent(error.kind()) && !is_named => return Ok(Self::default()),
            Err(source) => {
                let path = path.to_owned();
                return Err(FileError::Unreadable { path, source });
            }
        };
        let entries = entries(&text, &settings(command), is_named);
        let entries = entries.map_err(|(line, fault)| FileError::Faulty {
            path: path.to_owned(),
            line,
            fault,
        })?;
        Ok(Self {
            path: Some(path.to_owned()),
            entries,
        })
    }

    pub(crate) fn entry(&self, setting: &Setting) -> Option<&Entry> {
        self.entries.get(&setting.key)
    }

    /// Ignores the values of these variables, which others of more precedence rule out.
    pub(crate) fn without(mut self, variables: &BTreeSet<String>) -> Self {
        for variable in variables {
            self.entries.remove(&key_of(variable));
        }
        self
    }

    /// Checks that no two values for `command` exclude each other. Those that are ruled out by
    /// others of more precedence have been removed.
    ///
    /// # Errors
    /// [`FileError::Faulty`] with the line of the second one.
    pub(crate) fn check_rivals(&self, command: &Command) -> Result<(), FileError> {
        let (Some(path), arguments) = (&self.path, command.get_arguments()) else {
            return Ok(());
        };
        let given = |arg: &Arg| self.given(arg).map(|(key, entry)| (entry.line, key));
        for arg in arguments {
            let rivals = rivals(command, arg).into_iter().filter_map(given);
            let (Some((line, key)), Some((other_line, other))) = (given(arg), rivals.min()) else {
                continue;
            };
            if other_line < line {
                let fault = format!("{key} cannot be used with {other} (line {other_line})");
                let path = path.clone();
                return Err(FileError::Faulty { path, line, fault });
            }
        }
        Ok(())
    }

    /// Returns true if the file has a value for each argument that `error` calls missing.
    pub(crate) fn has_missing(&self, command: &Command, error: &clap::Error) -> bool {
        let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg) else {
            return false;
        };
        // Only then are arguments written as in messages.
        let mut command = command.clone();
        command.build();
        let is_here = |name: &String| {
            let arg = command.get_arguments().find(|arg| arg.to_string() == *name);
            arg.is_some_and(|arg| self.given(arg).is_some())
        };
        missing.iter().all(is_here)
    }

    /// Returns the key and the value of an argument. A switch that is off counts as not set.
    fn given(&self, arg: &Arg) -> Option<(String, &Entry)> {
        let key = key_of(variable_of(arg)?);
        let entry = self.entries.get(&key)?;
        let is_off = is_switch(arg) && entry.text == "false";
        (!is_off).then_some((key, entry))
    }

    /// Returns the command with the values of the file as its defaults.
    pub(crate) fn defaults(&self, command: Command) -> Command {
        let is_satisfied = |group: &&ArgGroup| {
            let of_group = |arg: &&Arg| group.get_args().any(|id| id == arg.get_id());
            let mut arguments = command.get_arguments().filter(of_group);
            group.is_required_set() && arguments.any(|arg| self.given(arg).is_some())
        };
        let satisfied: Vec<Id> = command
            .get_groups()
            .filter(is_satisfied)
            .map(|group| group.get_id().clone())
            .collect();
        satisfied
            .into_iter()
            .fold(command, |command, id| {
                command.mut_group(id, |group| group.required(false))
            })
            .mut_args(|arg| self.with_default(arg))
            .mut_subcommands(|below| self.defaults(below))
    }

    fn with_default(&self, arg: Arg) -> Arg {
        let (Some(variable), Some((_, entry))) = (variable_of(&arg), self.given(&arg)) else {
            return arg;
        };
        // A switch that a variable turns off counts as not set, but it precedes the file.
        if is_switch(&arg) && variable_is_off(variable) {
            return arg;
        }
        let is_secret = arg.is_hide_env_values_set();
        arg.default_value(&entry.text)
            .hide_default_value(is_secret)
            .required(false)
    }
}

/// Returns the text, and whether only this user and root could have written it.
fn read_owned(path: &Path) -> std::io::Result<(String, bool)> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    let is_of = [Uid::effective().as_raw(), 0].contains(&metadata.uid());
    let is_ours = is_of && metadata.mode() & 0o002 == 0;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok((text, is_ours))
}

/// The data directory may not exist yet, or cannot be one, which the command itself reports.
fn is_absent(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// A fault and its line.
type Fault = (usize, String);

/// Describes a fault of the syntax in one line, with its column.
fn syntax(text: &str, error: &toml::de::Error) -> Fault {
    let at = error.span().map_or(0, |span| span.start).min(text.len());
    let line_start = text.as_bytes()[..at]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    let column = 1 + String::from_utf8_lossy(&text.as_bytes()[line_start..at])
        .chars()
        .count();
    let words = error.message().lines().map(str::trim).collect::<Vec<_>>();
    let words = match words.join(", ") {
        words if words == "duplicate key" => {
            let rest = text[line_start..].lines().next().unwrap_or_default();
            let key = rest.split('=').next().unwrap_or_default();
            let key = key.trim_matches(|c: char| c.is_whitespace() || "[]".contains(c));
            format!("{} is set twice", visible(key))
        }
        words => format!("column {column}: not valid TOML: {}", visible(&words)),
    };
    (line_of(text, at), words)
}

fn entries(
    text: &str,
    settings: &[Setting],
    is_named: bool,
) -> Result<BTreeMap<String, Entry>, Fault> {
    let syntax = |error: toml::de::Error| syntax(text, &error);
    let lines = DeTable::parse(text).map_err(syntax)?;
    let mut values: Table = text.parse().map_err(syntax)?;
    let mut keys: Vec<_> = lines.get_ref().keys().collect();
    keys.sort_by_key(|key| key.span().start);
    let mut found = BTreeMap::new();
    for key in keys {
        let line = line_of(text, key.span().start);
        let name: &str = key.get_ref();
        let fault = |words: String| (line, words);
        let known = settings.iter().find(|setting| setting.key == name);
        let is_table = matches!(values.get(name), Some(Value::Table(_)));
        let setting = known.ok_or_else(|| fault(unknown(name, is_table, settings)))?;
        if name == "data_dir" && !is_named {
            let words = "data_dir: this file was found in the data directory; choose another one \
                         with --data-dir, or name a file with --config";
            return Err(fault(words.to_owned()));
        }
        let value = values.remove(name).unwrap_or(Value::Boolean(false));
        let text = text_of(&value, setting).map_err(fault)?;
        let is_lock = LOCKS.contains(&setting.variable.as_str());
        if text.is_empty() && !is_lock {
            continue;
        }
        check(&text, setting).map_err(fault)?;
        found.insert(name.to_owned(), Entry { text, line });
    }
    Ok(found)
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes()[..at.min(text.len())]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
}

fn unknown(name: &str, is_table: bool, settings: &[Setting]) -> String {
    let known = settings.iter().map(|setting| setting.key.as_str());
    // The names of variables, and those of flags.
    let written = key_of(&name.to_ascii_uppercase().replace('-', "_"));
    let hint = match nearest(&written, known) {
        Some(known) => format!(" (did you mean {known}?)"),
        None if is_table => "; the file has keys and values, and no tables".to_owned(),
        None => String::new(),
    };
    let name = visible(name);
    format!("no setting is named {name}{hint}; `holdfast config` lists them")
}

/// Returns the value as it would be written on the command line, if it has the type of the setting.
fn text_of(value: &Value, setting: &Setting) -> Result<String, String> {
    let kind = setting.kind();
    let must = match (value, kind) {
        (Value::Boolean(on), Kind::Switch) => return Ok(on.to_string()),
        (Value::Integer(number), Kind::Number | Kind::NumberOrText) => {
            return Ok(number.to_string());
        }
        (Value::Float(number), Kind::Number) => return Ok(number.to_string()),
        (Value::String(text), Kind::Text | Kind::NumberOrText) => return Ok(text.clone()),
        (_, Kind::Switch) => "true or false, without quotes",
        (_, Kind::Number) => "a number, without quotes",
        (_, Kind::NumberOrText) => "a number, or a word in quotes",
        (_, Kind::Text) => "a text in quotes",
    };
    let is = match value {
        Value::String(_) => "a text",
        Value::Integer(_) | Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a time",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    };
    Err(format!("{} must be {must}; it is {is}", setting.key))
}

/// Checks a value by the rule of its flag.
pub(crate) fn check(text: &str, setting: &Setting) -> Result<(), String> {
    if is_switch(&setting.arg) {
        return Ok(());
    }
    let value = Arg::new("value")
        .long("value")
        .value_parser(setting.arg.get_value_parser().clone());
    let parsed = Command::new("check")
        .no_binary_name(true)
        .arg(value)
        .try_get_matches_from([format!("--value={text}")]);
    let Err(error) = parsed else {
        return Ok(());
    };
    let shown = match setting.is_secret() {
        true => String::new(),
        false => format!(" {:?}", without_credentials(text)),
    };
    let reason = match (
        error.get(ContextKind::ValidValue),
        std::error::Error::source(&error),
    ) {
        (Some(ContextValue::Strings(valid)), _) if !valid.is_empty() => {
            format!("must be one of {}", valid.join(", "))
        }
        (_, Some(source)) => source.to_string().replace(text, &without_credentials(text)),
        (_, None) => "cannot be used".to_owned(),
    };
    Err(format!("{}{shown}: {reason}", setting.key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;

    fn read(text: &str) -> Result<BTreeMap<String, Entry>, Fault> {
        entries(text, &settings(&Cli::definition()), true)
    }

    #[test]
    fn values_are_typed_and_faults_have_their_line() {
        let found = read(
            "# the shop\nmax_waitlist = 1_000\naddress_holds = \"off\"\naddress_expired = \
             \"9/60\"\nshoppers_per_second = 2.5\ndemo_sign_in = true\nload_buyers = 7\n\
             database_url = \"\"\nbuyer_secret = \"\"\naddress_waitlist = 5\n",
        );
        let found = found.unwrap();
        let value = |key: &str| {
            found
                .get(key)
                .map(|entry| (entry.text.as_str(), entry.line))
        };
        assert_eq!(value("max_waitlist"), Some(("1000", 2)));
        assert_eq!(value("address_holds"), Some(("off", 3)));
        assert_eq!(value("shoppers_per_second"), Some(("2.5", 5)));
        assert_eq!(value("demo_sign_in"), Some(("true", 6)));
        assert_eq!(value("load_buyers"), Some(("7", 7)));
        assert_eq!(value("database_url"), None, "empty: not set");
        assert_eq!(value("buyer_secret"), Some(("", 9)), "empty: a mistake");
        assert_eq!(value("address_waitlist"), Some(("5", 10)));
        for (text, line, words) in [
            (
                "\nqueue = \"9\"",
                2,
                "queue must be a number, without quotes; it is a text",
            ),
            (
                "queue = 0",
                1,
                "queue \"0\": must be a whole number from 1 to 1000000",
            ),
            (
                "listen = 8080",
                1,
                "listen must be a text in quotes; it is a number",
            ),
            (
                "demo_sign_in = 1",
                1,
                "must be true or false, without quotes; it is a number",
            ),
            ("postgres = \"mine\"", 1, "postgres \"mine\""),
            (
                "late_payments = \"maybe\"",
                1,
                "must be one of honour, refund",
            ),
            ("max_waitlst = 1", 1, "(did you mean max_waitlist?)"),
            ("yes = true", 1, "no setting is named yes;"),
            ("config = \"x\"", 1, "no setting is named config"),
            ("queue = 1\nqueue = 2", 2, "queue is set twice"),
            ("queue = 1\n[queue]\na = 2", 2, "queue is set twice"),
            ("[queue]\na = 2", 1, "without quotes; it is a table"),
            (
                "queue = 1\n[server]\nqueue = 2",
                2,
                "no setting is named server; the file has keys and values, and no tables;",
            ),
            ("HOLDFAST_QUEUE = 1", 1, "(did you mean queue?)"),
            ("max-waitlist = 1", 1, "(did you mean max_waitlist?)"),
            ("queue = [1]", 1, "it is a list"),
            ("queue = 2026-01-31", 1, "it is a time"),
            ("queue = -1", 1, "must be a whole number from 1 to 1000000"),
            (
                "shoppers_per_second = nan",
                1,
                "must be a number from 0 to 1000",
            ),
            (
                "shoppers_per_second = -inf",
                1,
                "must be a number from 0 to 1000",
            ),
            (
                "shoppers_per_second = 1e300",
                1,
                "must be a number from 0 to 1000",
            ),
            ("queue = ", 1, "column 9: not valid TOML: "),
            ("\nqueue 9", 2, "column "),
            ("# ö\nlisten = \"127", 2, "column "),
            ("\u{0}", 1, ": not valid TOML: "),
        ] {
            let (at, fault) = read(text).unwrap_err();
            assert_eq!(at, line, "{text}: {fault}");
            assert!(fault.contains(words), "{text:?}: {fault}");
            assert!(!fault.contains(char::is_control), "{text}: {fault}");
        }
        let (_, fault) = read("admin_keys = 5").unwrap_err();
        assert!(!fault.contains('5'), "{fault}");
    }

    #[test]
    fn file_in_the_data_directory_does_not_choose_the_data_directory() {
        let settings = settings(&Cli::definition());
        let (_, fault) = entries("data_dir = \"/srv\"", &settings, false).unwrap_err();
        assert!(fault.contains("--config"), "{fault}");
        assert!(entries("data_dir = \"/srv\"", &settings, true).is_ok());
    }
}
