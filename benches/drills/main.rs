//! The drills: what a server of threads has to survive, tried on the release binary from raw sockets.
//!
//! `cargo bench --bench drills -- [--small] [DRILL…|all]` prints what each did and found, the scoreboard of
//! what this run has counted, and how many checks passed and failed; a failed one makes the exit code 1. `--small` is for every change, the full size for a
//! person. What was tried with which result stands in `src/DRILLS.md`.
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

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
mod sudden;

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use report::Report;

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// A drill: by its size it does its work, and puts what it finds into the report.
type Drill = fn(small: bool, &mut Report) -> Result<(), Failure>;

const DRILLS: [(&str, Drill); 9] = [
    ("cap", cap::run),
    ("churn", churn::run),
    ("siege", siege::run),
    ("drip", drip::run),
    ("scarce", scarce::run),
    ("sudden", sudden::run),
    ("cut-off", cut_off::run),
    ("cycles", cycles::run),
    ("corpus", corpus::run),
];

type Helper = fn(&[String]) -> Result<(), Failure>;

const HELPERS: [(&str, Helper); 3] = [
    (siege::CLIENT_PROCESS, siege::client_process),
    (doomed::DOOMED_PROCESS, doomed::process),
    (cut_off::CUT_OFF_PROCESS, cut_off::process),
];

const USAGE: &str = "cargo bench --bench drills -- [--small] [cap|churn|siege|drip|scarce|sudden|cut-off|cycles|corpus|all]\n\
     cargo bench --bench drills -- soak [--small|--minutes N]";

fn main() -> ExitCode {
    // cargo adds `--bench` behind what was typed.
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    arguments.retain(|argument| argument != "--bench");
    // Some clients are a process of their own: this program again.
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
    if let ["soak", rest @ ..] = &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        let lasts = match rest {
            ["--minutes", minutes] => minutes.parse().ok().map(|n: u64| 60 * n),
            [] => Some(if small { 20 } else { 600 }),
            _ => None,
        };
        let Some(lasts) = lasts else {
            println!("{USAGE}");
            return ExitCode::from(2);
        };
        let mut report = Report::default();
        report.begin("soak", small);
        if let Err(error) = soak::run(Duration::from_secs(lasts), &mut report) {
            report.check("it went to its end", false, error.to_string());
        }
        return report.end();
    }
    let known = |name: &String| DRILLS.iter().any(|(drill, _)| drill == name);
    if let Some(wrong) = arguments.iter().find(|name| !known(name)) {
        println!("there is no drill {wrong}: {USAGE}");
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
            report.check("it went to its end", false, error.to_string());
        }
        println!("  {:.1} s", began.elapsed().as_secs_f64());
    }
    report.end()
}
