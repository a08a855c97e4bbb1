//! A WebSocket client that sends whatever a test asks for, valid or not, and checks every byte that comes back.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::Socket;
use standpipe::Message;

use super::connect::Connect;
use super::deadline::DEADLINE;
use super::frame::{Frame, message, op};
use super::http::Answer;
use super::stream::Stream;

/// One thing that a client received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Frame(Frame),
    /// The end of the stream, between frames.
    Eof,
    /// ECONNRESET.
    Reset,
}

/// Everything that a client received until the end of its connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rest {
    pub(crate) messages: Vec<Message>,
    pub(crate) pongs: Vec<Vec<u8>>,
    pub(crate) closes: Vec<(u16, String)>,
    /// The number of frames after the first Close. The protocol allows none.
    pub(crate) after_close: usize,
    /// Whether the connection ended with a reset.
    pub(crate) reset: bool,
}

/// The sending half of a client. It can be moved to another thread.
#[derive(Clone)]
pub(crate) struct SendHalf(Arc<Stream>);

impl SendHalf {
    /// Sends these bytes unchanged.
    #[track_caller]
    pub(crate) fn bytes(&self, bytes: impl AsRef<[u8]>) {
        let sent = (&*self.0).write_all(bytes.as_ref());
        sent.unwrap_or_else(|error| panic!("sending to the server failed: {error}"));
    }

    /// Sends these bytes, and returns whether the connection accepted all of them.
    pub(crate) fn try_bytes(&self, bytes: impl AsRef<[u8]>) -> bool {
        (&*self.0).write_all(bytes.as_ref()).is_ok()
    }

    /// Sends as many of these bytes as the kernel accepts without blocking, and returns their number.
    pub(crate) fn send_available(&self, bytes: impl AsRef<[u8]>) -> usize {
        self.0.send_available(bytes.as_ref())
    }

    #[track_caller]
    pub(crate) fn frame(&self, frame: &Frame) {
        self.bytes(frame.bytes());
    }

    #[track_caller]
    pub(crate) fn text(&self, text: impl AsRef<str>) {
        self.frame(&Frame::new(op::TEXT, text.as_ref()));
    }

    #[track_caller]
    pub(crate) fn binary(&self, bytes: impl AsRef<[u8]>) {
        self.frame(&Frame::new(op::BINARY, bytes));
    }

    #[track_caller]
    pub(crate) fn ping(&self, payload: impl AsRef<[u8]>) {
        self.frame(&Frame::new(op::PING, payload));
    }

    #[track_caller]
    pub(crate) fn close(&self, code: u16, reason: &str) {
        self.frame(&Frame::close(code, reason));
    }

    /// Sends a Close without code and reason.
    #[track_caller]
    pub(crate) fn close_empty(&self) {
        self.frame(&Frame::new(op::CLOSE, ""));
    }

    /// Shuts down the client's direction of the stream. The server's direction stays open.
    pub(crate) fn end(&self) {
        self.0.end();
    }
}

/// A connected client. The socket is closed when the client and all its [`SendHalf`]s are dropped.
pub(crate) struct TestClient {
    send_half: SendHalf,
    buffer: Vec<u8>,
    /// The number of Close frames received so far.
    pub(crate) closes: usize,
}

impl Deref for TestClient {
    type Target = SendHalf;

    fn deref(&self) -> &SendHalf {
        &self.send_half
    }
}

impl TestClient {
    pub(super) fn new(stream: Stream) -> TestClient {
        TestClient {
            send_half: SendHalf(Arc::new(stream)),
            buffer: Vec::new(),
            closes: 0,
        }
    }

