//! [`ServerHandle`]: shuts a server down and monitors it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::client_state::ClientState;
use super::state::ServerState;
use super::statistics::ServerStatistics;
use super::stats::Disconnect;
use super::tick::TickCallback;
use crate::clock;
use crate::connection::{MessageCounts, Outbox};

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
/// println!("{} clients on {:?}", handle.clients(), handle.local_addrs());
/// println!("{}", running.shutdown()?); // drained 0, lost 0
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

    /// Returns the first TCP address that the server listens on, with the port that the kernel chose. `None` if the server
    /// listens on unix sockets only, or only gets connections through a channel.
    ///
    /// ```
    /// # use standpipe::{Config, Server};
    /// let handle = Server::bind("127.0.0.1:0", Config::default())?.handle();
    /// let address = handle.local_addr().expect("a TCP address");
    /// println!("listening on ws://{address}/");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.addresses.first().copied()
    }

    /// Returns every TCP address that the server listens on.
    ///
    /// ```
    /// # use standpipe::{Config, Server};
    /// let handle = Server::bind("127.0.0.1:0", Config::default())?.handle();
    /// for address in handle.local_addrs() {
    ///     println!("listening on ws://{address}/");
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Begins to shut the server down, and returns immediately. [`Server::serve`](crate::Server::serve) describes how
    /// the clients are closed and how long that may take.
    ///
    /// ```
    /// # use standpipe::{Config, Connection, Server};
    /// let server = Server::bind("127.0.0.1:0", Config::default())?;
    /// let handle = server.handle();
    /// std::thread::spawn(move || handle.shutdown());
    /// println!("{}", server.serve(|_: &mut Connection| Ok(()))?); // drained 0, lost 0
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn shutdown(&self) {
        self.drain(Duration::ZERO);
    }

    /// Begins to shut the server down as [`shutdown`](Self::shutdown), but gives the clients `grace` to finish what they
    /// have begun. Returns immediately.
    ///
    /// The grace begins when the server has stopped accepting: after [`drain_delay`](crate::Config::drain_delay). From
    /// then on, [`Connection::is_draining`](crate::Connection::is_draining) returns true, but every client can still send
    /// and receive. A handler should accept no more work, answer what is in progress, and return. Its client then gets
    /// what is queued, and a Close with 1001. When the grace is over, every client that is left is closed with 1001 as by
    /// `shutdown`.
    ///
    /// If `shutdown` and this method are called several times, the earliest end counts. So `shutdown` ends a grace.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use standpipe::{Config, Connection, Server};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// /// Answers each request. When the server drains, the handler returns after the answer in progress.
    /// fn answer(conn: &mut Connection) -> standpipe::HandlerResult {
    ///     while !conn.is_draining() {
    ///         let Some(request) = conn.recv()? else { break };
    ///         conn.send(request)?;
    ///     }
    ///     Ok(())
    /// }
    ///
    /// let thread = Server::bind("127.0.0.1:0", Config::default())?.spawn(answer)?;
    /// thread.handle().drain(Duration::from_secs(30));
    /// println!("{}", thread.join()?); // drained 0, lost 0
    /// # Ok(())
    /// # }
    /// ```
    pub fn drain(&self, grace: Duration) {
        self.server.shutdown.begin(grace);
        self.server.clients.deadline_changed();
    }

    /// Closes the listeners immediately, and returns. From now on newcomers are refused, and a successor can bind the same
    /// addresses. The upgraded clients are served until they leave; then the server ends. A client that is not upgraded
    /// yet is answered, with 503 if it asks for an upgrade.
    ///
    /// This is a part of a shutdown: [`is_shutting_down`](Self::is_shutting_down) returns true, and
    /// [`drain_delay`](crate::Config::drain_delay) does not apply any more. [`drain`](Self::drain) and
    /// [`shutdown`](Self::shutdown) do the rest.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use standpipe::{Config, Connection, Server};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let thread = Server::bind("127.0.0.1:0", Config::default())?.spawn(|_: &mut Connection| Ok(()))?;
    /// let handle = thread.handle();
    /// handle.stop_accepting();
    /// // The successor listens now. The clients that are left have an hour.
    /// handle.drain(Duration::from_secs(3600));
    /// println!("{}", thread.join()?); // Returns when the last client has left.
    /// # Ok(())
    /// # }
    /// ```
    pub fn stop_accepting(&self) {
        self.server.shutdown.stop_accepting();
    }

    /// Returns whether shutdown has begun, by [`shutdown`](Self::shutdown), [`drain`](Self::drain) or
    /// [`stop_accepting`](Self::stop_accepting). During [`drain_delay`](crate::Config::drain_delay), clients are still
    /// accepted.
    ///
    /// ```
    /// # use standpipe::{Config, Server};
    /// let handle = Server::bind("127.0.0.1:0", Config::default())?.handle();
    /// assert!(!handle.is_shutting_down());
    /// handle.shutdown();
    /// assert!(handle.is_shutting_down());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn is_shutting_down(&self) -> bool {
        self.server.shutdown.has_begun()
    }

    /// Returns the number of connected clients, from the moment their upgrade was accepted.
    ///
    /// ```
    /// # use standpipe::{Config, Server};
    /// let handle = Server::bind("127.0.0.1:0", Config::default())?.handle();
    /// assert_eq!(handle.clients(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn clients(&self) -> usize {
        self.server.client_permits.in_use()
    }

    /// Returns whether only this machine can reach the server: every listener is on a loopback address or a Unix
    /// socket.
    ///
    /// ```
    /// # use standpipe::{Config, Server};
    /// let handle = Server::bind("127.0.0.1:0", Config::default())?.handle();
    /// assert!(handle.is_loopback_only());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn is_loopback_only(&self) -> bool {
        self.server.loopback_only
    }

    /// Returns the outbox of the client with this number, from the moment its upgrade was accepted until its handler has
    /// returned and its connection has ended.
    ///
    /// ```
    /// # use standpipe::ServerHandle;
    /// /// Removes a client. Returns whether it was there.
    /// fn kick(handle: &ServerHandle, number: u64) -> bool {
    ///     let client = handle.client(number);
    ///     client.map(|outbox| outbox.close_now(4100, "kicked")).is_some()
    /// }
    /// ```
    pub fn client(&self, number: u64) -> Option<Outbox> {
        let client = self.server.clients.get(number)?;
        let is_upgraded = client.lifecycle().is_upgraded();
        is_upgraded.then(|| Outbox::new(client))
    }

    /// Closes every connection of `user`, as [`Outbox::close_now`] does, and returns how many are being closed. Connections
    /// that were closing already do not count. Returns 0 if no client has this user: see
    /// [`Reply::user`](crate::Reply::user).
    ///
    /// A client that connects meanwhile is closed if its upgrade was accepted before this call. So take away the user's
    /// right to connect first.
    ///
    /// ```
    /// # use standpipe::ServerHandle;
    /// /// Removes a user. Returns whether the user was connected.
    /// fn ban(handle: &ServerHandle, user: &str) -> bool {
    ///     handle.disconnect_user(user, 4100, "banned") > 0
    /// }
    /// ```
    pub fn disconnect_user(&self, user: &str, code: u16, reason: &str) -> usize {
        let outboxes = self.server.clients.snapshot().into_iter();
        let of_user = outboxes
            .filter(|client| client.lifecycle().is_upgraded())
            .filter(|client| client.name.get().user.as_deref() == Some(user))
            .map(Outbox::new)
            .filter(Outbox::is_open);
        of_user.map(|outbox| outbox.close_now(code, reason)).count()
    }

    /// Returns the outboxes of all clients, sorted by [number](Outbox::number). [`client_states`](Self::client_states)
    /// tells more about each.
    ///
    /// To send to all clients, subscribe them to a topic of a [`Hub`](crate::Hub) instead: it sends in the same order to
    /// all, and copes with slow clients.
    ///
    /// ```
    /// # use standpipe::ServerHandle;
    /// fn list(handle: &ServerHandle) {
    ///     for outbox in handle.outboxes() {
    ///         println!("client {}: {} messages queued", outbox.number(), outbox.len());
    ///     }
    /// }
    /// ```
    pub fn outboxes(&self) -> Vec<Outbox> {
        let clients = self.server.clients.snapshot().into_iter();
        let upgraded = clients.filter(|client| client.lifecycle().is_upgraded());
        let mut outboxes: Vec<Outbox> = upgraded.map(Outbox::new).collect();
        outboxes.sort_by_key(Outbox::number);
        outboxes
    }

    /// Returns the current state of every upgraded client, sorted by number. This call delays no client, because it
    /// mostly reads atomics.
    ///
    /// ```
    /// # use standpipe::{Config, Server};
    /// let handle = Server::bind("127.0.0.1:0", Config::default())?.handle();
    /// for client in handle.client_states() {
    ///     println!("client {}: {}", client.number, client.reader.activity);
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
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

    /// Returns the sum of the message counts of all clients since the server started, as in
    /// [`statistics`](Self::statistics).
    ///
    /// ```
    /// # use standpipe::{Config, Server};
    /// let handle = Server::bind("127.0.0.1:0", Config::default())?.handle();
    /// let counts = handle.counts();
    /// println!("{} of {} messages delivered", counts.delivered, counts.accepted);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn counts(&self) -> MessageCounts {
        self.server.clients.counts()
    }

    /// Returns the state of the server, and what it has counted since it was bound. This call delays no client.
    ///
    /// ```
    /// # use standpipe::{Config, Server};
    /// let handle = Server::bind("127.0.0.1:0", Config::default())?.handle();
    /// let statistics = handle.statistics();
    /// for (reason, count) in statistics.refused {
    ///     println!("{count} clients refused: {reason}");
    /// }
    /// for (cause, count) in statistics.closed {
    ///     println!("{count} clients: {cause}");
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn statistics(&self) -> ServerStatistics {
        ServerStatistics::of(&self.server)
    }

    /// Returns the number of pending opening handshakes. There are at most 256, plus up to 32 evicted handshakes whose
    /// thread has not ended yet.
    ///
    /// ```
    /// # use standpipe::{Config, Server};
    /// let handle = Server::bind("127.0.0.1:0", Config::default())?.handle();
    /// assert_eq!(handle.pending_handshakes(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn pending_handshakes(&self) -> usize {
        self.server.handshakes.pending()
    }

    /// Registers `callback`, which the watchdog calls about five times per second until the clients are closed, or the
    /// returned [`TickCallback`] is dropped. A callback must not block, because the watchdog would then check the deadlines
    /// of all clients too late.
    ///
    /// ```
    /// # use standpipe::{Config, Server};
    /// let handle = Server::bind("127.0.0.1:0", Config::default())?.handle();
    /// let monitored = handle.clone();
    /// let _callback = handle.on_tick(move || println!("{} clients", monitored.clients()));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn on_tick(&self, callback: impl Fn() + Send + Sync + 'static) -> TickCallback {
        TickCallback::new(&self.server.tick_callbacks, Arc::new(callback))
    }

    /// Returns how often each deadline or limit has ended a connection since the server started.
    /// [`statistics`](Self::statistics) tells more, and counts the ordinary closes too.
    ///
    /// ```
    /// # use standpipe::{Config, Server};
    /// let handle = Server::bind("127.0.0.1:0", Config::default())?.handle();
    /// for (disconnect, count) in handle.disconnects() {
    ///     println!("{disconnect}: {count}");
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn disconnects(&self) -> Vec<(Disconnect, u64)> {
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
