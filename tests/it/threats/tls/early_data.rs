//! Early data (0-RTT), which an attacker who has recorded it can send again (T50c).

use std::io::Write;
use std::sync::Arc;

use crossbeam_channel::{Sender, unbounded};
use rustls::client::{
    ClientConfig, ClientSessionMemoryCache, ClientSessionStore, Resumption,
    Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;
use rustls::{HandshakeKind, NamedGroup};
use standpipe::rustls;
use standpipe::{Config, Connection, Handler, Reply, Request};

use crate::support::tls_peer::{TLS_1_3, open_socket, read_raw, tls_client, tls_server};
use crate::support::{DEADLINE, Failure, TestServer, TlsPeer, until};

/// A store whose tickets allow early data, although the server's do not.
#[derive(Debug)]
struct Eager(ClientSessionMemoryCache);

impl ClientSessionStore for Eager {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(name, group);
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(name)
    }

    fn set_tls12_session(&self, name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(name, value);
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(name)
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.0.remove_tls12_session(name);
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        assert_eq!(
            value.max_early_data_size(),
            0,
            "the server offers early data"
        );
        self.0.insert_tls13_ticket(name, value);
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let mut value = self.0.take_tls13_ticket(name)?;
        value._private_set_max_early_data_size(100_000);
        Some(value)
    }
}

/// Reports each request that it has run.
struct Publishes(Sender<String>);

impl Handler for Publishes {
    fn request(&self, request: &mut Request) -> Reply {
        match request.read_body(1000) {
            Ok(body) => {
                self.0
                    .send(String::from_utf8_lossy(&body).into())
                    .expect("the test is running");
                Reply::status(204)
            }
            Err(reply) => reply,
        }
    }

    fn run(&self, _: &mut Connection) -> Result<(), Failure> {
        unreachable!("nothing is upgraded")
    }
}

fn post(body: &str) -> String {
    let length = body.len();
    format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// Returns a client that has tickets of this server and offers early data.
#[track_caller]
fn eager_client(server: &TestServer) -> ClientConfig {
    let mut config = tls_client(TLS_1_3);
    config.resumption = Resumption::store(Arc::new(Eager(ClientSessionMemoryCache::new(8))));
    config.enable_early_data = true;
    let mut first = TlsPeer::open(server.addr(), config.clone());
    assert_eq!(first.handshake(), Ok(()));
    first.send(post("first"));
    assert!(first.read_all().0.starts_with(b"HTTP/1.1 204"));
    config
}

/// Opens a connection whose first flight has this early data, and sends nothing yet.
#[track_caller]
fn with_early_data(server: &TestServer, config: ClientConfig, data: &[u8]) -> TlsPeer {
    let mut peer = TlsPeer::open(server.addr(), config);
    let mut early = peer
        .session
        .early_data()
        .expect("a ticket that allows early data");
    early.write_all(data).expect("room for the early data");
    peer
}

#[test]
fn t50c_early_data_is_rejected_and_the_request_runs_once() {
    let (published, requests) = unbounded();
    let server = tls_server(Config::default(), Publishes(published));
    let config = eager_client(&server);
    assert_eq!(requests.recv_timeout(DEADLINE), Ok("first".into()));
    let mut peer = with_early_data(&server, config, post("early").as_bytes());
    assert_eq!(peer.handshake(), Ok(()));
    assert_eq!(peer.session.handshake_kind(), Some(HandshakeKind::Resumed));
    assert!(!peer.session.is_early_data_accepted());
    // The client sends it again, as it must (RFC 8446 §4.2.10).
    peer.send(post("early"));
    assert!(peer.read_all().0.starts_with(b"HTTP/1.1 204"));
    assert_eq!(requests.try_iter().collect::<Vec<_>>(), ["early"]);
}

/// An attacker sends the recorded first flight again, also with the ticket that has been used.
#[test]
fn t50c_recorded_early_data_runs_never() {
    let (published, requests) = unbounded();
    let server = tls_server(Config::default(), Publishes(published));
    let config = eager_client(&server);
    assert_eq!(requests.recv_timeout(DEADLINE), Ok("first".into()));
    let mut peer = with_early_data(&server, config, post("recorded").as_bytes());
    let recorded = peer.flight();
    for _ in 0..10 {
        let socket = open_socket(server.addr());
        (&socket).write_all(&recorded).expect("a connection");
        let _ = socket.shutdown(std::net::Shutdown::Write);
        // The answer is the server's part of the handshake.
        assert_eq!(read_raw(&socket).0.first(), Some(&0x16));
    }
    until("the handshakes have ended", || {
        server.handle().pending_handshakes() == 0
    });
    assert_eq!(requests.try_iter().count(), 0);
}

/// The server skips as much early data as fits into a record, and not more.
#[test]
fn t50c_endless_early_data_is_refused() {
    let (published, requests) = unbounded();
    let server = tls_server(Config::default(), Publishes(published));
    let config = eager_client(&server);
    assert_eq!(requests.recv_timeout(DEADLINE), Ok("first".into()));
    let mut peer = with_early_data(&server, config, &[b'x'; 60_000]);
    let flight = peer.flight();
    peer.try_bytes(flight);
    read_raw(&peer.socket);
    until("the handshake has ended", || {
        server.handle().pending_handshakes() == 0
    });
    assert_eq!(requests.try_iter().count(), 0);
}
