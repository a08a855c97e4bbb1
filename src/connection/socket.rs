//! [`Transport`]: what a connection needs of its socket; and the one place where a socket's options are set.
//!
//! It is a trait so that a test can hold a write still. The only other implementation is a real socket.

use std::fmt;
use std::io::{self, IoSlice, Read};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use socket2::Socket;

use crate::config::Config;

/// One client's byte stream. Its reader and the thread that holds the write half share it.
pub(crate) trait Transport: Send + Sync + fmt::Debug {
    /// Reads what is available, and waits for the first byte. `Ok(0)` is the end of the stream.
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes what the socket accepts without blocking: at least one byte, or the error `WouldBlock`.
    fn try_write(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Writes `bytes`, and waits until the socket accepts at least one of them. After the opening handshake, only the writer
    /// calls it.
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;
    /// Ends one direction or both. Wakes the threads that wait in `read` or `write`.
    fn shutdown(&self, how: Shutdown);
    /// Makes closing the socket a reset: what the kernel still holds is freed immediately, instead of being kept for a
    /// peer that may never read it.
    fn reset_at_end(&self);
    /// Bounds each following `read`. Only for the last moments of a connection; before that the watchdog keeps time.
    fn limit_read(&self, limit: Duration);
}

impl Transport for Socket {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut socket = self;
        Read::read(&mut socket, buffer)
    }

    fn try_write(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        retry_interrupted(|| match pieces {
            // One piece spares the kernel the reading of a list.
            [one] => self.send_with_flags(one, flags),
            _ => self.send_vectored_with_flags(pieces, flags),
        })
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        retry_interrupted(|| self.send_with_flags(bytes, libc::MSG_NOSIGNAL))
    }

    // An error means that the peer has ended the connection already, which is what was wanted.
    fn shutdown(&self, how: Shutdown) {
        let _ = Socket::shutdown(self, how);
    }

    fn reset_at_end(&self) {
        let _ = self.set_linger(Some(Duration::ZERO));
    }

    fn limit_read(&self, limit: Duration) {
        // Zero would mean no limit.
        let _ = self.set_read_timeout(Some(limit.max(Duration::from_millis(1))));
    }
}

/// Calls `write` again if a signal interrupted it. An `Ok(0)` becomes an error.
fn retry_interrupted(mut write: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match write() {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Writes all `bytes`, for the answers of the opening handshake.
///
/// # Blocking
/// Until the socket has accepted all of them. Woken by the peer reading, or by the watchdog at `handshake_timeout`.
pub(crate) fn write_all(socket: &dyn Transport, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = socket.write(bytes)?;
        bytes = &bytes[written..];
    }
    Ok(())
}

/// Sets every option of a client's socket. A failure costs an improvement and not the client, so it is only logged.
pub(crate) fn set_options(socket: &Socket, config: &Config, number: u64) {
    let log_failure = |option: &str, result: io::Result<()>| {
        if let Err(error) = result {
            log::debug!("#{number} could not set {option}: {error}");
        }
    };
    if let Some(bytes) = config.rcvbuf {
        log_failure("SO_RCVBUF", socket.set_recv_buffer_size(bytes));
    }
    if let Some(bytes) = config.sndbuf {
        log_failure("SO_SNDBUF", socket.set_send_buffer_size(bytes));
    }
    let is_tcp = socket
        .local_addr()
        .is_ok_and(|address| address.as_socket().is_some());
    if !is_tcp {
        return;
    }
    // A small message is written whole. Waiting for more of them is the queue's task, not Nagle's.
    log_failure("TCP_NODELAY", socket.set_tcp_nodelay(true));
    #[cfg(target_os = "linux")]
    {
        let unsent = u32::try_from(config.unsent).unwrap_or(u32::MAX);
        log_failure("TCP_NOTSENT_LOWAT", socket.set_tcp_notsent_lowat(unsent));
        // A timeout shorter than our own clocks would disconnect a live peer whose window is closed.
        let timeout = config
            .write_timeout
            .max(config.ping_interval.saturating_add(config.ping_timeout));
        log_failure(
            "TCP_USER_TIMEOUT",
            socket.set_tcp_user_timeout(Some(timeout)),
        );
    }
}

/// How long, and how many bytes, [`linger`] reads.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 << 10;

/// Ends our side and reads on for a moment, so that a peer that is still sending sees our last bytes.
///
/// Closing a socket with unread bytes sends a reset, and a reset destroys what the peer has not read yet. Without this
/// function, 199 of 200 clients got ECONNRESET instead of the close code.
///
/// # Blocking
/// At most one second, and at most 256 KiB. Woken by the end of the peer's stream.
pub(crate) fn linger(socket: &dyn Transport) {
    socket.shutdown(Shutdown::Write);
    let deadline = Instant::now() + LINGER;
    let mut buffer = [0; 2048];
    let mut read = 0;
    while read < LINGER_BYTES {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        socket.limit_read(left);
        match socket.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => read += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
