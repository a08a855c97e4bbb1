//! [`Server`]: bind, serve, spawn.

mod acceptor;
mod admission;
mod client;
mod handle;
mod listener;
mod shutdown;
mod state;
mod stats;
mod watchdog;

use std::io;
use std::net::{TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::thread::{self, Builder};

pub use handle::{
    ClientState, QueueState, ServerHandle, ServerThread, ShutdownReport, ThreadState,
};
pub use listener::Listener;

use crate::config::Config;
use crate::error::Error;
use crate::handler::Handler;
use crate::http::Rules;
use admission::capacity;
use state::ServerState;

/// A WebSocket server that listens, and serves once [`serve`](Self::serve) is called.
///
/// How many clients it holds is computed when it begins to serve, from what the kernel lets this process have (memory
/// maps, threads, descriptors), unless [`Config::max_clients`] says less; the log names the limit that binds.
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
    /// Listens on `address`; port 0 lets the kernel choose, see [`ServerHandle::local_addr`].
    ///
    /// # Errors
    /// The address cannot be bound, or [`Config::origin`] has a pattern that is none (`InvalidInput`).
    pub fn bind(address: impl ToSocketAddrs, config: Config) -> io::Result<Server> {
        Server::from_listeners(vec![Listener::bind(address)?], config)
    }

    /// Serves a listener that is there already: inherited, or bound with options of your own.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn from_listener(listener: TcpListener, config: Config) -> io::Result<Server> {
        Server::from_listeners(vec![listener.try_into()?], config)
    }

    /// Serves several listeners, TCP and unix sockets, as one server.
    ///
    /// # Errors
    /// There are none, or [`Config::origin`] has a pattern that is none (`InvalidInput`).
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
            "room for {} clients, by {}",
            capacity.clients,
            capacity.binds
        );
        if cfg!(panic = "abort") {
            log::warn!("built with panic = \"abort\": a panic of one handler ends the process");
        }
        let server = ServerState::new(config, rules, capacity.clients, capacity::HANDSHAKE_SLOTS);
        let handle = ServerHandle::new(Arc::new(server), addresses);
        Ok(Server { listeners, handle })
    }

    /// The bell that ends it, for other threads.
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// Serves clients until [`ServerHandle::shutdown`], and returns when the last thread it started has ended.
    ///
    /// # Blocking
    /// On the caller's thread, until shutdown. Then for the clients: at most
    /// [`shutdown_timeout`](Config::shutdown_timeout), and beyond that only for handlers that do not return; the log
    /// names them.
    ///
    /// # Errors
    /// [`Error`]: accepting failed for good, or the server's own threads could not be had. The clients it had were
    /// closed as by a shutdown.
    pub fn serve<H: Handler>(self, handler: H) -> Result<ShutdownReport, Error> {
        let server = self.handle.server();
        let (first, others) = self
            .listeners
            .split_first()
            .expect("every constructor gives a listener");
        thread::scope(|scope| {
            // However this is left, the threads below see the latch, or the scope would wait for them for ever.
            let _set = shutdown::SetAtEnd(&server.latch);
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
            shutdown::close(server);
            result
        })?;
        Ok(self.handle.server().tally.report())
    }

    /// [`serve`](Self::serve) on a thread of its own.
    ///
    /// # Errors
    /// [`Error::Spawn`] if that thread cannot be had.
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
