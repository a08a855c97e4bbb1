//! [`SendQueue`]: the bounded queue behind an outbox. It is limited by messages (a crossbeam channel) and by bytes.
//!
//! The channel carries frames and *tickets*. A topic that may drop or replace its own messages keeps them in a
//! [`TopicSource`], and a ticket is exchanged for the next of them at the last moment. So one FIFO belongs to the client,
//! and a policy to each topic.
//!
//! The channel is never disconnected, because its receiver lives beside its sender. When the connection ends, `close`
//! refuses new messages and wakes the senders that wait, and `drain` discards what is queued. A sender that was already
//! past the byte limit checks for the end after it has queued, and drains again; so the counts are exact whoever comes
//! last.

use std::sync::atomic::{AtomicIsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use crossbeam_channel::{Receiver, Select, Sender};

use super::item::{Outgoing, Purpose, QueueItem, TopicSource};
use super::overflow::Overflow;
use crate::connection::lifecycle::Lifecycle;
use crate::connection::stats::{MessageCounters, MessageCounts};
use crate::connection::write::frame::EncodedFrame;
use crate::sync::{lock, wait};

/// How long a sender is willing to wait for room.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wait {
    Never,
    Until(Instant),
    Forever,
}

/// Whether the queue had room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Admitted,
    /// There is no room now.
    Full,
    /// The connection has ended or is closing.
    Closed,
}

#[derive(Debug)]
pub(crate) struct SendQueue {
    sender: Sender<QueueItem>,
    receiver: Receiver<QueueItem>,
    overflow: Overflow,
    /// Bytes that may be queued or in flight. A larger message is admitted when nothing else is.
    byte_limit: usize,
    usage: Mutex<Usage>,
    /// Notified when bytes are released, and when the queue closes.
    changed: Condvar,
    /// Messages that are pending, here or with a topic. Counting tickets would be wrong: a topic may have more tickets
    /// than messages.
    pending: AtomicIsize,
    counters: MessageCounters,
    /// Held by the thread that drains.
    draining: Mutex<()>,
}

#[derive(Debug, Default)]
struct Usage {
    bytes: usize,
    /// Threads that wait for bytes to be released. Without any, releasing notifies nobody.
    waiters: usize,
    is_closed: bool,
}

impl SendQueue {
    pub(crate) fn new(messages: usize, byte_limit: usize) -> SendQueue {
        // With capacity 0, crossbeam makes a rendezvous channel, in which nothing can be queued.
        let (sender, receiver) = crossbeam_channel::bounded(messages.max(1));
        SendQueue {
            sender,
            receiver,
            overflow: Overflow::default(),
            byte_limit,
            usage: Mutex::default(),
            changed: Condvar::new(),
            pending: AtomicIsize::new(0),
            counters: MessageCounters::default(),
            draining: Mutex::new(()),
        }
    }

    /// Queues `frame` behind everything that is queued.
    ///
    /// # Blocking
    /// For bytes and then for a slot, as `wait` says. Woken by the writer's progress, and by [`close`](Self::close).
    pub(crate) fn push(&self, frame: EncodedFrame, wait: Wait, lifecycle: &Lifecycle) -> Admission {
        let size = frame.len();
        match self.admit(size, wait) {
            Admission::Admitted => {}
            refused => return refused,
        }
        // Counted before anybody can take it, so that `delivered` never exceeds `accepted`.
        self.counters.accepted.fetch_add(1, Ordering::Relaxed);
        let placed = self.place(QueueItem::Frame(frame), wait, lifecycle);
        if placed != Admission::Admitted {
            self.counters.accepted.fetch_sub(1, Ordering::Relaxed);
            self.release(size);
            return placed;
        }
        self.add_pending(1);
        self.drain_if_finished(lifecycle);
        placed
    }

