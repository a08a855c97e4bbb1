//! TLS handshakes that stall, trickle, never end, or are none.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustls::AlertDescription;
use standpipe::rustls;
use standpipe::{Config, Refused};

use super::{refused, resident_kib};
use crate::support::tls_peer::{
    TLS_1_2, TLS_1_3, key_file, open_socket, read_raw, tls_client, tls_client_with,
    tls_config_with_client_ca, tls_server, tls_server_of, trickle,
};
use crate::support::{
    Answer, TestServer, TlsEnd, TlsPeer, assert_lasted, echo, in_own_process, until,
};

const TIMEOUT: Duration = Duration::from_secs(2);

/// Waits until `count` handshakes have been ended, none before the timeout, and the last one soon after it.
#[track_caller]
fn assert_all_end_in_time(server: &TestServer, count: u64, first: Instant, last: Instant) {
    until("all handshakes have missed their deadline", || {
        server.disconnects("handshake_timeout") >= count
    });
    assert_eq!(server.disconnects("handshake_timeout"), count);
    assert_lasted(first, TIMEOUT);
    // The busy machine of a test may be late. A stalled handshake that nobody ends would never be counted.
    assert!(
        last.elapsed() < TIMEOUT * 3,
        "{:?} after the last",
        last.elapsed()
    );
    until("the handshake slots are free", || {
        server.handle().pending_handshakes() == 0
    });
}

/// Checks that a connection has ended without a byte in clear text.
#[track_caller]
fn assert_ended(socket: &TcpStream, stalled_at: usize) {
    let (bytes, _) = read_raw(socket);
    assert!(
        !bytes.starts_with(b"HTTP"),
        "stalled at byte {stalled_at}: {bytes:?}"
    );
}

#[test]
fn t50a_client_hello_that_stalls_at_each_byte_ends_in_time() {
    for versions in [TLS_1_2, TLS_1_3] {
        let hello = TlsPeer::open(unused_address(), tls_client(versions)).flight();
        // Fewer than there are handshake slots for one address.
        for part in (0..hello.len()).collect::<Vec<_>>().chunks(150) {
            let server = tls_server(Config::default().handshake_timeout(TIMEOUT), echo);
            let first = Instant::now();
            let stalled: Vec<_> = part
                .iter()
                .map(|at| {
                    let socket = open_socket(server.addr());
                    std::io::Write::write_all(&mut &socket, &hello[..*at]).expect("a connection");
                    socket
                })
                .collect();
            let last = Instant::now();
            let mut healthy = TlsPeer::connect(server.addr());
            healthy.text("healthy");
            healthy.expect_text("healthy");
            // A busy machine may be late, but the healthy client never waits until the last of the others has been reset.
            assert!(
                server.disconnects("handshake_timeout") < stalled.len() as u64,
                "the healthy client waited"
            );
            assert_all_end_in_time(&server, stalled.len() as u64, first, last);
            for (at, socket) in part.iter().zip(&stalled) {
                assert_ended(socket, *at);
            }
            healthy.leave();
        }
    }
}

