//! The certificate of the server, those of clients (mTLS), and what a handler sees of a session.

use rustls::AlertDescription;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use standpipe::rustls;
use standpipe::{Config, Connection, Handler, Refused, Reply, Request, TlsVersion};

use crate::support::tls_peer::{
    TLS_1_2, TLS_1_3, key_file, tls_client, tls_client_with, tls_config_with_client_ca, tls_server,
    tls_server_of,
};
use crate::support::{Failure, TlsEnd, TlsPeer, echo, in_own_process, until};

/// Answers with what it sees of the session, and upgrades nothing.
struct Shows;

impl Handler for Shows {
    fn request(&self, request: &mut Request) -> Reply {
        let Some(tls) = request.tls() else {
            return Reply::text(200, "no TLS");
        };
        let name = tls.server_name().unwrap_or("no name");
        let certificates = tls.peer_certificates();
        let client = CertificateDer::from_pem_file(key_file("client.pem")).expect("a certificate");
        let is_client = certificates.first() == Some(&client);
        let count = certificates.len();
        Reply::text(200, format!("{} {name} {count} {is_client}", tls.version()))
    }

    fn run(&self, _: &mut Connection) -> Result<(), Failure> {
        unreachable!("nothing is upgraded")
    }
}

const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Returns the body of the answer to a `GET`.
#[track_caller]
fn get(mut peer: TlsPeer) -> String {
    assert_eq!(peer.handshake(), Ok(()));
    peer.send(GET);
    let (answer, end) = peer.read_all();
    assert_eq!(end, TlsEnd::CloseNotify);
    let answer = crate::support::Answer::parse(&answer);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

#[test]
fn handler_sees_version_name_and_certificates() {
    let server = tls_server(Config::default(), Shows);
    for (versions, shown) in [
        (TLS_1_2, "TLS 1.2 localhost 0 false"),
        (TLS_1_3, "TLS 1.3 localhost 0 false"),
    ] {
        assert_eq!(
            get(TlsPeer::open(server.addr(), tls_client(versions))),
            shown
        );
    }
    let mut nameless = tls_client(TLS_1_3);
    nameless.enable_sni = false;
    let shown = get(TlsPeer::open(server.addr(), nameless));
    assert_eq!(shown, "TLS 1.3 no name 0 false");
    let tls = tls_config_with_client_ca("ca.pem");
    let server = tls_server_of(tls, Config::default(), Shows);
    for versions in [TLS_1_2, TLS_1_3] {
        let client = tls_client_with(versions, Some("client"));
        let shown = get(TlsPeer::open(server.addr(), client));
        assert!(shown.ends_with(" localhost 2 true"), "{shown}");
    }
}

#[test]
fn client_state_has_the_tls_version() {
    let server = tls_server(Config::default(), echo);
    for (versions, shown) in [(TLS_1_2, TlsVersion::Tls12), (TLS_1_3, TlsVersion::Tls13)] {
        let client = TlsPeer::connect_with(server.addr(), tls_client(versions));
        let states = server.handle().client_states();
        assert_eq!(
            states.iter().map(|state| state.tls).collect::<Vec<_>>(),
            [Some(shown)]
        );
        client.leave();
        until("the client is gone", || server.handle().clients() == 0);
    }
}

#[test]
fn client_certificate_is_required_and_checked() {
    let tls = tls_config_with_client_ca("ca.pem");
    let server = tls_server_of(tls, Config::default(), echo);
    for versions in [TLS_1_2, TLS_1_3] {
        let client = tls_client_with(versions, Some("client"));
        TlsPeer::connect_with(server.addr(), client).leave();
    }
    let mut refused = 0;
    for (certificate, alert) in [
        (None, AlertDescription::CertificateRequired),
        (Some("other_client"), AlertDescription::UnknownCA),
        (Some("expired_client"), AlertDescription::CertificateExpired),
        // A certificate for servers, not for clients.
        (Some("server"), AlertDescription::UnsupportedCertificate),
    ] {
        for versions in [TLS_1_2, TLS_1_3] {
            let client = tls_client_with(versions, certificate);
            let mut peer = TlsPeer::open(server.addr(), client);
            // In TLS 1.3, a client has completed its handshake before the server checks its certificate.
            let end = match peer.handshake() {
                Ok(()) => peer.end(),
                Err(end) => end,
            };
            assert_eq!(end, TlsEnd::Alert(alert), "{certificate:?} {versions:?}");
            refused += 1;
            until("the refusal is counted", || {
                let refusals = server.handle().statistics().refused;
                refusals.contains(&(Refused::NoTls, refused))
            });
        }
    }
    assert_eq!(server.handle().clients(), 0);
}

/// The smallest stack that is allowed is enough for a handshake. An overflow would end the process.
#[test]
fn smallest_stack_is_enough_for_a_handshake() {
    let name = "tls::certificates::smallest_stack_is_enough_for_a_handshake";
    in_own_process(name, || {
        let config = Config::default().handler_stack(64 << 10);
        let tls = tls_config_with_client_ca("ca.pem");
        let server = tls_server_of(tls, config, echo);
        for versions in [TLS_1_2, TLS_1_3] {
            for certificate in ["client", "long_client"] {
                let client = tls_client_with(versions, Some(certificate));
                let mut peer = TlsPeer::connect_with(server.addr(), client);
                let message = "x".repeat(60_000);
                peer.text(&message);
                peer.expect_text(&message);
                peer.leave();
            }
        }
    });
}
