//! [`Deadlines`]: the deadlines of one connection, in atomics, so that the watchdog reads them without locks.
//!
//! Times are milliseconds of [`clock::now`]; 0 means *not set*.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::stopwatch::Stopwatch;
use crate::clock::{self, Clock};
use crate::config::Config;

#[derive(Debug)]
pub(crate) struct Deadlines {
    /// The time since which the socket has been refusing bytes.
    blocked_since: AtomicU64,
    /// For how long the socket has refused bytes, in all.
    blocked: Stopwatch,
    /// When the socket last accepted bytes after it had refused some. This shows that the peer is alive.
    progressed_at: AtomicU64,
    /// When the last ping was sent because of silence, if no byte has arrived since.
    pinged_at: AtomicU64,
    /// How many bytes of the peer lay unread in the kernel at the last look, while the handler was in its own code.
    unread: AtomicU64,
    /// When that number last changed.
    unread_changed_at: AtomicU64,
    /// When the message in progress began, plus the time during which we did not read.
    message_since: AtomicU64,
    /// When the opening handshake must be complete, or when an idle connection ends.
    handshake_by: AtomicU64,
    /// When the next 64 KiB of the request's body, or the rest of it, must have arrived.
    body_by: AtomicU64,
    /// When the closing handshake must be complete.
    close_by: AtomicU64,
    /// Since when everything of a message that is sent as a stream is written, and the next bytes have not come.
    stream_idle_since: AtomicU64,
}

/// The result of the watchdog's check of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum DeadlineCheck {
    /// No deadline has passed.
    Met,
    /// Nothing has arrived for `ping_interval`, so a ping is due.
    PingDue,
    /// A message that is sent as a stream has not been continued for `message_timeout`.
    StreamIdle,
    /// This deadline has passed.
    Passed(Clock),
}

impl Deadlines {
    pub(crate) fn new(config: &Config) -> Deadlines {
        Deadlines {
            blocked_since: AtomicU64::new(0),
            blocked: Stopwatch::default(),
            progressed_at: AtomicU64::new(0),
            pinged_at: AtomicU64::new(0),
            unread: AtomicU64::new(0),
            unread_changed_at: AtomicU64::new(0),
            message_since: AtomicU64::new(0),
            handshake_by: AtomicU64::new(clock::after(config.handshake_timeout)),
            body_by: AtomicU64::new(0),
            close_by: AtomicU64::new(0),
            stream_idle_since: AtomicU64::new(0),
        }
    }

    /// Clears the deadline of the opening handshake.
    pub(crate) fn stop_handshake(&self) {
        self.handshake_by.store(0, Relaxed);
    }

    /// Returns whether the opening handshake is in progress.
    pub(crate) fn is_opening(&self) -> bool {
        self.handshake_by.load(Relaxed) != 0
    }

    /// Gives the peer `time` from now to send a request, or to begin one.
    pub(crate) fn start_request(&self, time: Duration) {
        self.handshake_by.store(clock::after(time), Relaxed);
    }

    /// Gives the peer `message_timeout` from now to send the next 64 KiB of its request's body. Until the body has
    /// arrived, this deadline replaces that of the opening handshake.
    pub(crate) fn start_body(&self, config: &Config) {
        let by = clock::after(config.message_timeout);
        self.body_by.store(by, Relaxed);
        self.stop_handshake();
    }

    /// Clears the deadline of the body.
    pub(crate) fn stop_body(&self) {
        self.body_by.store(0, Relaxed);
    }

    /// Gives the closing handshake `close_timeout` from now. If a close deadline is already set, it does not change.
    pub(crate) fn start_closing(&self, config: &Config) {
        let by = clock::after(config.close_timeout);
        let _ = self.close_by.compare_exchange(0, by, Relaxed, Relaxed);
    }

    /// Records that a message that is sent as a stream waits for its next bytes.
    pub(crate) fn stream_waits(&self) {
        if self.stream_idle_since.load(Relaxed) == 0 {
            self.stream_idle_since.store(clock::now(), Relaxed);
        }
    }

    /// Records that a message that is sent as a stream has been continued, or has ended.
    pub(crate) fn stream_moves(&self) {
        self.stream_idle_since.store(0, Relaxed);
    }

    /// Records that the socket refused bytes. The first refusal starts the write clock. With `restart`, the clock
    /// starts again, because the socket has accepted 64 KiB meanwhile.
    pub(crate) fn socket_refused(&self, restart: bool) {
        let was_blocked = self.is_blocked();
        if restart || !was_blocked {
            let now = clock::now();
            self.blocked_since.store(now, Relaxed);
            self.blocked.start(now);
            if was_blocked {
                self.progressed_at.store(now, Relaxed);
            }
        }
    }

    /// Records that the socket accepted all offered bytes.
    pub(crate) fn socket_accepted_all(&self) {
        if self.is_blocked() {
            let now = clock::now();
            self.progressed_at.store(now, Relaxed);
            self.blocked_since.store(0, Relaxed);
            self.blocked.stop(now);
        }
    }

