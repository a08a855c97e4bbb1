//! The environment variables of the commands: which ones count, which one an error comes from, and which ones no flag has.

use std::env::{self, var_os};
use std::ffi::{OsStr, OsString};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, Error};

use crate::cli::config::nearest;

const PREFIX: &str = "STANDPIPE_";

/// Makes every empty variable count as unset.
pub(super) fn without_empty(command: Command) -> Command {
    // An unset one stays, because the help names it.
    let is_empty = |name: &OsStr| var_os(name).is_some_and(|value| value.is_empty());
    without(command, |arg| arg.get_env().is_some_and(is_empty))
}

/// Removes the variables of the flags of `serve` if the command is another one. Otherwise a wrong variable of a server
/// would keep a client from starting.
pub(super) fn of_one_command(command: Command, arguments: &[OsString]) -> Command {
    let first = arguments.get(1).and_then(|first| first.to_str());
    if first.is_some_and(|first| command.find_subcommand(first).is_some()) {
        command.mut_args(|arg| arg.env(None::<&'static str>))
    } else {
        command
    }
}

/// Makes an error name the variable if the wrong value came from there, and not from a flag.
pub(super) fn name_variable(error: Error, command: Command, arguments: &[OsString]) -> Error {
    if error.kind() == ErrorKind::InvalidUtf8 {
        return name_invalid_utf8(error, command, arguments);
    }
    let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg).cloned() else {
        return error;
    };
    // Only a built command knows how it shows its arguments.
    let mut built = command.clone();
    built.build();
    let wrong = variables(&built).find(|(arg, name)| arg.to_string() == shown && is_set(name));
    let Some((arg, name)) = wrong else {
        return error;
    };
    // The variable is to blame if the same arguments are correct without it, or have another error.
    let again = without(command, |other| other.get_id() == arg.get_id());
    let same = Some(ContextValue::String(shown));
    if (again.try_get_matches_from(arguments))
        .is_err_and(|again| again.get(ContextKind::InvalidArg) == same.as_ref())
    {
        return error;
    }
    let mut error = error;
    let name = name.to_string_lossy().into_owned();
    error.insert(ContextKind::InvalidArg, ContextValue::String(name));
    error
}

/// The error of clap for a value that is not UTF-8 names neither a flag nor a variable.
fn name_invalid_utf8(error: Error, mut command: Command, arguments: &[OsString]) -> Error {
    let is_invalid = |name: &OsStr| var_os(name).is_some_and(|value| value.to_str().is_none());
    let name = variables(&command).find_map(|(_, name)| is_invalid(name).then(|| name.to_owned()));
    match name {
        Some(name) if arguments.iter().all(|argument| argument.to_str().is_some()) => {
            let text = format!("the value of {} is not UTF-8", name.to_string_lossy());
            command.error(ErrorKind::InvalidUtf8, text)
        }
        _ => error,
    }
}

/// Returns a warning for each variable of this process that looks like ours and that no flag of any command has. An empty
/// one counts as unset.
pub(super) fn unknown(command: &Command) -> Vec<String> {
    let warning = |name: &String| {
        let known = variables(command).filter_map(|(_, known)| known.to_str());
        let warning = format!("the variable {name} is unknown and ignored");
        match nearest(name, known) {
            Some(nearest) => format!("{warning}; the nearest one is {nearest}"),
            None => warning,
        }
    };
    let names = unknown_in(command, env::vars_os());
    names.iter().map(warning).collect()
}

fn unknown_in(
    command: &Command,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Vec<String> {
    let mut unknown: Vec<String> = environment
        .into_iter()
        .filter(|(name, value)| {
            !value.is_empty() && variables(command).all(|(_, known)| known != name)
        })
        .map(|(name, value)| {
            (
                name.to_string_lossy().into_owned(),
                value.to_string_lossy().into_owned(),
            )
        })
        .filter(|(name, value)| name.starts_with(PREFIX) && !is_service_link(name, value))
        .map(|(name, _)| name)
        .collect();
    unknown.sort();
    unknown
}

/// Whether Kubernetes set the variable. It gives each container such variables for every service, and the name of a
/// service may begin with `standpipe`.
fn is_service_link(name: &str, value: &str) -> bool {
    let is_address = value.starts_with("tcp://") || value.starts_with("udp://");
    let port = name.split_once("_PORT_").map(|(_, port)| port);
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || (name.ends_with("_PORT") && is_address)
        || port.is_some_and(|port| port.starts_with(|first: char| first.is_ascii_digit()))
}

fn is_set(name: &OsStr) -> bool {
    var_os(name).is_some_and(|value| !value.is_empty())
}

/// Returns the arguments of all commands that have a variable.
fn variables(command: &Command) -> impl Iterator<Item = (&Arg, &OsStr)> {
    let of_subcommands = command.get_subcommands().flat_map(Command::get_arguments);
    let arguments = command.get_arguments().chain(of_subcommands);
    arguments.filter_map(|arg| Some((arg, arg.get_env()?)))
}

/// Removes the variables of some arguments.
fn without(command: Command, is_removed: impl Fn(&Arg) -> bool) -> Command {
    let remove = |arg: Arg| {
        if is_removed(&arg) {
            arg.env(None::<&'static str>)
        } else {
            arg
        }
    };
    command
        .mut_args(remove)
        .mut_subcommands(|command| command.mut_args(remove))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn unknown_variables_are_those_of_no_flag() {
        let environment = [
            ("STANDPIPE_QUEUE", "7"),
            ("STANDPIPE_URL", "http://127.0.0.1:9000"),
            ("STANDPIPE_QUEU", "7"),
            ("STANDPIPE_PORT", "9000"),
            ("STANDPIPE_EMPTY", ""),
            ("STANDPIPE", "x"),
            ("PATH", "/bin"),
            ("STANDPIPE_SERVICE_HOST", "10.0.0.1"),
            ("STANDPIPE_SERVICE_PORT_HTTP", "9000"),
            ("STANDPIPE_PORT_9000_TCP_PROTO", "tcp"),
            ("STANDPIPE_HUB_SERVICE_HOST", "10.0.0.1"),
        ]
        .map(|(name, value)| (name.into(), value.into()));
        let command = super::super::Cli::command();
        let unknown = unknown_in(&command, environment);
        assert_eq!(unknown, ["STANDPIPE_PORT", "STANDPIPE_QUEU"]);
        let link = ("STANDPIPE_PORT".into(), "tcp://10.0.0.1:9000".into());
        assert_eq!(unknown_in(&command, [link]), [""; 0]);
    }
}
