//! [`WriteHalf`]: the write half of one client, lent to one thread at a time.
//!
//! *Anyone may write what the socket takes at once; only the writer waits.* A thread that has queued a frame borrows the
//! wire, writes one batch without waiting, and gives it back; what the socket refused stays in the wire, and the writer
//! is rung to wait for it. Whoever finds the wire lent leaves: its holder gives it back *first* and looks at queue and
//! slot *then*, so one of the two sees the frame. `tests/model` tries this in every order: change both.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use crate::clock::lock;
use crate::connection::queue::item::{Due, Purpose};
use crate::connection::shared::Shared;
use crate::connection::socket::Transport;
use crate::connection::write::control_slot::CloseReason;
use crate::connection::write::frame::Frame;
use crate::connection::write::in_flight::{InFlight, Kind};

/// Bytes a batch has at most, but for a larger message, which goes alone. More saves no system call worth having, and
/// delays a Close.
pub(crate) const BATCH: usize = 64 << 10;

/// Messages a batch has at most.
const MESSAGES: usize = 1024;

/// Places in hand that are kept for the next batch.
const KEPT: usize = 4;

/// Pieces offered to the kernel at once; a frame is one or two.
pub(crate) const PIECES: usize = 32;

/// Below so many bytes, one piece is cheaper than several.
const SMALL: usize = 8 << 10;

/// A blocked socket that takes so much within `write_timeout` is served on.
const PROGRESS: usize = 64 << 10;

/// The place where the wire lies when nobody has it. The lock is held to take it out and to put it back, never during
/// a write.
#[derive(Debug)]
pub(crate) struct WriteSlot(Mutex<SlotState>);

#[derive(Debug)]
enum SlotState {
    Free(WriteHalf),
    Held,
    /// The connection has ended; a wire that is given back now is dropped, and its half of the socket with it.
    Closed,
}

impl WriteSlot {
    /// At first it is lent to the handshake.
    pub(crate) fn new() -> WriteSlot {
        WriteSlot(Mutex::new(SlotState::Held))
    }

    pub(crate) fn try_acquire(&self) -> Option<WriteHalf> {
        let mut place = lock(&self.0);
        match std::mem::replace(&mut *place, SlotState::Held) {
            SlotState::Free(wire) => Some(wire),
            other => {
                *place = other;
                None
            }
        }
    }

    pub(crate) fn release(&self, mut wire: WriteHalf, client: &Shared) {
        let mut place = lock(&self.0);
        if matches!(*place, SlotState::Closed) {
            drop(place);
            wire.over(client);
        } else {
            *place = SlotState::Free(wire);
        }
    }

    /// Drops the wire, now or when it is given back. What it has in hand is discarded and counted: a helper may have
    /// had it when the writer left.
    pub(crate) fn end(&self, client: &Shared) {
        let place = std::mem::replace(&mut *lock(&self.0), SlotState::Closed);
        if let SlotState::Free(mut wire) = place {
            wire.over(client);
        }
    }
}

/// The write half: the socket, and what has left the queue but not yet this process.
#[derive(Debug)]
pub(crate) struct WriteHalf {
    pub(crate) transport: Arc<dyn Transport>,
    in_flight: VecDeque<InFlight>,
    /// Bytes of the first frame in hand that the socket has taken.
    taken: usize,
    /// Bytes taken since the socket first refused.
    taken_since_refused: usize,
    /// A Close is in hand: the last frame there will be.
    closing: bool,
}

/// How far one step came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// There was nothing to write.
    Idle,
    /// The socket took the whole batch; there may be more.
    Took,
    /// The socket refused something, which is in hand.
    Refused,
    /// Nothing will be written any more: the Close is out, the socket failed, or the client was given up.
    Over,
}

impl WriteHalf {
    pub(crate) fn new(transport: Arc<dyn Transport>) -> WriteHalf {
        WriteHalf {
            transport,
            in_flight: VecDeque::new(),
            taken: 0,
            taken_since_refused: 0,
            closing: false,
        }
    }

