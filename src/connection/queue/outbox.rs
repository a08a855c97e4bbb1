//! [`Outbox`]: the sending end of one client's bounded queue. *The verb is the policy.*

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
use crate::quoted::quoted;

/// Sends messages to one client from any thread. Cloning an outbox is cheap; all clones feed the same queue.
///
/// `send` waits for room, `send_timeout` waits up to a limit, and `try_send` never waits. Each gives the message back if
/// it was not queued. An outbox that is kept after its client has ended holds memory, but no descriptor and no thread.
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
    /// Waits until the queue has room for one message, or the connection ends. A peer that accepts nothing ends it after
    /// [`write_timeout`](crate::Config::write_timeout). Besides the queue, up to one batch of messages is in flight.
    ///
    /// # Errors
    /// [`SendError`] returns the message if the connection has ended or is closing.
    pub fn send(&self, message: Message) -> Result<(), SendError> {
        match self.push(&message, Wait::Forever) {
            Admission::Admitted => Ok(()),
            Admission::Full | Admission::Closed => Err(SendError(message)),
        }
    }

    /// Sends several messages that are available at the same time. This is the same as calling [`send`](Self::send) for
    /// each, but in a single write when nothing is queued ahead of them.
    ///
    /// # Blocking
    /// As [`send`](Self::send), for each message.
    ///
    /// # Errors
    /// [`SendError`] returns the first message that was not queued. The connection has ended or is closing, so those after
    /// it were not queued either.
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
    /// [`SendTimeoutError`] returns the message, and tells whether the time or the connection ended.
    pub fn send_timeout(
        &self,
        message: Message,
        timeout: Duration,
    ) -> Result<(), SendTimeoutError> {
        // A deadline beyond the end of the clock never comes.
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
    /// [`TrySendError`] returns the message, and tells whether there was no room or the connection has ended.
    pub fn try_send(&self, message: Message) -> Result<(), TrySendError> {
        match self.push(&message, Wait::Never) {
            Admission::Admitted => Ok(()),
            Admission::Full => Err(TrySendError::Full(message)),
            Admission::Closed => Err(TrySendError::Closed(message)),
        }
    }

    /// Closes the connection politely: what is queued is written, then a Close with `code` and `reason`. No further
    /// message is accepted. Returns immediately.
    ///
    /// `code` is one of 1000–1003, 1007–1014 or 3000–4999 (RFC 6455 §7.4); otherwise 1000 is sent. `reason` is cut to 123
    /// bytes. The first polite close wins.
    pub fn close(&self, code: u16, reason: &str) {
        let code = if may_be_sent(code) { code } else { 1000 };
        self.shared.close_by_application(code, reason);
    }

    /// Ends the connection with a TCP reset. Nothing that is queued is sent. Returns immediately.
    pub fn terminate(&self) {
        self.shared.terminate(CloseCause::Terminated);
    }

    /// Returns a channel that disconnects when the connection begins to end, or when shutdown begins. Nothing is ever sent
    /// on it. Use it in `select!`, or with `recv_timeout` instead of a sleep.
    pub fn closed(&self) -> &Receiver<Infallible> {
        self.shared.lifecycle().closing()
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

    /// Returns the bytes that are queued or in flight, frame headers included.
    pub fn bytes(&self) -> usize {
        self.queue().bytes()
    }

    /// Returns what became of the messages that were sent to this client.
    pub fn counts(&self) -> MessageCounts {
        self.queue().counts()
    }

    /// Returns the connection's number. It begins the connection's lines in the log and names its threads.
    pub fn number(&self) -> u64 {
        self.shared.number
    }

    /// Calls `place`, which queues something, again and again while the lack of room is our own delay. A queue can be full
    /// although the socket has refused nothing; then it is flushed, or waited for. This is the one place that decides
    /// whether a client is a slow consumer: its queue is full *and* its socket refuses bytes. Then it returns `None`.
    ///
    /// # Blocking
    /// For room, within `budget`. Woken by the writer's progress, or by the end of the connection.
    pub(crate) fn retry_until_blocked<T>(
        &self,
        budget: &mut RetryBudget,
        mut place: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        let deadlines = &self.shared.write.deadlines;
        loop {
            // Read before `place` is called: blocked *and* still full means slow, whatever happens in between.
            let blocked = deadlines.is_blocked();
            if let Some(placed) = place() {
                return Some(placed);
            }
            if blocked {
                return None;
            }
            self.flush();
            if !deadlines.is_blocked() {
                self.queue().wait_for_change(budget.next()?);
            }
        }
    }

    /// Calls `place`, which queues something, until it succeeds, or until `deadline`. `place` must also return something
    /// when the connection has ended.
    ///
    /// # Blocking
    /// Woken by the writer's progress, or by the end of the connection. A peer that accepts nothing ends it after
    /// [`write_timeout`](crate::Config::write_timeout).
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
            // Progress wakes this thread. It also looks again after a moment, for room that came without progress.
            let look_again = now + RetryBudget::LOOK_AGAIN;
            self.queue()
                .wait_for_change(deadline.map_or(look_again, |deadline| deadline.min(look_again)));
        }
    }

    pub(crate) fn queue(&self) -> &SendQueue {
        &self.shared.write.queue
    }

    /// Writes what is queued as far as the socket accepts it; never blocks.
    pub(crate) fn flush(&self) {
        self.shared.write.flush();
    }

    /// Discards what has been queued, if the connection has ended in between.
    pub(crate) fn drain_if_finished(&self) {
        self.queue().drain_if_finished(self.shared.lifecycle());
    }

    /// Disconnects a slow consumer with 4008. Its queue is discarded. The peer sees the code if it still reads within
    /// `close_timeout`.
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
                quoted(topic)
            );
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Writes messages without queueing them, if nothing is ahead of them. Returns whether they are on their way.
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
            unreachable!("it was made of one frame");
        };
        let queued = self.enqueue(frame, wait);
        // Even if the queue refused the message: see `WriteNow::NotWritten`.
        self.flush();
        queued
    }

    /// Queues a frame. The caller has to flush.
    fn enqueue(&self, frame: EncodedFrame, wait: Wait) -> Admission {
        let lifecycle = self.shared.lifecycle();
        let queued = self.queue().push(frame.clone(), Wait::Never, lifecycle);
        if queued != Admission::Full || matches!(wait, Wait::Never) {
            return queued;
        }
        // What is queued must be on its way before this thread waits for room.
        self.flush();
        let _waiting = WaitingForRoom::of_client(self.shared.number);
        self.queue().push(frame, wait, lifecycle)
    }
}

/// How long one publish waits for queues that are full although their sockets are not blocked: 100 ms in all, counted from
/// the first time that it has to wait.
#[derive(Debug, Default)]
pub(crate) struct RetryBudget(Option<Instant>);

impl RetryBudget {
    const TOTAL: Duration = Duration::from_millis(100);
    /// How often a thread that waits looks whether the socket has become blocked meanwhile.
    const LOOK_AGAIN: Duration = Duration::from_millis(10);

    /// Returns until when to wait now, or `None` if the budget is used up.
    fn next(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let end = *self.0.get_or_insert(now + Self::TOTAL);
        (now < end).then(|| end.min(now + Self::LOOK_AGAIN))
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
