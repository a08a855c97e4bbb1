//! [`MessageWriter`]: sends one message as a stream.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::sync::Arc;

use bytes::Bytes;

use super::fragments::{Fragments, MOST_UNWRITTEN};
use super::item::QueueItem;
use super::outbox::Outbox;
use super::send_queue::{Admission, Wait};
use super::utf8_check::Utf8Check;
use crate::connection::close_cause::CloseCause;
use crate::connection::message_log;
use crate::connection::write::frame::{EncodedFrame, FragmentKind, MAX_HEADER};

/// The largest payload of a fragment. A ping, a pong and an immediate Close wait for one fragment at most.
const MOST_BYTES: usize = 64 << 10;

/// The smallest limit for the payload of a fragment, for a small [`queue_bytes`](crate::Config::queue_bytes).
const FEWEST_BYTES: usize = 1 << 10;

/// Sends one message as a stream: the bytes that are written go out as fragments of the message (RFC 6455 §5.4), while
/// later bytes are still being produced. [`Outbox::send_binary_stream`] and [`Outbox::send_text_stream`] return it.
///
/// The writer collects up to 64 KiB before it queues them as a fragment; [`flush`](Write::flush) queues them immediately.
/// Whatever the size of the message, the writer and the queue hold at most 192 KiB of it. These bytes are reserved in
/// [`queue_bytes`](crate::Config::queue_bytes) until the message has ended.
///
/// Other messages for this client wait behind the stream, because no message may stand between fragments. Pings, pongs and
/// an immediate Close pass between fragments. A stream that has its turn must be written quickly: if the peer has accepted
/// everything, and no further fragment is queued for [`message_timeout`](crate::Config::message_timeout), the connection is
/// closed with 1011. So a source that is slow needs a `flush` now and then, because bytes that are being collected are not
/// queued yet. A thread that writes a stream must not wait for another message to the same client meanwhile. For a topic, a
/// client whose queue is full behind a stream is a slow consumer, so the topic's policy decides.
///
/// [`finish`](Self::finish) completes the message. A writer that is dropped before that closes the connection with 1011,
/// because a truncated message must not look complete. If none of the message has been sent yet, the message is withdrawn
/// instead, and the connection stays open.
///
/// ```
/// use std::fs::File;
/// use std::io;
///
/// use standpipe::Connection;
///
/// /// A handler that answers each message with a file, whatever its size.
/// fn files(conn: &mut Connection) -> standpipe::HandlerResult {
///     while let Some(message) = conn.recv()? {
///         // Only these two: a name that the client chooses could be the path of any file.
///         let name = if message.as_bytes() == b"map" { "map.bin" } else { "help.txt" };
///         let mut file = File::open(name)?;
///         let mut stream = conn.send_binary_stream()?;
///         io::copy(&mut file, &mut stream)?;
///         stream.finish()?;
///     }
///     Ok(())
/// }
/// # let _: fn(&mut Connection) -> _ = files;
/// ```
#[must_use = "dropping the writer before `finish` may close the connection"]
pub struct MessageWriter {
    outbox: Outbox,
    fragments: Arc<Fragments>,
    kind: FragmentKind,
    /// The kind of the message, for the log.
    is_text: bool,
    /// The bytes of the next fragment.
    buffer: Vec<u8>,
    most_bytes: usize,
    /// `None` for a binary message.
    utf8: Option<Utf8Check>,
    /// The number of bytes that have been written so far.
    written: u64,
    is_finished: bool,
}

impl MessageWriter {
    /// Completes the message: queues its last fragment. `Ok` means *queued*, not *delivered*.
    ///
    /// ```
    /// use std::io::{self, Write};
    ///
    /// use standpipe::Outbox;
    ///
    /// /// Sends numbers as one text, without building the text in memory.
    /// fn send_numbers(outbox: &Outbox, numbers: &[u64]) -> io::Result<()> {
    ///     let mut stream = outbox.send_text_stream()?;
    ///     for number in numbers {
    ///         writeln!(stream, "{number}")?;
    ///     }
    ///     stream.finish()
    /// }
    /// # let _ = send_numbers;
    /// ```
    ///
    /// # Blocking
    /// As [`write`](Write::write).
    ///
    /// # Errors
    /// As [`write`](Write::write). `InvalidData` if a text ends inside a character; the connection is then closed with 1011.
    pub fn finish(mut self) -> io::Result<()> {
        if self.utf8.as_ref().is_some_and(|utf8| !utf8.is_complete()) {
            return Err(invalid("the text ends inside a character"));
        }
        message_log::sent_as_stream(&self.outbox.shared().name, self.is_text, self.written);
        self.is_finished = true;
        self.push(true)
    }

    /// Queues the collected bytes as a fragment.
    fn push(&mut self, is_last: bool) -> io::Result<()> {
        let payload = Bytes::from(std::mem::take(&mut self.buffer));
        let frame = EncodedFrame::fragment(self.kind, &payload, is_last);
        self.kind = FragmentKind::Continuation;
        let pushed = self.fragments.push(frame, is_last);
        pushed.map_err(|_| self.outbox.stream_error())
    }
}

