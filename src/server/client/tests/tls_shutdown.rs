//! A shutdown at each moment of a TLS handshake (SECURITY.md, T48): the client is always told, over TLS.

use super::*;
use crate::connection::testing::tls_peer::{TlsPeer, TlsSetup};
use crate::server::client::tls::InboundTls;

/// The moment that is held still while the server shuts down.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Moment {
    /// The server waits for the first byte.
    BeforeHello,
    /// The server has received the ClientHello, and writes its answer.
    InFirstWrite,
    /// The server waits for the client's second flight.
    BetweenFlights,
    /// TLS 1.2 only: the server has received all of the handshake, and writes its last message.
    InLastWrite,
    /// The handshake has succeeded, and the server waits for the request.
    BeforeRequest,
}

#[test]
fn shutdown_at_each_moment_of_a_tls_handshake_gets_503() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for moment in [
            Moment::BeforeHello,
            Moment::InFirstWrite,
            Moment::BetweenFlights,
            Moment::BeforeRequest,
        ] {
            shut_down_at(moment, version);
        }
    }
    shut_down_at(Moment::InLastWrite, &rustls::version::TLS12);
}

fn shut_down_at(moment: Moment, version: &'static rustls::SupportedProtocolVersion) {
    let (server, socket) = (server(), Arc::new(ScriptedSocket::default()));
    let setup = TlsSetup::new(version);
    let mut peer = TlsPeer::unconnected(&setup);
    let handler = CountingHandler {
        in_request: || panic!("{moment:?}: the handler was called"),
        clients: AtomicUsize::new(0),
    };
    thread::scope(|scope| {
        let (client, slot) = registered(&server, &socket);
        let shared = Arc::clone(&client.shared);
        shared.tls.begin_handshake();
        let inbound = Inbound {
            tls: InboundTls::Expected(setup.server()),
            ..Inbound::default()
        };
        let (server, handler) = (&server, &handler);
        scope.spawn(move || handshake::run(client, slot, inbound, server, scope, handler));
        let shut_down = || {
            server.shutdown.stop_accepting();
            shared.shut_down();
        };

        socket.until_in_read();
        if moment == Moment::BeforeHello {
            shut_down();
        }
        let first_write = moment == Moment::InFirstWrite;
        send_flight(&mut peer, &socket, first_write, &shut_down);
        if moment == Moment::BetweenFlights {
            socket.until_in_read();
            shut_down();
        }
        let last_write = moment == Moment::InLastWrite;
        send_flight(&mut peer, &socket, last_write, &shut_down);
        if moment == Moment::BeforeRequest {
            socket.until("the server waits for the request", |state| {
                state.reading && shared.tls.version().is_some()
            });
            shut_down();
        }
        read_503(&mut peer, &socket, moment);
        // The lingering close ends.
        socket.hang_up();
    });
    assert_eq!(server.handshakes.pending(), 0);
    assert_eq!(handler.clients.into_inner(), 0);
}

/// Sends what the client has, and reads the answer of the server. If `holds` is set, `meanwhile` runs while the server
/// is in the middle of writing its answer.
fn send_flight(peer: &mut TlsPeer, socket: &ScriptedSocket, holds: bool, meanwhile: &impl Fn()) {
    let before = socket.written().len();
    if holds {
        socket.accept(0);
    }
    socket.send(peer.seal(&[]));
    if holds {
        socket.until_in_write();
        meanwhile();
        socket.accept_all();
    }
    // In TLS 1.3, the client has the last word.
    let mut seen = before;
    while peer.session.is_handshaking() && !peer.session.wants_write() {
        socket.until_written(seen + 1);
        seen = socket.written().len();
        peer.open(&socket.written()).expect("valid records");
    }
}

fn read_503(peer: &mut TlsPeer, socket: &ScriptedSocket, moment: Moment) {
    loop {
        let written = socket.written();
        let opened = peer.open(&written).expect("valid records");
        let opened = String::from_utf8_lossy(opened);
        if opened.contains("\r\n\r\n") {
            assert!(opened.starts_with("HTTP/1.1 503 "), "{moment:?}: {opened}");
            return;
        }
        socket.until_written(written.len() + 1);
    }
}
