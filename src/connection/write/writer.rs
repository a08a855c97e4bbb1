//! Thread `sp-N-write`: the only code that waits for the socket.
//!
//! Fed by the bell, which is rung when there is something that nobody could write at once. It writes control before data
//! and data in the order it was queued. It ends when the Close is out, a write has failed, or the client was given up;
//! the reader joins it.

use crate::connection::shared::Shared;
use crate::connection::state::Activity;
use crate::connection::write::write_half::Step;

/// # Blocking
/// For the bell: woken by senders, helpers, the watchdog and the end of the client. For the socket: woken by the peer
/// reading, or by the watchdog's `shutdown` of it.
pub(crate) fn run(client: &Shared) {
    loop {
        client.state.writer.set(Activity::Idle);
        client.wait_for_work();
        client.state.writer.set(Activity::Writing);
        if write_all(client) == Step::Over {
            return;
        }
    }
}

/// Writes until there is nothing to write, waiting as long as it takes.
pub(crate) fn write_all(client: &Shared) -> Step {
    // A thread that has the wire rings again if it leaves anything.
    while let Some(mut wire) = client.write_slot.try_acquire() {
        let step = loop {
            match wire.step(client) {
                Step::Took => {}
                Step::Refused => {
                    client.state.writer.set(Activity::Blocked);
                    if wire.wait(client) == Step::Over {
                        break Step::Over;
                    }
                    client.state.writer.set(Activity::Writing);
                }
                end => break end,
            }
        };
        if step == Step::Over {
            // The wire, and with it this half of the socket, ends here.
            return Step::Over;
        }
        client.write_slot.release(wire, client);
        if !client.has_work() {
            break;
        }
    }
    if client.is_over() {
        return Step::Over;
    }
    Step::Idle
}
