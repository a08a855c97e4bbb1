//! The receiving half of [`Client`].

use std::time::{Duration, Instant};

use super::Client;
use crate::error::{RecvError, RecvTimeoutError, TryRecvError};
use crate::message::Message;

impl Client {
    /// Waits for the next text or binary message. `None` means that the connection was closed with a closing handshake:
    /// [`peer_close`](Self::peer_close) has the server's code and reason.
    ///
    /// ```
    /// use standpipe::{Client, RecvError};
    ///
    /// /// Prints what the server sends, until it closes the connection.
    /// fn print(client: &mut Client) -> Result<(), RecvError> {
    ///     while let Some(message) = client.recv()? {
    ///         println!("{message}");
    ///     }
    ///     println!("{:?}", client.peer_close());
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Blocking
    /// Waits for the server without a time limit. A server whose machine has lost its power is never noticed, so a program
    /// that must notice it uses [`recv_timeout`](Self::recv_timeout) and [`ping`](Self::ping).
    ///
    /// # Errors
    /// [`RecvError`] says why the connection ended without a closing handshake. Further calls return the same.
    pub fn recv(&mut self) -> Result<Option<Message>, RecvError> {
        match self.session.receive(None) {
            Ok(received) => Ok(received),
            Err(RecvTimeoutError::Failed(error)) => Err(error),
            Err(RecvTimeoutError::Timeout) => unreachable!("there is no deadline"),
        }
    }

    /// Like [`recv`](Self::recv), but waits for at most `limit`. A message of which only a part has arrived by then is
    /// not lost: a later call returns it whole.
    ///
    /// ```
    /// use std::time::Duration;
    /// use standpipe::{Client, RecvTimeoutError};
    ///
    /// /// Prints what arrives, and sends something each second.
    /// fn run(client: &mut Client) -> Result<(), Box<dyn std::error::Error>> {
    ///     loop {
    ///         match client.recv_timeout(Duration::from_secs(1)) {
    ///             Ok(Some(message)) => println!("{message}"),
    ///             Ok(None) => return Ok(()),
    ///             Err(RecvTimeoutError::Timeout) => client.send("still here")?,
    ///             Err(error) => return Err(error.into()),
    ///         }
    ///     }
    /// }
    /// # let _ = run;
    /// ```
    ///
    /// # Blocking
    /// Waits for the server, for at most `limit`.
    ///
    /// # Errors
    /// [`RecvTimeoutError`] says whether the time was over, or why the connection ended.
    pub fn recv_timeout(&mut self, limit: Duration) -> Result<Option<Message>, RecvTimeoutError> {
        // A limit that is too long for an `Instant` is no limit.
        self.session.receive(Instant::now().checked_add(limit))
    }

    /// Like [`recv_timeout`](Self::recv_timeout), but waits until `deadline`. A deadline that has passed does not wait,
    /// but a message that has arrived is returned. So a loop that must end at its deadline also looks at the clock.
    /// Otherwise, a server that sends without a pause prolongs it.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use standpipe::{Client, RecvTimeoutError};
    ///
    /// /// Returns the number of messages of the next second.
    /// fn count(client: &mut Client) -> Result<usize, RecvTimeoutError> {
    ///     let end = Instant::now() + Duration::from_secs(1);
    ///     let mut count = 0;
    ///     while Instant::now() < end {
    ///         match client.recv_deadline(end) {
    ///             Ok(Some(_)) => count += 1,
    ///             Ok(None) | Err(RecvTimeoutError::Timeout) => break,
    ///             Err(error) => return Err(error),
    ///         }
    ///     }
    ///     Ok(count)
    /// }
    /// # let _ = count;
    /// ```
    ///
    /// # Blocking
    /// Waits for the server, until `deadline`.
    ///
    /// # Errors
    /// As [`recv_timeout`](Self::recv_timeout).
    pub fn recv_deadline(
        &mut self,
        deadline: Instant,
    ) -> Result<Option<Message>, RecvTimeoutError> {
        self.session.receive(Some(deadline))
    }

    /// Like [`recv`](Self::recv), but never waits. A part of a message is kept, and a later call returns the whole
    /// message.
    ///
    /// ```
    /// use standpipe::{Client, Message, TryRecvError};
    ///
    /// /// Returns the newest position that has arrived, if there is one.
    /// fn newest(client: &mut Client) -> Result<Option<Message>, TryRecvError> {
    ///     let mut newest = None;
    ///     loop {
    ///         match client.try_recv() {
    ///             Ok(Some(message)) => newest = Some(message),
    ///             Ok(None) | Err(TryRecvError::Empty) => return Ok(newest),
    ///             Err(error) => return Err(error),
    ///         }
    ///     }
    /// }
    /// # let _ = newest;
    /// ```
    ///
    /// # Errors
    /// [`TryRecvError`] says whether no message has arrived, or why the connection ended.
    pub fn try_recv(&mut self) -> Result<Option<Message>, TryRecvError> {
        let received = self.session.receive(Some(Instant::now()));
        received.map_err(|error| match error {
            RecvTimeoutError::Timeout => TryRecvError::Empty,
            RecvTimeoutError::Failed(error) => TryRecvError::Failed(error),
        })
    }
}
