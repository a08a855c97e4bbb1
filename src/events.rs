//! [`Events`]: a server that reports the events of all clients on one bounded channel, for programs with a single main
//! loop.

use std::error::Error as StdError;
use std::sync::Arc;

use crate::message::Message;
use crossbeam_channel::{Receiver, Sender};

use crate::connection::{CloseCause, Connection, Outbox};
use crate::error::Error;
use crate::handler::Handler;
use crate::http1::{Reply, Request};
use crate::server::{Server, ServerHandle, ServerThread, ShutdownReport};

/// An event of one client. Each client has one `Opened`, then its messages in order, then one `Closed`.
///
/// ```
/// use std::collections::HashMap;
///
/// use standpipe::{CloseCause, Event, Outbox};
///
/// /// Keeps the list of clients, and greets each of them.
/// fn handle(event: Event, clients: &mut HashMap<u64, Outbox>) {
///     match event {
///         Event::Opened { number, request, outbox } => {
///             let _ = outbox.try_send(format!("welcome to {}", request.path()));
///             clients.insert(number, outbox);
///         }
///         Event::Message { number, message } => println!("client {number}: {message}"),
///         Event::Closed { number, cause } => {
///             clients.remove(&number);
///             if cause == CloseCause::SlowConsumer {
///                 println!("client {number} was too slow");
///             }
///         }
///         _ => {} // Events that a later version may add.
///     }
/// }
/// # let _: fn(Event, &mut HashMap<u64, Outbox>) = handle;
/// ```
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

impl Event {
    /// Returns the number of the connection.
    ///
    /// ```
    /// # use standpipe::{CloseCause, Event};
    /// # fn example(event: Event) {
    /// println!("client {}", event.number());
    /// # }
    /// ```
    pub fn number(&self) -> u64 {
        match self {
            Event::Opened { number, .. }
            | Event::Message { number, .. }
            | Event::Closed { number, .. } => *number,
        }
    }
}

/// A running server with a bounded channel of [`Event`]s, which a program can use in `select!` with its other channels.
///
/// While the channel is full, the readers wait, and TCP slows the clients down. No event is lost while this value
/// exists. Dropping this value shuts the server down, and waits until it has ended; [`shutdown`](Self::shutdown) does
/// the same and returns the report. Events that nobody has received by then are discarded.
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
///
/// A main loop with a fixed rate handles what has arrived until its next step is due. It looks at the clock itself,
/// because `recv_deadline` of a channel returns an event that is there also after its deadline. Otherwise, a client that
/// sends without a pause would stop the steps:
///
/// ```
/// use std::collections::HashMap;
/// use std::time::{Duration, Instant};
///
/// use standpipe::{Config, Event, Outbox, Server};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let events = Server::bind("127.0.0.1:0", Config::default())?.events(64)?;
/// let mut clients: HashMap<u64, Outbox> = HashMap::new();
/// let (step, mut next) = (Duration::from_millis(10), Instant::now());
/// # let end = Instant::now() + Duration::from_millis(30);
/// # while Instant::now() < end {
/// # /*
/// loop {
/// # */
///     next += step;
///     while Instant::now() < next {
///         match events.receiver().recv_deadline(next) {
///             Ok(Event::Opened { number, outbox, .. }) => drop(clients.insert(number, outbox)),
///             Ok(Event::Closed { number, .. }) => drop(clients.remove(&number)),
///             Ok(_) => {}
///             Err(_) => break, // The next step is due.
///         }
///     }
///     for outbox in clients.values() {
///         // A client that is behind misses this state, and delays nobody.
///         let _ = outbox.try_send("state");
///     }
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Blocking
/// Dropping this value waits as [`Server::serve`] does after a shutdown has begun. On a thread of the same server it
/// only begins the shutdown, because the thread would wait for itself; each client is then closed with 1001 at its next
/// event.
#[must_use = "dropping this value ends the server"]
#[derive(Debug)]
pub struct Events {
    receiver: Receiver<Event>,
    thread: ServerThread,
}

impl Server {
    /// Starts serving on a new thread, and reports events through a channel with room for `capacity` events (at least
    /// 1). Every request is upgraded; see [`events_with`](Self::events_with).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use standpipe::{Config, Server};
    /// let events = Server::bind("127.0.0.1:0", Config::default())?.events(64)?;
    /// assert!(events.receiver().recv_timeout(Duration::from_millis(1)).is_err());
    /// events.shutdown()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Spawn`] if the server's thread cannot be started.
    pub fn events(self, capacity: usize) -> Result<Events, Error> {
        self.events_with(capacity, |_| Reply::upgrade())
    }

