//! [`TlsVersion`]: a version of TLS. It exists without the feature `tls` too, so that [`ClientState`](crate::ClientState)
//! has the same fields.

use std::fmt;

/// A version of TLS. [`Display`](fmt::Display) shows it as `TLS 1.3`.
///
/// ```
/// assert_eq!(standpipe::TlsVersion::Tls13.to_string(), "TLS 1.3");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TlsVersion::Tls12 => "TLS 1.2",
            TlsVersion::Tls13 => "TLS 1.3",
        })
    }
}
