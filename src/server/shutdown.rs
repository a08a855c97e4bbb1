//! The second half of a shutdown, after accepting has stopped: closes the clients. ARCHITECTURE.md numbers all steps,
//! and each step has a test in `tests/it/shutdown.rs`.

use std::time::{Duration, Instant};

use super::refusal_log::Refusal;
use super::state::ServerState;
use crate::clock::Clock;
use crate::connection::CloseCause;

/// How long to wait for the threads after their connections have been reset. A thread that takes longer is in user
/// code.
const AFTER_RESET: Duration = Duration::from_secs(1);

/// The upper limit of the shutdown timeout. A longer one could overflow when it is added to the current time.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Closes all clients. Must be called after accepting has stopped and the latch has been set.
///
/// # Blocking
/// Waits for the clients to end, at most `shutdown_timeout` and one second.
pub(super) fn close_clients(server: &ServerState) {
    let deadline = Instant::now() + server.config.shutdown_timeout.min(YEAR);
    // A client in its opening handshake is answered 503. An upgraded client is sent its queued messages and then a
    // Close with 1001. From now on, every send to it fails, and its `recv` returns `None`.
    let clients = server.clients.snapshot();
    if !clients.is_empty() {
        log::info!("closing {} clients", clients.len());
    }
    for client in clients {
        client.shut_down();
    }
    if server.clients.wait_until_empty(deadline) {
        return;
    }
    for client in server.clients.snapshot() {
        let line = format_args!(
            "#{} {} reset: shutdown_timeout passed",
            client.number, client.peer
        );
        let kind = Refusal::Overdue(Clock::Shutdown);
        server.refusals.log(kind, line);
        client.terminate(CloseCause::TimedOut(Clock::Shutdown));
    }
    if server
        .clients
        .wait_until_empty(Instant::now() + AFTER_RESET)
    {
        return;
    }
    for client in server.clients.snapshot() {
        let (activity, _) = client.reader.get();
        log::warn!(
            "#{} has a handler that has not returned ({activity})",
            client.number
        );
    }
}
