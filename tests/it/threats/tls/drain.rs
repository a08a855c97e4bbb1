//! TLS handshakes at the moment of a shutdown (T48).

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use standpipe::{Config, Listener, Server};

use crate::support::tls_peer::{TLS_1_2, TLS_1_3, tls_client, tls_config, tls_server};
use crate::support::{Connect, TestServer, TlsEnd, TlsPeer, echo, until, within};

/// Checks that the peer is told of the shutdown, after its handshake.
#[track_caller]
fn expect_503(mut peer: TlsPeer, with_request: bool) {
    assert_eq!(peer.handshake(), Ok(()));
    if with_request {
        let head = Connect::to(peer.socket.peer_addr().expect("an address")).head();
        let records = peer.seal(head);
        // The server does not wait for the request.
        peer.try_bytes(records);
    }
    let answer = peer.read_head();
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("Connection"), Some("close"));
    assert_eq!(peer.end(), TlsEnd::CloseNotify);
}

/// Completes the TLS handshake, and sends no request.
#[track_caller]
fn without_request(server: &TestServer) -> TlsPeer {
    let mut peer = TlsPeer::open(server.addr(), tls_client(TLS_1_3));
    assert_eq!(peer.handshake(), Ok(()));
    peer
}

/// Returns when the server has ended its wait for requests. The witnesses, whose requests it waits for, connected before
/// and after the other clients.
#[track_caller]
fn begin_shutdown(server: &TestServer, witnesses: [TlsPeer; 2]) {
    server.handle().shutdown();
    for witness in witnesses {
        expect_503(witness, false);
    }
}

#[test]
fn t48_handshake_in_progress_finishes_and_gets_503() {
    for versions in [TLS_1_2, TLS_1_3] {
        let config = Config::default().shutdown_timeout(Duration::from_secs(60));
        let server = tls_server(config, echo);
        let before = without_request(&server);
        let mut peers = Vec::new();
        // Nothing has been sent, a part of the ClientHello, or all of the client's first flight.
        for part in [0, 1, 100, usize::MAX] {
            let mut peer = TlsPeer::open(server.addr(), tls_client(versions));
            let hello = peer.flight();
            let (now, later) = hello.split_at(part.min(hello.len()));
            peer.bytes(now);
            if later.is_empty() {
                assert_eq!(peer.receive(), Ok(()));
            }
            peers.push((peer, later.to_vec()));
        }
        let after = without_request(&server);
        begin_shutdown(&server, [before, after]);
        for (n, (peer, later)) in peers.into_iter().enumerate() {
            peer.bytes(later);
            expect_503(peer, n % 2 == 1);
        }
        let report = server.report();
        assert_eq!((report.drained, report.lost), (0, 0), "{report:?}");
    }
}

/// Connects before anybody serves, so that the clients wait in the backlog when the server stops.
#[test]
fn t48_backlog_is_answered_over_tls() {
    let listener = Listener::bind("127.0.0.1:0")
        .expect("a free port")
        .tls(tls_config());
    let server = Server::from_listeners(vec![listener], Config::default()).expect("a server");
    let handle = server.handle();
    let address = handle.local_addr().expect("a TCP address");
    let peers: Vec<_> = (0..20)
        .map(|_| TlsPeer::open(address, tls_client(TLS_1_3)))
        .collect();
    handle.shutdown();
    let server = TestServer::of(server, echo);
    for peer in peers {
        expect_503(peer, true);
    }
    server.report();
}

/// The first deadline that passes ends it.
#[test]
fn t48_handshake_that_never_finishes_does_not_hold_the_shutdown() {
    let short = Duration::from_millis(500);
    let long = Duration::from_secs(300);
    for (handshake, shutdown) in [(short, long), (long, short)] {
        let config = Config::default()
            .handshake_timeout(handshake)
            .shutdown_timeout(shutdown);
        let server = tls_server(config, echo);
        let mut stalled = Vec::new();
        for part in [0, 1, 100, usize::MAX] {
            let mut peer = TlsPeer::open(server.addr(), tls_client(TLS_1_3));
            let hello = peer.flight();
            peer.bytes(&hello[..part.min(hello.len())]);
            stalled.push(peer);
        }
        until("all handshakes have begun", || {
            server.handle().pending_handshakes() == 4
        });
        let began = Instant::now();
        let report = within(20, "the server to end", move || server.shut_down());
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{:?}",
            began.elapsed()
        );
        assert_eq!(report.drained, 0, "{report:?}");
    }
}

/// Clients connect without a pause while the server drains. Each connection that the server has accepted gets an answer
/// over TLS, and later ones are refused.
#[test]
fn t48_every_accepted_client_gets_an_answer() {
    let config = Config::default().drain_delay(Duration::from_millis(300));
    let server = tls_server(config.shutdown_timeout(Duration::from_secs(60)), echo);
    let address = server.addr();
    let served = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let served = Arc::clone(&served);
            thread::spawn(move || {
                let mut answers = [0, 0];
                while let Ok(socket) = TcpStream::connect(address) {
                    let mut peer = TlsPeer::of(socket, tls_client(TLS_1_3));
                    match peer.handshake() {
                        Ok(()) => {}
                        // The kernel has accepted it, and the server has closed its listener before it saw it.
                        Err(TlsEnd::Reset) => break,
                        Err(end) => panic!("an accepted client without an answer: {end:?}"),
                    }
                    let head = peer.seal(Connect::to(address).head());
                    peer.try_bytes(head);
                    let answer = peer.read_head();
                    match answer.status {
                        101 => answers[0] += 1,
                        503 => answers[1] += 1,
                        _ => panic!("{answer:?}"),
                    }
                    served.fetch_add(1, Ordering::SeqCst);
                    if answer.status == 101 {
                        peer.send(crate::support::Frame::close(1000, "").bytes());
                        let (closes, end) = peer.rest();
                        assert!(
                            closes.len() == 1 && end == TlsEnd::CloseNotify,
                            "{closes:?} {end:?}"
                        );
                    }
                }
                answers
            })
        })
        .collect();
    until("clients are served", || served.load(Ordering::SeqCst) > 20);
    server.handle().shutdown();
    for client in clients {
        let answers = within(20, "a client to be refused", move || client.join());
        let answers = answers.expect("every accepted client gets an answer");
        assert!(answers[0] > 0, "{answers:?}");
    }
    let report = server.report();
    assert_eq!(report.lost, 0, "{report:?}");
}
