//! [`State`]: what the two threads of one client are doing since when, in atomics: the watchdog and whoever watches the
//! server read them without stopping anybody.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::clock;
use crate::config::Config;

/// What a thread is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    /// The reader reads the request head.
    Head,
    /// The reader waits for the peer's bytes.
    Reading,
    /// The reader runs the handler.
    InHandler,
    /// The reader waits for room in the outbox of the client with this number.
    WaitingForRoom(u64),
    /// The handler has returned; the reader waits for the end of the closing handshake.
    Closing,
    /// The writer waits for its bell.
    Idle,
    /// The writer writes what the socket takes at once.
    Writing,
    /// The writer waits for the socket.
    Blocked,
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Activity::Head => "reading the request",
            Activity::Reading => "waiting for the peer",
            Activity::InHandler => "in the handler",
            Activity::WaitingForRoom(client) => {
                return write!(f, "waiting for room in client {client}'s queue");
            }
            Activity::Closing => "closing",
            Activity::Idle => "idle",
            Activity::Writing => "writing",
            Activity::Blocked => "blocked in write",
        })
    }
}

/// One thread's [`Activity`] and the moment it began.
#[derive(Debug)]
pub(crate) struct ThreadActivity {
    /// The kind in the top byte, the moment in the rest.
    what: AtomicU64,
    /// For `WaitingForRoom`.
    whose: AtomicU64,
}

const KIND_SHIFT: u32 = 56;

impl ThreadActivity {
    fn new(doing: Activity) -> ThreadActivity {
        let activity = ThreadActivity {
            what: AtomicU64::new(0),
            whose: AtomicU64::new(0),
        };
        activity.set(doing);
        activity
    }

    /// Gives the moment.
    pub(crate) fn set(&self, doing: Activity) -> u64 {
        let kind = match doing {
            Activity::Head => 0,
            Activity::Reading => 1,
            Activity::InHandler => 2,
            Activity::WaitingForRoom(client) => {
                self.whose.store(client, Relaxed);
                3
            }
            Activity::Closing => 4,
            Activity::Idle => 5,
            Activity::Writing => 6,
            Activity::Blocked => 7,
        };
        let now = clock::now();
        self.what.store(kind << KIND_SHIFT | now, Relaxed);
        now
    }

    /// What, and since when.
    pub(crate) fn get(&self) -> (Activity, u64) {
        let what = self.what.load(Relaxed);
        let doing = match what >> KIND_SHIFT {
            0 => Activity::Head,
            1 => Activity::Reading,
            2 => Activity::InHandler,
            3 => Activity::WaitingForRoom(self.whose.load(Relaxed)),
            4 => Activity::Closing,
            5 => Activity::Idle,
            6 => Activity::Writing,
            _ => Activity::Blocked,
        };
        (doing, what & ((1 << KIND_SHIFT) - 1))
    }
}

/// One client's state. Moments are [`clock::now`]'s; 0 is *not set*.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) reader: ThreadActivity,
    pub(crate) writer: ThreadActivity,
    /// The socket has refused bytes since.
    blocked_since: AtomicU64,
    /// A socket that had refused took something: its peer lives, whatever it says.
    progressed: AtomicU64,
    /// The message that the socket refuses was queued.
    oldest: AtomicU64,
    /// Our ping went out, and nothing has come since.
    pinged: AtomicU64,
    /// The message that is coming in began, shifted by the time in which we did not read.
    message_since: AtomicU64,
    /// The moments by which the head must be answered, and the closing handshake be over.
    head_by: AtomicU64,
    close_by: AtomicU64,
    /// The peer's last answer to a ping took so many milliseconds, plus one.
    round_trip: AtomicU64,
    /// It was reset, not closed.
    pub(crate) was_reset: AtomicBool,
    /// Our Close has been given to the kernel whole.
    pub(crate) close_sent: AtomicBool,
}

/// What the watchdog finds when it looks at a client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum DeadlineCheck {
    Met,
    /// Nothing has come for `ping_interval`.
    PingDue,
    /// This deadline has passed; the names are [`Config`]'s.
    Overdue(&'static str),
}

impl State {
    pub(crate) fn new(config: &Config) -> State {
        State {
            reader: ThreadActivity::new(Activity::Head),
            writer: ThreadActivity::new(Activity::Idle),
            blocked_since: AtomicU64::new(0),
            progressed: AtomicU64::new(0),
            oldest: AtomicU64::new(0),
            pinged: AtomicU64::new(0),
            message_since: AtomicU64::new(0),
            head_by: AtomicU64::new(clock::after(config.handshake_timeout)),
            close_by: AtomicU64::new(0),
            round_trip: AtomicU64::new(0),
            was_reset: AtomicBool::new(false),
            close_sent: AtomicBool::new(false),
        }
    }

    /// The request head is answered: its clock stops.
    pub(crate) fn head_answered(&self) {
        self.head_by.store(0, Relaxed);
    }

