//! [`TlsInfo`]: what a TLS session tells about its client.

use rustls::pki_types::CertificateDer;
use rustls::{Connection as Session, ProtocolVersion};

use super::version::TlsVersion;

/// The TLS session of a request: see [`Request::tls`](crate::Request::tls). The version may appear in a log. The server
/// name and the certificates come from the client, and never do.
///
/// ```
/// use standpipe::{Reply, Request};
///
/// /// Accepts clients that asked for this server name.
/// fn request(request: &mut Request) -> Reply {
///     match request.tls().and_then(|tls| tls.server_name()) {
///         Some("chat.example.org") => Reply::upgrade(),
///         _ => Reply::status(404),
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsInfo {
    version: TlsVersion,
    server_name: Option<Box<str>>,
    peer_certificates: Box<[CertificateDer<'static>]>,
}

impl TlsInfo {
    pub(crate) fn of(session: &Session) -> TlsInfo {
        let version = match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => TlsVersion::Tls12,
            _ => TlsVersion::Tls13,
        };
        let server_name = match session {
            Session::Server(session) => session.server_name().map(Into::into),
            Session::Client(_) => None,
        };
        TlsInfo {
            version,
            server_name,
            peer_certificates: session.peer_certificates().unwrap_or_default().into(),
        }
    }

    /// Returns the version of TLS.
    ///
    /// ```
    /// use standpipe::{Request, TlsVersion};
    ///
    /// fn is_recent(request: &Request) -> bool {
    ///     request.tls().is_some_and(|tls| tls.version() == TlsVersion::Tls13)
    /// }
    /// # let _ = is_recent;
    /// ```
    pub fn version(&self) -> TlsVersion {
        self.version
    }

    /// Returns the server name that the client asked for (SNI, RFC 6066 §3), in lower case. `None` if it asked for
    /// none, for example because it connects to an IP address.
    ///
    /// ```
    /// # fn example(request: &standpipe::Request) {
    /// let tenant = request.tls().and_then(|tls| tls.server_name());
    /// # }
    /// ```
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// Returns the certificates of the client, its own first. They have been verified. The list is empty if the listener
    /// requires none.
    ///
    /// ```
    /// use standpipe::{Reply, Request};
    ///
    /// /// Accepts one client only, whose certificate was built into the program.
    /// fn request(request: &mut Request, known: &[u8]) -> Reply {
    ///     let certificates = request.tls().map_or(&[][..], |tls| tls.peer_certificates());
    ///     match certificates.first() {
    ///         Some(own) if own.as_ref() == known => Reply::upgrade(),
    ///         _ => Reply::status(403),
    ///     }
    /// }
    /// # let _ = request;
    /// ```
    pub fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        &self.peer_certificates
    }
}
