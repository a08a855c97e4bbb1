//! [`Receipt`]: tells what became of one message. Also the half of [`Outbox`] that waits until messages are written.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::item::{QueueItem, TopicSource};
use super::outbox::Outbox;
use super::send_queue::{Admission, Wait};
use super::tracked::{Fate, Tracked};
use super::waiting::WaitingForRoom;
use crate::connection::lifecycle::Phase;
use crate::connection::write::direct_write::{DirectWrite, WriteNow};
use crate::connection::write::frame::{EncodedFrame, FrameBatch};
use crate::error::{SendError, WaitWrittenError};
use crate::message::Message;

/// Tells what became of one message. [`Outbox::send_with_receipt`] returns it.
///
/// A receipt that is dropped changes nothing for the message. A receipt that is kept after its connection has ended uses
/// a few bytes of memory.
///
/// ```
/// use std::time::Duration;
///
/// use standpipe::{Fate, Outbox, SendError};
///
/// /// Sends an order, and tells whether our kernel has it after one second.
/// fn send_order(outbox: &Outbox, order: &str) -> Result<bool, SendError> {
///     let receipt = outbox.send_with_receipt(order)?;
///     Ok(receipt.wait_timeout(Duration::from_secs(1)) == Some(Fate::Delivered))
/// }
/// # let _ = send_order;
/// ```
#[derive(Clone)]
#[must_use = "a message is sent without a receipt by `send`"]
pub struct Receipt {
    entry: Arc<Tracked>,
}

impl Receipt {
    /// Returns the fate of the message, or `None` while the message is queued or in flight. Never blocks.
    ///
    /// ```
    /// use standpipe::{Fate, Receipt};
    ///
    /// /// Removes the receipts of messages that are on their way. Returns how many messages were lost.
    /// fn count_lost(receipts: &mut Vec<Receipt>) -> usize {
    ///     let lost = receipts.iter().filter(|receipt| receipt.fate() == Some(Fate::Discarded)).count();
    ///     receipts.retain(|receipt| receipt.fate().is_none());
    ///     lost
    /// }
    /// # let _ = count_lost;
    /// ```
    pub fn fate(&self) -> Option<Fate> {
        self.entry.fate()
    }

    /// Waits until the fate of the message is known, and returns it.
    ///
    /// ```
    /// use standpipe::{Outbox, Receipt};
    ///
    /// fn log_fate(outbox: &Outbox, receipt: &Receipt) {
    ///     println!("client {}: {}", outbox.number(), receipt.wait());
    /// }
    /// # let _ = log_fate;
    /// ```
    ///
    /// # Blocking
    /// Waits until the message is written or discarded. Woken by the thread that writes it, or by the end of the
    /// connection. If the peer accepts nothing for [`write_timeout`](crate::Config::write_timeout), the connection is
    /// reset. In [`Handler::opening`](crate::Handler::opening), nothing is written before the method has returned.
    pub fn wait(&self) -> Fate {
        // Nothing is ever sent, so this waits until the channel disconnects.
        let _ = self.known().recv();
        self.fate_when_known()
    }

    /// Like [`wait`](Self::wait), but waits at most `timeout`. Returns `None` if the fate is not known by then.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use standpipe::{Outbox, Receipt};
    ///
    /// /// Ends a client that is more than ten seconds behind.
    /// fn require_progress(outbox: &Outbox, receipt: &Receipt) {
    ///     if receipt.wait_timeout(Duration::from_secs(10)).is_none() {
    ///         outbox.terminate();
    ///     }
    /// }
    /// # let _ = require_progress;
    /// ```
    ///
    /// # Blocking
    /// As [`wait`](Self::wait), for at most `timeout`.
    pub fn wait_timeout(&self, timeout: Duration) -> Option<Fate> {
        self.entry
            .known()
            .wait(timeout)
            .then(|| self.fate_when_known())
    }

    /// Returns a channel that disconnects when the fate is known. Nothing is ever sent on the channel. Use it in
    /// `select!`, and call [`fate`](Self::fate) afterwards.
    ///
    /// ```
    /// use standpipe::crossbeam_channel::{Receiver, select};
    /// use standpipe::{Fate, Receipt};
    ///
    /// /// Waits for the fate of a message, until `stop` disconnects.
    /// fn fate_until(receipt: &Receipt, stop: &Receiver<()>) -> Option<Fate> {
    ///     select! {
    ///         recv(receipt.known()) -> _ => receipt.fate(),
    ///         recv(stop) -> _ => None,
    ///     }
    /// }
    /// # let _ = fate_until;
    /// ```
    pub fn known(&self) -> &Receiver<Infallible> {
        self.entry.known().receiver()
    }

    fn fate_when_known(&self) -> Fate {
        let fate = self.entry.fate();
        fate.expect("the channel disconnects after the fate is stored")
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt")
            .field("fate", &self.fate())
            .finish()
    }
}

impl Outbox {
    /// Like [`send`](Self::send), but also returns a [`Receipt`], which tells what became of the message. A message with a
    /// receipt keeps its place among the others. It costs one more allocation than a message without.
    ///
    /// ```
    /// use standpipe::{Fate, Outbox, SendError};
    ///
    /// /// Sends a last message and a Close, and returns whether our kernel got the message.
    /// fn say_goodbye(outbox: &Outbox) -> Result<bool, SendError> {
    ///     let receipt = outbox.send_with_receipt("goodbye")?;
    ///     outbox.close(1000, "");
    ///     Ok(receipt.wait() == Fate::Delivered)
    /// }
    /// # let _ = say_goodbye;
    /// ```
    ///
    /// # Blocking
    /// As [`send`](Self::send). The method does not wait for the fate.
    ///
    /// # Errors
    /// [`SendError`] returns the message if the connection has ended or is closing.
    pub fn send_with_receipt(&self, message: impl Into<Message>) -> Result<Receipt, SendError> {
        let message = message.into();
        let frame = EncodedFrame::data(&message);
        let (size, entry) = (frame.len(), Tracked::new(Some(frame.clone())));
        let direct = Direct(&entry);
        let batch = FrameBatch::One(frame);
        match self.shared().write.try_write_now(&batch, Some(&direct)) {
            WriteNow::Written => entry.finished(true),
            WriteNow::InFlight => {}
            WriteNow::NotWritten => {
                let ticket = QueueItem::Ticket(entry.clone());
                let queued = self.enqueue_item(ticket, size, Wait::Forever);
                self.flush();
                if queued != Admission::Admitted {
                    return Err(SendError(message));
                }
            }
        }
        Ok(Receipt { entry })
    }

