//! The second half of a shutdown, after accepting has stopped: closes the clients. ARCHITECTURE.md numbers all steps,
//! and each step has a test in `tests/it/shutdown.rs`.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::state::ServerState;
use crate::clock::Clock;
use crate::connection::CloseCause;
use crate::connection::shared::Shared;

/// How long to wait for the threads after their connections have been reset. A thread that takes longer is in user
/// code.
const AFTER_RESET: Duration = Duration::from_secs(1);

/// The upper limit of the shutdown timeout. A longer one could overflow when it is added to the current time.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Closes all clients. Must be called after accepting has stopped.
///
/// # Blocking
/// Waits for the clients to end, at most `close_spread`, `shutdown_timeout` and one second.
pub(super) fn close_clients(server: &ServerState) {
    let clients = server.clients.snapshot();
    if !clients.is_empty() {
        log::info!("closing {} clients", clients.len());
    }
    let mut upgraded = Vec::new();
    for client in clients {
        if client.lifecycle().is_upgraded() {
            // A weak reference keeps no client in memory that leaves before its turn.
            upgraded.push(Arc::downgrade(&client));
        } else {
            // A client in its opening handshake is answered 503.
            client.shut_down();
        }
    }
    close_upgraded(server, &upgraded);
    let deadline = Instant::now() + server.config.shutdown_timeout.min(YEAR);
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
            "#{} has a handler that has not returned ({activity})",
            client.number
        );
    }
}

/// Sends each client what is queued for it and then a Close with 1001, spread evenly over `close_spread`. From its turn
/// on, every send to a client fails, and its `recv` returns `None`.
///
/// # Blocking
/// Waits between two clients. Woken when the last client has ended.
fn close_upgraded(server: &ServerState, clients: &[Weak<Shared>]) {
    let (begin, spread) = (Instant::now(), server.config.close_spread.min(YEAR));
    let count = u32::try_from(clients.len()).unwrap_or(u32::MAX);
    for (turn, client) in (0..count).zip(clients) {
        server
            .clients
            .wait_until_empty(begin + spread * turn / count);
        if let Some(client) = client.upgrade() {
            client.shut_down();
        }
    }
}
