//! The exit codes of the process. It exits with 0 after a clean end, also after one Ctrl-C or SIGTERM.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

/// The command failed, at its start or later.
const RUNTIME: u8 = 1;
/// A second Ctrl-C during an orderly shutdown: 128 + SIGINT.
pub(crate) const INTERRUPTED: i32 = 130;
/// A flag or a value is wrong. clap exits with the same code, see `args`.
const USAGE: u8 = 2;

/// Reports that the thread of the log could not be started. A client's threads could not be started either.
pub(crate) fn without_log(error: &io::Error) -> ExitCode {
    let _ = writeln!(io::stderr(), "could not start the log: {error}");
    ExitCode::from(RUNTIME)
}

/// Reports the error of a command that has no log, and returns its exit code.
pub(crate) fn report(error: &(dyn Error + Send + Sync + 'static)) -> ExitCode {
    let _ = writeln!(io::stderr(), "{error}");
    code(error)
}

/// Returns the exit code for an error.
pub(crate) fn code(error: &(dyn Error + Send + Sync + 'static)) -> ExitCode {
    let code = match error.downcast_ref() {
        Some(standpipe::Error::Origin(_)) => USAGE,
        _ => RUNTIME,
    };
    ExitCode::from(code)
}
