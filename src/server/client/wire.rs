//! [`BodyWire`]: the socket from which a request's body is read, and the deadline of the body.

use std::io::{self, Read};
use std::sync::Arc;

use crate::connection::shared::Shared;
use crate::connection::socket::{Transport, write_all};
use crate::connection::write::blockage::PROGRESS;
use crate::http1::Wire;

/// The size of the read that waits for another request, in bytes. Most heads have a few hundred bytes.
const FIRST_READ: usize = 1 << 10;

/// Adapts the socket to [`io::Read`], for `http`.
pub(super) struct RequestReader<'a>(pub(super) &'a dyn Transport);

impl io::Read for RequestReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl RequestReader<'_> {
    /// Returns the next bytes, at least one. Returns `None` if the connection has ended.
    pub(super) fn read_some(&mut self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; FIRST_READ];
        loop {
            match self.read(&mut bytes) {
                Ok(0) => return None,
                Ok(count) => {
                    bytes.truncate(count);
                    return Some(bytes);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }
}

/// The socket of a client that sends a body. While the server waits for the body, each 64 KiB of it gives the client
/// another `message_timeout`.
pub(super) struct BodyWire {
    socket: Arc<dyn Transport>,
    shared: Arc<Shared>,
    /// Whether the deadline of the body runs.
    is_timed: bool,
    /// The bytes that have arrived since the deadline was set.
    arrived: usize,
}

impl BodyWire {
    pub(super) fn new(socket: &Arc<dyn Transport>, shared: &Arc<Shared>) -> BodyWire {
        BodyWire {
            socket: Arc::clone(socket),
            shared: Arc::clone(shared),
            is_timed: false,
            arrived: 0,
        }
    }
}

impl io::Read for BodyWire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.socket.read(buffer)?;
        self.arrived += count;
        if self.is_timed && self.arrived >= PROGRESS {
            self.begin();
        }
        Ok(count)
    }
}

impl Wire for BodyWire {
    fn begin(&mut self) {
        self.is_timed = true;
        self.arrived = 0;
        self.shared.write.deadlines.start_body(self.shared.config());
        // A client that does not send its body must not keep its handshake slot longer than one that does not send its
        // head.
        self.shared.lifecycle().mark_awaiting_client();
    }

    fn finish(&mut self) {
        self.is_timed = false;
        self.shared.write.deadlines.stop_body();
        self.shared.lifecycle().mark_request_received();
    }

    fn send_continue(&mut self) -> io::Result<()> {
        write_all(&*self.socket, b"HTTP/1.1 100 Continue\r\n\r\n")
    }
}
