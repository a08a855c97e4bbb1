//! [`Outbox`]: the sending end of one client's bounded queue. The name of each sending method says how long it waits.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use tungstenite::Message;

use super::send_queue::{Admission, SendQueue, Wait};
use super::waiting::WaitingForRoom;
use crate::connection::close_cause::CloseCause;
use crate::connection::shared::Shared;
use crate::connection::stats::MessageCounts;
use crate::connection::write::close::{CloseMode, CloseReason, SLOW_CONSUMER, may_be_sent};
use crate::connection::write::direct_write::WriteNow;
use crate::connection::write::frame::{EncodedFrame, FrameBatch};
use crate::error::{SendError, SendTimeoutError, TrySendError};
use crate::escape::escaped;

/// Sends messages to one client from any thread. Cloning an outbox is cheap; all clones feed the same queue.
///
/// [`send`](Self::send) waits for room, [`send_timeout`](Self::send_timeout) waits up to a limit, and
/// [`try_send`](Self::try_send) never waits. Each returns the message if it was not queued. An outbox that is kept
/// after its client has ended uses memory, but no descriptor and no thread.
///
/// ```
/// use standpipe::{Message, Outbox, TrySendError};
///
/// /// Offers a price to a client, and skips it if the client is behind.
/// fn offer(outbox: &Outbox, price: &str) -> bool {
///     match outbox.try_send(Message::text(price)) {
///         Ok(()) => true,
///         Err(TrySendError::Full(_)) => {
///             println!("client {} has {} messages queued", outbox.number(), outbox.len());
///             false
///         }
///         Err(TrySendError::Closed(_)) => false,
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Outbox {
    shared: Arc<Shared>,
}

impl Outbox {
    pub(crate) fn new(shared: Arc<Shared>) -> Outbox {
        Outbox { shared }
    }

    /// Queues `message` for the peer and waits while the queue is full.
    ///
    /// Messages are written in the order of these calls. `Ok` means *queued*, not *delivered*.
    ///
    /// # Blocking
    /// Waits until the queue has room for one message, or the connection ends. If the peer accepts nothing for
    /// [`write_timeout`](crate::Config::write_timeout), the connection is reset. In addition to the queue, up to one
    /// batch of messages may be in flight.
    ///
    /// # Errors
    /// [`SendError`] returns the message if the connection has ended or is closing, or if the message is neither text
    /// nor binary.
    pub fn send(&self, message: Message) -> Result<(), SendError> {
        match self.push(&message, Wait::Forever) {
            Admission::Admitted => Ok(()),
            Admission::Full | Admission::Closed => Err(SendError(message)),
        }
    }

    /// Sends several messages that are available at the same time. The effect is the same as that of
    /// [`send`](Self::send) for each message. But if nothing is queued ahead of them, one write takes up to 64 of them,
    /// or about 64 KiB.
    ///
    /// # Blocking
    /// As [`send`](Self::send), for each message.
    ///
    /// # Errors
    /// [`SendError`] returns the first message that was not queued, for the reasons that [`send`](Self::send) lists.
    /// The messages after it were not queued either, and are dropped.
    pub fn send_all(&self, messages: Vec<Message>) -> Result<(), SendError> {
        let mut left = messages.into_iter();
        while let [_, ..] = left.as_slice() {
            let count = FrameBatch::count_that_fits(left.as_slice().iter().map(Message::len));
            let frames = left.as_slice()[..count].iter().map(EncodedFrame::data);
            let frames: Option<Vec<EncodedFrame>> = frames.collect();
            if frames.is_some_and(|frames| self.try_write_now(&FrameBatch::new(frames))) {
                left.by_ref().take(count).for_each(drop);
                continue;
            }
            let mut refused = None;
            for message in left.by_ref().take(count) {
                let queued = EncodedFrame::data(&message).map_or(Admission::Closed, |frame| {
                    self.enqueue(frame, Wait::Forever)
                });
                if queued != Admission::Admitted {
                    refused = Some(SendError(message));
                    break;
                }
            }
            self.flush();
            if let Some(refused) = refused {
                return Err(refused);
            }
        }
        Ok(())
    }

    /// Like [`send`](Self::send), but waits at most `timeout`.
    ///
    /// # Blocking
    /// As [`send`](Self::send), for at most `timeout`.
    ///
    /// # Errors
    /// [`SendTimeoutError`] returns the message, and says whether the time expired or the connection ended.
    pub fn send_timeout(
        &self,
        message: Message,
        timeout: Duration,
    ) -> Result<(), SendTimeoutError> {
        // A deadline that the clock cannot represent is never reached.
        let wait = Instant::now()
            .checked_add(timeout)
            .map_or(Wait::Forever, Wait::Until);
        match self.push(&message, wait) {
            Admission::Admitted => Ok(()),
            Admission::Full => Err(SendTimeoutError::Timeout(message)),
            Admission::Closed => Err(SendTimeoutError::Closed(message)),
        }
    }

