//! Handshake slots and limits per address on a listener with TLS: a refused client gets no byte in clear text.

use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use standpipe::{Config, Rate, Refused};

use super::refused;
use crate::support::tls_peer::{TLS_1_3, read_raw, tls_client, tls_server, trickle};
use crate::support::{TlsPeer, echo, until, within};

/// Opens a connection from this loopback address.
#[track_caller]
fn connect_from(ip: &str, server: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let from = SocketAddr::new(ip.parse::<IpAddr>().expect("an address"), 0);
    socket.bind(&from.into()).expect("a loopback address");
    socket
        .connect(&server.into())
        .expect("a server that listens");
    socket.into()
}

fn peer_from(ip: &str, server: SocketAddr) -> TlsPeer {
    TlsPeer::of(connect_from(ip, server), tls_client(TLS_1_3))
}

/// The handshakes of one address hold all slots, at three points: before their first byte, in the middle of the
/// ClientHello, and before their second flight.
#[test]
fn t50a_300_stalled_handshakes_do_not_keep_others_out() {
    let config = Config::default().handshake_timeout(Duration::from_secs(300));
    let server = tls_server(config, echo);
    let mut stalled = Vec::new();
    for n in 0..300 {
        let mut peer = peer_from("127.0.0.2", server.addr());
        let hello = peer.flight();
        match n % 3 {
            0 => {}
            1 => _ = peer.try_bytes(&hello[..100]),
            _ => _ = peer.try_bytes(&hello),
        }
        stalled.push(peer);
    }
    until("all slots are taken, and the others are refused", || {
        server.handle().pending_handshakes() == 256
            && refused(&server, Refused::NoHandshakeSlot) == 44
    });
    // Each newcomer takes the slot of the oldest handshake.
    for evicted in 0..20 {
        let healthy = peer_from("127.0.0.1", server.addr()).upgraded("/");
        assert_eq!(refused(&server, Refused::Evicted), evicted + 1);
        healthy.leave();
        // It goes back to the attackers, who have some left.
        let again = peer_from("127.0.0.2", server.addr());
        stalled.push(again);
        until("all slots are taken again", || {
            server.handle().pending_handshakes() == 256
        });
    }
    assert_eq!(server.disconnects("handshake_timeout"), 0);
    for peer in &stalled[256..300] {
        // Neither the bytes of a 503 nor an alert.
        assert_eq!(read_raw(&peer.socket).0, b"");
    }
    for peer in &stalled[..10] {
        let (bytes, _) = read_raw(&peer.socket);
        assert!(!bytes.starts_with(b"HTTP"), "{bytes:?}");
    }
}

#[test]
fn t37_client_above_the_connect_rate_gets_no_clear_text() {
    let rate = Rate::per_second(1).burst(3);
    let server = tls_server(Config::default().connect_rate(Some(rate)), echo);
    let mut clients: Vec<_> = (0..3).map(|_| TlsPeer::connect(server.addr())).collect();
    let refusals = (0..20).filter(|_| {
        let mut socket = connect_from("127.0.0.1", server.addr());
        // A request in clear text would show an answer in clear text best.
        let _ = socket.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let (bytes, _) = read_raw(&socket);
        // A few are admitted again as time passes.
        assert!(
            bytes.is_empty() || bytes.starts_with(b"HTTP/1.1 400"),
            "{bytes:?}"
        );
        bytes.is_empty()
    });
    assert!(refusals.count() >= 10);
    for client in &mut clients {
        client.text("still connected");
        client.expect_text("still connected");
    }
}

/// Beyond `max_clients`, a client has a session already, and can be answered.
#[test]
fn t37_client_above_the_limit_gets_503_over_tls() {
    let server = tls_server(Config::default().max_clients(Some(2)), echo);
    let clients: Vec<_> = (0..2).map(|_| TlsPeer::connect(server.addr())).collect();
    let mut peer = TlsPeer::open(server.addr(), tls_client(TLS_1_3));
    assert_eq!(peer.handshake(), Ok(()));
    let answer = peer.request(crate::support::Connect::to(server.addr()).head());
    assert_eq!(answer.status, 503);
    assert!(answer.header("Retry-After").is_some(), "{answer:?}");
    assert_eq!(peer.end(), crate::support::TlsEnd::CloseNotify);
    drop(clients);
}

/// Sends bytes that are no handshake, and keeps the connection.
#[track_caller]
fn send_no_handshake(mut socket: &TcpStream) {
    socket.write_all(&[0x80; 100]).expect("a connection");
}

/// Sends a byte now and then, until the server has closed the connection.
#[track_caller]
fn trickle_until_closed(mut socket: &TcpStream) {
    // A lingering close ends by itself after a second.
    trickle(std::iter::repeat(b'x'), |byte| {
        socket.write_all(&[byte]).is_ok()
    });
}

/// The deadline of the handshake passes while the server waits for the client to read the alert.
#[test]
fn t37_refused_handshake_is_not_late_too() {
    let config = Config::default().handshake_timeout(Duration::from_millis(500));
    let server = tls_server(config, echo);
    let socket = connect_from("127.0.0.1", server.addr());
    send_no_handshake(&socket);
    trickle_until_closed(&socket);
    assert_eq!(refused(&server, Refused::NoTls), 1);
    assert_eq!(refused(&server, Refused::TimedOut), 0);
    assert_eq!(server.disconnects("handshake_timeout"), 0);
}

/// A client whose handshake was refused gives its slot up, also to clients of its own address.
#[test]
fn t37_refused_handshakes_give_way_to_newcomers() {
    let server = tls_server(Config::default(), echo);
    let refusals: Vec<_> = (0..256)
        .map(|_| {
            let socket = connect_from("127.0.0.2", server.addr());
            send_no_handshake(&socket);
            socket
        })
        .collect();
    for from in ["127.0.0.1", "127.0.0.2"] {
        peer_from(from, server.addr()).upgraded("/").leave();
    }
    until("all handshakes are refused", || {
        refused(&server, Refused::NoTls) == refusals.len() as u64
    });
    for reason in [Refused::Evicted, Refused::NoHandshakeSlot] {
        assert_eq!(refused(&server, reason), 0, "{reason}");
    }
}

/// A client without TLS has got its answer, and goes on sending.
#[test]
fn t48_client_without_tls_does_not_hold_the_shutdown() {
    let server = tls_server(Config::default(), echo);
    let socket = connect_from("127.0.0.1", server.addr());
    (&socket).write_all(b"GET / ").expect("a connection");
    until("the client is answered", || {
        refused(&server, Refused::NoTls) == 1
    });
    let trickles = std::thread::spawn(move || trickle_until_closed(&socket));
    let began = Instant::now();
    within(20, "the server to end", move || server.shut_down());
    // The server would go on reading for 5 s otherwise.
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
    trickles.join().expect("the connection ends");
}
