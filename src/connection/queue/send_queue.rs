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
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crossbeam_channel::{Receiver, Select, Sender};

pub(crate) use super::byte_limit::{Admission, Wait};

use super::byte_limit::ByteLimit;
use super::checkpoints::Checkpoints;
use super::item::{Outgoing, Purpose, QueueItem, TopicSource};
use super::overflow::Overflow;
use crate::connection::lateness::Lateness;
use crate::connection::lifecycle::Lifecycle;
use crate::connection::stats::{MessageCounters, MessageCounts};
use crate::sync::lock;
use crate::watch::signal::Signal;

#[derive(Debug)]
pub(crate) struct SendQueue {
    sender: Sender<QueueItem>,
    receiver: Receiver<QueueItem>,
    overflow: Overflow,
    pub(crate) lateness: Lateness,
    pub(super) checkpoints: Checkpoints,
    bytes: ByteLimit,
    /// The number of pending messages, in this queue and in topics. Tickets are not counted instead, because a topic
    /// may have more tickets than messages.
    pending: AtomicIsize,
    pub(crate) counters: MessageCounters,
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
            overflow: Overflow::new(messages.max(1)),
            lateness: Lateness::default(),
            checkpoints: Checkpoints::new(messages),
            bytes: ByteLimit::new(byte_limit),
            pending: AtomicIsize::new(0),
            counters: MessageCounters::default(),
            draining: Mutex::new(()),
        }
    }

    /// Queues `frame` as [`push_item`](Self::push_item) does.
    #[cfg(test)]
    pub(crate) fn push(
        &self,
        frame: crate::connection::write::frame::EncodedFrame,
        wait: Wait,
        lifecycle: &Lifecycle,
    ) -> Admission {
        let size = frame.len();
        self.push_item(QueueItem::Frame(frame), size, wait, lifecycle)
    }

    /// Queues one message of `size` bytes, or a ticket for it, at the end of the queue.
    ///
    /// # Blocking
    /// Waits for bytes and then for a slot, as `wait` says. Woken by the writer's progress, or when the connection
    /// begins to close.
    pub(crate) fn push_item(
        &self,
        item: QueueItem,
        size: usize,
        wait: Wait,
        lifecycle: &Lifecycle,
    ) -> Admission {
        match self.admit(size, wait) {
            Admission::Admitted => {}
            refused => return refused,
        }
        // Counted before the writer can take the frame, so that `delivered` never exceeds `accepted`.
        self.counters.accepted.fetch_add(1, Ordering::Relaxed);
        let placed = self.place(item, wait, lifecycle);
        if placed != Admission::Admitted {
            self.counters.accepted.fetch_sub(1, Ordering::Relaxed);
            self.bytes.release(size);
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
        self.bytes.admit(size, wait)
    }

    /// Reserves `size` bytes, even beyond the limit, for a message that replaces another. Returns false if the queue is
    /// closed.
    pub(crate) fn admit_replacement(&self, size: usize) -> bool {
        self.bytes.admit_replacement(size)
    }

    /// Releases bytes that [`admit`](Self::admit) reserved, for a message that is not queued after all.
    ///
    /// Waiting senders are woken only if no bytes are in use afterwards. Otherwise, the release of the remaining bytes
    /// wakes them.
    pub(crate) fn cancel(&self, size: usize) {
        self.bytes.cancel(size);
    }

    /// Fires `handler` when nothing is queued or in flight, or the queue is closed. There is one handler per queue.
    pub(crate) fn wake_when_empty(&self, handler: &Arc<Signal>) {
        self.bytes.wake_when_empty(handler);
    }

    /// Waits until bytes are released, at most until `deadline`.
    ///
    /// # Blocking
    /// Woken by the writer's progress, and by [`close`](Self::close).
    pub(crate) fn wait_for_change(&self, deadline: Instant) {
        self.bytes.wait_for_change(deadline);
    }

    /// Admits `messages` of `bytes` in all for a direct write, if nothing is queued. The caller must count them with
    /// [`count_accepted`](Self::count_accepted). Their bytes are in use until
    /// [`record_delivered`](Self::record_delivered).
    ///
    /// If the socket accepts nothing, all of them stay in flight, where no policy can drop them. So this admits at most
    /// as many as the queue could hold.
    pub(crate) fn admit_direct(&self, messages: usize, bytes: usize, most_bytes: usize) -> bool {
        let fits = messages == 1
            || (messages <= self.capacity() && bytes <= self.bytes.limit().min(most_bytes));
        self.is_empty() && fits && self.admit(bytes, Wait::Never) == Admission::Admitted
    }

    /// Queues a ticket. Returns false if the channel is full.
    pub(crate) fn push_ticket(&self, topic: Arc<dyn TopicSource>) -> bool {
        self.sender.try_send(QueueItem::Ticket(topic)).is_ok()
    }

    /// Queues a checkpoint, even while the connection is closing. Returns false if there was no room.
    ///
    /// # Blocking
    /// Waits for a slot, as `wait` says. Woken by the writer's progress, and by [`drain`](Self::drain).
    pub(crate) fn push_checkpoint(
        &self,
        checkpoint: Arc<dyn TopicSource>,
        wait: Wait,
        lifecycle: &Lifecycle,
    ) -> bool {
        let item = QueueItem::Ticket(checkpoint);
        let is_queued = match wait {
            Wait::Never => self.sender.try_send(item).is_ok(),
            Wait::Until(deadline) => self.sender.send_deadline(item, deadline).is_ok(),
            Wait::Forever => self.sender.send(item).is_ok(),
        };
        self.drain_if_finished(lifecycle);
        is_queued
    }

    /// Puts a topic whose ticket did not fit into the channel on the overflow list. The topic must not be on the list
    /// already.
    pub(crate) fn push_overflow(&self, topic: Arc<dyn TopicSource>) {
        self.overflow.push(topic);
    }

    /// Holds a topic back until the peer has answered the mark. The topic must not be on the overflow list. It is put there
    /// when it is released.
    pub(crate) fn hold(&self, topic: Arc<dyn TopicSource>) {
        if let Some(topic) = self.lateness.hold(topic) {
            self.overflow.push(topic);
        }
    }

    /// Puts topics that are no longer held back on the overflow list.
    pub(crate) fn push_released(&self, topics: Vec<Arc<dyn TopicSource>>) {
        for topic in topics {
            self.overflow.push(topic);
        }
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
            if self.overflow.advance_turn()
                && let Some(outgoing) = self.overflow.take_next(purpose)
            {
                return Some(outgoing);
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
                    let Some(outgoing) = topic.take_next(purpose) else {
                        continue;
                    };
                    if outgoing.is_checkpoint() {
                        match self.hold_checkpoint(outgoing) {
                            None => continue,
                            outgoing => return outgoing,
                        }
                    }
                    return Some(outgoing);
                }
                Err(_) => return self.overflow.take_next(purpose),
            }
        }
    }

    /// Puts a checkpoint behind the topics that are held back or on the overflow list, because they may have messages that
    /// were queued before it. Returns it if there are none.
    fn hold_checkpoint(&self, checkpoint: Outgoing) -> Option<Outgoing> {
        let source = self.lateness.hold_behind_topics(checkpoint.source?)?;
        if self.overflow.is_filled() {
            self.overflow.push(source);
            return None;
        }
        Some(Outgoing {
            source: Some(source),
            ..checkpoint
        })
    }

    /// Refuses new messages, and wakes every thread that waits for bytes. The queued messages can still be taken, and none
    /// is held back any more.
    pub(crate) fn close(&self) {
        self.bytes.close();
        self.release_all();
    }

    /// Puts the topics that are held back on the overflow list, because the connection is closing. Returns whether there
    /// were any.
    pub(crate) fn release_all(&self) -> bool {
        let released = self.lateness.close();
        let had_any = !released.is_empty();
        self.push_released(released);
        had_any
    }

    /// Discards everything that is queued. When this returns, every message that any thread took out to discard has
    /// been counted.
    ///
    /// # Blocking
    /// Waits for another thread that is draining. That thread waits for nothing.
    pub(crate) fn drain(&self) {
        let _one_at_a_time = lock(&self.draining);
        while let Some(outgoing) = self.pop(Purpose::Discard) {
            let source = outgoing.source.as_deref();
            match outgoing.message {
                Some(frame) => self.record_discarded(frame.len(), source),
                // A checkpoint: no notice is built when messages are discarded.
                None => source.into_iter().for_each(|source| source.finished(false)),
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

    /// Counts messages as accepted that did not go through [`push_item`](Self::push_item).
    pub(crate) fn count_accepted(&self, messages: u64) {
        self.counters
            .accepted
            .fetch_add(messages, Ordering::Relaxed);
    }

    /// Counts a message of `bytes` that its topic's policy dropped.
    pub(crate) fn record_dropped(&self, bytes: usize) {
        self.counters.dropped.fetch_add(1, Ordering::Release);
        self.bytes.release(bytes);
    }

    /// Counts `messages` of `bytes` in all that the kernel has accepted whole.
    pub(crate) fn record_delivered(&self, messages: u64, bytes: usize) {
        self.counters
            .delivered
            .fetch_add(messages, Ordering::Release);
        self.bytes.release(bytes);
    }

    /// Counts a message of `bytes` that was taken from the queue and will not be written.
    pub(crate) fn record_discarded(&self, bytes: usize, source: Option<&dyn TopicSource>) {
        self.counters.discarded.fetch_add(1, Ordering::Release);
        self.bytes.release(bytes);
        if let Some(source) = source {
            source.finished(false);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.receiver.is_empty() && !self.overflow.is_filled()
    }

    /// Returns how many entries the channel holds: messages, tickets and checkpoints.
    #[cfg(test)]
    pub(crate) fn entries(&self) -> usize {
        self.receiver.len()
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
        self.bytes.bytes()
    }

    pub(crate) fn byte_limit(&self) -> usize {
        self.bytes.limit()
    }

    pub(crate) fn counts(&self) -> MessageCounts {
        self.counters.read()
    }
}
