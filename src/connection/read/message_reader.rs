//! [`MessageReader`]: a large message as a stream of bytes.

use std::fmt;
use std::io;

use super::reader::Reader;
use crate::error::RecvError;

/// One message of the client as a stream of bytes. [`Connection::recv_stream`](crate::Connection::recv_stream) returns it.
///
/// [`read`](io::Read::read) waits for the peer and returns 0 at the end of the message. Control frames between the frames
/// of the message are handled meanwhile. A text is checked while it arrives: invalid UTF-8 closes the client with 1007.
/// If the reader is dropped before the end, the next receive discards the rest of the message.
///
/// The peer must send each 64 KiB of the message within [`message_timeout`](crate::Config::message_timeout). Only the
/// time during which `read` waits counts.
///
/// ```
/// use std::fs::File;
/// use std::io;
///
/// use standpipe::Connection;
///
/// /// Stores each message of the client in a file.
/// fn store(conn: &mut Connection) -> standpipe::HandlerResult {
///     let (number, outbox) = (conn.number(), conn.outbox());
///     for n in 0.. {
///         let Some(mut message) = conn.recv_stream()? else {
///             break;
///         };
///         let stored = io::copy(&mut message, &mut File::create(format!("upload-{number}-{n}"))?)?;
///         outbox.send(format!("{stored} bytes"))?;
///     }
///     Ok(())
/// }
/// # let _: fn(&mut Connection) -> _ = store;
/// ```
///
/// # Errors
/// An [`io::Error`] of `read` means that the message is incomplete. Its source is the [`RecvError`], if there is one.
/// The kind is `InvalidData` after a violation, `TimedOut` after a missed deadline, and `UnexpectedEof` if the peer left
/// or this side closed the connection.
#[must_use = "a message that is not read is discarded"]
pub struct MessageReader<'a> {
    reader: &'a mut Reader,
    is_text: bool,
    ended: bool,
}

impl<'a> MessageReader<'a> {
    pub(crate) fn new(reader: &'a mut Reader, is_text: bool) -> MessageReader<'a> {
        MessageReader {
            reader,
            is_text,
            ended: false,
        }
    }

    /// Returns whether this is a text message.
    ///
    /// ```
    /// use std::io::Read;
    ///
    /// fn read_text(mut message: standpipe::MessageReader) -> std::io::Result<Option<String>> {
    ///     let mut text = String::new();
    ///     if !message.is_text() {
    ///         return Ok(None);
    ///     }
    ///     message.read_to_string(&mut text)?;
    ///     Ok(Some(text))
    /// }
    /// # let _: fn(standpipe::MessageReader) -> _ = read_text;
    /// ```
    pub fn is_text(&self) -> bool {
        self.is_text
    }
}

impl io::Read for MessageReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended || buffer.is_empty() {
            return Ok(0);
        }
        match self.reader.next_part(buffer) {
            Ok(Some(bytes)) => {
                self.ended = bytes == 0;
                Ok(bytes)
            }
            Ok(None) => {
                let reason = "the connection was closed before the end of the message";
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason))
            }
            Err(error) => Err(io::Error::new(kind(&error), error)),
        }
    }
}

fn kind(error: &RecvError) -> io::ErrorKind {
    match error {
        RecvError::Violation { .. } => io::ErrorKind::InvalidData,
        RecvError::TimedOut(_) => io::ErrorKind::TimedOut,
        RecvError::Gone => io::ErrorKind::UnexpectedEof,
        RecvError::Io(error) => error.kind(),
    }
}

impl fmt::Debug for MessageReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageReader")
            .field("is_text", &self.is_text)
            .finish_non_exhaustive()
    }
}
