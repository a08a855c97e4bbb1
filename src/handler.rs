//! [`Handler`]: the part of a server that the user of this library writes.

use std::error::Error;
use std::sync::Arc;

use crate::connection::Connection;
use crate::http1::{Reply, Request};

/// What [`Handler::run`] returns: any error type that `?` can convert ends the connection with 1011.
///
/// ```
/// use standpipe::{Connection, HandlerResult};
///
/// fn echo(conn: &mut Connection) -> HandlerResult {
///     while let Some(message) = conn.recv()? {
///         conn.send(message)?;
///     }
///     Ok(())
/// }
/// # let _: fn(&mut Connection) -> HandlerResult = echo;
/// ```
pub type HandlerResult = Result<(), Box<dyn Error + Send + Sync>>;

/// Answers requests, prepares each connection that it accepts, and then runs it.
///
/// A closure `Fn(&mut Connection) -> Result<(), _>` is also a handler, which accepts every request.
///
/// ```
/// use standpipe::{Connection, Handler, Reply, Request};
///
/// struct Rooms;
///
/// impl Handler for Rooms {
///     fn request(&self, request: &mut Request) -> Reply {
///         match request.segments() {
///             [room] if room == "lobby" => Reply::upgrade(),
///             [] => Reply::text(200, "this is a WebSocket server\n"),
///             _ => Reply::status(404),
///         }
///     }
///
///     fn run(&self, conn: &mut Connection) -> standpipe::HandlerResult {
///         while let Some(message) = conn.recv()? {
///             conn.send(message)?;
///         }
///         Ok(())
///     }
/// }
/// ```
///
/// A closure needs the type of its parameter, `|conn: &mut Connection|`. With another parameter it is no handler:
///
/// ```compile_fail
/// use standpipe::{Config, Server};
///
/// let server = Server::bind("127.0.0.1:0", Config::default())?;
/// server.serve(|message: String| Ok(()))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler",
    label = "not a `Handler`",
    note = "a handler implements `Handler`, or is a closure `|conn: &mut Connection| {{ ...; Ok(()) }}` that is `Sync`, takes \
            `&mut Connection`, and returns `Result<(), Box<dyn std::error::Error + Send + Sync>>`",
    note = "what the closure captures and changes must be shared: use a `Mutex`, an atomic or a channel"
)]
pub trait Handler: Sync {
    /// Answers a request: with [`Reply::upgrade`] to accept a WebSocket client, or with a plain HTTP response. The default
    /// upgrades every path, without a subprotocol. [`Reply::from_try`] lets this method use `?`.
    ///
    /// A connection may carry several requests, one after the other. Each has its own [`Request`].
    ///
    /// Before this call the server has checked the syntax of the request, its `Host` and, for upgrades and unsafe methods,
    /// its `Origin` (see [`Config::origin`](crate::Config::origin)), and has answered CORS preflights and `OPTIONS *`. After this call
    /// the server checks the headers of the upgrade. If this method panics, the client gets a 500.
    ///
    /// ```
    /// # use standpipe::{Connection, Handler, Reply, Request};
    /// # struct Guarded;
    /// # impl Handler for Guarded {
    /// fn request(&self, request: &mut Request) -> Reply {
    ///     match request.bearer_token() {
    ///         Some("secret") => Reply::upgrade(),
    ///         _ => Reply::status(401).header("WWW-Authenticate", "Bearer"),
    ///     }
    /// }
    /// # fn run(&self, _: &mut Connection) -> standpipe::HandlerResult { Ok(()) }
    /// # }
    /// ```
    ///
    /// # Blocking
    /// Runs on the client's handshake thread. This method may block, but its time counts towards
    /// [`handshake_timeout`](crate::Config::handshake_timeout), except after the whole body has been read.
    fn request(&self, request: &mut Request) -> Reply {
        let _ = request;
        Reply::upgrade()
    }

