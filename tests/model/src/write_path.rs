//! `write/write_path.rs`.

use std::mem;

use loom::sync::Mutex;
use loom::sync::atomic::{AtomicBool, Ordering, fence};

use crate::control_slot::ControlSlot;
use crate::fragments::Fragments;
use crate::in_flight::{FrameKind, InFlight};
use crate::lifecycle::{Lifecycle, Phase};
use crate::log::Log;
use crate::send_queue::SendQueue;
use crate::socket::{Failed, Socket};
use crate::switch_point::SwitchPoint;
use crate::wake_up::WakeUp;
use crate::{FRAME_BYTES, Mutant, lock};

/// A batch has two messages, so that three do not fit.
const BATCH_BYTES: usize = 2 * FRAME_BYTES;

/// Everything between a message that is queued and the socket.
#[derive(Debug)]
pub struct WritePath {
    mutant: Option<Mutant>,
    early_flush: bool,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) queue: SendQueue,
    pub(crate) control: ControlSlot,
    slot: Mutex<Slot>,
    pub(crate) fragments: Fragments,
    is_streaming: AtomicBool,
    attention: AtomicBool,
    switch: SwitchPoint,
    pub(crate) writer: WakeUp,
    pub(crate) log: Log,
}

#[derive(Debug)]
enum Slot {
    Free(WriteHalf),
    Held,
    Closed,
}

/// What became of a direct write (`write/direct_write.rs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteNow {
    Written,
    InFlight,
    NotWritten,
}

impl WritePath {
    /// Returns the write path of one connection. `None` is the protocol as the product has it.
    pub fn new(mutant: Option<Mutant>, early_flush: bool) -> WritePath {
        WritePath {
            mutant,
            early_flush,
            lifecycle: Lifecycle::new(),
            queue: SendQueue::new(),
            control: ControlSlot::default(),
            slot: Mutex::new(Slot::Held),
            fragments: Fragments::default(),
            is_streaming: AtomicBool::new(false),
            attention: AtomicBool::new(false),
            switch: SwitchPoint::default(),
            writer: WakeUp::default(),
            log: Log::default(),
        }
    }

    pub(crate) fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Puts the write half into the slot. `script` says how many bytes each write that does not wait accepts.
    pub fn open(&self, script: &[usize]) {
        self.release(WriteHalf {
            socket: Socket::new(script),
            in_flight: InFlight::default(),
            is_blocked: false,
        });
        if !self.is(Mutant::OpenDoesNotFlush) {
            self.flush();
        }
    }

    fn try_acquire(&self) -> Option<WriteHalf> {
        let mut slot = lock(&self.slot);
        match mem::replace(&mut *slot, Slot::Held) {
            Slot::Free(half) => Some(half),
            other => {
                *slot = other;
                None
            }
        }
    }

    fn release(&self, mut half: WriteHalf) {
        let mut slot = lock(&self.slot);
        if matches!(*slot, Slot::Closed) && !self.is(Mutant::ReleaseIgnoresClosed) {
            drop(slot);
            half.finish(self);
        } else {
            *slot = Slot::Free(half);
        }
    }

    pub(crate) fn close_slot(&self) {
        let slot = mem::replace(&mut *lock(&self.slot), Slot::Closed);
        if let Slot::Free(mut half) = slot {
            half.finish(self);
        }
    }

    /// Writes what is queued, as far as the socket accepts it.
    pub fn flush(&self) {
        if !self.early_flush {
            return self.writer.notify();
        }
        let Some(mut half) = self.try_acquire() else {
            return;
        };
        let step = half.step(self);
        let looks_early = self.is(Mutant::HelperLooksBeforeRelease);
        let early = looks_early && self.has_work();
        self.release(half);
        // Released first, looked at then.
        let refused = step == Step::Refused && !self.is(Mutant::RefusalDoesNotNotify);
        if refused || step == Step::Finished || early || (!looks_early && self.has_work()) {
            self.writer.notify();
        }
    }

