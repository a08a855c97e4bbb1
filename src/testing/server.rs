//! [`TestServer`]: a server that ends with its test.

use std::os::unix::net::UnixStream;
use std::panic::resume_unwind;
use std::thread;

use crossbeam_channel::Receiver;

use super::watched::{Panic, Watched};
use crate::client::{Client, ClientBuilder};
use crate::config::Config;
use crate::handler::Handler;
use crate::server::{
    ConnectionSender, Listener, Server, ServerHandle, ServerThread, ShutdownReport,
};

/// How many connections may wait for the acceptor.
const WAITING: usize = 64;

/// A server that runs one handler, for a test. When it is dropped, it shuts down and waits for all its threads.
///
/// [`connect`](Self::connect) and [`client`](Self::client) use a socket pair, so they need no port and no network.
/// [`url`](Self::url) is for other clients: the server also listens on a free port of `127.0.0.1`.
///
/// A panic of the handler, such as a failed assertion, fails the test: dropping the server, or
/// [`shutdown`](Self::shutdown), raises it again.
///
/// Create the server before its clients. Rust drops in reverse order, so the clients are then gone before the server
/// shuts down.
///
/// ```
/// use standpipe::testing::TestServer;
/// use standpipe::{Connection, Message};
///
/// let server = TestServer::start(|conn: &mut Connection| {
///     while let Some(message) = conn.recv()? {
///         conn.send(message)?;
///     }
///     Ok(())
/// });
/// let mut client = server.connect("/");
/// client.send("hello")?;
/// assert_eq!(client.recv()?, Some(Message::text("hello")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping the server ends it"]
pub struct TestServer {
    handle: ServerHandle,
    connections: ConnectionSender,
    panics: Receiver<Panic>,
    /// `None` if a scope joins the server.
    thread: Option<ServerThread>,
}

impl TestServer {
    /// Starts a server with the default configuration.
    ///
    /// ```
    /// use standpipe::Connection;
    /// use standpipe::testing::TestServer;
    ///
    /// let server = TestServer::start(|_: &mut Connection| Ok(()));
    /// drop(server); // Waits for all its threads.
    /// ```
    ///
    /// # Panics
    /// Panics if `127.0.0.1` has no free port, or if a thread cannot be started.
    #[track_caller]
    pub fn start(handler: impl Handler + Send + 'static) -> TestServer {
        TestServer::with_config(Config::default(), handler)
    }

    /// Starts a server with this configuration, for example with short time limits.
    ///
    /// ```
    /// use std::time::Duration;
    /// use standpipe::testing::TestServer;
    /// use standpipe::{Config, Connection};
    ///
    /// let config = Config::default().ping_interval(Duration::from_millis(50)).queue(2);
    /// let server = TestServer::with_config(config, |conn: &mut Connection| {
    ///     while conn.recv()?.is_some() {}
    ///     Ok(())
    /// });
    /// # drop(server);
    /// ```
    ///
    /// # Panics
    /// As [`start`](Self::start), and if the configuration is not valid.
    #[track_caller]
    pub fn with_config(config: Config, handler: impl Handler + Send + 'static) -> TestServer {
        let (panics, kept) = crossbeam_channel::bounded(1);
        let (server, connections) = bind(config);
        let handle = server.handle();
        let watched = Watched {
            handler: Box::new(handler),
            panics,
        };
        let thread = server.spawn(watched).expect("a thread can be started");
        TestServer {
            handle,
            connections,
            panics: kept,
            thread: Some(thread),
        }
    }

    /// Runs `test` with a server whose handler the test keeps, so that it can look into the handler during the test and
    /// after it. Returns what `test` returns, when the server has ended.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicUsize, Ordering};
    /// use standpipe::testing::TestServer;
    /// use standpipe::{Config, Connection, Handler};
    ///
    /// #[derive(Default)]
    /// struct Counter {
    ///     clients: AtomicUsize,
    /// }
    ///
    /// impl Handler for Counter {
    ///     fn run(&self, conn: &mut Connection) -> standpipe::HandlerResult {
    ///         self.clients.fetch_add(1, Ordering::Relaxed);
    ///         while conn.recv()?.is_some() {}
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let counter = Counter::default();
    /// TestServer::scope(Config::default(), &counter, |server| {
    ///     let (_ann, _bob) = (server.connect("/"), server.connect("/"));
    /// });
    /// assert_eq!(counter.clients.into_inner(), 2);
    /// ```
    ///
    /// # Blocking
    /// After `test`, waits as dropping the server does.
    ///
    /// # Panics
    /// As [`with_config`](Self::with_config), and if `test` or the handler panics.
    #[track_caller]
    pub fn scope<H: Handler, T>(
        config: Config,
        handler: &H,
        test: impl FnOnce(&TestServer) -> T,
    ) -> T {
        let (panics, kept) = crossbeam_channel::bounded(1);
        let (server, connections) = bind(config);
        let watched = Watched { handler, panics };
        let served = server.scope(watched, |handle| {
            test(&TestServer {
                handle: handle.clone(),
                connections,
                panics: crossbeam_channel::never(),
                thread: None,
            })
        });
        let (returned, _) = served.expect("the server serves until its shutdown");
        raise(&kept);
        returned
    }

