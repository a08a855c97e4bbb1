//! [`TlsCounts`]: the TLS handshakes of a server, by version, and the failed ones by reason.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[cfg(feature = "tls")]
use rustls::{Error, PeerIncompatible};

use crate::tls::TlsVersion;

/// The TLS handshakes of a server since it was bound, for [`ServerStatistics::tls`](crate::ServerStatistics::tls).
///
/// A connection that ends before its first byte is not counted, because it may be the check of a load balancer. A handshake
/// that the server has ended, at a shutdown or because its slot was needed, is not counted either.
///
/// ```
/// use standpipe::{ServerHandle, TlsFailure};
///
/// /// Returns how many clients did not accept the certificate, or ended the handshake in another way.
/// fn left(handle: &ServerHandle) -> u64 {
///     let failed = handle.statistics().tls.failed.into_iter();
///     failed.filter(|(reason, _)| matches!(reason, TlsFailure::PeerAlert | TlsFailure::Closed)).map(|(_, count)| count).sum()
/// }
/// # let _: fn(&ServerHandle) -> u64 = left;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsCounts {
    /// Full handshakes, for each version.
    pub full: Vec<(TlsVersion, u64)>,
    /// Handshakes that continued an earlier session of the client, for each version. They cost less processor time.
    pub resumed: Vec<(TlsVersion, u64)>,
    /// Failed handshakes, for each reason.
    pub failed: Vec<(TlsFailure, u64)>,
}

/// Why a TLS handshake has failed. [`Display`](fmt::Display) shows the [`name`](Self::name).
///
/// ```
/// assert_eq!(standpipe::TlsFailure::PlainHttp.to_string(), "plain_http");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TlsFailure {
    /// The client speaks HTTP without TLS. It is answered 400.
    PlainHttp,
    /// The client speaks no TLS, or breaks its rules.
    NotTls,
    /// The client supports neither TLS 1.2 nor 1.3.
    Version,
    /// The client and the server have no cipher suite, group or signature scheme in common.
    Cipher,
    /// The client offers protocols (ALPN), and `http/1.1` is not among them.
    Alpn,
    /// The client has no certificate, although one is required, or its certificate cannot be verified.
    ClientCertificate,
    /// The client ended the handshake with an alert, for example because it does not accept the certificate of the server.
    PeerAlert,
    /// The client ended the connection during the handshake, or the connection failed.
    Closed,
    /// The handshake was not complete within [`handshake_timeout`](crate::Config::handshake_timeout).
    TimedOut,
    /// Another reason, which the log has.
    Other,
}

impl TlsFailure {
    /// Every reason.
    ///
    /// ```
    /// use standpipe::TlsFailure;
    ///
    /// assert!(TlsFailure::ALL.contains(&TlsFailure::Alpn));
    /// ```
    pub const ALL: &'static [TlsFailure] = &FAILURES;

    /// Returns the name of the reason, as in the metrics of the program.
    ///
    /// ```
    /// assert_eq!(standpipe::TlsFailure::ClientCertificate.name(), "client_certificate");
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            TlsFailure::PlainHttp => "plain_http",
            TlsFailure::NotTls => "not_tls",
            TlsFailure::Version => "version",
            TlsFailure::Cipher => "cipher",
            TlsFailure::Alpn => "alpn",
            TlsFailure::ClientCertificate => "client_certificate",
            TlsFailure::PeerAlert => "peer_alert",
            TlsFailure::Closed => "closed",
            TlsFailure::TimedOut => "timed_out",
            TlsFailure::Other => "other",
        }
    }
}

const FAILURES: [TlsFailure; 10] = [
    TlsFailure::PlainHttp,
    TlsFailure::NotTls,
    TlsFailure::Version,
    TlsFailure::Cipher,
    TlsFailure::Alpn,
    TlsFailure::ClientCertificate,
    TlsFailure::PeerAlert,
    TlsFailure::Closed,
    TlsFailure::TimedOut,
    TlsFailure::Other,
];

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(feature = "tls")]
impl From<&Error> for TlsFailure {
    fn from(error: &Error) -> TlsFailure {
        match error {
            Error::InvalidMessage(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::PeerMisbehaved(_)
            | Error::PeerSentOversizedRecord
            | Error::DecryptError => TlsFailure::NotTls,
            Error::PeerIncompatible(
                PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::SupportedVersionsExtensionRequired
                // Only clients of TLS 1.1 and older leave this extension out.
                | PeerIncompatible::SignatureAlgorithmsExtensionRequired,
            ) => TlsFailure::Version,
            Error::PeerIncompatible(_) => TlsFailure::Cipher,
            Error::NoApplicationProtocol => TlsFailure::Alpn,
            Error::NoCertificatesPresented | Error::InvalidCertificate(_) => {
                TlsFailure::ClientCertificate
            }
            Error::AlertReceived(_) => TlsFailure::PeerAlert,
            _ => TlsFailure::Other,
        }
    }
}

const VERSIONS: [TlsVersion; 2] = [TlsVersion::Tls12, TlsVersion::Tls13];

/// The counters behind [`TlsCounts`]. Changed once for each handshake.
#[derive(Debug, Default)]
pub(crate) struct TlsCounters {
    full: [AtomicU64; VERSIONS.len()],
    resumed: [AtomicU64; VERSIONS.len()],
    failed: [AtomicU64; FAILURES.len()],
}

impl TlsCounters {
    #[cfg(feature = "tls")]
    pub(super) fn count(&self, version: TlsVersion, is_resumed: bool) {
        let counters = if is_resumed {
            &self.resumed
        } else {
            &self.full
        };
        let at = VERSIONS.iter().position(|known| *known == version);
        let at = at.expect("`VERSIONS` lists every version");
        counters[at].fetch_add(1, Relaxed);
    }

    #[cfg(feature = "tls")]
    pub(super) fn count_failure(&self, reason: TlsFailure) {
        let at = FAILURES.iter().position(|known| *known == reason);
        let at = at.expect("`FAILURES` lists every reason");
        self.failed[at].fetch_add(1, Relaxed);
    }

    /// Returns all counts, also those that are 0.
    pub(super) fn counts(&self) -> TlsCounts {
        TlsCounts {
            full: pairs(VERSIONS, &self.full),
            resumed: pairs(VERSIONS, &self.resumed),
            failed: pairs(FAILURES, &self.failed),
        }
    }
}

fn pairs<T, const N: usize>(of: [T; N], counters: &[AtomicU64; N]) -> Vec<(T, u64)> {
    let counts = counters.iter().map(|count| count.load(Relaxed));
    of.into_iter().zip(counts).collect()
}

#[cfg(test)]
#[cfg(feature = "tls")]
mod tests {
    use super::*;

    #[test]
    fn every_handshake_has_its_own_counter() {
        let counters = TlsCounters::default();
        let mut expected = TlsCounts::default();
        let mut next = 0;
        for version in VERSIONS {
            for is_resumed in [false, true] {
                next += 1;
                (0..next).for_each(|_| counters.count(version, is_resumed));
                let rows = if is_resumed {
                    &mut expected.resumed
                } else {
                    &mut expected.full
                };
                rows.push((version, next));
            }
        }
        for reason in FAILURES {
            next += 1;
            (0..next).for_each(|_| counters.count_failure(reason));
            expected.failed.push((reason, next));
        }
        assert_eq!(counters.counts(), expected);
        let mut names: Vec<_> = FAILURES.iter().map(|reason| reason.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FAILURES.len());
    }
}