/// Returns an address at which something listens. Its peer only makes a ClientHello.
fn unused_address() -> std::net::SocketAddr {
    static LISTENER: std::sync::LazyLock<std::net::TcpListener> =
        std::sync::LazyLock::new(|| std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
    LISTENER.local_addr().expect("an address")
}

/// The client's second flight, and then the request.
#[test]
fn t50a_later_flight_that_stalls_at_each_byte_ends_in_time() {
    for versions in [TLS_1_2, TLS_1_3] {
        let server = tls_server(Config::default().handshake_timeout(TIMEOUT), echo);
        let first = Instant::now();
        let mut stalled = Vec::new();
        let mut length = 1;
        while stalled.len() < length {
            let at = stalled.len();
            let mut peer = TlsPeer::open(server.addr(), tls_client(versions));
            let flight = second_flight(&mut peer);
            length = flight.len();
            peer.bytes(&flight[..at]);
            stalled.push(peer);
            assert!(at < 200, "a handshake slot for each connection");
        }
        let last = Instant::now();
        TlsPeer::connect(server.addr()).leave();
        assert_all_end_in_time(&server, length as u64, first, last);
        for (at, peer) in stalled.iter().enumerate() {
            assert_ended(&peer.socket, at);
        }
    }
}

/// Runs the handshake up to the client's second flight, and returns it.
fn second_flight(peer: &mut TlsPeer) -> Vec<u8> {
    let hello = peer.flight();
    peer.bytes(hello);
    loop {
        assert_eq!(peer.receive(), Ok(()));
        let flight = peer.flight();
        if !flight.is_empty() {
            return flight;
        }
    }
}

/// A handshake that makes progress has no more time than one that makes none.
#[test]
fn t50a_handshake_that_trickles_ends_in_time() {
    let timeout = Duration::from_millis(600);
    let server = tls_server(Config::default().handshake_timeout(timeout), echo);
    let mut peer = TlsPeer::open(server.addr(), tls_client(TLS_1_3));
    let hello = peer.flight();
    let began = Instant::now();
    trickle(hello, |byte| peer.try_bytes([byte]));
    until("the handshake has missed its deadline", || {
        server.disconnects("handshake_timeout") == 1
    });
    assert_lasted(began, timeout);
    assert!(began.elapsed() < timeout * 5, "{:?}", began.elapsed());
    until("the refusal is counted", || {
        refused(&server, Refused::TimedOut) == 1
    });
}

/// The TLS handshake is part of the time for the request head.
#[test]
fn t50a_request_after_the_handshake_shares_its_deadline() {
    let server = tls_server(Config::default().handshake_timeout(TIMEOUT), echo);
    let began = Instant::now();
    let mut peer = TlsPeer::open(server.addr(), tls_client(TLS_1_3));
    assert_eq!(peer.handshake(), Ok(()));
    peer.send("GET / HTTP/1.1\r\nHost: a\r\n");
    assert_all_end_in_time(&server, 1, began, began);
    assert!(matches!(peer.end(), TlsEnd::Reset | TlsEnd::Fin));
}

#[test]
fn t37_plain_http_gets_400_in_clear_text() {
    let server = tls_server(Config::default(), echo);
    for (count, request) in [
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nsome",
        "G",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let socket = open_socket(server.addr());
        std::io::Write::write_all(&mut &socket, request.as_bytes()).expect("a connection");
        let (bytes, _) = read_raw(&socket);
        let answer = Answer::parse(&bytes);
        assert_eq!(answer.status, 400, "{request:?}");
        assert!(answer.body.contains("https://"), "{answer:?}");
        assert_eq!(answer.header("Connection"), Some("close"), "{answer:?}");
        until("the refusal is counted", || {
            refused(&server, Refused::NoTls) == count as u64 + 1
        });
    }
    TlsPeer::connect(server.addr()).leave();
}

/// Returns a handshake record of TLS 1.0 with a ClientHello for `version`.
fn old_hello(version: [u8; 2]) -> Vec<u8> {
    // Signature algorithms, groups and point formats, so that only the version is wrong.
    let extensions = [
        [0, 13, 0, 4, 0, 2, 4, 3],
        [0, 10, 0, 4, 0, 2, 0, 0x1d],
        [0, 11, 0, 4, 3, 0, 1, 2],
    ]
    .concat();
    // TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, and no compression.
    let fixed = [0, 0, 2, 0xc0, 0x2b, 1, 0, 0, extensions.len() as u8];
    let body = [&version[..], &[7; 32], &fixed, &extensions].concat();
    let length = body.len() as u8;
    [&[0x16, 3, 1, 0, length + 4, 1, 0, 0, length], &body[..]].concat()
}

#[test]
fn t37_bytes_that_are_no_handshake_get_an_alert() {
    let server = tls_server(Config::default(), echo);
    let mut random = vec![0x80, 0x2e, 1, 3, 1];
    random.extend((0u32..4000).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8));
    let attacks: [(&str, Vec<u8>, Option<AlertDescription>); 10] = [
        (
            "a record that is too long",
            [&[0x16, 3, 1, 0xff, 0xff], &[0; 4000][..]].concat(),
            None,
        ),
        ("an alert", vec![0x15, 3, 3, 0, 2, 2, 40], None),
        ("a close_notify", vec![0x15, 3, 3, 0, 2, 1, 0], None),
        (
            "application data",
            [&[0x17, 3, 3, 0, 100], &[9; 100][..]].concat(),
            None,
        ),
        ("a change_cipher_spec", vec![0x14, 3, 3, 0, 1, 1], None),
        ("a ClientHello of SSL 2", random, None),
        ("zeros", vec![0; 1000], None),
        ("a ServerHello", vec![0x16, 3, 3, 0, 4, 2, 0, 0, 0], None),
        (
            "TLS 1.1",
            old_hello([3, 2]),
            Some(AlertDescription::ProtocolVersion),
        ),
        (
            "SSL 3",
            old_hello([3, 0]),
            Some(AlertDescription::ProtocolVersion),
        ),
    ];
    let mut counted = 0;
    for (what, bytes, alert) in attacks {
        let socket = open_socket(server.addr());
        std::io::Write::write_all(&mut &socket, &bytes).expect("a connection");
        // Some of these are the beginning of something longer, so the peer's direction ends.
        let _ = socket.shutdown(std::net::Shutdown::Write);
        let (answer, _) = read_raw(&socket);
        // An alert in clear text. A peer that has taken its leave gets nothing.
        if let Some(alert) = alert {
            assert_eq!(answer, [0x15, 3, 3, 0, 2, 2, u8::from(alert)], "{what}");
        } else if what != "a close_notify" {
            assert!(
                answer.starts_with(&[0x15, 3, 3, 0, 2]) && answer.len() == 7,
                "{what}: {answer:?}"
            );
        } else {
            assert!(answer.is_empty(), "{what}: {answer:?}");
        }
        // A peer that takes its leave is gone, as with a FIN.
        counted += u64::from(what != "a close_notify");
        until(&format!("{what} is counted as a refusal"), || {
            refused(&server, Refused::NoTls) == counted
        });
    }
    TlsPeer::connect(server.addr()).leave();
}

