//! How fast hubs share topics through a Redis server, beside plain pipelined `PUBLISH` through the same crate.
//!
//! ```sh
//! cargo bench --bench machines                          # all configurations, in turns; about two minutes
//! cargo bench --bench machines -- --rounds 3            # fewer rounds
//! cargo bench --bench machines -- profile two-both 10   # one configuration for 10 s: what each thread and command cost
//! cargo bench --bench machines -- drills                # the drills of src/DRILLS.md: rejoin, small-buffer, slow-link
//! ```
//!
//! The program starts a `redis-server` of its own on loopback, without persistence. Hubs, publishers, members and plain
//! clients are threads of this program. `src/BENCHMARKS.md` has the method and the figures.
#![allow(
    clippy::print_stdout,
    reason = "the program exists to print its results"
)]

mod delay;
mod drills;
mod hubs;
mod load;
mod member;
mod plain;
mod processor;
#[path = "../../tests/machines/redis_server.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod redis_server;
mod server;
mod throughput;

use std::error::Error;
use std::process::ExitCode;

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

const USAGE: &str = "cargo bench --bench machines -- [--rounds N]\n\
     cargo bench --bench machines -- drills [rejoin] [small-buffer] [slow-link]\n\
     cargo bench --bench machines -- profile plain|one|two-apart|two-both [--history] [--topics N] [SECONDS]";

fn main() -> ExitCode {
    // cargo appends `--bench` to the arguments.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let result = match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => throughput::run(9),
        ["--rounds", rounds] => match rounds.parse() {
            Ok(rounds) if rounds > 0 => throughput::run(rounds),
            _ => Err(USAGE.into()),
        },
        ["drills", names @ ..] => drills::run(names),
        ["profile", rest @ ..] => throughput::profile(rest, USAGE),
        _ => Err(USAGE.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}
