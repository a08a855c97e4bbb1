//! [`CommandLine`]: the command, as the flags have it.

use std::ffi::OsString;
use std::fmt;
use std::process::Command;

/// Variables of our own environment that the command does not inherit. Most of them announce sockets of this process to
/// this process (sd_listen_fds(3), sd_notify(3)). The last one may contain a password.
const REMOVED: [&str; 7] = [
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "STANDPIPE_REDIS",
];

pub(super) struct CommandLine {
    program: OsString,
    arguments: Vec<OsString>,
}

impl CommandLine {
    /// Makes a command of its words, of which the first is the program.
    pub(super) fn new(words: &[OsString]) -> CommandLine {
        let (program, arguments) = match words.split_first() {
            Some((program, arguments)) => (program.clone(), arguments.to_vec()),
            None => (OsString::new(), Vec::new()),
        };
        CommandLine { program, arguments }
    }

    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        for name in REMOVED {
            command.env_remove(name);
        }
        command
    }
}

/// The program alone: an argument may be a secret, and this stands in the log.
impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.program.to_string_lossy().escape_debug().fmt(f)
    }
}
