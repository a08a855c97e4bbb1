//! *cut-off*: half-open peers. Their address disappears, so that neither a FIN nor a reset can arrive.
//!
//! The drill runs in a network namespace of its own, which exists as long as the process in it. That process is this
//! program.

use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failure;
use crate::client::Client;
use crate::healthy::{self, TOPIC};
use crate::report::Report;
use crate::server::{Standpipe, until};

/// The helper name with which the process in the namespace is started.
pub(crate) const CUT_OFF_PROCESS: &str = "cut-off-process";

/// The address that is removed. It exists only in the namespace.
const THEIRS: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);

const PING: u64 = 2;
const SLACK: Duration = Duration::from_secs(5);

pub(crate) fn run(small: bool, report: &mut Report) -> Result<(), Failure> {
    report.fault("half-open peers whose address has disappeared");
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
    let output = BufReader::new(child.stdout.take().expect("the stream is piped"));
    for line in output.lines() {
        // A line of a report has the form `  ok what: figures`.
        let line = line?;
        let line = line.trim();
        let (verdict, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (what, figures) = rest.split_once(": ").unwrap_or((rest, ""));
        match verdict {
            "lost" => report.lost(rest.parse()?),
            "ok" | "FAILED" => report.check(what, verdict == "ok", figures),
            _ => report.info(line),
        }
    }
    let status = child.wait()?;
    report.check(
        "the process in the namespace exits with 0",
        status.success(),
        status.to_string(),
    );
    Ok(())
}

/// Runs in the namespace: half of the peers are members of a busy topic, half are silent at `/echo`. Then their address
/// is removed.
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
    healthy::alongside(&server, &mut report, |report| {
        let before = server.clients()?.len();
        let mut peers = Vec::new();
        for n in 0..count {
            let mut peer = Client::open_from(THEIRS, server.address)?;
            peer.upgrade(server.address, ["/echo", TOPIC][n % 2])?;
            peers.push(peer);
        }
        let connected = server.clients()?.len() - before;
        let remove = format!("ip addr del {THEIRS}/32 dev lo");
        if !Command::new("sh").args(["-c", &remove]).status()?.success() {
            Err("the address could not be removed")?;
        }
        let began = Instant::now();
        let disconnected = until("all of them to be disconnected", || {
            Ok(server.clients()?.len() == before)
        });
        let took = began.elapsed();
        report.check(
            "peers that disappear without a FIN are disconnected",
            connected == count
                && disconnected.is_ok()
                && took <= Duration::from_secs(2 * PING) + SLACK * 2,
            format!(
                "{connected} of {count}, the last after {:.1} s",
                took.as_secs_f64()
            ),
        );
        drop(peers);
        Ok(())
    })?;
    server.check_end(&mut report)?;
    report.info(format!("lost {}", report.lost_so_far()));
    Ok(())
}
