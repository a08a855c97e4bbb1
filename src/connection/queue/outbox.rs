//! [`Outbox`]: the sending end of one client's bounded queue. The name of each sending method says how long it waits.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::message::Message;

use super::item::QueueItem;
use super::send_queue::{Admission, SendQueue, Wait};
use super::waiting::WaitingForRoom;
use crate::connection::shared::Shared;
use crate::connection::stats::MessageCounts;
use crate::connection::write::direct_write::WriteNow;
use crate::connection::write::frame::{EncodedFrame, FrameBatch};
use crate::error::{SendAllError, SendError, SendTimeoutError, TrySendError};

/// Sends messages to one client from any thread. Cloning an outbox is cheap; all clones feed the same queue.
///
/// [`send`](Self::send) waits for room, [`send_timeout`](Self::send_timeout) waits up to a limit, and
/// [`try_send`](Self::try_send) never waits. Each returns the message if it was not queued. An outbox that is kept
/// after its client has ended uses memory, but no descriptor and no thread.
///
/// ```
/// use standpipe::{Outbox, TrySendError};
///
/// /// Offers a price to a client, and skips it if the client is behind.
/// fn offer(outbox: &Outbox, price: &str) -> bool {
///     match outbox.try_send(price) {
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
    /// ```
    /// # fn example(outbox: &standpipe::Outbox) {
    /// if let Err(refused) = outbox.send("hello") {
    ///     println!("client {} has left, and {refused:?}", outbox.number());
    /// }
    /// # }
    /// ```
    ///
    /// # Blocking
    /// Waits until the queue has room for one message, or the connection ends. If the peer accepts nothing for
    /// [`write_timeout`](crate::Config::write_timeout), the connection is reset. In addition to the queue, up to one
    /// batch of messages may be in flight.
    ///
    /// # Errors
    /// [`SendError`] returns the message if the connection has ended or is closing.
    pub fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        let message = message.into();
        match self.push(&message, Wait::Forever) {
            Admission::Admitted => Ok(()),
            Admission::Full | Admission::Closed => Err(SendError(message)),
        }
    }

    /// Sends several messages that are available at the same time. The effect is the same as that of
    /// [`send`](Self::send) for each message. But if nothing is queued ahead of them, one write takes up to 64 of them,
    /// or about 64 KiB.
    ///
    /// ```
    /// use standpipe::{Message, Outbox};
    ///
    /// /// Sends lines to a client, and returns those that it can no longer get.
    /// fn send_lines(outbox: &Outbox, lines: Vec<Message>) -> Vec<Message> {
    ///     match outbox.send_all(lines) {
    ///         Ok(()) => Vec::new(),
    ///         Err(error) => error.into_unsent(),
    ///     }
    /// }
    /// # let _ = send_lines;
    /// ```
    ///
    /// # Blocking
    /// As [`send`](Self::send), for each message.
    ///
    /// # Errors
    /// [`SendAllError`] returns every message that was not queued, in order, for the reasons that [`send`](Self::send)
    /// lists. The messages before them were queued.
    pub fn send_all(&self, messages: Vec<Message>) -> Result<(), SendAllError> {
        let mut left = messages.into_iter();
        while let [_, ..] = left.as_slice() {
            let count = FrameBatch::count_that_fits(left.as_slice().iter().map(Message::len));
            let frames = left.as_slice()[..count].iter().map(EncodedFrame::data);
            if self.try_write_now(&FrameBatch::new(frames.collect())) {
                left.by_ref().take(count).for_each(drop);
                continue;
            }
            let mut queued = Admission::Admitted;
            for _ in 0..count {
                let frame = EncodedFrame::data(&left.as_slice()[0]);
                queued = self.enqueue(frame, Wait::Forever);
                if queued != Admission::Admitted {
                    break;
                }
                left.next();
            }
            self.flush();
            if queued != Admission::Admitted {
                let unsent = left.collect();
                return Err(SendAllError { unsent });
            }
        }
        Ok(())
    }

    /// Like [`send`](Self::send), but waits at most `timeout`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use standpipe::{Outbox, SendTimeoutError};
    ///
    /// fn notify(outbox: &Outbox, text: &str) {
    ///     match outbox.send_timeout(text, Duration::from_millis(50)) {
    ///         Ok(()) | Err(SendTimeoutError::Closed(_)) => {}
    ///         Err(_) => outbox.terminate(), // Too slow for this service.
    ///     }
    /// }
    /// ```
    ///
    /// # Blocking
    /// As [`send`](Self::send), for at most `timeout`.
    ///
    /// # Errors
    /// [`SendTimeoutError`] returns the message, and says whether the time expired or the connection ended.
    pub fn send_timeout(
        &self,
        message: impl Into<Message>,
        timeout: Duration,
    ) -> Result<(), SendTimeoutError> {
        let message = message.into();
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
    /// ```
    /// use standpipe::{Message, Outbox, TrySendError};
    ///
    /// /// Queues a message, or gives it back for later.
    /// fn offer(outbox: &Outbox, message: Message) -> Option<Message> {
    ///     match outbox.try_send(message) {
    ///         Err(TrySendError::Full(message)) => Some(message),
    ///         _ => None,
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// [`TrySendError`] returns the message, and says whether there was no room or the connection has ended.
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), TrySendError> {
        let message = message.into();
        match self.push(&message, Wait::Never) {
            Admission::Admitted => Ok(()),
            Admission::Full => Err(TrySendError::Full(message)),
            Admission::Closed => Err(TrySendError::Closed(message)),
        }
    }

    /// Returns the number of messages that are queued.
    ///
    /// ```
    /// # fn example(outbox: &standpipe::Outbox) {
    /// if outbox.len() > outbox.capacity() / 2 {
    ///     println!("client {} is behind", outbox.number());
    /// }
    /// # }
    /// ```
    pub fn len(&self) -> usize {
        self.queue().len()
    }

    /// Returns whether no message is queued.
    ///
    /// ```
    /// # fn example(outbox: &standpipe::Outbox) {
    /// if outbox.is_empty() {
    ///     // Nothing waits, so this message is the next one that the client gets.
    ///     let _ = outbox.try_send("now");
    /// }
    /// # }
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many messages the queue can hold: [`Config::queue`](crate::Config::queue), or more if a topic of an
    /// [attached hub](crate::Config::hub) needs more.
    ///
    /// ```
    /// # fn example(outbox: &standpipe::Outbox) {
    /// println!("{} of {} messages are queued", outbox.len(), outbox.capacity());
    /// # }
    /// ```
    pub fn capacity(&self) -> usize {
        self.queue().capacity()
    }

    /// Returns the number of bytes that are queued or in flight, frame headers included.
    ///
    /// ```
    /// # fn example(outbox: &standpipe::Outbox) {
    /// if outbox.bytes() > 512 << 10 {
    ///     println!("client {} has {} bytes to read", outbox.number(), outbox.bytes());
    /// }
    /// # }
    /// ```
    pub fn bytes(&self) -> usize {
        self.queue().bytes()
    }

    /// Returns how many messages for this client were accepted, delivered, dropped and discarded.
    ///
    /// ```
    /// # fn example(outbox: &standpipe::Outbox) {
    /// let counts = outbox.counts();
    /// let waiting = counts.accepted - counts.delivered - counts.dropped - counts.discarded;
    /// println!("{waiting} messages are queued or in flight");
    /// # }
    /// ```
    pub fn counts(&self) -> MessageCounts {
        self.shared.counts()
    }

    /// Sends a ping now, ahead of the queued messages, to measure the [`round_trip`](Self::round_trip). Returns
    /// immediately. Does nothing while an earlier ping is unanswered: its answer measures for both. Does nothing after
    /// the connection has begun to close.
    ///
    /// Without this call, the server pings each client about once per [`ping_interval`](crate::Config::ping_interval).
    ///
    /// ```
    /// use std::collections::HashMap;
    ///
    /// use standpipe::Outbox;
    ///
    /// /// Shows the round trip of each player. A game calls this once per second.
    /// fn show_round_trips(players: &HashMap<String, Outbox>) {
    ///     for (name, outbox) in players {
    ///         if let Some(round_trip) = outbox.round_trip() {
    ///             println!("{name}: {:.1} ms", round_trip.as_secs_f64() * 1e3);
    ///         }
    ///         outbox.ping();
    ///     }
    /// }
    /// # let _ = show_round_trips;
    /// ```
    pub fn ping(&self) {
        self.shared.ping();
    }

    /// Returns the time from the last answered ping to its pong, in microseconds. `None` before the first pong.
    ///
    /// It begins when the ping is given to the socket, and ends when [`Connection::recv`](crate::Connection::recv) reads
    /// the pong. So it contains what is ahead of the ping: the message in progress, if the socket refuses bytes, and the
    /// data in the kernel's buffers. It also contains the time that the handler spends before it receives again. Only the
    /// answer to a ping of the server counts. Other pongs of the client are ignored.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use standpipe::Outbox;
    ///
    /// /// Returns whether a client is too far away for a fast game. A client that was not measured yet is not.
    /// fn is_far(outbox: &Outbox) -> bool {
    ///     outbox.round_trip().is_some_and(|took| took > Duration::from_millis(150))
    /// }
    /// # let _ = is_far;
    /// ```
    pub fn round_trip(&self) -> Option<Duration> {
        self.shared.write.control.pings.round_trip()
    }

    /// Returns the connection's number. The number is in the connection's log lines and in the names of its threads.
    ///
    /// ```
    /// use std::collections::HashMap;
    /// use standpipe::Outbox;
    ///
    /// fn add(clients: &mut HashMap<u64, Outbox>, outbox: Outbox) {
    ///     clients.insert(outbox.number(), outbox);
    /// }
    /// ```
    pub fn number(&self) -> u64 {
        self.shared.number
    }

    pub(crate) fn queue(&self) -> &SendQueue {
        &self.shared.write.queue
    }

    /// Writes the queued messages as far as the socket accepts them. Never blocks.
    pub(crate) fn flush(&self) {
        self.shared.write.flush();
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
        let batch = FrameBatch::One(EncodedFrame::data(message));
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
        let size = frame.len();
        self.enqueue_item(QueueItem::Frame(frame), size, wait)
    }

    /// Queues a message of `size` bytes. The caller must flush.
    pub(super) fn enqueue_item(&self, item: QueueItem, size: usize, wait: Wait) -> Admission {
        let lifecycle = self.shared.lifecycle();
        let queued = self
            .queue()
            .push_item(item.clone(), size, Wait::Never, lifecycle);
        if queued != Admission::Full || matches!(wait, Wait::Never) {
            return queued;
        }
        // Flushed first, because the queue may be full of messages that nobody has begun to write.
        self.flush();
        let _waiting = WaitingForRoom::of_client(self.shared.number);
        self.queue().push_item(item, size, wait, lifecycle)
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
