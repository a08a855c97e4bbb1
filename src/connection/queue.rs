//! [`Queue`]: what is behind an outbox. A byte gate, a bounded crossbeam channel, and a *closed* channel on which nobody
//! sends, in this order.
//!
//! The end of a connection is a flag and a drain, never a disconnection: the receiver lives beside the sender, so
//! `Disconnected` never comes. Set the flag, end the gate, drop `closed`, drain and count; a sender that slipped in
//! looks at the flag after sending and drains again, so the accounts are exact whoever comes last.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Instant;

use crossbeam_channel::{Receiver, Select, Sender, TrySendError};

use super::frame::Frame;
use crate::clock::lock;

/// How long a sender is willing to wait for room.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wait {
    Never,
    Until(Instant),
    Forever,
}

/// Why a frame was not queued.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It comes back, to be offered again.
    Full(Frame),
    Closed,
}

/// What became of the messages offered to one outbox. At the end, `accepted = delivered + discarded`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Accounts {
    /// Messages that were queued.
    pub accepted: u64,
    /// Messages given to the kernel whole. Equal to what the client counts, if it still reads or ended with a closing
    /// handshake; an upper bound for one that was reset.
    pub delivered: u64,
    /// Messages that were still queued when the connection ended.
    pub discarded: u64,
}

#[derive(Debug)]
pub(crate) struct Queue {
    gate: Gate,
    sender: Sender<Frame>,
    receiver: Receiver<Frame>,
    /// Nothing is taken any more: whoever still finds a frame in the channel counts it as discarded.
    ended: AtomicBool,
    /// Dropped when the connection begins to end; `closed` tells everybody who waits.
    open: Mutex<Option<Sender<Infallible>>>,
    closed: Receiver<Infallible>,
    accepted: AtomicU64,
    delivered: AtomicU64,
    discarded: AtomicU64,
}

impl Queue {
    pub(crate) fn new(messages: usize, bytes: usize) -> Queue {
        // Of capacity 0 crossbeam makes a rendezvous, in which nothing can be queued.
        let (sender, receiver) = crossbeam_channel::bounded(messages.max(1));
        let (open, closed) = crossbeam_channel::bounded(0);
        Queue {
            gate: Gate::new(bytes),
            sender,
            receiver,
            ended: AtomicBool::new(false),
            open: Mutex::new(Some(open)),
            closed,
            accepted: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            discarded: AtomicU64::new(0),
        }
    }

    /// Queues `frame` behind all that is queued.
    ///
    /// # Blocking
    /// As `wait` says, for bytes and then for a place. Woken by the writer's progress and by [`shut`](Self::shut).
    pub(crate) fn push(&self, frame: Frame, wait: Wait) -> Result<(), Refused> {
        let size = frame.len();
        match self.gate.enter(size, wait) {
            Entry::Passed => {}
            Entry::Full => return Err(Refused::Full(frame)),
            Entry::Ended => return Err(Refused::Closed),
        }
        // Counted before it can be taken, so that nobody ever sees more delivered than accepted.
        self.accepted.fetch_add(1, Ordering::Relaxed);
        if let Err(refused) = self.place(frame, wait) {
            self.accepted.fetch_sub(1, Ordering::Relaxed);
            self.gate.leave(size);
            return Err(refused);
        }
        if self.ended.load(Ordering::SeqCst) {
            self.drain();
        }
        Ok(())
    }

    fn place(&self, frame: Frame, wait: Wait) -> Result<(), Refused> {
        let frame = match (self.sender.try_send(frame), wait) {
            (Ok(()), _) => return Ok(()),
            (Err(TrySendError::Full(frame)), Wait::Never) => return Err(Refused::Full(frame)),
            (Err(TrySendError::Full(frame)), _) => frame,
            (Err(TrySendError::Disconnected(_)), _) => {
                unreachable!("the receiver lives beside the sender")
            }
        };
        // `closed` first: the end that wakes a sender also makes room, by discarding what is queued, and chance would
        // put every other message that waited among the discarded, with `Ok`.
        let mut select = Select::new_biased();
        select.recv(&self.closed);
        let room = select.send(&self.sender);
        let operation = match wait {
            Wait::Until(deadline) => match select.select_deadline(deadline) {
                Ok(operation) => operation,
                Err(_) => return Err(Refused::Full(frame)),
            },
            _ => select.select(),
        };
        if operation.index() == room {
            operation
                .send(&self.sender, frame)
                .expect("the receiver lives beside the sender");
            Ok(())
        } else {
            let _ = operation.recv(&self.closed);
            Err(Refused::Closed)
        }
    }

