//! What only the binary needs: its arguments, and what it runs with them. The library knows nothing of this directory.

// What a person types, judged before anything is started.
pub(crate) mod args;
pub(crate) mod names;
pub(crate) mod topics;
pub(crate) mod units;
pub(crate) mod values;

// What runs, in the order in which a client meets it.
pub(crate) mod logs;
pub(crate) mod serve;

pub(crate) mod places;
pub(crate) mod site;

pub(crate) mod page;

pub(crate) mod secrets;

pub(crate) mod command;
pub(crate) mod raw;
pub(crate) mod session;

pub(crate) mod envelope;
pub(crate) mod nesting;

// What it shows of itself.
pub(crate) mod dashboard;
pub(crate) mod debug;
pub(crate) mod metrics;

// What is run beside it, and what those commands share.
pub(crate) mod terminal;
pub(crate) mod throttle;
pub(crate) mod url;

pub(crate) mod client;
pub(crate) mod publish;
pub(crate) mod top;

pub(crate) mod bench;

/// Why a handler, or the whole command, ended early.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What the process tells its parent when it ends. `0` is a clean end, also after one Ctrl-C or SIGTERM.
pub(crate) mod exit {
    use std::error::Error;
    use std::io::Write;
    use std::process::ExitCode;

    /// What was asked for could not be done, or could not go on.
    const RUNTIME: u8 = 1;
    /// A second Ctrl-C, by which somebody says that the orderly end takes too long: 128 + SIGINT.
    pub(crate) const INTERRUPTED: i32 = 130;
    /// A wrong flag or value; also clap's own, see `args`.
    const USAGE: u8 = 2;

    /// There is no thread to be had for the log, so there is none for a client either.
    pub(crate) fn without_log(error: &std::io::Error) -> ExitCode {
        let _ = writeln!(std::io::stderr(), "could not start the log: {error}");
        ExitCode::from(RUNTIME)
    }

    /// A command that prints its result and has no log.
    pub(crate) fn told(error: &(dyn Error + Send + Sync + 'static)) -> ExitCode {
        let _ = writeln!(std::io::stderr(), "{error}");
        ExitCode::from(of(error))
    }

    /// What an error ends the process with.
    pub(crate) fn of(error: &(dyn Error + Send + Sync + 'static)) -> u8 {
        match error.downcast_ref() {
            Some(standpipe::Error::Origin(_)) => USAGE,
            _ => RUNTIME,
        }
    }
}