#[test]
fn t37_client_with_h2_only_gets_alert_120() {
    let server = tls_server(Config::default(), echo);
    for versions in [TLS_1_2, TLS_1_3] {
        let mut config = tls_client(versions);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let mut peer = TlsPeer::open(server.addr(), config);
        let end = peer.handshake().expect_err("no common protocol");
        assert_eq!(end, TlsEnd::Alert(AlertDescription::NoApplicationProtocol));
        assert_eq!(u8::from(AlertDescription::NoApplicationProtocol), 120);
        // Clients without ALPN speak HTTP/1.1 too.
        let mut config = tls_client(versions);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        TlsPeer::connect_with(server.addr(), config).leave();
        let mut config = tls_client(versions);
        config.alpn_protocols = Vec::new();
        TlsPeer::connect_with(server.addr(), config).leave();
    }
    // A client may read its alert before the refusal is counted.
    until("both refusals are counted", || {
        refused(&server, Refused::NoTls) == 2
    });
}

/// RUSTSEC-2024-0336: with a close_notify during the handshake, `complete_io` of rustls ran in a loop forever.
#[test]
fn t37_close_notify_during_the_handshake_ends_it() {
    let server = tls_server(Config::default(), echo);
    let alert = [0x15, 3, 3, 0, 2, 1, 0];
    for versions in [TLS_1_2, TLS_1_3] {
        // After each part of the client's flights.
        for with_second in [false, true] {
            let mut peer = TlsPeer::open(server.addr(), tls_client(versions));
            if with_second {
                let flight = second_flight(&mut peer);
                peer.bytes(&flight[..3]);
                let _ = peer.try_bytes(&flight[3..flight.len() - 1]);
            } else {
                let hello = peer.flight();
                peer.bytes(hello);
            }
            let _ = peer.try_bytes(alert);
            let (_, _) = read_raw(&peer.socket);
            until("the handshake has ended", || {
                server.handle().pending_handshakes() == 0
            });
        }
    }
    TlsPeer::connect(server.addr()).leave();
}

/// A client certificate that spans several records, because its chain is longer than one.
#[test]
fn t37_client_certificate_over_several_records_is_accepted() {
    let tls = tls_config_with_client_ca("ca.pem");
    let server = tls_server_of(tls, Config::default(), echo);
    for versions in [TLS_1_2, TLS_1_3] {
        for fragment in [None, Some(200)] {
            let mut config = tls_client_with(versions, Some("long_client"));
            config.max_fragment_size = fragment;
            TlsPeer::connect_with(server.addr(), config).leave();
        }
    }
    let size = std::fs::metadata(key_file("long_client.pem"))
        .expect("a certificate")
        .len();
    assert!(size > 16 << 10, "{size} bytes fit into one record");
}

/// A message of the handshake may be fragmented, and its declared length may be up to 16 MiB.
#[test]
fn t37_handshake_message_that_never_ends_is_refused_or_ends_in_time() {
    const NAME: &str = "threats::tls::handshakes::t37_handshake_message_that_never_ends_is_refused_or_ends_in_time";
    in_own_process(NAME, || {
        let server = tls_server(Config::default().handshake_timeout(TIMEOUT), echo);
        TlsPeer::connect(server.addr()).leave();
        let before = resident_kib();
        for length in [0x00_ff_ff, 0x01_00_00, 0xff_ff_ff_u32] {
            let sockets: Vec<_> = (0..50).map(|_| open_socket(server.addr())).collect();
            let [_, high, middle, low] = length.to_be_bytes();
            let mut first = vec![0x16, 3, 1, 0x3f, 0xfc, 1, high, middle, low];
            first.extend(vec![0; 0x3ff8]);
            let next = [&[0x16, 3, 1, 0x40, 0][..], &vec![0; 0x4000]].concat();
            for socket in &sockets {
                let _ = std::io::Write::write_all(&mut &*socket, &first);
                for _ in 0..3 {
                    let _ = std::io::Write::write_all(&mut &*socket, &next);
                }
            }
            let grown = resident_kib().saturating_sub(before);
            assert!(grown < 50 * 224, "{grown} KiB for 50 handshakes");
            for socket in &sockets {
                read_raw(socket);
            }
            until("the handshakes have ended", || {
                server.handle().pending_handshakes() == 0
            });
        }
        TlsPeer::connect(server.addr()).leave();
    });
}
