//! [`ShutdownSignal`]: how far the shutdown of a server has come, and the wake-up of its acceptors.
//!
//! ```text
//! shutdown, drain ──▶ begun ── drain_delay ──▶ accepting has stopped ── grace ──▶ clients are closed
//! stop_accepting ────────────────────────────▶ accepting has stopped   (and nothing more)
//! ```
//!
//! An acceptor waits for its listener and for the wake-up descriptor at the same time. The descriptor is not the
//! listener, so no acceptor takes a client for a wake-up. The acceptor of a channel waits for the latch instead.

use std::convert::Infallible;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use crate::connection::common::CommonState;
use crate::sync::{Latch, lock};

/// The upper limit of a grace. A longer one could overflow when it is added to the current time.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

#[derive(Debug)]
pub(crate) struct ShutdownSignal {
    /// For how long clients are still accepted after shutdown has begun.
    drain_delay: Duration,
    begun: OnceLock<Instant>,
    /// Set when no client is accepted any more.
    closing: Latch,
    /// Its latch `draining` is set when no client is accepted any more because the server ends.
    common: Arc<CommonState>,
    /// Set when the last acceptor has ended.
    accepting_ended: Latch,
    /// The other end of the wake-up descriptor, until it is dropped to wake the acceptors.
    wake_up: Mutex<Option<UnixStream>>,
    end: Mutex<End>,
}

/// When the clients are closed.
#[derive(Debug, Default)]
struct End {
    /// The time that the clients get after accepting has stopped, if a shutdown has begun before that.
    grace: Option<Duration>,
    /// When the clients are closed. `None` while clients are accepted, and after `stop_accepting` alone.
    at: Option<Instant>,
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
            common: Arc::default(),
            accepting_ended: Latch::new(),
            wake_up: Mutex::new(Some(ours)),
            end: Mutex::default(),
        };
        Ok((signal, acceptors))
    }

    /// Begins the shutdown. Clients are still accepted for `drain_delay`, and served for `grace` after that. If this is
    /// called several times, the earliest end counts.
    pub(crate) fn begin(&self, grace: Duration) {
        self.begun.get_or_init(Instant::now);
        let grace = grace.min(YEAR);
        let mut end = lock(&self.end);
        end.grace = Some(end.grace.map_or(grace, |other| other.min(grace)));
        if self.is_closing() {
            self.fix(&mut end);
        }
        drop(end);
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

    /// Wakes the acceptors, so that they close their listeners and end. If a shutdown has begun, the grace of the clients
    /// begins.
    pub(super) fn stop_accepting(&self) {
        self.begun.get_or_init(Instant::now);
        let mut end = lock(&self.end);
        // Set before the acceptors are woken, because they then look at this latch.
        self.closing.set();
        self.fix(&mut end);
        drop(end);
        drop(lock(&self.wake_up).take());
    }

    /// Stops accepting, and gives the clients no grace.
    pub(super) fn stop_now(&self) {
        self.begin(Duration::ZERO);
        self.stop_accepting();
    }

    /// Decides when the clients are closed, if a shutdown has begun, and tells the handlers. Accepting has stopped.
    fn fix(&self, end: &mut End) {
        if let Some(grace) = end.grace.take() {
            let at = Instant::now() + grace;
            end.at = Some(end.at.map_or(at, |other| other.min(at)));
            self.common.draining.set();
        }
    }

    /// Returns whether clients are not accepted any more. A client that is not upgraded by then is answered 503.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.is_set()
    }

    /// Returns a channel that disconnects when clients are not accepted any more. Nothing is ever sent on it.
    pub(super) fn closing(&self) -> &Receiver<Infallible> {
        self.closing.receiver()
    }

    /// Returns when the clients are closed, or `None` if that has not been decided.
    pub(super) fn clients_close_at(&self) -> Option<Instant> {
        lock(&self.end).at
    }

    /// Returns whether the clients are being closed.
    pub(super) fn closes_clients(&self) -> bool {
        self.clients_close_at()
            .is_some_and(|at| at <= Instant::now())
    }

    /// Returns what all connections share.
    pub(crate) fn common(&self) -> &Arc<CommonState> {
        &self.common
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

/// Ends the server when this value is dropped, after an error or a panic: stops accepting, and gives the clients no
/// grace.
#[derive(Debug)]
pub(super) struct StopOnDrop<'a>(&'a ShutdownSignal);

impl<'a> StopOnDrop<'a> {
    pub(super) fn new(signal: &'a ShutdownSignal) -> StopOnDrop<'a> {
        StopOnDrop(signal)
    }

    /// Drops this value without ending the server.
    pub(super) fn disarm(self) {
        std::mem::forget(self);
    }
}

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop_now();
    }
}

/// Ends the server as [`StopOnDrop`], and records that the last acceptor has ended, when this value is dropped.
#[derive(Debug)]
pub(super) struct EndOnDrop<'a>(pub(super) &'a ShutdownSignal);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop_now();
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
        signal.begin(Duration::ZERO);
        assert!(signal.has_begun() && signal.is_closing() && wakes(&mut acceptors));
    }

    #[test]
    fn delay_keeps_the_acceptors_until_it_is_over() {
        let hour = Duration::from_secs(3600);
        let (signal, mut acceptors) = ShutdownSignal::new(hour).expect("a socket pair");
        signal.begin(Duration::ZERO);
        signal.check_drain_delay();
        assert!(signal.has_begun() && !signal.is_closing() && !wakes(&mut acceptors));
        // An acceptor that fails ends the delay.
        drop(StopOnDrop::new(&signal));
        assert!(signal.is_closing() && wakes(&mut acceptors));

        let (signal, mut acceptors) = ShutdownSignal::new(Duration::from_nanos(1)).expect("a pair");
        signal.begin(Duration::ZERO);
        signal.check_drain_delay();
        assert!(signal.is_closing() && wakes(&mut acceptors));
    }

    #[test]
    fn grace_begins_when_accepting_stops() {
        let hour = Duration::from_secs(3600);
        let (signal, _acceptors) = ShutdownSignal::new(hour).expect("a socket pair");
        signal.begin(hour);
        assert_eq!(signal.clients_close_at(), None);
        assert!(
            !signal.common().draining.is_set(),
            "clients are still accepted"
        );
        signal.stop_accepting();
        assert!(signal.common().draining.is_set() && !signal.closes_clients());
        let at = signal.clients_close_at().expect("a grace was given");
        assert!(at <= Instant::now() + hour);

        // The earliest end counts.
        signal.begin(2 * hour);
        assert_eq!(signal.clients_close_at(), Some(at));
        signal.begin(Duration::ZERO);
        assert!(signal.closes_clients());
    }

    #[test]
    fn stop_of_accepting_alone_closes_no_client() {
        let (signal, mut acceptors) = ShutdownSignal::new(Duration::ZERO).expect("a socket pair");
        signal.stop_accepting();
        assert!(signal.has_begun() && signal.is_closing() && wakes(&mut acceptors));
        assert_eq!(signal.clients_close_at(), None);
        assert!(!signal.common().draining.is_set());
        // A grace beyond what the clock can represent.
        signal.begin(Duration::MAX);
        assert!(signal.common().draining.is_set() && !signal.closes_clients());
        signal.stop_now();
        assert!(signal.closes_clients());
    }
}
