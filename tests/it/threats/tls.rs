//! Attacks on listeners with TLS (SECURITY.md, T37 and T50a to T50d). `tests/it/tls.rs` has the ordinary behaviour.

mod handshakes;

use standpipe::Refused;

use crate::support::TestServer;

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
