//! [`Activity`]: what one thread of a client is doing, and since when. The watchdog and monitoring read it without locks.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::clock;

/// The activity of one of a client's two threads. [`ThreadState`](crate::ThreadState) shows it. [`Display`](fmt::Display) is
/// the text that logs and `/debug/clients` show.
///
/// ```
/// use standpipe::{Activity, ServerHandle};
///
/// /// Returns the numbers of the clients in whose queues a handler waits for room.
/// fn waited_for(handle: &ServerHandle) -> Vec<u64> {
///     let states = handle.client_states().into_iter();
///     states
///         .filter_map(|state| match state.reader.activity {
///             Activity::WaitingForRoom(number) => Some(number),
///             _ => None,
///         })
///         .collect()
/// }
/// # let _: fn(&ServerHandle) -> Vec<u64> = waited_for;
/// assert_eq!(Activity::WaitingForRoom(7).to_string(), "waiting for room in client 7's queue");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activity {
    /// The handshake thread is reading or answering the request.
    Handshake,
    /// The reader waits for the peer's bytes, since the last one.
    Reading,
    /// The reader runs the handler.
    InHandler,
    /// The reader runs the handler, which has looked for bytes of the peer and found none.
    Polling,
    /// The reader waits for room in the queue of the client with this number.
    WaitingForRoom(u64),
    /// The handler has returned, and the reader waits for the end of the closing handshake.
    Closing,
    /// The writer waits for work.
    Idle,
    /// The writer is writing as much as the socket accepts without blocking.
    Writing,
    /// The writer waits for the socket to accept more.
    Blocked,
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Activity::Handshake => "reading the request",
            Activity::Reading => "waiting for the peer",
            Activity::InHandler | Activity::Polling => "in the handler",
            Activity::WaitingForRoom(number) => {
                return write!(f, "waiting for room in client {number}'s queue");
            }
            Activity::Closing => "closing",
            Activity::Idle => "idle",
            Activity::Writing => "writing",
            Activity::Blocked => "blocked in write",
        })
    }
}

/// The current [`Activity`] of one thread, and when it began.
#[derive(Debug)]
pub(crate) struct ThreadActivity {
    /// The kind is in the top byte, and the time in the lower seven.
    packed: AtomicU64,
    /// The number in [`Activity::WaitingForRoom`].
    waits_for: AtomicU64,
}

const KIND_SHIFT: u32 = 56;

impl ThreadActivity {
    pub(crate) fn new(activity: Activity) -> ThreadActivity {
        let thread = ThreadActivity {
            packed: AtomicU64::new(0),
            waits_for: AtomicU64::new(0),
        };
        thread.set(activity);
        thread
    }

    /// Records that `activity` begins now. Returns the current time.
    pub(crate) fn set(&self, activity: Activity) -> u64 {
        let now = clock::now();
        self.set_since(activity, now);
        now
    }

    /// Records that `activity` began at the time `since`.
    pub(crate) fn set_since(&self, activity: Activity, since: u64) {
        let kind = match activity {
            Activity::Handshake => 0,
            Activity::Reading => 1,
            Activity::InHandler => 2,
            Activity::WaitingForRoom(number) => {
                self.waits_for.store(number, Relaxed);
                3
            }
            Activity::Closing => 4,
            Activity::Idle => 5,
            Activity::Writing => 6,
            Activity::Blocked => 7,
            Activity::Polling => 8,
        };
        self.packed.store(kind << KIND_SHIFT | since, Relaxed);
    }

    /// Returns the activity, and when it began.
    pub(crate) fn get(&self) -> (Activity, u64) {
        let packed = self.packed.load(Relaxed);
        let activity = match packed >> KIND_SHIFT {
            0 => Activity::Handshake,
            1 => Activity::Reading,
            2 => Activity::InHandler,
            3 => Activity::WaitingForRoom(self.waits_for.load(Relaxed)),
            4 => Activity::Closing,
            5 => Activity::Idle,
            6 => Activity::Writing,
            7 => Activity::Blocked,
            _ => Activity::Polling,
        };
        (activity, packed & ((1 << KIND_SHIFT) - 1))
    }

    /// Returns whether the thread is in the handler's code, or in a call of the handler that waits for room in a queue.
    pub(crate) fn is_in_handler(&self) -> bool {
        matches!(
            self.get().0,
            Activity::InHandler | Activity::Polling | Activity::WaitingForRoom(_)
        )
    }

    /// Returns the time of the peer's last byte, if the thread waits for the next one, or has found none. Otherwise
    /// returns `None`.
    pub(crate) fn reading_since(&self) -> Option<u64> {
        match self.get() {
            (Activity::Reading | Activity::Polling, since) => Some(since),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activity_keeps_its_kind_number_and_time() {
        for activity in [
            Activity::Handshake,
            Activity::Reading,
            Activity::InHandler,
            Activity::WaitingForRoom(u64::MAX),
            Activity::Closing,
            Activity::Idle,
            Activity::Writing,
            Activity::Blocked,
            Activity::Polling,
        ] {
            let thread = ThreadActivity::new(Activity::Idle);
            thread.set_since(activity, 1000);
            assert_eq!(thread.get(), (activity, 1000));
            let reads = matches!(activity, Activity::Reading | Activity::Polling);
            let reading = reads.then_some(1000);
            assert_eq!(thread.reading_since(), reading);
            let before = clock::now();
            let set = thread.set(activity);
            assert_eq!(thread.get(), (activity, set));
            assert!((before..=clock::now()).contains(&set));
        }
    }
}
