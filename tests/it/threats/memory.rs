//! What a client can make the process keep: the formula of `SECURITY.md`, and what is measured.

use standpipe::Config;

use super::spawned::Spawned;
use crate::support::{Frame, op, until};

const BATCH: usize = 64 << 10;
const STACKS: usize = 96 << 10;
const READ_AT_MOST: usize = 256 << 10;

/// The formula of the documents, in bytes.
fn at_most(config: &Config) -> usize {
    STACKS
        + config.queue_bytes.max(config.max_message)
        + (2 * BATCH).max(config.max_message)
        + 2 * config.max_message
        + READ_AT_MOST
        // Received together, and made ready to be sent together.
        + 2 * READ_AT_MOST
}

#[test]
fn a_client_that_never_reads_stays_under_the_documented_memory() {
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
    until("every queue is full and its handler waits", || {
        for (client, sent) in clients.iter().zip(&mut sent) {
            while let taken @ 1.. = client.send_available(&bytes[*sent..]) {
                *sent = (*sent + taken) % bytes.len();
            }
        }
        let shown = spawned.clients();
        let waits = shown.iter().filter(|client| {
            let state = client["reader"]["state"].as_str().unwrap_or_default();
            state.starts_with("waiting for room")
        });
        waits.count() == CLIENTS
    });
    let grown = spawned.kib("VmRSS").saturating_sub(base);
    let each = grown as usize / CLIENTS;
    let most = at_most(&config) >> 10;
    let said = format!("{},{} KiB", most / 1000, most % 1000);
    let page = include_str!("../../../src/SECURITY.md");
    assert!(page.contains(&said), "the page does not say {said}");
    assert!(each <= most, "{each} KiB each, {most} are documented");
    // Or the measurement has missed what it is about.
    assert!(each >= config.queue_bytes >> 11, "{each} KiB each");
    drop(clients);
}
