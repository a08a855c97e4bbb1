//! Who may write to the socket, and when: [`WritePath`].
//!
//! *Any thread may write what the socket accepts without blocking; only the writer waits.*
//!
//! The write half of the socket is a value, [`WriteHalf`], that one thread holds at a time. It lies in a slot; a thread
//! takes it out, writes, and puts it back. The slot's lock is held for these two moves only, never during a write. Writes
//! cannot interleave, because there is only one write half.
//!
//! A thread that has queued a message takes the write half itself, writes one batch without blocking, and puts it back.
//! A thread that finds the slot empty leaves its message in the queue. The message is not forgotten, because the holder
//! puts the write half back *first* and looks at the queue *then*: the other thread had queued before it found the slot
//! empty, and the slot's lock orders that before the holder's look.
//!
//! **Fast path.** A thread that holds the write half and sees nothing in flight, nothing queued and no attention flag knows
//! that nothing is ahead of its message, and writes it without queueing it. In a fan-out to a thousand clients this gave
//! 15 % more messages per second, because the memory of a queue is not in the cache.
//!
//! `tests/model` holds this file as a loom model, with mutants that it must find wrong. Change both together.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::control_slot::ControlSlot;
use super::direct_write::{DirectWrite, WriteNow};
use super::frame::{BATCH_BYTES, FrameBatch, PIECES};
use super::in_flight::{FrameKind, InFlight};
use super::wake_up::WakeUp;
use crate::config::Config;
use crate::connection::activity::{Activity, ThreadActivity};
use crate::connection::close_cause::CloseCause;
use crate::connection::deadlines::Deadlines;
use crate::connection::lifecycle::{Lifecycle, Phase};
use crate::connection::queue::send_queue::SendQueue;
use crate::connection::socket::Transport;
use crate::sync::lock;

/// A blocked socket must accept this many bytes, or all that is left, within `write_timeout`.
const PROGRESS: usize = 64 << 10;

/// Everything between a queued message and the socket.
#[derive(Debug)]
pub(crate) struct WritePath {
    pub(crate) number: u64,
    pub(crate) config: Arc<Config>,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) queue: SendQueue,
    pub(crate) control: ControlSlot,
    pub(crate) deadlines: Deadlines,
    slot: Mutex<Slot>,
    /// Something besides the queue needs the write half: a ping, a pong, a Close, or the end. Set after that is stored, and
    /// cleared before it is looked for. `SeqCst`, so that a later setter does not hide what an earlier one has stored.
    attention: AtomicBool,
    pub(crate) writer: WakeUp,
}

#[derive(Debug)]
enum Slot {
    Free(WriteHalf),
    Held,
    /// The connection has ended. A write half that is released now is dropped, and its half of the socket with it.
    Closed,
}

impl WritePath {
    /// At first the opening handshake holds the slot.
    pub(crate) fn new(number: u64, config: Arc<Config>) -> WritePath {
        WritePath {
            number,
            lifecycle: Lifecycle::new(),
            queue: SendQueue::new(config.queue, config.queue_bytes),
            control: ControlSlot::default(),
            deadlines: Deadlines::new(&config),
            slot: Mutex::new(Slot::Held),
            attention: AtomicBool::new(false),
            writer: WakeUp::new(),
            config,
        }
    }

    /// Puts a write half for `socket` into the slot, after the opening handshake.
    pub(crate) fn open(&self, socket: Arc<dyn Transport>) {
        self.release(WriteHalf {
            socket,
            in_flight: InFlight::default(),
            is_blocked: false,
            accepted_while_blocked: 0,
        });
        // A Close may have been requested while the handshake held the write half.
        self.flush();
    }

    fn try_acquire(&self) -> Option<WriteHalf> {
        let mut slot = lock(&self.slot);
        match std::mem::replace(&mut *slot, Slot::Held) {
            Slot::Free(half) => Some(half),
            other => {
                *slot = other;
                None
            }
        }
    }

    fn release(&self, mut half: WriteHalf) {
        let mut slot = lock(&self.slot);
        if matches!(*slot, Slot::Closed) {
            drop(slot);
            half.finish(self);
        } else {
            *slot = Slot::Free(half);
        }
    }

