//! [`Lifecycle`]: how far a connection has come, and why it ended.
//!
//! The [`Phase`] and the record are changed together, under the record's lock. Threads on the fast path read the phase
//! from the atomic without the lock.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use crossbeam_channel::Receiver;

use super::close_cause::{CloseCause, PeerClose};
use super::end_callbacks::{EndCallback, EndCallbacks, Registration};
pub(crate) use super::phase::Phase;
use super::write::close::{CloseMode, CloseReason};
use crate::clock::Clock;
use crate::sync::{Latch, lock};
use crate::watch::signal::Signal;

#[derive(Debug)]
pub(crate) struct Lifecycle {
    /// Written only under the lock of `record`.
    phase: AtomicU8,
    /// The peer's stream has ended while the handler was in its own code. Written only under the lock of `record`.
    stream_ended: AtomicBool,
    record: Mutex<Record>,
    /// Set when the connection begins to close. Wakes the threads that wait to send.
    closing: Latch,
    /// Set when the connection begins to close, or the peer's stream has ended. The application waits for it.
    closed: Latch,
    /// Fired when the connection begins to close, if the handler waits in `select!`.
    handler: OnceLock<Arc<Signal>>,
}

#[derive(Debug, Default)]
struct Record {
    /// The requested Close, until a thread takes it.
    close: Option<CloseReason>,
    cause: Option<CloseCause>,
    /// The Close that the peer has sent.
    peer_close: Option<Box<PeerClose>>,
    callbacks: EndCallbacks,
    /// The deadline that passed, so that the connection was reset. This may happen during a closing handshake.
    missed: Option<Clock>,
    was_reset: bool,
    /// The kernel has accepted our whole Close.
    close_sent: bool,
    /// The connection was open when shutdown began.
    open_at_shutdown: bool,
}

impl Record {
    /// Returns the cause for the end callbacks. None is recorded yet if only the peer's stream has ended.
    fn end_cause(&self) -> CloseCause {
        self.cause.clone().unwrap_or(CloseCause::Gone)
    }
}

/// How the shutdown report counts a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShutdownOutcome {
    /// Everything queued for the client, and the Close with 1001, was written.
    Drained,
    /// The client was reset, or its connection broke, before that.
    Lost,
    /// The client ended for another reason, or before the shutdown.
    Other,
}

impl Lifecycle {
    pub(crate) fn new() -> Lifecycle {
        Lifecycle {
            phase: AtomicU8::new(Phase::ReadingRequest as u8),
            stream_ended: AtomicBool::new(false),
            record: Mutex::default(),
            closing: Latch::new(),
            closed: Latch::new(),
            handler: OnceLock::new(),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        Phase::from_number(self.phase.load(Ordering::SeqCst))
    }

    /// Returns false once the connection has begun to close or has ended.
    pub(crate) fn is_open(&self) -> bool {
        matches!(
            self.phase(),
            Phase::Idle | Phase::ReadingRequest | Phase::Responding | Phase::Open
        )
    }

    /// Returns whether the opening handshake has succeeded.
    pub(crate) fn is_upgraded(&self) -> bool {
        self.phase() >= Phase::Open
    }

    /// Returns whether nothing will be written any more.
    pub(crate) fn is_finished(&self) -> bool {
        matches!(self.phase(), Phase::Rejected | Phase::Finished)
    }

    /// Returns whether messages from the peer are still received. They are not after a Close has been requested. They
    /// are after the connection has broken: what arrived before is in the kernel, followed by the end of the stream.
    pub(crate) fn may_receive(&self) -> bool {
        self.is_open()
            || self.phase() == Phase::Finished && lock(&self.record).cause == Some(CloseCause::Gone)
    }

    /// Returns a channel that disconnects when the connection begins to close, or the peer's stream has ended. Nothing
    /// is ever sent on it.
    pub(crate) fn closed(&self) -> &Receiver<Infallible> {
        self.closed.receiver()
    }

    /// Returns a channel that disconnects when the connection begins to close. Nothing is ever sent on it.
    pub(crate) fn closing(&self) -> &Receiver<Infallible> {
        self.closing.receiver()
    }

    /// Records that the request is complete. Returns false if the handshake has been rejected meanwhile.
    pub(crate) fn mark_request_received(&self) -> bool {
        self.advance(&[Phase::ReadingRequest], Phase::Responding)
    }

    /// Records that the client is waited for, although the head of its request is complete: it has to send the body,
    /// until [`mark_request_received`](Self::mark_request_received), or to read the answer.
    pub(crate) fn mark_awaiting_client(&self) {
        self.advance(&[Phase::Responding], Phase::ReadingRequest);
    }

    /// Records that the 101 is about to be sent. Returns false if the handshake has been rejected meanwhile.
    pub(crate) fn mark_upgraded(&self) -> bool {
        self.advance(&[Phase::Responding], Phase::Open)
    }

    /// Records that the request has been answered without an upgrade. It may be a request that cannot be read. Returns
    /// false if the connection has been rejected meanwhile.
    pub(crate) fn mark_idle(&self) -> bool {
        let from = [Phase::ReadingRequest, Phase::Responding];
        self.advance(&from, Phase::Idle)
    }

    /// Records that another request begins. Returns false if the connection has been rejected meanwhile.
    pub(crate) fn mark_next_request(&self) -> bool {
        self.advance(&[Phase::Idle], Phase::ReadingRequest)
    }

    /// Rejects the connection if it is idle. Returns whether it was.
    pub(crate) fn try_end_idle(&self) -> bool {
        self.advance(&[Phase::Idle], Phase::Rejected)
    }

    /// Rejects the handshake if the client is waited for, to free its slot. Returns whether the handshake was
    /// rejected.
    pub(crate) fn try_evict(&self) -> bool {
        self.advance(&[Phase::ReadingRequest], Phase::Rejected)
    }

    /// Rejects the handshake because the server shuts down. Returns false if the client has been upgraded or has ended.
    pub(crate) fn reject_handshake(&self) -> bool {
        let from = [Phase::Idle, Phase::ReadingRequest, Phase::Responding];
        self.advance(&from, Phase::Rejected)
    }

    fn advance(&self, from: &[Phase], to: Phase) -> bool {
        let _record = lock(&self.record);
        let may = from.contains(&self.phase());
        if may {
            self.set(to);
        }
        may
    }

    /// Must be called under the lock of `record`.
    fn set(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::SeqCst);
    }

