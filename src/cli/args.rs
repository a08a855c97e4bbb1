//! The command line: flags, environment variables and the configuration file. A wrong value ends the process with an error
//! that shows the correct form: with code 2, or with code 78 if it is in the file.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::OnceLock;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, Args as _, CommandFactory, FromArgMatches, Parser, Subcommand};

pub(crate) use check_config::CheckConfigArgs;
pub(crate) use clients::{BenchArgs, ClientArgs, Kind, PublishArgs, TopArgs};
pub(crate) use exec::{ExecArgs, Restart};
pub(crate) use logs::LogArgs;
pub(crate) use manuals::{CompletionsArgs, ManArgs};
pub(crate) use secure::SecureArgs;
pub(crate) use serve::ServeArgs;
#[cfg(feature = "tls")]
pub(crate) use tls::TlsFiles;
pub(crate) use token::TokenArgs;

use crate::cli::config::{self, CONFIG, ConfigFile, Source};
use crate::cli::exit;
use crate::cli::url::without_secrets;

mod check_config;
mod clients;
#[cfg(test)]
#[path = "args/tests/default_file.rs"]
mod default_file_tests;
mod environment;
mod exec;
mod file;
mod jwt;
mod logs;
mod manuals;
mod pages;
mod proxies;
#[cfg(feature = "redis")]
mod redis;
mod secure;
mod serve;
#[cfg(test)]
mod tests;
mod tls;
mod token;

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
    /// Checks the configuration file, the variables and the flags of `serve`, and prints each value and where it comes from
    CheckConfig(Box<CheckConfigArgs>),
    /// Prints a configuration file with every key, its default and the reason
    DefaultConfig,
    /// Runs a command, publishes the lines that it prints, and gives it what clients send
    Exec(Box<ExecArgs>),
    /// Connects to a WebSocket server, sends what you type and prints what arrives; can also read slowly
    Client(ClientArgs),
    /// Publishes over HTTP: one message, or each line of standard input
    Pub(PublishArgs),
    /// Shows every client of a server in the terminal, live
    Top(TopArgs),
    /// Generates load for any WebSocket server and measures its speed
    Bench(BenchArgs),
    /// Makes a signed token (JWT) for a client, or explains one
    Token(TokenArgs),
    /// Prints what a shell needs to complete commands and flags
    Completions(CompletionsArgs),
    /// Prints the manual page of a command
    Man(ManArgs),
}

const AFTER_HELP: &str = "\
Without a command, standpipe serves: `standpipe --listen X` is `standpipe serve --listen X`.

Each flag can also be set in the environment, as STANDPIPE_ and its name in upper snake case: STANDPIPE_MAX_MESSAGE=1MiB. \
The values of a flag that may be given more than once are separated by commas there, or by semicolons where a value may \
contain a comma. A flag overrides the environment, which overrides the file of --config. \
An empty variable counts as unset.

Switches are true, yes, on or 1, and false, no, off or 0.

Sizes: 512, 64KiB, 1MiB, 1GiB, or 64KB, 1MB, 1GB in powers of 1000. Times: 250ms, 10s, 1.5s, 2m, 1h.

Exit codes: 0 clean (also after one Ctrl-C or SIGTERM), 1 runtime error, 2 wrong flag or value, 78 a wrong configuration file or flags that \
contradict each other, \
130 second Ctrl-C.";

/// The configuration file of this process. It is never changed, because the arguments refer to it for their defaults.
static FILE: OnceLock<ConfigFile> = OnceLock::new();

