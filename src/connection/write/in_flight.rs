//! [`InFlight`]: frames that have been taken from the queue and are not yet fully written to the socket.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;

use super::control_slot::ControlSlot;
use super::frame::{EncodedFrame, PIECES, copy, is_cheaper_copied, slices};
use crate::connection::client_name::CurrentName;
use crate::connection::lifecycle::Phase;
use crate::connection::message_log;
use crate::connection::queue::item::{Fragment, FragmentSource, Purpose, TopicSource};
use crate::connection::queue::send_queue::SendQueue;
use crate::connection::socket::Transport;

/// The maximum number of frames in a batch.
const MAX_FRAMES: usize = 1024;

/// Slots that are kept for the next batch. After a larger batch the memory is freed, so that an idle client uses little
/// memory.
const KEPT_SLOTS: usize = 4;

#[derive(Debug, Default)]
pub(crate) struct InFlight {
    pub(crate) frames: VecDeque<Frame>,
    /// How many bytes of the first frame the socket has accepted. Always less than the frame's size.
    written: usize,
    /// The message that is being sent as a stream. No other message is taken until its last fragment has been taken.
    stream: Option<Arc<dyn FragmentSource>>,
}

#[derive(Debug)]
pub(crate) struct Frame {
    encoded: EncodedFrame,
    kind: FrameKind,
    /// The source of the message, if the message must be reported to it with [`TopicSource::finished`].
    source: Option<Arc<dyn TopicSource>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    Data,
    /// A topic's notice about messages that it left out. Not counted as a message.
    Notice,
    /// A part of a message that is sent as a stream. Its source counts the message.
    Fragment,
    /// An empty frame. When it comes to the front, everything ahead of it has been written. It is never the first frame.
    Checkpoint,
    Ping,
    Pong,
    Close,
}

/// The messages and the Close that a write completed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Completed {
    pub(crate) messages: u64,
    pub(crate) bytes: usize,
    /// The Close has been written.
    pub(crate) close: bool,
}

impl InFlight {
    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Returns the number of frames that can be neither withdrawn nor overtaken: those that have a byte that was written,
    /// or that is among the next `sealed` bytes.
    pub(crate) fn in_progress(&self, sealed: usize) -> usize {
        let end = self.written + sealed;
        let mut begin = 0;
        let begun = self.frames.iter().take_while(|frame| {
            let is_begun = begin < end;
            begin += frame.encoded.len();
            is_begun
        });
        begun.count()
    }

    pub(crate) fn push(
        &mut self,
        encoded: EncodedFrame,
        kind: FrameKind,
        source: Option<Arc<dyn TopicSource>>,
    ) {
        self.frames.push_back(Frame {
            encoded,
            kind,
            source,
        });
    }

    /// Returns whether a message that is sent as a stream holds back all other messages.
    pub(crate) fn is_streaming(&self) -> bool {
        self.stream.is_some()
    }

