//! Why PEM files cannot be used, for people. The binary includes this file too.

use std::borrow::Cow;

use rustls::pki_types::pem;
use rustls::{CertificateError, Error, InconsistentKeys};

/// Returns what is wrong with the format of a file, as the end of a sentence. The text has nothing of the content, which
/// may be a part of a key.
pub(crate) fn format(error: &pem::Error) -> Cow<'static, str> {
    let text = match error {
        pem::Error::MissingSectionEnd { .. } => "a line that begins with -----END is missing",
        pem::Error::IllegalSectionStart { .. } => "a line that begins with -----BEGIN is damaged",
        pem::Error::Base64Decode(_) => {
            "a line between -----BEGIN and -----END has a wrong character, or is cut off"
        }
        error => return Cow::Owned(error.to_string()),
    };
    Cow::Borrowed(text)
}

/// Returns whether a file has an encrypted key (RFC 7468 §11, or RFC 1421 §4.6.1.1 as OpenSSL writes it).
pub(crate) fn is_encrypted(file: &[u8]) -> bool {
    let marks = [
        &b"-----BEGIN ENCRYPTED PRIVATE KEY-----"[..],
        b"Proc-Type: 4,ENCRYPTED",
    ];
    marks
        .iter()
        .any(|mark| file.windows(mark.len()).any(|part| part == *mark))
}

/// Returns why a certificate and a key cannot be used together, as the end of a sentence.
pub(crate) fn pair(error: &Error) -> Cow<'static, str> {
    let text = match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            "the key does not belong to the certificate, which must be the first one in its file"
        }
        // The provider has no other error of a key.
        Error::General(_) => {
            "the kind of the key is not supported; use P-256, P-384, Ed25519, or RSA with 2048 to 8192 bits"
        }
        Error::InvalidCertificate(CertificateError::BadEncoding) => "the certificate is damaged",
        // `rustls` has no name for this error of `webpki`.
        Error::InvalidCertificate(CertificateError::Other(error))
            if format!("{error:?}").contains("UnsupportedCertVersion") =>
        {
            "the certificate has not version 3, which `openssl x509 -req` makes only with extensions (-extfile)"
        }
        Error::InvalidCertificate(error) => {
            return Cow::Owned(format!("the certificate is not supported: {error}"));
        }
        error => return Cow::Owned(error.to_string()),
    };
    Cow::Borrowed(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_encrypted_keys_are_recognised() {
        let pkcs8 = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIGj\n";
        let openssl =
            b"-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,3D\n";
        assert!(is_encrypted(pkcs8) && is_encrypted(openssl));
        assert!(!is_encrypted(b"-----BEGIN PRIVATE KEY-----\nMIGj\n"));
        assert!(!is_encrypted(b""));
    }

    #[test]
    fn damaged_file_is_explained_without_its_content() {
        let missing = pem::Error::MissingSectionEnd {
            end_marker: b"SECRET".to_vec(),
        };
        let text = format(&missing);
        assert!(
            text.contains("-----END") && !text.contains("SECRET"),
            "{text}"
        );
        let base64 = pem::Error::Base64Decode("InvalidCharacter(33)".into());
        assert!(format(&base64).contains("a wrong character"));
    }
}
