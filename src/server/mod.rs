//! [`Server`]: bind, serve, spawn. This folder holds what exists once per server, and ties the request parser, the handler and
//! the connections together.

mod acceptor;
mod admission;
mod client;
mod handle;
mod listener;
mod registry;
mod shutdown;
mod state;
mod stats;
mod tick;
mod watchdog;

use std::io;
use std::net::{TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::thread::{self, Builder};

pub use handle::{ClientState, QueueState, ServerHandle, ServerThread, ThreadState};
pub use listener::Listener;
pub use stats::ShutdownReport;

use crate::config::Config;
use crate::error::Error;
use crate::handler::Handler;
use crate::http::Rules;
use crate::sync::SetOnDrop;
use admission::capacity;
use state::ServerState;

/// A WebSocket server that listens. It accepts clients once [`serve`](Self::serve) is called.
///
/// The connection limit is computed when the server is bound, from what the kernel allows this process (memory maps, threads,
/// descriptors), unless [`Config::max_clients`] is lower. For that, the soft limit of descriptors is raised to the hard one.
/// The log names the limit that sets it.
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
#[derive(Debug)]
pub struct Server {
    listeners: Vec<Listener>,
    handle: ServerHandle,
}

impl Server {
    /// Listens on `address`. Port 0 lets the kernel choose one; see [`ServerHandle::local_addr`].
    ///
    /// # Errors
    /// The address cannot be bound, or [`Config::origin`] has an invalid pattern (`InvalidInput`).
    pub fn bind(address: impl ToSocketAddrs, config: Config) -> io::Result<Server> {
        Server::from_listeners(vec![Listener::bind(address)?], config)
    }

    /// Uses an existing listener: inherited, or bound with options of your own.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn from_listener(listener: TcpListener, config: Config) -> io::Result<Server> {
        Server::from_listeners(vec![listener.try_into()?], config)
    }

    /// Uses several listeners, TCP and unix sockets, for one server.
    ///
    /// # Errors
    /// The list is empty, or [`Config::origin`] has an invalid pattern (`InvalidInput`).
    pub fn from_listeners(listeners: Vec<Listener>, config: Config) -> io::Result<Server> {
        if listeners.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no listener"));
        }
        let loopback_only = listeners.iter().all(Listener::is_loopback);
        let rules = Rules::new(&config, loopback_only)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let addresses = listeners.iter().filter_map(Listener::tcp_address).collect();
        let capacity = capacity::compute(config.max_clients);
        log::info!(
            "connection limit: {} (set by {})",
            capacity.clients,
            capacity.set_by
        );
        if cfg!(panic = "abort") {
            log::warn!("built with panic = \"abort\": a panic in one handler ends the process");
        }
        let server = ServerState::new(config, rules, capacity.clients, capacity::HANDSHAKE_SLOTS);
        let handle = ServerHandle::new(Arc::new(server), addresses);
        Ok(Server { listeners, handle })
    }

    /// Returns the handle that shuts the server down, for other threads.
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// Serves clients until [`ServerHandle::shutdown`], and returns when the last thread that it started has ended.
    ///
    /// # Blocking
    /// Until shutdown. Then for the clients to end: at most
    /// [`shutdown_timeout`](Config::shutdown_timeout), and beyond that only for handlers that do not return; the log
    /// names them.
    ///
    /// # Errors
    /// [`Error`] if accepting failed for good, or a thread of the server could not be started. Connected clients were closed
    /// as by a shutdown.
    pub fn serve<H: Handler>(self, handler: H) -> Result<ShutdownReport, Error> {
        let server = self.handle.server();
        let (first, others) = self
            .listeners
            .split_first()
            .expect("every constructor requires a listener");
        thread::scope(|scope| {
            // However this scope is left, the threads below see the latch. Otherwise the scope would wait for them for ever.
            let _set = SetOnDrop(&server.latch);
            let name = "sp-watchdog";
            Builder::new()
                .name(name.into())
                .spawn_scoped(scope, || watchdog::run(server, &self.listeners))
                .map_err(|source| Error::Spawn {
                    thread: name.into(),
                    source,
                })?;
            let mut acceptors = Vec::new();
            let handler = &handler;
            for (n, listener) in (2..).zip(others) {
                let thread = format!("sp-accept-{n}");
                let spawned = Builder::new()
                    .name(thread.clone())
                    .spawn_scoped(scope, move || {
                        acceptor::run(listener, server, scope, handler)
                    });
                match spawned {
                    Ok(acceptor) => acceptors.push(acceptor),
                    Err(source) => {
                        listener.done();
                        return Err(Error::Spawn { thread, source });
                    }
                }
            }
            let mut result = acceptor::run(first, server, scope, handler);
            for acceptor in acceptors {
                let ended = acceptor.join().expect("an acceptor does not panic");
                result = result.and(ended);
            }
            shutdown::close_clients(server);
            result
        })?;
        Ok(self.handle.server().shutdown_tally.report())
    }

    /// [`serve`](Self::serve) on a thread of its own.
    ///
    /// # Errors
    /// [`Error::Spawn`] if that thread cannot be started.
    pub fn spawn<H: Handler + Send + 'static>(self, handler: H) -> Result<ServerThread, Error> {
        let handle = self.handle();
        let name = "sp-serve";
        let thread = Builder::new()
            .name(name.into())
            .spawn(move || self.serve(handler))
            .map_err(|source| Error::Spawn {
                thread: name.into(),
                source,
            })?;
        Ok(ServerThread::new(thread, handle))
    }
}
