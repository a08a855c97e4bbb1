//! [`DirectWrite`]: messages that nothing is before go to the socket without having been queued.
//!
//! Most messages meet an empty queue and a socket with room. Going through channel and lane they would touch a dozen
//! cache lines of their client's, and in a fan-out to a thousand clients none of them is at hand: that was a fifth
//! of what a message costs. The rule of `wire.rs` is the same, *anyone may write what the socket takes at once*, and so
//! is the order: whoever has the wire and sees nothing in hand, in the queue and in the control slot has nobody before
//! it, and who queues meanwhile comes behind. Several messages that came together go together, as one piece and in one
//! write, or none of them does.

use std::io::{self, IoSlice};
use std::sync::Arc;

use crate::clock::Stamp;
use crate::connection::queue::byte_limit::Admission;
use crate::connection::queue::item::TopicSource;
use crate::connection::shared::Shared;
use crate::connection::write::frame::Frame;
use crate::connection::write::in_flight::{InFlight, Kind};
use crate::connection::write::write_half::{BATCH, PIECES, WriteHalf, is_one_piece, retry};

/// Messages that would go straight, and where they come from.
pub(crate) trait DirectWrite {
    /// In their order.
    fn run(&self) -> &FrameBatch;
    fn queued(&self) -> Stamp;
    /// Asked when nothing else is before them: whether nothing of their own topic is. After a yes they go.
    fn passes(&self) -> bool;
    /// The socket has not taken all of them: who will be told, of each, when it has.
    fn lane(&self) -> Option<Arc<dyn TopicSource>>;
}

/// Frames that go one behind the other; made once, for every client that gets them.
#[derive(Debug)]
pub(crate) enum FrameBatch {
    One(Frame),
    /// Few and large ones, as they are.
    Few(Vec<Frame>),
    /// Many or small ones, and their bytes in one piece: a copy, which spares the kernel a list for every client.
    Many(Vec<Frame>, Vec<u8>),
}

impl FrameBatch {
    /// Messages that go together at most.
    pub(crate) const MOST: usize = 64;

    pub(crate) fn new(mut frames: Vec<Frame>) -> FrameBatch {
        if frames.len() == 1 {
            return FrameBatch::One(frames.remove(0));
        }
        let bytes = frames.iter().map(Frame::len).sum();
        if !is_one_piece(frames.len(), bytes) {
            return FrameBatch::Few(frames);
        }
        let mut all = Vec::with_capacity(bytes);
        for frame in &frames {
            let (front, rest) = frame.pieces(0);
            all.extend_from_slice(front);
            all.extend_from_slice(rest);
        }
        FrameBatch::Many(frames, all)
    }

    /// How many of `sizes` go together: as a batch, until it has its bytes, but for a larger message, which goes alone.
    pub(crate) fn count_that_fits(sizes: impl Iterator<Item = usize>) -> usize {
        let mut before = 0;
        let fits = |size: &usize| {
            let fits = before == 0 || (before < BATCH && *size <= BATCH);
            before += size.max(&1);
            fits
        };
        sizes.take(FrameBatch::MOST).take_while(fits).count()
    }

    fn frames(&self) -> &[Frame] {
        match self {
            FrameBatch::One(frame) => std::slice::from_ref(frame),
            FrameBatch::Few(frames) | FrameBatch::Many(frames, _) => frames,
        }
    }

    /// Points `pieces` at all bytes; gives their number.
    fn offer<'a>(&'a self, pieces: &mut [IoSlice<'a>; PIECES]) -> usize {
        if let FrameBatch::Many(_, bytes) = self {
            pieces[0] = IoSlice::new(bytes);
            return 1;
        }
        let both = self.frames().iter().flat_map(|frame| {
            let (front, rest) = frame.pieces(0);
            [front, rest]
        });
        let mut count = 0;
        for piece in both.filter(|piece| !piece.is_empty()) {
            pieces[count] = IoSlice::new(piece);
            count += 1;
        }
        count
    }
}

/// What became of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteNow {
    /// The kernel has them.
    Written,
    /// The kernel has some of them at most. The rest is in hand, and the writer has been rung.
    InFlight,
    /// Nothing has happened: something is before them, or another has the wire. They are to be queued; and to be flushed
    /// also when the queue refuses them, for while this looked it may have kept the wire from who had something to write.
    NotWritten,
}

impl Shared {
    /// Writes messages past the queue, if nothing is before them. Never waits.
    pub(crate) fn try_write_now(&self, messages: &impl DirectWrite) -> WriteNow {
        if !self.config.early_flush {
            return WriteNow::NotWritten;
        }
        let Some(mut wire) = self.write_slot.try_acquire() else {
            return WriteNow::NotWritten;
        };
        let went = wire.straight(messages, self);
        self.write_slot.release(wire, self);
        // Given back first, looked at then: see `wire.rs`.
        if went == WriteNow::InFlight || (went == WriteNow::Written && self.has_work()) {
            self.notify_writer();
        }
        went
    }
}

impl WriteHalf {
    fn straight(&mut self, messages: &impl DirectWrite, client: &Shared) -> WriteNow {
        let (run, queue) = (messages.run(), &client.queue);
        if self.has_in_flight() || client.has_work() {
            return WriteNow::NotWritten;
        }
        let frames = run.frames();
        let mut pieces = [IoSlice::new(&[]); PIECES];
        let count = run.offer(&mut pieces);
        let pieces = &pieces[..count];
        let bytes = pieces.iter().map(|piece| piece.len()).sum();
        // The socket may refuse all of them, and then as many are in hand as the queue may hold, and no more.
        let most = queue.most_bytes().min(2 * BATCH);
        if frames.len() > 1 && (frames.len() > queue.capacity() || bytes > most) {
            return WriteNow::NotWritten;
        }
        // What others queue meanwhile and these together stay within `queue_bytes`.
        if queue.admit(bytes, false) != Admission::In {
            return WriteNow::NotWritten;
        }
        if !messages.passes() {
            queue.return_bytes(bytes);
            return WriteNow::NotWritten;
        }
        queue.count_accepted(frames.len() as u64);
        let written = retry(|| self.transport.try_write(pieces));
        if written.as_ref().is_ok_and(|&written| written == bytes) {
            queue.settle(frames.len() as u64, bytes);
            client.state.took_all();
            return WriteNow::Written;
        }
        // From here on they are as any that were queued, and the writer sees to them.
        for frame in frames {
            self.push_in_flight(InFlight {
                frame: frame.clone(),
                kind: Kind::Data,
                queued: messages.queued(),
                lane: messages.lane(),
            });
        }
        match written {
            Ok(written) => self.wrote(written, bytes, client),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wrote(0, bytes, client),
            Err(error) => self.failed(&error, client),
        };
        WriteNow::InFlight
    }
}

/// Messages to one client alone.
pub(crate) struct ToOneClient(pub(crate) FrameBatch);

impl DirectWrite for ToOneClient {
    fn run(&self) -> &FrameBatch {
        &self.0
    }

    fn queued(&self) -> Stamp {
        Stamp::lately()
    }

    fn passes(&self) -> bool {
        true
    }

    fn lane(&self) -> Option<Arc<dyn TopicSource>> {
        None
    }
}