    fn place(&self, item: QueueItem, wait: Wait, lifecycle: &Lifecycle) -> Admission {
        let item = match (self.sender.try_send(item), wait) {
            (Ok(()), _) => return Admission::Admitted,
            (Err(_), Wait::Never) => return Admission::Full,
            (Err(full), _) => full.into_inner(),
        };
        // Biased, `closing` first: the end of a connection also makes room, by discarding what is queued. Otherwise,
        // chance would let some of the senders that wait queue a message that is then discarded.
        let mut select = Select::new_biased();
        select.recv(lifecycle.closing());
        let room = select.send(&self.sender);
        let operation = match wait {
            Wait::Until(deadline) => match select.select_deadline(deadline) {
                Ok(operation) => operation,
                Err(_) => return Admission::Full,
            },
            _ => select.select(),
        };
        if operation.index() == room {
            operation
                .send(&self.sender, item)
                .expect("the receiver lives beside the sender");
            Admission::Admitted
        } else {
            let _ = operation.recv(lifecycle.closing());
            Admission::Closed
        }
    }

    /// Reserves `size` bytes.
    ///
    /// # Blocking
    /// As `wait` says. Woken by the writer's progress, and by [`close`](Self::close).
    pub(crate) fn admit(&self, size: usize, wait: Wait) -> Admission {
        let mut usage = lock(&self.usage);
        loop {
            if usage.is_closed {
                return Admission::Closed;
            }
            if usage.bytes == 0 || usage.bytes.saturating_add(size) <= self.byte_limit {
                usage.bytes += size;
                return Admission::Admitted;
            }
            let left = match wait {
                Wait::Never => return Admission::Full,
                Wait::Forever => None,
                Wait::Until(deadline) => match deadline.checked_duration_since(Instant::now()) {
                    Some(left) if !left.is_zero() => Some(left),
                    _ => return Admission::Full,
                },
            };
            usage.waiters += 1;
            usage = self::wait(&self.changed, usage, left);
            usage.waiters -= 1;
        }
    }

    /// Reserves `size` bytes whatever the limit says, for a message that replaces another. Returns false if the queue is
    /// closed.
    pub(crate) fn admit_replacement(&self, size: usize) -> bool {
        let mut usage = lock(&self.usage);
        usage.bytes += if usage.is_closed { 0 } else { size };
        !usage.is_closed
    }

    /// Releases bytes that [`admit`](Self::admit) reserved and that were not used.
    ///
    /// This frees no bytes that a sender could be waiting for, so it wakes nobody, unless no bytes are in use any more:
    /// then no later release would wake a sender that was refused in between.
    pub(crate) fn cancel(&self, size: usize) {
        let mut usage = lock(&self.usage);
        usage.bytes -= size;
        if usage.bytes == 0 && usage.waiters > 0 {
            self.changed.notify_all();
        }
    }

    fn release(&self, size: usize) {
        let mut usage = lock(&self.usage);
        usage.bytes -= size;
        if usage.waiters > 0 {
            self.changed.notify_all();
        }
    }

    /// Waits until bytes are released, at most until `deadline`.
    ///
    /// # Blocking
    /// Woken by the writer's progress, and by [`close`](Self::close).
    pub(crate) fn wait_for_change(&self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut usage = lock(&self.usage);
        if usage.is_closed || left.is_zero() {
            return;
        }
        usage.waiters += 1;
        usage = wait(&self.changed, usage, Some(left));
        usage.waiters -= 1;
    }

    /// Admits `messages` of `bytes` in all that are to be written without being queued, if nothing is queued. They count
    /// as accepted when the caller has called [`count_accepted`](Self::count_accepted), and as used until
    /// [`record_delivered`](Self::record_delivered).
    ///
    /// The socket may accept nothing of them. Then all of them are in flight, where no policy can drop them; so it admits
    /// at most as many as the queue could hold.
    pub(crate) fn admit_direct(&self, messages: usize, bytes: usize, most_bytes: usize) -> bool {
        let fits = messages == 1
            || (messages <= self.capacity() && bytes <= self.byte_limit.min(most_bytes));
        self.is_empty() && fits && self.admit(bytes, Wait::Never) == Admission::Admitted
    }

    /// Queues a ticket. Returns false if the channel is full.
    pub(crate) fn push_ticket(&self, topic: Arc<dyn TopicSource>) -> bool {
        self.sender.try_send(QueueItem::Ticket(topic)).is_ok()
    }

    /// Puts a topic that got no ticket on the overflow list. The topic sees to it that it stands there once.
    pub(crate) fn push_overflow(&self, topic: Arc<dyn TopicSource>) {
        self.overflow.push(topic);
    }

