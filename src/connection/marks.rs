//! The marks of a connection: pings that are sent after messages, and the topics that wait until they are answered.

use super::shared::Shared;
use crate::clock;

impl Shared {
    /// Counts the round trip of the ping that has just been answered.
    pub(super) fn record_round_trip(&self) {
        if let Some(took) = self.write.control.pings.round_trip() {
            self.common.record_round_trip(took);
        }
    }

    /// Sends a mark after what has been written so far, unless one was sent less than `interval` milliseconds ago. A ping
    /// that is outstanding already is the mark.
    pub(crate) fn mark(&self, now: u64, interval: u64) {
        if self.write.queue.lateness.try_mark(now, interval) {
            self.ping();
        }
    }

    /// Returns whether the peer has not answered a mark for `limit` milliseconds. While no thread reads, an answer may
    /// have arrived unread, so the peer is not late then.
    pub(crate) fn is_late(&self, now: u64, limit: u64) -> bool {
        self.write.queue.lateness.is_late(now, limit)
            && self.reader.reading_since().is_some()
            && !self.has_missed_bytes()
    }

    /// Sends what topics hold back, because the mark has been answered, or counts as lost.
    pub(crate) fn release_held(&self) {
        let lateness = &self.write.queue.lateness;
        if !lateness.is_waiting() {
            return;
        }
        let released = lateness.release();
        if !released.is_empty() {
            self.write.queue.push_released(released);
            self.write.flush();
        }
    }

    /// Sends what topics hold back although the mark is not answered. Returns whether there was anything.
    pub(crate) fn send_held(&self) -> bool {
        let held = self.write.queue.lateness.take_held();
        let had_any = !held.is_empty();
        if had_any {
            self.write.queue.push_released(held);
            self.write.flush();
        }
        had_any
    }

    /// Sends what topics hold back if no mark has been answered for `ping_timeout` at the time `now`. It does not matter
    /// whether anybody has read since: otherwise a handler that waits for room in its own queue would wait for ever.
    pub(crate) fn release_overdue(&self, now: u64) {
        let limit = clock::millis(self.config().ping_timeout);
        if self.write.queue.lateness.is_late(now, limit) {
            self.release_held();
        }
    }
}
