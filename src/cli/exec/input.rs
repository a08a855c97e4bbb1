//! [`Input`]: the standard input of the command, as clients use it.

use crossbeam_channel::{Sender, TrySendError, select};
use standpipe::{Connection, Message, Topic};

/// The way of the clients' messages to the command.
pub(crate) struct Input {
    topic: Topic,
    batches: Sender<Vec<Message>>,
}

impl Input {
    pub(super) fn new(topic: Topic, batches: Sender<Vec<Message>>) -> Input {
        Input { topic, batches }
    }

    /// Returns whether the messages that are sent to a topic go to the command.
    pub(crate) fn is_of(&self, topic: &str) -> bool {
        self.topic.name() == topic
    }

    /// Returns the id of the last line that the command has printed.
    pub(crate) fn last_id(&self) -> u64 {
        self.topic.last_id()
    }

    /// Hands the messages of one client over, in one piece. They are lost if the connection ends before there is room.
    ///
    /// # Errors
    /// The text for the client, if the command has ended and is not started again.
    ///
    /// # Blocking
    /// Until there is room: while the command does not read, or is not running. Nothing more is read from the client
    /// meanwhile, so TCP makes it wait. The end of the connection ends the wait, also when the peer goes or the server shuts
    /// down.
    pub(crate) fn send(
        &self,
        conn: &Connection,
        messages: Vec<Message>,
    ) -> Result<(), &'static str> {
        const ENDED: &str = "the command has ended";
        // Most batches find room, and need no `select!`.
        match self.batches.try_send(messages) {
            Ok(()) => Ok(()),
            Err(TrySendError::Disconnected(_)) => Err(ENDED),
            Err(TrySendError::Full(messages)) => select! {
                send(self.batches, messages) -> sent => sent.map_err(|_| ENDED),
                recv(conn.closed()) -> _ => Ok(()),
            },
        }
    }
}
