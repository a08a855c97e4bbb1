//! [`Slow`]: a client of ours inside the process, over real TCP, that reads as slowly as a person says.
//!
//! Its thread `sp-slow-N` is fed by its socket, waits for its pace, and ends with the connection or when it is let go.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use serde::Serialize;
use standpipe::tungstenite::client::{ClientRequestBuilder, client_with_config};
use standpipe::tungstenite::protocol::WebSocketConfig;
use standpipe::tungstenite::{Error, Message, WebSocket};

use crate::cli::throttle::{Pace, Paced};
use crate::cli::url::connect;

/// Small, so that what it does not read waits in our queue, where it is seen, and not in the kernel.
const RCVBUF: usize = 4 << 10;
const STACK: usize = 256 << 10;

/// Where and as whom it connects.
pub(super) struct Whereto<'a> {
    pub(super) address: SocketAddr,
    /// Its path, with what needs it escaped.
    pub(super) path: &'a str,
    pub(super) token: Option<&'a str>,
}

pub(super) struct Slow {
    pub(super) name: String,
    pub(super) topic: String,
    /// By which it is found among the server's clients.
    local: SocketAddr,
    pace: Arc<Pace>,
    tcp: TcpStream,
    ended: Arc<Mutex<Option<String>>>,
    thread: JoinHandle<()>,
}

/// What a snapshot shows of it.
#[derive(Serialize)]
pub(super) struct Figures {
    name: String,
    topic: String,
    peer: String,
    rate: Option<u64>,
    read: u64,
    ended: Option<String>,
}

impl Slow {
    /// # Blocking
    /// For the handshake with our own acceptor, each step at most `url::PATIENCE`.
    pub(super) fn start(
        number: u64,
        topic: &str,
        rate: Option<u64>,
        to: &Whereto<'_>,
    ) -> Result<Slow, String> {
        let told = |error: io::Error| error.to_string();
        let tcp = connect(to.address, Some(RCVBUF)).map_err(told)?;
        let local = tcp.local_addr().map_err(told)?;
        let other = tcp.try_clone().map_err(told)?;
        // At full speed through the handshake.
        let pace = Pace::new(None);
        let uri = format!("ws://{}{}", to.address, to.path);
        let uri = uri.parse().map_err(|error| format!("{error}"))?;
        let mut request = ClientRequestBuilder::new(uri);
        if let Some(token) = to.token {
            request = request.with_header("Authorization", format!("Bearer {token}"));
        }
        let config = WebSocketConfig::default().read_buffer_size(1 << 10);
        let paced = Paced::new(tcp, Arc::clone(&pace));
        let (socket, _) =
            client_with_config(request, paced, Some(config)).map_err(|error| error.to_string())?;
        // Its pace is its only clock from here.
        socket
            .get_ref()
            .tcp()
            .set_read_timeout(None)
            .map_err(told)?;
        pace.set(rate);
        let ended = Arc::new(Mutex::new(None));
        let end = Arc::clone(&ended);
        let thread = Builder::new()
            .name(format!("sp-slow-{number}"))
            .stack_size(STACK)
            .spawn(move || {
                let why = read(socket);
                *end.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
            })
            .map_err(told)?;
        Ok(Slow {
            name: format!("slow-{number}"),
            topic: topic.to_owned(),
            local,
            pace,
            tcp: other,
            ended,
            thread,
        })
    }

    pub(super) fn set_rate(&self, rate: Option<u64>) {
        self.pace.set(rate);
    }

    pub(super) fn figures(&self) -> Figures {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        Figures {
            name: self.name.clone(),
            topic: self.topic.clone(),
            peer: self.local.to_string(),
            rate: self.pace.rate(),
            read: self.pace.bytes(),
            ended: ended.clone(),
        }
    }

    /// Ends it as a client that vanishes ends.
    ///
    /// # Blocking
    /// Until its thread has ended: its socket is shut down and its pace over, so nothing holds it.
    pub(super) fn leave(self) {
        self.pace.end();
        // Gone already is as good.
        let _ = self.tcp.shutdown(Shutdown::Both);
        // A thread that panicked has ended, too.
        let _ = self.thread.join();
    }
}

/// Takes everything that comes until the end, and says how that was.
fn read(mut socket: WebSocket<Paced>) -> String {
    let mut why = None;
    loop {
        match socket.read() {
            Ok(Message::Close(Some(frame))) => {
                let code = u16::from(frame.code);
                why = Some(format!("closed with {code}: {}", frame.reason));
            }
            Ok(_) => {}
            Err(Error::ConnectionClosed) => return why.unwrap_or("closed".into()),
            Err(error) => return why.unwrap_or(error.to_string()),
        }
    }
}
