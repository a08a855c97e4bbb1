//! The counts of TLS handshakes, by version, and of the failed ones by reason.

use std::time::Duration;

use socket2::SockRef;

use super::*;

/// The head of a ClientHello, which is followed by `version` and the rest of one that has no extension.
fn client_hello(version: [u8; 2]) -> Vec<u8> {
    let mut hello = version.to_vec();
    hello.extend([7; 32]);
    // No session, the cipher suite TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, and no compression.
    hello.extend([0, 0, 2, 0xc0, 0x2f, 1, 0]);
    let length = u8::try_from(hello.len()).expect("a short message");
    let record = [&[1, 0, 0, length], &*hello].concat();
    let length = u8::try_from(record.len()).expect("a short record");
    [&[0x16, 3, 1, 0, length], &*record].concat()
}

/// Sends these bytes, and reads to the end of the stream.
#[track_caller]
fn send(hub: &Hub, bytes: &[u8]) {
    let mut tcp = tcp(hub.address);
    tcp.write_all(bytes).expect("bytes are sent");
    let _ = tcp.read_to_end(&mut Vec::new());
}

fn failures(hub: &Hub, reason: &str) -> f64 {
    hub.metric(&format!(
        "standpipe_tls_handshake_failures_total{{reason=\"{reason}\"}}"
    ))
}

#[test]
fn handshakes_are_counted_by_version_and_kind() {
    let hub = Hub::start(&[]);
    let handshakes = |version: &str, kind: &str| {
        hub.metric(&format!(
            "standpipe_tls_handshakes_total{{version=\"{version}\",kind=\"{kind}\"}}"
        ))
    };
    for version in [&TLS12, &TLS13] {
        let config = client_config(&[version], None);
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut client = Client::connect(hub.address, "/echo", &config);
            assert_eq!(client.kind(), Some(kind));
            client.text("the tickets of TLS 1.3 come before the answer");
            client.read();
            client.leave();
        }
    }
    assert_eq!(handshakes("1.2", "full"), 1.0);
    assert_eq!(handshakes("1.2", "resumed"), 1.0);
    assert_eq!(handshakes("1.3", "resumed"), 1.0);
    // With those of the requests for the metrics, each of which is a client of its own.
    let before = handshakes("1.3", "full");
    assert_eq!(handshakes("1.3", "full"), before + 1.0);
}

#[test]
fn failed_handshakes_are_counted_by_reason() {
    // With -v, the log has a line for each failure.
    let hub = Hub::start(&["--handshake-timeout", "2s", "-v"]);
    send(&hub, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    send(&hub, &[0x80, 0x2e, 1, 0, 2]);
    // TLS 1.1.
    send(&hub, &client_hello([3, 2]));
    let mut protocols = ClientConfig::clone(&trusting());
    protocols.alpn_protocols = vec![b"h2".to_vec()];
    let refused = handshake(tcp(hub.address), &Arc::new(protocols));
    assert!(refused.is_err(), "only HTTP/1.1 is spoken");
    let distrusting = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the versions of the provider")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let refused = handshake(tcp(hub.address), &Arc::new(distrusting));
    assert!(refused.is_err(), "no authority is trusted");
    // The client leaves in the middle.
    let mut leaving = tcp(hub.address);
    leaving
        .write_all(&client_hello([3, 3])[..20])
        .expect("bytes are sent");
    leaving
        .shutdown(std::net::Shutdown::Write)
        .expect("an open socket");
    let _ = leaving.read_to_end(&mut Vec::new());
    // A health check of a load balancer is not counted. HAProxy ends it with a reset.
    drop(tcp(hub.address));
    let check = tcp(hub.address);
    let linger = SockRef::from(&check).set_linger(Some(Duration::ZERO));
    linger.expect("an open socket");
    drop(check);
    // The client stops in the middle, and is reset.
    send(&hub, &client_hello([3, 3])[..20]);
    for reason in [
        "plain_http",
        "not_tls",
        "version",
        "alpn",
        "peer_alert",
        "closed",
        "timed_out",
    ] {
        until(reason, || failures(&hub, reason) == 1.0);
    }
    for (reason, count) in [
        ("cipher", 0.0),
        ("client_certificate", 0.0),
        ("other", 0.0),
        ("closed", 1.0),
    ] {
        assert_eq!(failures(&hub, reason), count, "{reason}");
    }
    for text in [
        "the client speaks HTTP without TLS",
        "no TLS: the client speaks no TLS, or breaks its rules: ",
        "no TLS: the client supports neither TLS 1.2 nor TLS 1.3",
        "no TLS: the client offers other protocols than http/1.1 (ALPN)",
        "no TLS: the client has sent the alert UnknownCA: it does not trust the certificate",
    ] {
        until(text, || hub.log().contains(text));
    }
    let refused =
        |reason: &str| hub.metric(&format!("standpipe_refused_total{{reason=\"{reason}\"}}"));
    // All but those that left and were too late.
    until("the refusals are counted", || refused("no_tls") == 5.0);
    until("the reset is counted", || refused("timed_out") == 1.0);
}

#[test]
fn client_without_its_certificate_is_counted() {
    let hub = Hub::start(&["--tls-client-ca", &key("ca.pem"), "-v"]);
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = |certificate| {
        let config = client_config(&[&TLS13, &TLS12], certificate);
        handshake(tcp(hub.address), &config).and_then(|tls| exchange(tls, request))
    };
    for certificate in [None, Some("other_client")] {
        let refused = answer(certificate);
        assert!(refused.is_err(), "{certificate:?}: {refused:?}");
    }
    let known = || answer(Some("client")).expect("a known client");
    let counted = "standpipe_tls_handshake_failures_total{reason=\"client_certificate\"} 2\n";
    // A client may read its alert before the failure is counted.
    until("both failures are counted", || {
        known().body.contains(counted)
    });
    let known = known();
    assert!(
        known
            .body
            .contains("standpipe_tls_certificate_not_after_seconds 4"),
        "{}",
        known.body
    );
    for text in [
        "no TLS: the client has shown no certificate",
        "no TLS: the certificate of the client is not trusted: no authority that is trusted here has signed it",
    ] {
        until(text, || hub.log().contains(text));
    }
}

/// The name that a client asks for (SNI) may tell what its user reads.
#[test]
fn server_name_of_a_client_is_not_logged() {
    let hub = Hub::start(&["-vv"]);
    let name = ServerName::try_from("private-name.example").expect("a name");
    let session = ClientConnection::new(trusting(), name).expect("a session");
    let mut tls = StreamOwned::new(session, tcp(hub.address));
    // The certificate is not for this name.
    let refused = tls.conn.complete_io(&mut tls.sock);
    assert!(refused.is_err(), "{refused:?}");
    until("the refusal is logged", || {
        hub.log().contains("no TLS: the client has sent the alert ")
    });
    assert!(!hub.log().contains("private-name"), "{}", hub.log());
}
