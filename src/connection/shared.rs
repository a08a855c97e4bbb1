//! [`Shared`]: what is shared by a client's two threads, the watchdog, and every [`Outbox`](super::Outbox).
//!
//! It does not own the socket: the two halves do, and both are gone with their threads, so that an outbox kept for ever
//! keeps no descriptor.

use std::hint::black_box;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, Weak};

use crossbeam_channel::{Receiver, Sender};

use crate::clock::lock;
use crate::config::Config;
use crate::connection::queue::send_queue::SendQueue;
use crate::connection::socket::Transport;
use crate::connection::state::State;
use crate::connection::write::control_slot::{CloseMode, CloseReason, ControlSlot};
use crate::connection::write::write_half::{Step, WriteSlot};
use crate::http::Peer;

/// Why a client's connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseCause {
    /// The peer closed, with this code (1005: none) and reason.
    Peer {
        /// The code in its Close; 1005 stands for none (RFC 6455 §7.1.5).
        code: u16,
        /// The reason in its Close.
        reason: String,
    },
    /// The server closed, with this code and reason: the handler returned or failed, the peer broke a rule, was slow,
    /// or the server shut down.
    Server {
        /// The code in our Close.
        code: u16,
        /// The reason in our Close.
        reason: String,
    },
    /// The peer was gone without a closing handshake.
    Gone,
    /// This clock of [`Config`] ran out, and the connection was reset.
    TimedOut(&'static str),
    /// [`Outbox::terminate`](crate::Outbox::terminate) reset it.
    Terminated,
}

/// The close code of a slow consumer.
pub(crate) const SLOW_CONSUMER: u16 = 4008;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) number: u64,
    pub(crate) peer: Peer,
    pub(crate) config: Arc<Config>,
    pub(crate) state: State,
    pub(crate) queue: SendQueue,
    pub(crate) control: ControlSlot,
    pub(crate) write_slot: WriteSlot,
    bell: Sender<()>,
    rung: Receiver<()>,
    transport: Weak<dyn Transport>,
    ending: Mutex<Ending>,
    /// Nothing will be written any more.
    over: AtomicBool,
    /// Where it stands when shutdown comes by, or another needs its place.
    place: AtomicU8,
}

/// How a client ends, as far as that is decided.
#[derive(Debug, Default)]
struct Ending {
    why: Option<CloseCause>,
    /// The clock that reset it, perhaps in the middle of a closing handshake.
    overdue: Option<&'static str>,
    /// It was there when shutdown began.
    dismissed: bool,
    /// The Close that is posted or sent is shutdown's.
    by_shutdown: bool,
}

/// The client's head is being read; it has come, and is being answered; it has its 101, or soon will; shutdown came first, or
/// another who needs its place.
const AT_THE_DOOR: u8 = 0;
const HEARD: u8 = 1;
const INSIDE: u8 = 2;
const TURNED_AWAY: u8 = 3;

impl Shared {
    pub(crate) fn new(
        number: u64,
        peer: Peer,
        config: Arc<Config>,
        transport: &Arc<dyn Transport>,
    ) -> Shared {
        let (bell, rung) = crossbeam_channel::bounded(1);
        Shared {
            number,
            peer,
            state: State::new(&config),
            queue: SendQueue::new(config.queue, config.queue_bytes),
            control: ControlSlot::default(),
            write_slot: WriteSlot::new(),
            bell,
            rung,
            transport: Arc::downgrade(transport),
            ending: Mutex::default(),
            over: AtomicBool::new(false),
            place: AtomicU8::new(AT_THE_DOOR),
            config,
        }
    }

    /// Sends what is queued on its way: as far as the socket takes it at once, and by the writer beyond that.
    ///
    /// Never waits. When it returns, what was queued before is in the kernel, or whoever holds the wire will look
    /// again, or the writer has been rung.
    pub(crate) fn flush(&self) {
        if !self.config.early_flush {
            return self.notify_writer();
        }
        let Some(mut wire) = self.write_slot.try_acquire() else {
            return;
        };
        let step = wire.step(self);
        self.write_slot.release(wire, self);
        // Given back first, looked at then: see `wire.rs`.
        if matches!(step, Step::Refused | Step::Over) || self.has_work() {
            self.notify_writer();
        }
    }

    /// Wakes the writer, or leaves the bell rung for when it next listens.
    pub(crate) fn notify_writer(&self) {
        // Full means rung already.
        let _ = self.bell.try_send(());
    }

    /// Waits for the bell. The writer's alone.
    pub(crate) fn wait_for_work(&self) {
        self.rung
            .recv()
            .expect("the bell hangs in the client itself");
    }

    pub(crate) fn has_work(&self) -> bool {
        !self.queue.is_empty() || self.control.is_filled() || self.is_over()
    }

    /// Brings into the processor's cache what [`try_write_now`](Self::go_straight) will ask. Says nothing: an answer would be
    /// old when it is used.
    pub(crate) fn prefetch(&self) {
        black_box((self.has_work(), self.state.is_blocked()));
        black_box((self.queue.len(), self.queue.most_bytes()));
    }

    /// Posts a Close, refuses further messages, and sends it on its way. Says whether this Close was taken.
    pub(crate) fn close(&self, when: CloseMode, goodbye: CloseReason) -> bool {
        let why = CloseCause::Server {
            code: goodbye.code(),
            reason: goodbye.reason().to_owned(),
        };
        self.post(when, goodbye, why, false)
    }

    /// Answers the peer's Close with the only one of ours, unless that is out already.
    pub(crate) fn answer(&self, goodbye: CloseReason) {
        let why = CloseCause::Peer {
            code: goodbye.code(),
            reason: goodbye.reason().to_owned(),
        };
        self.post(CloseMode::Immediate, goodbye, why, false);
    }

