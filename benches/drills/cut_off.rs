//! *cut-off*: peers that are there no more and cannot say so: their address is gone, no FIN and no reset ever comes.
//!
//! In a network namespace of its own, which lasts as long as the process in it: this program again.

use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failure;
use crate::client::Client;
use crate::healthy::{self, TOPIC};
use crate::report::Report;
use crate::server::{Standpipe, until};

/// What the process in the namespace is started as.
pub(crate) const CUT_OFF_PROCESS: &str = "cut-off-process";

/// The address that goes away. It exists in the namespace alone.
const THEIRS: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);

const PING: u64 = 2;
const SLACK: Duration = Duration::from_secs(5);

pub(crate) fn run(small: bool, report: &mut Report) -> Result<(), Failure> {
    report.fault("half-open peers, whose address is gone");
    let set_up = format!("ip link set lo up && ip addr add {THEIRS}/32 dev lo");
    let possible = Command::new("unshare")
        .args(["-n", "sh", "-c", &set_up])
        .stderr(Stdio::null())
        .status();
    if !possible.is_ok_and(|status| status.success()) {
        report.skip("a network namespace needs root, unshare and ip");
        return Ok(());
    }
    let mut child = Command::new("unshare")
        .args(["-n", "sh", "-c"])
        .arg(format!("{set_up} && exec \"$0\" \"$@\""))
        .arg(std::env::current_exe()?)
        .args([CUT_OFF_PROCESS, if small { "--small" } else { "--full" }])
        .stdout(Stdio::piped())
        .spawn()?;
    let output = BufReader::new(child.stdout.take().expect("it is piped"));
    for line in output.lines() {
        // `  ok what: figures`, as a report prints it.
        let line = line?;
        let line = line.trim();
        let (verdict, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (what, figures) = rest.split_once(": ").unwrap_or((rest, ""));
        match verdict {
            "lost" => report.lost(rest.parse()?),
            "ok" | "FAILED" => report.check(what, verdict == "ok", figures),
            _ => report.say(line),
        }
    }
    let status = child.wait()?;
    report.check(
        "the namespace's process ends well",
        status.success(),
        status.to_string(),
    );
    Ok(())
}

/// What happens inside: half of the peers talk in a topic, half are silent at `/echo`, and then their address goes.
pub(crate) fn process(arguments: &[String]) -> Result<(), Failure> {
    let count = if arguments.iter().any(|one| one == "--small") {
        40
    } else {
        300
    };
    let mut report = Report::default();
    let ping = format!("{PING}s");
    let flags = [
        "--ping-interval",
        &ping,
        "--ping-timeout",
        &ping,
        "--write-timeout",
        "3s",
    ];
    let server = Standpipe::start(&flags)?;
    healthy::beside(&server, &mut report, |report| {
        let before = server.clients()?.len();
        let mut peers = Vec::new();
        for n in 0..count {
            let mut peer = Client::open_from(THEIRS, server.address)?;
            peer.upgrade(server.address, ["/echo", TOPIC][n % 2])?;
            peers.push(peer);
        }
        let there = server.clients()?.len() - before;
        let gone = format!("ip addr del {THEIRS}/32 dev lo");
        if !Command::new("sh").args(["-c", &gone]).status()?.success() {
            Err("the address could not be taken away")?;
        }
        let began = Instant::now();
        let reaped = until("all of them to be let go", || {
            Ok(server.clients()?.len() == before)
        });
        let took = began.elapsed();
        report.check(
            "peers that are gone without a word are let go",
            there == count && reaped.is_ok() && took <= Duration::from_secs(2 * PING) + SLACK * 2,
            format!(
                "{there} of {count}, the last after {:.1} s",
                took.as_secs_f64()
            ),
        );
        drop(peers);
        Ok(())
    })?;
    server.check_end(&mut report)?;
    report.say(format!("lost {}", report.lost_so_far()));
    Ok(())
}
