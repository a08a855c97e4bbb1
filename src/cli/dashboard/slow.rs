//! [`SlowClient`]: a client inside this process that connects over real TCP and reads at a rate chosen on the
//! dashboard.
//!
//! Its thread `sp-slow-N` reads its socket at the rate of a [`Throttle`]. The thread ends when the connection ends or
//! when the client is stopped.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use serde::Serialize;
use standpipe::ConnectionSender;
use standpipe::tungstenite::client::{ClientRequestBuilder, client_with_config};
use standpipe::tungstenite::protocol::WebSocketConfig;
use standpipe::tungstenite::{Error, Message, WebSocket};

use crate::cli::dial::connect;
use crate::cli::stream::Stream;
use crate::cli::throttle::{Throttle, ThrottledStream};

/// The receive buffer is small, so that unread messages wait in the server's queue, where the dashboard shows them, and
/// not in the kernel.
const RCVBUF: usize = 4 << 10;
const STACK: usize = 256 << 10;

/// How a slow client reaches the server.
#[derive(Clone)]
pub(super) enum Entrance {
    Listener(SocketAddr),
    /// A client that the server starts itself needs no TLS, and it has no certificate for mTLS. So its connection is handed
    /// over.
    Channel(ConnectionSender),
}

impl Entrance {
    /// Connects over real TCP. Returns the address to which the socket is connected too.
    ///
    /// # Blocking
    /// Waits for the connection, up to `dial::TIMEOUT`.
    fn connect(&self) -> Result<(Stream, SocketAddr), String> {
        let to_text = |error: io::Error| error.to_string();
        let dial = |address: SocketAddr| {
            let socket = connect(&address.into(), Some(RCVBUF)).map_err(to_text)?;
            Ok::<_, String>(Stream::new(socket, None))
        };
        match self {
            Entrance::Listener(address) => Ok((dial(*address)?, *address)),
            Entrance::Channel(server) => {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(to_text)?;
                let address = listener.local_addr().map_err(to_text)?;
                let stream = dial(address)?;
                // This does not wait, because the connection is in the backlog.
                let (accepted, peer) = listener.accept().map_err(to_text)?;
                if stream.local_addr() != Some(peer) {
                    return Err("another client has connected".into());
                }
                let handed = server.try_send(accepted, Vec::new());
                handed.map_err(|refused| refused.to_string())?;
                Ok((stream, address))
            }
        }
    }
}

/// Where a slow client connects, and with which token.
pub(super) struct Target<'a> {
    pub(super) entrance: Entrance,
    /// The percent-encoded path.
    pub(super) path: &'a str,
    pub(super) token: Option<&'a str>,
}

pub(super) struct SlowClient {
    pub(super) name: String,
    pub(super) topic: String,
    /// The client's own address. The page uses it to find this client among the server's clients.
    local: SocketAddr,
    throttle: Arc<Throttle>,
    stream: Stream,
    /// How the connection ended.
    ended: Arc<Mutex<Option<String>>>,
    thread: JoinHandle<()>,
}

/// A slow client as a snapshot shows it.
#[derive(Serialize)]
pub(super) struct Figures {
    pub(super) name: String,
    topic: String,
    pub(super) peer: String,
    rate: Option<u64>,
    read: u64,
    ended: Option<String>,
}

impl SlowClient {
    /// # Blocking
    /// Waits for the connection and the opening handshake, up to `dial::TIMEOUT` for each step.
    pub(super) fn start(
        number: u64,
        topic: &str,
        rate: Option<u64>,
        target: &Target<'_>,
    ) -> Result<SlowClient, String> {
        let to_text = |error: io::Error| error.to_string();
        let (stream, address) = target.entrance.connect()?;
        let local = stream.local_addr().ok_or("it has no address")?;
        // The opening handshake runs at full speed.
        let throttle = Throttle::new(None);
        let uri = format!("ws://{address}{}", target.path);
        let uri = uri.parse().map_err(|error| format!("{error}"))?;
        let mut request = ClientRequestBuilder::new(uri);
        if let Some(token) = target.token {
            request = request.with_header("Authorization", format!("Bearer {token}"));
        }
        let config = WebSocketConfig::default().read_buffer_size(1 << 10);
        let throttled = ThrottledStream::new(stream.clone(), Arc::clone(&throttle));
        let (socket, _) = client_with_config(request, throttled, Some(config))
            .map_err(|error| error.to_string())?;
        // From here on only the throttle limits how long a read takes.
        stream.set_read_timeout(None).map_err(to_text)?;
        throttle.set(rate);
        let ended = Arc::new(Mutex::new(None));
        let outcome = Arc::clone(&ended);
        let thread = Builder::new()
            .name(format!("sp-slow-{number}"))
            .stack_size(STACK)
            .spawn(move || {
                let text = read_to_end(socket);
                *outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
            })
            .map_err(to_text)?;
        Ok(SlowClient {
            name: format!("slow-{number}"),
            topic: topic.to_owned(),
            local,
            throttle,
            stream,
            ended,
            thread,
        })
    }

    pub(super) fn set_rate(&self, rate: Option<u64>) {
        self.throttle.set(rate);
    }

    pub(super) fn figures(&self) -> Figures {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        Figures {
            name: self.name.clone(),
            topic: self.topic.clone(),
            peer: self.local.to_string(),
            rate: self.throttle.rate(),
            read: self.throttle.bytes_read(),
            ended: ended.clone(),
        }
    }

    /// Disconnects without a closing handshake, and joins the thread.
    ///
    /// # Blocking
    /// Waits only briefly, because ending the throttle and shutting down the socket both interrupt the thread's read.
    pub(super) fn stop(self) {
        self.throttle.end();
        self.stream.shutdown();
        // A thread that panicked has also ended.
        let _ = self.thread.join();
    }
}

/// Reads and discards messages until the connection ends. Returns a description of how it ended.
fn read_to_end(mut socket: WebSocket<ThrottledStream>) -> String {
    let mut close = None;
    loop {
        match socket.read() {
            Ok(Message::Close(Some(frame))) => {
                let code = u16::from(frame.code);
                close = Some(format!("closed with {code}: {}", frame.reason));
            }
            Ok(_) => {}
            Err(Error::ConnectionClosed) => return close.unwrap_or("closed".into()),
            Err(error) => return close.unwrap_or(error.to_string()),
        }
    }
}
