//! The receiving half of [`Connection`].

use std::io;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::Connection;
use super::messages::Messages;
use super::read::message_reader::MessageReader;
use crate::error::{RecvError, RecvTimeoutError, TryRecvError};
use crate::message::Message;
use crate::watch::Interest;

impl Connection {
    /// Returns the next text or binary message. `None` means that the closing handshake is complete, that this side has
    /// closed the connection, or that the server is shutting down. The handler should then return.
    ///
    /// Pings are answered, pongs are processed and a Close is seen in this method, so a handler must keep calling it. A
    /// handler that only sends calls [`recv_timeout`](Self::recv_timeout) between its messages.
    ///
    /// ```
    /// use standpipe::Connection;
    ///
    /// fn echo(conn: &mut Connection) -> standpipe::HandlerResult {
    ///     while let Some(message) = conn.recv()? {
    ///         conn.send(message)?;
    ///     }
    ///     Ok(())
    /// }
    /// # let _: fn(&mut Connection) -> _ = echo;
    /// ```
    ///
    /// # Blocking
    /// Waits for the peer. Woken by a message, by the end of the peer's stream, by
    /// [`Outbox::terminate`](crate::Outbox::terminate), or by the watchdog when a time limit of
    /// [`Config`](crate::Config) expires. During a shutdown, this method is woken by the peer's answer to our Close, and at
    /// the latest after [`shutdown_timeout`](crate::Config::shutdown_timeout).
    ///
    /// # Errors
    /// [`RecvError`] says why the connection ended without a closing handshake.
    pub fn recv(&mut self) -> Result<Option<Message>, RecvError> {
        self.reader.recv()
    }