    /// Queues `message` if there is room for it now. Never blocks.
    ///
    /// # Errors
    /// [`TrySendError`] returns the message, and says whether there was no room or the connection has ended.
    pub fn try_send(&self, message: Message) -> Result<(), TrySendError> {
        match self.push(&message, Wait::Never) {
            Admission::Admitted => Ok(()),
            Admission::Full => Err(TrySendError::Full(message)),
            Admission::Closed => Err(TrySendError::Closed(message)),
        }
    }

    /// Closes the connection after the queued messages: they are written first, then a Close with `code` and `reason`.
    /// No further message is accepted. Returns immediately.
    ///
    /// `code` is one of 1000–1003, 1007–1014 or 3000–4999 (RFC 6455 §7.4). For any other code, 1000 is sent. The hub
    /// and the `standpipe` program use codes from 4000 to 4099, so an application's own codes begin at 4100. `reason` is
    /// truncated to 123 bytes. If `close` is called several times, the first call takes effect.
    pub fn close(&self, code: u16, reason: &str) {
        let code = if may_be_sent(code) { code } else { 1000 };
        self.shared.close_by_application(code, reason);
    }

    /// Ends the connection with a TCP reset. The queued messages are not sent. Returns immediately.
    pub fn terminate(&self) {
        self.shared.terminate(CloseCause::Terminated);
    }

    /// Returns a channel that disconnects when the connection begins to close or ends, and when the server shuts down.
    /// Nothing is ever sent on the channel. Use it in `select!`, or call its `recv_timeout` instead of sleeping.
    ///
    /// Messages are read from the peer only in [`Connection::recv`](crate::Connection::recv). While the handler is in
    /// its own code, the server looks about once per second whether the peer has gone:
    ///
    /// - If the peer has reset the connection, the connection has ended. The queued messages are discarded, and every
    ///   send fails.
    /// - If the peer has only ended its stream, `recv` still returns the messages that arrived before the end. Sends are
    ///   accepted until a write fails or `recv` reaches the end, because the peer may still read.
    /// - A Close frame is seen only by `recv`. A peer that vanished without a packet is seen by a write that makes no
    ///   progress, or by `recv`, which sends pings.
    pub fn closed(&self) -> &Receiver<Infallible> {
        self.shared.lifecycle().closed()
    }

    /// Returns the number of messages that are queued.
    pub fn len(&self) -> usize {
        self.queue().len()
    }

    /// Returns whether no message is queued.
    pub fn is_empty(&self) -> bool {
        self.queue().is_empty()
    }

    /// Returns how many messages the queue can hold: [`Config::queue`](crate::Config::queue).
    pub fn capacity(&self) -> usize {
        self.queue().capacity()
    }

    /// Returns the number of bytes that are queued or in flight, frame headers included.
    pub fn bytes(&self) -> usize {
        self.queue().bytes()
    }

    /// Returns how many messages for this client were accepted, delivered, dropped and discarded.
    pub fn counts(&self) -> MessageCounts {
        self.queue().counts()
    }

    /// Returns the connection's number. The number is in the connection's log lines and in the names of its threads.
    pub fn number(&self) -> u64 {
        self.shared.number
    }

    /// Calls `place`, which queues something, until it succeeds or the client turns out to be a slow consumer. A client
    /// is a slow consumer if its queue is full *and* its socket refuses bytes; only this method decides that. A queue
    /// can also be full because its messages have not been written yet. Then this method flushes and waits. Returns
    /// `None` for a slow consumer, and when `budget` is used up.
    ///
    /// # Blocking
    /// Waits for room, within `budget`. Woken by the writer's progress, or by the end of the connection.
    pub(crate) fn retry_until_blocked<T>(
        &self,
        budget: &mut RetryBudget,
        mut place: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        let deadlines = &self.shared.write.deadlines;
        let mut has_waited = false;
        loop {
            // Read before `place` is called. If the socket was blocked and the queue is full afterwards, the client is
            // slow.
            let blocked = deadlines.is_blocked();
            if let Some(placed) = place() {
                if has_waited {
                    budget.progressed();
                }
                return Some(placed);
            }
            if blocked {
                return None;
            }
            self.flush();
            if !deadlines.is_blocked() {
                self.queue().wait_for_change(budget.next()?);
                has_waited = true;
            }
        }
    }