    pub(crate) fn try_write_now(&self, message: u8) -> WriteNow {
        if !self.early_flush {
            return WriteNow::NotWritten;
        }
        let Some(mut half) = self.try_acquire() else {
            return WriteNow::NotWritten;
        };
        let result = half.write_now(message, self);
        let looks_early = self.is(Mutant::HelperLooksBeforeRelease);
        let early = looks_early && self.has_work();
        self.release(half);
        // Released first, looked at then.
        let in_flight = result == WriteNow::InFlight && !self.is(Mutant::RefusalDoesNotNotify);
        let written = result == WriteNow::Written;
        if in_flight || (written && (early || (!looks_early && self.has_work()))) {
            self.writer.notify();
        }
        result
    }

    pub(crate) fn write_until_idle(&self) -> bool {
        while let Some(mut half) = self.try_acquire() {
            loop {
                match half.step(self) {
                    Step::Wrote => {}
                    Step::Idle => break,
                    Step::Refused => {
                        if half.wait(self) == Step::Finished {
                            return false;
                        }
                    }
                    Step::Finished => return false,
                }
            }
            let looks_early = self.is(Mutant::WriterLooksBeforeRelease);
            let early = looks_early && self.has_work();
            self.release(half);
            if !(early || (!looks_early && self.has_work())) {
                break;
            }
        }
        !self.lifecycle.is_finished()
    }

    fn has_work(&self) -> bool {
        self.has_attention() || (!self.queue.is_empty() && !self.is_streaming())
    }

    fn is_streaming(&self) -> bool {
        self.is_streaming.load(Ordering::Acquire)
    }

    fn has_attention(&self) -> bool {
        self.switch.reach();
        self.attention.load(Ordering::SeqCst)
    }

    pub(crate) fn request_attention(&self) {
        self.switch.reach();
        self.total_order();
        self.attention.store(true, Ordering::SeqCst);
    }

    fn take_attention(&self) -> bool {
        let attention = self.has_attention() && self.attention.swap(false, Ordering::SeqCst);
        self.total_order();
        attention
    }

    /// Stands for the total order of the product's `SeqCst` operations, because loom treats those as `AcqRel`.
    ///
    /// When two threads set the flag one after the other, the thread that clears it acquires the second store only.
    /// Without a total order it could then read the phase as it was before the first thread had changed it.
    fn total_order(&self) {
        if !self.is(Mutant::AttentionWithoutTotalOrder) {
            fence(Ordering::SeqCst);
        }
    }

    pub(crate) fn stop_accepting(&self) {
        self.queue.close();
    }

    /// Ends writing: nothing will be written any more, and what is queued is discarded.
    pub fn finish(&self) {
        self.lifecycle.finish();
        self.control.clear();
        self.stop_accepting();
        self.queue.drain(self);
        self.request_attention();
        if !self.is(Mutant::FinishDoesNotNotify) {
            self.writer.notify();
        }
    }
}

#[derive(Debug)]
struct WriteHalf {
    socket: Socket,
    in_flight: InFlight,
    is_blocked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Idle,
    Wrote,
    Refused,
    Finished,
}

impl WriteHalf {
    fn step(&mut self, path: &WritePath) -> Step {
        let early_phase = path
            .is(Mutant::PhaseReadBeforeAttention)
            .then(|| path.lifecycle.phase());
        let attention = if path.is(Mutant::AttentionClearedAfterLooking) {
            path.has_attention()
        } else {
            path.take_attention()
        };
        if path.lifecycle.is_finished() {
            return self.finish(path);
        }
        self.fill(path, attention, early_phase);
        if self.in_flight.is_empty() {
            self.accepted_all();
            return Step::Idle;
        }
        let (result, offered) = self.in_flight.try_write(&mut self.socket, &path.log);
        self.wrote(result, offered, path)
    }

