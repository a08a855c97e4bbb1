//! [`Pings`]: the pings that we send, and what their pongs say. This is the only place that makes and recognizes the
//! payload of a ping of ours.
//!
//! The payload has 8 bytes. The first says what the ping is for, so that other kinds can be added: 0 is a ping that
//! measures the round trip. The other seven bytes are the time at which it was sent, in microseconds.
//!
//! At most one ping is outstanding. A ping that is sent before its answer repeats its payload, so it cannot be taken for
//! another one, and the first answer counts. A pong with any other payload is ignored: the peer may send pongs of its own
//! (RFC 6455 §5.5.3), and must not be able to choose its round trip.
//!
//! Whether the peer is alive is not decided here. Any byte shows that: see [`Deadlines`](super::deadlines::Deadlines).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Duration;

use crate::clock;

/// What the first byte of a payload says: the ping measures the round trip.
const ROUND_TRIP: u8 = 0;

#[derive(Debug)]
pub(crate) struct Pings {
    /// When the outstanding ping was sent, in microseconds, or 0 if every ping has been answered.
    sent: AtomicU64,
    /// When the watchdog last asked for a ping, or a ping was last sent, in milliseconds.
    last: AtomicU64,
    /// The time from the last answered ping to its pong, in microseconds, plus one.
    round_trip: AtomicU64,
}

impl Pings {
    /// The first ping is due one interval after this call.
    pub(crate) fn new() -> Pings {
        Pings {
            sent: AtomicU64::new(0),
            last: AtomicU64::new(clock::now()),
            round_trip: AtomicU64::new(0),
        }
    }

    /// Returns the payload of a ping that is about to be written. Only the thread that holds the write half calls this.
    pub(crate) fn payload(&self) -> [u8; 8] {
        let mut sent = self.sent.load(SeqCst);
        if sent == 0 {
            sent = clock::micros();
            self.sent.store(sent, SeqCst);
            self.last.store(clock::now(), Relaxed);
        }
        let mut payload = sent.to_be_bytes();
        payload[0] = ROUND_TRIP;
        payload
    }

    /// Records a pong, if it answers the outstanding ping. Returns whether it does.
    pub(crate) fn pong_received(&self, payload: &[u8]) -> bool {
        let Ok(payload) = <[u8; 8]>::try_from(payload) else {
            return false;
        };
        let sent = u64::from_be_bytes(payload);
        // While no ping is outstanding, `self.sent` is 0.
        let is_answer = sent != 0 && self.sent.compare_exchange(sent, 0, SeqCst, SeqCst).is_ok();
        if is_answer {
            let took = clock::micros().saturating_sub(sent);
            self.round_trip.store(took.saturating_add(1), Relaxed);
        }
        is_answer
    }

    /// Returns whether a ping waits for its answer.
    pub(crate) fn is_outstanding(&self) -> bool {
        self.sent.load(SeqCst) != 0
    }

    /// Returns the time from the last answered ping to its pong.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        let micros = self.round_trip.load(Relaxed).checked_sub(1)?;
        Some(Duration::from_micros(micros))
    }

    /// Records that the watchdog asks for a ping. If the socket is blocked, it may be long until the ping is sent.
    pub(crate) fn asked(&self, now: u64) {
        self.last.store(now, Relaxed);
    }

    /// Returns whether the round trip of a client that is never silent must be measured: no ping was sent for `interval`,
    /// and the reader has begun to wait less than half an interval ago. A reader that has waited for longer will be pinged
    /// soon because of the silence. While the reader does not wait, its handler would be measured.
    pub(crate) fn is_due(&self, now: u64, reading_since: Option<u64>, interval: Duration) -> bool {
        let interval = clock::millis(interval);
        let ago = |since: u64| now.saturating_sub(since);
        reading_since.is_some_and(|since| {
            ago(self.last.load(Relaxed)) >= interval && ago(since) < interval / 2
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(1000);

    #[test]
    fn only_the_outstanding_ping_can_be_answered() {
        let pings = Pings::new();
        for unsolicited in [&[0; 8][..], b"", b"12345678", b"123456789"] {
            pings.pong_received(unsolicited);
        }
        assert_eq!((pings.round_trip(), pings.is_outstanding()), (None, false));
        let payload = pings.payload();
        assert_eq!(payload[0], 0, "the kind of the ping");
        assert!(pings.is_outstanding());
        let mut other = payload;
        for byte in 0..8 {
            other[byte] ^= 1;
            pings.pong_received(&other);
            other[byte] ^= 1;
        }
        assert_eq!((pings.round_trip(), pings.is_outstanding()), (None, true));
        assert_eq!(pings.payload(), payload, "the same ping again");
        pings.pong_received(&payload);
        let round_trip = pings.round_trip();
        assert!(round_trip.is_some() && !pings.is_outstanding());
        pings.round_trip.store(u64::MAX, Relaxed);
        pings.pong_received(&payload);
        let unchanged = pings.round_trip.load(Relaxed);
        assert_eq!(unchanged, u64::MAX, "one answer counts");
    }

    #[test]
    fn round_trip_is_measured_in_microseconds() {
        let pings = Pings::new();
        let payload = pings.payload();
        let sent = u64::from_be_bytes(payload);
        while clock::micros() < sent + 100 {
            std::thread::yield_now();
        }
        pings.pong_received(&payload);
        let most = Duration::from_micros(clock::micros() - sent);
        let round_trip = pings.round_trip().expect("it was answered");
        assert!((Duration::from_micros(100)..=most).contains(&round_trip));
    }

    #[test]
    fn busy_client_is_pinged_once_per_interval() {
        let pings = Pings::new();
        pings.asked(5000);
        let is_due = |now, since| pings.is_due(now, since, INTERVAL);
        assert!(!is_due(5999, Some(5990)), "the interval is not over");
        assert!(is_due(6000, Some(5990)));
        assert!(is_due(6000, Some(5501)));
        assert!(!is_due(6000, Some(5500)), "silence will ping it");
        assert!(!is_due(9000, None), "the handler is running");
        pings.asked(6000);
        assert!(!is_due(6500, Some(6490)));
        // A ping of the program counts too.
        pings.last.store(0, Relaxed);
        pings.payload();
        let last = pings.last.load(Relaxed);
        assert!((1..=clock::now()).contains(&last));
    }
}