    /// Calls `place`, which queues something, until it succeeds, or until `deadline`. When the connection has ended,
    /// `place` must return `Some` too.
    ///
    /// # Blocking
    /// Woken by the writer's progress, or by the end of the connection. If the peer accepts nothing for
    /// [`write_timeout`](crate::Config::write_timeout), the connection is reset.
    pub(crate) fn wait_for_room<T>(
        &self,
        deadline: Option<Instant>,
        mut place: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        let _waiting = WaitingForRoom::of_client(self.shared.number);
        loop {
            if let Some(placed) = place() {
                return Some(placed);
            }
            let now = Instant::now();
            if deadline.is_some_and(|deadline| now >= deadline) {
                return None;
            }
            self.flush();
            // Progress wakes this thread. It also checks again after a short time, because room can appear without
            // progress.
            let next_check = now + RetryBudget::CHECK_AGAIN_AFTER;
            self.queue()
                .wait_for_change(deadline.map_or(next_check, |deadline| deadline.min(next_check)));
        }
    }

    pub(crate) fn queue(&self) -> &SendQueue {
        &self.shared.write.queue
    }

    /// Writes the queued messages as far as the socket accepts them. Never blocks.
    pub(crate) fn flush(&self) {
        self.shared.write.flush();
    }

    /// Discards the queued messages if the connection has ended meanwhile.
    pub(crate) fn drain_if_finished(&self) {
        self.queue().drain_if_finished(self.shared.lifecycle());
    }

    /// Disconnects a slow consumer with 4008. Its queue is discarded. The peer receives the code only if it reads again
    /// within `close_timeout`.
    pub(crate) fn disconnect_slow_consumer(&self, topic: &str) {
        let Shared { number, peer, .. } = &*self.shared;
        let (messages, capacity, bytes) = (self.len(), self.capacity(), self.bytes());
        let reason =
            format!("slow consumer: {messages} of {capacity} messages, {bytes} bytes queued");
        let close = CloseReason::new(SLOW_CONSUMER, &reason);
        if self
            .shared
            .close(CloseMode::Immediate, close, CloseCause::SlowConsumer)
        {
            log::warn!(
                "#{number} {peer} disconnected by topic {}: {SLOW_CONSUMER}, {reason}",
                escaped(topic)
            );
        }
    }

    /// Returns whether the 101 has not been written yet. Until then, nothing else is written.
    pub(crate) fn is_opening(&self) -> bool {
        self.shared.write.deadlines.is_opening()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Writes messages without queueing them, if nothing is ahead of them. Returns whether they have been written or
    /// are in flight.
    fn try_write_now(&self, batch: &FrameBatch) -> bool {
        self.shared.write.try_write_now(batch, None) != WriteNow::NotWritten
    }

    fn push(&self, message: &Message, wait: Wait) -> Admission {
        let Some(frame) = EncodedFrame::data(message) else {
            return Admission::Closed;
        };
        let batch = FrameBatch::One(frame);
        if self.try_write_now(&batch) {
            return Admission::Admitted;
        }
        let FrameBatch::One(frame) = batch else {
            unreachable!("the batch was made from one frame");
        };
        let queued = self.enqueue(frame, wait);
        // Needed even if the queue refused the message: see `WriteNow::NotWritten`.
        self.flush();
        queued
    }

    /// Queues a frame. The caller must flush.
    fn enqueue(&self, frame: EncodedFrame, wait: Wait) -> Admission {
        let lifecycle = self.shared.lifecycle();
        let queued = self.queue().push(frame.clone(), Wait::Never, lifecycle);
        if queued != Admission::Full || matches!(wait, Wait::Never) {
            return queued;
        }
        // Flushed first, because the queue may be full of messages that nobody has begun to write.
        self.flush();
        let _waiting = WaitingForRoom::of_client(self.shared.number);
        self.queue().push(frame, wait, lifecycle)
    }
}

/// How long one publish waits for queues that are full although their sockets are not blocked: until 100 ms have passed in
/// which none of them got room. On a busy machine, a writer may need some time until it runs.
#[derive(Debug, Default)]
pub(crate) struct RetryBudget(Option<Instant>);

impl RetryBudget {
    const WITHOUT_PROGRESS: Duration = Duration::from_millis(100);
    /// The interval at which a waiting thread checks whether the socket has become blocked.
    const CHECK_AGAIN_AFTER: Duration = Duration::from_millis(10);

    /// Returns the time at which the next wait ends, or `None` if the budget is used up.
    fn next(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let end = *self.0.get_or_insert(now + Self::WITHOUT_PROGRESS);
        (now < end).then(|| end.min(now + Self::CHECK_AGAIN_AFTER))
    }

    /// Records that a queue got room.
    fn progressed(&mut self) {
        self.0 = None;
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("number", &self.number())
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_budget_lasts_while_queues_get_room() {
        let mut budget = RetryBudget(Some(Instant::now()));
        assert_eq!(budget.next(), None, "100 ms without progress have passed");
        budget.progressed();
        assert!(budget.next().is_some());
    }
}
