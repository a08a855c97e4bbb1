//! [`Events`]: for a program with one main loop, everything that happens as one bounded channel beside its others.

use std::error::Error as StdError;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use tungstenite::Message;

use crate::connection::{CloseCause, Connection, Outbox};
use crate::error::Error;
use crate::handler::Handler;
use crate::http::Request;
use crate::server::{Server, ServerHandle, ServerThread, ShutdownReport};

/// Something happened to a client. For each client: one `Opened`, then its messages in order, then one `Closed`.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A client is there.
    Opened {
        /// The connection's number.
        number: u64,
        /// What it asked for.
        request: Arc<Request>,
        /// The sending end to it. In a main loop use `try_send`: `send` would wait for one client while all others
        /// wait for you.
        outbox: Outbox,
    },
    /// It sent a text or binary message.
    Message {
        /// The connection's number.
        number: u64,
        /// What it sent.
        message: Message,
    },
    /// It is gone.
    Closed {
        /// The connection's number.
        number: u64,
        /// Why.
        cause: CloseCause,
    },
}

/// A running server as a bounded channel of [`Event`]s, to stand beside a program's other channels in `select!`.
///
/// When the channel is full the readers wait, and TCP makes the clients wait.
#[derive(Debug)]
pub struct Events {
    receiver: Receiver<Event>,
    running: ServerThread,
}

impl Server {
    /// Serves on threads of its own, and tells what happens through a channel that holds `capacity` events.
    ///
    /// # Errors
    /// [`Error::Spawn`] if the server's thread cannot be had.
    pub fn events(self, capacity: usize) -> Result<Events, Error> {
        let (sender, receiver) = crossbeam_channel::bounded(capacity.max(1));
        let running = self.spawn(Tell(sender))?;
        Ok(Events { receiver, running })
    }
}

impl Events {
    /// The channel. It disconnects when the server has ended.
    pub fn receiver(&self) -> &Receiver<Event> {
        &self.receiver
    }

    /// The bell that ends the server.
    pub fn handle(&self) -> ServerHandle {
        self.running.handle()
    }

    /// Waits for the server to end, throwing away the events that still come: their senders wait for room, and the
    /// server waits for them.
    ///
    /// # Blocking
    /// As [`Server::serve`].
    ///
    /// # Errors
    /// As [`Server::serve`].
    pub fn join(self) -> Result<ShutdownReport, Error> {
        while self.receiver.recv().is_ok() {}
        self.running.join()
    }
}

/// The handler that tells.
struct Tell(Sender<Event>);

impl Tell {
    /// # Blocking
    /// For room in the channel. Woken by the main loop, or by the end of [`Events`].
    fn tell(&self, event: Event) -> bool {
        self.0.send(event).is_ok()
    }
}

impl Handler for Tell {
    fn run(&self, conn: &mut Connection) -> Result<(), Box<dyn StdError + Send + Sync>> {
        let number = conn.number();
        let opened = Event::Opened {
            number,
            request: conn.shared_request(),
            outbox: conn.outbox(),
        };
        let mut heard = self.tell(opened);
        while heard {
            // What went wrong is told as the reason of `Closed`.
            let Ok(Some(message)) = conn.recv() else {
                break;
            };
            heard = self.tell(Event::Message { number, message });
        }
        if !heard {
            conn.close(1001, "the program has ended");
        }
        let cause = conn.cause().unwrap_or(CloseCause::Gone);
        self.tell(Event::Closed { number, cause });
        Ok(())
    }
}
