//! [`Outbox`]: the sending end of one client's bounded queue. *The verb is the policy.*

use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use tungstenite::Message;

use crate::connection::queue::send_queue::{Refused, SendQueue, Wait};
use crate::connection::shared::{CloseCause, SLOW_CONSUMER, Shared};
use crate::connection::state::Activity;
use crate::connection::stats::MessageCounts;
use crate::connection::write::control_slot::{CloseMode, CloseReason};
use crate::connection::write::direct_write::{FrameBatch, ToOneClient, WriteNow};
use crate::connection::write::frame::Frame;
use crate::error::{SendError, SendTimeoutError, TrySendError};
use crate::escape::escaped;

/// Sends messages to one client from any thread. Cloning it is cheap; all clones feed the same queue.
///
/// `send` waits for room, `send_timeout` waits so long, `try_send` never waits; each gives the message back when it was
/// not queued. An outbox kept after its client's end holds memory, but no descriptor and no thread.
#[derive(Clone)]
pub struct Outbox {
    client: Arc<Shared>,
}

impl Outbox {
    pub(crate) fn new(client: Arc<Shared>) -> Outbox {
        Outbox { client }
    }

    /// Queues `message` for the peer, waiting while the outbox is full.
    ///
    /// Messages reach the wire in the order of these calls. `Ok` means *queued*, not *delivered*.
    ///
    /// # Blocking
    /// Waits for room for one message (in flight: a full outbox plus the batch in the writer's hand). Woken by that, or
    /// by the end of the connection, which a peer that takes nothing meets after
    /// [`write_timeout`](crate::Config::write_timeout).
    ///
    /// # Errors
    /// [`SendError`] gives the message back if the connection has ended or is closing.
    pub fn send(&self, message: Message) -> Result<(), SendError> {
        match self.push(&message, Wait::Forever) {
            Queued::Yes => Ok(()),
            Queued::Full | Queued::Closed => Err(SendError(message)),
        }
    }

    /// As [`send`](Self::send) of one after the other, and in one write if nothing is before them: for messages that are
    /// there at the same time.
    ///
    /// # Blocking
    /// As [`send`](Self::send), for each.
    ///
    /// # Errors
    /// [`SendError`] gives back the first that was not queued. The connection has ended or is closing, so those after it
    /// would not have been queued either.
    pub fn send_all(&self, messages: Vec<Message>) -> Result<(), SendError> {
        let mut left = messages.into_iter();
        while let [_, ..] = left.as_slice() {
            let together = FrameBatch::count_that_fits(left.as_slice().iter().map(Message::len));
            let frames = left.as_slice()[..together].iter().map(Frame::data);
            let frames: Option<Vec<Frame>> = frames.collect();
            if frames.is_some_and(|frames| self.try_write_now(FrameBatch::new(frames))) {
                left.by_ref().take(together).for_each(drop);
                continue;
            }
            let mut refused = None;
            for message in left.by_ref().take(together) {
                let frame = Frame::data(&message);
                let queued =
                    frame.map_or(Queued::Closed, |frame| self.enqueue(frame, Wait::Forever));
                if !matches!(queued, Queued::Yes) {
                    refused = Some(SendError(message));
                    break;
                }
            }
            self.client.flush();
            if let Some(refused) = refused {
                return Err(refused);
            }
        }
        Ok(())
    }

    /// As [`send`](Self::send), for at most `timeout`.
    ///
    /// # Errors
    /// [`SendTimeoutError`] gives the message back, and says whether time or the connection ended.
    pub fn send_timeout(
        &self,
        message: Message,
        timeout: Duration,
    ) -> Result<(), SendTimeoutError> {
        // A moment beyond the clock's end never comes.
        let wait = Instant::now()
            .checked_add(timeout)
            .map_or(Wait::Forever, Wait::Until);
        match self.push(&message, wait) {
            Queued::Yes => Ok(()),
            Queued::Full => Err(SendTimeoutError::Timeout(message)),
            Queued::Closed => Err(SendTimeoutError::Closed(message)),
        }
    }