    /// Drops the write half, now or when it is released. What is in flight is discarded.
    pub(crate) fn close_slot(&self) {
        let slot = std::mem::replace(&mut *lock(&self.slot), Slot::Closed);
        if let Slot::Free(mut half) = slot {
            half.finish(self);
        }
    }

    /// Writes what is queued, as far as the socket accepts it; the writer does the rest.
    ///
    /// Never blocks. When it returns, everything queued before is in the kernel, or the thread that holds the write half
    /// will look again, or the writer has been notified.
    pub(crate) fn flush(&self) {
        if !self.config.early_flush {
            return self.writer.notify();
        }
        let Some(mut half) = self.try_acquire() else {
            return;
        };
        let step = half.step(self);
        self.release(half);
        // Released first, looked at then.
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
        let Some(mut half) = self.try_acquire() else {
            return WriteNow::NotWritten;
        };
        let result = half.write_now(batch, topic, self);
        self.release(half);
        if result == WriteNow::InFlight || (result == WriteNow::Written && self.has_work()) {
            self.writer.notify();
        }
        result
    }

    /// Writes until there is nothing to write, and waits for the socket as long as it takes. Returns whether anything
    /// may still have to be written later. Only the writer calls it. It blocks as [`WriteHalf::wait`].
    pub(crate) fn write_until_idle(&self, activity: &ThreadActivity) -> bool {
        // A thread that holds the write half notifies the writer again if it leaves anything.
        while let Some(mut half) = self.try_acquire() {
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
                    // The write half, and with it this half of the socket, ends here.
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

    /// Returns whether the write half is needed.
    pub(crate) fn has_work(&self) -> bool {
        self.attention.load(Ordering::SeqCst) || !self.queue.is_empty()
    }

    /// Makes the holder of the write half look for more than queued messages.
    pub(crate) fn request_attention(&self) {
        self.attention.store(true, Ordering::SeqCst);
    }

    fn take_attention(&self) -> bool {
        self.attention.load(Ordering::SeqCst) && self.attention.swap(false, Ordering::SeqCst)
    }

    /// Refuses new messages, and wakes every thread that waits to send or for the connection to close.
    pub(crate) fn stop_accepting(&self) {
        self.queue.close();
        self.lifecycle.announce_closing();
    }

    /// Ends writing: nothing will be written any more, and what is queued is discarded and counted. `cause` stands if
    /// there is none yet.
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
    /// The socket has refused bytes, and has not accepted everything since.
    is_blocked: bool,
    /// Bytes accepted since the socket first refused, or since the write clock was last started again.
    accepted_while_blocked: usize,
}

/// How far one step came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// There was nothing to write.
    Idle,
    /// The socket accepted the whole batch. There may be more.
    Wrote,
    /// The socket refused something, which is in flight.
    Refused,
    /// Nothing will be written any more: the Close is written, the socket failed, or the connection has ended.
    Finished,
}

impl WriteHalf {
    /// Writes one batch as far as the socket accepts it without blocking: control frames first, then what is queued.
    fn step(&mut self, path: &WritePath) -> Step {
        // Cleared before anything is looked at: what is stored later sets it again.
        let attention = path.take_attention();
        if path.lifecycle.is_finished() {
            return self.finish(path);
        }
        self.fill(path, attention);
        if self.in_flight.is_empty() {
            self.accepted_all(path);
            self.in_flight.shrink();
            return Step::Idle;
        }
        let (result, offered) = self.in_flight.try_write(&*self.socket);
        self.wrote(result, offered, path)
    }

    /// Waits until the socket accepts the frame in progress, or 64 KiB of it.
    ///
    /// Not the whole batch: an immediate Close is sent after the frame in progress, and nobody looks for one in here.
    ///
    /// # Blocking
    /// Woken by the peer reading, or by the watchdog's `shutdown` of the socket at `write_timeout`.
    fn wait(&mut self, path: &WritePath) -> Step {
        let Some(piece) = self.in_flight.front(PROGRESS) else {
            return Step::Wrote;
        };
        let result = self.socket.write(piece);
        self.wrote(result, usize::MAX, path)
    }

