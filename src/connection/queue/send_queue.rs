//! [`SendQueue`]: what is behind an outbox. A byte gate, a bounded crossbeam channel, and a *closed* channel on which nobody
//! sends, in this order.
//!
//! The end of a connection is a flag and a drain, never a disconnection: the receiver lives beside the sender, so
//! `Disconnected` never comes. Set the flag, end the gate, drop `closed`, drain and count; a sender that slipped in
//! looks at the flag after sending and drains again, so the accounts are exact whoever comes last.
//!
//! The channel carries frames, and *tickets*: a topic that may displace its own messages keeps them in a [`TopicSource`], and
//! the writer redeems a ticket at the last moment. So one FIFO belongs to the client, and a policy to each topic.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crossbeam_channel::{Receiver, Select, Sender};

use crate::clock::{Stamp, lock};
use crate::connection::queue::byte_limit::{Admission, ByteLimit, Entry};
use crate::connection::queue::item::{Due, Popped, Purpose, QueueItem, TopicSource};
use crate::connection::stats::MessageCounts;
use crate::connection::write::frame::Frame;

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

/// Every so-many-th message is an owed lane's, while there is one.
const OWED_EVERY: u64 = 8;

#[derive(Debug)]
pub(crate) struct SendQueue {
    byte_limit: ByteLimit,
    sender: Sender<QueueItem>,
    receiver: Receiver<QueueItem>,
    /// Lanes with something to send for which the channel had no place: each stands here once, and is served now and
    /// then, and when the channel is empty.
    owed: Mutex<VecDeque<Arc<dyn TopicSource>>>,
    owes: AtomicBool,
    /// What was popped while lanes were owed: each so-many-th time it is one of theirs.
    popped: AtomicU64,
    /// Nothing is taken any more: whoever still finds a frame in the channel counts it as discarded.
    ended: AtomicBool,
    draining: Mutex<()>,
    /// Dropped when the connection begins to end; `closed` tells everybody who waits.
    open: Mutex<Option<Sender<Infallible>>>,
    /// It has been dropped; asked for every message, so without the lock.
    shut: AtomicBool,
    closed: Receiver<Infallible>,
    /// Messages that wait, here or in a lane. Tickets would not do: a lane may have fewer messages than tickets.
    waiting: AtomicIsize,
    accepted: AtomicU64,
    delivered: AtomicU64,
    dropped: AtomicU64,
    discarded: AtomicU64,
}

impl SendQueue {
    pub(crate) fn new(messages: usize, bytes: usize) -> SendQueue {
        // Of capacity 0 crossbeam makes a rendezvous, in which nothing can be queued.
        let (sender, receiver) = crossbeam_channel::bounded(messages.max(1));
        let (open, closed) = crossbeam_channel::bounded(0);
        SendQueue {
            byte_limit: ByteLimit::new(bytes),
            sender,
            receiver,
            owed: Mutex::default(),
            owes: AtomicBool::new(false),
            popped: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            draining: Mutex::new(()),
            open: Mutex::new(Some(open)),
            shut: AtomicBool::new(false),
            closed,
            waiting: AtomicIsize::new(0),
            accepted: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            discarded: AtomicU64::new(0),
        }
    }

    /// Queues `frame` behind all that is queued.
    ///
    /// # Blocking
    /// As `wait` says, for bytes and then for a place. Woken by the writer's progress and by [`shut`](Self::shut).
    pub(crate) fn push(&self, frame: Frame, wait: Wait) -> Result<(), Refused> {
        let size = frame.len();
        match self.byte_limit.enter(size, wait) {
            Entry::Passed => {}
            Entry::Full => return Err(Refused::Full(frame)),
            Entry::Ended => return Err(Refused::Closed),
        }
        // Counted before it can be taken, so that nobody ever sees more delivered than accepted.
        self.accepted.fetch_add(1, Ordering::Relaxed);
        if let Err(refused) = self.place(frame, wait) {
            self.accepted.fetch_sub(1, Ordering::Relaxed);
            self.byte_limit.leave(size);
            return Err(refused);
        }
        self.waits(1);
        if self.ended.load(Ordering::SeqCst) {
            self.drain();
        }
        Ok(())
    }

