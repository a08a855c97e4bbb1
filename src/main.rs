//! The binary: arguments → what to run → exit code.

mod cli;

use std::process::ExitCode;

use cli::args::{Command, ServeArgs};
use cli::exit;
use log::LevelFilter;

fn main() -> ExitCode {
    let Command::Serve(args) = Command::of_process();
    start_log(&args);
    match cli::serve::run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error}");
            ExitCode::from(exit::of(&*error))
        }
    }
}

/// `RUST_LOG` wins over `-v`. tungstenite logs payloads below info, and what clients send is not ours to show.
fn start_log(args: &ServeArgs) {
    env_logger::Builder::new()
        .filter_level(args.log_level())
        .parse_default_env()
        .filter_module("tungstenite", LevelFilter::Info)
        .init();
}
