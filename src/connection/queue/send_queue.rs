//! [`SendQueue`]: the bounded queue of an outbox. Its limits are a number of messages (a crossbeam channel) and a
//! number of bytes.
//!
//! The channel carries frames and *tickets*. A topic that may drop or replace its own messages keeps them in a
//! [`TopicSource`]. A ticket stands for the next of them, and is exchanged for it just before it is written. So each
//! client has one FIFO, and each topic can apply its own policy.
//!
//! The channel is never disconnected, because this struct holds both its sender and its receiver. When the connection
//! ends, `close` refuses new messages and wakes the waiting senders, and `drain` discards the queued messages. A sender
//! that reserved its bytes before `close` may queue its message after `drain`. So every sender checks for the end after
//! queueing, and drains again. This keeps the counts exact.

use std::sync::atomic::{AtomicIsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use crossbeam_channel::{Receiver, Select, Sender};

use super::item::{Outgoing, Purpose, QueueItem, TopicSource};
use super::overflow::Overflow;
use super::usage::Usage;
use crate::connection::lifecycle::Lifecycle;
use crate::connection::stats::{MessageCounters, MessageCounts};
use crate::connection::write::frame::EncodedFrame;
use crate::sync::{lock, wait};
use crate::watch::signal::Signal;

/// How long a sender is willing to wait for room.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wait {
    Never,
    Until(Instant),
    Forever,
}

/// The result of an attempt to queue a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Admitted,
    /// The queue has no room now.
    Full,
    /// The connection has ended or is closing.
    Closed,
}

#[derive(Debug)]
pub(crate) struct SendQueue {
    sender: Sender<QueueItem>,
    receiver: Receiver<QueueItem>,
    overflow: Overflow,
    /// The maximum number of bytes queued or in flight. A larger message is admitted when nothing else is queued or in
    /// flight.
    byte_limit: usize,
    usage: Mutex<Usage>,
    /// Notified when bytes are released, and when the queue closes.
    changed: Condvar,
    /// The number of pending messages, in this queue and in topics. Tickets are not counted instead, because a topic
    /// may have more tickets than messages.
    pending: AtomicIsize,
    counters: MessageCounters,
    /// Locked by the thread that drains the queue.
    draining: Mutex<()>,
}

impl SendQueue {
    pub(crate) fn new(messages: usize, byte_limit: usize) -> SendQueue {
        // At least 1: with capacity 0, crossbeam makes a rendezvous channel, in which nothing can be queued.
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

    /// Queues `frame` at the end of the queue.
    ///
    /// # Blocking
    /// Waits for bytes and then for a slot, as `wait` says. Woken by the writer's progress, or when the connection
    /// begins to close.
    pub(crate) fn push(&self, frame: EncodedFrame, wait: Wait, lifecycle: &Lifecycle) -> Admission {
        let size = frame.len();
        match self.admit(size, wait) {
            Admission::Admitted => {}
            refused => return refused,
        }
        // Counted before the writer can take the frame, so that `delivered` never exceeds `accepted`.
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
        // `select` prefers `closing`. When a connection ends, its queue is drained, which makes room. Without the
        // preference, a waiting sender might use that room to queue a message that is then discarded.
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
                .expect("the queue holds the receiver");
            Admission::Admitted
        } else {
            let _ = operation.recv(lifecycle.closing());
            Admission::Closed
        }
    }

    /// Reserves `size` bytes.
    ///
    /// # Blocking
    /// Waits as `wait` says. Woken by the writer's progress, and by [`close`](Self::close).
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

    /// Reserves `size` bytes, even beyond the limit, for a message that replaces another. Returns false if the queue is
    /// closed.
    pub(crate) fn admit_replacement(&self, size: usize) -> bool {
        let mut usage = lock(&self.usage);
        usage.bytes += if usage.is_closed { 0 } else { size };
        !usage.is_closed
    }