    fn place(&self, frame: Frame, wait: Wait) -> Result<(), Refused> {
        let item = QueueItem::Frame(frame, Stamp::lately());
        let item = match (self.sender.try_send(item), wait) {
            (Ok(()), _) => return Ok(()),
            (Err(full), Wait::Never) => return Err(Refused::Full(full.into_inner().into_frame())),
            (Err(full), _) => full.into_inner(),
        };
        // `closed` first: the end that wakes a sender also makes room, by discarding what is queued, and chance would
        // put every other message that waited among the discarded, with `Ok`.
        let mut select = Select::new_biased();
        select.recv(&self.closed);
        let room = select.send(&self.sender);
        let operation = match wait {
            Wait::Until(deadline) => match select.select_deadline(deadline) {
                Ok(operation) => operation,
                Err(_) => return Err(Refused::Full(item.into_frame())),
            },
            _ => select.select(),
        };
        if operation.index() == room {
            operation
                .send(&self.sender, item)
                .expect("the receiver lives beside the sender");
            Ok(())
        } else {
            let _ = operation.recv(&self.closed);
            Err(Refused::Closed)
        }
    }

    /// Asks the byte gate for `size` on behalf of a lane, without waiting; `forced` lets it in in any case, for a value
    /// that takes the place of another.
    pub(crate) fn admit(&self, size: usize, forced: bool) -> Admission {
        if forced {
            return self.byte_limit.force(size);
        }
        match self.byte_limit.enter(size, Wait::Never) {
            Entry::Passed => Admission::In,
            Entry::Full => Admission::Full,
            Entry::Ended => Admission::Closed,
        }
    }

    /// Gives back what [`admit`](Self::admit) let in, for a message that found no place.
    pub(crate) fn return_bytes(&self, size: usize) {
        self.byte_limit.take_back(size);
    }

    /// Queues a ticket. False: the channel is full.
    pub(crate) fn ticket(&self, lane: Arc<dyn TopicSource>) -> bool {
        self.sender.try_send(QueueItem::Ticket(lane)).is_ok()
    }

    /// Remembers a lane that got no ticket. The lane sees to it that it stands here once.
    pub(crate) fn owe(&self, lane: &Arc<dyn TopicSource>) {
        let mut owed = lock(&self.owed);
        owed.push_back(Arc::clone(lane));
        self.owes.store(true, Ordering::Release);
    }

    /// After a lane has queued: if the end came in between, what it queued is discarded.
    pub(crate) fn settle_late(&self) {
        if self.ended.load(Ordering::SeqCst) {
            self.drain();
        }
    }

    /// So many messages more wait, here or in a lane.
    pub(crate) fn waits(&self, messages: isize) {
        self.waiting.fetch_add(messages, Ordering::Relaxed);
    }

    /// So many messages wait no more.
    pub(crate) fn waits_no_more(&self, messages: isize) {
        self.waiting.fetch_sub(messages, Ordering::Relaxed);
    }

    /// So many messages were offered to this client beside the channel.
    pub(crate) fn count_accepted(&self, messages: u64) {
        self.accepted.fetch_add(messages, Ordering::Relaxed);
    }

    /// A message of `bytes` that was offered is dropped by its topic's policy.
    pub(crate) fn drop_one(&self, bytes: usize) {
        self.dropped.fetch_add(1, Ordering::Release);
        self.byte_limit.leave(bytes);
    }

    /// Waits until something has left the queue, at most until `deadline`.
    ///
    /// # Blocking
    /// Woken by the writer's progress and by the end.
    pub(crate) fn wait_for_change(&self, deadline: Instant) {
        self.byte_limit.wait_for_change(deadline);
    }

    /// What is next on the wire. Its bytes count as used until [`settle`](Self::settle).
    pub(crate) fn pop(&self, purpose: Purpose) -> Option<Popped> {
        let popped = self.pop_next(purpose);
        if popped
            .as_ref()
            .is_some_and(|popped| popped.message.is_some())
        {
            self.waits_no_more(1);
        }
        popped
    }