impl Command {
    /// Returns the command of this process. Exits for `--help`, with code 2 if the arguments are wrong, and with code 78
    /// if the configuration file is.
    pub(crate) fn from_process() -> Command {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        let command = environment::of_one_command(command(), &arguments);
        let parse = |command: &clap::Command| {
            let matches = command.clone().try_get_matches_from(&arguments);
            matches
                .map_err(|error| environment::name_variable(error, command.clone(), &arguments))
                .map_err(hide_secrets)
                .unwrap_or_else(|error| error.exit())
        };
        // A wrong flag or variable is reported first, because the file cannot correct it.
        let mut matches = parse(&command);
        let mut file = None;
        if let Some(path) = config_path(&matches) {
            let read = ConfigFile::read(&path, &keys());
            let read = read.unwrap_or_else(|error| exit::bad_file(&error));
            let read = FILE.get_or_init(|| read);
            matches = parse(&with_file(command, &matches, read));
            file = Some(read);
        }
        Self::from_matches(&mut matches, file).unwrap_or_else(|error| error.exit())
    }

    fn from_matches(
        matches: &mut ArgMatches,
        file: Option<&'static ConfigFile>,
    ) -> Result<Command, clap::Error> {
        let selected = matches.subcommand().map_or(&*matches, |(_, of)| of);
        let in_force = config::in_force(&keys(), selected, file);
        let cli =
            Cli::from_arg_matches_mut(matches).map_err(|error| error.format(&mut command()))?;
        let mut parsed = cli
            .command
            .unwrap_or_else(|| Command::Serve(Box::new(cli.serve)));
        let serves = match &mut parsed {
            Command::Serve(args) => Some(&mut **args),
            Command::Exec(args) => Some(&mut args.serve),
            Command::CheckConfig(args) => Some(&mut args.serve),
            _ => None,
        };
        if let Some(args) = serves {
            args.set_file(file, in_force);
            check_limits(args)?;
        }
        if let Command::Client(args) = &parsed {
            args.check()
                .map_err(|text| command().error(ErrorKind::ArgumentConflict, text))?;
        }
        Ok(parsed)
    }
}

/// Returns the arguments that a configuration file may set, with their variables.
pub(crate) fn keys() -> clap::Command {
    ServeArgs::augment_args(clap::Command::new("serve"))
}

/// Returns the file of the selected command, if it has one.
fn config_path(matches: &ArgMatches) -> Option<PathBuf> {
    let selected = matches.subcommand().map_or(matches, |(_, of)| of);
    selected
        .try_get_one::<PathBuf>(CONFIG)
        .ok()
        .flatten()
        .cloned()
}

/// Makes the values of the file the defaults of the selected command.
fn with_file(
    command: clap::Command,
    matches: &ArgMatches,
    file: &'static ConfigFile,
) -> clap::Command {
    match matches.subcommand_name() {
        Some(name) => command.mut_subcommand(name, |command| file.with_defaults(command)),
        None => file.with_defaults(command),
    }
}

/// Checks the limits as the server will. The error names the source of the value.
fn check_limits(args: &ServeArgs) -> Result<(), clap::Error> {
    let Err(error) = standpipe::Server::check(&args.config()) else {
        return Ok(());
    };
    let key = error.field().replace('_', "-");
    let text = error.to_string();
    let reason = text.split_once(": ").map_or(&*text, |(_, reason)| reason);
    let text = args.file.name_source(&format!("--{key}: {reason}"));
    if let Some(Source::File(..)) = args.file.source(&key) {
        exit::bad_file(&text);
    }
    Err(command().error(ErrorKind::ValueValidation, text))
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

/// Returns a warning for each `STANDPIPE_…` variable of this process that no flag has.
pub(crate) fn unknown_variables() -> Vec<String> {
    environment::unknown(&Cli::command())
}

/// Returns the parser for [`Cli`]. The help of `serve` does not show each flag's environment variable, because one
/// sentence at its end states the rule. The other commands have few variables, so their help shows them.
pub(crate) fn command() -> clap::Command {
    let command = environment::without_empty(Cli::command());
    let hide = |command: clap::Command| command.mut_args(|arg| arg.hide_env(true));
    hide(command).mut_subcommands(|command| match command.get_name() {
        "serve" | "exec" | "check-config" => hide(command),
        _ => command.mut_args(|arg| arg.hide_env_values(true)),
    })
}
