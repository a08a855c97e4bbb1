//! The drills: fault tests of the release binary, driven through raw sockets.
//!
//! `cargo bench --bench drills -- [--small] [DRILL…|all]` prints the checks of each drill, a scoreboard of what this
//! run has counted, and how many checks passed and failed. The exit code is 1 if a check failed. CI runs `--small` for
//! every change; the full size is for a person. `src/DRILLS.md` records what was tried and with which result.
#![allow(
    clippy::print_stdout,
    reason = "the program exists to print its results"
)]

mod cap;
mod churn;
mod client;
mod corpus;
mod cut_off;
mod cycles;
mod doomed;
mod drip;
mod frame;
mod healthy;
mod report;
mod scarce;
mod server;
mod siege;
mod soak;
mod stream;
mod sudden;
mod target;
mod tls;

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use report::Report;

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// Runs a drill in its small or full size, and puts its checks into the report.
type Drill = fn(small: bool, &mut Report) -> Result<(), Failure>;

const DRILLS: [(&str, Drill); 12] = [
    ("cap", cap::run),
    ("churn", churn::run),
    ("siege", siege::run),
    ("drip", drip::run),
    ("scarce", scarce::run),
    ("sudden", sudden::run),
    ("cut-off", cut_off::run),
    ("cycles", cycles::run),
    ("corpus", corpus::run),
    ("tls", tls::run),
    ("churn-tls", churn::run_secure),
    ("siege-tls", siege::run_secure),
];

type Helper = fn(&[String]) -> Result<(), Failure>;

const HELPERS: [(&str, Helper); 3] = [
    (siege::CLIENT_PROCESS, siege::client_process),
    (doomed::DOOMED_PROCESS, doomed::process),
    (cut_off::CUT_OFF_PROCESS, cut_off::process),
];

const USAGE: &str = "cargo bench --bench drills -- [--small] [cap|churn|siege|drip|scarce|sudden|cut-off|cycles|corpus|tls|churn-tls|siege-tls|all]\n\
     cargo bench --bench drills -- soak|soak-tls [--small|--minutes N]";

fn main() -> ExitCode {
    // cargo appends `--bench` to the arguments.
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    arguments.retain(|argument| argument != "--bench");
    // Some clients need a process of their own. It is this program, started with the name of the helper.
    if let [command, rest @ ..] = &arguments[..] {
        let helper = HELPERS.iter().find(|(name, _)| name == command);
        if let Some((_, helper)) = helper {
            return match helper(rest) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    println!("failed: {error}");
                    ExitCode::FAILURE
                }
            };
        }
    }
    let small = arguments.iter().any(|argument| argument == "--small");
    arguments.retain(|argument| argument != "--small" && argument != "all");
    if let [name @ ("soak" | "soak-tls"), rest @ ..] =
        &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..]
    {
        let is_secure = *name == "soak-tls";
        let seconds = match rest {
            ["--minutes", minutes] => minutes.parse().ok().map(|n: u64| 60 * n),
            [] => Some(if small { 20 } else { 600 }),
            _ => None,
        };
        let Some(seconds) = seconds else {
            println!("{USAGE}");
            return ExitCode::from(2);
        };
        let mut report = Report::default();
        let (name, flags) = match is_secure {
            true => ("soak-tls", &stream::TLS_FLAGS[..]),
            false => ("soak", &[][..]),
        };
        report.begin(name, small);
        if let Err(error) = soak::run(Duration::from_secs(seconds), flags, &mut report) {
            report.check("the drill ran to its end", false, error.to_string());
        }
        return report.end();
    }
    let known = |name: &String| DRILLS.iter().any(|(drill, _)| drill == name);
    if let Some(wrong) = arguments.iter().find(|name| !known(name)) {
        println!("unknown drill {wrong}\n{USAGE}");
        return ExitCode::from(2);
    }
    let mut report = Report::default();
    for (name, drill) in DRILLS {
        if !arguments.is_empty() && !arguments.iter().any(|argument| argument == name) {
            continue;
        }
        report.begin(name, small);
        let began = Instant::now();
        if let Err(error) = drill(small, &mut report) {
            report.check("the drill ran to its end", false, error.to_string());
        }
        println!("  {:.1} s", began.elapsed().as_secs_f64());
    }
    report.end()
}
