//! [`WritePath`]: which thread may write to the socket, and when.
//!
//! *Any thread may write as much as the socket accepts without blocking. Only the writer waits.*
//!
//! The write half of the socket is a value, [`WriteHalf`]. One thread at a time takes it from its slot, writes, and
//! puts it back. The slot's lock is not held during a write. There is only one write half, so writes cannot interleave.
//!
//! A thread that has queued a message takes the write half itself, writes one batch without blocking, and puts it back.
//! A thread that finds the slot empty leaves its message in the queue. The message will be written, because the holder
//! puts the write half back *first* and checks the queue *afterwards*. The other thread queued its message before it
//! found the slot empty, so the slot's lock orders the message before the holder's check.
//!
//! **Fast path.** If nothing is in flight or queued and the attention flag is clear, nothing is ahead of the message of
//! a thread that holds the write half. The thread then writes it without queueing it.
//!
//! **Streams.** While a message is sent as a stream, the holder takes fragments of this message only, and no other thread
//! writes directly. A thread that has queued a fragment requests attention and flushes.
//!
//! `tests/model` contains a loom model of this file, and mutants that the model must detect. Change both together.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::attention::Attention;
use super::blockage::{Blockage, PROGRESS};
use super::control_slot::ControlSlot;
use super::direct_write::{DirectWrite, WriteNow};
use super::frame::{BATCH_BYTES, FrameBatch, PIECES};
use super::in_flight::{FrameKind, InFlight};
use super::slot::Slot;
use super::wake_up::WakeUp;
use crate::config::Config;
use crate::connection::activity::{Activity, ThreadActivity};
use crate::connection::client_name::CurrentName;
use crate::connection::close_cause::CloseCause;
use crate::connection::deadlines::Deadlines;
use crate::connection::lifecycle::{Lifecycle, Phase};
use crate::connection::queue::send_queue::SendQueue;
use crate::connection::socket::Transport;

/// The queue, the control slot and the write half of one connection.
#[derive(Debug)]
pub(crate) struct WritePath {
    name: Arc<CurrentName>,
    pub(crate) config: Arc<Config>,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) queue: SendQueue,
    pub(crate) control: ControlSlot,
    pub(crate) deadlines: Deadlines,
    /// Closed when the connection has ended. A write half that is released afterwards is dropped, together with its
    /// reference to the socket.
    slot: Slot<WriteHalf>,
    /// Whether a message that is sent as a stream is being written. Only the holder of the write half changes it. Queued
    /// messages are no work meanwhile: a fragment, and the end of the stream, request attention.
    is_streaming: AtomicBool,
    attention: Attention,
    pub(crate) writer: WakeUp,
}

impl WritePath {
    /// The write half is held at first, because the opening handshake writes to the socket.
    pub(crate) fn new(name: Arc<CurrentName>, config: Arc<Config>) -> WritePath {
        WritePath {
            name,
            lifecycle: Lifecycle::new(),
            queue: SendQueue::new(config.queue_capacity(), config.queue_bytes),
            control: ControlSlot::new(),
            deadlines: Deadlines::new(&config),
            slot: Slot::held(),
            is_streaming: AtomicBool::new(false),
            attention: Attention::default(),
            writer: WakeUp::new(),
            config,
        }
    }

    /// Puts a write half for `socket` into the slot, after the opening handshake.
    pub(crate) fn open(&self, socket: Arc<dyn Transport>) {
        self.release(WriteHalf {
            socket,
            in_flight: InFlight::default(),
            blockage: Blockage::default(),
        });
        // A Close may have been requested during the handshake.
        self.flush();
    }

    fn release(&self, half: WriteHalf) {
        if let Some(mut half) = self.slot.release(half) {
            half.finish(self);
        }
    }

    /// Drops the write half, now or when it is released. The messages in flight are discarded and counted.
    pub(crate) fn close_slot(&self) {
        if let Some(mut half) = self.slot.close() {
            half.finish(self);
        }
    }

    /// Writes the queued messages as far as the socket accepts them. The writer does the rest.
    ///
    /// Never blocks. Afterwards, everything that was queued before is in the kernel, or the holder of the write half
    /// will check again, or the writer has been notified.
    pub(crate) fn flush(&self) {
        if !self.config.early_flush {
            return self.writer.notify();
        }
        let Some(mut half) = self.slot.try_acquire() else {
            return;
        };
        let step = half.step(self);
        self.release(half);
        // Checked only after the release: see the top of this file.
        if matches!(step, Step::Refused | Step::Finished) || self.has_work() {
            self.writer.notify();
        }
    }