    /// As [`events`](Self::events), but `request` answers each request first, as
    /// [`Handler::request`](crate::Handler::request) does: it accepts or refuses a client, selects a subprotocol, or
    /// serves a page. Only a client that it upgrades is reported.
    ///
    /// ```
    /// use standpipe::{Config, Event, Reply, Server};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Server::bind("127.0.0.1:0", Config::default())?;
    /// let events = server.events_with(64, |request| match request.path() {
    ///     "/" => Reply::html("<p>The state of the robot is on /state."),
    ///     "/state" if request.bearer_token() == Some("secret") => Reply::upgrade().subprotocol("state.v1"),
    ///     "/state" => Reply::status(401).header("WWW-Authenticate", "Bearer"),
    ///     _ => Reply::status(404),
    /// })?;
    /// # events.handle().shutdown();
    /// for event in events.receiver() {
    ///     if let Event::Opened { request, outbox, .. } = event {
    ///         let _ = outbox.try_send(format!("welcome to {}", request.path()));
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Blocking
    /// Returns immediately. `request` runs on the handshake thread of each client, so several calls may run at the same
    /// time, and the main loop waits for none of them.
    ///
    /// # Errors
    /// As [`events`](Self::events).
    pub fn events_with(
        self,
        capacity: usize,
        request: impl Fn(&mut Request) -> Reply + Send + Sync + 'static,
    ) -> Result<Events, Error> {
        let (sender, receiver) = crossbeam_channel::bounded(capacity.max(1));
        let thread = self.spawn(EventHandler { sender, request })?;
        Ok(Events { receiver, thread })
    }
}

impl Events {
    /// Returns the channel. It disconnects when the server has ended.
    ///
    /// ```
    /// # use standpipe::{Config, Server};
    /// let events = Server::bind("127.0.0.1:0", Config::default())?.events(64)?;
    /// // Handles what has arrived, without waiting.
    /// for event in events.receiver().try_iter() {
    ///     println!("client {}", event.number());
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn receiver(&self) -> &Receiver<Event> {
        &self.receiver
    }

    /// Returns a handle that monitors the server and shuts it down.
    ///
    /// ```
    /// # use standpipe::{Config, Server};
    /// let events = Server::bind("127.0.0.1:0", Config::default())?.events(64)?;
    /// println!("{} clients", events.handle().clients());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn handle(&self) -> ServerHandle {
        self.thread.handle()
    }

    /// Shuts the server down, discards all events until it has ended, and returns the report. To receive the last
    /// events, call [`ServerHandle::shutdown`], and receive until the channel disconnects.
    ///
    /// ```
    /// # use standpipe::{Config, Server};
    /// let events = Server::bind("127.0.0.1:0", Config::default())?.events(64)?;
    /// println!("{}", events.shutdown()?); // drained 0, lost 0
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Blocking
    /// As [`Server::serve`] after a shutdown has begun.
    ///
    /// # Errors
    /// As [`Server::serve`].
    ///
    /// # Panics
    /// As [`ServerThread::join`].
    pub fn shutdown(self) -> Result<ShutdownReport, Error> {
        self.thread.handle().shutdown();
        self.join()
    }

    /// Waits until the server has ended. Discards all events until then, because readers that wait for room in the
    /// channel would otherwise keep the server from ending. To end the server, call [`ServerHandle::shutdown`].
    ///
    /// ```
    /// # use std::{thread, time::Duration};
    /// # use standpipe::{Config, Server};
    /// let events = Server::bind("127.0.0.1:0", Config::default())?.events(64)?;
    /// let handle = events.handle();
    /// thread::spawn(move || handle.drain(Duration::from_secs(30)));
    /// println!("{}", events.join()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Blocking
    /// See [`Server::serve`].
    ///
    /// # Errors
    /// See [`Server::serve`].
    ///
    /// # Panics
    /// As [`ServerThread::join`].
    pub fn join(mut self) -> Result<ShutdownReport, Error> {
        if !self.thread.is_own() {
            self.discard();
        }
        self.thread.wait()
    }

    /// Discards all events until the server has ended.
    ///
    /// # Blocking
    /// Waits for the end of the server, which drops the sender.
    fn discard(&self) {
        while self.receiver.recv().is_ok() {}
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        if self.thread.begin_end() {
            self.discard();
        }
        // The thread is joined when the field is dropped.
    }
}

/// The handler that sends the events of one client.
struct EventHandler<F> {
    sender: Sender<Event>,
    request: F,
}

impl<F> EventHandler<F> {
    /// Sends `event`. Returns false if the [`Events`] have been dropped.
    ///
    /// # Blocking
    /// Waits for room in the channel. Woken by the main loop, or when the [`Events`] are dropped.
    fn report(&self, event: Event) -> bool {
        self.sender.send(event).is_ok()
    }
}

impl<F: Fn(&mut Request) -> Reply + Sync> Handler for EventHandler<F> {
    fn request(&self, request: &mut Request) -> Reply {
        (self.request)(request)
    }

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
