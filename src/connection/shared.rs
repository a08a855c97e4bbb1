//! [`Shared`]: the state of one connection that the client's threads, the watchdog and every [`Outbox`](super::Outbox)
//! share.
//!
//! `Shared` does not own the socket. The read half and the write half own it, and both are dropped when the client's
//! threads end. So an outbox that is kept after the connection has ended keeps no descriptor open.

use std::hint::black_box;
use std::net::Shutdown;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use log::Level;

use super::activity::{Activity, ThreadActivity};
use super::client_name::CurrentName;
use super::close_cause::{CloseCause, PeerClose};
use super::common::CommonState;
use super::deadlines::DeadlineCheck;
use super::disconnect_log::Disconnected;
use super::end_callbacks::{EndCallback, Registration, TooManyCallbacks};
use super::lifecycle::{Lifecycle, Phase};
use super::socket::{PeerState, Transport};
use super::stats::{MessageCounts, ReceivedCounters};
use super::tls_state::TlsState;
use super::write::close::{CloseMode, CloseReason};
use super::write::write_path::WritePath;
use crate::clock::Clock;
use crate::config::Config;
use crate::http1::Peer;
use crate::panic::catch_panic;
use crate::sync::Latch;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) number: u64,
    pub(crate) name: Arc<CurrentName>,
    pub(crate) write: WritePath,
    /// What the reader is doing. Before the upgrade: what the handshake thread is doing.
    pub(crate) reader: ThreadActivity,
    pub(crate) received: ReceivedCounters,
    pub(crate) writer: ThreadActivity,
    pub(crate) tls: TlsState,
    pub(super) common: Arc<CommonState>,
    socket: Weak<dyn Transport>,
}

impl Shared {
    pub(crate) fn new(
        number: u64,
        peer: Peer,
        config: Arc<Config>,
        common: Arc<CommonState>,
        socket: &Arc<dyn Transport>,
    ) -> Shared {
        let name = Arc::new(CurrentName::new(number, peer));
        Shared::with_name(name, number, config, common, Arc::downgrade(socket))
    }

