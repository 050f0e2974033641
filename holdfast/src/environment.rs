//! Normalizes environment variables before the command line is parsed.
//!
//! Promise: a variable that is set but empty counts as not set, because a container or a unit file
//! often cannot leave one out. The exceptions are variables whose absence would disable a
//! protection ([`LOCKS`]). A switch is on for 1, yes, true, on, and off for 0, no, false, off.
//! Limit: `--help` does not show a variable that is set but empty.

use std::ffi::OsString;

use clap::builder::{BoolishValueParser, OsStr, Resettable, TypedValueParser};
use clap::{Arg, ArgAction, Command};

/// Variables that enable a protection. An empty value is a mistake (most likely a secret that was
/// not found), and the code that reads the setting rejects it.
const LOCKS: [&str; 2] = ["HOLDFAST_BUYER_SECRET", "HOLDFAST_BUYER_AUDIENCE"];

/// Removes the variables without a value from the arguments of `command` and its subcommands.
pub(crate) fn normalized(command: Command) -> Command {
    command.mut_args(normalized_arg).mut_subcommands(normalized)
}

fn normalized_arg(arg: Arg) -> Arg {
    let is_switch = matches!(arg.get_action(), ArgAction::SetTrue);
    let name = arg
        .get_env()
        .filter(|name| !LOCKS.iter().any(|lock| name == lock));
    let value = name.and_then(std::env::var_os);
    let arg = if is_switch {
        arg.value_parser(BoolishValueParser::new())
    } else {
        arg
    };
    if value.is_some_and(|value| is_unset(is_switch, &value)) {
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

#[cfg(test)]
mod tests {
    use super::*;

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
