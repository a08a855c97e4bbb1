//! [`Validity`]: from when until when a certificate is valid.

use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use standpipe::rustls::client::verify_server_cert_signed_by_trust_anchor as verify;
use standpipe::rustls::crypto::ring;
use standpipe::rustls::pki_types::pem::PemObject;
use standpipe::rustls::pki_types::{CertificateDer, UnixTime};
use standpipe::rustls::server::ParsedCertificate;
use standpipe::rustls::{CertificateError, Error, RootCertStore};

/// The first and the last second of a certificate, since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    not_before: u64,
    pub(super) not_after: u64,
}

impl Validity {
    /// Returns the validity of the first certificate in a file, or `None` if it cannot be found out.
    pub(super) fn of_file(path: &Path) -> Option<Validity> {
        let mut certificates = CertificateDer::pem_file_iter(path).ok()?;
        let certificate = certificates.next()?.ok()?;
        Validity::of(&certificate)
    }

    /// No function of `rustls` returns the validity. But a check at a moment outside of it is an error that has the limit.
    /// It makes no difference which authority has signed the certificate.
    fn of(certificate: &CertificateDer<'_>) -> Option<Validity> {
        let certificate = ParsedCertificate::try_from(certificate).ok()?;
        let algorithms = ring::default_provider().signature_verification_algorithms;
        let error_at = |seconds: u64| {
            let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
            verify(
                &certificate,
                &RootCertStore::empty(),
                &[],
                now,
                algorithms.all,
            )
            .err()
        };
        let limits = (error_at(0)?, error_at(u64::MAX)?);
        let (
            Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. }),
            Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }),
        ) = limits
        else {
            return None;
        };
        Some(Validity {
            not_before: not_before.as_secs(),
            not_after: not_after.as_secs(),
        })
    }

    /// Returns why clients refuse the certificate at this moment, or `None` if it is valid.
    pub(super) fn problem(self, now: SystemTime) -> Option<Problem> {
        let now = now.duration_since(UNIX_EPOCH).ok()?.as_secs();
        if now > self.not_after {
            Some(Problem::Expired(self.not_after))
        } else if now < self.not_before {
            Some(Problem::NotValidYet(self.not_before))
        } else {
            None
        }
    }
}

/// Why a certificate is not valid at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    Expired(u64),
    NotValidYet(u64),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, seconds) = match self {
            Problem::Expired(at) => ("expired on", *at),
            Problem::NotValidYet(at) => ("is not valid before", *at),
        };
        write!(f, "{text} ")?;
        match UNIX_EPOCH.checked_add(Duration::from_secs(seconds)) {
            // The format has four digits for a year.
            Some(time) if seconds < 253_402_300_800 => {
                write!(f, "{}", httpdate::HttpDate::from(time))
            }
            _ => write!(f, "{seconds} s after 1970"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate of the tests, with the limits that `openssl x509 -dates` shows.
    #[test]
    fn validity_is_that_of_the_certificate() {
        let (not_before, not_after) = (1_796_076_705, 4_949_676_705);
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/tls/server.pem");
        let validity = Validity::of_file(path.as_ref()).expect("a certificate");
        let expected = Validity {
            not_before,
            not_after,
        };
        assert_eq!(validity, expected);
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let problem = |seconds| {
            validity
                .problem(at(seconds))
                .map(|problem| problem.to_string())
        };
        assert_eq!(problem(not_before), None);
        assert_eq!(problem(not_after), None);
        let early = problem(not_before - 1).expect("it is not valid yet");
        assert_eq!(early, "is not valid before Mon, 30 Nov 2026 22:11:45 GMT");
        let late = problem(not_after + 1).expect("it has expired");
        assert_eq!(late, "expired on Wed, 06 Nov 2126 22:11:45 GMT");
        assert_eq!(Validity::of_file("/nonexistent".as_ref()), None);
    }
}