    /// The answer to a request must be taken within `handshake_timeout` from now.
    pub(crate) fn answering(&self, config: &Config) {
        let by = clock::after(config.handshake_timeout);
        self.head_by.store(by, Relaxed);
    }

    /// The closing handshake must be over within `close_timeout` from now; the first such moment stands.
    pub(crate) fn closing(&self, config: &Config) {
        let by = clock::after(config.close_timeout);
        let _ = self.close_by.compare_exchange(0, by, Relaxed, Relaxed);
    }

    /// The socket refused bytes of a message that was queued at `queued`. The first refusal starts the clock, and so
    /// does each further 64 KiB.
    pub(crate) fn refused(&self, anew: bool, queued: u64) {
        self.oldest.store(queued, Relaxed);
        let was_blocked = self.blocked_since.load(Relaxed) != 0;
        if anew || !was_blocked {
            let now = clock::now();
            self.blocked_since.store(now, Relaxed);
            if was_blocked {
                self.progressed.store(now, Relaxed);
            }
        }
    }

    /// The socket took all it was offered.
    pub(crate) fn took_all(&self) {
        if self.blocked_since.load(Relaxed) != 0 {
            self.progressed.store(clock::now(), Relaxed);
            self.blocked_since.store(0, Relaxed);
            self.oldest.store(0, Relaxed);
        }
    }

    /// When the message was queued that the socket refuses, if it does.
    pub(crate) fn oldest(&self) -> Option<u64> {
        match self.oldest.load(Relaxed) {
            0 => None,
            queued => Some(queued),
        }
    }

    /// Milliseconds the peer's last answer to a ping took.
    pub(crate) fn round_trip(&self) -> Option<u64> {
        self.round_trip.load(Relaxed).checked_sub(1)
    }

    /// Whether the socket has refused bytes and has not taken all it was offered since.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked_since.load(Relaxed) != 0
    }

    /// The reader begins to wait for the peer, having last read at `read_at`.
    pub(crate) fn begins_to_read(&self, read_at: u64) {
        let since = self.message_since.load(Relaxed);
        if since != 0 {
            // Time in the handler or under backpressure is ours, not the peer's.
            let ours = clock::now().saturating_sub(read_at);
            self.message_since.store(since + ours, Relaxed);
        }
        self.reader.set(Activity::Reading);
    }

    /// Bytes have come; `in_message` says whether they end inside a message.
    pub(crate) fn heard(&self, in_message: bool) {
        if self.pinged.load(Relaxed) != 0 {
            self.pinged.store(0, Relaxed);
        }
        if !in_message {
            self.message_since.store(0, Relaxed);
        } else if self.message_since.load(Relaxed) == 0 {
            self.message_since.store(clock::now(), Relaxed);
        }
    }

    /// The peer answered a ping that was sent at `sent`.
    pub(crate) fn answered(&self, sent: u64) {
        let took = clock::now().saturating_sub(sent);
        self.round_trip.store(took.saturating_add(1), Relaxed);
    }

    /// What the watchdog has to do about this client at the moment `now`.
    ///
    /// The peer's clocks run only while the reader waits in `read`: while it is in the handler, or held by
    /// backpressure, nobody reads, and a healthy peer's pongs lie in the kernel. A dead one is then found by the write
    /// rule, or by TCP.
    pub(crate) fn judge(&self, now: u64, config: &Config) -> DeadlineCheck {
        let passed = |by: u64| by != 0 && now >= by;
        let lasted =
            |since: u64, limit| since != 0 && now.saturating_sub(since) >= clock::millis(limit);
        if passed(self.head_by.load(Relaxed)) {
            return DeadlineCheck::Overdue("handshake_timeout");
        }
        let close_by = self.close_by.load(Relaxed);
        if close_by != 0 {
            return if passed(close_by) {
                DeadlineCheck::Overdue("close_timeout")
            } else {
                DeadlineCheck::Met
            };
        }
        if lasted(self.blocked_since.load(Relaxed), config.write_timeout) {
            return DeadlineCheck::Overdue("write_timeout");
        }
        let (Activity::Reading, reading_since) = self.reader.get() else {
            return DeadlineCheck::Met;
        };
        if lasted(self.message_since.load(Relaxed), config.message_timeout) {
            return DeadlineCheck::Overdue("message_timeout");
        }
        // A peer that takes what it is sent may find our ping only behind all of that.
        let quiet_since = reading_since.max(self.progressed.load(Relaxed));
        match self.pinged.load(Relaxed) {
            0 if lasted(reading_since, config.ping_interval) => {
                self.pinged.store(now, Relaxed);
                DeadlineCheck::PingDue
            }
            0 => DeadlineCheck::Met,
            pinged if lasted(pinged.max(quiet_since), config.ping_timeout) => {
                DeadlineCheck::Overdue("ping_timeout")
            }
            _ => DeadlineCheck::Met,
        }
    }
}

#[cfg(test)]
#[path = "tests/deadlines.rs"]
mod tests;
