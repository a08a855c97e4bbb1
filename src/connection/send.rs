//! The sending half of [`Connection`]: each method does what the method of the same name of its [`Outbox`] does.

use std::io;
use std::time::Duration;

use super::Connection;
#[cfg(doc)]
use super::Outbox;
use super::queue::message_writer::MessageWriter;
use crate::error::{SendAllError, SendError, SendTimeoutError, TrySendError};
use crate::message::Message;

impl Connection {
    /// Sends a message to this client, as [`Outbox::send`](crate::Outbox::send). While the peer does not read, this
    /// method waits. During that time nothing more is read from the peer, so TCP slows the peer down in turn.
    ///
    /// ```
    /// # fn example(conn: &standpipe::Connection) -> Result<(), standpipe::SendError> {
    /// conn.send("text")?;
    /// conn.send(vec![1, 2, 3])?; // Binary.
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Blocking
    /// As [`Outbox::send`](crate::Outbox::send).
    ///
    /// # Errors
    /// [`SendError`] returns the message if the connection has ended or is closing.
    pub fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        self.outbox.send(message)
    }

    /// Sends a message to this client if its queue has room now, as [`Outbox::try_send`](crate::Outbox::try_send).
    /// Never blocks.
    ///
    /// ```
    /// use standpipe::{Connection, TrySendError};
    ///
    /// /// Answers if the client keeps up, and skips the answer otherwise.
    /// fn answer(conn: &Connection, answer: &str) {
    ///     match conn.try_send(answer) {
    ///         Ok(()) => {}
    ///         Err(TrySendError::Full(message)) => println!("{} bytes were skipped", message.len()),
    ///         Err(TrySendError::Closed(_)) => println!("client {} has gone", conn.number()),
    ///     }
    /// }
    /// # let _ = answer;
    /// ```
    ///
    /// # Errors
    /// As [`Outbox::try_send`](crate::Outbox::try_send).
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), TrySendError> {
        self.outbox.try_send(message)
    }

    /// Sends a message to this client, and waits for room for at most `timeout`, as
    /// [`Outbox::send_timeout`](crate::Outbox::send_timeout).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use standpipe::{Connection, SendTimeoutError};
    ///
    /// /// Gives a client that is behind 100 ms. Returns the text if it was not queued.
    /// fn offer(conn: &Connection, text: String) -> Result<(), SendTimeoutError> {
    ///     conn.send_timeout(text, Duration::from_millis(100))
    /// }
    /// # let _ = offer;
    /// ```
    ///
    /// # Blocking
    /// As [`Outbox::send_timeout`](crate::Outbox::send_timeout).
    ///
    /// # Errors
    /// As [`Outbox::send_timeout`](crate::Outbox::send_timeout).
    pub fn send_timeout(
        &self,
        message: impl Into<Message>,
        timeout: Duration,
    ) -> Result<(), SendTimeoutError> {
        self.outbox.send_timeout(message, timeout)
    }

    /// Sends several messages to this client, as [`Outbox::send_all`](crate::Outbox::send_all).
    ///
    /// ```
    /// use standpipe::Connection;
    ///
    /// /// A handler that sends back what arrives, all messages that arrived together in one write.
    /// fn echo(conn: &mut Connection) -> standpipe::HandlerResult {
    ///     loop {
    ///         let messages = conn.recv_all(64)?;
    ///         if messages.is_empty() {
    ///             return Ok(());
    ///         }
    ///         conn.send_all(messages)?;
    ///     }
    /// }
    /// # let _: fn(&mut Connection) -> _ = echo;
    /// ```
    ///
    /// # Blocking
    /// As [`Outbox::send`](crate::Outbox::send).
    ///
    /// # Errors
    /// As [`Outbox::send_all`](crate::Outbox::send_all).
    pub fn send_all(&self, messages: Vec<Message>) -> Result<(), SendAllError> {
        self.outbox.send_all(messages)
    }

    /// Begins a binary message to this client that is sent as a stream, as
    /// [`Outbox::send_binary_stream`](crate::Outbox::send_binary_stream).
    ///
    /// ```
    /// use std::io;
    ///
    /// use standpipe::Connection;
    ///
    /// /// Sends one message of a billion zeros, with little memory.
    /// fn send_zeros(conn: &Connection) -> io::Result<()> {
    ///     let mut stream = conn.send_binary_stream()?;
    ///     io::copy(&mut io::Read::take(io::repeat(0), 1_000_000_000), &mut stream)?;
    ///     stream.finish()
    /// }
    /// # let _ = send_zeros;
    /// ```
    ///
    /// # Blocking
    /// As [`Outbox::send_binary_stream`](crate::Outbox::send_binary_stream).
    ///
    /// # Errors
    /// As [`Outbox::send_binary_stream`](crate::Outbox::send_binary_stream).
    pub fn send_binary_stream(&self) -> io::Result<MessageWriter> {
        self.outbox.send_binary_stream()
    }

    /// Begins a text message to this client that is sent as a stream, as
    /// [`Outbox::send_text_stream`](crate::Outbox::send_text_stream).
    ///
    /// ```
    /// use std::io::{self, Write};
    ///
    /// use standpipe::Connection;
    ///
    /// fn send_lines(conn: &Connection, lines: impl Iterator<Item = String>) -> io::Result<()> {
    ///     let mut stream = conn.send_text_stream()?;
    ///     for line in lines {
    ///         writeln!(stream, "{line}")?;
    ///     }
    ///     stream.finish()
    /// }
    /// # let _ = |conn: &Connection| send_lines(conn, std::iter::empty());
    /// ```
    ///
    /// # Blocking
    /// As [`Outbox::send_text_stream`](crate::Outbox::send_text_stream).
    ///
    /// # Errors
    /// As [`Outbox::send_text_stream`](crate::Outbox::send_text_stream).
    pub fn send_text_stream(&self) -> io::Result<MessageWriter> {
        self.outbox.send_text_stream()
    }

    /// Closes the connection after the queued messages have been written, as [`Outbox::close`](crate::Outbox::close).
    /// From now on [`recv`](Self::recv) returns `None`.
    ///
    /// ```
    /// # fn example(conn: &mut standpipe::Connection) -> Result<(), Box<dyn std::error::Error>> {
    /// if conn.recv()?.is_some_and(|message| message.is_binary()) {
    ///     conn.close(1003, "only text, please");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn close(&self, code: u16, reason: &str) {
        self.outbox.close(code, reason);
    }

    /// Closes the connection without the queued messages, as [`Outbox::close_now`](crate::Outbox::close_now). From now
    /// on [`recv`](Self::recv) returns `None`.
    ///
    /// ```
    /// use standpipe::Connection;
    ///
    /// fn only_text(conn: &mut Connection) -> standpipe::HandlerResult {
    ///     while let Some(message) = conn.recv()? {
    ///         if message.is_text() {
    ///             conn.send(message)?;
    ///         } else {
    ///             conn.close_now(1003, "only text messages are accepted");
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// # let _: fn(&mut Connection) -> _ = only_text;
    /// ```
    pub fn close_now(&self, code: u16, reason: &str) {
        self.outbox.close_now(code, reason);
    }
}
