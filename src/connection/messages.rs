//! [`Messages`]: the messages of a client as an iterator.

use std::iter::FusedIterator;

use super::Connection;
use crate::error::RecvError;
use crate::message::Message;

/// The messages of a client, until the closing handshake. [`Connection::messages`] returns this iterator.
///
/// After an error, the iterator ends.
///
/// ```
/// use standpipe::Connection;
///
/// fn echo(conn: &mut Connection) -> standpipe::HandlerResult {
///     let outbox = conn.outbox();
///     for message in conn {
///         outbox.send(message?)?;
///     }
///     Ok(())
/// }
/// # let _: fn(&mut Connection) -> _ = echo;
/// ```
#[derive(Debug)]
#[must_use = "iterators are lazy and do nothing unless consumed"]
pub struct Messages<'a>(pub(super) &'a mut Connection);

impl Iterator for Messages<'_> {
    type Item = Result<Message, RecvError>;

    /// Waits for the next message, as [`Connection::recv`].
    fn next(&mut self) -> Option<Result<Message, RecvError>> {
        self.0.recv().transpose()
    }
}

impl FusedIterator for Messages<'_> {}

impl<'a> IntoIterator for &'a mut Connection {
    type Item = Result<Message, RecvError>;
    type IntoIter = Messages<'a>;

    fn into_iter(self) -> Messages<'a> {
        Messages(self)
    }
}
