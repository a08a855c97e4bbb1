//! The keys of a configuration file as arguments of a command. So there is one definition of a setting, and one parser
//! for its values: that of the flag.

use std::error::Error as _;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction, Command};

use super::document::{Setting, TOPIC, unknown};
use super::problems::Problem;

/// The argument that names the file. The file itself cannot have it.
pub(crate) const CONFIG: &str = "config";

/// Returns the arguments of `command` that are keys, with their names.
pub(crate) fn keys(command: &Command) -> impl Iterator<Item = (&str, &Arg)> {
    let named = command
        .get_arguments()
        .filter_map(|arg| Some((arg.get_long()?, arg)));
    named.filter(|(key, _)| !["help", "version", CONFIG].contains(key))
}

/// Whether the argument may be given more than once.
pub(crate) fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

/// Checks each setting with the parser of its argument.
pub(crate) fn check(command: &Command, settings: &[Setting]) -> Vec<Problem> {
    let checked = settings.iter().map(|setting| check_one(command, setting));
    checked.filter_map(Result::err).collect()
}

fn check_one(command: &Command, setting: &Setting) -> Result<(), Problem> {
    let key = setting.key.as_str();
    let Some((_, arg)) = keys(command).find(|(known, _)| *known == key) else {
        let known = keys(command).map(|(key, _)| key);
        return Err(setting.problem(unknown(key, known.chain([TOPIC]))));
    };
    if setting.is_array && !is_list(arg) {
        return Err(setting.problem("has one value, not an array"));
    }
    if setting.values.is_empty() && !arg.get_default_values().is_empty() {
        return Err(setting.problem("needs a value; leave the key out to get the default"));
    }
    let parser = parser(arg);
    for value in &setting.values {
        let argument = format!("--{key}={value}");
        let parsed = parser.clone().try_get_matches_from([argument]);
        parsed.map_err(|error| setting.problem(reason(&error)))?;
    }
    Ok(())
}

/// Returns a command whose only argument parses the values of `arg`.
fn parser(arg: &Arg) -> Command {
    let mut arg = arg
        .clone()
        .env(None::<&'static str>)
        .default_value(None::<&'static str>)
        .conflicts_with(Resettable::Reset)
        .requires(Resettable::Reset)
        .required(false);
    // A switch has no value on the command line, but it has one here.
    if !is_list(&arg) {
        arg = arg.action(ArgAction::Set).num_args(1);
    }
    Command::new("value").no_binary_name(true).arg(arg)
}

/// Returns why a value is wrong, without the value.
fn reason(error: &clap::Error) -> String {
    if let Some(source) = error.source() {
        return source.to_string();
    }
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(words)) if !words.is_empty() => {
            format!("must be one of {}", words.join(", "))
        }
        _ => "must not be empty".into(),
    }
}
