//! [`ClientSocket`]: the client's socket, with TLS or without.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use super::stream::Stream;
#[cfg(feature = "tls")]
use super::tls::TlsStream;

#[derive(Debug)]
pub(super) enum ClientSocket {
    Plain(Stream),
    #[cfg(feature = "tls")]
    Tls(Box<TlsStream>),
}

impl ClientSocket {
    /// As [`Stream::limit_reads`].
    pub(super) fn limit_reads(&mut self, deadline: Option<Instant>, overtime: usize) {
        self.stream().limit_reads(deadline, overtime);
    }

    /// As [`Stream::limit_writes`].
    pub(super) fn limit_writes(&mut self, patience: Option<Duration>) {
        self.stream().limit_writes(patience);
    }

    /// Ends our direction, after the last frame.
    pub(super) fn end_writing(&mut self) {
        #[cfg(feature = "tls")]
        if let ClientSocket::Tls(tls) = self {
            tls.send_close_notify();
        }
        self.stream().end_writing();
    }

    /// Ends both directions.
    pub(super) fn shutdown(&mut self) {
        #[cfg(feature = "tls")]
        if let ClientSocket::Tls(tls) = self {
            tls.send_close_notify();
        }
        self.stream().shutdown();
    }

    /// Makes the later closing of the socket a reset.
    pub(super) fn reset_at_end(&mut self) {
        self.stream().reset_at_end();
    }

    fn stream(&mut self) -> &mut Stream {
        match self {
            ClientSocket::Plain(stream) => stream,
            #[cfg(feature = "tls")]
            ClientSocket::Tls(tls) => tls.stream(),
        }
    }
}

impl Read for ClientSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            ClientSocket::Plain(stream) => stream.read(buffer),
            #[cfg(feature = "tls")]
            ClientSocket::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for ClientSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            ClientSocket::Plain(stream) => stream.write(bytes),
            #[cfg(feature = "tls")]
            ClientSocket::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            ClientSocket::Plain(stream) => stream.flush(),
            #[cfg(feature = "tls")]
            ClientSocket::Tls(tls) => tls.flush(),
        }
    }
}
