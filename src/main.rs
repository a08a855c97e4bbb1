//! The binary: arguments → what to run → exit code.

mod cli;

use std::process::ExitCode;

use cli::args::{Command, ServeArgs};
use cli::{exit, logs};

fn main() -> ExitCode {
    match Command::of_process() {
        Command::Serve(args) => serve(&args),
        Command::Client(args) => told(cli::client::run(&args)),
        Command::Pub(args) => told(cli::publish::run(&args)),
        Command::Top(args) => told(cli::top::run(&args)),
        Command::Bench(args) => told(cli::bench::run(&args)),
    }
}

/// How a command without a log has ended.
fn told(end: Result<(), cli::Failure>) -> ExitCode {
    match end {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::told(&*error),
    }
}

fn serve(args: &ServeArgs) -> ExitCode {
    // Dropped last, so that the last lines are still written.
    let log = match logs::start(args.log_level()) {
        Ok(log) => log,
        Err(error) => return exit::without_log(&error),
    };
    let code = match cli::serve::run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error}");
            ExitCode::from(exit::of(&*error))
        }
    };
    drop(log);
    code
}