    fn with_name(
        name: Arc<CurrentName>,
        number: u64,
        config: Arc<Config>,
        common: Arc<CommonState>,
        socket: Weak<dyn Transport>,
    ) -> Shared {
        Shared {
            number,
            write: WritePath::new(Arc::clone(&name), config),
            name,
            reader: ThreadActivity::new(Activity::Handshake),
            received: ReceivedCounters::default(),
            writer: ThreadActivity::new(Activity::Idle),
            tls: TlsState::default(),
            common,
            socket,
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.write.config
    }

    pub(crate) fn lifecycle(&self) -> &Lifecycle {
        &self.write.lifecycle
    }

    /// Returns the state of the same connection with limits of its own. The queue is made for them, so this state takes the
    /// place of the first one before anything has been queued.
    pub(crate) fn with_config(&self, config: Config) -> Shared {
        let (name, common) = (Arc::clone(&self.name), Arc::clone(&self.common));
        Shared {
            tls: TlsState::copy(&self.tls),
            ..Shared::with_name(
                name,
                self.number,
                Arc::new(config),
                common,
                self.socket.clone(),
            )
        }
    }

    pub(crate) fn counts(&self) -> MessageCounts {
        self.received.read(self.write.queue.counts())
    }

    /// Returns the latch that is set when the server has stopped accepting in order to end.
    pub(crate) fn draining(&self) -> &Latch {
        &self.common.draining
    }

    /// Requests a Close, refuses further messages, and flushes. Returns whether this Close will be sent.
    pub(crate) fn close(&self, mode: CloseMode, reason: CloseReason, cause: CloseCause) -> bool {
        let wins = self.lifecycle().request_close(mode, reason, cause);
        // Called after the Close has been recorded, because a handler that is woken here may return and request another
        // Close.
        self.write.stop_accepting();
        // If the connection has ended meanwhile, what was held back is on a list that nobody serves any more.
        self.write.queue.drain_if_finished(self.lifecycle());
        if wins {
            self.write.request_attention();
            if mode == CloseMode::Immediate {
                self.write.deadlines.start_closing(self.config());
            }
            self.write.flush();
        }
        wins
    }

    /// Closes with 1011, because a message that is sent as a stream will not be completed.
    pub(crate) fn close_unfinished(&self) {
        let reason = CloseReason::new(1011, "a message was not finished");
        if self.close(CloseMode::Immediate, reason, CloseCause::Unfinished) {
            Disconnected::Unfinished.log(
                &self.name,
                &[("code", 1011.into())],
                format_args!("closed: a message that was sent as a stream was not finished"),
            );
        }
    }

    /// Closes on behalf of the application.
    pub(crate) fn close_by_application(&self, mode: CloseMode, code: u16, reason: &str) -> bool {
        let cause = CloseCause::Application {
            code,
            reason: reason.to_owned(),
        };
        self.close(mode, CloseReason::new(code, reason), cause)
    }

    /// Answers the peer's Close, unless a thread has already begun to write our own Close.
    pub(crate) fn answer_close(&self, reason: CloseReason) {
        let (code, text) = (reason.code(), reason.reason());
        self.lifecycle().mark_peer_close(PeerClose {
            code,
            reason: text.to_owned(),
        });
        let cause = CloseCause::Peer {
            code,
            reason: text.to_owned(),
        };
        self.close(CloseMode::Immediate, reason, cause);
    }

    /// Ends the client for a shutdown: closes with 1001 after the queued messages, or rejects the opening handshake.
    pub(crate) fn shut_down(&self) {
        let lifecycle = self.lifecycle();
        if lifecycle.reject_handshake() || lifecycle.phase() == Phase::Rejected {
            // The handshake thread then reads the end of the stream, and answers 503 if a request has begun. A TLS
            // handshake continues, because the client cannot be answered before it.
            if let Some(socket) = self.socket.upgrade()
                && !self.tls.is_in_handshake()
            {
                socket.shutdown(Shutdown::Read);
            }
        } else if lifecycle.is_upgraded() {
            lifecycle.mark_open_at_shutdown();
            let reason = CloseReason::new(1001, "server is shutting down");
            self.close(CloseMode::AfterQueue, reason, CloseCause::Shutdown);
        }
    }

    /// Ends the connection if it is idle between two requests. Returns whether it was. The handshake thread then reads
    /// the end of the stream, and closes the socket.
    pub(crate) fn end_idle(&self) -> bool {
        let ended = self.lifecycle().try_end_idle();
        if ended {
            // Otherwise, the watchdog would find the passed deadline again on its next tick, and reset the connection.
            self.write.deadlines.stop_handshake();
        }
        if let Some(socket) = self.socket.upgrade().filter(|_| ended) {
            socket.shutdown(Shutdown::Read);
        }
        ended
    }

    /// Resets the connection immediately. This wakes the threads that are blocked on the socket, and frees the socket's
    /// kernel buffers.
    pub(crate) fn terminate(&self, cause: CloseCause) {
        self.lifecycle().mark_reset(cause);
        if let Some(socket) = self.socket.upgrade() {
            socket.reset_at_end();
            socket.shutdown(Shutdown::Both);
        }
        self.give_up();
    }

    /// Gives the connection up, because its socket can no longer be used. Nothing more is written, and the threads that
    /// are blocked on the socket are woken.
    pub(crate) fn give_up(&self) {
        if !self.lifecycle().is_finished() {
            self.write.finish(CloseCause::Gone);
            if let Some(socket) = self.socket.upgrade() {
                socket.shutdown(Shutdown::Both);
            }
        }
        self.write.writer.notify();
    }

    /// Ends the connection, including its writer, and drops the write half. Afterwards only a thread that is in the middle
    /// of a send can still change the message counts: its message is counted as discarded.
    pub(crate) fn tear_down(&self) {
        self.give_up();
        self.write.close_slot();
        // The watchdog may still be draining this queue. `drain` waits until it has finished.
        self.write.queue.drain();
    }

    /// Calls `callback` when the connection has ended. If it has ended already, calls it now.
    pub(crate) fn on_end(&self, callback: EndCallback) -> Result<(), TooManyCallbacks> {
        match self.lifecycle().add_end_callback(callback) {
            Registration::Kept => {}
            Registration::Due(callback, cause) => self.call(callback, cause),
            Registration::Refused(callback) => {
                drop(callback);
                return Err(TooManyCallbacks(()));
            }
        }
        Ok(())
    }

    /// Calls the end callbacks if they are due. Each is called once, by the writer. No lock is held.
    pub(crate) fn call_end_callbacks(&self) {
        let (callbacks, cause) = self.lifecycle().take_end_callbacks();
        for callback in callbacks {
            self.call(callback, cause.clone());
        }
    }

    fn call(&self, callback: EndCallback, cause: CloseCause) {
        if catch_panic(|| callback(cause)).is_none() {
            Disconnected::EndCallbackPanicked.log(
                &self.name,
                &[],
                format_args!("an end callback panicked"),
            );
        }
    }

    /// Sends a pong ahead of the queued messages.
    pub(crate) fn send_pong(&self, payload: Bytes) {
        self.write.control.set_pong(payload);
        self.write.request_attention();
        self.write.flush();
    }

    /// Sends a ping ahead of the queued messages, on behalf of the watchdog. The writer writes it, so the caller does not
    /// write to a socket.
    pub(crate) fn send_ping(&self, now: u64) {
        self.write.control.pings.asked(now);
        self.write.control.set_ping();
        self.write.request_attention();
        self.write.writer.notify();
    }

    /// Sends a ping ahead of the queued messages, unless one is outstanding. Never blocks.
    pub(crate) fn ping(&self) {
        if self.lifecycle().is_open() && !self.write.control.pings.is_outstanding() {
            self.write.control.set_ping();
            self.write.request_attention();
            self.write.flush();
        }
    }

    /// Returns whether the watchdog must ping this client at the time `now`, although it is not silent.
    pub(crate) fn must_measure(&self, now: u64) -> bool {
        let (since, interval) = (self.reader.reading_since(), self.config().ping_interval);
        self.lifecycle().phase() == Phase::Open
            && self.write.control.pings.is_due(now, since, interval)
    }

    /// Returns what the watchdog must do about this connection at the time `now`.
    pub(crate) fn check_deadlines(&self, now: u64) -> DeadlineCheck {
        let reading_since = self.reader.reading_since();
        let check = self
            .write
            .deadlines
            .check(now, reading_since, self.config());
        match check {
            // No ping is sent once a Close has been requested, so none may be waited for.
            DeadlineCheck::PingDue if !self.lifecycle().is_open() => DeadlineCheck::Met,
            // The handler may have been in its own code since it has found nothing to receive.
            DeadlineCheck::PingDue | DeadlineCheck::Passed(Clock::Message | Clock::Ping)
                if self.has_missed_bytes() =>
            {
                DeadlineCheck::Met
            }
            check => check,
        }
    }

    /// Returns whether bytes of the peer, or the end of its stream, have arrived since the handler looked for them and
    /// found none. Never blocks.
    pub(super) fn has_missed_bytes(&self) -> bool {
        let has_bytes = || {
            let socket = self.socket.upgrade();
            socket.is_some_and(|socket| socket.wait_readable(Duration::ZERO).unwrap_or(true))
        };
        self.reader.get().0 == Activity::Polling && has_bytes()
    }

    /// Looks whether the peer has gone, while the reader is in the handler. Nobody reads the socket then, so only this
    /// method notices the end of the peer.
    ///
    /// After a reset the connection is given up: the queued messages are discarded, and waiting senders are woken. The
    /// end of the peer's stream is only announced, also to the end callbacks, because messages may have arrived before
    /// it, and the peer may still read the answers.
    pub(crate) fn look_for_peer(&self) {
        let lifecycle = self.lifecycle();
        if lifecycle.phase() != Phase::Open || !self.reader.is_in_handler() {
            return;
        }
        let Some(socket) = self.socket.upgrade() else {
            return;
        };
        match socket.peer_state() {
            PeerState::Present => {}
            PeerState::EndedStream => {
                if lifecycle.announce_end() {
                    // The writer calls the end callbacks.
                    self.write.writer.notify();
                }
            }
            PeerState::Reset => {
                self.name
                    .log(Level::Debug, format_args!("was reset by the peer"));
                self.give_up();
            }
        }
    }

    /// Returns what the watchdog must do about a peer that is silent while the handler is in its own code.
    pub(crate) fn check_silence(&self, now: u64) -> DeadlineCheck {
        let (activity, since) = self.reader.get();
        let in_own_code = matches!(activity, Activity::InHandler | Activity::Polling);
        if !in_own_code || self.lifecycle().phase() != Phase::Open {
            return DeadlineCheck::Met;
        }
        let deadlines = &self.write.deadlines;
        deadlines.check_unread(now, since, self.unread(), self.config())
    }

    /// Pings a peer that is silent.
    pub(crate) fn ping_silent(&self, now: u64) {
        self.write.deadlines.ping_sent(now, self.unread());
        self.send_ping(now);
    }

    fn unread(&self) -> u64 {
        self.socket.upgrade().map_or(0, |socket| socket.unread())
    }

    /// Prefetches the fields that a direct write reads into the processor's cache. The values are discarded on purpose:
    /// they would be out of date by the time they are used.
    pub(crate) fn prefetch(&self) {
        let (write, queue) = (&self.write, &self.write.queue);
        black_box((write.has_work(), queue.len(), queue.byte_limit()));
        black_box(write.deadlines.is_blocked());
    }
}
