//! [`ConnectError`]: why a client could not connect.

use std::io;

#[cfg(feature = "tls")]
use crate::tls::untrusted;

/// Why [`Client::connect`](crate::Client::connect) failed.
///
/// ```no_run
/// use standpipe::{Client, ConnectError};
///
/// match Client::connect("ws://127.0.0.1:9001/ws") {
///     Ok(client) => println!("connected with {:?}", client.subprotocol()),
///     Err(ConnectError::Refused(answer)) if answer.status() == 401 => println!("a token is needed"),
///     Err(error) => println!("not connected: {error}"),
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL is not of the form `ws://host[:port]/path?query` or `wss://…`, without a user and a fragment.
    #[error("invalid URL: {0}")]
    Url(String),
    /// The URL begins with `wss://`, and the crate was built without the feature `tls`.
    #[error("wss:// needs TLS, which this client does not support")]
    NoTls,
    /// The system has no certificate of an authority, so no server can be trusted.
    /// [`ClientBuilder::tls`](crate::ClientBuilder::tls) takes others.
    #[cfg(feature = "tls")]
    #[error("the system has no trusted certificates: {0}")]
    NoRoots(String),
    /// A certificate cannot be valid for the host of the URL, because it is neither a DNS name nor an IP address.
    #[cfg(feature = "tls")]
    #[error("{0} is not a name that a certificate can have")]
    ServerName(String),
    /// The certificate of the server is not trusted. Nothing of the request has been sent.
    #[cfg(feature = "tls")]
    #[error(
        "the certificate of {host} is not trusted: {}",
        untrusted::reason(reason)
    )]
    Certificate {
        /// The host of the URL.
        host: String,
        /// What is wrong with the certificate.
        reason: rustls::CertificateError,
    },
    /// The TLS session failed. The server may speak no TLS, or it may require a certificate of the client.
    #[cfg(feature = "tls")]
    #[error("TLS failed: {0}")]
    Tls(#[source] rustls::Error),
    /// A header or subprotocol of the [`ClientBuilder`](crate::ClientBuilder) is not valid.
    #[error("invalid header: {0}")]
    Header(String),
    /// The name of the host could not be resolved.
    #[error("the name {host} could not be resolved: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// The error of the resolver.
        source: io::Error,
    },
    /// No address of the host accepted the connection. This is the error of the last one.
    #[error("could not connect to {address}: {source}")]
    Dial {
        /// The address, or the path of the unix socket.
        address: String,
        /// The error of the kernel, `TimedOut` if the time was over.
        source: io::Error,
    },
    /// The server answered with another status than 101. A redirect is such an answer; the client does not follow it.
    ///
    /// The body has at most 64 KiB. A longer one is cut off.
    #[error("the server refused the handshake with {}", .0.status())]
    Refused(Box<http::Response<Vec<u8>>>),
    /// The answer of the server is not a valid one to this handshake.
    #[error("the server's answer to the handshake is invalid: {0}")]
    Answer(&'static str),
    /// The server did not answer within the time limit of the handshake.
    #[error("the server did not answer the handshake in time")]
    Timeout,
    /// The connection failed during the handshake.
    #[error("the connection failed during the handshake: {0}")]
    Io(#[source] io::Error),
}

impl ConnectError {
    /// Returns what an error of the socket means during the handshake.
    pub(super) fn of(error: io::Error) -> ConnectError {
        // A server that requires a certificate of the client says so after its part of the TLS handshake.
        #[cfg(feature = "tls")]
        if let Some(source) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
            return ConnectError::Tls(rustls::Error::clone(source));
        }
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ConnectError::Timeout,
            _ => ConnectError::Io(error),
        }
    }
}
