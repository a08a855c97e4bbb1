//! The command line: flags and environment variables. A wrong value ends the process with code 2 and an error that shows
//! the correct form.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

pub(crate) use clients::{BenchArgs, ClientArgs, Kind, PublishArgs, TopArgs};
pub(crate) use serve::ServeArgs;

use crate::cli::url::without_secrets;

mod clients;
mod environment;
mod jwt;
#[cfg(feature = "redis")]
mod redis;
mod serve;
#[cfg(test)]
mod tests;

/// A publish/subscribe hub for WebSocket clients, made of plain blocking threads
#[derive(Debug, Parser)]
#[command(name = "standpipe", version, args_conflicts_with_subcommands = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

/// What to run.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Listens and serves until Ctrl-C or SIGTERM (the default)
    #[command(after_help = AFTER_HELP)]
    Serve(Box<ServeArgs>),
    /// Connects to a WebSocket server, sends what you type and prints what arrives; can also read slowly
    Client(ClientArgs),
    /// Publishes over HTTP: one message, or each line of standard input
    Pub(PublishArgs),
    /// Shows every client of a server in the terminal, live
    Top(TopArgs),
    /// Generates load for any WebSocket server and measures its speed
    Bench(BenchArgs),
}

const AFTER_HELP: &str = "\
Without a command, standpipe serves: `standpipe --listen X` is `standpipe serve --listen X`.

Each flag can also be set in the environment, as STANDPIPE_ and its name in upper snake case: STANDPIPE_MAX_MESSAGE=1MiB. \
The values of a flag that may be given more than once are separated by commas there, or by semicolons where a value may \
contain a comma. A flag overrides the environment. \
An empty variable counts as unset.

Switches are true, yes, on or 1, and false, no, off or 0.

Sizes: 512, 64KiB, 1MiB, 1GiB, or 64KB, 1MB, 1GB in powers of 1000. Times: 250ms, 10s, 1.5s, 2m, 1h.

Exit codes: 0 clean (also after one Ctrl-C or SIGTERM), 1 runtime error, 2 wrong flag or value, 78 flags that contradict each other, \
130 second Ctrl-C.";

impl Command {
    /// Returns the command of this process. Exits for `--help`, and with code 2 if the arguments are wrong.
    pub(crate) fn from_process() -> Command {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        let command = environment::of_one_command(command(), &arguments);
        let matches = command.clone().try_get_matches_from(&arguments);
        let parsed = matches
            .map_err(|error| environment::name_variable(error, command, &arguments))
            .map_err(hide_secrets)
            .and_then(|mut matches| Self::from_matches(&mut matches));
        parsed.unwrap_or_else(|error| error.exit())
    }

    fn from_matches(matches: &mut clap::ArgMatches) -> Result<Command, clap::Error> {
        #[cfg(feature = "redis")]
        let source = matches
            .subcommand_matches("serve")
            .unwrap_or(matches)
            .value_source("redis");
        let cli =
            Cli::from_arg_matches_mut(matches).map_err(|error| error.format(&mut command()))?;
        #[cfg_attr(not(feature = "redis"), expect(unused_mut))]
        let mut parsed = cli
            .command
            .unwrap_or_else(|| Command::Serve(Box::new(cli.serve)));
        #[cfg(feature = "redis")]
        if let Command::Serve(args) = &mut parsed {
            args.redis.set_source(source);
        }
        if let Command::Client(args) = &parsed {
            args.check()
                .map_err(|text| command().error(ErrorKind::ArgumentConflict, text))?;
        }
        Ok(parsed)
    }
}

/// Shortens a wrong URL in an error, because the error may be logged.
fn hide_secrets(mut error: clap::Error) -> clap::Error {
    let has_password = matches!(
        error.get(ContextKind::InvalidArg),
        Some(ContextValue::String(arg)) if arg.starts_with("--redis ") || arg == "STANDPIPE_REDIS"
    );
    if let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue) {
        // A wrong URL may have its password anywhere.
        let shown = if has_password {
            "…".into()
        } else {
            without_secrets(value)
        };
        error.insert(ContextKind::InvalidValue, ContextValue::String(shown));
    }
    error
}

/// Returns the `STANDPIPE_…` variables of this process that no flag has.
pub(crate) fn unknown_variables() -> Vec<String> {
    environment::unknown(&Cli::command())
}

/// Returns the parser for [`Cli`]. The help of `serve` does not show each flag's environment variable, because one
/// sentence at its end states the rule. The other commands have few variables, so their help shows them.
fn command() -> clap::Command {
    let command = environment::without_empty(Cli::command());
    let hide = |command: clap::Command| command.mut_args(|arg| arg.hide_env(true));
    hide(command).mut_subcommands(|command| match command.get_name() {
        "serve" => hide(command),
        _ => command.mut_args(|arg| arg.hide_env_values(true)),
    })
}
