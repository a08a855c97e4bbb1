//! The exit codes of the process. A clean end has code 0, also after one Ctrl-C or SIGTERM.

use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::process::{self, ExitCode};

use super::stdout::Closed;

/// The command failed, at its start or later.
const RUNTIME: u8 = 1;
/// A second signal during an orderly shutdown: 128 + SIGINT.
pub(crate) const INTERRUPTED: i32 = 130;
/// A flag or a value is wrong. clap exits with the same code, see `args`.
const USAGE: u8 = 2;

/// Flags that are valid each by itself are refused together (EX_CONFIG, sysexits(3)).
const CONFIG: u8 = 78;

/// Why a configuration is refused.
#[derive(Debug)]
pub(crate) struct BadConfiguration(pub(crate) String);

impl fmt::Display for BadConfiguration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for BadConfiguration {}

/// Reports a wrong configuration file, and ends the process.
pub(crate) fn bad_file(problems: &str) -> ! {
    let _ = writeln!(io::stderr(), "error: {problems}");
    process::exit(CONFIG.into())
}

/// Reports that the log's thread could not be started, and returns the exit code. Then no client's threads could be
/// started either, so the server does not start without a log.
pub(crate) fn without_log(error: &io::Error) -> ExitCode {
    let _ = writeln!(io::stderr(), "could not start the log: {error}");
    ExitCode::from(RUNTIME)
}

/// Reports the error of a command that has no log, and returns its exit code. A command whose output is no longer wanted
/// ends without a message and with code 0.
pub(crate) fn report(error: &(dyn Error + Send + Sync + 'static)) -> ExitCode {
    if error.is::<Closed>() {
        return ExitCode::SUCCESS;
    }
    let _ = writeln!(io::stderr(), "{error}");
    code(error)
}

/// Returns the exit code for an error.
pub(crate) fn code(error: &(dyn Error + Send + Sync + 'static)) -> ExitCode {
    let code = match error {
        _ if error.is::<standpipe::ConfigError>() => USAGE,
        _ if error.is::<BadConfiguration>() => CONFIG,
        _ => RUNTIME,
    };
    ExitCode::from(code)
}
