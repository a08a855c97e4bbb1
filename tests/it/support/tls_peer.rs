//! A client of a listener with TLS whose records a test can hold back, cut and change.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig, ClientConnection, Error};
use standpipe::rustls;

use super::frame::{Frame, message, op};
use super::http::Answer;
pub(crate) use super::tls_setup::*;
use super::{Connect, DEADLINE, let_time_pass};

/// How the server's direction of a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsEnd {
    /// An alert with this description.
    Alert(AlertDescription),
    CloseNotify,
    /// The end of the TCP stream, without a close_notify.
    Fin,
    Reset,
}

pub(crate) struct TlsPeer {
    pub(crate) socket: TcpStream,
    pub(crate) session: ClientConnection,
    /// Plaintext that has arrived and has not been returned yet.
    plaintext: Vec<u8>,
}

impl TlsPeer {
    /// Connects without sending anything.
    #[track_caller]
    pub(crate) fn open(address: SocketAddr, config: ClientConfig) -> TlsPeer {
        TlsPeer::of(open_socket(address), config)
    }

    /// Uses a connected socket. Nothing is sent yet.
    #[track_caller]
    pub(crate) fn of(socket: TcpStream, config: ClientConfig) -> TlsPeer {
        limit_waits(&socket);
        let name = ServerName::try_from("localhost").expect("a name");
        let session = ClientConnection::new(Arc::new(config), name).expect("a session");
        TlsPeer {
            socket,
            session,
            plaintext: Vec::new(),
        }
    }

    /// Connects with TLS 1.3 and completes both handshakes.
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> TlsPeer {
        TlsPeer::connect_with(address, tls_client(TLS_1_3))
    }

    #[track_caller]
    pub(crate) fn connect_with(address: SocketAddr, config: ClientConfig) -> TlsPeer {
        TlsPeer::open(address, config).upgraded("/")
    }

    /// Completes the TLS handshake and the opening handshake for `path`.
    #[track_caller]
    pub(crate) fn upgraded(mut self, path: &str) -> TlsPeer {
        assert_eq!(self.handshake(), Ok(()));
        let address = self.socket.peer_addr().expect("the address of the server");
        let answer = self.request(Connect::to(address).path(path).head());
        assert_eq!(answer.status, 101, "{answer:?}");
        self
    }

    /// Runs the TLS handshake until it has completed, or the server has ended the connection.
    #[track_caller]
    pub(crate) fn handshake(&mut self) -> Result<(), TlsEnd> {
        while self.session.is_handshaking() {
            self.flush()?;
            if self.session.is_handshaking() {
                self.receive()?;
            }
        }
        self.flush()
    }

    /// Returns the records that the session has for the server.
    pub(crate) fn flight(&mut self) -> Vec<u8> {
        let mut records = Vec::new();
        while self.session.wants_write() {
            self.session
                .write_tls(&mut records)
                .expect("writing to a vector never fails");
        }
        records
    }

    fn flush(&mut self) -> Result<(), TlsEnd> {
        let records = self.flight();
        let sent = self.socket.write_all(&records);
        sent.map_err(|_| self.end())
    }

    /// Reads to the end of the connection, and returns it.
    #[track_caller]
    pub(crate) fn end(&mut self) -> TlsEnd {
        loop {
            if let Err(end) = self.receive() {
                return end;
            }
        }
    }

    /// Returns the records for this plaintext, without sending them.
    #[track_caller]
    pub(crate) fn seal(&mut self, plaintext: impl AsRef<[u8]>) -> Vec<u8> {
        let mut records = self.flight();
        for part in plaintext.as_ref().chunks(16 << 10) {
            let taken = self
                .session
                .writer()
                .write(part)
                .expect("a session that takes plaintext");
            assert_eq!(taken, part.len(), "the session has room for one record");
            records.extend(self.flight());
        }
        records
    }

    /// Sends these bytes unchanged, without TLS.
    #[track_caller]
    pub(crate) fn bytes(&self, bytes: impl AsRef<[u8]>) {
        let sent = (&self.socket).write_all(bytes.as_ref());
        sent.unwrap_or_else(|error| panic!("sending to the server failed: {error}"));
    }

    pub(crate) fn try_bytes(&self, bytes: impl AsRef<[u8]>) -> bool {
        (&self.socket).write_all(bytes.as_ref()).is_ok()
    }

    /// Sends this plaintext in records.
    #[track_caller]
    pub(crate) fn send(&mut self, plaintext: impl AsRef<[u8]>) {
        let records = self.seal(plaintext);
        self.bytes(records);
    }

    #[track_caller]
    pub(crate) fn text(&mut self, text: &str) {
        self.send(Frame::new(op::TEXT, text).bytes());
    }

    /// Asks for new keys in both directions (RFC 8446 §4.6.3).
    #[track_caller]
    pub(crate) fn update_keys(&mut self) {
        self.session
            .refresh_traffic_keys()
            .expect("a session with TLS 1.3");
    }

    /// Returns a close_notify, without sending it.
    pub(crate) fn close_notify(&mut self) -> Vec<u8> {
        self.session.send_close_notify();
        self.flight()
    }

    /// Ends the client's direction of TCP.
    pub(crate) fn fin(&self) {
        // The server may have closed both directions already.
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Sends this head, and reads that of the answer.
    #[track_caller]
    pub(crate) fn request(&mut self, head: impl AsRef<[u8]>) -> Answer {
        self.send(head);
        self.read_head()
    }

    #[track_caller]
    pub(crate) fn read_head(&mut self) -> Answer {
        loop {
            let end = self
                .plaintext
                .windows(4)
                .position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                let head: Vec<u8> = self.plaintext.drain(..end + 4).collect();
                return Answer::parse(&head);
            }
            if let Err(end) = self.receive() {
                panic!("waited for an answer, got {end:?}");
            }
        }
    }

