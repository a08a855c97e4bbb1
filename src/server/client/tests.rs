//! The opening handshake in situations that a real socket cannot reproduce reliably: a 101 that the peer does not
//! accept, and a shutdown while the request is being answered.

mod limits;
mod opening;
mod requests;
mod streams;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
mod tls_shutdown;

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::handshake::{self, Inbound};
use super::registered::RegisteredClient;
use super::response::Answer;
use crate::config::Config;
use crate::connection::Connection;
use crate::connection::shared::Shared;
use crate::connection::socket::Transport;
use crate::connection::testing::scripted_socket::{DEADLINE, ScriptedSocket};
use crate::handler::Handler;
use crate::http1::{After, Peer, Reply, Request, Rules};
use crate::server::admission::handshake_slots::HandshakeSlot;
use crate::server::shutdown_signal::ShutdownSignal;
use crate::server::state::ServerState;
use crate::server::stats::Disconnect;

const REQUEST: &[u8] =
    b"GET /x HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A handler that counts the clients that reach `run`, and calls `in_request` in `request`.
struct CountingHandler<F> {
    in_request: F,
    clients: AtomicUsize,
}

impl<F: Fn() + Sync> Handler for CountingHandler<F> {
    fn request(&self, _: &mut Request) -> Reply {
        (self.in_request)();
        Reply::upgrade()
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.clients.fetch_add(1, Ordering::SeqCst);
        while conn.recv()?.is_some() {}
        Ok(())
    }
}

fn server() -> ServerState {
    let config = Config::default().close_timeout(DEADLINE);
    let rules = Rules::new(&config).expect("an empty list of origins is valid");
    let (shutdown, _) = ShutdownSignal::new(Duration::ZERO).expect("a socket pair");
    ServerState::new(config, rules, shutdown, true, 1, 1)
}

/// Runs one client from its opening handshake to its end. `before` is called before its request is read. Returns the
/// bytes that were written to the client, and the number of clients that reached the handler.
fn one_client(
    server: &ServerState,
    socket: &Arc<ScriptedSocket>,
    before: impl FnOnce(&Shared),
    in_request: impl Fn() + Sync,
) -> (String, usize) {
    let handler = CountingHandler {
        in_request,
        clients: AtomicUsize::new(0),
    };
    socket.hang_up();
    let written = serve_one(server, socket, before, &handler);
    (written, handler.clients.into_inner())
}

/// Runs one client of `handler`, whose peer sends a request. `before` is called before the request
/// is read. Returns the bytes that were written to the client.
fn serve_one(
    server: &ServerState,
    socket: &Arc<ScriptedSocket>,
    before: impl FnOnce(&Shared),
    handler: &impl Handler,
) -> String {
    socket.send(REQUEST);
    serve_sent(server, socket, before, handler)
}

/// Returns a client of this socket, as the acceptor hands it to the handshake thread.
fn registered<'a>(
    server: &'a ServerState,
    socket: &Arc<ScriptedSocket>,
) -> (RegisteredClient<'a>, HandshakeSlot<'a>) {
    let transport: Arc<dyn Transport> = socket.clone();
    let config = Arc::clone(&server.config);
    let shared = Arc::new(Shared::new(
        1,
        Peer::Unix,
        config,
        Arc::default(),
        &transport,
    ));
    let (slot, _) = server
        .handshakes
        .acquire(1, Some(&Peer::Unix))
        .expect("the slot is free");
    slot.set_client(&shared);
    let client = RegisteredClient {
        entry: server.clients.add(&shared),
        shared,
        socket: transport,
    };
    (client, slot)
}

/// As [`serve_one`], but the peer sends only what the test has sent.
fn serve_sent(
    server: &ServerState,
    socket: &Arc<ScriptedSocket>,
    before: impl FnOnce(&Shared),
    handler: &impl Handler,
) -> String {
    thread::scope(|scope| {
        let (client, slot) = registered(server, socket);
        before(&client.shared);
        handshake::run(client, slot, Inbound::default(), server, scope, handler);
    });
    // The scope has joined every thread.
    assert!(server.clients.snapshot().is_empty());
    let in_use = (server.handshakes.pending(), server.client_permits.in_use());
    assert_eq!(in_use, (0, 0));
    String::from_utf8_lossy(&socket.written()).into_owned()
}

fn nothing_before(_: &Shared) {}

#[test]
fn an_accepted_client_reaches_the_handler() {
    let (server, socket) = (server(), Arc::new(ScriptedSocket::default()));
    let (written, clients) = one_client(&server, &socket, nothing_before, || ());
    assert!(written.starts_with("HTTP/1.1 101 "), "{written}");
    assert_eq!(clients, 1);
}

#[test]
fn client_without_its_101_never_reaches_the_handler() {
    for accepted in [0, 1, 50] {
        let (server, socket) = (server(), Arc::new(ScriptedSocket::default()));
        socket.break_after(accepted);
        let (written, clients) = one_client(&server, &socket, nothing_before, || ());
        assert_eq!((written.len(), clients), (accepted, 0));
        let counts = server.disconnects.counts();
        assert!(
            counts.contains(&(Disconnect::RequestRejected, 1)),
            "{counts:?}"
        );
    }
}

#[test]
fn shutdown_before_the_101_is_answered_503() {
    let (server, socket) = (server(), Arc::new(ScriptedSocket::default()));
    let stop = || server.shutdown.stop_accepting();
    let (written, clients) = one_client(&server, &socket, nothing_before, stop);
    assert!(written.starts_with("HTTP/1.1 503 "), "{written}");
    assert!(written.contains("Retry-After"), "{written}");
    assert_eq!(clients, 0);
}

