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
    /// # Blocking
    /// Until there is room: while the command does not read, or is not running. Nothing more is read from the client
    /// meanwhile, so TCP makes it wait. The end of the connection ends the wait, also when the peer goes or the server shuts
    /// down.
    pub(crate) fn send(&self, conn: &Connection, messages: Vec<Message>) {
        // Most batches find room, and need no `select!`.
        if let Err(TrySendError::Full(messages)) = self.batches.try_send(messages) {
            select! {
                send(self.batches, messages) -> _ => {}
                recv(conn.closed()) -> _ => {}
            }
        }
    }
}
