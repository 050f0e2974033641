//! What the environment says, put in order before the command line is read.
//!
//! Promise: a variable that is set but empty counts as not set, for a container or a unit file often cannot leave one out; but not
//! where that would open what somebody meant to lock ([`LOCKS`]). A switch is on for 1, yes, true, on, and off for 0, no, false, off.
//! Limit: `--help` does not name a variable that is set but empty.

use std::ffi::OsString;

use clap::builder::{BoolishValueParser, OsStr, Resettable, TypedValueParser};
use clap::{Arg, ArgAction, Command};

/// What is locked when this is set and open when it is not. Empty, it is a mistake (a secret that was not found, most likely), and
/// whoever reads the setting refuses it.
const LOCKS: [&str; 2] = ["HOLDFAST_BUYER_SECRET", "HOLDFAST_BUYER_AUDIENCE"];

/// `command` and all below it, without the variables that say nothing.
pub(crate) fn tidied(command: Command) -> Command {
    command.mut_args(tidied_arg).mut_subcommands(tidied)
}

fn tidied_arg(arg: Arg) -> Arg {
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
    if value.is_some_and(|value| says_nothing(is_switch, &value)) {
        arg.env(Resettable::<OsStr>::Reset)
    } else {
        arg
    }
}

/// A switch that is off is as one that was not thrown: it stands in no other's way.
fn says_nothing(is_switch: bool, value: &OsString) -> bool {
    let is_off = || BoolishValueParser::new().parse_ref(&Command::new(""), None, value);
    value.is_empty() || (is_switch && is_off().is_ok_and(|is_on| !is_on))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_empty_says_nothing_and_neither_does_a_switch_that_is_off() {
        for (is_switch, value, nothing) in [
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
                says_nothing(is_switch, &value.into()),
                nothing,
                "{is_switch} {value:?}"
            );
        }
    }
}
