//! [`Client`]: a blocking WebSocket client (feature `client`).
//!
//! A client has no thread and no queue: each call does its work on the thread of the caller, and reads and writes the
//! socket itself. tungstenite decodes and masks the frames. Its reading can be interrupted at any byte and continued
//! later, so a receive that times out loses nothing.

mod builder;
mod dial;
mod error;
mod handshake;
mod receive;
mod session;
mod socket;
mod stream;
#[cfg(feature = "tls")]
mod tls;
mod url;

use std::fmt;
use std::time::{Duration, Instant};

use http::header::{HeaderMap, SEC_WEBSOCKET_PROTOCOL};

pub use builder::ClientBuilder;
pub use error::ConnectError;

use crate::connection::PeerClose;
use crate::connection::write::close::may_be_sent;
use crate::error::{RecvError, RecvTimeoutError, SendError};
use crate::message::Message;
use session::Session;

/// A blocking WebSocket client, for tests, tools, and programs that talk to a server. It needs the feature `client`.
///
/// The client has no thread of its own. So pings of the server are answered, and its Close is seen, only inside the
/// receiving methods: a program that only sends calls [`recv_timeout`](Self::recv_timeout) now and then. Dropping a
/// client ends the connection without a Close; see [`close`](Self::close).
///
/// ```
/// # use standpipe::{Config, Connection, Server};
/// use standpipe::{Client, Message};
///
/// # let server = Server::bind("127.0.0.1:0", Config::default())?;
/// # let address = server.handle().local_addr().expect("it listens on TCP");
/// # let handle = server.handle();
/// # let running = server.spawn(|conn: &mut Connection| {
/// #     while let Some(message) = conn.recv()? {
/// #         conn.send(message)?;
/// #     }
/// #     Ok(())
/// # })?;
/// let mut client = Client::connect(&format!("ws://{address}/echo"))?;
/// client.send("hello")?;
/// assert_eq!(client.recv()?, Some(Message::text("hello")));
/// client.close(1000, "")?;
/// # handle.shutdown();
/// # running.join()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping a client ends its connection"]
pub struct Client {
    session: Session,
    headers: HeaderMap,
    close_timeout: Duration,
}

impl Client {
    /// Connects to a URL such as `ws://127.0.0.1:9001/ws`, with the default settings of a [`ClientBuilder`].
    ///
    /// All addresses of the name are tried in turn. Redirects are not followed.
    ///
    /// ```no_run
    /// let mut client = standpipe::Client::connect("ws://127.0.0.1:9001/ws")?;
    /// client.send("hello")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Blocking
    /// Waits for the resolver of the system, whose time limit is its own. Then waits up to
    /// [`connect_timeout`](ClientBuilder::connect_timeout) for a connected socket, and up to
    /// [`handshake_timeout`](ClientBuilder::handshake_timeout) for the server's answer.
    ///
    /// # Errors
    /// [`ConnectError`] says what failed. If the server refused the handshake, the error has its answer.
    pub fn connect(url: &str) -> Result<Client, ConnectError> {
        Client::builder(url).connect()
    }

    /// Returns the settings of a client, which can be changed before it is connected.
    ///
    /// ```no_run
    /// use standpipe::Client;
    ///
    /// let client = Client::builder("ws://127.0.0.1:9001/ws").origin("https://app.example").connect()?;
    /// # Ok::<(), standpipe::ConnectError>(())
    /// ```
    pub fn builder(url: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(url.into())
    }

    /// Sends a message. `Ok` means that the kernel has accepted all of it, not that the server has received it.
    ///
    /// ```
    /// use standpipe::{Client, Message, SendError};
    ///
    /// fn report(client: &mut Client, samples: Vec<u8>) -> Result<(), SendError> {
    ///     client.send("samples follow")?;
    ///     client.send(samples)
    /// }
    /// # let _ = report;
    /// ```
    ///
    /// # Blocking
    /// Waits while the socket accepts no byte, for at most [`write_timeout`](ClientBuilder::write_timeout). Then the
    /// connection is reset. A server that waits for this client to read may stop reading, so a program should also
    /// receive while it sends much.
    ///
    /// # Errors
    /// [`SendError`] returns the message if the connection has ended. [`recv`](Self::recv) then says why. If the message
    /// was sent in part, the server has not received it.
    pub fn send(&mut self, message: impl Into<Message>) -> Result<(), SendError> {
        let message = message.into();
        let sent = self.session.write(message.clone().into());
        sent.map_err(|_| SendError(message))
    }

    /// Sends a ping. When its pong has arrived inside a receiving method, [`round_trip`](Self::round_trip) returns the time
    /// between them.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use standpipe::{Client, RecvError, RecvTimeoutError};
    ///
    /// /// Returns whether the server answers within 5 seconds. Messages that arrive meanwhile are shown.
    /// fn is_alive(client: &mut Client) -> Result<bool, RecvError> {
    ///     client.ping()?;
    ///     let end = Instant::now() + Duration::from_secs(5);
    ///     while client.round_trip().is_none() && Instant::now() < end {
    ///         // A pong is no message, so it does not end this call.
    ///         match client.recv_timeout(Duration::from_millis(100)) {
    ///             Ok(Some(message)) => println!("{message}"),
    ///             Err(RecvTimeoutError::Timeout) => {}
    ///             Ok(None) => break,
    ///             Err(RecvTimeoutError::Failed(error)) => return Err(error),
    ///         }
    ///     }
    ///     Ok(client.round_trip().is_some())
    /// }
    /// # let _ = is_alive;
    /// ```
    ///
    /// # Blocking
    /// As [`send`](Self::send).
    ///
    /// # Errors
    /// [`RecvError`] says why the connection has ended.
    pub fn ping(&mut self) -> Result<(), RecvError> {
        self.session.ping().map_err(|end| match end.report::<()>() {
            Err(error) => error,
            Ok(_) => RecvError::Gone,
        })
    }

