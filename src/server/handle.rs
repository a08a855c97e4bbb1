//! [`ServerHandle`]: shuts a server down and monitors it. [`ServerThread`]: a server on its own thread. [`ClientState`]
//! and its parts: what monitoring shows about a client.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::state::ServerState;
use super::stats::ShutdownReport;
use crate::clock;
use crate::connection::MessageCounts;
use crate::connection::activity::Activity;
use crate::connection::shared::Shared;
use crate::error::Error;
use crate::http::Peer;

/// Shuts a server down and monitors it. A handle can be used on any thread, also inside a handler. Cloning a handle is
/// cheap.
///
/// ```
/// use standpipe::{Config, Connection, Server};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Server::bind("127.0.0.1:0", Config::default())?;
/// let handle = server.handle();
/// let running = server.spawn(|conn: &mut Connection| {
///     while let Some(message) = conn.recv()? {
///         conn.send(message)?;
///     }
///     Ok(())
/// })?;
/// println!("{} clients on {}", handle.clients(), handle.local_addr());
/// handle.shutdown();
/// println!("{}", running.join()?); // drained 0, lost 0
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ServerHandle {
    server: Arc<ServerState>,
    addresses: Vec<SocketAddr>,
}

impl ServerHandle {
    pub(super) fn new(server: Arc<ServerState>, addresses: Vec<SocketAddr>) -> ServerHandle {
        ServerHandle { server, addresses }
    }

    pub(super) fn server(&self) -> &ServerState {
        &self.server
    }

    /// Returns the first TCP address that the server listens on, with the port that the kernel chose. For a server with
    /// only Unix sockets, the result is `0.0.0.0:0`.
    pub fn local_addr(&self) -> SocketAddr {
        let none = SocketAddr::from(([0, 0, 0, 0], 0));
        self.addresses.first().copied().unwrap_or(none)
    }

    /// Returns every TCP address that the server listens on.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Begins to shut the server down, and returns immediately. [`Server::serve`](crate::Server::serve) describes how
    /// the clients are closed and how long that may take.
    pub fn shutdown(&self) {
        self.server.shutdown.begin();
    }

    /// Returns whether shutdown has begun. During [`drain_delay`](crate::Config::drain_delay), clients are still
    /// accepted.
    pub fn is_shutting_down(&self) -> bool {
        self.server.shutdown.has_begun()
    }

    /// Returns the number of connected clients, from the moment their upgrade was accepted.
    pub fn clients(&self) -> usize {
        self.server.client_permits.in_use()
    }

    /// Returns whether only this machine can reach the server: every listener is on a loopback address or a Unix
    /// socket.
    pub fn is_loopback_only(&self) -> bool {
        self.server.loopback_only
    }

    /// Returns the current state of every upgraded client, sorted by number. This call delays no client, because it
    /// mostly reads atomics.
    pub fn client_states(&self) -> Vec<ClientState> {
        let now = clock::now();
        let clients = self.server.clients.snapshot();
        let upgraded = clients
            .iter()
            .filter(|client| client.lifecycle().is_upgraded());
        let mut states: Vec<_> = upgraded
            .map(|client| ClientState::of(client, now))
            .collect();
        states.sort_by_key(|state| state.number);
        states
    }

    /// Returns the sum of the message counts of all clients since the server started.
    pub fn counts(&self) -> MessageCounts {
        self.server.clients.counts()
    }

    /// Returns the number of pending opening handshakes. There are at most 256, plus up to 32 evicted handshakes whose
    /// thread has not ended yet.
    pub fn pending_handshakes(&self) -> usize {
        self.server.handshakes.pending()
    }

    /// Registers `callback`, which the watchdog calls about five times per second until no client is accepted any more.
    /// A callback must not block, because the watchdog would then check the deadlines of all clients too late.
    pub fn on_tick(&self, callback: impl Fn() + Send + Sync + 'static) {
        self.server.tick_callbacks.add(Box::new(callback));
    }

    /// Returns how often each deadline or limit has ended a connection since the server started. The name of a deadline
    /// is that of its field in [`Config`](crate::Config).
    pub fn disconnects(&self) -> Vec<(&'static str, u64)> {
        self.server.disconnects.counts()
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle")
            .field("addresses", &self.addresses)
            .field("clients", &self.clients())
            .field("shutting_down", &self.is_shutting_down())
            .finish_non_exhaustive()
    }
}

/// A server that runs on its own thread: the result of [`Server::spawn`](crate::Server::spawn). Dropping this value
/// does not stop the server.
#[derive(Debug)]
pub struct ServerThread {
    thread: JoinHandle<Result<ShutdownReport, Error>>,
    handle: ServerHandle,
}

impl ServerThread {
    pub(super) fn new(
        thread: JoinHandle<Result<ShutdownReport, Error>>,
        handle: ServerHandle,
    ) -> ServerThread {
        ServerThread { thread, handle }
    }

    /// Returns a handle that monitors the server and shuts it down.
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// Waits until the server has ended. To end it, call [`ServerHandle::shutdown`].
    ///
    /// # Blocking
    /// As [`Server::serve`](crate::Server::serve).
    ///
    /// # Errors
    /// As [`Server::serve`](crate::Server::serve).
    ///
    /// # Panics
    /// Panics if the server's thread panicked.
    pub fn join(self) -> Result<ShutdownReport, Error> {
        match self.thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// The state of one client at the time of [`ServerHandle::client_states`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientState {
    /// The connection's number.
    pub number: u64,
    /// The client's address.
    pub peer: Peer,
    /// How many messages for the client were accepted, delivered, dropped and discarded.
    pub counts: MessageCounts,
    /// The client's queue.
    pub queue: QueueState,
    /// What thread `sp-N-read` is doing.
    pub reader: ThreadState,
    /// What thread `sp-N-write` is doing.
    pub writer: ThreadState,
    /// The time between the last answered ping and its pong, in milliseconds. `None` before the first pong.
    pub round_trip_ms: Option<u64>,
}

/// The state of a client's queue.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct QueueState {
    /// The number of queued messages.
    pub messages: usize,
    /// How many messages the queue can hold.
    pub capacity: usize,
    /// The number of bytes that are queued or in flight.
    pub bytes: usize,
    /// How long the socket has been refusing bytes, in milliseconds. 0 if it accepts bytes.
    pub oldest_ms: u64,
}

/// The state of a thread.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ThreadState {
    /// What the thread is doing, as text.
    pub state: String,
    /// How long the thread has been doing that, in milliseconds. If the thread waits for the peer, or its handler has found
    /// nothing to receive: the time since the peer's last byte.
    pub since_ms: u64,
}

impl ClientState {
    fn of(client: &Shared, now: u64) -> ClientState {
        let (queue, deadlines) = (&client.write.queue, &client.write.deadlines);
        let ago = |since: u64| now.saturating_sub(since);
        let thread = |(doing, since): (Activity, u64)| ThreadState {
            state: doing.to_string(),
            since_ms: ago(since),
        };
        ClientState {
            number: client.number,
            peer: client.peer.clone(),
            counts: queue.counts(),
            queue: QueueState {
                messages: queue.len(),
                capacity: queue.capacity(),
                bytes: queue.bytes(),
                oldest_ms: deadlines.blocked_since().map_or(0, ago),
            },
            reader: thread(client.reader.get()),
            writer: thread(client.writer.get()),
            round_trip_ms: deadlines.round_trip(),
        }
    }
}