    /// Returns whether the socket has refused bytes, and has not accepted everything since.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked_since.load(Relaxed) != 0
    }

    /// Returns the time since which the socket has refused bytes, or `None` if it is not blocked.
    pub(crate) fn blocked_since(&self) -> Option<u64> {
        match self.blocked_since.load(Relaxed) {
            0 => None,
            since => Some(since),
        }
    }

    /// Returns for how long the socket has refused bytes, in all.
    pub(crate) fn blocked_time(&self) -> Duration {
        self.blocked.total(clock::now)
    }

    /// Records that the reader waits for the peer again, or that bytes have arrived that it has not read yet. Its last
    /// read returned at `read_at`. Since then it was in the handler or waited for room in a queue. This time does not
    /// count against the message in progress, whose next bytes may have arrived unread meanwhile.
    pub(crate) fn start_read(&self, read_at: u64) {
        let since = self.message_since.load(Relaxed);
        if since != 0 {
            let ours = clock::now().saturating_sub(read_at);
            self.message_since.store(since + ours, Relaxed);
        }
    }

    /// Restarts the clock of the message in progress, because enough of it has arrived.
    pub(crate) fn message_progressed(&self) {
        if self.message_since.load(Relaxed) != 0 {
            self.message_since.store(clock::now(), Relaxed);
        }
    }

    /// Returns whether a ping has been sent, and no byte has been received since.
    pub(crate) fn is_pinged(&self) -> bool {
        self.pinged_at.load(Relaxed) != 0
    }

    /// Records that bytes from the peer can be read, so that it is alive.
    pub(crate) fn ping_answered(&self) {
        if self.is_pinged() {
            self.pinged_at.store(0, Relaxed);
        }
    }

    /// Records that bytes have arrived. `in_message` is true if they end inside a message.
    pub(crate) fn bytes_received(&self, in_message: bool) {
        self.ping_answered();
        if !in_message {
            self.message_since.store(0, Relaxed);
        } else if self.message_since.load(Relaxed) == 0 {
            self.message_since.store(clock::now(), Relaxed);
        }
    }

    /// Records that a ping is being sent because of the silence of the peer, of which `unread` bytes lie unread. The
    /// number of an earlier look may be that of an earlier pong, which has been read since.
    pub(crate) fn ping_sent(&self, now: u64, unread: u64) {
        self.unread.store(unread, Relaxed);
        self.pinged_at.store(now, Relaxed);
    }

    /// Returns what the watchdog must do about this connection at the time `now`.
    ///
    /// `reading_since` is the time of the last byte from the peer, or `None` if the reader has not looked for more since
    /// then. The message clock and the ping clock run only after it has looked. At other times the pongs of a healthy
    /// peer may lie unread in the kernel. A dead peer is then detected by the write clock, or by TCP.
    pub(crate) fn check(
        &self,
        now: u64,
        reading_since: Option<u64>,
        config: &Config,
    ) -> DeadlineCheck {
        let passed = |by: u64| by != 0 && now >= by;
        let lasted =
            |since: u64, limit| since != 0 && now.saturating_sub(since) >= clock::millis(limit);
        if passed(self.handshake_by.load(Relaxed)) {
            return DeadlineCheck::Passed(Clock::Handshake);
        }
        if passed(self.body_by.load(Relaxed)) {
            return DeadlineCheck::Passed(Clock::Message);
        }
        let close_by = self.close_by.load(Relaxed);
        if close_by != 0 {
            return if passed(close_by) {
                DeadlineCheck::Passed(Clock::Close)
            } else {
                DeadlineCheck::Met
            };
        }
        if lasted(self.blocked_since.load(Relaxed), config.write_timeout) {
            return DeadlineCheck::Passed(Clock::Write);
        }
        let idle_since = self.stream_idle_since.load(Relaxed);
        if lasted(idle_since, config.message_timeout) {
            return DeadlineCheck::StreamIdle;
        }
        let Some(reading_since) = reading_since else {
            return DeadlineCheck::Met;
        };
        if lasted(self.message_since.load(Relaxed), config.message_timeout) {
            return DeadlineCheck::Passed(Clock::Message);
        }
        self.check_ping(now, reading_since, config)
    }

    /// Checks the ping clock of a peer of which nothing has arrived since the time `silent_since`.
    fn check_ping(&self, now: u64, silent_since: u64, config: &Config) -> DeadlineCheck {
        let lasted = |since: u64, limit| now.saturating_sub(since) >= clock::millis(limit);
        match self.pinged_at.load(Relaxed) {
            0 if lasted(silent_since, config.ping_interval) => DeadlineCheck::PingDue,
            0 => DeadlineCheck::Met,
            pinged_at => {
                // A peer that is still receiving data reads our ping only after that data.
                let progressed_at = self.progressed_at.load(Relaxed);
                let since = pinged_at.max(silent_since).max(progressed_at);
                if lasted(since, config.ping_timeout) {
                    DeadlineCheck::Passed(Clock::Ping)
                } else {
                    DeadlineCheck::Met
                }
            }
        }
    }

    /// As [`check`](Self::check), while the handler is in its own code since the time `since`, and `unread` bytes of the
    /// peer lie in the kernel. Nobody reads a pong then, but a pong makes them more. So any change of their number is a
    /// sign of life.
    ///
    /// A peer of which much lies unread is not judged, because the kernel may have no room for its pong. Nor is one whose
    /// socket refuses bytes, or that has not been sent its 101, because the ping has not reached it.
    pub(crate) fn check_unread(
        &self,
        now: u64,
        since: u64,
        unread: u64,
        config: &Config,
    ) -> DeadlineCheck {
        if self.unread.swap(unread, Relaxed) != unread {
            self.unread_changed_at.store(now, Relaxed);
            self.ping_answered();
            return DeadlineCheck::Met;
        }
        let is_closing = self.close_by.load(Relaxed) != 0;
        if unread > MOST_UNREAD || is_closing || self.is_opening() || self.is_blocked() {
            return DeadlineCheck::Met;
        }
        let since = since.max(self.unread_changed_at.load(Relaxed));
        self.check_ping(now, since, config)
    }
}

/// With more unread bytes, a peer whose handler is in its own code is not judged. The smallest receive buffer of Linux
/// holds more than this and a pong.
const MOST_UNREAD: u64 = 1024;

#[cfg(test)]
#[path = "tests/deadlines.rs"]
mod tests;
