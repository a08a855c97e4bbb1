//! [`ServerHandle`]: shuts a server down and monitors it; [`ServerThread`], and what is monitored of a client.

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

/// Shuts a server down, and monitors it, from any thread, a handler's included. Cloning a handle is cheap.
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

    /// Returns the first TCP address that the server listens on, with the port that the kernel chose. A server that has
    /// unix sockets only returns `0.0.0.0:0`.
    pub fn local_addr(&self) -> SocketAddr {
        let none = SocketAddr::from(([0, 0, 0, 0], 0));
        self.addresses.first().copied().unwrap_or(none)
    }

    /// Returns every TCP address that the server listens on.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Begins to shut the server down, and returns immediately. [`Server::serve`](crate::Server::serve) says what follows.
    pub fn shutdown(&self) {
        self.server.latch.set();
    }

    /// Returns whether shutdown has begun.
    pub fn is_shutting_down(&self) -> bool {
        self.server.latch.is_set()
    }

    /// Returns the number of clients that have been upgraded and have not ended.
    pub fn clients(&self) -> usize {
        self.server.client_permits.in_use()
    }

    /// Returns whether only this machine can reach the server: every listener is on a loopback address or a unix socket.
    pub fn is_loopback_only(&self) -> bool {
        self.server.loopback_only
    }

    /// Returns what every upgraded client is doing at this moment, sorted by number. It reads atomics and delays nobody.
    pub fn client_states(&self) -> Vec<ClientState> {
        let now = clock::now();
        let clients = self.server.clients.snapshot();
        let inside = clients
            .iter()
            .filter(|client| client.lifecycle().is_upgraded());
        let mut states: Vec<_> = inside.map(|client| ClientState::of(client, now)).collect();
        states.sort_by_key(|state| state.number);
        states
    }

    /// Returns what became of the messages for all clients since the server started.
    pub fn counts(&self) -> MessageCounts {
        self.server.clients.counts()
    }

    /// Returns how many opening handshakes are pending: at most 256, and up to 32 that have been evicted and whose thread
    /// has not ended yet.
    pub fn pending_handshakes(&self) -> usize {
        self.server.handshakes.pending()
    }

    /// Registers `callback`, which the watchdog calls about five times per second while the server runs. It must not block:
    /// the deadlines of all clients would be checked late. [`Hub::sweep`](crate::Hub::sweep) is made for it.
    pub fn on_tick(&self, callback: impl Fn() + Send + Sync + 'static) {
        self.server.tick_callbacks.add(Box::new(callback));
    }

    /// Returns how often each deadline or limit has ended a connection since the server started. A deadline has the name of
    /// its field in [`Config`](crate::Config).
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

/// A server that runs on a thread of its own.
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

    /// Returns the handle that shuts the server down.
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// Waits for the server to end. It does not shut it down.
    ///
    /// # Blocking
    /// As [`Server::serve`](crate::Server::serve).
    ///
    /// # Errors
    /// As [`Server::serve`](crate::Server::serve).
    ///
    /// # Panics
    /// If the server's thread panicked.
    pub fn join(self) -> Result<ShutdownReport, Error> {
        match self.thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// One client at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientState {
    /// The connection's number.
    pub number: u64,
    /// The client's address.
    pub peer: Peer,
    /// What became of the messages for the client.
    pub counts: MessageCounts,
    /// What is queued for the client.
    pub queue: QueueState,
    /// What thread `sp-N-read` is doing.
    pub reader: ThreadState,
    /// What thread `sp-N-write` is doing.
    pub writer: ThreadState,
    /// Milliseconds that the peer's last pong took.
    pub round_trip_ms: Option<u64>,
}

/// A client's queue at one moment.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct QueueState {
    /// Messages that are queued.
    pub messages: usize,
    /// Messages that the queue can hold.
    pub capacity: usize,
    /// Bytes that are queued or in flight.
    pub bytes: usize,
    /// For how many milliseconds the socket has refused what comes next; 0 while it accepts.
    pub oldest_ms: u64,
}

/// A thread at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ThreadState {
    /// What the thread is doing, in words.
    pub state: String,
    /// For how many milliseconds.
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
