//! The library's own client over TLS, against the library's own server and against a peer that the test plays record by
//! record.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError::Timeout;
use standpipe::rustls::crypto::ring;
use standpipe::rustls::pki_types::CertificateDer;
use standpipe::rustls::pki_types::pem::PemObject;
use standpipe::rustls::{
    self, CertificateError, ClientConfig, ConfigBuilder, RootCertStore, ServerConfig,
    ServerConnection, StreamOwned, WantsVerifier, client::WantsClientCert,
};
use standpipe::tungstenite::handshake::derive_accept_key;
use standpipe::{
    Client, ClientBuilder, Config, ConnectError, Connection, Message, RecvError, RecvTimeoutError,
    Reply, Request,
};

use crate::support::tls_peer::{
    key_file as key, played_server, tls_client_with, tls_config_with_client_ca, tls_server,
    tls_server_of,
};
use crate::support::{DEADLINE, TestServer, echo, within};

mod certificates;
mod records;

fn builder_of(
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> ConfigBuilder<ClientConfig, WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .expect("the provider has these versions")
}

fn trusting(
    versions: &[&'static rustls::SupportedProtocolVersion],
    authority: &str,
) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(key(authority)).expect("the test's file");
    roots.add(certificate).expect("an authority");
    builder_of(versions).with_root_certificates(roots)
}

/// Returns a configuration that trusts the authority of the tests.
fn client_config() -> ClientConfig {
    trusting(rustls::ALL_VERSIONS, "ca.pem").with_no_client_auth()
}

fn builder(server: &TestServer) -> ClientBuilder {
    let url = format!("wss://localhost:{}/", server.addr().port());
    Client::builder(url).tls(client_config())
}

fn connect(server: &TestServer) -> Client {
    builder(server).connect().expect("a connection")
}

#[test]
fn messages_and_close_cross_both_ways() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let server = tls_server(Config::default().max_message(1 << 20), echo);
        let tls = trusting(&[version], "ca.pem").with_no_client_auth();
        let mut client = builder(&server).tls(tls).connect().expect("a connection");
        for message in [
            Message::text("héllo"),
            Message::text(""),
            Message::binary(vec![7; 700_000]),
        ] {
            client.send(message.clone()).expect("the server reads");
            let echo = client.recv().expect("an echo");
            assert!(echo.as_ref() == Some(&message), "{} bytes", message.len());
        }
        client.close(4100, "done").expect("a closing handshake");
        assert_eq!(client.peer_close().map(|close| close.code), Some(4100));
        let shown = format!("{client:?}");
        assert!(shown.contains("TLSv1_"), "{shown}");
    }
}
