//! Thread `sp-N-write`: the only thread that waits for the client's socket to accept bytes.
//!
//! The writer is notified when there is something that no other thread could write without blocking. It writes control
//! frames before messages, and messages in the order in which they were queued. The thread ends when the Close has been
//! written, a write has failed, or the connection was given up. Before it ends, it calls the end callbacks: it belongs to
//! one client, it holds no lock, and it is not in the handler's code. The client's reader joins it.

use crate::connection::activity::Activity;
use crate::connection::shared::Shared;

/// # Blocking
/// Waits for a notification: from senders, from threads that held the write half, from the watchdog, or from the end of
/// the connection. Waits for the socket: woken when the peer reads, or when the watchdog shuts the socket down.
pub(crate) fn run(shared: &Shared) {
    loop {
        shared.writer.set(Activity::Idle);
        shared.write.writer.wait();
        shared.writer.set(Activity::Writing);
        let goes_on = shared.write.write_until_idle(&shared.writer);
        // They may be due although the writer goes on: see `Shared::look_for_peer`.
        shared.call_end_callbacks();
        if !goes_on {
            return;
        }
    }
}
