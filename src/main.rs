//! The binary: arguments → what to run → exit code.

mod cli;

use std::process::ExitCode;

use cli::args::Command;

fn main() -> ExitCode {
    let Command::Serve(args) = Command::of_process();
    env_logger::Builder::new()
        .filter_level(args.log_level())
        .parse_default_env()
        .init();
    log::info!(
        "{:?} {:?} no_echo={}",
        args.listen,
        args.config(),
        args.no_echo
    );
    log::error!("nothing serves yet; {}", cli::exit::INTERRUPTED);
    ExitCode::from(cli::exit::RUNTIME)
}