    fn post(
        &self,
        when: CloseMode,
        goodbye: CloseReason,
        why: CloseCause,
        by_shutdown: bool,
    ) -> bool {
        let taken = {
            let mut ending = lock(&self.ending);
            let taken = self.control.close(when, goodbye);
            // A Close that hardens takes the reason of the polite one with it; whatever else ended the client stands.
            if taken && matches!(ending.why, None | Some(CloseCause::Server { .. })) {
                ending.why = Some(why);
                ending.by_shutdown = by_shutdown;
            }
            taken
        };
        // Only now: a handler that this wakes returns, and its 1000 or 1011 must find this Close posted.
        self.queue.shut();
        if taken {
            if when == CloseMode::Immediate {
                self.state.closing(&self.config);
            }
            self.flush();
        }
        taken
    }

    /// Says why it ended, unless that is decided.
    fn ended(&self, why: CloseCause) {
        lock(&self.ending).why.get_or_insert(why);
    }

    /// Resets the connection at once: frees whoever waits in its socket, and what the kernel holds for it.
    pub(crate) fn reset(&self, why: CloseCause) {
        if let CloseCause::TimedOut(clock) = why {
            lock(&self.ending).overdue.get_or_insert(clock);
        }
        self.ended(why);
        if let Some(transport) = self.transport.upgrade() {
            self.state.was_reset.store(true, Ordering::SeqCst);
            transport.reset_at_end();
            transport.shutdown(Shutdown::Both);
        }
        self.give_up();
    }

    /// The socket is of no use any more: nothing will be written, and whoever waits in it is freed.
    pub(crate) fn give_up(&self) {
        if !self.over.swap(true, Ordering::SeqCst) {
            self.ended(CloseCause::Gone);
            self.control.end();
            self.queue.end();
            if let Some(transport) = self.transport.upgrade() {
                transport.shutdown(Shutdown::Both);
            }
        }
        self.notify_writer();
    }

    /// The last byte has been written; the reader may still wait for the peer's Close.
    pub(crate) fn end_of_writing(&self) {
        self.over.store(true, Ordering::SeqCst);
        self.control.end();
        self.queue.end();
        self.notify_writer();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// No end in sight: no Close posted, sent or received, no reset.
    pub(crate) fn is_open(&self) -> bool {
        self.control.is_open()
    }

    /// Its head has come, unless it has been turned away.
    pub(crate) fn mark_request_received(&self) -> bool {
        self.change_place(AT_THE_DOOR, HEARD)
    }

    /// Goes in, unless shutdown has turned it away.
    pub(crate) fn mark_upgraded(&self) -> bool {
        self.change_place(HEARD, INSIDE)
    }

    /// Turned away for another who needs its place, unless its head has come, or it ends anyway.
    pub(crate) fn try_evict(&self) -> bool {
        !self.is_over() && self.change_place(AT_THE_DOOR, TURNED_AWAY)
    }

    /// It has its 101, or soon will.
    pub(crate) fn is_inside(&self) -> bool {
        self.place.load(Ordering::SeqCst) == INSIDE
    }

    /// Shutdown's part: a client inside gets a Close with 1001 after what is queued, one at the door is turned away.
    pub(crate) fn shut_down(&self) {
        let is_outside = self.change_place(AT_THE_DOOR, TURNED_AWAY);
        if is_outside || self.change_place(HEARD, TURNED_AWAY) {
            // A reader that waits for the head sees an end, and answers 503.
            if let Some(transport) = self.transport.upgrade() {
                transport.shutdown(Shutdown::Read);
            }
        } else if self.is_inside() {
            // Who has all that was queued, and its Close, has ended for a reason of its own.
            lock(&self.ending).dismissed = !self.is_over();
            let (code, reason) = (1001, "server is shutting down");
            let why = CloseCause::Server {
                code,
                reason: reason.to_owned(),
            };
            self.post(
                CloseMode::AfterQueue,
                CloseReason::new(code, reason),
                why,
                true,
            );
        }
    }

    fn change_place(&self, from: u8, to: u8) -> bool {
        self.place
            .compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    /// What to count its end as, if it was not simply over.
    pub(crate) fn ending(&self) -> Option<&'static str> {
        let ending = lock(&self.ending);
        match (ending.overdue, &ending.why) {
            (Some(clock), _) => Some(clock),
            (None, Some(CloseCause::Server { code, .. })) => match *code {
                1002 | 1003 | 1007 | 1008 | 1009 => Some("fault"),
                1011 => Some("handler_failed"),
                SLOW_CONSUMER => Some("slow_consumer"),
                _ => None,
            },
            _ => None,
        }
    }

    pub(crate) fn why(&self) -> Option<CloseCause> {
        lock(&self.ending).why.clone()
    }

    /// What a shutdown's report says of it, once it has ended.
    pub(crate) fn fate(&self) -> ShutdownOutcome {
        let ending = lock(&self.ending);
        let (sent, reset) = (&self.state.close_sent, &self.state.was_reset);
        if !ending.dismissed {
            ShutdownOutcome::Other
        } else if reset.load(Ordering::SeqCst) || !sent.load(Ordering::SeqCst) {
            ShutdownOutcome::Lost
        } else if ending.by_shutdown {
            ShutdownOutcome::Drained
        } else {
            ShutdownOutcome::Other
        }
    }
}

/// What a shutdown's report says of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShutdownOutcome {
    /// It got all that was queued, and shutdown's 1001.
    Drained,
    /// It was reset, or broke off, before that.
    Lost,
    /// It ended for a reason of its own, or before the shutdown.
    Other,
}