    /// Puts the next batch in flight.
    fn fill(&mut self, path: &WritePath, attention: bool) {
        let phase = path.lifecycle.phase();
        if attention {
            let (ping, pong) = path.control.take();
            // No ping is sent once a Close has been requested, and nothing follows a Close.
            if let Some(ping) = ping.filter(|_| phase == Phase::Open) {
                self.in_flight.overtake(ping, FrameKind::Ping);
            }
            if let Some(pong) = pong.filter(|_| phase < Phase::CloseTaken) {
                self.in_flight.overtake(pong, FrameKind::Pong);
            }
        }
        if let Some(reason) = path.lifecycle.take_immediate_close() {
            self.in_flight.discard_waiting(&path.queue);
            path.queue.drain();
            return self.in_flight.push(reason.frame(), FrameKind::Close, None);
        }
        if self.in_flight.is_empty() {
            // While the socket is blocked, one at a time: a newer message can still replace one that is queued, but none
            // that is in flight.
            let most_bytes = if self.is_blocked { 1 } else { BATCH_BYTES };
            self.in_flight.take_batch(&path.queue, most_bytes);
        }
        // The phase was read before the queue was looked at: see `Lifecycle::take_deferred_close`.
        if phase == Phase::ClosingAfterQueue {
            let is_empty = self.in_flight.is_empty();
            match is_empty
                .then(|| path.lifecycle.take_deferred_close())
                .flatten()
            {
                Some(reason) => self.in_flight.push(reason.frame(), FrameKind::Close, None),
                // It still waits for the queue.
                None => path.request_attention(),
            }
        }
    }

    /// Writes a batch that has not been queued, if nothing is ahead of it.
    fn write_now(
        &mut self,
        batch: &FrameBatch,
        topic: Option<&dyn DirectWrite>,
        path: &WritePath,
    ) -> WriteNow {
        if !self.in_flight.frames.is_empty() || path.attention.load(Ordering::SeqCst) {
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
            queue.record_delivered(messages as u64, bytes);
            self.accepted_all(path);
            return WriteNow::Written;
        }
        // From here on they are like queued messages.
        for frame in batch.frames() {
            let source = topic.map(DirectWrite::begin_in_flight);
            self.in_flight.push(frame.clone(), FrameKind::Data, source);
        }
        self.wrote(result, bytes, path);
        WriteNow::InFlight
    }

    /// Accounts for the result of writing, of `offered` bytes.
    fn wrote(&mut self, result: io::Result<usize>, offered: usize, path: &WritePath) -> Step {
        let written = match result {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => {
                log::debug!("#{} writing failed: {error}", path.number);
                self.socket.shutdown(Shutdown::Both);
                return self.finish(path);
            }
        };
        let completed = self.in_flight.advance(written);
        let (queue, messages) = (&path.queue, completed.messages);
        if messages > 0 {
            queue.record_delivered(messages, completed.bytes);
        }
        if completed.close {
            // Nothing follows a Close (RFC 6455 §5.5.1), and the peer may know it.
            path.lifecycle.mark_close_sent();
            self.socket.shutdown(Shutdown::Write);
            path.deadlines.start_closing(&path.config);
            return self.finish(path);
        }
        if written == offered {
            self.accepted_all(path);
            return Step::Wrote;
        }
        self.accepted_while_blocked += written;
        let restart = !self.is_blocked || self.accepted_while_blocked >= PROGRESS;
        self.accepted_while_blocked *= usize::from(!restart);
        self.is_blocked = true;
        path.deadlines.socket_refused(restart);
        Step::Refused
    }

    fn accepted_all(&mut self, path: &WritePath) {
        if std::mem::take(&mut self.is_blocked) {
            path.deadlines.socket_accepted_all();
        }
    }

    /// Discards what is in flight and ends writing.
    fn finish(&mut self, path: &WritePath) -> Step {
        self.in_flight.discard_all(&path.queue);
        path.finish(CloseCause::Gone);
        Step::Finished
    }
}