    /// Takes what is to be written next. Its bytes count as used until [`record_delivered`](Self::record_delivered) or
    /// [`record_discarded`](Self::record_discarded).
    pub(crate) fn pop(&self, purpose: Purpose) -> Option<Outgoing> {
        let outgoing = self.pop_next(purpose);
        if outgoing.as_ref().is_some_and(|next| next.message.is_some()) {
            self.add_pending(-1);
        }
        outgoing
    }

    fn pop_next(&self, purpose: Purpose) -> Option<Outgoing> {
        loop {
            if self.overflow.advance_turn() {
                if let Some(outgoing) = self.overflow.take_next(purpose) {
                    return Some(outgoing);
                }
            }
            match self.receiver.try_recv() {
                Ok(QueueItem::Frame(frame)) => {
                    return Some(Outgoing {
                        notice: None,
                        message: Some(frame),
                        source: None,
                    });
                }
                Ok(QueueItem::Ticket(topic)) => {
                    if let Some(outgoing) = topic.take_next(purpose) {
                        return Some(outgoing);
                    }
                }
                Err(_) => return self.overflow.take_next(purpose),
            }
        }
    }

    /// Refuses new messages, and wakes every thread that waits for bytes. What is queued can still be taken.
    pub(crate) fn close(&self) {
        lock(&self.usage).is_closed = true;
        self.changed.notify_all();
    }

    /// Discards everything that is queued. When it returns, every message that any thread has taken out to discard it
    /// has been counted.
    ///
    /// # Blocking
    /// For another thread that drains, which waits for nothing while it does.
    pub(crate) fn drain(&self) {
        let _one_at_a_time = lock(&self.draining);
        while let Some(outgoing) = self.pop(Purpose::Discard) {
            if let Some(frame) = outgoing.message {
                self.record_discarded(frame.len(), outgoing.source.as_deref());
            }
        }
    }

    /// Returns whether a thread drains the queue at this moment.
    #[cfg(test)]
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.try_lock().is_err()
    }

    /// Drains if the connection has ended. For threads that have queued something and may have been too late.
    pub(crate) fn drain_if_finished(&self, lifecycle: &Lifecycle) {
        if lifecycle.is_finished() {
            self.drain();
        }
    }

    /// Counts messages more (or fewer) as pending, here or with a topic.
    pub(crate) fn add_pending(&self, messages: isize) {
        self.pending.fetch_add(messages, Ordering::Relaxed);
    }

    /// Counts messages that were offered to this client without [`push`](Self::push).
    pub(crate) fn count_accepted(&self, messages: u64) {
        self.counters
            .accepted
            .fetch_add(messages, Ordering::Relaxed);
    }

    /// Counts a message of `bytes` that its topic's policy dropped.
    pub(crate) fn record_dropped(&self, bytes: usize) {
        self.counters.dropped.fetch_add(1, Ordering::Release);
        self.release(bytes);
    }

    /// Counts `messages` of `bytes` in all that have been given to the kernel whole.
    pub(crate) fn record_delivered(&self, messages: u64, bytes: usize) {
        self.counters
            .delivered
            .fetch_add(messages, Ordering::Release);
        self.release(bytes);
    }

    /// Counts a message of `bytes` that was taken out and will not be written.
    pub(crate) fn record_discarded(&self, bytes: usize, source: Option<&dyn TopicSource>) {
        self.counters.discarded.fetch_add(1, Ordering::Release);
        self.release(bytes);
        if let Some(source) = source {
            source.finished(false);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.receiver.is_empty() && !self.overflow.is_filled.load(Ordering::Acquire)
    }

    /// Returns how many messages are pending.
    pub(crate) fn len(&self) -> usize {
        // -1 for a moment, if the writer takes a message before its sender has counted it.
        usize::try_from(self.pending.load(Ordering::Relaxed)).unwrap_or(0)
    }

    pub(crate) fn capacity(&self) -> usize {
        self.receiver.capacity().unwrap_or(usize::MAX)
    }

    /// Returns the bytes that are queued or in flight.
    pub(crate) fn bytes(&self) -> usize {
        lock(&self.usage).bytes
    }

    pub(crate) fn byte_limit(&self) -> usize {
        self.byte_limit
    }

    pub(crate) fn counts(&self) -> MessageCounts {
        self.counters.read()
    }
}