/// The shutdown rejects the handshake while the request is being answered.
#[test]
fn a_handshake_rejected_by_shutdown_is_answered_503() {
    let (server, socket) = (server(), Arc::new(ScriptedSocket::default()));
    let shut_down = || {
        server.shutdown.stop_accepting();
        for client in server.clients.snapshot() {
            client.shut_down();
        }
    };
    let (written, clients) = one_client(&server, &socket, nothing_before, shut_down);
    assert!(written.starts_with("HTTP/1.1 503 "), "{written}");
    assert_eq!(clients, 0);
}

#[test]
fn an_evicted_handshake_never_reaches_the_handler() {
    let never = || panic!("the handler was called");
    // Evicted for another client. The acceptor would reset the connection next.
    let (server, socket) = (server(), Arc::new(ScriptedSocket::default()));
    let evict = |client: &Shared| assert!(client.lifecycle().try_evict());
    let (written, clients) = one_client(&server, &socket, evict, never);
    assert_eq!((written.as_str(), clients), ("", 0));
    // Rejected by a shutdown. The client gets an answer.
    let (server, socket) = (self::server(), Arc::new(ScriptedSocket::default()));
    let shut_down = |client: &Shared| {
        server.shutdown.stop_accepting();
        client.shut_down();
    };
    let (written, clients) = one_client(&server, &socket, shut_down, never);
    assert!(written.starts_with("HTTP/1.1 503 "), "{written}");
    assert_eq!(clients, 0);
}

/// The watchdog resets a client between its request and its 101, without a shutdown.
#[test]
fn client_reset_before_its_101_gets_no_answer() {
    let (server, socket) = (server(), Arc::new(ScriptedSocket::default()));
    let reset = || {
        for client in server.clients.snapshot() {
            client.terminate(crate::CloseCause::TimedOut(crate::Clock::Handshake));
        }
    };
    let (written, clients) = one_client(&server, &socket, nothing_before, reset);
    assert_eq!((written.as_str(), clients), ("", 0));
    let counts = server.disconnects.counts();
    assert!(
        counts.contains(&(Disconnect::Deadline(crate::Clock::Handshake), 1)),
        "{counts:?}"
    );
}

#[test]
fn answer_is_written_whole_however_the_socket_accepts_it() {
    let server = server();
    let config = Arc::clone(&server.config);
    let body = "x".repeat(200_000);
    for most in [1, 100, 200, 1 << 16, 100_000, usize::MAX] {
        let socket = Arc::new(ScriptedSocket::default());
        socket.accept_per_call(most);
        let transport: Arc<dyn Transport> = socket.clone();
        let shared = Shared::new(
            1,
            Peer::Unix,
            Arc::clone(&config),
            Arc::default(),
            &transport,
        );
        let answer = Answer::reply(Reply::text(200, body.clone()));
        let written = answer.write(&shared, &*transport, &server, None, After::Close);
        assert!(written.is_ok(), "{most}");
        let written = String::from_utf8(socket.written()).expect("text");
        let (head, rest) = written.split_once("\r\n\r\n").expect("an empty line");
        assert!(head.ends_with("Connection: close"), "{most}: {head}");
        assert!(rest == body, "{most}: {} bytes", rest.len());
        assert!(
            !shared.write.deadlines.is_blocked(),
            "the write clock has stopped"
        );
    }
}

/// A handler that answers every request.
struct Answers;

impl Handler for Answers {
    fn request(&self, _: &mut Request) -> Reply {
        Reply::text(200, "here\n")
    }

    fn run(&self, _: &mut Connection) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }
}

/// Runs a client that sends one request, and then, while its connection is idle, another one after `meanwhile`. Returns
/// what was written to it.
fn idle_client(server: &ServerState, meanwhile: impl FnOnce(&Shared)) -> String {
    let request = "GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let socket = Arc::new(ScriptedSocket::default());
    let (client, slot) = registered(server, &socket);
    let shared = Arc::clone(&client.shared);
    socket.send(request);
    thread::scope(|scope| {
        scope.spawn(|| handshake::run(client, slot, Inbound::default(), server, scope, &Answers));
        socket.until_written(1);
        socket.until_in_read();
        meanwhile(&shared);
        socket.send(request);
        socket.hang_up();
    });
    assert!(server.clients.snapshot().is_empty());
    String::from_utf8_lossy(&socket.written()).into_owned()
}

#[test]
fn request_on_an_idle_connection_during_shutdown_gets_503() {
    let codes = |written: &str| -> Vec<String> {
        let lines = written.lines();
        let lines = lines.filter_map(|line| line.strip_prefix("HTTP/1.1 "));
        lines.map(|line| line[..3].to_owned()).collect()
    };
    let written = idle_client(&server(), nothing_before);
    assert_eq!(codes(&written), ["200", "200"], "{written}");
    // The shutdown has rejected the connection, but the request had been sent before.
    let server = server();
    let written = idle_client(&server, |client| {
        server.shutdown.stop_accepting();
        assert!(client.lifecycle().reject_handshake());
    });
    assert_eq!(codes(&written), ["200", "503"], "{written}");
    assert!(written.ends_with("shutting down"), "{written}");
    // The idle time is over: the client must expect that, and repeats its request on a new connection.
    let written = idle_client(&self::server(), |client| {
        assert!(client.lifecycle().try_end_idle());
    });
    assert_eq!(codes(&written), ["200"], "{written}");
}
