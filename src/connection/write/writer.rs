//! Thread `sp-N-write`: the only thread that waits for the client's socket to accept bytes.
//!
//! It is notified when there is something that no other thread could write without blocking. It writes control frames
//! before data, and data in the order in which it was queued. It ends when the Close has been written, a write has failed,
//! or the connection was given up; the client's reader joins it.

use crate::connection::activity::Activity;
use crate::connection::shared::Shared;

/// # Blocking
/// For a notification: by senders, by threads that held the write half, by the watchdog, and by the end of the
/// connection. For the socket: woken by the peer reading, or by the watchdog's `shutdown` of it.
pub(crate) fn run(shared: &Shared) {
    loop {
        shared.writer.set(Activity::Idle);
        shared.write.writer.wait();
        shared.writer.set(Activity::Writing);
        if !shared.write.write_until_idle(&shared.writer) {
            return;
        }
    }
}
