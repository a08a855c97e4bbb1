//! [`Server`]: bind, serve, spawn; [`ServerHandle`]: ask it to end.

// What there is once per process, in the order in which a client meets it.

mod listener;

mod acceptor;

mod capacity;

mod house;

mod watchdog;

mod shutdown;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::thread::{self, Builder, JoinHandle};

pub(crate) use house::{Entry, House, Permit};
use listener::Listener;

use crate::config::Config;
use crate::error::Error;
use crate::handler::Handler;
use crate::http::Rules;

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
    config: Config,
    handle: ServerHandle,
}

impl Server {
    /// Listens on `address`; port 0 lets the kernel choose, see [`ServerHandle::local_addr`].
    ///
    /// # Errors
    /// The address cannot be bound, or [`Config::origin`] has a pattern that is none (`InvalidInput`).
    pub fn bind(address: impl ToSocketAddrs, config: Config) -> io::Result<Server> {
        Server::new(vec![bind_first(address)?], config)
    }

    /// Serves a listener that is there already: inherited, or bound with options of your own.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn from_listener(listener: TcpListener, config: Config) -> io::Result<Server> {
        Server::new(vec![Listener::from_tcp(listener)?], config)
    }

    /// Serves a unix socket.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn from_unix_listener(listener: UnixListener, config: Config) -> io::Result<Server> {
        Server::new(vec![Listener::from_unix(listener)?], config)
    }

    /// Listens on `address` too.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn also_bind(self, address: impl ToSocketAddrs) -> io::Result<Server> {
        let listener = bind_first(address)?;
        self.also(listener)
    }

    /// Serves `listener` too.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn also_unix_listener(self, listener: UnixListener) -> io::Result<Server> {
        self.also(Listener::from_unix(listener)?)
    }

    fn also(self, listener: Listener) -> io::Result<Server> {
        let mut listeners = self.listeners;
        listeners.push(listener);
        Server::new(listeners, self.config)
    }

    fn new(listeners: Vec<Listener>, config: Config) -> io::Result<Server> {
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
        let house = House::new(config.clone(), rules, capacity.clients, capacity::HEADS);
        let handle = ServerHandle {
            house: Arc::new(house),
            addresses,
        };
        Ok(Server {
            listeners,
            config,
            handle,
        })
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
    pub fn serve<H: Handler>(self, handler: H) -> Result<Report, Error> {
        let house = &*self.handle.house;
        let (first, others) = self
            .listeners
            .split_first()
            .expect("every constructor gives a listener");
        thread::scope(|scope| {
            // However this is left, the threads below see the latch, or the scope would wait for them for ever.
            let _set = shutdown::SetAtEnd(&house.latch);
            let name = "sp-watchdog";
            Builder::new()
                .name(name.into())
                .spawn_scoped(scope, || watchdog::run(house, &self.listeners))
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
                        acceptor::run(listener, house, scope, handler)
                    });
                match spawned {
                    Ok(acceptor) => acceptors.push(acceptor),
                    Err(source) => {
                        listener.done();
                        return Err(Error::Spawn { thread, source });
                    }
                }
            }
            let mut result = acceptor::run(first, house, scope, handler);
            for acceptor in acceptors {
                let ended = acceptor.join().expect("an acceptor does not panic");
                result = result.and(ended);
            }
            shutdown::close(house);
            result
        })?;
        Ok(self.handle.house.tally.report())
    }

    /// [`serve`](Self::serve) on a thread of its own.
    ///
    /// # Errors
    /// [`Error::Spawn`] if that thread cannot be had.
    pub fn spawn<H: Handler + Send + 'static>(self, handler: H) -> Result<Running, Error> {
        let handle = self.handle();
        let name = "sp-serve";
        let thread = Builder::new()
            .name(name.into())
            .spawn(move || self.serve(handler))
            .map_err(|source| Error::Spawn {
                thread: name.into(),
                source,
            })?;
        Ok(Running { thread, handle })
    }
}

fn bind_first(address: impl ToSocketAddrs) -> io::Result<Listener> {
    let mut failed = io::Error::new(io::ErrorKind::InvalidInput, "the address stands for none");
    for address in address.to_socket_addrs()? {
        match Listener::bind_tcp(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Rings for the end of a server, from any thread, a handler's too. Cloneable.
#[derive(Clone)]
pub struct ServerHandle {
    house: Arc<House>,
    addresses: Vec<SocketAddr>,
}

impl ServerHandle {
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

    /// Asks the server to end, and returns at once. [`Server::serve`] says what follows.
    pub fn shutdown(&self) {
        self.house.latch.set();
    }

    /// Shutdown has begun.
    pub fn is_shutting_down(&self) -> bool {
        self.house.latch.is_set()
    }

    /// Clients that have been upgraded and are not gone yet.
    pub fn clients(&self) -> usize {
        self.house.seats.taken()
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
pub struct Running {
    thread: JoinHandle<Result<Report, Error>>,
    handle: ServerHandle,
}

impl Running {
    /// The bell that ends it.
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// Waits for the server to end; it does not ask it to.
    ///
    /// # Blocking
    /// As [`Server::serve`].
    ///
    /// # Errors
    /// As [`Server::serve`].
    ///
    /// # Panics
    /// If the server's thread has panicked.
    pub fn join(self) -> Result<Report, Error> {
        match self.thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// What became of the clients that were there when shutdown began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Clients that got all that was queued for them, and 1001.
    pub drained: u64,
    /// Clients that were reset, or broke off, before that.
    pub lost: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "drained {}, lost {}", self.drained, self.lost)
    }
}
