//! The order in which a server shuts down. Each numbered step of ARCHITECTURE.md has a test in `tests/it/shutdown.rs`.

use std::time::{Duration, Instant};

use super::state::ServerState;
use crate::clock::Clock;
use crate::connection::CloseCause;

/// After a reset, every thread of ours ends within moments. One that takes longer is in user code.
const AFTER_RESET: Duration = Duration::from_secs(1);

/// The longest shutdown timeout that is added to a clock without overflow.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Closes all clients. Accepting has stopped, and the latch is set.
///
/// # Blocking
/// For the clients to leave, at most `shutdown_timeout` and one second.
pub(super) fn close_clients(server: &ServerState) {
    let deadline = Instant::now() + server.config.shutdown_timeout.min(YEAR);
    // A client in its opening handshake is answered 503. An upgraded one gets what is queued and then Close 1001; from now
    // on every call on its Connection or Outbox fails or ends.
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
        log::warn!("#{} reset: shutdown_timeout passed", client.number);
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
            "#{} still waiting for its handler to return ({activity})",
            client.number
        );
    }
}