    /// Requests a Close. Returns whether this Close will be sent.
    ///
    /// The first request wins, but an immediate Close replaces one that still waits for the queue. A Close that a
    /// thread has taken is never replaced.
    ///
    /// The caller must call [`announce_closing`](Self::announce_closing) *afterwards*. That call may wake a handler,
    /// which returns and requests another Close. That request must find this one already recorded.
    pub(crate) fn request_close(
        &self,
        mode: CloseMode,
        reason: CloseReason,
        cause: CloseCause,
    ) -> bool {
        let mut record = lock(&self.record);
        let next = match mode {
            CloseMode::AfterQueue => Phase::ClosingAfterQueue,
            CloseMode::Immediate => Phase::ClosingNow,
        };
        let wins = match self.phase() {
            // The connection is being reset, and its cause is recorded.
            _ if record.was_reset => false,
            Phase::Open => true,
            Phase::ClosingAfterQueue => mode == CloseMode::Immediate,
            _ => false,
        };
        if wins {
            record.close = Some(reason);
            record.cause = Some(cause);
            self.set(next);
        }
        wins
    }

    /// Takes the requested Close, if it must be sent without waiting for the queue.
    pub(crate) fn take_immediate_close(&self) -> Option<CloseReason> {
        self.take_close(|phase| phase == Phase::ClosingNow)
    }

    /// Takes the requested Close, for a caller that has found the queue empty. The caller must have read the phase, and
    /// found a Close waiting, before it checked the queue. Otherwise, a message and a Close may both have arrived after
    /// the check, and the message would be lost.
    pub(crate) fn take_deferred_close(&self) -> Option<CloseReason> {
        self.take_close(|phase| matches!(phase, Phase::ClosingAfterQueue | Phase::ClosingNow))
    }

    fn take_close(&self, may: impl Fn(Phase) -> bool) -> Option<CloseReason> {
        if !may(self.phase()) {
            return None;
        }
        let mut record = lock(&self.record);
        if !may(self.phase()) {
            return None;
        }
        self.set(Phase::CloseTaken);
        record.close.take()
    }

    /// Records that the kernel has accepted our whole Close.
    pub(crate) fn mark_close_sent(&self) {
        lock(&self.record).close_sent = true;
    }

