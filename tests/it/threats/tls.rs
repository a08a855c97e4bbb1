//! Attacks on listeners with TLS (SECURITY.md, T37 and T50a to T50d). `tests/it/tls.rs` has the ordinary behaviour.

mod closing;
mod drain;
mod early_data;
mod handshakes;
mod key_updates;
#[cfg(feature = "cli")]
mod memory;
mod records;
mod slots;

use crossbeam_channel::{Receiver, unbounded};
use standpipe::{Config, Connection, Refused};

use crate::support::tls_peer::tls_server;
use crate::support::{DEADLINE, Failure, TestServer};

/// Returns how many connections the server has refused for this reason.
fn refused(server: &TestServer, reason: Refused) -> u64 {
    let statistics = server.handle().statistics();
    let found = statistics.refused.iter().find(|(each, _)| *each == reason);
    found.map_or(0, |(_, count)| *count)
}

/// Returns the resident memory of this process, in KiB.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("proc is mounted");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("a line");
    let number = line.trim().trim_end_matches("kB").trim();
    number.parse().expect("a number")
}

/// Starts a server whose handler sends each message back, and reports it to the test. The last report is what `recv` has
/// returned at the end.
fn reporting(config: Config) -> (TestServer, Receiver<String>) {
    let (report, reports) = unbounded();
    let server = tls_server(
        config,
        move |conn: &mut Connection| -> Result<(), Failure> {
            loop {
                let received = conn.recv();
                report.send(match &received {
                    Ok(Some(message)) => message.to_text()?.to_owned(),
                    Ok(None) => "closed".into(),
                    Err(error) => error.to_string(),
                })?;
                match received? {
                    Some(message) => conn.send(message)?,
                    None => return Ok(()),
                }
            }
        },
    );
    (server, reports)
}

#[track_caller]
fn expect_report(reports: &Receiver<String>, expected: &str) {
    let report = reports.recv_timeout(DEADLINE);
    let report = report.unwrap_or_else(|_| panic!("waited {DEADLINE:?} for {expected:?}"));
    assert_eq!(report, expected);
}

const GONE: &str = "the peer disconnected without a closing handshake";
const READING_FAILED: &str = "reading from the socket failed";