    /// Like [`recv`](Self::recv), but waits at most `timeout`. If only a part of a message arrives in this time, the part
    /// is kept, and a later call returns the whole message.
    ///
    /// The peer's clocks run across the calls: `ping_interval` counts from the last byte of the peer, and
    /// `message_timeout` from the first byte of the message.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use standpipe::{Connection, RecvTimeoutError};
    ///
    /// /// An echo that asks a client to say something after a minute of silence.
    /// fn echo(conn: &mut Connection) -> standpipe::HandlerResult {
    ///     loop {
    ///         match conn.recv_timeout(Duration::from_secs(60)) {
    ///             Ok(Some(message)) => conn.send(message)?,
    ///             Ok(None) => return Ok(()), // The connection has ended.
    ///             Err(RecvTimeoutError::Timeout) => conn.send("are you there?")?,
    ///             Err(error) => return Err(error.into()),
    ///         }
    ///     }
    /// }
    /// # let _: fn(&mut Connection) -> _ = echo;
    /// ```
    ///
    /// # Blocking
    /// As [`recv`](Self::recv), for at most `timeout`.
    ///
    /// # Errors
    /// [`RecvTimeoutError`] says whether the time was over, or why the connection ended.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<Message>, RecvTimeoutError> {
        match Instant::now().checked_add(timeout) {
            Some(deadline) => self.recv_deadline(deadline),
            // A deadline that the clock cannot represent is never reached.
            None => Ok(self.recv()?),
        }
    }

    /// Like [`recv_timeout`](Self::recv_timeout), but waits until `deadline`. A deadline that has passed does not wait,
    /// but a message that has arrived is returned. So a loop that must end at its deadline also looks at the clock.
    /// Otherwise, a peer that sends without a pause prolongs it.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// use standpipe::{Connection, RecvTimeoutError};
    ///
    /// /// Counts the messages of five seconds.
    /// fn count(conn: &mut Connection) -> Result<usize, RecvTimeoutError> {
    ///     let end = Instant::now() + Duration::from_secs(5);
    ///     let mut count = 0;
    ///     while Instant::now() < end {
    ///         match conn.recv_deadline(end) {
    ///             Ok(Some(_)) => count += 1,
    ///             Ok(None) | Err(RecvTimeoutError::Timeout) => break,
    ///             Err(error) => return Err(error),
    ///         }
    ///     }
    ///     Ok(count)
    /// }
    /// # let _: fn(&mut Connection) -> _ = count;
    /// ```
    ///
    /// # Blocking
    /// As [`recv`](Self::recv), until `deadline`.
    ///
    /// # Errors
    /// As [`recv_timeout`](Self::recv_timeout).
    pub fn recv_deadline(
        &mut self,
        deadline: Instant,
    ) -> Result<Option<Message>, RecvTimeoutError> {
        let received = self.reader.recv_deadline(deadline);
        received.map_err(|error| error.map_or(RecvTimeoutError::Timeout, Into::into))
    }

    /// Like [`recv`](Self::recv), but never waits. A part of a message is kept, and a later call returns the whole
    /// message. Like `recv`, this method answers pings and sees the peer's Close.
    ///
    /// ```
    /// use standpipe::{Connection, Message, TryRecvError};
    ///
    /// /// Returns the newest command of a client, or the old one. Also returns whether the client is connected.
    /// fn steer(conn: &mut Connection, mut command: Message) -> (Message, bool) {
    ///     loop {
    ///         match conn.try_recv() {
    ///             Ok(Some(newer)) => command = newer,
    ///             Err(TryRecvError::Empty) => return (command, true),
    ///             Ok(None) | Err(_) => return (command, false),
    ///         }
    ///     }
    /// }
    /// # let _: fn(&mut Connection, Message) -> _ = steer;
    /// ```
    ///
    /// # Errors
    /// [`TryRecvError`] says whether no message has arrived, or why the connection ended.
    pub fn try_recv(&mut self) -> Result<Option<Message>, TryRecvError> {
        let received = self.reader.recv_deadline(Instant::now());
        received.map_err(|error| error.map_or(TryRecvError::Empty, Into::into))
    }

    /// Returns the messages as an iterator, which ends at the closing handshake. `for message in conn` does the same. The
    /// iterator borrows the connection, so the loop sends through an [`Outbox`](crate::Outbox).
    ///
    /// ```
    /// use standpipe::{Connection, RecvError};
    ///
    /// fn total(conn: &mut Connection) -> Result<usize, RecvError> {
    ///     conn.messages().map(|message| Ok(message?.len())).sum()
    /// }
    /// # let _: fn(&mut Connection) -> _ = total;
    /// ```
    pub fn messages(&mut self) -> Messages<'_> {
        Messages(self)
    }

    /// Returns the next message as a stream, or `None` where [`recv`](Self::recv) would return `None`. The message may be
    /// as large as [`max_streamed_message`](crate::Config::max_streamed_message), and needs no more memory than the read
    /// buffer and the buffer of the caller. See [`MessageReader`].
    ///
    /// ```
    /// use std::io;
    ///
    /// use standpipe::Connection;
    ///
    /// /// Returns the size of the next message, which need not fit into memory.
    /// fn size(conn: &mut Connection) -> io::Result<u64> {
    ///     match conn.recv_stream().map_err(io::Error::other)? {
    ///         Some(mut message) => io::copy(&mut message, &mut io::sink()),
    ///         None => Ok(0),
    ///     }
    /// }
    /// # let _: fn(&mut Connection) -> _ = size;
    /// ```
    ///
    /// # Blocking
    /// As [`recv`](Self::recv), until a message begins. [`MessageReader`] waits for the rest.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn recv_stream(&mut self) -> Result<Option<MessageReader<'_>>, RecvError> {
        let begun = self.reader.begin_stream()?;
        Ok(begun.map(|is_text| MessageReader::new(&mut self.reader, is_text)))
    }

    /// Returns a channel that has a message when the connection is ready for what `interest` names, or is closing. Use it
    /// in `select!`, beside the program's own channels:
    ///
    /// - [`Interest::read`]: [`try_recv`](Self::try_recv) has something to do, for example to answer a ping.
    /// - [`Interest::write`]: nothing is queued or in flight, so [`Outbox::try_send`](crate::Outbox::try_send) has room.
    ///
    /// Call this method before each wait, and call `try_recv` until it returns `Empty` after each. What is ready already
    /// makes the channel ready too, so no event is lost. A message may be out of date, so `try_recv` may be `Empty`. While
    /// the handler waits for reading, the clocks of the peer run as in [`recv`](Self::recv).
    ///
    /// One thread waits for all connections and [`Watch`](crate::Watch)es of the process. The first call costs a few
    /// hundred bytes for this client.
    ///
    /// ```
    /// use standpipe::crossbeam_channel::{Receiver, select};
    /// use standpipe::{Connection, Interest, Message, TryRecvError};
    ///
    /// /// Sends the results of a worker to a client, and answers the client's messages.
    /// fn serve(
    ///     conn: &mut Connection,
    ///     results: &Receiver<String>,
    /// ) -> standpipe::HandlerResult {
    ///     loop {
    ///         select! {
    ///             recv(conn.ready(Interest::READ)?) -> _ => loop {
    ///                 match conn.try_recv() {
    ///                     Ok(Some(message)) => conn.send(message)?,
    ///                     Ok(None) => return Ok(()),
    ///                     Err(TryRecvError::Empty) => break,
    ///                     Err(error) => return Err(error.into()),
    ///                 }
    ///             },
    ///             recv(results) -> result => conn.send(Message::text(result?))?,
    ///         }
    ///     }
    /// }
    /// # let _: fn(&mut Connection, &Receiver<String>) -> _ = serve;
    /// ```
    ///
    /// # Errors
    /// At the first call, the kernel may have no room for the thread or for another watched descriptor.
    pub fn ready(&mut self, interest: Interest) -> io::Result<&Receiver<()>> {
        self.reader.ready(interest)
    }

    /// Like [`recv`](Self::recv), but also returns further complete messages that have already been read, up to `most`
    /// in all. The result is empty where `recv` would return `None`.
    ///
    /// Use it together with [`send_all`](Self::send_all) or [`Topic::publish_all`](crate::Topic::publish_all): a client
    /// that sends many small messages at the same time is then served faster. All messages after the first come from
    /// the read buffer, which has [`read_buffer`](crate::Config::read_buffer) bytes and grows up to 256 KiB.
    ///
    /// ```
    /// # fn example(conn: &mut standpipe::Connection, topic: &standpipe::Topic) -> Result<(), Box<dyn std::error::Error>> {
    /// loop {
    ///     let messages = conn.recv_all(64)?;
    ///     if messages.is_empty() {
    ///         break; // The connection has ended.
    ///     }
    ///     topic.publish_all(messages.into_iter().map(Into::into).collect())?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Blocking
    /// As [`recv`](Self::recv), for the first message only.
    ///
    /// # Errors
    /// As [`recv`](Self::recv). Messages before a violation are returned first. The next call returns the violation.
    pub fn recv_all(&mut self, most: usize) -> Result<Vec<Message>, RecvError> {
        self.reader.recv_all(most)
    }
}
