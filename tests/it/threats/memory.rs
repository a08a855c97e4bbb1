//! The memory that one client can occupy is measured and compared with the formula in `SECURITY.md`.

use standpipe::Config;

use super::spawned::Spawned;
use crate::support::{Frame, op, until};

const BATCH: usize = 64 << 10;
const STACKS: usize = 96 << 10;
const READ_BUFFER_MAX: usize = 256 << 10;

/// Returns the documented maximum per client, in bytes.
pub(super) fn documented_maximum(config: &Config) -> usize {
    STACKS
        + config.queue_bytes.max(config.max_message)
        + (2 * BATCH).max(config.max_message)
        + 2 * config.max_message
        + READ_BUFFER_MAX
        // Messages that arrived together, and the same messages encoded for sending.
        + 2 * READ_BUFFER_MAX
}

#[test]
fn never_reading_client_stays_within_documented_memory() {
    const CLIENTS: usize = 20;
    let spawned = Spawned::start(&["--sndbuf", "16KiB", "--unsent", "16KiB"]);
    let config = Config::default();
    spawned.connect("/echo").leave();
    let base = spawned.kib("VmRSS");
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| spawned.client("/echo").small_rcvbuf().connect())
        .collect();
    let bytes = Frame::new(op::BINARY, vec![7; config.max_message]).bytes();
    let mut sent = [0; CLIENTS];
    until("every queue is full and every handler waits", || {
        for (client, sent) in clients.iter().zip(&mut sent) {
            while let accepted @ 1.. = client.send_available(&bytes[*sent..]) {
                *sent = (*sent + accepted) % bytes.len();
            }
        }
        let shown = spawned.clients();
        let waiting = shown.iter().filter(|client| {
            let state = client["reader"]["state"].as_str().unwrap_or_default();
            state.starts_with("waiting for room")
        });
        waiting.count() == CLIENTS
    });
    let grown = spawned.kib("VmRSS").saturating_sub(base);
    let measured = grown as usize / CLIENTS;
    assert_documented(measured, documented_maximum(&config) >> 10, &config);
    drop(clients);
}

/// Checks that SECURITY.md has this maximum, and that a client whose queue is full stays within it. All are KiB.
#[track_caller]
pub(super) fn assert_documented(measured: usize, documented: usize, config: &Config) {
    let figure = format!("{},{:03} KiB", documented / 1000, documented % 1000);
    let page = include_str!("../../../src/SECURITY.md");
    assert!(page.contains(&figure), "SECURITY.md does not say {figure}");
    assert!(
        measured <= documented,
        "{measured} KiB per client; documented: {documented} KiB"
    );
    // Otherwise the queues were not full, and the measurement shows nothing.
    assert!(
        measured >= config.queue_bytes >> 11,
        "{measured} KiB per client"
    );
}