    /// Returns whether a fragment waits to be taken, or the stream has ended.
    pub(crate) fn has_stream_work(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.has_work())
    }

    /// Takes frames of the client `name` until they have at least `most_bytes`, or nothing is left: fragments of a message
    /// that is sent as a stream while there is one, and messages from `queue` otherwise.
    pub(crate) fn take_batch(&mut self, queue: &SendQueue, name: &CurrentName, most_bytes: usize) {
        let mut bytes = 0;
        self.frames.reserve(queue.len().min(MAX_FRAMES));
        while bytes < most_bytes && self.frames.len() < MAX_FRAMES {
            if let Some(stream) = &self.stream {
                match Arc::clone(stream).take_fragment() {
                    Fragment::NotReady => break,
                    Fragment::Ended => self.stream = None,
                    Fragment::Frame {
                        frame,
                        is_last,
                        source,
                    } => {
                        bytes += frame.len();
                        self.push(frame, FrameKind::Fragment, Some(source));
                        if is_last {
                            self.stream = None;
                        }
                    }
                }
                continue;
            }
            let Some(next) = queue.pop(Purpose::Send) else {
                break;
            };
            if let Some(notice) = next.notice {
                message_log::sent(name, &notice);
                self.push(notice, FrameKind::Notice, None);
            } else if next.message.is_none() {
                self.stream = next.source.clone().and_then(TopicSource::fragments);
                if let (None, Some(source)) = (&self.stream, &next.source) {
                    self.push_checkpoint(source);
                }
            }
            if let Some(frame) = next.message {
                bytes += frame.len();
                message_log::sent(name, &frame);
                self.push(frame, FrameKind::Data, next.source);
            }
        }
    }

    fn push_checkpoint(&mut self, source: &Arc<dyn TopicSource>) {
        if self.frames.is_empty() {
            source.finished(true);
        } else {
            let empty = EncodedFrame::empty();
            self.push(empty, FrameKind::Checkpoint, Some(Arc::clone(source)));
        }
    }

    /// Takes the ping and the pong that wait. They overtake all but the first `next` frames.
    pub(crate) fn take_control(&mut self, control: &ControlSlot, phase: Phase, next: usize) {
        let (ping, pong) = control.take();
        // No ping is sent after a Close has been requested, and nothing is sent after a Close.
        if let Some(ping) = ping.filter(|_| phase == Phase::Open) {
            self.overtake(next, ping, FrameKind::Ping);
        }
        if let Some(pong) = pong.filter(|_| phase < Phase::CloseTaken) {
            self.overtake(next, pong, FrameKind::Pong);
        }
    }

    /// Inserts a ping or pong after the first `next` frames, which are in progress. It replaces a waiting frame of the same kind. Otherwise, a
    /// client that keeps pinging while its socket is blocked would fill this list with pongs.
    pub(crate) fn overtake(&mut self, next: usize, encoded: EncodedFrame, kind: FrameKind) {
        let mut waiting = self.frames.iter().skip(next);
        if let Some(at) = waiting.position(|frame| frame.kind == kind) {
            self.frames.remove(next + at);
        }
        self.frames.insert(
            next,
            Frame {
                encoded,
                kind,
                source: None,
            },
        );
    }

    /// Offers all frames to the socket without blocking: many small frames copied into one piece, a few large ones as a
    /// list. Returns the result, and the number of bytes offered.
    pub(crate) fn try_write(&self, socket: &dyn Transport) -> (io::Result<usize>, usize) {
        let frames = || self.frames.iter().map(|frame| &frame.encoded);
        let bytes = frames().map(EncodedFrame::len).sum::<usize>() - self.written;
        if is_cheaper_copied(self.frames.len(), bytes) {
            let all = copy(frames(), self.written, bytes);
            let written = socket.try_write(&[IoSlice::new(&all)]);
            return (written, bytes);
        }
        let mut pieces = [IoSlice::new(&[]); PIECES];
        let (count, offered) = slices(frames(), self.written, &mut pieces);
        let written = socket.try_write(&pieces[..count]);
        (written, offered)
    }

    /// Returns the next unwritten bytes of the first frame: up to `limit` bytes, from one piece.
    pub(crate) fn front(&self, limit: usize) -> Option<&[u8]> {
        let (front, rest) = self.frames.front()?.encoded.pieces(self.written);
        let piece = if front.is_empty() { rest } else { front };
        Some(&piece[..piece.len().min(limit)])
    }

    /// As [`advance`](Self::advance), and counts the bytes and the messages.
    pub(crate) fn count_written(&mut self, written: usize, queue: &SendQueue) -> Completed {
        let completed = self.advance(written);
        queue.counters.record_written(written);
        if completed.messages > 0 {
            queue.record_delivered(completed.messages, completed.bytes);
        }
        completed
    }

    /// Records that the socket has accepted `written` more bytes, and removes the frames that are now complete.
    pub(crate) fn advance(&mut self, written: usize) -> Completed {
        self.written += written;
        let mut completed = Completed::default();
        while let Some(first) = self.frames.front() {
            let length = first.encoded.len();
            if self.written < length {
                break;
            }
            self.written -= length;
            match first.kind {
                FrameKind::Data => {
                    completed.messages += 1;
                    completed.bytes += length;
                }
                FrameKind::Close => completed.close = true,
                FrameKind::Notice
                | FrameKind::Fragment
                | FrameKind::Checkpoint
                | FrameKind::Ping
                | FrameKind::Pong => {}
            }
            if let Some(source) = &first.source {
                source.finished(true);
            }
            self.frames.pop_front();
        }
        completed
    }

    /// Discards everything but the first `next` frames, which are in progress. A message that is being sent as a stream is
    /// cut off.
    pub(crate) fn discard_waiting(&mut self, next: usize, queue: &SendQueue) {
        self.discard_from(next, queue);
    }

    pub(crate) fn discard_all(&mut self, queue: &SendQueue) {
        self.discard_from(0, queue);
    }

    fn discard_from(&mut self, at: usize, queue: &SendQueue) {
        for frame in self.frames.drain(at..) {
            match (frame.kind, frame.source) {
                (FrameKind::Data, source) => {
                    queue.record_discarded(frame.encoded.len(), source.as_deref());
                }
                (_, Some(source)) => source.finished(false),
                (_, None) => {}
            }
        }
        if let Some(stream) = self.stream.take() {
            stream.fail();
        }
    }

    /// Frees the memory of a large batch.
    pub(crate) fn shrink(&mut self) {
        if self.frames.is_empty() && self.frames.capacity() > KEPT_SLOTS {
            self.frames = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::message::Message;
    use tungstenite::protocol::frame::coding::Control;

    use super::*;

    fn data(payload: &str) -> EncodedFrame {
        EncodedFrame::data(&Message::text(payload))
    }

    fn ping(payload: &[u8]) -> EncodedFrame {
        EncodedFrame::control(Control::Ping, payload)
    }

    #[test]
    fn advance_counts_whole_data_frames_only() {
        let mut in_flight = InFlight::default();
        in_flight.push(data("1234"), FrameKind::Data, None);
        in_flight.push(data("ab"), FrameKind::Notice, None);
        in_flight.push(data("5678"), FrameKind::Data, None);
        assert_eq!(in_flight.advance(5), Completed::default());
        assert_eq!(in_flight.in_progress(0), 1);
        let completed = in_flight.advance(1 + 4 + 6);
        assert_eq!((completed.messages, completed.bytes), (2, 12));
        assert!(in_flight.is_empty() && in_flight.in_progress(0) == 0);
    }

    #[test]
    fn sealed_frames_are_in_progress() {
        let mut in_flight = InFlight::default();
        for payload in ["1234", "ab", "5678"] {
            in_flight.push(data(payload), FrameKind::Data, None);
        }
        // Frames of 6, 4 and 6 bytes.
        for (sealed, frames) in [(0, 0), (1, 1), (6, 1), (7, 2), (10, 2), (11, 3), (16, 3)] {
            assert_eq!(
                in_flight.in_progress(sealed),
                frames,
                "{sealed} sealed bytes"
            );
        }
        in_flight.advance(1);
        for (sealed, frames) in [(0, 1), (5, 1), (6, 2)] {
            assert_eq!(
                in_flight.in_progress(sealed),
                frames,
                "{sealed} sealed bytes"
            );
        }
    }

    #[test]
    fn ping_overtakes_all_but_the_first_partial_frame() {
        for (in_progress, expected) in [(0, b"\x89\x01b\x81\x01a"), (1, b"\x01a\x89\x01b\x00")] {
            let mut in_flight = InFlight::default();
            in_flight.push(data("a"), FrameKind::Data, None);
            in_flight.advance(in_progress);
            for payload in [b"a", b"b"] {
                in_flight.overtake(in_flight.in_progress(0), ping(payload), FrameKind::Ping);
            }
            let frames = in_flight.frames.iter().map(|frame| &frame.encoded);
            let bytes = copy(frames, in_progress, 6 - in_progress);
            assert_eq!(
                bytes,
                expected[..6 - in_progress],
                "the later ping replaces the earlier"
            );
        }
    }
}