    /// Writes one batch as far as the socket takes it at once: control first, then what is queued.
    pub(crate) fn step(&mut self, client: &Shared) -> Step {
        if !self.fill(client) {
            return self.over(client);
        }
        if self.in_flight.is_empty() {
            client.state.took_all();
            // After a burst an idle client costs no more than before.
            if self.in_flight.capacity() > KEPT {
                self.in_flight = VecDeque::new();
            }
            return Step::Idle;
        }
        let (written, offered) = self.try_write();
        match written {
            Ok(written) => self.wrote(written, offered, client),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.wrote(0, offered, client)
            }
            Err(error) => self.failed(&error, client),
        }
    }

    /// Offers what is in hand to the socket: many small frames as one piece, which costs a copy and spares the kernel a
    /// list; few or large ones as they are.
    fn try_write(&self) -> (io::Result<usize>, usize) {
        let bytes: usize = self.in_flight.iter().map(|item| item.frame.len()).sum();
        let bytes = bytes - self.taken;
        if is_one_piece(self.in_flight.len(), bytes) {
            let mut one = Vec::with_capacity(bytes);
            let mut at = self.taken;
            for item in &self.in_flight {
                let (front, rest) = item.frame.pieces(at);
                at = 0;
                one.extend_from_slice(front);
                one.extend_from_slice(rest);
            }
            let written = retry(|| self.transport.try_write(&[IoSlice::new(&one)]));
            return (written, bytes);
        }
        let mut pieces = [IoSlice::new(&[]); PIECES];
        let (count, offered) = self.offer(&mut pieces);
        (
            retry(|| self.transport.try_write(&pieces[..count])),
            offered,
        )
    }

    /// Waits until the frame in progress is taken, or 64 KiB of it. The writer's alone.
    ///
    /// # Blocking
    /// Woken by the peer reading, or by the watchdog's `shutdown` of the socket at `write_timeout`.
    pub(crate) fn wait(&mut self, client: &Shared) -> Step {
        let Some(first) = self.in_flight.front() else {
            return Step::Took;
        };
        // Not the whole batch: a Close *now* comes after the frame in progress, and in here nobody looks for one.
        let (front, rest) = first.frame.pieces(self.taken);
        let piece = if front.is_empty() { rest } else { front };
        let piece = &piece[..piece.len().min(PROGRESS)];
        match retry(|| self.transport.write(piece)) {
            Ok(written) => self.wrote(written, usize::MAX, client),
            Err(error) => self.failed(&error, client),
        }
    }

    /// Puts the next batch in hand. False: there is nothing to write ever again.
    fn fill(&mut self, client: &Shared) -> bool {
        if client.is_over() {
            return false;
        }
        if self.closing {
            return true;
        }
        let control = client.control.take();
        // Control overtakes everything but the frame in progress.
        let next = usize::from(self.taken > 0);
        for (frame, kind) in [(control.ping, Kind::Ping), (control.pong, Kind::Pong)] {
            if let Some(frame) = frame {
                self.overtake(next, frame, kind);
            }
        }
        if let Some(goodbye) = control.close {
            for item in self.in_flight.drain(next..) {
                item.discard(client);
            }
            client.queue.drain();
            self.close(&goodbye);
            return true;
        }
        if self.in_flight.is_empty() {
            self.take_batch(client);
        }
        // A Close posted since then may have come right behind a message that the batch missed.
        if self.in_flight.is_empty() && control.close_pending {
            if let Some(goodbye) = client.control.take_deferred_close() {
                self.close(&goodbye);
            }
        }
        true
    }

    /// Takes the next messages out of the queue. While the socket refuses, one at a time: what waits in the queue can
    /// still be replaced by something newer, what is in hand cannot.
    fn take_batch(&mut self, client: &Shared) {
        let most = if client.state.is_blocked() { 1 } else { BATCH };
        let mut bytes = 0;
        self.in_flight.reserve(client.queue.len().min(MESSAGES));
        while bytes < most && self.in_flight.len() < MESSAGES {
            let Some(popped) = client.queue.pop(Purpose::Send) else {
                break;
            };
            if let Some(notice) = popped.notice {
                self.push(notice, Kind::Notice);
            }
            if let Some(Due {
                frame,
                queued,
                lane,
            }) = popped.message
            {
                bytes += frame.len();
                self.in_flight.push_back(InFlight {
                    frame,
                    kind: Kind::Data,
                    queued,
                    lane,
                });
            }
        }
    }

    pub(crate) fn has_in_flight(&self) -> bool {
        !self.in_flight.is_empty()
    }

    pub(crate) fn push_in_flight(&mut self, item: InFlight) {
        self.in_flight.push_back(item);
    }

    fn push(&mut self, frame: Frame, kind: Kind) {
        self.in_flight.push_back(InFlight::ours(frame, kind));
    }

    /// Puts a control frame at `next`, in place of one of its kind that still waits: what the slot forbids must not
    /// happen in hand, or the client fills it with pongs while its socket refuses them.
    fn overtake(&mut self, next: usize, frame: Frame, kind: Kind) {
        let waiting = self.in_flight.iter().skip(next);
        if let Some(at) = waiting
            .map(|item| item.kind)
            .position(|other| other == kind)
        {
            self.in_flight.remove(next + at);
        }
        self.in_flight.insert(next, InFlight::ours(frame, kind));
    }

    fn close(&mut self, goodbye: &CloseReason) {
        self.closing = true;
        self.push(goodbye.frame(), Kind::Close);
    }

    /// Points `pieces` at what is in hand; gives their number and bytes.
    fn offer<'a>(&'a self, pieces: &mut [IoSlice<'a>; PIECES]) -> (usize, usize) {
        let (mut count, mut bytes) = (0, 0);
        let mut at = self.taken;
        for item in &self.in_flight {
            let (front, rest) = item.frame.pieces(at);
            at = 0;
            for piece in [front, rest] {
                if !piece.is_empty() && count < PIECES {
                    pieces[count] = IoSlice::new(piece);
                    count += 1;
                    bytes += piece.len();
                }
            }
        }
        (count, bytes)
    }

    /// Accounts for `written` of `offered` bytes.
    pub(crate) fn wrote(&mut self, written: usize, offered: usize, client: &Shared) -> Step {
        self.taken += written;
        let (mut messages, mut bytes) = (0, 0);
        while let Some(first) = self.in_flight.front() {
            let length = first.frame.len();
            if self.taken < length {
                break;
            }
            self.taken -= length;
            match first.kind {
                Kind::Data => {
                    messages += 1;
                    bytes += length;
                    if let Some(lane) = &first.lane {
                        lane.settled(true);
                    }
                }
                Kind::Notice | Kind::Ping | Kind::Pong => {}
                Kind::Close => {
                    client.queue.settle(messages, bytes);
                    // Nothing follows a Close (RFC 6455 §5.5.1), and the peer may know it.
                    self.transport.shutdown(Shutdown::Write);
                    client.state.close_sent.store(true, Ordering::SeqCst);
                    client.state.closing(&client.config);
                    self.in_flight.pop_front();
                    return self.over(client);
                }
            }
            self.in_flight.pop_front();
        }
        if messages > 0 {
            client.queue.settle(messages, bytes);
        }
        if written == offered {
            client.state.took_all();
            return Step::Took;
        }
        self.taken_since_refused += written;
        let anew = !client.state.is_blocked() || self.taken_since_refused >= PROGRESS;
        if anew {
            self.taken_since_refused = 0;
        }
        let oldest = self
            .in_flight
            .front()
            .map_or(0, |item| item.queued.moment());
        client.state.refused(anew, oldest);
        Step::Refused
    }

    pub(crate) fn failed(&mut self, error: &io::Error, client: &Shared) -> Step {
        log::debug!("#{} writing failed: {error}", client.number);
        client.give_up();
        self.over(client)
    }

    fn over(&mut self, client: &Shared) -> Step {
        for item in self.in_flight.drain(..) {
            item.discard(client);
        }
        client.end_of_writing();
        Step::Over
    }
}

/// So many frames of so many bytes are cheaper copied together than as a list of pieces.
pub(crate) fn is_one_piece(frames: usize, bytes: usize) -> bool {
    frames > PIECES / 2 || (frames > 1 && bytes < SMALL)
}

/// A signal is no reason to stop writing.
pub(crate) fn retry(mut write: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match write() {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
