//! Connects a [`TestClient`]: address, path, headers and buffer sizes, and then the opening handshake.

use std::net::SocketAddr;
use std::path::Path;

use socket2::{Domain, SockAddr, Socket, Type};

use super::client::TestClient;
use super::deadline::DEADLINE;
use super::http::Answer;

/// The settings of a client that is not connected yet.
pub(crate) struct Connect {
    to: SockAddr,
    host: String,
    path: String,
    headers: String,
    rcvbuf: Option<usize>,
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
            rcvbuf: None,
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
        self.rcvbuf = Some(bytes);
        self
    }

    /// Sets the smallest [`rcvbuf`](Self::rcvbuf) that the kernel allows.
    pub(crate) fn small_rcvbuf(self) -> Connect {
        self.rcvbuf(2048)
    }

    /// Returns the head of the upgrade request.
    pub(crate) fn head(&self) -> String {
        format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{}\r\n",
            self.path, self.host, self.headers
        )
    }

    /// Connects without sending anything.
    #[track_caller]
    pub(crate) fn open(&self) -> TestClient {
        let socket = Socket::new(self.to.domain(), Type::STREAM, None).unwrap();
        if let Some(bytes) = self.rcvbuf {
            socket.set_recv_buffer_size(bytes).unwrap();
        }
        if self.to.domain() != Domain::UNIX {
            socket.set_tcp_nodelay(true).unwrap();
        }
        socket.connect(&self.to).unwrap();
        socket.set_write_timeout(Some(DEADLINE)).unwrap();
        TestClient::new(socket)
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
