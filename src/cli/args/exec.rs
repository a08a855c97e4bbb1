//! The flags of `exec`: those of `serve`, and the command.

use std::ffi::OsString;

use clap::{Args, ValueEnum};

use super::serve::ServeArgs;
use crate::cli::names;
use crate::cli::units::Time;

/// The end of the help of `exec`.
const EXEC_HELP: &str = "\
One process of COMMAND runs for all clients. Each line that it prints is published to the topic. Each message that a client \
sends to the topic is written to the command's standard input, followed by LF; the other clients do not receive it. A client \
whose message does not fit into the pipe waits. The command waits while a member of the topic is slow, because the default \
policy is block here. Standard error is inherited.

When the server ends, the command's standard input is closed and its process group gets SIGTERM, and SIGKILL after \
--stop-timeout.

The flags of serve have the same variables here. STANDPIPE_TOPIC is --topic-settings.

Exit codes: as for serve. With --restart never or on-failure, the server also ends when the command has ended, with 0 if the \
command ended with 0, and otherwise with 1.";

/// The flags of `exec`. It has the flags of `serve`, but its `--topic` names a topic, and another flag has the settings of
/// the topics.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = EXEC_HELP,
    mut_arg("topic", |arg| arg.long("topic-settings").help(SETTINGS)),
    mut_arg("policy", |arg| arg.default_value("block"))
)]
pub(crate) struct ExecArgs {
    /// The topic whose members get the lines of the command, and whose messages it gets
    #[arg(
        id = "exec_topic",
        long = "topic",
        env = "STANDPIPE_EXEC_TOPIC",
        value_name = "TOPIC"
    )]
    #[arg(value_parser = topic, default_value = "lobby")]
    pub(crate) topic: String,

    /// When the command is started again after its end. The pause before a start grows from 100 ms up to 30 s
    #[arg(long, env = "STANDPIPE_RESTART", value_enum, default_value_t = Restart::Always)]
    pub(crate) restart: Restart,

    /// How long the processes of the command may take to end after SIGTERM; then they get SIGKILL
    #[arg(long, env = "STANDPIPE_STOP_TIMEOUT", value_name = "TIME", value_parser = Time::or_zero, default_value = "5s")]
    pub(crate) stop_timeout: Time,

    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,

    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

const SETTINGS: &str = "\
Settings of the topics that match a pattern, as --topic of serve: 'lobby:history=100,publish=server'. May be given more than \
once; in the environment separated by semicolons";

/// When a command is started again after its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Restart {
    /// After every end
    Always,
    /// If it ended with another exit code than 0, or by a signal
    OnFailure,
    /// At no end: the server ends with the command
    Never,
}

/// Refuses what `--topic` of `serve` takes. Otherwise the settings would silently be a part of the name.
fn topic(text: &str) -> Result<String, String> {
    names::check("a topic", text)?;
    if text
        .split_once(':')
        .is_some_and(|(_, rest)| rest.contains('='))
    {
        return Err(
            "this is the name of one topic: give the settings with --topic-settings".into(),
        );
    }
    Ok(text.to_owned())
}