    /// The oldest frame. Its bytes count as used until [`settle`](Self::settle).
    pub(crate) fn pop(&self) -> Option<Frame> {
        self.receiver.try_recv().ok()
    }

    /// `messages` of `bytes` in all have been given to the kernel whole.
    pub(crate) fn settle(&self, messages: u64, bytes: usize) {
        self.delivered.fetch_add(messages, Ordering::Release);
        self.gate.leave(bytes);
    }

    /// A frame of `bytes` that was popped will not be sent.
    pub(crate) fn discard(&self, bytes: usize) {
        self.discarded.fetch_add(1, Ordering::Release);
        self.gate.leave(bytes);
    }

    /// Refuses new frames and wakes everybody who waits for room. What is queued can still be taken.
    pub(crate) fn shut(&self) {
        self.gate.end();
        drop(lock(&self.open).take());
    }

    /// Ends it: what is queued is discarded and counted, now and whenever a late sender adds to it.
    pub(crate) fn end(&self) {
        self.shut();
        self.ended.store(true, Ordering::SeqCst);
        self.drain();
    }

    /// Discards what is queued.
    pub(crate) fn drain(&self) {
        while let Some(frame) = self.pop() {
            self.discard(frame.len());
        }
    }

    /// A channel that disconnects when the connection begins to end.
    pub(crate) fn closed(&self) -> &Receiver<Infallible> {
        &self.closed
    }

    pub(crate) fn is_shut(&self) -> bool {
        lock(&self.open).is_none()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.receiver.len()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.receiver.capacity().unwrap_or(usize::MAX)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.gate.used()
    }

    pub(crate) fn accounts(&self) -> Accounts {
        // What is delivered is read before what was accepted, so that it is never more.
        let delivered = self.delivered.load(Ordering::Acquire);
        let discarded = self.discarded.load(Ordering::Acquire);
        Accounts {
            accepted: self.accepted.load(Ordering::Acquire),
            delivered,
            discarded,
        }
    }
}

/// Lets bytes in while there is room for them; when nothing is in use, a message of any size goes alone.
#[derive(Debug)]
struct Gate {
    limit: usize,
    inside: Mutex<Inside>,
    changed: Condvar,
}

#[derive(Debug)]
struct Inside {
    used: usize,
    /// How many wait, so that leaving without anybody waiting costs no wake-up.
    waiting: usize,
    ended: bool,
}

enum Entry {
    Passed,
    Full,
    Ended,
}

impl Gate {
    fn new(limit: usize) -> Gate {
        Gate {
            limit,
            inside: Mutex::new(Inside {
                used: 0,
                waiting: 0,
                ended: false,
            }),
            changed: Condvar::new(),
        }
    }

    fn enter(&self, size: usize, wait: Wait) -> Entry {
        let mut inside = lock(&self.inside);
        loop {
            if inside.ended {
                return Entry::Ended;
            }
            if inside.used == 0 || inside.used.saturating_add(size) <= self.limit {
                inside.used += size;
                return Entry::Passed;
            }
            let left = match wait {
                Wait::Never => return Entry::Full,
                Wait::Forever => None,
                Wait::Until(deadline) => match deadline.checked_duration_since(Instant::now()) {
                    Some(left) if !left.is_zero() => Some(left),
                    _ => return Entry::Full,
                },
            };
            inside.waiting += 1;
            inside = match left {
                None => self
                    .changed
                    .wait(inside)
                    .unwrap_or_else(std::sync::PoisonError::into_inner),
                Some(left) => {
                    self.changed
                        .wait_timeout(inside, left)
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .0
                }
            };
            inside.waiting -= 1;
        }
    }

    fn leave(&self, size: usize) {
        let mut inside = lock(&self.inside);
        inside.used -= size;
        if inside.waiting > 0 {
            self.changed.notify_all();
        }
    }

    fn end(&self) {
        lock(&self.inside).ended = true;
        self.changed.notify_all();
    }

    fn used(&self) -> usize {
        lock(&self.inside).used
    }
}
