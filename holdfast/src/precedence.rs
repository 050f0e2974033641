//! The precedence of settings that exclude each other.
//!
//! Promise: a flag precedes the environment, which precedes the file, also where two different
//! settings exclude each other, as `--at` and `HOLDFAST_AUDIT_COMPARE` do. Two values of one level
//! are an error. Which settings exclude each other is in clap's definition (`conflicts_with`,
//! and groups of which one member is permitted).

use std::collections::BTreeSet;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

use crate::settings::variable_of;

/// Returns the command that was given, below all others, and its matches.
pub(crate) fn leaf<'a>(
    command: &'a Command,
    matches: &'a ArgMatches,
) -> (&'a Command, &'a ArgMatches) {
    let below = matches.subcommand();
    let below = below.and_then(|(name, below)| Some((command.find_subcommand(name)?, below)));
    match below {
        Some((command, matches)) => leaf(command, matches),
        None => (command, matches),
    }
}

/// Returns the arguments of `command` that cannot be used with `arg`.
pub(crate) fn rivals<'a>(command: &'a Command, arg: &Arg) -> Vec<&'a Arg> {
    let names = |one: &Arg, other: &Arg| {
        let conflicts = command.get_arg_conflicts_with(one);
        conflicts.iter().any(|arg| arg.get_id() == other.get_id())
    };
    let is_rival = |other: &&Arg| {
        other.get_id() != arg.get_id()
            && (names(arg, other) || names(other, arg) || share_a_group(command, arg, other))
    };
    command.get_arguments().filter(is_rival).collect()
}

/// Returns true if a group that permits one member has both.
fn share_a_group(command: &Command, one: &Arg, other: &Arg) -> bool {
    command.get_groups().any(|group| {
        let has = |arg: &Arg| group.get_args().any(|id| id == arg.get_id());
        !group.clone().is_multiple() && has(one) && has(other)
    })
}

/// The second replaces the first, or is used with it, at one level. A first one of a higher level
/// rules it out, because the command would work on another log than the one that was given.
const REPLACED: [(&str, &str); 3] = [
    ("database_url", "direct_url"),
    ("database_url", "file"),
    ("direct_url", "file"),
];

/// Returns the variables of the settings that are ruled out below `level`, because a value of that
/// level or a higher one excludes them.
pub(crate) fn ruled_out(
    command: &Command,
    matches: &ArgMatches,
    level: ValueSource,
) -> BTreeSet<String> {
    let (command, matches) = leaf(command, matches);
    // The sources are ordered by precedence.
    let is_given = |arg: &&Arg| matches.value_source(arg.get_id().as_str()) >= Some(level);
    let ruled_out_by = |arg: &Arg| {
        let is_replacement = |other: &&Arg| {
            let pair = |(one, two): &(&str, &str)| arg.get_id() == *one && other.get_id() == *two;
            REPLACED.iter().any(pair)
        };
        let replacements = command.get_arguments().filter(is_replacement);
        let mut found = rivals(command, arg);
        found.extend(replacements);
        found
    };
    command
        .get_arguments()
        .filter(is_given)
        .flat_map(ruled_out_by)
        .filter_map(|rival| variable_of(rival).map(str::to_owned))
        .collect()
}
