//! [`Server`]: bind, serve, spawn. This module contains everything that exists once per server. It connects the request
//! parser, the handler and the connections.

mod acceptor;
mod admission;
mod arrived;
mod client;
mod client_state;
mod close_counts;
mod counters;
mod handed;
mod handed_queue;
mod handle;
mod listener;
mod listening_socket;
mod own_thread;
mod refusal_log;
mod refused;
mod registry;
mod request_counts;
mod server_thread;
mod shutdown;
mod shutdown_signal;
mod socket_path;
mod state;
mod statistics;
mod stats;
mod tick;
mod tls_counts;
mod watchdog;

use std::io;
use std::net::{TcpListener, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{self, Builder};

pub use admission::capacity::raise_descriptor_limit;
pub use client_state::{ClientState, QueueState, ThreadState};
pub use handed::{ConnectionSender, HandOverError, HandOverReason};
pub use handle::ServerHandle;
pub use listener::Listener;
pub use refused::Refused;
pub use request_counts::RequestCount;
pub use server_thread::ServerThread;
pub use statistics::ServerStatistics;
pub use stats::{Disconnect, ShutdownReport};
pub use tick::TickCallback;
pub use tls_counts::{TlsCounts, TlsFailure};

use crate::config::Config;
use crate::config_error::ConfigError;
use crate::error::Error;
use crate::handler::{Borrowed, Handler};
use crate::http1::Rules;
use admission::capacity;
use admission::handshake_slots::HANDSHAKE_SLOTS;
use server_thread::ShutdownOnDrop;
use shutdown_signal::{EndOnDrop, ShutdownSignal};
use state::ServerState;

/// A WebSocket server that is bound to its listeners. [`serve`](Self::serve) accepts clients.
///
/// The connection limit is the lower of [`Config::max_clients`] and the number of clients that the kernel allows this
/// process (memory maps, threads, descriptors). It is computed when the server is bound. To allow more clients, call
/// [`raise_descriptor_limit`](crate::raise_descriptor_limit) first. The log shows the connection limit and which limit
/// determines it.
///
/// ```
/// use standpipe::{Config, Connection, Server};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Server::bind("127.0.0.1:0", Config::default())?;
/// let handle = server.handle();
/// # handle.shutdown();
/// let report = server.serve(|conn: &mut Connection| {
///     while let Some(message) = conn.recv()? {
///         conn.send(message)?;
///     }
///     Ok(())
/// })?;
/// println!("{report}"); // drained 0, lost 0
/// # Ok(())
/// # }
/// ```
#[must_use = "a server serves nobody until `serve`, `spawn`, `scope` or `events` is called"]
#[derive(Debug)]
pub struct Server {
    listeners: Vec<Listener>,
    /// What wakes the acceptors when the server stops accepting.
    wake_up: UnixStream,
    handle: ServerHandle,
}

impl Server {
    /// Listens on `address`. Port 0 lets the kernel choose one; see [`ServerHandle::local_addr`].
    ///
    /// ```
    /// # use standpipe::{Config, Server};
    /// let server = Server::bind("127.0.0.1:0", Config::default().queue(16))?;
    /// assert!(Server::bind("127.0.0.1:0", Config::default().queue(0)).is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Fails if the address cannot be bound, and with `InvalidInput` and a [`ConfigError`](crate::ConfigError) if the
    /// configuration is wrong.
    pub fn bind(address: impl ToSocketAddrs, config: Config) -> io::Result<Server> {
        Server::from_listeners(vec![Listener::bind(address)?], config)
    }

    /// Uses an existing listener, for example one with special socket options. For a listener that another process has
    /// too, use [`from_listeners`](Self::from_listeners) and [`Listener::inherited`].
    ///
    /// ```
    /// # use standpipe::{Config, Server};
    /// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let server = Server::from_listener(listener, Config::default())?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn from_listener(listener: TcpListener, config: Config) -> io::Result<Server> {
        Server::from_listeners(vec![listener.try_into()?], config)
    }

    /// Checks the values of `config`, without a listener. A program can check its configuration this way before it starts.
    ///
    /// # Errors
    /// [`ConfigError`] names the first field with which no client could be served. [`bind`](Self::bind) would refuse the
    /// configuration for the same reason.
    ///
    /// ```
    /// # use standpipe::{Config, Server};
    /// assert!(Server::check(&Config::default()).is_ok());
    /// let error = Server::check(&Config::default().queue(0)).expect_err("a queue needs room for a message");
    /// assert_eq!(error.field(), "queue");
    /// ```
    pub fn check(config: &Config) -> Result<(), ConfigError> {
        config.check().and_then(|()| Rules::new(config)).map(drop)
    }

    /// Uses several listeners for one server. TCP and Unix sockets can be mixed.
    ///
    /// ```
    /// # use standpipe::{Config, Listener, Server};
    /// let listeners = vec![Listener::bind("127.0.0.1:0")?, Listener::bind("127.0.0.1:0")?];
    /// let server = Server::from_listeners(listeners, Config::default())?;
    /// assert_eq!(server.handle().local_addrs().len(), 2);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Fails with `InvalidInput` if the list is empty, or if the configuration is wrong, as [`bind`](Self::bind). A
    /// [`Listener::proxy_protocol`] needs [`Config::trusted_proxies`].
    pub fn from_listeners(listeners: Vec<Listener>, config: Config) -> io::Result<Server> {
        if listeners.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no listener"));
        }
        let loopback_only = listeners.iter().all(Listener::is_loopback);
        let checked = config
            .check()
            .and_then(|()| {
                listeners
                    .iter()
                    .try_for_each(|listener| listener.check(&config))
            })
            .and_then(|()| Rules::new(&config));
        let rules = checked.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let addresses = listeners.iter().filter_map(Listener::local_addr).collect();
        let has_tls = listeners.iter().any(Listener::has_tls);
        let capacity = capacity::compute(config.max_clients, config.handler_stack, has_tls);
        log::info!("{capacity}");
        if cfg!(panic = "abort") {
            log::warn!("built with panic = \"abort\": a panic in one handler ends the process");
        }
        let (shutdown, wake_up) = ShutdownSignal::new(config.drain_delay)?;
        let server = ServerState::new(
            config,
            rules,
            shutdown,
            loopback_only,
            capacity.clients,
            HANDSHAKE_SLOTS,
        );
        Ok(Server {
            listeners,
            wake_up,
            handle: ServerHandle::new(Arc::new(server), addresses),
        })
    }

    /// Returns a handle with which any thread can monitor the server and shut it down.
    ///
    /// ```
    /// # use standpipe::{Config, Server};
    /// let handle = Server::bind("127.0.0.1:0", Config::default())?.handle();
    /// assert_eq!(handle.clients(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// Serves clients until [`ServerHandle::shutdown`] or [`ServerHandle::drain`], and returns when the last thread that
    /// it started has ended.
    ///
    /// A shutdown has these steps:
    /// 1. For [`drain_delay`](Config::drain_delay), clients are accepted and served as before, so that a load balancer
    ///    can notice the shutdown. [`ServerHandle::is_shutting_down`] returns true.
    /// 2. The listeners are closed, so newcomers are refused, and a successor can bind the same address. Every client
    ///    that has connected by then is answered, with 503 if it is not upgraded. See also [`Listener::inherited`].
    /// 3. After [`ServerHandle::drain`], the clients are served for its grace, and
    ///    [`Connection::is_draining`](crate::Connection::is_draining) returns true.
    /// 4. Each client gets what is queued and a Close with 1001, spread over [`close_spread`](Config::close_spread).
    /// 5. After [`shutdown_timeout`](Config::shutdown_timeout), counted from the last Close, the clients that are left
    ///    are reset.
    ///
    /// ```no_run
    /// # use standpipe::{Config, Connection, Server};
    /// let server = Server::bind("127.0.0.1:9001", Config::default())?;
    /// let report = server.serve(|conn: &mut Connection| {
    ///     while let Some(message) = conn.recv()? {
    ///         conn.send(message)?;
    ///     }
    ///     Ok(())
    /// })?;
    /// println!("{report}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Blocking
    /// Waits until shutdown begins, and then for these steps. After that it waits only for handlers that have not
    /// returned. The log names them.
    ///
    /// # Errors
    /// [`Error::Accept`] if a listener failed permanently, and [`Error::Spawn`] if a thread of the server could not be
    /// started. Before the error is returned, all clients are closed as in a shutdown without a drain delay.
    pub fn serve<H: Handler>(self, handler: H) -> Result<ShutdownReport, Error> {
        let Server {
            listeners,
            wake_up,
            handle,
        } = self;
        let server = handle.server();
        let mut listeners = listeners.into_iter();
        let first = listeners
            .next()
            .expect("every constructor requires a listener");
        thread::scope(|scope| {
            // Tells the threads below however this scope is left. Otherwise, the scope would wait for them forever.
            let _end = EndOnDrop(&server.shutdown);
            let name = "sp-watchdog";
            Builder::new()
                .name(name.into())
                .spawn_scoped(scope, || watchdog::run(server))
                .map_err(|source| Error::Spawn {
                    thread: name.into(),
                    source,
                })?;
            let (wake_up, handler) = (&wake_up, &handler);
            let mut acceptors = Vec::new();
            let mut result = Ok(());
            for (n, listener) in (2..).zip(listeners) {
                let thread = format!("sp-accept-{n}");
                let spawned = Builder::new()
                    .name(thread.clone())
                    .spawn_scoped(scope, move || {
                        acceptor::run(listener, wake_up, server, scope, handler)
                    });
                match spawned {
                    Ok(acceptor) => acceptors.push(acceptor),
                    Err(source) => {
                        result = Err(Error::Spawn { thread, source });
                        server.shutdown.stop_now();
                        break;
                    }
                }
            }
            let ended = acceptor::run(first, wake_up, server, scope, handler);
            result = result.and(ended);
            for acceptor in acceptors {
                let ended = acceptor.join().expect("an acceptor does not panic");
                result = result.and(ended);
            }
            server.shutdown.mark_accepting_ended();
            shutdown::end_clients(server);
            result
        })?;
        Ok(server.shutdown_tally.report())
    }

    /// Starts a thread that calls [`serve`](Self::serve). The server ends when the [`ServerThread`] is dropped.
    ///
    /// ```
    /// use standpipe::{Config, Connection, Server};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let thread = Server::bind("127.0.0.1:0", Config::default())?.spawn(|conn: &mut Connection| {
    ///     conn.send("welcome")?;
    ///     Ok(())
    /// })?;
    /// // The program does something else meanwhile.
    /// println!("{}", thread.shutdown()?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Spawn`] if that thread cannot be started.
    pub fn spawn<H: Handler + Send + 'static>(self, handler: H) -> Result<ServerThread, Error> {
        let handle = self.handle();
        let thread = Builder::new()
            .name(SERVE_THREAD.into())
            .spawn(move || self.serve_here(handler))
            .map_err(cannot_spawn)?;
        Ok(ServerThread::new(thread, handle))
    }

    /// Serves on another thread while `body` runs on this one. Afterwards the server is shut down, and this method
    /// returns when it has ended, with the result of `body` and the report.
    ///
    /// The handler may borrow from the stack of the caller. If `body` panics, for example because an assertion of a
    /// test fails, the server is shut down too, and the panic goes on when the server has ended.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicUsize, Ordering};
    ///
    /// use standpipe::{Config, Connection, Server};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let messages = AtomicUsize::new(0);
    /// let count = |conn: &mut Connection| {
    ///     while conn.recv()?.is_some() {
    ///         messages.fetch_add(1, Ordering::Relaxed);
    ///     }
    ///     Ok(())
    /// };
    /// let server = Server::bind("127.0.0.1:0", Config::default())?;
    /// let (clients, report) = server.scope(count, |handle| handle.clients())?;
    /// assert_eq!((clients, report.lost), (0, 0));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Blocking
    /// Runs `body`, and then waits as [`serve`](Self::serve) does after a shutdown has begun. A handler that does not
    /// return keeps it waiting, also after a panic.
    ///
    /// # Errors
    /// As [`serve`](Self::serve), and [`Error::Spawn`] if the other thread cannot be started; `body` does not run then.
    ///
    /// # Panics
    /// Panics if `body` panics.
    pub fn scope<H: Handler, T>(
        self,
        handler: H,
        body: impl FnOnce(&ServerHandle) -> T,
    ) -> Result<(T, ShutdownReport), Error> {
        let handle = self.handle();
        // Moved into neither thread, so that it need not be `Send`.
        let handler = &handler;
        thread::scope(|scope| {
            let served = Builder::new()
                .name(SERVE_THREAD.into())
                .spawn_scoped(scope, move || self.serve_here(Borrowed(handler)))
                .map_err(cannot_spawn)?;
            let end = ShutdownOnDrop(&handle);
            let returned = body(&handle);
            drop(end);
            match served.join() {
                Ok(report) => report.map(|report| (returned, report)),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// As [`serve`](Self::serve), on a thread that was started for it.
    fn serve_here<H: Handler>(self, handler: H) -> Result<ShutdownReport, Error> {
        own_thread::works_for(self.handle.server());
        self.serve(handler)
    }
}

/// The name of the thread that [`Server::spawn`] and [`Server::scope`] start.
const SERVE_THREAD: &str = "sp-serve";

fn cannot_spawn(source: io::Error) -> Error {
    Error::Spawn {
        thread: SERVE_THREAD.into(),
        source,
    }
}
