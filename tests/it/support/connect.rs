//! Connects a [`TestClient`]: address, path, headers and buffer sizes, and then the opening handshake.

use std::net::SocketAddr;
use std::path::Path;

use socket2::SockAddr;

use super::client::TestClient;
use super::http::{Answer, exchange};
use super::stream::{Stream, StreamOptions};

/// The settings of a client that is not connected yet.
pub(crate) struct Connect {
    to: SockAddr,
    host: String,
    path: String,
    headers: String,
    options: StreamOptions,
}

impl Connect {
    pub(crate) fn to(address: SocketAddr) -> Connect {
        Connect::with(address.into(), address.to_string())
    }

    pub(crate) fn to_unix(path: &Path) -> Connect {
        Connect::with(SockAddr::unix(path).unwrap(), "localhost".into())
    }

    fn with(to: SockAddr, host: String) -> Connect {
        Connect {
            to,
            host,
            path: "/".into(),
            headers: String::new(),
            options: StreamOptions::default(),
        }
    }

    pub(crate) fn path(mut self, path: &str) -> Connect {
        self.path = path.into();
        self
    }

    /// Adds a header line, given without its CRLF.
    pub(crate) fn header(mut self, line: &str) -> Connect {
        self.headers = format!("{}{line}\r\n", self.headers);
        self
    }

    /// Sets `SO_RCVBUF` before connecting. With a small buffer, the server's writes soon block when the client stops
    /// reading.
    pub(crate) fn rcvbuf(mut self, bytes: usize) -> Connect {
        self.options.rcvbuf = Some(bytes);
        self
    }

    /// Sets the smallest [`rcvbuf`](Self::rcvbuf) that the kernel allows.
    pub(crate) fn small_rcvbuf(self) -> Connect {
        self.rcvbuf(2048)
    }

    /// Sends these bytes before everything else, also before TLS: a PROXY header.
    pub(crate) fn preamble(mut self, bytes: &[u8]) -> Connect {
        self.options.preamble = bytes.to_vec();
        self
    }

    /// Speaks clear text, also to a server that expects TLS.
    pub(crate) fn in_clear(mut self) -> Connect {
        self.options.in_clear = true;
        self
    }

    /// Leaves the TLS handshake, if there is one, to the first read: for a server that does not accept connections yet.
    /// Bytes that are written before wait for the handshake.
    pub(crate) fn handshake_later(mut self) -> Connect {
        self.options.handshake_later = true;
        self
    }

    /// Returns the head of the upgrade request.
    pub(crate) fn head(&self) -> String {
        format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{}\r\n",
            self.path, self.host, self.headers
        )
    }

    /// Connects without sending anything, except the TLS handshake if the tests run over TLS.
    #[track_caller]
    pub(crate) fn open(&self) -> TestClient {
        TestClient::new(self.open_stream())
    }

    #[track_caller]
    fn open_stream(&self) -> Stream {
        let stream = Stream::connect_with(&self.to, &self.options);
        stream.unwrap_or_else(|error| panic!("connecting failed: {error}"))
    }

    /// Sends `request` unchanged, and reads the answer as [`http`](super::http) does.
    #[track_caller]
    pub(crate) fn http(&self, request: impl AsRef<[u8]>) -> Answer {
        exchange(&self.open_stream(), request.as_ref())
    }

    /// Connects and completes the opening handshake, which must end in a 101.
    #[track_caller]
    pub(crate) fn connect(&self) -> TestClient {
        let (raw, answer) = self.request();
        assert_eq!(answer.status, 101, "{answer:?}");
        raw
    }

    /// Connects, sends the upgrade request and reads the head of the response.
    #[track_caller]
    pub(crate) fn request(&self) -> (TestClient, Answer) {
        let mut raw = self.open();
        raw.bytes(self.head());
        let answer = raw.read_head();
        (raw, answer)
    }
}