    /// Connects and completes the opening handshake.
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr, path: &str) -> TestClient {
        Connect::to(address).path(path).connect()
    }

    /// Returns the sending half, for another thread.
    pub(crate) fn send_half(&self) -> SendHalf {
        self.send_half.clone()
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        let address = self.socket().local_addr().expect("a connected socket");
        address.as_socket().expect("a TCP socket")
    }

    /// Closes the socket with a TCP reset.
    pub(crate) fn reset(self) {
        let linger = Some(Duration::ZERO);
        self.socket().set_linger(linger).expect("a TCP socket");
    }

    /// Returns the socket below TLS, for what a test asks of TCP itself.
    pub(crate) fn socket(&self) -> &Socket {
        self.send_half.0.socket()
    }

    /// Reads the head of an HTTP response. The bytes after it stay in the buffer.
    #[track_caller]
    pub(crate) fn read_head(&mut self) -> Answer {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                let rest = self.buffer.split_off(at + 4);
                let head = std::mem::replace(&mut self.buffer, rest);
                return Answer::parse(&head);
            }
            match self.fill(deadline) {
                Some(Fill::Bytes) => {}
                other => panic!(
                    "waited for the head of a response, got {other:?} after {:?}",
                    String::from_utf8_lossy(&self.buffer)
                ),
            }
        }
    }

    /// Reads the status of an HTTP response. Returns `None` if the connection ends without one.
    #[track_caller]
    pub(crate) fn read_status(&mut self) -> Option<u16> {
        let deadline = Instant::now() + DEADLINE;
        while self.buffer.is_empty() {
            match self.fill(deadline) {
                Some(Fill::Bytes) => {}
                Some(Fill::Eof | Fill::Reset) => return None,
                None => panic!("waited {DEADLINE:?} for a response, or the end"),
            }
        }
        Some(self.read_head().status)
    }

    /// Reads an HTTP response with the body that its `Content-Length` announces. The bytes after it stay in the buffer.
    #[track_caller]
    pub(crate) fn read_answer(&mut self) -> Answer {
        let mut answer = self.read_head();
        let length = answer.header("Content-Length");
        let length = length.map_or(0, |length| length.parse().unwrap());
        let deadline = Instant::now() + DEADLINE;
        while self.buffer.len() < length {
            match self.fill(deadline) {
                Some(Fill::Bytes) => {}
                other => panic!("waited for a body of {length} bytes, got {other:?}"),
            }
        }
        let body: Vec<u8> = self.buffer.drain(..length).collect();
        answer.body = String::from_utf8_lossy(&body).into_owned();
        answer
    }

    /// Discards what has arrived, and waits for at least one byte. Returns the number of bytes.
    #[track_caller]
    pub(crate) fn read_available(&mut self) -> usize {
        if self.buffer.is_empty() {
            match self.fill(Instant::now() + DEADLINE) {
                Some(Fill::Bytes) => {}
                other => panic!("waited for bytes, got {other:?}"),
            }
        }
        std::mem::take(&mut self.buffer).len()
    }

    /// Reads all bytes until the end of the stream. A reset fails the test.
    #[track_caller]
    pub(crate) fn read_to_eof(&mut self) -> Vec<u8> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.fill(deadline) {
                Some(Fill::Bytes) => {}
                Some(Fill::Eof) => return std::mem::take(&mut self.buffer),
                other => panic!("waited for the end of the stream, got {other:?}"),
            }
        }
    }

    /// Reads the next frame, or the end of the connection.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Seen {
        self.next_within(DEADLINE)
            .unwrap_or_else(|| panic!("waited {DEADLINE:?} for a frame, or the end"))
    }

    /// Reads the next byte. Returns `None` at the end of the stream and after a reset.
    #[track_caller]
    pub(crate) fn next_byte(&mut self) -> Option<u8> {
        while self.buffer.is_empty() {
            match self.fill(Instant::now() + DEADLINE) {
                Some(Fill::Bytes) => {}
                Some(Fill::Eof | Fill::Reset) => return None,
                None => panic!("waited {DEADLINE:?} for a byte, or the end"),
            }
        }
        Some(self.buffer.remove(0))
    }

    /// Like [`next`](Self::next), but returns `None` if nothing arrives within `time`.
    #[track_caller]
    pub(crate) fn next_within(&mut self, time: Duration) -> Option<Seen> {
        let deadline = Instant::now() + time;
        loop {
            if let Some(frame) = self.take_frame() {
                if frame.opcode == op::CLOSE {
                    self.closes += 1;
                }
                return Some(Seen::Frame(frame));
            }
            match self.fill(deadline)? {
                Fill::Bytes => {}
                // A reset may cut a frame short. An orderly end of the stream may not.
                Fill::Eof => {
                    let partial = &self.buffer;
                    assert!(partial.is_empty(), "the stream ended inside {partial:?}");
                    return Some(Seen::Eof);
                }
                Fill::Reset => return Some(Seen::Reset),
            }
        }
    }

    /// Reads the next frame.
    #[track_caller]
    pub(crate) fn next_frame(&mut self) -> Frame {
        match self.next() {
            Seen::Frame(frame) => frame,
            end => panic!("waited for a frame, got {end:?}"),
        }
    }

    /// Reads the next message, which the server sends in one frame, and skips pings and pongs.
    #[track_caller]
    pub(crate) fn read_message(&mut self) -> Message {
        loop {
            let frame = self.next_frame();
            if let Some(message) = message(&frame) {
                return message;
            }
            assert!(
                matches!(frame.opcode, op::PING | op::PONG),
                "waited for a message, got {frame:?}"
            );
        }
    }

    /// Reads the next message, which must be this text.
    #[track_caller]
    pub(crate) fn expect_text(&mut self, text: &str) {
        assert_eq!(self.read_message(), Message::text(text));
    }

    /// Reads the next frame, which must be a Close with this code (1005: a Close without a code). Returns its reason.
    #[track_caller]
    pub(crate) fn expect_close(&mut self, code: u16) -> String {
        let (seen, reason) = self.next_frame().code();
        assert_eq!(seen, code, "closed with {seen} {reason:?}");
        reason
    }

    /// Checks that the stream ends, and that nothing else arrives before its end.
    #[track_caller]
    pub(crate) fn expect_eof(&mut self) {
        assert_eq!(self.next(), Seen::Eof);
    }

    /// Checks that the connection is reset, and that nothing else arrives before the reset.
    #[track_caller]
    pub(crate) fn expect_reset(&mut self) {
        match self.next() {
            Seen::Reset => {}
            // The server shuts down both directions first, to free its threads. The reset follows.
            Seen::Eof => super::until("the reset has arrived", || {
                self.socket().take_error().unwrap().is_some()
            }),
            frame => panic!("waited for a reset, got {frame:?}"),
        }
    }

    /// Closes with 1000, and checks that the server answers the Close and ends the connection.
    #[track_caller]
    pub(crate) fn leave(mut self) {
        self.close(1000, "");
        let rest = self.rest();
        assert_eq!(rest.closes, [(1000, String::new())]);
        assert!(!rest.reset && rest.after_close == 0, "{rest:?}");
    }

    /// Reads until the end of the connection. The server's Close is answered if `answers` is set.
    #[track_caller]
    fn read_rest(&mut self, answers: bool) -> Rest {
        let mut rest = Rest::default();
        loop {
            let frame = match self.next() {
                Seen::Frame(frame) => frame,
                Seen::Eof => return rest,
                Seen::Reset => {
                    rest.reset = true;
                    return rest;
                }
            };
            if !rest.closes.is_empty() {
                rest.after_close += 1;
            }
            match frame.opcode {
                op::CLOSE => {
                    rest.closes.push(frame.code());
                    if answers {
                        self.try_bytes(Frame::new(op::CLOSE, &frame.payload).bytes());
                    }
                }
                op::PONG => rest.pongs.push(frame.payload),
                op::PING => {}
                _ => rest
                    .messages
                    .extend(message(&frame).or_else(|| panic!("not a message: {frame:?}"))),
            }
        }
    }

    /// Reads until the end of the connection, without answering the server's Close.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> Rest {
        self.read_rest(false)
    }

    /// Reads until the end of the connection, and answers the server's Close as RFC 6455 §5.5.1 requires.
    #[track_caller]
    pub(crate) fn rest_answering_close(&mut self) -> Rest {
        self.read_rest(true)
    }

    /// Returns the frames that have been read from the socket together with the last one that was returned.
    pub(crate) fn buffered_frames(&mut self) -> Vec<Frame> {
        std::iter::from_fn(|| self.take_frame()).collect()
    }

    fn take_frame(&mut self) -> Option<Frame> {
        Frame::take(&mut self.buffer)
    }

    /// Reads more bytes or the end of the stream. Returns `None` at the deadline.
    fn fill(&mut self, deadline: Instant) -> Option<Fill> {
        let mut chunk = [0; 16 << 10];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // A timeout of zero would mean no timeout.
            let left = left.max(Duration::from_millis(1));
            self.socket().set_read_timeout(Some(left)).unwrap();
            return match (&*self.send_half.0).read(&mut chunk) {
                Ok(0) => {
                    if self.send_half.0.was_cut() {
                        eprintln!("the stream ended without a close_notify");
                    }
                    Some(Fill::Eof)
                }
                Ok(read) => {
                    self.buffer.extend_from_slice(&chunk[..read]);
                    Some(Fill::Bytes)
                }
                Err(error) => match error.kind() {
                    ErrorKind::ConnectionReset => Some(Fill::Reset),
                    ErrorKind::Interrupted => continue,
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => None,
                    _ => panic!("reading failed: {error}"),
                },
            };
        }
    }
}

#[derive(Debug)]
enum Fill {
    Bytes,
    Eof,
    Reset,
}