    /// Reads all plaintext to the end of the connection.
    #[track_caller]
    pub(crate) fn read_all(&mut self) -> (Vec<u8>, TlsEnd) {
        let end = self.end();
        (std::mem::take(&mut self.plaintext), end)
    }

    /// Reads the next frame, or the end of the connection.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Result<Frame, TlsEnd> {
        loop {
            if let Some(frame) = Frame::take(&mut self.plaintext) {
                return Ok(frame);
            }
            self.receive()?;
        }
    }

    /// Reads the next message, and skips control frames except for a Close.
    #[track_caller]
    pub(crate) fn read_message(&mut self) -> standpipe::Message {
        loop {
            let frame = self
                .next()
                .unwrap_or_else(|end| panic!("waited for a message, got {end:?}"));
            if let Some(message) = message(&frame) {
                return message;
            }
            assert_ne!(
                frame.opcode,
                op::CLOSE,
                "waited for a message, got {:?}",
                frame.code()
            );
        }
    }

    #[track_caller]
    pub(crate) fn expect_text(&mut self, text: &str) {
        assert_eq!(self.read_message(), standpipe::Message::text(text));
    }

    /// Closes with 1000, and checks that the server answers the Close and then ends its direction with a close_notify.
    #[track_caller]
    pub(crate) fn leave(mut self) {
        self.send(Frame::close(1000, "").bytes());
        let (closes, end) = self.rest();
        assert_eq!(
            (closes, end),
            (vec![(1000, String::new())], TlsEnd::CloseNotify)
        );
    }

    /// Reads to the end of the connection. Returns the Close frames, and the end.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> (Vec<(u16, String)>, TlsEnd) {
        let mut closes = Vec::new();
        loop {
            match self.next() {
                Ok(frame) if frame.opcode == op::CLOSE => closes.push(frame.code()),
                Ok(_) => {}
                Err(end) => return (closes, end),
            }
        }
    }

    /// Waits until more plaintext has arrived, or the connection has ended.
    #[track_caller]
    pub(crate) fn receive(&mut self) -> Result<(), TlsEnd> {
        let deadline = Instant::now() + DEADLINE;
        let mut chunk = [0; 16 << 10];
        loop {
            match self.session.reader().read(&mut chunk) {
                Ok(0) => return Err(TlsEnd::CloseNotify),
                Ok(count) => {
                    self.plaintext.extend_from_slice(&chunk[..count]);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Err(TlsEnd::Fin),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
            }
            assert!(
                Instant::now() < deadline,
                "waited {DEADLINE:?} for plaintext"
            );
            match self.session.read_tls(&mut &self.socket) {
                Ok(_) => {}
                Err(error) => match error.kind() {
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                        return Err(TlsEnd::Reset);
                    }
                    ErrorKind::Interrupted => {}
                    _ => panic!("waited {DEADLINE:?} for bytes of the server: {error}"),
                },
            }
            let was_handshaking = self.session.is_handshaking();
            match self.session.process_new_packets() {
                Ok(_) => {}
                Err(Error::AlertReceived(alert)) => return Err(TlsEnd::Alert(alert)),
                Err(error) => panic!("the server sent something invalid: {error}"),
            }
            // What the session answers by itself. The caller sends what belongs to the handshake.
            if was_handshaking {
                return Ok(());
            }
            let records = self.flight();
            let _ = (&self.socket).write_all(&records);
        }
    }
}

/// Connects without sending anything.
#[track_caller]
pub(crate) fn open_socket(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).expect("a server that listens");
    socket.set_nodelay(true).expect("a TCP socket");
    limit_waits(&socket);
    socket
}

#[track_caller]
fn limit_waits(socket: &TcpStream) {
    for set in [TcpStream::set_read_timeout, TcpStream::set_write_timeout] {
        set(socket, Some(DEADLINE)).expect("a valid timeout");
    }
}

/// Returns the bytes up to the end of a connection without TLS, and whether it was reset.
#[track_caller]
pub(crate) fn read_raw(mut socket: &TcpStream) -> (Vec<u8>, bool) {
    limit_waits(socket);
    let mut bytes = Vec::new();
    match socket.read_to_end(&mut bytes) {
        Ok(_) => (bytes, false),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => (bytes, true),
        Err(error) => panic!("waited {DEADLINE:?} for the end of a connection: {error}"),
    }
}

/// Sends one byte after the other, slowly, until all are sent, or `send` returns that the connection is closed.
#[track_caller]
pub(crate) fn trickle(bytes: impl IntoIterator<Item = u8>, mut send: impl FnMut(u8) -> bool) {
    let began = Instant::now();
    for byte in bytes {
        if !send(byte) {
            break;
        }
        // The slow pace is what the callers test.
        let_time_pass(Duration::from_millis(20));
        assert!(
            began.elapsed() < DEADLINE,
            "the server never ended the connection"
        );
    }
}

/// Sends these records on a thread, so that the client can read meanwhile.
pub(crate) fn sender_of(client: &TlsPeer, records: Vec<u8>) -> std::thread::JoinHandle<()> {
    let socket = client.socket.try_clone().expect("a descriptor");
    std::thread::spawn(move || (&socket).write_all(&records).expect("all is sent"))
}
