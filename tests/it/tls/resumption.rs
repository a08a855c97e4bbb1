//! Sessions that a client resumes, with tickets.

use std::sync::Arc;

use rustls::HandshakeKind;
use rustls::client::{ClientConfig, ClientSessionMemoryCache, Resumption};
use standpipe::rustls;
use standpipe::{Config, TlsConfig};

use crate::support::tls_peer::{
    TLS_1_2, TLS_1_3, tls_client_with, tls_config, tls_config_with_client_ca, tls_server_of,
};
use crate::support::{TestServer, TlsEnd, TlsPeer, echo};

/// A client that keeps its tickets.
fn keeping(versions: &[&'static rustls::SupportedProtocolVersion]) -> ClientConfig {
    let mut config = tls_client_with(versions, Some("client"));
    let cache = Arc::new(ClientSessionMemoryCache::new(8));
    config.resumption = Resumption::store(cache);
    config
}

/// Connects, sends a message, and returns how the handshake went.
#[track_caller]
fn kind(server: &TestServer, config: &ClientConfig) -> HandshakeKind {
    let mut client = TlsPeer::connect_with(server.addr(), config.clone());
    client.text("hello");
    client.expect_text("hello");
    let kind = client
        .session
        .handshake_kind()
        .expect("a finished handshake");
    client.leave();
    kind
}

#[test]
fn sessions_are_resumed_in_both_versions() {
    let server = tls_server_of(tls_config(), Config::default(), echo);
    for versions in [TLS_1_2, TLS_1_3] {
        let client = keeping(versions);
        assert_eq!(kind(&server, &client), HandshakeKind::Full);
        for _ in 0..3 {
            assert_eq!(
                kind(&server, &client),
                HandshakeKind::Resumed,
                "{versions:?}"
            );
        }
    }
}

/// Otherwise, a client could go on with a certificate that has expired, or whose authority is not trusted any more.
#[test]
fn session_with_a_client_certificate_is_not_resumed() {
    for versions in [TLS_1_2, TLS_1_3] {
        let tls = tls_config_with_client_ca("ca.pem");
        let server = tls_server_of(tls.clone(), Config::default(), echo);
        let client = keeping(versions);
        for _ in 0..3 {
            assert_eq!(kind(&server, &client), HandshakeKind::Full, "{versions:?}");
        }
        tls.reload(tls_config_with_client_ca("other_ca.pem"));
        let mut refused = TlsPeer::open(server.addr(), client.clone());
        let end = match refused.handshake() {
            Ok(()) => refused.end(),
            Err(end) => end,
        };
        assert!(matches!(end, TlsEnd::Alert(_)), "{end:?}");
    }
}

/// Each configuration has its own key for tickets, so that a reload changes everything.
#[test]
fn session_does_not_outlive_any_reload() {
    for versions in [TLS_1_2, TLS_1_3] {
        let tls: TlsConfig = tls_config();
        let server = tls_server_of(tls.clone(), Config::default(), echo);
        let client = keeping(versions);
        assert_eq!(kind(&server, &client), HandshakeKind::Full);
        tls.reload(tls_config());
        assert_eq!(kind(&server, &client), HandshakeKind::Full);
        assert_eq!(kind(&server, &client), HandshakeKind::Resumed);
    }
}
