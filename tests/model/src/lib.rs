//! A loom model of standpipe's write path: which thread may write to a client's socket, and when.
//!
//! The model is a copy by hand of the product's protocol, with loom's locks and atomics. loom runs it with every order of
//! the threads' steps. Files, types and functions have the same names as in `src/connection/`, so that the two can be read
//! side by side. Change both together.
//!
//! | here | in `src/connection/` |
//! |---|---|
//! | `write_path.rs`: [`WritePath`], `Slot`, `WriteHalf`, `Step`, the attention flag | `write/write_path.rs`, `write/slot.rs`, `write/blockage.rs`, `write/attention.rs` |
//! | `in_flight.rs`: `InFlight` | `write/in_flight.rs` |
//! | `control_slot.rs`: `ControlSlot`, with a pong only | `write/control_slot.rs` |
//! | `fragments.rs`: `Fragments`, of one stream | `queue/fragments.rs` |
//! | `wake_up.rs`: `WakeUp`, a flag and a condition variable | `write/wake_up.rs`, a channel of capacity one |
//! | `lifecycle.rs`: `Lifecycle`, from [`Phase::Open`] on | `lifecycle.rs` |
//! | `send_queue.rs`: `SendQueue`, a list under a lock | `queue/send_queue.rs`, a crossbeam channel |
//! | `shared.rs`: [`WritePath::close`], `send_pong`, `send_ping`, `give_up`, `tear_down` | `shared.rs` |
//! | `shared.rs`: [`WritePath::send`], [`WritePath::enqueue`] | `queue/outbox.rs`: `push`, `enqueue` |
//! | `shared.rs`: [`WritePath::run`] | `write/writer.rs` |
//! | `socket.rs`, `log.rs` | not in the product: a scripted socket, and what the tests check |
//! | `switch_point.rs` | not in the product: makes loom try more orders |
//!
//! A frame is two bytes, so that the socket can refuse the second half of it. Each [`Mutant`] is one small change to the
//! protocol that the tests must find wrong.
//!
//! The queue's length is a *relaxed* counter, which is weaker than crossbeam's. So the results rest on the lock of the
//! slot and not on the queue. loom treats `SeqCst` operations as `AcqRel`. The protocol needs more in one place, where
//! the model has a fence (`WritePath::total_order`).
//!
//! # What the model leaves out
//! - Time: deadlines and the watchdog, except that it may give up the connection.
//! - A write that waits for ever: a write that waits completes the frame in progress.
//! - Waiting for room in the queue, the byte limit, and the inside of crossbeam's channels.
//! - The end of a stream before its last fragment, and waiting for room for a fragment.
//! - Tickets, pending messages of topics, and the overflow list.
//! - Several messages in one direct write. One message stands for them.
//! - TLS. The frame in progress stands for all frames that have sealed bytes. A reader that sends an alert
//!   (`WritePath::send_session_records`) gives the connection up afterwards, as `give_up` does here.
//! - More than three threads, and more preemptions in one run than the tests allow. A thread that waits is not counted
//!   as preempted.
//!
//! `link.rs` is a second model: which thread may move the position of a topic that several hubs share.
//!
//! Writes cannot interleave, because there is one `WriteHalf` and it is moved. The model takes that from the type.

mod control_slot;
mod fragments;
mod in_flight;
mod lifecycle;
mod link;
mod log;
mod send_queue;
mod shared;
mod socket;
mod switch_point;
mod wake_up;
mod write_path;

use loom::sync::{Mutex, MutexGuard};

pub use lifecycle::{CloseMode, Phase};
pub use link::{Link, LinkMutant, Position};
pub use log::Record;
pub use socket::FAILS;
pub use write_path::WritePath;

/// Bytes of a frame.
pub const FRAME_BYTES: usize = 2;

/// One small change to the protocol, which the tests must find wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// `open` does not flush after it has released the write half.
    OpenDoesNotFlush,
    /// `flush` and `try_write_now` look for work before they release the write half.
    HelperLooksBeforeRelease,
    /// The writer looks for work before it releases the write half.
    WriterLooksBeforeRelease,
    /// `flush` and `try_write_now` do not notify the writer when the socket has refused something.
    RefusalDoesNotNotify,
    /// `step` clears the attention flag after it has looked at everything.
    AttentionClearedAfterLooking,
    /// `send_pong` sets the attention flag before it stores the pong.
    AttentionSetBeforeStoring,
    /// The attention flag and the phase are `AcqRel` instead of `SeqCst`.
    AttentionWithoutTotalOrder,
    /// `step` reads the phase before it clears the attention flag.
    PhaseReadBeforeAttention,
    /// `fill` does not set the attention flag again when a Close still waits for the queue.
    WaitingCloseForgotten,
    /// `fill` takes a Close that it had not seen before it found the queue empty.
    CloseNotSeenBeforeQueue,
    /// `fill` sends a pong although the Close has been taken.
    PongAfterClose,
    /// `finish` does not notify the writer.
    FinishDoesNotNotify,
    /// `release` puts the write half back into a slot that has been closed.
    ReleaseIgnoresClosed,
    /// A direct write does not look at what is in flight.
    DirectWritePassesInFlight,
    /// A direct write does not look at the queue.
    DirectWritePassesQueue,
    /// A sender that the queue refuses after it has tried a direct write does not flush.
    RefusedSenderDoesNotFlush,
    /// A sender that has queued a message does not look for the end of the connection.
    LateSenderDoesNotDrain,
    /// `drain` does not wait for another thread that drains.
    DrainDoesNotWait,
    /// A thread that has queued a fragment does not request attention.
    FragmentWithoutAttention,
    /// `fill` does not set the attention flag again when a fragment still waits for what is in flight.
    WaitingFragmentForgotten,
    /// A direct write does not look for a stream.
    DirectWritePassesStream,
    /// A Close after the queue does not wait for the end of a stream.
    ClosePassesStream,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .expect("no thread panics while it holds a lock")
}