    /// Queues `message` if there is room for it now.
    ///
    /// # Errors
    /// [`TrySendError`] gives the message back, and says whether it was room that was missing.
    pub fn try_send(&self, message: Message) -> Result<(), TrySendError> {
        match self.push(&message, Wait::Never) {
            Queued::Yes => Ok(()),
            Queued::Full => Err(TrySendError::Full(message)),
            Queued::Closed => Err(TrySendError::Closed(message)),
        }
    }

    /// Ends the client politely: what is queued, then a Close with `code` and `reason`; no further message is taken.
    ///
    /// `code` is 1000–1003, 1007–1014 or 3000–4999 (RFC 6455 §7.4), else 1000 is sent; of the reason at most 123 bytes.
    /// The first polite close stands. Returns at once.
    pub fn close(&self, code: u16, reason: &str) {
        let goodbye = CloseReason::new(sendable(code), reason);
        self.client.close(CloseMode::AfterQueue, goodbye);
    }

    /// Ends the client at once, with a TCP reset: nothing queued is sent, and nobody waits. Returns at once.
    pub fn terminate(&self) {
        self.client.reset(CloseCause::Terminated);
    }

    /// A receiver that disconnects when the connection begins to end or shutdown begins. Nothing is ever sent on it: it
    /// is for `select!`, and for `recv_timeout` in place of a sleep.
    pub fn closed(&self) -> &Receiver<Infallible> {
        self.client.queue.closed()
    }

    /// Messages that wait in the queue.
    pub fn len(&self) -> usize {
        self.client.queue.len()
    }

    /// No message waits in the queue.
    pub fn is_empty(&self) -> bool {
        self.client.queue.is_empty()
    }

    /// Messages the queue holds: [`Config::queue`](crate::Config::queue).
    pub fn capacity(&self) -> usize {
        self.client.queue.capacity()
    }

    /// Bytes that are queued or in the writer's hand, frame headers included.
    pub fn bytes(&self) -> usize {
        self.client.queue.bytes()
    }

    /// What became of the messages that were queued here.
    pub fn counts(&self) -> MessageCounts {
        self.client.queue.counts()
    }

    /// The number of this connection, which begins its lines in the log and names its threads.
    pub fn number(&self) -> u64 {
        self.client.number
    }

    /// Lets `place` queue something, trying again while the lack of room is our own doing. *Slow is not full*: a full
    /// outbox whose socket has not refused anything is our own delay, so it is flushed, or waited for, before it is
    /// called slow. This is the one place that decides it.
    ///
    /// # Blocking
    /// For room, within `patience`. Woken by the writer's progress, or by the client's end.
    pub(crate) fn retry_until_blocked<T>(
        &self,
        patience: &mut RetryBudget,
        mut place: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        loop {
            // Asked before: blocked *and* still full is slow, whatever happens in between.
            let blocked = self.client.state.is_blocked();
            if let Some(placed) = place() {
                return Some(placed);
            }
            if blocked {
                return None;
            }
            self.client.flush();
            if !self.client.state.is_blocked() {
                self.client.queue.wait_for_change(patience.next()?);
            }
        }
    }

    /// Lets `place` queue something, waiting for room until `deadline`, or as long as the client lasts: `place` has to
    /// give something when it has ended.
    ///
    /// # Blocking
    /// Woken by the writer's progress, or by the client's end, which a peer that takes nothing meets after
    /// [`write_timeout`](crate::Config::write_timeout).
    pub(crate) fn wait_for_room<T>(
        &self,
        deadline: Option<Instant>,
        mut place: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        let _waiting = Waiting::for_room(&self.client);
        loop {
            if let Some(placed) = place() {
                return Some(placed);
            }
            let now = Instant::now();
            if deadline.is_some_and(|deadline| now >= deadline) {
                return None;
            }
            self.client.flush();
            // Progress wakes us; looking again costs little, and room that came without progress is seen too.
            let look = now + RetryBudget::LOOK;
            self.client
                .queue
                .wait_for_change(deadline.map_or(look, |deadline| deadline.min(look)));
        }
    }

    pub(crate) fn queue(&self) -> &SendQueue {
        &self.client.queue
    }

    /// Sends what is queued on its way; never waits.
    pub(crate) fn flush(&self) {
        self.client.flush();
    }