    fn pop_next(&self, purpose: Purpose) -> Option<Popped> {
        loop {
            // A topic that keeps the channel full must not keep another's lane waiting for it to be empty.
            if self.owes.load(Ordering::Acquire)
                && self.popped.fetch_add(1, Ordering::Relaxed) % OWED_EVERY == 0
            {
                if let Some(popped) = self.pop_owed(purpose) {
                    return Some(popped);
                }
            }
            match self.receiver.try_recv() {
                Ok(QueueItem::Frame(frame, queued)) => {
                    let lane = None;
                    return Some(Popped {
                        notice: None,
                        message: Some(Due {
                            frame,
                            queued,
                            lane,
                        }),
                    });
                }
                Ok(QueueItem::Ticket(lane)) => {
                    if let Some(redeemed) = lane.redeem(purpose) {
                        return Some(redeemed.of(lane));
                    }
                }
                Err(_) => return self.pop_owed(purpose),
            }
        }
    }

    fn pop_owed(&self, purpose: Purpose) -> Option<Popped> {
        while self.owes.load(Ordering::Acquire) {
            let lane = {
                let mut owed = lock(&self.owed);
                let lane = owed.pop_front();
                self.owes.store(!owed.is_empty(), Ordering::Release);
                lane?
            };
            let (redeemed, more) = lane.redeem_owed(purpose);
            if more {
                self.owe(&lane);
            }
            if let Some(redeemed) = redeemed {
                return Some(redeemed.of(lane));
            }
        }
        None
    }

    /// `messages` of `bytes` in all have been given to the kernel whole.
    pub(crate) fn settle(&self, messages: u64, bytes: usize) {
        self.delivered.fetch_add(messages, Ordering::Release);
        self.byte_limit.leave(bytes);
    }

    /// A frame of `bytes` that was popped will not be sent.
    pub(crate) fn discard(&self, bytes: usize) {
        self.discarded.fetch_add(1, Ordering::Release);
        self.byte_limit.leave(bytes);
    }

    /// Refuses new frames and wakes everybody who waits for room. What is queued can still be taken.
    pub(crate) fn shut(&self) {
        self.byte_limit.end();
        self.shut.store(true, Ordering::SeqCst);
        drop(lock(&self.open).take());
    }

    /// Ends it: what is queued is discarded and counted, now and whenever a late sender adds to it.
    pub(crate) fn end(&self) {
        self.shut();
        self.ended.store(true, Ordering::SeqCst);
        self.drain();
    }

    /// Discards what is queued. When it returns, the books have what any thread has taken out to discard it.
    ///
    /// # Blocking
    /// For another thread that does the same. It waits for nothing in here.
    pub(crate) fn drain(&self) {
        let _one_at_a_time = lock(&self.draining);
        while let Some(popped) = self.pop(Purpose::Discard) {
            if let Some(due) = popped.message {
                self.discard(due.frame.len());
                if let Some(lane) = due.lane {
                    lane.settled(false);
                }
            }
        }
    }

    /// A channel that disconnects when the connection begins to end.
    pub(crate) fn closed(&self) -> &Receiver<Infallible> {
        &self.closed
    }

    pub(crate) fn is_shut(&self) -> bool {
        self.shut.load(Ordering::SeqCst)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.receiver.is_empty() && !self.owes.load(Ordering::Acquire)
    }

    pub(crate) fn len(&self) -> usize {
        // Taken by the writer before its sender has counted it, a message is -1 for a moment.
        usize::try_from(self.waiting.load(Ordering::Relaxed)).unwrap_or(0)
    }

    pub(crate) fn capacity(&self) -> usize {
        self.receiver.capacity().unwrap_or(usize::MAX)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.byte_limit.used()
    }

    pub(crate) fn most_bytes(&self) -> usize {
        self.byte_limit.limit()
    }

    pub(crate) fn counts(&self) -> MessageCounts {
        // What is delivered is read before what was accepted, so that it is never more.
        let delivered = self.delivered.load(Ordering::Acquire);
        let discarded = self.discarded.load(Ordering::Acquire);
        let dropped = self.dropped.load(Ordering::Acquire);
        MessageCounts {
            accepted: self.accepted.load(Ordering::Acquire),
            delivered,
            dropped,
            discarded,
        }
    }
}
