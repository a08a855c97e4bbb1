//! The certificates of the tests, and the servers and clients that use them.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use standpipe::rustls;
use standpipe::{Config, Handler, Listener, Server, TlsConfig};

use super::TestServer;

/// Returns the path of a file of the test certificates.
pub(crate) fn key_file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/keys/tls", name]
        .iter()
        .collect()
}

/// Returns the configuration of a listener with the certificate `server.pem`.
pub(crate) fn tls_config() -> TlsConfig {
    TlsConfig::from_pem_files(key_file("server.pem"), key_file("server.key"))
        .expect("a certificate")
}

/// As [`tls_config`], and requires a client certificate that this authority has signed.
pub(crate) fn tls_config_with_client_ca(authority: &str) -> TlsConfig {
    TlsConfig::from_pem_files_with_client_ca(
        key_file("server.pem"),
        key_file("server.key"),
        key_file(authority),
    )
    .expect("a certificate and an authority")
}

/// Starts a server whose only listener has TLS.
pub(crate) fn tls_server(config: Config, handler: impl Handler + Send + 'static) -> TestServer {
    tls_server_of(tls_config(), config, handler)
}

pub(crate) fn tls_server_of(
    tls: TlsConfig,
    config: Config,
    handler: impl Handler + Send + 'static,
) -> TestServer {
    // The clients of a test are in the same process, so they need as many descriptors as the server.
    let _ = standpipe::raise_descriptor_limit();
    let listener = Listener::bind("127.0.0.1:0").expect("a free port").tls(tls);
    let server = Server::from_listeners(vec![listener], config).expect("a valid configuration");
    TestServer::of(server, handler)
}

/// Returns the settings of a client that trusts `ca.pem`, offers `http/1.1`, and resumes no session.
pub(crate) fn tls_client(versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    tls_client_with(versions, None)
}

/// As [`tls_client`], with the certificate `NAME.pem`.
pub(crate) fn tls_client_with(
    versions: &[&'static SupportedProtocolVersion],
    certificate: Option<&str>,
) -> ClientConfig {
    tls_client_of(ring::default_provider(), versions, certificate)
}

/// Returns the configuration of a server that a test plays itself, with the certificate `server.pem`.
pub(crate) fn played_server() -> ServerConfig {
    ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_no_client_auth()
        .with_single_cert(certificates("server"), private_key("server"))
        .expect("the certificate is for this key")
}

/// Reads the certificates in `NAME.pem`.
pub(crate) fn certificates(name: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(key_file(&format!("{name}.pem")))
        .and_then(Iterator::collect)
        .expect("certificates")
}

/// Reads the key in `NAME.key`.
fn private_key(name: &str) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_file(key_file(&format!("{name}.key"))).expect("a key")
}

/// As [`tls_client_with`], with the ciphers of this provider.
pub(crate) fn tls_client_of(
    provider: rustls::crypto::CryptoProvider,
    versions: &[&'static SupportedProtocolVersion],
    certificate: Option<&str>,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(key_file("ca.pem")).expect("a certificate");
    roots.add(authority).expect("an authority");
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .expect("versions that the provider has")
        .with_root_certificates(roots);
    let mut config = match certificate {
        None => builder.with_no_client_auth(),
        Some(name) => builder
            .with_client_auth_cert(certificates(name), private_key(name))
            .expect("a certificate with its key"),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    config
}

pub(crate) const TLS_1_2: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
pub(crate) const TLS_1_3: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
