//! [`Transport`]: what a connection needs of its socket, and the one place where a socket's options are set.
//!
//! It is a trait so that a test can hold a write still; the only other implementation is a real socket.

use std::fmt;
use std::io::{self, IoSlice, Read};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use socket2::Socket;

use crate::config::Config;

/// One client's byte stream, shared by its reader and whoever holds its wire.
pub(crate) trait Transport: Send + Sync + fmt::Debug {
    /// Reads what is there, waiting for the first byte. `Ok(0)` is the end.
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes what is taken at once; `WouldBlock` when that is nothing.
    fn try_write(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Writes `bytes`, waiting until they are taken. Only the writer thread calls this.
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;
    /// Ends one direction or both. Wakes whoever waits in `read` or `write` on it.
    fn shutdown(&self, how: Shutdown);
    /// Makes the end a reset: what the kernel still holds is freed at once instead of kept for a peer that may never
    /// read it.
    fn reset_at_end(&self);
    /// Bounds each following `read`. Only for the last moments of a connection: in steady state the watchdog keeps time.
    fn limit_read(&self, limit: Duration);
}

impl Transport for Socket {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut socket = self;
        Read::read(&mut socket, buffer)
    }

    fn try_write(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        match pieces {
            // Spares the kernel the reading of a list.
            [one] => self.send_with_flags(one, flags),
            _ => self.send_vectored_with_flags(pieces, flags),
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.send_with_flags(bytes, libc::MSG_NOSIGNAL)
    }

    // Failing means that the peer has ended it already, which is what was wanted.
    fn shutdown(&self, how: Shutdown) {
        let _ = Socket::shutdown(self, how);
    }

    fn reset_at_end(&self) {
        let _ = self.set_linger(Some(Duration::ZERO));
    }

    fn limit_read(&self, limit: Duration) {
        // Zero would mean for ever.
        let _ = self.set_read_timeout(Some(limit.max(Duration::from_millis(1))));
    }
}

/// Sets every option of a client's socket. A failure costs an improvement, not the client, so it is only logged.
pub(crate) fn prepare(socket: &Socket, config: &Config, number: u64) {
    let said = |what: &str, result: io::Result<()>| {
        if let Err(error) = result {
            log::debug!("#{number} could not set {what}: {error}");
        }
    };
    if let Some(bytes) = config.rcvbuf {
        said("SO_RCVBUF", socket.set_recv_buffer_size(bytes));
    }
    if let Some(bytes) = config.sndbuf {
        said("SO_SNDBUF", socket.set_send_buffer_size(bytes));
    }
    let is_tcp = socket
        .local_addr()
        .is_ok_and(|address| address.as_socket().is_some());
    if !is_tcp {
        return;
    }
    // A small message is written whole, and waiting for more of them is the queue's business, not Nagle's.
    said("TCP_NODELAY", socket.set_tcp_nodelay(true));
    #[cfg(target_os = "linux")]
    {
        let unsent = u32::try_from(config.unsent).unwrap_or(u32::MAX);
        said("TCP_NOTSENT_LOWAT", socket.set_tcp_notsent_lowat(unsent));
        // Shorter than our own clocks it would cut a live peer whose window is closed.
        let patience = config
            .write_timeout
            .max(config.ping_interval.saturating_add(config.ping_timeout));
        said(
            "TCP_USER_TIMEOUT",
            socket.set_tcp_user_timeout(Some(patience)),
        );
    }
}

/// How long, and how many bytes, a refused peer is listened to so that it sees why.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 << 10;

/// Ends our side and reads on for a moment, so that a peer still sending sees our last bytes.
///
/// Closing a socket with unread bytes sends a reset, and a reset destroys what the peer has not read yet: without this,
/// 199 of 200 clients got ECONNRESET instead of the close code.
///
/// # Blocking
/// At most one second, and at most 256 KiB. Woken by the peer's end.
pub(crate) fn linger(transport: &dyn Transport) {
    transport.shutdown(Shutdown::Write);
    let deadline = Instant::now() + LINGER;
    let mut room = [0; 2048];
    let mut read = 0;
    while read < LINGER_BYTES {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        transport.limit_read(left);
        match transport.read(&mut room) {
            Ok(0) => return,
            Ok(n) => read += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
