//! The file with settings: `holdfast.toml` in the data directory, or the one that `--config` names.
//!
//! Promise: the file has the settings of every command under the names of their variables, without
//! `HOLDFAST_` and in lower case. A flag and a variable precede it. An unknown key, a value of the
//! wrong type and a value that cannot be used are refused with the line, whichever command reads
//! the file. Limit: the file does not satisfy a rule that asks for one of several flags.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgMatches, Command};
use nix::unistd::Uid;
use terminal::text::without_credentials;
use toml::de::DeTable;
use toml::{Table, Value};

use super::{Kind, Setting, is_switch, key_of, settings, variable_of};
use crate::environment::{LOCKS, nearest, variable_is_off};

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
    /// Reads the file that `matches`, of any command, name, or else that in the data directory.
    ///
    /// # Errors
    /// [`FileError`], also if a file that was named does not exist.
    pub(crate) fn find(matches: &ArgMatches, command: &Command) -> Result<Self, FileError> {
        let given = |id| leaf(matches).try_get_one::<PathBuf>(id).ok().flatten();
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

    /// Returns the command with the values of the file as its defaults.
    pub(crate) fn defaults(&self, command: Command) -> Command {
        command
            .mut_args(|arg| self.with_default(arg))
            .mut_subcommands(|below| self.defaults(below))
    }

    fn with_default(&self, arg: Arg) -> Arg {
        let Some(variable) = variable_of(&arg) else {
            return arg;
        };
        let Some(entry) = self.entries.get(&key_of(variable)) else {
            return arg;
        };
        // A switch that a variable turns off counts as not set, but it precedes the file.
        if is_switch(&arg) && (entry.text == "false" || variable_is_off(variable)) {
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

/// The matches of the command that was given, below all others.
pub(crate) fn leaf(matches: &ArgMatches) -> &ArgMatches {
    match matches.subcommand() {
        Some((_, below)) => leaf(below),
        None => matches,
    }
}

/// A fault and its line.
type Fault = (usize, String);

fn entries(
    text: &str,
    settings: &[Setting],
    is_named: bool,
) -> Result<BTreeMap<String, Entry>, Fault> {
    let syntax = |error: toml::de::Error| {
        let at = error.span().map_or(0, |span| span.start);
        (line_of(text, at), error.message().to_owned())
    };
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
        let setting = known.ok_or_else(|| fault(unknown(name, settings)))?;
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

fn unknown(name: &str, settings: &[Setting]) -> String {
    let known = settings.iter().map(|setting| setting.key.as_str());
    let hint = match nearest(name, known) {
        Some(known) => format!(" (did you mean {known}?)"),
        None => String::new(),
    };
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
fn check(text: &str, setting: &Setting) -> Result<(), String> {
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
            ("queue = 1\nqueue = 2", 2, "duplicate key"),
            (
                "queue = 1\n[server]\nqueue = 2",
                2,
                "no setting is named server",
            ),
            ("queue = ", 1, ""),
        ] {
            let (at, fault) = read(text).unwrap_err();
            assert_eq!(at, line, "{text}: {fault}");
            assert!(fault.contains(words), "{text}: {fault}");
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
