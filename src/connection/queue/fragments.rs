//! [`Fragments`]: the fragments of one message that is sent as a stream, on their way from the thread that produces them to
//! the thread that holds the write half.
//!
//! A ticket in the client's queue stands for the message, so the message keeps its place among the others. When the ticket
//! is taken, the holder of the write half writes fragments of this message only, until the last one. At most
//! [`MOST_UNWRITTEN`] of them are queued here or in flight. Their bytes are reserved in the byte limit before the ticket is
//! queued. Otherwise, messages that wait behind this one could use up the bytes that its next fragment needs.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use super::item::{Fragment, FragmentSource, Outgoing, Purpose, TopicSource};
use super::outbox::Outbox;
use super::waiting::WaitingForRoom;
use crate::connection::write::frame::EncodedFrame;
use crate::sync::{lock, wait};

/// The most fragments of a message that are queued or in flight: one to be written, and one to follow it.
pub(super) const MOST_UNWRITTEN: usize = 2;

#[derive(Debug)]
pub(super) struct Fragments {
    outbox: Outbox,
    /// The bytes that are in use until the message ends.
    reserved: usize,
    state: Mutex<State>,
    /// Notified when a fragment has been written, and when the message ends.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<EncodedFrame>,
    /// How many fragments are waiting or in flight.
    unwritten: usize,
    /// The ticket has been taken.
    is_taken: bool,
    /// This message is the one that is being written, and its last fragment has not been taken.
    is_open: bool,
    /// A fragment has been taken, so the peer may have it.
    has_begun: bool,
    /// The last fragment has been queued.
    is_complete: bool,
    /// The message has been delivered or discarded, and has been counted.
    has_ended: bool,
}

/// The message has ended before its last fragment.
#[derive(Debug)]
pub(super) struct Ended;

impl Fragments {
    pub(super) fn new(outbox: Outbox, reserved: usize) -> Arc<Fragments> {
        Arc::new(Fragments {
            outbox,
            reserved,
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// Queues a fragment, and writes as much as the socket accepts without blocking.
    ///
    /// # Blocking
    /// Waits until fewer than [`MOST_UNWRITTEN`] fragments are unwritten. Woken by the writer's progress, and by the end of
    /// the connection.
    pub(super) fn push(&self, frame: EncodedFrame, is_last: bool) -> Result<(), Ended> {
        let mut state = lock(&self.state);
        if state.unwritten >= MOST_UNWRITTEN && !state.has_ended {
            let _waiting = WaitingForRoom::of_client(self.outbox.number());
            while state.unwritten >= MOST_UNWRITTEN && !state.has_ended {
                state = wait(&self.changed, state, None);
            }
        }
        if state.has_ended {
            return Err(Ended);
        }
        state.waiting.push_back(frame);
        state.unwritten += 1;
        state.is_complete = is_last;
        if state.is_open {
            self.outbox.shared().write.deadlines.stream_moves();
        }
        drop(state);
        self.notify();
        Ok(())
    }

    /// Gives the message up. If none of it can have reached the peer, nothing else happens. Otherwise, the connection is
    /// closed with 1011, because the message cannot be completed.
    pub(super) fn abandon(&self) {
        let state = lock(&self.state);
        if state.has_ended || state.is_complete {
            return;
        }
        if !state.has_begun {
            self.end(state, false);
            return self.notify();
        }
        drop(state);
        self.outbox.shared().close_unfinished();
    }

    /// Makes the holder of the write half look at this message.
    fn notify(&self) {
        self.outbox.shared().write.request_attention();
        self.outbox.flush();
    }

    /// Counts the message as delivered or discarded, unless it has been counted.
    fn end(&self, mut state: MutexGuard<'_, State>, delivered: bool) {
        if std::mem::replace(&mut state.has_ended, true) {
            return;
        }
        state.waiting.clear();
        if std::mem::take(&mut state.is_open) {
            self.outbox.shared().write.deadlines.stream_moves();
        }
        drop(state);
        self.changed.notify_all();
        if delivered {
            self.outbox.queue().record_delivered(1, self.reserved);
        } else {
            self.outbox.queue().record_discarded(self.reserved, None);
        }
    }
}

impl FragmentSource for Fragments {
    fn take_fragment(self: Arc<Self>) -> Fragment {
        let mut state = lock(&self.state);
        if state.has_ended {
            return Fragment::Ended;
        }
        state.is_open = true;
        let Some(frame) = state.waiting.pop_front() else {
            if state.unwritten == 0 {
                self.outbox.shared().write.deadlines.stream_waits();
            }
            return Fragment::NotReady;
        };
        state.has_begun = true;
        let is_last = state.is_complete && state.waiting.is_empty();
        state.is_open = !is_last;
        drop(state);
        Fragment::Frame {
            frame,
            is_last,
            source: self,
        }
    }

    fn has_work(&self) -> bool {
        let state = lock(&self.state);
        state.has_ended || !state.waiting.is_empty()
    }

    fn fail(&self) {
        self.end(lock(&self.state), false);
    }
}

impl TopicSource for Fragments {
    fn take_next(self: Arc<Self>, _: Purpose) -> Option<Outgoing> {
        let mut state = lock(&self.state);
        if !std::mem::replace(&mut state.is_taken, true) {
            self.outbox.queue().add_pending(-1);
        }
        let has_ended = state.has_ended;
        drop(state);
        (!has_ended).then(|| Outgoing {
            notice: None,
            message: None,
            source: Some(self),
        })
    }

    fn take_overflow(self: Arc<Self>, purpose: Purpose) -> (Option<Outgoing>, bool) {
        (self.take_next(purpose), false)
    }

    fn finished(&self, delivered: bool) {
        let mut state = lock(&self.state);
        if !delivered {
            return self.end(state, false);
        }
        state.unwritten = state.unwritten.saturating_sub(1);
        if state.unwritten == 0 && state.is_complete {
            return self.end(state, true);
        }
        if state.unwritten == 0 && state.is_open {
            self.outbox.shared().write.deadlines.stream_waits();
        }
        drop(state);
        self.changed.notify_all();
    }

    fn fragments(self: Arc<Self>) -> Option<Arc<dyn FragmentSource>> {
        Some(self)
    }
}
