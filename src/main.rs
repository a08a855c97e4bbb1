//! The binary: parses the arguments, runs the command, and returns its exit code.

mod cli;

use std::io::{self, Write};
use std::process::ExitCode;

use cli::args::{Command, ExecArgs, ServeArgs, unknown_variables};
use cli::config::default_file;
use cli::{Failure, exit, logs, stdout};

fn main() -> ExitCode {
    let command = Command::from_process();
    if !matches!(command, Command::Serve(_) | Command::Exec(_)) {
        for warning in unknown_variables() {
            let _ = writeln!(io::stderr(), "warning: {warning}");
        }
    }
    match command {
        Command::Serve(args) => serve(&args, None),
        Command::Exec(args) => serve(&args.serve, Some(&args)),
        Command::CheckConfig(args) => exit_code(cli::check_config::run(&args)),
        Command::DefaultConfig => exit_code(stdout::write(default_file().as_bytes())),
        Command::Client(args) => exit_code(cli::client::run(&args)),
        Command::Pub(args) => exit_code(cli::publish::run(&args)),
        Command::Top(args) => exit_code(cli::top::run(&args)),
        Command::Bench(args) => exit_code(cli::bench::run(&args)),
        Command::Token(args) => exit_code(cli::token::run(&args)),
        Command::Completions(args) => exit_code(cli::completions::run(&args)),
        Command::Man(args) => exit_code(cli::man::run(&args)),
    }
}

/// Returns the exit code for a command without a log, and prints its error.
fn exit_code(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::report(&*error),
    }
}

/// Runs the server, beside a command if there is one.
fn serve(args: &ServeArgs, command: Option<&ExecArgs>) -> ExitCode {
    let log = match logs::start(&args.logs) {
        Ok(log) => log,
        Err(error) => return exit::without_log(&error),
    };
    for warning in unknown_variables() {
        log::warn!("{warning}");
    }
    let code = match cli::serve::run(args, command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{}", args.file.name_source(&error.to_string()));
            exit::code(&*error)
        }
    };
    // Waits until the last lines have been written.
    drop(log);
    code
}