    /// Cuts a slow consumer: the queue is discarded, and it is told why, if it still listens within `close_timeout`.
    pub(crate) fn cut(&self, topic: &str) {
        let Shared { number, peer, .. } = &*self.client;
        let (messages, capacity, bytes) = (self.len(), self.capacity(), self.bytes());
        let reason =
            format!("slow consumer: {messages} of {capacity} messages, {bytes} bytes queued");
        if self.client.close(
            CloseMode::Immediate,
            CloseReason::new(SLOW_CONSUMER, &reason),
        ) {
            log::warn!(
                "#{number} {peer} cut from {}: {SLOW_CONSUMER}, {reason}",
                escaped(topic)
            );
        }
    }

    pub(crate) fn inner(&self) -> &Arc<Shared> {
        &self.client
    }

    /// Writes messages that nothing is before.
    fn try_write_now(&self, run: FrameBatch) -> bool {
        self.client.try_write_now(&ToOneClient(run)) != WriteNow::NotWritten
    }

    fn push(&self, message: &Message, wait: Wait) -> Queued {
        let Some(frame) = Frame::data(message) else {
            return Queued::Closed;
        };
        if self.try_write_now(FrameBatch::One(frame.clone())) {
            return Queued::Yes;
        }
        let queued = self.enqueue(frame, wait);
        // Also when there was no room: then somebody should be making some.
        self.client.flush();
        queued
    }

    /// Queues a frame, and leaves it to the caller to flush.
    fn enqueue(&self, frame: Frame, wait: Wait) -> Queued {
        let pushed = match (self.client.queue.push(frame, Wait::Never), wait) {
            (Err(Refused::Full(frame)), Wait::Until(_) | Wait::Forever) => {
                // What is queued must be on its way before anybody waits for it to go.
                self.client.flush();
                let _waiting = Waiting::for_room(&self.client);
                self.client.queue.push(frame, wait)
            }
            (pushed, _) => pushed,
        };
        match pushed {
            Ok(()) => Queued::Yes,
            Err(Refused::Full(_)) => Queued::Full,
            Err(Refused::Closed) => Queued::Closed,
        }
    }
}

/// How much longer one publish waits for outboxes that are full though their sockets are not: 100 ms in all, from the
/// first time it has to, and looking again every few for a socket that has refused meanwhile.
#[derive(Debug, Default)]
pub(crate) struct RetryBudget(Option<Instant>);

impl RetryBudget {
    const IN_ALL: Duration = Duration::from_millis(100);
    const LOOK: Duration = Duration::from_millis(10);

    /// The moment until which to wait now; `None` when patience is at its end.
    fn next(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let end = *self.0.get_or_insert(now + Self::IN_ALL);
        (now < end).then(|| end.min(now + Self::LOOK))
    }
}

enum Queued {
    Yes,
    Full,
    Closed,
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("client", &self.client.number)
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

/// Codes that may stand in a Close (RFC 6455 §7.4.1, §7.4.2, and IANA's 1012 to 1014); others become 1000.
pub(crate) fn sendable(code: u16) -> u16 {
    match code {
        1000..=1003 | 1007..=1014 | 3000..=4999 => code,
        _ => 1000,
    }
}

thread_local! {
    /// The client whose reader this thread is.
    static READER_OF: RefCell<Option<Arc<Shared>>> = const { RefCell::new(None) };
}

/// Says for whom this thread reads, so that its waits can be shown.
pub(crate) fn this_thread_reads_for(client: Option<Arc<Shared>>) {
    READER_OF.with_borrow_mut(|reader_of| *reader_of = client);
}

/// While it lives, this thread's client is shown as waiting for room in another's outbox.
struct Waiting;

impl Waiting {
    fn for_room(whose: &Shared) -> Waiting {
        Waiting::say(Activity::WaitingForRoom(whose.number));
        Waiting
    }

    fn say(doing: Activity) {
        READER_OF.with_borrow(|reader_of| {
            if let Some(client) = reader_of {
                client.state.reader.set(doing);
            }
        });
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        Waiting::say(Activity::InHandler);
    }
}
