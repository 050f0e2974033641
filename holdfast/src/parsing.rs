//! Reads the settings of the process: its arguments, its environment and its file.
//!
//! Promise: on invalid input the process ends with exit code 2 and one line, or clap's usage text;
//! nothing else has happened by then. A command without settings reads arguments only.

use std::borrow::Cow;
use std::collections::BTreeSet;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use terminal::logging::{self, Format};
use terminal::say_failure;
use terminal::text::{visible, without_credentials};

use crate::cli::LogFormat;
use crate::environment::{normalized, without_settings};
use crate::precedence::{leaf, ruled_out};
use crate::settings::file::SettingsFile;

/// The exit code for settings that cannot be used, as clap has it.
pub(crate) const INVALID_SETTINGS: u8 = 2;

/// Commands that need no settings, so a faulty or unreadable file does not prevent them.
const WITHOUT_SETTINGS: [&[&str]; 5] = [
    &["man"],
    &["completions"],
    &["licences"],
    &["theme"],
    &["audit", "schema"],
];

/// The settings of the process.
pub(crate) struct Parsed {
    pub(crate) given: ArgMatches,
    pub(crate) file: SettingsFile,
    /// Variables that flags exclude.
    pub(crate) ignored: BTreeSet<String>,
}

impl Parsed {
    fn of_arguments(given: ArgMatches) -> Self {
        Self {
            given,
            file: SettingsFile::default(),
            ignored: BTreeSet::new(),
        }
    }
}

/// Parses everything. On invalid input, prints an error and exits.
pub(crate) fn parse(definition: &Command) -> Parsed {
    let all = || normalized(definition.clone(), &BTreeSet::new());
    // First without the file, which the arguments name: a faulty one does not prevent `--help`.
    let Some(flags) = as_far_as_possible(without_settings(definition.clone())) else {
        return Parsed::of_arguments(matches(all()));
    };
    refuse_misplaced(definition, &flags);
    let path = path(&flags);
    if WITHOUT_SETTINGS.iter().any(|one| path.starts_with(one)) {
        let given = matches(normalized(
            without_settings(definition.clone()),
            &BTreeSet::new(),
        ));
        return Parsed::of_arguments(given);
    }
    let ignored = ruled_out(definition, &flags, ValueSource::CommandLine);
    let with_variables = normalized(definition.clone(), &ignored);
    let given = as_far_as_possible(with_variables.clone()).unwrap_or(flags);
    choose_format(&given);
    let file = read_file(definition, &given);
    let command = normalized(file.defaults(definition.clone()), &ignored);
    // The file may have the format, too.
    if let Some(with_file) = as_far_as_possible(command.clone()) {
        choose_format(&with_file);
    }
    let given = match command.clone().try_get_matches_from(std::env::args_os()) {
        // clap does not count the values of the file as given.
        Err(error)
            if error.kind() == ErrorKind::MissingRequiredArgument
                && file.has_missing(leaf(definition, &given).0, &error) =>
        {
            matches(without_requirements(command))
        }
        Ok(given) => given,
        Err(error) => refuse(&command, error),
    };
    Parsed {
        given,
        file,
        ignored,
    }
}

/// Returns the file, without the values that flags and variables exclude.
fn read_file(definition: &Command, given: &ArgMatches) -> SettingsFile {
    let (command, matches) = leaf(definition, given);
    let ignored = ruled_out(definition, given, ValueSource::EnvVariable);
    let file = SettingsFile::find(matches, definition).map(|file| file.without(&ignored));
    let file = file.and_then(|file| file.check_rivals(command).map(|()| file));
    file.unwrap_or_else(|error| invalid(&error.to_string()))
}

/// The names of the commands that were given.
fn path(matches: &ArgMatches) -> Vec<&str> {
    match matches.subcommand() {
        Some((name, below)) => [vec![name], path(below)].concat(),
        None => vec![],
    }
}

/// Parses what can be parsed; `None` where help or the version is asked for.
fn as_far_as_possible(command: Command) -> Option<ArgMatches> {
    let command = command.ignore_errors(true);
    command.try_get_matches_from(std::env::args_os()).ok()
}

fn without_requirements(command: Command) -> Command {
    let no_id = || clap::builder::Resettable::<clap::Id>::Reset;
    command
        .mut_args(|arg| arg.requires(no_id()))
        .mut_subcommands(without_requirements)
}

/// Failures from now on have the format that was chosen.
fn choose_format(given: &ArgMatches) {
    if let Ok(Some(LogFormat(format))) = given.try_get_one("log_format") {
        logging::choose(*format);
    }
}

/// The flags before a command would be those of `serve`, and without effect.
fn refuse_misplaced(definition: &Command, flags: &ArgMatches) {
    let Some(command) = flags.subcommand_name() else {
        return;
    };
    let is_misplaced = |arg: &&Arg| {
        let source = flags.value_source(arg.get_id().as_str());
        !arg.is_global_set() && source == Some(ValueSource::CommandLine)
    };
    let misplaced = definition.get_arguments().find(is_misplaced);
    if let Some(flag) = misplaced.and_then(Arg::get_long) {
        invalid(&format!(
            "--{flag} stands before the command {command}: flags of a command follow it"
        ));
    }
}

/// Prints why the settings cannot be used, in one line, and exits.
fn invalid(reason: &str) -> ! {
    say_failure(reason);
    std::process::exit(INVALID_SETTINGS.into())
}

/// Parses the arguments and the environment of the process. On invalid input, prints an error and
/// exits.
fn matches(command: Command) -> ArgMatches {
    let found = command.clone().try_get_matches_from(std::env::args_os());
    found.unwrap_or_else(|error| refuse(&command, error))
}

/// Prints the error, or the help that was asked for, and exits.
fn refuse(command: &Command, error: clap::Error) -> ! {
    if error.kind() == ErrorKind::ValueValidation {
        invalid(&refused_value(&error));
    }
    if error.kind() == ErrorKind::ArgumentConflict {
        invalid(&first_paragraph(&error.render().to_string()));
    }
    let error = error.format(&mut command.clone());
    if error.use_stderr() && logging::format() == Format::Json {
        invalid(&first_paragraph(&error.render().to_string()));
    }
    error.exit()
}

/// Returns in one line which value of a setting is not valid, and why.
fn refused_value(error: &clap::Error) -> String {
    let mut text = error.render().to_string();
    // Error lines are collected, and a URL may have a password.
    if let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue)
        && let Cow::Owned(shown) = without_credentials(value)
    {
        text = text.replace(value, &shown);
    }
    first_paragraph(&text)
}

/// Returns the message of clap in one line, without the usage that follows it.
fn first_paragraph(text: &str) -> String {
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let lines: Vec<&str> = paragraph.lines().map(str::trim).collect();
    visible(lines.join(" ").trim_start_matches("error: ")).into_owned()
}
