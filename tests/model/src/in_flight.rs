//! `write/in_flight.rs`.

use std::collections::VecDeque;

use crate::FRAME_BYTES;
use crate::fragments::{Fragments, LAST, STREAM};
use crate::log::Log;
use crate::send_queue::SendQueue;
use crate::socket::{Failed, Socket};
use crate::write_path::WritePath;

#[derive(Debug, Default)]
pub(crate) struct InFlight {
    frames: VecDeque<Frame>,
    /// Bytes of the first frame that the socket has accepted.
    written: usize,
    /// The stream is being written.
    is_streaming: bool,
}

#[derive(Debug)]
struct Frame {
    byte: u8,
    kind: FrameKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    Data,
    Fragment,
    Pong,
    Close,
}

#[derive(Debug, Default)]
pub(crate) struct Completed {
    pub(crate) close: bool,
}

impl InFlight {
    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    fn is_in_progress(&self) -> bool {
        self.written > 0
    }

    pub(crate) fn push(&mut self, byte: u8, kind: FrameKind) {
        self.frames.push_back(Frame { byte, kind });
    }

    pub(crate) fn is_streaming(&self) -> bool {
        self.is_streaming
    }

    pub(crate) fn has_stream_work(&self, fragments: &Fragments) -> bool {
        self.is_streaming && fragments.has_work()
    }

    pub(crate) fn take_batch(
        &mut self,
        queue: &SendQueue,
        fragments: &Fragments,
        most_bytes: usize,
    ) {
        let mut bytes = 0;
        while bytes < most_bytes {
            if self.is_streaming {
                let Some(fragment) = fragments.take_fragment() else {
                    break;
                };
                bytes += FRAME_BYTES;
                self.push(fragment, FrameKind::Fragment);
                self.is_streaming = fragment != LAST;
                continue;
            }
            let Some(message) = queue.pop() else {
                break;
            };
            if message == STREAM {
                self.is_streaming = true;
                continue;
            }
            bytes += FRAME_BYTES;
            self.push(message, FrameKind::Data);
        }
    }

    pub(crate) fn overtake(&mut self, byte: u8, kind: FrameKind) {
        let next = usize::from(self.is_in_progress());
        let mut waiting = self.frames.iter().skip(next);
        if let Some(at) = waiting.position(|frame| frame.kind == kind) {
            self.frames.remove(next + at);
        }
        self.frames.insert(next, Frame { byte, kind });
    }

    pub(crate) fn try_write(
        &self,
        socket: &mut Socket,
        log: &Log,
    ) -> (Result<usize, Failed>, usize) {
        let frames = self.frames.iter();
        let bytes: Vec<u8> = frames
            .flat_map(|frame| [frame.byte; FRAME_BYTES])
            .skip(self.written)
            .collect();
        (socket.try_write(&bytes, log), bytes.len())
    }

    /// Returns what is left of the first frame.
    pub(crate) fn front(&self) -> Option<Vec<u8>> {
        let front = self.frames.front()?;
        Some(vec![front.byte; FRAME_BYTES - self.written])
    }

    pub(crate) fn advance(&mut self, written: usize, log: &Log) -> Completed {
        self.written += written;
        let mut completed = Completed::default();
        while let Some(first) = self.frames.front() {
            if self.written < FRAME_BYTES {
                break;
            }
            self.written -= FRAME_BYTES;
            match first.kind {
                FrameKind::Data => log.delivered(first.byte),
                FrameKind::Fragment | FrameKind::Pong => {}
                FrameKind::Close => completed.close = true,
            }
            self.frames.pop_front();
        }
        completed
    }

    pub(crate) fn discard_waiting(&mut self, path: &WritePath) {
        let next = usize::from(self.is_in_progress());
        self.discard_from(next, path);
    }

    pub(crate) fn discard_all(&mut self, path: &WritePath) {
        self.discard_from(0, path);
    }

    fn discard_from(&mut self, at: usize, path: &WritePath) {
        for frame in self.frames.drain(at..) {
            if frame.kind == FrameKind::Data {
                path.queue.record_discarded(frame.byte, &path.log);
            }
        }
    }
}
