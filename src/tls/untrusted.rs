//! [`reason`]: why a client, or a server with client certificates, does not trust a certificate. The binary includes this
//! file too.

use std::borrow::Cow;

use rustls::CertificateError;

/// Returns what is wrong with a certificate, as the end of a sentence.
pub(crate) fn reason(error: &CertificateError) -> Cow<'static, str> {
    let text = match error {
        CertificateError::UnknownIssuer => "no authority that is trusted here has signed it",
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is for other names"
        }
        CertificateError::Revoked => "it has been revoked",
        CertificateError::BadSignature => "its signature is wrong",
        CertificateError::BadEncoding => "it cannot be read",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "it is not for this use (extendedKeyUsage)"
        }
        // `rustls` has no name for this error of `webpki`.
        CertificateError::Other(error) if format!("{error:?}").contains("CaUsedAsEndEntity") => {
            "it is the certificate of an authority (CA:TRUE), and has to be one that an authority has signed"
        }
        // Such errors quote the certificate, which has any text.
        error => return Cow::Owned(format!("{error}").escape_debug().to_string()),
    };
    Cow::Borrowed(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_sentences_without_control_characters() {
        assert_eq!(reason(&CertificateError::Expired), "it has expired");
        let rare = reason(&CertificateError::InvalidOcspResponse);
        assert!(!rare.is_empty() && !rare.contains(char::is_control));
    }
}