    /// Prepares the connection of a client that is about to be told that its connection is open.
    ///
    /// All limits have been checked, and the client's threads run. The 101 has not been written: it follows when this
    /// method has returned `Ok`. Messages that are sent to the client before that are written directly after the 101, in
    /// their order, and so is a Close. So a client that subscribes here is a member before it can know that it is
    /// connected, and misses nothing that is published later. A subscription that begins in [`run`](Self::run) may begin
    /// after the client has seen its 101.
    ///
    /// [`Connection::keep`] keeps a subscription until `run` has returned. If the client does not get its 101, what is
    /// kept is dropped, and `run` is not called. The default does nothing.
    ///
    /// ```
    /// use standpipe::{Connection, Handler, Hub, Reply, SubscribeOptions};
    ///
    /// /// Publishes what each client sends to all clients.
    /// struct Room(Hub);
    ///
    /// impl Handler for Room {
    ///     fn opening(&self, conn: &Connection) -> Result<(), Reply> {
    ///         let topic = self.0.topic("room").map_err(|_| Reply::status(503))?;
    ///         let subscription = topic.subscribe(conn.outbox(), SubscribeOptions::new());
    ///         conn.keep(subscription.map_err(|_| Reply::status(500))?);
    ///         Ok(())
    ///     }
    ///
    ///     fn run(&self, conn: &mut Connection) -> standpipe::HandlerResult {
    ///         let topic = self.0.topic("room")?;
    ///         while let Some(message) = conn.recv()? {
    ///             topic.publish(message)?;
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// Returns the answer that the client gets instead of the 101. Every error becomes a 500 by `?`. If this method panics, or returns an upgrade, the
    /// client gets a 500.
    ///
    /// # Blocking
    /// Runs on the client's reader thread. The client waits meanwhile, and is reset after
    /// [`handshake_timeout`](crate::Config::handshake_timeout). Nothing is written to it, so its queue only fills: a
    /// `send` that finds it full waits until the reset. A topic treats the client like one whose queue is not written
    /// in time: each publish that finds it full waits for up to 100 ms, or longer under
    /// [`Policy::Block`](crate::Policy::Block). So keep this method short.
    fn opening(&self, conn: &Connection) -> Result<(), Reply> {
        let _ = conn;
        Ok(())
    }

    /// Runs the connection of one client, on the client's reader thread.
    ///
    /// When this method returns `Ok`, the server writes the queued messages and then closes with 1000. After an error
    /// or a panic, the server discards the queued messages and closes with 1011. Other clients are not affected.
    ///
    /// The server answers control frames inside [`Connection::recv`], so a handler must keep calling that method.
    ///
    /// The stack of the reader thread has [`handler_stack`](crate::Config::handler_stack) bytes, by default 256 KiB, and a
    /// stack overflow ends the whole process. If a client can choose the
    /// depth of a recursion, as with a JSON tree, check the depth first or use a type of fixed depth. Builds without
    /// optimization need more stack for each level.
    ///
    /// ```
    /// # use standpipe::{Connection, Handler};
    /// # struct Echo;
    /// # impl Handler for Echo {
    /// fn run(&self, conn: &mut Connection) -> standpipe::HandlerResult {
    ///     while let Some(message) = conn.recv()? {
    ///         conn.send(message)?;
    ///     }
    ///     Ok(())
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns the error that ended the connection early. The server logs the error with the number of the connection.
    fn run(&self, conn: &mut Connection) -> HandlerResult;
}

impl<F> Handler for F
where
    F: Fn(&mut Connection) -> HandlerResult + Sync,
{
    fn run(&self, conn: &mut Connection) -> HandlerResult {
        self(conn)
    }
}

/// A handler that several servers share, or that the program keeps too.
///
/// ```
/// use std::sync::Arc;
///
/// use standpipe::{Config, Connection, Handler, Server};
///
/// struct Echo;
///
/// impl Handler for Echo {
///     fn run(&self, conn: &mut Connection) -> standpipe::HandlerResult {
///         while let Some(message) = conn.recv()? {
///             conn.send(message)?;
///         }
///         Ok(())
///     }
/// }
///
/// let shared: Arc<dyn Handler + Send> = Arc::new(Echo);
/// let server = || Server::bind("127.0.0.1:0", Config::default());
/// let (first, second) = (server()?.spawn(Arc::clone(&shared))?, server()?.spawn(shared)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl<H: Handler + Send + ?Sized> Handler for Arc<H> {
    fn request(&self, request: &mut Request) -> Reply {
        (**self).request(request)
    }

    fn opening(&self, conn: &Connection) -> Result<(), Reply> {
        (**self).opening(conn)
    }

    fn run(&self, conn: &mut Connection) -> HandlerResult {
        (**self).run(conn)
    }
}

/// A handler that is borrowed. `&H` itself cannot implement [`Handler`], because a reference to a closure is a closure.
pub(crate) struct Borrowed<'a, H>(pub(crate) &'a H);

impl<H: Handler> Handler for Borrowed<'_, H> {
    fn request(&self, request: &mut Request) -> Reply {
        self.0.request(request)
    }

    fn opening(&self, conn: &Connection) -> Result<(), Reply> {
        self.0.opening(conn)
    }

    fn run(&self, conn: &mut Connection) -> HandlerResult {
        self.0.run(conn)
    }
}