    /// Waits until everything that was queued before this call has been written, that is, handed to the kernel. A message
    /// that its topic has dropped by its policy is not waited for, and neither is a Close frame.
    ///
    /// ```
    /// use standpipe::Outbox;
    ///
    /// /// Sends a report, and closes the connection without a Close frame once the kernel has the report.
    /// fn send_and_reset(outbox: &Outbox, lines: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    ///     for line in lines {
    ///         outbox.send(line)?;
    ///     }
    ///     outbox.wait_written()?;
    ///     outbox.terminate();
    ///     Ok(())
    /// }
    /// # let _ = send_and_reset;
    /// ```
    ///
    /// # Blocking
    /// Waits for room in the queue, and then until what is ahead is written. Woken by the writer's progress, or by the end
    /// of the connection. If the peer accepts nothing for [`write_timeout`](crate::Config::write_timeout), the connection
    /// is reset. In [`Handler::opening`](crate::Handler::opening), nothing is written before the method has returned.
    ///
    /// # Errors
    /// [`WaitWrittenError::Ended`] if the connection ended, and something that was queued for it was discarded.
    pub fn wait_written(&self) -> Result<(), WaitWrittenError> {
        self.wait_written_until(None)
    }

    /// Like [`wait_written`](Self::wait_written), but waits at most `timeout`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use standpipe::{Outbox, WaitWrittenError};
    ///
    /// /// Tells whether the client is more than a second behind.
    /// fn is_behind(outbox: &Outbox) -> bool {
    ///     outbox.wait_written_timeout(Duration::from_secs(1)) == Err(WaitWrittenError::Timeout)
    /// }
    /// # let _ = is_behind;
    /// ```
    ///
    /// # Blocking
    /// As [`wait_written`](Self::wait_written), for at most `timeout`.
    ///
    /// # Errors
    /// [`WaitWrittenError`] says whether the time was over, or the connection ended.
    pub fn wait_written_timeout(&self, timeout: Duration) -> Result<(), WaitWrittenError> {
        // A deadline that the clock cannot represent is never reached.
        self.wait_written_until(Instant::now().checked_add(timeout))
    }

    fn wait_written_until(&self, deadline: Option<Instant>) -> Result<(), WaitWrittenError> {
        // The bytes of a message are in use until it is written, dropped or discarded.
        if self.queue().bytes() == 0 {
            let lost = self.has_discarded();
            return if lost {
                Err(WaitWrittenError::Ended)
            } else {
                Ok(())
            };
        }
        let checkpoint = Tracked::new(None);
        if !self.queue_checkpoint(&checkpoint, deadline) {
            return Err(WaitWrittenError::Timeout);
        }
        self.flush();
        checkpoint.is_known_by(deadline);
        match checkpoint.fate() {
            Some(Fate::Delivered) => Ok(()),
            Some(Fate::Discarded) => Err(WaitWrittenError::Ended),
            None => Err(WaitWrittenError::Timeout),
        }
    }

    /// Queues a checkpoint, even while the connection is closing: the messages ahead of it are still written. Returns false
    /// if there is no room until `deadline`.
    ///
    /// # Blocking
    /// Waits while there are too many checkpoints, and then for room. Woken by the writer's progress, and by the end of the
    /// connection, which empties the queue.
    fn queue_checkpoint(&self, checkpoint: &Arc<Tracked>, deadline: Option<Instant>) -> bool {
        while let Err(oldest) = self.queue().checkpoints.try_add(checkpoint) {
            if !oldest.is_known_by(deadline) {
                return false;
            }
        }
        let is_queued = self.push_checkpoint(checkpoint, deadline);
        if !is_queued {
            // It makes room for another checkpoint.
            checkpoint.finished(false);
        }
        is_queued
    }

    fn push_checkpoint(&self, checkpoint: &Arc<Tracked>, deadline: Option<Instant>) -> bool {
        let (queue, lifecycle) = (self.queue(), self.shared().lifecycle());
        if queue.push_checkpoint(checkpoint.clone(), Wait::Never, lifecycle) {
            return true;
        }
        self.flush();
        let _waiting = WaitingForRoom::of_client(self.number());
        let wait = deadline.map_or(Wait::Forever, Wait::Until);
        queue.push_checkpoint(checkpoint.clone(), wait, lifecycle)
    }

    /// Returns whether the connection has ended, or is about to, and messages were discarded.
    fn has_discarded(&self) -> bool {
        let lifecycle = self.shared().lifecycle();
        (lifecycle.is_finished() || lifecycle.phase() >= Phase::ClosingNow)
            && self.counts().discarded > 0
    }
}

/// A message with a receipt that is to be written directly.
struct Direct<'a>(&'a Arc<Tracked>);

impl DirectWrite for Direct<'_> {
    fn try_claim(&self) -> bool {
        true
    }

    fn begin_in_flight(&self) -> Arc<dyn TopicSource> {
        self.0.clone()
    }
}