    fn wait(&mut self, path: &WritePath) -> Step {
        let Some(piece) = self.in_flight.front() else {
            return Step::Wrote;
        };
        let result = self.socket.write(&piece, &path.log);
        self.wrote(result, usize::MAX, path)
    }

    fn fill(&mut self, path: &WritePath, attention: bool, early_phase: Option<Phase>) {
        let mut phase = early_phase.unwrap_or_else(|| path.lifecycle.phase());
        if attention {
            let pong = path.control.take();
            let may = phase < Phase::CloseTaken || path.is(Mutant::PongAfterClose);
            if let Some(pong) = pong.filter(|_| may) {
                self.in_flight.overtake(pong, FrameKind::Pong);
            }
        }
        if let Some(reason) = path.lifecycle.take_immediate_close() {
            self.in_flight.discard_waiting(path);
            path.queue.drain(path);
            return self.in_flight.push(reason, FrameKind::Close);
        }
        if self.in_flight.is_empty() {
            let most_bytes = if self.is_blocked { 1 } else { BATCH_BYTES };
            self.in_flight
                .take_batch(&path.queue, &path.fragments, most_bytes);
            let is_streaming = self.in_flight.is_streaming();
            if path.is_streaming() != is_streaming {
                path.is_streaming.store(is_streaming, Ordering::Release);
            }
        }
        let forgets = path.is(Mutant::WaitingFragmentForgotten);
        if self.in_flight.has_stream_work(&path.fragments) && !forgets {
            path.request_attention();
        }
        if path.is(Mutant::AttentionClearedAfterLooking) {
            path.take_attention();
        }
        if path.is(Mutant::CloseNotSeenBeforeQueue) {
            phase = path.lifecycle.phase();
        }
        // The phase was read before the queue was looked at.
        if phase == Phase::ClosingAfterQueue {
            let is_empty = self.in_flight.is_empty();
            let waits = self.in_flight.is_streaming() && !path.is(Mutant::ClosePassesStream);
            if is_empty && waits {
                return;
            }
            match is_empty
                .then(|| path.lifecycle.take_deferred_close())
                .flatten()
            {
                Some(reason) => self.in_flight.push(reason, FrameKind::Close),
                None if path.is(Mutant::WaitingCloseForgotten) => {}
                None => path.request_attention(),
            }
        }
    }

    fn write_now(&mut self, message: u8, path: &WritePath) -> WriteNow {
        let passes = path.is(Mutant::DirectWritePassesInFlight);
        let passes_stream = path.is(Mutant::DirectWritePassesStream);
        let is_behind = (!self.in_flight.is_empty() && !passes)
            || (self.in_flight.is_streaming() && !passes_stream);
        if is_behind || path.has_attention() {
            return WriteNow::NotWritten;
        }
        if !path.queue.admit_direct(path) {
            return WriteNow::NotWritten;
        }
        let frame = [message; FRAME_BYTES];
        let result = self.socket.try_write(&frame, &path.log);
        path.log.accepted(message);
        if result == Ok(FRAME_BYTES) {
            path.log.delivered(message);
            self.accepted_all();
            return WriteNow::Written;
        }
        self.in_flight.push(message, FrameKind::Data);
        self.wrote(result, FRAME_BYTES, path);
        WriteNow::InFlight
    }

    fn wrote(&mut self, result: Result<usize, Failed>, offered: usize, path: &WritePath) -> Step {
        let Ok(written) = result else {
            return self.finish(path);
        };
        let completed = self.in_flight.advance(written, &path.log);
        if completed.close {
            return self.finish(path);
        }
        if written == offered {
            self.accepted_all();
            return Step::Wrote;
        }
        self.is_blocked = true;
        Step::Refused
    }

    fn accepted_all(&mut self) {
        self.is_blocked = false;
    }

    fn finish(&mut self, path: &WritePath) -> Step {
        path.finish();
        self.in_flight.discard_all(path);
        Step::Finished
    }
}
