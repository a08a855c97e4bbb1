//! [`trusting`]: the TLS configuration of the connections to a Redis server, and which authorities it trusts.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use rustls_native_certs::load_native_certs;

use super::config::invalid;

/// Returns the configuration that trusts the authorities of the file, or else those of the system.
pub(super) fn trusting(authorities: Option<&Path>) -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(file) => read_authorities(file, &mut roots)?,
        None => {
            let found = load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                let text = "rediss:// needs authorities for certificates, and this system has none";
                return Err(invalid(text.into()));
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn read_authorities(file: &Path, roots: &mut RootCertStore) -> io::Result<()> {
    let wrong = |error: &dyn std::fmt::Display| {
        let file = file.display();
        invalid(format!(
            "the authorities of redis in {file} cannot be used: {error}"
        ))
    };
    let certificates = CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| wrong(&error))?;
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    match roots.is_empty() {
        true => Err(wrong(&"it has no certificate in the PEM format")),
        false => Ok(()),
    }
}
