//! [`Events`]: a server that reports the events of all clients on one bounded channel, for programs with a single main
//! loop.

use std::error::Error as StdError;
use std::sync::Arc;

use crate::message::Message;
use crossbeam_channel::{Receiver, Sender};

use crate::connection::{CloseCause, Connection, Outbox};
use crate::error::Error;
use crate::handler::Handler;
use crate::http1::Request;
use crate::server::{Server, ServerHandle, ServerThread, ShutdownReport};

/// An event of one client. Each client has one `Opened`, then its messages in order, then one `Closed`.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A client has connected.
    Opened {
        /// The number of the connection.
        number: u64,
        /// The request of the client.
        request: Arc<Request>,
        /// The sending end of the client's queue. In a main loop use `try_send`, because `send` may wait for one client
        /// and delay all others.
        outbox: Outbox,
    },
    /// A client has sent a text or binary message.
    Message {
        /// The number of the connection.
        number: u64,
        /// The message.
        message: Message,
    },
    /// The connection of a client has ended, or is closing.
    Closed {
        /// The number of the connection.
        number: u64,
        /// Why the connection ended.
        cause: CloseCause,
    },
}

/// A running server with a bounded channel of [`Event`]s, which a program can use in `select!` with its other channels.
///
/// While the channel is full, the readers wait, and TCP slows the clients down. If this value is dropped, each client
/// is closed with 1001 at its next event; the server itself runs on until [`ServerHandle::shutdown`].
///
/// ```
/// use standpipe::{Config, Event, Server};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let events = Server::bind("127.0.0.1:0", Config::default())?.events(64)?;
/// # events.handle().shutdown();
/// for event in events.receiver() {
///     match event {
///         Event::Opened { number, outbox, .. } => println!("client {number}: {outbox:?}"),
///         Event::Message { number, message } => println!("client {number} sent {message}"),
///         Event::Closed { number, cause } => println!("client {number} ended: {cause}"),
///         _ => {}
///     }
/// }
/// println!("{}", events.join()?); // drained 0, lost 0
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Events {
    receiver: Receiver<Event>,
    running: ServerThread,
}

impl Server {
    /// Starts serving on a new thread, and reports events through a channel with room for `capacity` events (at least
    /// 1).
    ///
    /// # Errors
    /// [`Error::Spawn`] if the server's thread cannot be started.
    pub fn events(self, capacity: usize) -> Result<Events, Error> {
        let (sender, receiver) = crossbeam_channel::bounded(capacity.max(1));
        let running = self.spawn(EventHandler(sender))?;
        Ok(Events { receiver, running })
    }
}

impl Events {
    /// Returns the channel. It disconnects when the server has ended.
    pub fn receiver(&self) -> &Receiver<Event> {
        &self.receiver
    }

    /// Returns a handle that monitors the server and shuts it down.
    pub fn handle(&self) -> ServerHandle {
        self.running.handle()
    }

    /// Waits until the server has ended. Discards all events until then, because readers that wait for room in the
    /// channel would otherwise keep the server from ending. To end the server, call [`ServerHandle::shutdown`].
    ///
    /// # Blocking
    /// See [`Server::serve`].
    ///
    /// # Errors
    /// See [`Server::serve`].
    pub fn join(self) -> Result<ShutdownReport, Error> {
        while self.receiver.recv().is_ok() {}
        self.running.join()
    }
}

/// The handler that sends the events of one client.
struct EventHandler(Sender<Event>);

impl EventHandler {
    /// Sends `event`. Returns false if the [`Events`] have been dropped.
    ///
    /// # Blocking
    /// Waits for room in the channel. Woken by the main loop, or when the [`Events`] are dropped.
    fn report(&self, event: Event) -> bool {
        self.0.send(event).is_ok()
    }
}

impl Handler for EventHandler {
    fn run(&self, conn: &mut Connection) -> Result<(), Box<dyn StdError + Send + Sync>> {
        let number = conn.number();
        let opened = Event::Opened {
            number,
            request: conn.shared_request(),
            outbox: conn.outbox(),
        };
        let mut received = self.report(opened);
        while received {
            // An error of `recv` is reported as the cause of `Closed`.
            let Ok(Some(message)) = conn.recv() else {
                break;
            };
            received = self.report(Event::Message { number, message });
        }
        if !received {
            conn.close(1001, "the program has ended");
        }
        let cause = conn.cause().unwrap_or(CloseCause::Gone);
        self.report(Event::Closed { number, cause });
        Ok(())
    }
}
