//! [`ServerHandle`]: asks a server to end, and watches it; [`ServerThread`] and [`ShutdownReport`].

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::clock;
use crate::connection::{Activity, MessageCounts, Shared};
use crate::error::Error;
use crate::http::Peer;
use crate::server::state::ServerState;

/// Rings for the end of a server, from any thread, a handler's too. Cloneable.
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

    /// The address that is listened on, with the port that the kernel chose. The first TCP one; on a server with unix
    /// sockets only it is `0.0.0.0:0`.
    pub fn local_addr(&self) -> SocketAddr {
        let none = SocketAddr::from(([0, 0, 0, 0], 0));
        self.addresses.first().copied().unwrap_or(none)
    }

    /// Every TCP address that is listened on.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Asks the server to end, and returns at once. [`Server::serve`](crate::Server::serve) says what follows.
    pub fn shutdown(&self) {
        self.server.latch.set();
    }

    /// Shutdown has begun.
    pub fn is_shutting_down(&self) -> bool {
        self.server.latch.is_set()
    }

    /// Clients that have been upgraded and are not gone yet.
    pub fn clients(&self) -> usize {
        self.server.client_permits.taken()
    }

    /// Only this machine can reach any of the listeners.
    pub fn is_loopback_only(&self) -> bool {
        self.server.loopback_only
    }

    /// What every upgraded client is doing at this moment, by number. Reads atomics, and stops nobody.
    pub fn client_states(&self) -> Vec<ClientState> {
        let now = clock::now();
        let clients = self.server.clients.snapshot();
        let inside = clients.iter().filter(|client| client.is_inside());
        let mut states: Vec<_> = inside.map(|client| ClientState::of(client, now)).collect();
        states.sort_by_key(|state| state.number);
        states
    }

    /// What became of the messages for all clients since the server began.
    pub fn counts(&self) -> MessageCounts {
        self.server.clients.counts()
    }

    /// Requests that are being read or answered, at most 256, and up to 32 that gave way and are not gone yet.
    pub fn pending_handshakes(&self) -> usize {
        self.server.heads.taken()
    }

    /// Has `what` called some five times a second by the watchdog, as long as the server runs. It must not wait:
    /// every deadline of every client waits with it. [`Hub::sweep`](crate::Hub::sweep) is made for it.
    pub fn on_tick(&self, what: impl Fn() + Send + Sync + 'static) {
        self.server.tick_callbacks.add(Box::new(what));
    }

    /// How often each clock or limit has ended a client since the server began, by the name of its field in
    /// [`Config`](crate::Config).
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

/// A server on a thread of its own.
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

    /// The bell that ends it.
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// Waits for the server to end; it does not ask it to.
    ///
    /// # Blocking
    /// As [`Server::serve`](crate::Server::serve).
    ///
    /// # Errors
    /// As [`Server::serve`](crate::Server::serve).
    ///
    /// # Panics
    /// If the server's thread has panicked.
    pub fn join(self) -> Result<ShutdownReport, Error> {
        match self.thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// What became of the clients that were there when shutdown began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Clients that got all that was queued for them, and 1001.
    pub drained: u64,
    /// Clients that were reset, or broke off, before that.
    pub lost: u64,
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "drained {}, lost {}", self.drained, self.lost)
    }
}

/// One client at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientState {
    /// The connection's number.
    pub number: u64,
    /// Its address.
    pub peer: Peer,
    /// What became of the messages for it.
    pub counts: MessageCounts,
    /// What waits for it.
    pub queue: QueueState,
    /// Its thread `sp-N-read`.
    pub reader: ThreadState,
    /// Its thread `sp-N-write`.
    pub writer: ThreadState,
    /// Milliseconds its last answer to a ping took.
    pub round_trip_ms: Option<u64>,
}

/// An outbox at one moment.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct QueueState {
    /// Messages that wait.
    pub messages: usize,
    /// Messages it holds.
    pub capacity: usize,
    /// Bytes that wait or are in the writer's hand.
    pub bytes: usize,
    /// Age in milliseconds of the message that the socket refuses; 0 while it takes them.
    pub oldest_ms: u64,
}

/// A thread at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ThreadState {
    /// What it is doing, in words.
    pub state: String,
    /// For so many milliseconds.
    pub since_ms: u64,
}

impl ClientState {
    fn of(client: &Shared, now: u64) -> ClientState {
        let (queue, state) = (&client.queue, &client.state);
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
                oldest_ms: state.oldest().map_or(0, ago),
            },
            reader: thread(state.reader.get()),
            writer: thread(state.writer.get()),
            round_trip_ms: state.round_trip(),
        }
    }
}