    /// Records that nothing will be written any more. `cause` is recorded only if no cause has been recorded before.
    pub(crate) fn finish(&self, cause: CloseCause) {
        let mut record = lock(&self.record);
        record.close = None;
        match self.phase() {
            Phase::Rejected | Phase::Finished => return,
            Phase::Idle | Phase::ReadingRequest | Phase::Responding => self.set(Phase::Rejected),
            _ => self.set(Phase::Finished),
        }
        record.cause.get_or_insert(cause);
    }

    /// Disconnects [`closing`](Self::closing) and [`closed`](Self::closed), and wakes a handler that waits in `select!`.
    pub(crate) fn announce_closing(&self) {
        self.closing.set();
        self.closed.set();
        if let Some(handler) = self.handler.get() {
            handler.fire();
        }
    }

    /// Fires `handler` when the connection begins to close. If it has begun already, the caller must notice that itself.
    pub(crate) fn wake_at_close(&self, handler: &Arc<Signal>) {
        self.handler.get_or_init(|| Arc::clone(handler));
    }

    /// Disconnects [`closed`](Self::closed), because the peer's stream has ended. Messages are still accepted, but the
    /// end callbacks are due. Returns whether this is the first call.
    pub(crate) fn announce_end(&self) -> bool {
        let was_announced = {
            let _record = lock(&self.record);
            self.stream_ended.swap(true, Ordering::SeqCst)
        };
        self.closed.set();
        !was_announced
    }

    /// Returns whether the end callbacks are due.
    fn has_ended(&self) -> bool {
        self.is_finished() || self.stream_ended.load(Ordering::SeqCst)
    }

    /// Keeps `callback` until the end callbacks are due.
    pub(crate) fn add_end_callback(&self, callback: EndCallback) -> Registration {
        let mut record = lock(&self.record);
        if self.has_ended() {
            return Registration::Due(callback, record.end_cause());
        }
        record.callbacks.add(callback)
    }

    /// Takes the end callbacks out, with the cause, if they are due.
    pub(crate) fn take_end_callbacks(&self) -> (Vec<EndCallback>, CloseCause) {
        if !self.has_ended() {
            return (Vec::new(), CloseCause::Gone);
        }
        let mut record = lock(&self.record);
        (record.callbacks.take(), record.end_cause())
    }

    /// Records the Close that the peer has sent.
    pub(crate) fn mark_peer_close(&self, close: PeerClose) {
        lock(&self.record).peer_close = Some(Box::new(close));
    }

    /// Returns the Close that the peer has sent.
    pub(crate) fn peer_close(&self) -> Option<PeerClose> {
        lock(&self.record).peer_close.as_deref().cloned()
    }

    /// Records that the connection is being reset. `cause` is recorded only if no cause has been recorded before.
    pub(crate) fn mark_reset(&self, cause: CloseCause) {
        let mut record = lock(&self.record);
        record.was_reset = true;
        if let CloseCause::TimedOut(clock) = cause {
            record.missed.get_or_insert(clock);
        }
        record.cause.get_or_insert(cause);
    }

    /// Records that the connection was open when shutdown began. A connection that is closed during the grace may be
    /// marked again at the end of the grace, and counts from the first time.
    pub(crate) fn mark_open_at_shutdown(&self) {
        let mut record = lock(&self.record);
        record.open_at_shutdown |= self.phase() != Phase::Finished;
    }

    pub(crate) fn cause(&self) -> Option<CloseCause> {
        lock(&self.record).cause.clone()
    }

    /// Returns the deadline that passed so that the connection was reset, even if another cause had been recorded
    /// before.
    pub(crate) fn missed_clock(&self) -> Option<Clock> {
        lock(&self.record).missed
    }

    pub(crate) fn was_reset(&self) -> bool {
        lock(&self.record).was_reset
    }

    pub(crate) fn was_close_sent(&self) -> bool {
        lock(&self.record).close_sent
    }

    /// Returns how the shutdown report counts the client, after it has ended.
    pub(crate) fn shutdown_outcome(&self) -> ShutdownOutcome {
        let record = lock(&self.record);
        if !record.open_at_shutdown {
            ShutdownOutcome::Other
        } else if record.was_reset || !record.close_sent {
            ShutdownOutcome::Lost
        } else if record.cause == Some(CloseCause::Shutdown) {
            ShutdownOutcome::Drained
        } else {
            ShutdownOutcome::Other
        }
    }
}

#[cfg(test)]
#[path = "tests/lifecycle.rs"]
mod tests;