    /// Returns the time between the latest [`ping`](Self::ping) and its pong. `None` until the pong has been received.
    ///
    /// ```
    /// use std::time::Duration;
    /// use standpipe::{Client, RecvError, RecvTimeoutError};
    ///
    /// /// Measures the way to the server and back.
    /// fn measure(client: &mut Client) -> Result<Option<Duration>, RecvTimeoutError> {
    ///     client.ping()?;
    ///     // The pong is received here.
    ///     match client.recv_timeout(Duration::from_secs(1)) {
    ///         Ok(_) | Err(RecvTimeoutError::Timeout) => Ok(client.round_trip()),
    ///         Err(error) => Err(error),
    ///     }
    /// }
    /// ```
    pub fn round_trip(&self) -> Option<Duration> {
        self.session.round_trip
    }

    /// Closes the connection with a closing handshake: sends a Close with `code` and `reason`, and waits for the server's
    /// Close. Messages that arrive before it are discarded.
    ///
    /// A `code` that must not be sent is replaced by 1000 (RFC 6455 §7.4). A `reason` is cut off after 123 bytes. If the
    /// connection has ended already, its end is reported.
    ///
    /// ```
    /// use standpipe::{Client, RecvTimeoutError};
    ///
    /// fn leave(mut client: Client) -> Result<(), RecvTimeoutError> {
    ///     client.close(1000, "done")?;
    ///     println!("the server closed with {:?}", client.peer_close());
    ///     Ok(())
    /// }
    /// # let _ = leave;
    /// ```
    ///
    /// # Blocking
    /// Waits for the server's Close, for at most [`close_timeout`](ClientBuilder::close_timeout). Before that, waits as
    /// [`send`](Self::send).
    ///
    /// # Errors
    /// `Timeout` if the server has not answered in time; the connection is then reset. Otherwise [`RecvError`] says why the
    /// connection ended without a closing handshake.
    pub fn close(&mut self, code: u16, reason: &str) -> Result<(), RecvTimeoutError> {
        let code = if may_be_sent(code) { code } else { 1000 };
        if let Err(end) = self.session.send_close(code, reason) {
            return Ok(end.report::<()>().map(|_| ())?);
        }
        let deadline = Instant::now().checked_add(self.close_timeout);
        loop {
            match self.session.receive(deadline) {
                // A server that never stops sending does not prolong this call.
                Ok(Some(_)) if deadline.is_none_or(|end| Instant::now() < end) => {}
                Ok(None) => return Ok(()),
                Ok(Some(_)) | Err(RecvTimeoutError::Timeout) => {
                    self.session.give_up();
                    return Err(RecvTimeoutError::Timeout);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns the server's Close, once it has been received.
    ///
    /// ```
    /// use standpipe::{Client, RecvError};
    ///
    /// /// Prints all messages. Returns the code with which the server closed the connection.
    /// fn read_all(client: &mut Client) -> Result<u16, RecvError> {
    ///     while let Some(message) = client.recv()? {
    ///         println!("{message}");
    ///     }
    ///     Ok(client.peer_close().map_or(1006, |close| close.code))
    /// }
    /// # let _ = read_all;
    /// ```
    pub fn peer_close(&self) -> Option<&PeerClose> {
        self.session.peer_close.as_ref()
    }

    /// Returns the subprotocol that the server has selected. `None` if it has selected none, also if some were offered.
    ///
    /// ```
    /// # fn example(client: &standpipe::Client) {
    /// if client.subprotocol() != Some("chat.v1") {
    ///     println!("the server does not know this protocol");
    /// }
    /// # }
    /// ```
    pub fn subprotocol(&self) -> Option<&str> {
        self.headers.get(SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()
    }

    /// Returns the headers of the 101, for example cookies.
    ///
    /// ```
    /// use standpipe::testing::TestServer;
    /// use standpipe::{Connection, Handler, Reply, Request};
    /// use standpipe::http::header::{HeaderValue, SERVER};
    ///
    /// struct Named;
    ///
    /// impl Handler for Named {
    ///     fn request(&self, _: &mut Request) -> Reply {
    ///         Reply::upgrade().header(SERVER, HeaderValue::from_static("hub"))
    ///     }
    ///
    ///     fn run(&self, _: &mut Connection) -> standpipe::HandlerResult {
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let server = TestServer::start(Named);
    /// let client = server.connect("/");
    /// assert_eq!(client.headers()["server"], "hub");
    /// ```
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("socket", self.session.socket())
            .field("is_open", &self.session.is_open())
            .field("peer_close", &self.session.peer_close)
            .finish_non_exhaustive()
    }
}

// Here, because a builder need not know what a client is made of.
impl ClientBuilder {
    /// Connects the client.
    ///
    /// ```
    /// use standpipe::{Client, ConnectError};
    ///
    /// fn log_in(url: &str, token: &str) -> Result<Client, ConnectError> {
    ///     Client::builder(url).header("Authorization", format!("Bearer {token}")).connect()
    /// }
    /// ```
    ///
    /// # Blocking
    /// As [`Client::connect`].
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn connect(mut self) -> Result<Client, ConnectError> {
        let (socket, opened) = self.open()?;
        Ok(Client {
            session: Session::new(socket, opened.ahead, &self),
            headers: opened.response.into_parts().0.headers,
            close_timeout: self.close_timeout,
        })
    }
}
