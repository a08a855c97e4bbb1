//! [`Arrived`]: a connection that has been accepted, before its client has a handshake slot.

use std::io::IoSlice;
use std::net::{Shutdown, SocketAddr};

use socket2::{SockAddr, Socket};

use crate::connection::socket::Transport;
use crate::http1::{self, After, Peer};

/// A connection that has been accepted here, or elsewhere and handed over.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) socket: Socket,
    pub(super) peer: Peer,
    /// The bytes that have been read from the socket already.
    pub(super) ahead: Vec<u8>,
}

impl Arrived {
    pub(super) fn new(socket: Socket, peer: &SockAddr, ahead: Vec<u8>) -> Arrived {
        let peer = peer.as_socket().map_or(Peer::Unix, Peer::Tcp);
        Arrived {
            socket,
            peer,
            ahead,
        }
    }

    /// Returns the address of the server's end of a TCP connection.
    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()?.as_socket()
    }
}

/// Answers 503 as far as the socket accepts it without blocking, because the caller must not wait for a client.
pub(super) fn refuse(socket: &dyn Transport) {
    let answer = http1::unavailable(5, "too busy to read this").to_bytes(false, After::Close);
    let _ = socket.try_write(&[IoSlice::new(&answer)]);
    socket.shutdown(Shutdown::Write);
}