    /// Writes messages without queueing them, if nothing is ahead of them. Never blocks.
    pub(crate) fn try_write_now(
        &self,
        batch: &FrameBatch,
        topic: Option<&dyn DirectWrite>,
    ) -> WriteNow {
        if !self.config.early_flush {
            return WriteNow::NotWritten;
        }
        let Some(mut half) = self.slot.try_acquire() else {
            return WriteNow::NotWritten;
        };
        let result = half.write_now(batch, topic, self);
        self.release(half);
        crate::connection::message_log::sent_directly(&self.name, batch, result);
        if result == WriteNow::InFlight || (result == WriteNow::Written && self.has_work()) {
            self.writer.notify();
        }
        result
    }

    /// Writes until there is nothing to write, and waits for the socket if necessary. Returns false if nothing will
    /// have to be written any more. Only the writer calls this. Blocks as [`WriteHalf::wait`].
    pub(crate) fn write_until_idle(&self, activity: &ThreadActivity) -> bool {
        // If another thread holds the write half, it will notify the writer if anything remains.
        while let Some(mut half) = self.slot.try_acquire() {
            loop {
                match half.step(self) {
                    Step::Wrote => {}
                    Step::Idle => break,
                    Step::Refused => {
                        activity.set(Activity::Blocked);
                        let finished = half.wait(self) == Step::Finished;
                        activity.set(Activity::Writing);
                        if finished {
                            return false;
                        }
                    }
                    // Drops the write half, and with it this reference to the socket.
                    Step::Finished => return false,
                }
            }
            self.release(half);
            if !self.has_work() {
                break;
            }
        }
        !self.lifecycle.is_finished()
    }

    /// Writes what the TLS session has produced by itself, if no other thread holds the write half. Never blocks.
    pub(crate) fn send_session_records(&self) {
        let Some(mut half) = self.slot.try_acquire() else {
            return;
        };
        // Messages may be sealed ahead of these records. An error means that the connection has ended already.
        if let Ok(written) = half.socket.send_session_records()
            && half.in_flight.count_written(written, &self.queue).close
        {
            self.lifecycle.mark_close_sent();
        }
        self.release(half);
    }

    /// Returns whether there is something to write, or an attention flag to handle.
    pub(crate) fn has_work(&self) -> bool {
        self.attention.is_requested() || (!self.queue.is_empty() && !self.is_streaming())
    }

    /// Returns whether other messages wait until a message that is sent as a stream is complete.
    pub(crate) fn is_streaming(&self) -> bool {
        self.is_streaming.load(Ordering::Acquire)
    }

    /// Makes the holder of the write half check for a ping, a pong, a Close, and the end.
    pub(crate) fn request_attention(&self) {
        self.attention.request();
    }

    /// Refuses new messages, and wakes every thread that waits to send or for the connection to close.
    pub(crate) fn stop_accepting(&self) {
        self.queue.close();
        self.lifecycle.announce_closing();
    }

    /// Ends writing. The queued messages are discarded and counted. `cause` is recorded only if there is no cause yet.
    pub(crate) fn finish(&self, cause: CloseCause) {
        self.lifecycle.finish(cause);
        self.control.clear();
        self.stop_accepting();
        self.queue.drain();
        self.request_attention();
        self.writer.notify();
    }
}

/// The write half of the socket, and the frames in flight.
#[derive(Debug)]
struct WriteHalf {
    socket: Arc<dyn Transport>,
    in_flight: InFlight,
    blockage: Blockage,
}

/// The result of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// There was nothing to write.
    Idle,
    /// The socket accepted the whole batch. There may be more.
    Wrote,
    /// The socket refused some bytes, whose frames are in flight.
    Refused,
    /// Nothing will be written any more: the Close was written, the socket failed, or the connection has ended.
    Finished,
}

impl WriteHalf {
    /// Writes one batch as far as the socket accepts it without blocking: control frames first, then queued messages.
    fn step(&mut self, path: &WritePath) -> Step {
        // Cleared before anything is checked. Whatever is stored later sets the flag again.
        let attention = path.attention.take();
        if path.lifecycle.is_finished() {
            return self.finish(path);
        }
        self.fill(path, attention);
        if self.in_flight.is_empty() {
            self.blockage.accepted_all(&path.deadlines);
            self.in_flight.shrink();
            return Step::Idle;
        }
        let (result, offered) = self.in_flight.try_write(&*self.socket);
        self.wrote(result, offered, path)
    }

    /// Waits until the socket accepts the frame in progress, or 64 KiB of it.
    ///
    /// This does not wait for the whole batch. An immediate Close follows the frame in progress, and this function does
    /// not check for one.
    ///
    /// # Blocking
    /// Woken when the peer reads, or when the watchdog shuts the socket down at `write_timeout`.
    fn wait(&mut self, path: &WritePath) -> Step {
        let Some(piece) = self.in_flight.front(PROGRESS) else {
            return Step::Wrote;
        };
        let result = self.socket.write(piece);
        self.wrote(result, usize::MAX, path)
    }

