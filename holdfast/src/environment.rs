//! Normalizes environment variables before the command line is parsed.
//!
//! Promise: a variable that is set but empty counts as not set, because a container or a unit file
//! often cannot leave one out. The exceptions are variables whose absence would disable a
//! protection ([`LOCKS`]). A switch is on for 1, yes, true, on, and off for 0, no, false, off.
//! Limit: `--help` does not show a variable that is set but empty.

use std::collections::BTreeSet;
use std::ffi::OsString;

use clap::builder::{BoolishValueParser, OsStr, Resettable, TypedValueParser};
use clap::{Arg, ArgAction, Command};

/// Variables that enable a protection. An empty value is a mistake (most likely a secret that was
/// not found), and the code that reads the setting rejects it.
pub(crate) const LOCKS: [&str; 4] = [
    "HOLDFAST_BUYER_SECRET",
    "HOLDFAST_BUYER_SECRET_PREVIOUS",
    "HOLDFAST_BUYER_JWKS",
    "HOLDFAST_BUYER_AUDIENCE",
];

/// Removes the variables that are `ignored`, and those without a value, from the arguments of
/// `command` and its subcommands. `--help` shows the names of variables and no values, which may be
/// secrets.
pub(crate) fn normalized(command: Command, ignored: &BTreeSet<String>) -> Command {
    command
        .mut_args(|arg| normalized_arg(arg, ignored))
        .mut_subcommands(|below| normalized(below, ignored))
}

/// Removes every variable but that of the format of log lines, for a command that has no settings.
pub(crate) fn without_settings(command: Command) -> Command {
    let reset = |arg: Arg| match arg.get_env() {
        Some(name) if name != LOG_FORMAT => arg.env(Resettable::<OsStr>::Reset),
        Some(_) | None => arg,
    };
    command.mut_args(reset).mut_subcommands(without_settings)
}

const LOG_FORMAT: &str = "HOLDFAST_LOG_FORMAT";

fn normalized_arg(arg: Arg, ignored: &BTreeSet<String>) -> Arg {
    let is_switch = matches!(arg.get_action(), ArgAction::SetTrue);
    let name = arg.get_env().map(OsString::from);
    let is_ignored = name
        .as_ref()
        .and_then(|name| name.to_str())
        .is_some_and(|name| ignored.contains(name));
    let value = name
        .filter(|name| !LOCKS.iter().any(|lock| name == lock))
        .and_then(std::env::var_os);
    let arg = arg.hide_env_values(true);
    let arg = if is_switch {
        arg.value_parser(BoolishValueParser::new())
    } else {
        arg
    };
    if is_ignored || value.is_some_and(|value| is_unset(is_switch, &value)) {
        arg.env(Resettable::<OsStr>::Reset)
    } else {
        arg
    }
}

/// A switch that is off counts as not set, so that it does not conflict with another argument.
fn is_unset(is_switch: bool, value: &OsString) -> bool {
    let is_off = || BoolishValueParser::new().parse_ref(&Command::new(""), None, value);
    value.is_empty() || (is_switch && is_off().is_ok_and(|is_on| !is_on))
}

/// Prefixes of variables that Kubernetes sets for a service with the name `holdfast`, and of those
/// of the tests.
const OF_PLATFORMS: [&str; 3] = ["HOLDFAST_PORT", "HOLDFAST_SERVICE_", "HOLDFAST_TEST_"];

/// Returns a warning if variables are set that look like settings and are none.
///
/// They are not refused: platforms set variables with a service's name of their own accord.
pub(crate) fn unknown_settings(command: &Command) -> Option<String> {
    let set = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    unknown_among(command, set)
}

fn unknown_among(command: &Command, set: impl Iterator<Item = String>) -> Option<String> {
    let known = names(command);
    let is_unknown = |name: &String| {
        name.starts_with("HOLDFAST_")
            && !known.contains(name)
            && !OF_PLATFORMS.iter().any(|prefix| name.starts_with(prefix))
    };
    let unknown: BTreeSet<String> = set.filter(is_unknown).collect();
    let described =
        unknown.iter().map(
            |name| match nearest(name, known.iter().map(String::as_str)) {
                Some(known) => format!("{name} (did you mean {known}?)"),
                None => name.clone(),
            },
        );
    let described: Vec<String> = described.collect();
    (!described.is_empty()).then(|| {
        format!(
            "no setting has this name, so it has no effect: {}",
            described.join(", ")
        )
    })
}

/// The variables of a command and its subcommands.
fn names(command: &Command) -> BTreeSet<String> {
    let own = command.get_arguments().filter_map(Arg::get_env);
    let own = own.filter_map(|name| Some(name.to_str()?.to_owned()));
    own.chain(command.get_subcommands().flat_map(names))
        .collect()
}

/// More changes than this are another name.
const MOST_TYPOS: usize = 3;

/// Returns the known name that is most similar to `name`, if it may have been meant.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let by_distance = known.map(|known| (strsim::levenshtein(name, known), known));
    // A short name is near to every other short name.
    let most = MOST_TYPOS.min(name.len() / 2);
    by_distance
        .min()
        .filter(|(distance, _)| *distance <= most)
        .map(|(_, known)| known)
}

/// Returns true if a variable is set and turns its switch off.
pub(crate) fn variable_is_off(name: &str) -> bool {
    let value = std::env::var_os(name).filter(|value| !value.is_empty());
    value.is_some_and(|value| is_unset(true, &value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;

    #[test]
    fn unknown_settings_are_named_with_the_nearest_known_one() {
        let warning = |set: &[&str]| {
            let set = set.iter().map(|name| (*name).to_owned());
            unknown_among(&Cli::definition(), set)
        };
        for known in [
            "HOLDFAST_QUEUE",
            "HOLDFAST_AUDIT_HOLD",
            "HOLDFAST_PORT_8080_TCP",
            "HOLDFAST_SERVICE_HOST",
            "DATABASE_URI",
            "PATH",
        ] {
            assert_eq!(warning(&[known]), None, "{known}");
        }
        let found = warning(&[
            "HOLDFAST_QUEU",
            "HOLDFAST_WHATEVER_ELSE",
            "HOLDFAST_LISTENS",
        ]);
        assert_eq!(
            found.unwrap(),
            "no setting has this name, so it has no effect: HOLDFAST_LISTENS (did you mean \
             HOLDFAST_LISTEN?), HOLDFAST_QUEU (did you mean HOLDFAST_QUEUE?), \
             HOLDFAST_WHATEVER_ELSE"
        );
    }

    #[test]
    fn empty_variables_and_switches_that_are_off_count_as_unset() {
        for (is_switch, value, unset) in [
            (false, "", true),
            (true, "", true),
            (false, " ", false),
            (false, "0", false),
            (false, "no", false),
            (true, "0", true),
            (true, "No", true),
            (true, "FALSE", true),
            (true, "off", true),
            (true, "1", false),
            (true, "yes", false),
            (true, "maybe", false),
        ] {
            assert_eq!(
                is_unset(is_switch, &value.into()),
                unset,
                "{is_switch} {value:?}"
            );
        }
    }
}