    /// Returns a handle that monitors the server and shuts it down.
    ///
    /// ```
    /// # use standpipe::{Connection, testing::TestServer};
    /// let server = TestServer::start(|_: &mut Connection| Ok(()));
    /// assert_eq!(server.handle().clients(), 0);
    /// ```
    pub fn handle(&self) -> &ServerHandle {
        &self.handle
    }

    /// Returns the URL of a path for other clients, such as `ws://127.0.0.1:39481/ws`.
    ///
    /// ```
    /// use standpipe::testing::TestServer;
    /// use standpipe::{Client, Connection, Message};
    ///
    /// let server = TestServer::start(|conn: &mut Connection| Ok(conn.send(conn.request().path())?));
    /// let mut client = Client::connect(&server.url("/ws"))?;
    /// assert_eq!(client.recv()?, Some(Message::text("/ws")));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn url(&self, path: &str) -> String {
        let address = self.handle.local_addr();
        let address = address.expect("a test server listens on TCP");
        format!("ws://{address}{path}")
    }

    /// Returns the settings of a client that will be connected to this path over a socket pair. For the server, its
    /// [`Peer`](crate::Peer) is `Unix`.
    ///
    /// ```
    /// use standpipe::testing::TestServer;
    /// use standpipe::{ConnectError, Connection};
    ///
    /// let server = TestServer::start(|_: &mut Connection| Ok(()));
    /// let refused = server.client("/").origin("https://evil.example").connect();
    /// assert!(matches!(refused, Err(ConnectError::Refused(answer)) if answer.status() == 403));
    /// ```
    ///
    /// # Panics
    /// Panics if the server does not accept connections any more, or if no socket pair can be made.
    #[track_caller]
    pub fn client(&self, path: &str) -> ClientBuilder {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair can be made");
        let handed = self.connections.send(theirs, Vec::new());
        handed.expect("the server accepts connections");
        Client::builder(format!("ws://localhost{path}")).stream(ours)
    }

    /// Connects a client to this path over a socket pair.
    ///
    /// ```
    /// use standpipe::testing::TestServer;
    /// use standpipe::{Connection, Message};
    ///
    /// let server = TestServer::start(|conn: &mut Connection| Ok(conn.send("welcome")?));
    /// let mut client = server.connect("/");
    /// assert_eq!(client.recv()?, Some(Message::text("welcome")));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Blocking
    /// Waits as [`Client::connect`].
    ///
    /// # Panics
    /// As [`client`](Self::client), and if the server refuses the client.
    #[track_caller]
    pub fn connect(&self, path: &str) -> Client {
        match self.client(path).connect() {
            Ok(client) => client,
            Err(error) => panic!("no client could be connected to {path}: {error}"),
        }
    }

    /// Shuts the server down, and returns its report.
    ///
    /// ```
    /// # use standpipe::{Connection, testing::TestServer};
    /// let server = TestServer::start(|conn: &mut Connection| {
    ///     while conn.recv()?.is_some() {}
    ///     Ok(())
    /// });
    /// let mut client = server.connect("/");
    /// let leaving = std::thread::spawn(move || client.recv());
    /// assert_eq!(server.shutdown().to_string(), "drained 1, lost 0");
    /// # leaving.join().expect("the thread does not panic").expect("a closing handshake");
    /// ```
    ///
    /// # Blocking
    /// As [`Server::serve`](crate::Server::serve), after its shutdown has begun.
    ///
    /// # Panics
    /// Panics if the handler has panicked. In [`scope`](Self::scope), the server cannot be moved, so this method cannot be
    /// called.
    #[track_caller]
    pub fn shutdown(mut self) -> ShutdownReport {
        let thread = self.thread.take().expect("the test owns the server");
        let report = thread.shutdown();
        raise(&self.panics);
        report.expect("the server serves until its shutdown")
    }
}

impl Drop for TestServer {
    /// Shuts the server down, and waits for all its threads.
    fn drop(&mut self) {
        let Some(running) = self.thread.take() else {
            return;
        };
        let served = running.shutdown();
        // A test that has failed already shows its own panic.
        if !thread::panicking() {
            raise(&self.panics);
            served.expect("the server serves until its shutdown");
        }
    }
}

#[track_caller]
fn bind(config: Config) -> (Server, ConnectionSender) {
    let (connections, listener) = Listener::channel(WAITING);
    let tcp = Listener::bind("127.0.0.1:0").expect("127.0.0.1 has a free port");
    let server = Server::from_listeners(vec![tcp, listener], config);
    (server.expect("the configuration is valid"), connections)
}

/// Raises the panic of a handler.
fn raise(panics: &Receiver<Panic>) {
    if let Ok(panic) = panics.try_recv() {
        resume_unwind(panic);
    }
}