    /// Releases bytes that [`admit`](Self::admit) reserved, for a message that is not queued after all.
    ///
    /// Waiting senders are woken only if no bytes are in use afterwards. Otherwise, the release of the remaining bytes
    /// wakes them.
    pub(crate) fn cancel(&self, size: usize) {
        let mut usage = lock(&self.usage);
        usage.bytes -= size;
        if usage.bytes == 0 && usage.waiters > 0 {
            self.changed.notify_all();
            usage.wake_handler();
        }
    }

    fn release(&self, size: usize) {
        let mut usage = lock(&self.usage);
        usage.bytes -= size;
        if usage.waiters > 0 {
            self.changed.notify_all();
            usage.wake_handler();
        }
    }

    /// Fires `handler` when nothing is queued or in flight, or the queue is closed. There is one handler per queue.
    pub(crate) fn wake_when_empty(&self, handler: &Arc<Signal>) {
        lock(&self.usage).wake_when_empty(handler);
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

    /// Admits `messages` of `bytes` in all for a direct write, if nothing is queued. The caller must count them with
    /// [`count_accepted`](Self::count_accepted). Their bytes are in use until
    /// [`record_delivered`](Self::record_delivered).
    ///
    /// If the socket accepts nothing, all of them stay in flight, where no policy can drop them. So this admits at most
    /// as many as the queue could hold.
    pub(crate) fn admit_direct(&self, messages: usize, bytes: usize, most_bytes: usize) -> bool {
        let fits = messages == 1
            || (messages <= self.capacity() && bytes <= self.byte_limit.min(most_bytes));
        self.is_empty() && fits && self.admit(bytes, Wait::Never) == Admission::Admitted
    }

    /// Queues a ticket. Returns false if the channel is full.
    pub(crate) fn push_ticket(&self, topic: Arc<dyn TopicSource>) -> bool {
        self.sender.try_send(QueueItem::Ticket(topic)).is_ok()
    }

    /// Puts a topic whose ticket did not fit into the channel on the overflow list. The topic must not be on the list
    /// already.
    pub(crate) fn push_overflow(&self, topic: Arc<dyn TopicSource>) {
        self.overflow.push(topic);
    }

    /// Takes the next message to be written. Its bytes stay in use until [`record_delivered`](Self::record_delivered)
    /// or [`record_discarded`](Self::record_discarded).
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

    /// Refuses new messages, and wakes every thread that waits for bytes. The queued messages can still be taken.
    pub(crate) fn close(&self) {
        let mut usage = lock(&self.usage);
        usage.is_closed = true;
        usage.wake_handler();
        drop(usage);
        self.changed.notify_all();
    }

    /// Discards everything that is queued. When this returns, every message that any thread took out to discard has
    /// been counted.
    ///
    /// # Blocking
    /// Waits for another thread that is draining. That thread waits for nothing.
    pub(crate) fn drain(&self) {
        let _one_at_a_time = lock(&self.draining);
        while let Some(outgoing) = self.pop(Purpose::Discard) {
            if let Some(frame) = outgoing.message {
                self.record_discarded(frame.len(), outgoing.source.as_deref());
            }
        }
    }

    /// Returns whether a thread is draining the queue.
    #[cfg(test)]
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.try_lock().is_err()
    }

    /// Drains the queue if the connection has ended. A thread calls this after it has queued something, because the
    /// connection may have been drained before.
    pub(crate) fn drain_if_finished(&self, lifecycle: &Lifecycle) {
        if lifecycle.is_finished() {
            self.drain();
        }
    }

    /// Adds `messages`, which may be negative, to the number of pending messages.
    pub(crate) fn add_pending(&self, messages: isize) {
        self.pending.fetch_add(messages, Ordering::Relaxed);
    }

    /// Counts messages as accepted that did not go through [`push`](Self::push).
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

    /// Counts `messages` of `bytes` in all that the kernel has accepted whole.
    pub(crate) fn record_delivered(&self, messages: u64, bytes: usize) {
        self.counters
            .delivered
            .fetch_add(messages, Ordering::Release);
        self.release(bytes);
    }

    /// Counts a message of `bytes` that was taken from the queue and will not be written.
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
        // The counter is briefly negative if the writer takes a message before its sender has counted it.
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
