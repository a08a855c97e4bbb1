//! The second half of a shutdown, after accepting has stopped: serves the clients for the grace, and closes them. ARCHITECTURE.md numbers all steps,
//! and names the tests of each step.

use std::sync::Arc;
use std::time::{Duration, Instant};

use log::Level;

use super::refusal_log::Refusal;
use super::state::ServerState;
use crate::clock::Clock;
use crate::connection::CloseCause;

/// How long to wait for the threads after their connections have been reset. A thread that takes longer is in user
/// code.
const AFTER_RESET: Duration = Duration::from_secs(1);

/// The upper limit of the shutdown timeout. A longer one could overflow when it is added to the current time.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// How long a client may still take to send its request, at most. A client that has just connected is about to send it.
/// If the server stopped reading immediately, such a client would see an error instead of the answer.
const REQUEST_GRACE: Duration = Duration::from_millis(500);

/// Serves the clients that are left for the grace of the shutdown, and closes them. Must be called after accepting has
/// stopped.
///
/// # Blocking
/// Waits for the clients to end: for the grace, and then at most `close_spread`, `shutdown_timeout` and one second.
pub(super) fn end_clients(server: &ServerState) {
    let timeout = server.config.shutdown_timeout.min(YEAR);
    let requests_by = Instant::now() + REQUEST_GRACE.min(timeout / 2);
    if serve_for_grace(server, requests_by) {
        return;
    }
    let Some(last_close) = begin_closing(server, requests_by) else {
        return;
    };
    let deadline = last_close + timeout;
    if server.clients.wait_until_empty(deadline) {
        return;
    }
    for client in server.clients.snapshot() {
        server.refusals.log(
            Refusal::Overdue(Clock::Shutdown),
            &client.name.get(),
            format_args!("reset: shutdown_timeout passed"),
        );
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
        client.name.log(
            Level::Warn,
            format_args!("has a handler that has not returned ({activity})"),
        );
    }
}

/// Serves the upgraded clients until they are to be closed. Returns whether all clients have ended by then.
///
/// A client in its opening handshake is answered 503 as soon as its request has arrived, or without it at
/// `requests_by`.
///
/// # Blocking
/// Waits for the end of the grace. Woken when the last client has ended, and when the grace begins, or ends earlier.
fn serve_for_grace(server: &ServerState, requests_by: Instant) -> bool {
    let close_at = || server.shutdown.clients_close_at();
    if !server.shutdown.closes_clients() {
        let clients = server.clients.snapshot().len();
        log::info!("no client is accepted any more; {clients} are left");
    }
    let until_requests_end = || Some(close_at().map_or(requests_by, |at| at.min(requests_by)));
    if server.clients.wait_until_empty_or(until_requests_end) {
        return true;
    }
    if server.shutdown.closes_clients() {
        return false;
    }
    let clients = server.clients.snapshot().into_iter();
    for client in clients.filter(|client| !client.lifecycle().is_upgraded()) {
        client.shut_down();
    }
    server.clients.wait_until_empty_or(close_at)
}

/// Sends each client what is queued for it and then a Close with 1001, spread evenly over `close_spread`. From its turn
/// on, every send to a client fails, and its `recv` returns `None`.
///
/// A client in its opening handshake is treated as in [`serve_for_grace`].
///
/// Returns the time of the last Close, or `None` if all clients have ended.
///
/// # Blocking
/// Waits between two clients, and for the requests. Woken when the last client has ended.
fn begin_closing(server: &ServerState, requests_by: Instant) -> Option<Instant> {
    let begin = Instant::now();
    let clients = server.clients.snapshot();
    if !clients.is_empty() {
        log::info!("closing {} clients", clients.len());
    }
    let (upgraded, opening): (Vec<_>, Vec<_>) = clients
        .into_iter()
        .partition(|client| client.lifecycle().is_upgraded());
    let spread = server.config.close_spread.min(YEAR);
    let count = u32::try_from(upgraded.len()).unwrap_or(u32::MAX);
    let turns = (0..count).map(|turn| begin + spread * turn / count);
    let last_close = turns.clone().next_back().unwrap_or(begin);
    // The references are weak, so that they keep no client in memory that leaves before its turn.
    let mut turns: Vec<_> = turns.zip(upgraded.iter().map(Arc::downgrade)).collect();
    turns.extend(
        opening
            .iter()
            .map(|client| (requests_by, Arc::downgrade(client))),
    );
    drop((upgraded, opening));
    turns.sort_by_key(|(time, _)| *time);
    for (time, client) in turns {
        if server.clients.wait_until_empty(time) {
            return None;
        }
        if let Some(client) = client.upgrade() {
            client.shut_down();
        }
    }
    Some(last_close)
}
