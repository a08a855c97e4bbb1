//! [`ShutdownSignal`]: how far the shutdown of a server has come, and the wake-up of its acceptors.
//!
//! An acceptor waits for its listener and for the wake-up descriptor at the same time. The descriptor is not the
//! listener, so no acceptor takes a client for a wake-up. The acceptor of a channel waits for the latch instead.

use std::convert::Infallible;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use crate::sync::{Latch, lock};

#[derive(Debug)]
pub(crate) struct ShutdownSignal {
    /// For how long clients are still accepted after shutdown has begun.
    drain_delay: Duration,
    begun: OnceLock<Instant>,
    /// Set when no client is accepted any more.
    closing: Latch,
    /// Set when the last acceptor has ended.
    accepting_ended: Latch,
    /// The other end of the wake-up descriptor, until it is dropped to wake the acceptors.
    wake_up: Mutex<Option<UnixStream>>,
}

impl ShutdownSignal {
    /// Returns the signal, and the wake-up descriptor. The descriptor is at the end of its stream from the moment when
    /// clients are not accepted any more.
    pub(crate) fn new(drain_delay: Duration) -> io::Result<(ShutdownSignal, UnixStream)> {
        let (ours, acceptors) = UnixStream::pair()?;
        let signal = ShutdownSignal {
            drain_delay,
            begun: OnceLock::new(),
            closing: Latch::new(),
            accepting_ended: Latch::new(),
            wake_up: Mutex::new(Some(ours)),
        };
        Ok((signal, acceptors))
    }

    /// Begins the shutdown. Clients are still accepted for `drain_delay`.
    pub(crate) fn begin(&self) {
        self.begun.get_or_init(Instant::now);
        if self.drain_delay.is_zero() {
            self.stop_accepting();
        }
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.begun.get().is_some()
    }

    /// Stops accepting if `drain_delay` has passed since the shutdown began. The watchdog calls this on every tick.
    pub(super) fn check_drain_delay(&self) {
        let begun = self.begun.get();
        if begun.is_some_and(|begun| begun.elapsed() >= self.drain_delay) {
            self.stop_accepting();
        }
    }

    /// Wakes the acceptors, so that they close their listeners and end. A shutdown that has not begun begins.
    pub(super) fn stop_accepting(&self) {
        self.begun.get_or_init(Instant::now);
        // Set before the acceptors are woken, because they then look at this latch.
        self.closing.set();
        drop(lock(&self.wake_up).take());
    }

    /// Returns whether clients are not accepted any more. A client that is not upgraded by then is answered 503.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.is_set()
    }

    /// Returns a channel that disconnects when clients are not accepted any more. Nothing is ever sent on it.
    pub(super) fn closing(&self) -> &Receiver<Infallible> {
        self.closing.receiver()
    }

    /// Waits until clients are not accepted any more, for at most `limit`. Returns whether that is so.
    ///
    /// # Blocking
    /// Woken by [`stop_accepting`](Self::stop_accepting).
    pub(super) fn wait_for_closing(&self, limit: Duration) -> bool {
        self.closing.wait(limit)
    }

    /// Records that the last acceptor has ended, so that no client is added any more.
    pub(super) fn mark_accepting_ended(&self) {
        self.accepting_ended.set();
    }

    /// Waits until the last acceptor has ended, for at most `limit`. Returns whether it has ended.
    ///
    /// # Blocking
    /// Woken by [`mark_accepting_ended`](Self::mark_accepting_ended).
    pub(super) fn wait_for_acceptors(&self, limit: Duration) -> bool {
        self.accepting_ended.wait(limit)
    }
}

/// Stops accepting when this value is dropped, also after an error or a panic.
#[derive(Debug)]
pub(super) struct StopOnDrop<'a>(pub(super) &'a ShutdownSignal);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop_accepting();
    }
}

/// Stops accepting, and records that the last acceptor has ended, when this value is dropped.
#[derive(Debug)]
pub(super) struct EndOnDrop<'a>(pub(super) &'a ShutdownSignal);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop_accepting();
        self.0.mark_accepting_ended();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// Returns whether the wake-up descriptor wakes a thread that polls it.
    fn wakes(descriptor: &mut UnixStream) -> bool {
        descriptor
            .set_nonblocking(true)
            .expect("the descriptor is open");
        matches!(descriptor.read(&mut [0]), Ok(0))
    }

    #[test]
    fn without_a_delay_the_acceptors_are_woken_immediately() {
        let (signal, mut acceptors) = ShutdownSignal::new(Duration::ZERO).expect("a socket pair");
        signal.check_drain_delay();
        assert!(!signal.has_begun() && !signal.is_closing() && !wakes(&mut acceptors));
        signal.begin();
        assert!(signal.has_begun() && signal.is_closing() && wakes(&mut acceptors));
    }

    #[test]
    fn delay_keeps_the_acceptors_until_it_is_over() {
        let hour = Duration::from_secs(3600);
        let (signal, mut acceptors) = ShutdownSignal::new(hour).expect("a socket pair");
        signal.begin();
        signal.check_drain_delay();
        assert!(signal.has_begun() && !signal.is_closing() && !wakes(&mut acceptors));
        // An acceptor that fails ends the delay.
        drop(StopOnDrop(&signal));
        assert!(signal.is_closing() && wakes(&mut acceptors));

        let (signal, mut acceptors) = ShutdownSignal::new(Duration::from_nanos(1)).expect("a pair");
        signal.begin();
        signal.check_drain_delay();
        assert!(signal.is_closing() && wakes(&mut acceptors));
    }
}
