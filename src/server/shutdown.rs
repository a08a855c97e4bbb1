//! The latch, and the order in which the house is closed (DESIGN: law 8). Each number is a test in `tests/it/shutdown.rs`.

use std::convert::Infallible;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::clock::lock;
use crate::connection::ShutdownOutcome;
use crate::server::state::ServerState;

/// Set once, by whoever ends the server; everybody who waits on it is woken.
#[derive(Debug)]
pub(crate) struct Latch {
    open: Mutex<Option<Sender<Infallible>>>,
    set: Receiver<Infallible>,
}

impl Latch {
    pub(crate) fn new() -> Latch {
        let (open, set) = crossbeam_channel::bounded(0);
        let open = Mutex::new(Some(open));
        Latch { open, set }
    }

    pub(crate) fn set(&self) {
        drop(lock(&self.open).take());
    }

    pub(crate) fn is_set(&self) -> bool {
        lock(&self.open).is_none()
    }

    /// Waits for the latch, at most so long. Says whether it is set.
    pub(crate) fn wait(&self, limit: Duration) -> bool {
        self.set.recv_timeout(limit) == Err(RecvTimeoutError::Disconnected)
    }
}

/// Sets the latch however its scope is left: an accept loop that ends for any reason ends the server, or its clients
/// would be served for ever by nobody.
#[derive(Debug)]
pub(super) struct SetAtEnd<'a>(pub(super) &'a Latch);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.set();
    }
}

/// What became of the clients that were there when shutdown began.
#[derive(Debug, Default)]
pub(crate) struct ShutdownTally {
    drained: AtomicU64,
    lost: AtomicU64,
}

impl ShutdownTally {
    pub(crate) fn count(&self, fate: ShutdownOutcome) {
        match fate {
            ShutdownOutcome::Drained => self.drained.fetch_add(1, Ordering::Relaxed),
            ShutdownOutcome::Lost => self.lost.fetch_add(1, Ordering::Relaxed),
            ShutdownOutcome::Other => 0,
        };
    }

    pub(super) fn report(&self) -> super::ShutdownReport {
        super::ShutdownReport {
            drained: self.drained.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
        }
    }
}

/// After a reset every thread of ours ends in moments; who takes longer is in the user's code.
const AFTER_RESET: Duration = Duration::from_secs(1);

/// Closes the house: accepting has stopped, and the latch is set.
///
/// # Blocking
/// For the clients to go, at most `shutdown_timeout` and one second.
pub(super) fn close(server: &ServerState) {
    // Who configured *never* gets a year.
    let timeout = server
        .config
        .shutdown_timeout
        .min(Duration::from_secs(365 * 24 * 3600));
    let deadline = Instant::now() + timeout;
    // Those at the door are refused with 503; to those inside, Close 1001 after what is queued. From here every call
    // on a Connection or an Outbox fails or ends.
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
    // What is left is reset.
    for client in server.clients.snapshot() {
        log::warn!("#{} was not gone in time, and is reset", client.number);
        client.reset(crate::CloseCause::TimedOut("shutdown_timeout"));
    }
    if server
        .clients
        .wait_until_empty(Instant::now() + AFTER_RESET)
    {
        return;
    }
    for client in server.clients.snapshot() {
        let (doing, _) = client.state.reader.get();
        log::warn!(
            "#{} has a handler that does not return ({doing:?}); waiting for it",
            client.number
        );
    }
}