    /// Returns the number of frames that can be neither withdrawn nor overtaken.
    fn in_progress(&self) -> usize {
        match self.in_flight.is_empty() {
            true => 0,
            false => self.in_flight.in_progress(self.socket.sealed()),
        }
    }

    /// Puts the next batch in flight.
    fn fill(&mut self, path: &WritePath, attention: bool) {
        let phase = path.lifecycle.phase();
        if attention {
            let next = self.in_progress();
            self.in_flight.take_control(&path.control, phase, next);
        }
        if let Some(reason) = path.lifecycle.take_immediate_close() {
            let next = self.in_progress();
            self.in_flight.discard_waiting(next, &path.queue);
            path.queue.drain();
            return self.in_flight.push(reason.frame(), FrameKind::Close, None);
        }
        if self.in_flight.is_empty() {
            // One message at a time while the socket is blocked, because a newer message can replace a queued one, but
            // not one in flight.
            let most = if self.blockage.is_blocked() {
                1
            } else {
                BATCH_BYTES
            };
            self.in_flight.take_batch(&path.queue, &path.name, most);
            let is_streaming = self.in_flight.is_streaming();
            if path.is_streaming() != is_streaming {
                path.is_streaming.store(is_streaming, Ordering::Release);
            }
        }
        if self.in_flight.has_stream_work() {
            // The fragment waits for the frames in flight.
            path.request_attention();
        }
        // The phase was read before the queue was checked: see `Lifecycle::take_deferred_close`.
        if phase == Phase::ClosingAfterQueue {
            // The thread that requests the Close releases the topics too, but only afterwards.
            let is_empty = !path.queue.release_all() && self.in_flight.is_empty();
            if is_empty && self.in_flight.is_streaming() {
                // The next fragment, or the end of the stream, makes a thread look again.
                return;
            }
            match is_empty
                .then(|| path.lifecycle.take_deferred_close())
                .flatten()
            {
                Some(reason) => self.in_flight.push(reason.frame(), FrameKind::Close, None),
                // The Close still waits for the queue.
                None => path.request_attention(),
            }
        }
    }

    /// Writes a batch directly, if nothing is ahead of it.
    fn write_now(
        &mut self,
        batch: &FrameBatch,
        topic: Option<&dyn DirectWrite>,
        path: &WritePath,
    ) -> WriteNow {
        let is_behind = !self.in_flight.is_empty() || self.in_flight.is_streaming();
        if is_behind || path.attention.is_requested() {
            return WriteNow::NotWritten;
        }
        let (queue, mut pieces) = (&path.queue, [IoSlice::new(&[]); PIECES]);
        let (messages, count, bytes) = batch.slices(&mut pieces);
        if !queue.admit_direct(messages, bytes, 2 * BATCH_BYTES) {
            return WriteNow::NotWritten;
        }
        if topic.is_some_and(|topic| !topic.try_claim()) {
            queue.cancel(bytes);
            return WriteNow::NotWritten;
        }
        // Counted before the peer can have them: `accepted` is never less than what the peer has received.
        queue.count_accepted(messages as u64);
        let result = self.socket.try_write(&pieces[..count]);
        if result.as_ref().is_ok_and(|&written| written == bytes) {
            queue.counters.record_written(bytes);
            queue.record_delivered(messages as u64, bytes);
            self.blockage.accepted_all(&path.deadlines);
            return WriteNow::Written;
        }
        // From here on they are treated like queued messages, and the writer writes the rest.
        for frame in batch.frames() {
            let source = topic.map(DirectWrite::begin_in_flight);
            self.in_flight.push(frame.clone(), FrameKind::Data, source);
        }
        self.wrote(result, bytes, path);
        WriteNow::InFlight
    }

    /// Records the result of a write that offered `offered` bytes.
    fn wrote(&mut self, result: io::Result<usize>, offered: usize, path: &WritePath) -> Step {
        let written = match result {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => {
                (path.name).log(log::Level::Debug, format_args!("writing failed: {error}"));
                self.socket.shutdown(Shutdown::Both);
                return self.finish(path);
            }
        };
        if self.in_flight.count_written(written, &path.queue).close {
            // Nothing follows a Close (RFC 6455 §5.5.1), so the stream ends here.
            path.lifecycle.mark_close_sent();
            self.socket.shutdown(Shutdown::Write);
            path.deadlines.start_closing(&path.config);
            return self.finish(path);
        }
        if written == offered {
            self.blockage.accepted_all(&path.deadlines);
            return Step::Wrote;
        }
        self.blockage.refused(written, &path.deadlines);
        Step::Refused
    }

    /// Ends writing, and then discards what is in flight: its bytes must not admit a message before the queue closes.
    fn finish(&mut self, path: &WritePath) -> Step {
        path.finish(CloseCause::Gone);
        self.in_flight.discard_all(&path.queue);
        Step::Finished
    }
}