impl Write for MessageWriter {
    /// Adds bytes to the message.
    ///
    /// # Blocking
    /// Waits while two fragments are queued or in flight, and while other messages are ahead of the stream. Woken by the
    /// writer's progress, or by the end of the connection. If the peer accepts nothing for
    /// [`write_timeout`](crate::Config::write_timeout), the connection is reset. In
    /// [`Handler::opening`](crate::Handler::opening), nothing is written before the method has returned.
    ///
    /// # Errors
    /// - `BrokenPipe`: the connection has ended, or a Close overtook the message.
    /// - `TimedOut`: no fragment was queued for [`message_timeout`](crate::Config::message_timeout).
    /// - `InvalidData`: this is a text, and the bytes are not UTF-8. None of them were added. A character may be split
    ///   between two calls.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        if self.buffer.len() >= self.most_bytes {
            self.push(false)?;
        }
        let mut part = &bytes[..bytes.len().min(self.most_bytes - self.buffer.len())];
        if let Some(utf8) = &mut self.utf8 {
            part = &part[..utf8.accept(part)];
            if part.is_empty() {
                return Err(invalid("the bytes of a text message are not UTF-8"));
            }
        }
        self.buffer.extend_from_slice(part);
        self.written += part.len() as u64;
        Ok(part.len())
    }

    /// Queues the bytes that have been collected as a fragment, without waiting until they are written.
    ///
    /// # Blocking
    /// As [`write`](Self::write).
    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.push(false)
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

impl Drop for MessageWriter {
    fn drop(&mut self) {
        if !self.is_finished {
            self.fragments.abandon();
        }
    }
}

impl fmt::Debug for MessageWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageWriter")
            .field("number", &self.outbox.number())
            .field("is_text", &self.is_text)
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}

impl Outbox {
    /// Begins a binary message that is sent as a stream: see [`MessageWriter`].
    ///
    /// ```
    /// use std::io;
    ///
    /// use standpipe::Outbox;
    ///
    /// /// Copies everything that `source` has into one message.
    /// fn send_all_of(outbox: &Outbox, mut source: impl io::Read) -> io::Result<()> {
    ///     let mut stream = outbox.send_binary_stream()?;
    ///     io::copy(&mut source, &mut stream)?;
    ///     stream.finish()
    /// }
    /// # let _ = |outbox: &Outbox| send_all_of(outbox, io::empty());
    /// ```
    ///
    /// # Blocking
    /// Waits for room in the queue, as [`send`](Self::send). The method does not wait for the messages ahead; the first
    /// bytes are collected meanwhile.
    ///
    /// # Errors
    /// `BrokenPipe` if the connection has ended or is closing.
    pub fn send_binary_stream(&self) -> io::Result<MessageWriter> {
        self.send_stream(FragmentKind::Binary, None)
    }

    /// Begins a text message that is sent as a stream: see [`MessageWriter`]. The bytes that are written must be UTF-8.
    ///
    /// ```
    /// use std::io::{self, Write};
    ///
    /// use standpipe::Outbox;
    ///
    /// /// Sends a list of numbers as JSON.
    /// fn send_json(outbox: &Outbox, numbers: &[u32]) -> io::Result<()> {
    ///     let mut json = outbox.send_text_stream()?;
    ///     write!(json, "[0")?;
    ///     for number in numbers {
    ///         write!(json, ",{number}")?;
    ///     }
    ///     write!(json, "]")?;
    ///     json.finish()
    /// }
    /// # let _ = send_json;
    /// ```
    ///
    /// # Blocking
    /// As [`send_binary_stream`](Self::send_binary_stream).
    ///
    /// # Errors
    /// As [`send_binary_stream`](Self::send_binary_stream).
    pub fn send_text_stream(&self) -> io::Result<MessageWriter> {
        self.send_stream(FragmentKind::Text, Some(Utf8Check::default()))
    }

    fn send_stream(
        &self,
        kind: FragmentKind,
        utf8: Option<Utf8Check>,
    ) -> io::Result<MessageWriter> {
        // The writer collects one more fragment, and all of them together must fit into the byte limit.
        let fragments = MOST_UNWRITTEN + 1;
        let share = self.queue().byte_limit() / (fragments + 1);
        let most_bytes = share.clamp(FEWEST_BYTES, MOST_BYTES);
        let reserved = fragments * (most_bytes + MAX_HEADER);
        let fragments = Fragments::new(self.clone(), reserved);
        let ticket = QueueItem::Ticket(fragments.clone());
        let queued = self.enqueue_item(ticket, reserved, Wait::Forever);
        self.flush();
        if queued != Admission::Admitted {
            return Err(self.stream_error());
        }
        Ok(MessageWriter {
            outbox: self.clone(),
            fragments,
            kind,
            is_text: utf8.is_some(),
            buffer: Vec::new(),
            most_bytes,
            utf8,
            written: 0,
            is_finished: false,
        })
    }

    /// Returns why a message that is sent as a stream has ended.
    fn stream_error(&self) -> io::Error {
        match self.shared().lifecycle().cause() {
            Some(CloseCause::Unfinished) => {
                io::Error::new(ErrorKind::TimedOut, "nothing was written for too long")
            }
            _ => io::Error::new(
                ErrorKind::BrokenPipe,
                "the connection has ended or is closing",
            ),
        }
    }
}
