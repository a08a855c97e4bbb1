//! [`accept`]: the TLS handshake of a server, on the thread of the opening handshake.

use std::io;
use std::sync::Arc;

use rustls::{Connection as Session, ServerConfig, ServerConnection};

use super::received::Received;
use super::sealed::SealedRecords;
use super::transport::{TlsTransport, largest_record};
use crate::connection::socket::{Transport, write_all};

/// Why there is no TLS session.
#[derive(Debug)]
pub(crate) enum HandshakeError {
    /// The peer speaks HTTP without TLS. Nothing has been written to it, so it can be answered in clear text.
    PlainHttp,
    /// The peer ended its stream during the handshake. `true` if it had sent something. `false` after a reset too.
    Gone(bool),
    /// The socket failed.
    Io(io::Error),
    /// The peer does not speak TLS, or there is nothing that both sides support. It was sent an alert.
    Tls(rustls::Error),
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        HandshakeError::Io(error)
    }
}

/// Runs the handshake with a client whose first bytes are `ahead`.
///
/// # Blocking
/// Waits for the peer's bytes, and until it accepts ours. Woken by the peer, or by the watchdog at `handshake_timeout`.
pub(crate) fn accept(
    socket: Arc<dyn Transport>,
    config: Arc<ServerConfig>,
    ahead: Vec<u8>,
) -> Result<TlsTransport, HandshakeError> {
    let largest_record = largest_record(&config);
    let session = ServerConnection::new(config).map_err(HandshakeError::Tls)?;
    let mut session = Session::Server(session);
    let mut received = Received::new(ahead);
    let mut has_begun = false;
    loop {
        if !has_begun && let Some(first) = received.unread().first() {
            has_begun = true;
            // A handshake begins with the byte 0x16 (RFC 8446 §5.1), and a method of HTTP with a letter (RFC 9110 §9.1).
            if first.is_ascii_alphabetic() {
                return Err(HandshakeError::PlainHttp);
            }
        }
        // All of them, because data may follow the handshake, and the first bytes of data must not be left behind.
        while session.is_handshaking() && received.advance(&mut session) {}
        let mut answer = SealedRecords::default();
        answer.take_from(&mut session);
        if let Some(error) = received.failed() {
            // An alert. The peer may have gone, and the server does not wait for it.
            let _ = socket.try_write(&[io::IoSlice::new(answer.unsent())]);
            return Err(HandshakeError::Tls(error.clone()));
        }
        if !answer.is_empty() {
            write_all(&*socket, answer.unsent())?;
        }
        if !session.is_handshaking() {
            break;
        }
        if received.has_ended() {
            return Err(HandshakeError::Gone(has_begun));
        }
        loop {
            match received.fill(|bytes| socket.read(bytes)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Some load balancers, such as HAProxy, end their checks with a reset.
                Err(error) if !has_begun && error.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(HandshakeError::Gone(false));
                }
                filled => break filled?,
            }
        }
    }
    Ok(TlsTransport::new(socket, session, received, largest_record))
}
