//! Connections that another accept loop hands to the server: `Listener::channel`.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use standpipe::{
    Config, Connection, ConnectionSender, HandOverReason, Handler, Listener, Rate, Reply, Request,
    Server,
};

use crate::support::{
    Answer, Connect, DEADLINE, Failure, Plain, TestClient, TestServer, echo, listen, secured,
    within,
};

const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

fn start(config: Config, handler: impl Handler + Send + 'static) -> (ConnectionSender, TestServer) {
    let (connections, listener) = Listener::channel(16);
    let server = Server::from_listeners(vec![secured(listener)], config).unwrap();
    (connections, TestServer::of(server, handler))
}

/// Starts a server without TLS, because the test hands over the bytes of a request, or a unix socket.
fn start_plain(
    config: Config,
    handler: impl Handler + Send + 'static,
) -> (ConnectionSender, TestServer) {
    let (connections, listener) = Listener::channel(16);
    let server = Server::from_listeners(vec![listener.tag("handed")], config).unwrap();
    (connections, TestServer::of(server, handler))
}

/// Returns a listener for the connections of a server without TLS.
fn listen_plain(address: &str) -> (TcpListener, Plain) {
    let listener = TcpListener::bind(address).unwrap();
    let plain = Plain::at(&[listener.local_addr().unwrap()]);
    (listener, plain)
}

/// Connects a client to `accepting`, and returns it with the accepted socket.
fn accept(accepting: &TcpListener) -> (TestClient, TcpStream) {
    let client = Connect::to(accepting.local_addr().unwrap());
    let client = client.handshake_later().open();
    (client, accepting.accept().unwrap().0)
}

fn pair() -> (UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_read_timeout(Some(DEADLINE)).unwrap();
    (ours, theirs)
}

/// Reads one answer, to the end of the stream.
fn answer(mut client: &UnixStream) -> Answer {
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).expect("an answer");
    Answer::parse(&bytes)
}

#[test]
fn request_is_read_across_the_hand_over() {
    let (connections, _server) = start(Config::default(), echo);
    let accepting = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut frame = vec![0x81, 0x82, 0, 0, 0, 0];
    frame.extend_from_slice(b"hi");
    let all = [UPGRADE.as_bytes(), &frame].concat();
    for already_read in [0, 1, 20, UPGRADE.len(), UPGRADE.len() + 3, all.len()] {
        let (mut client, mut socket) = accept(&accepting);
        client.bytes(&all);
        let mut bytes = vec![0; already_read];
        socket.read_exact(&mut bytes).unwrap();
        connections.send(socket, bytes).unwrap();
        assert_eq!(client.read_head().status, 101, "{already_read}");
        client.expect_text("hi");
        client.leave();
    }
}

#[test]
fn settings_of_the_previous_owner_are_reset() {
    // Waits for something that only the test sends, so that the reader waits for longer than the old time limit.
    let (connections, server) = start(Config::default(), echo);
    let accepting = TcpListener::bind("127.0.0.1:0").unwrap();
    let (mut client, socket) = accept(&accepting);
    socket.set_nonblocking(true).unwrap();
    let old_limit = Duration::from_millis(1);
    socket.set_read_timeout(Some(old_limit)).unwrap();
    let socket = Socket::from(socket);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    connections.send(socket, Vec::new()).unwrap();
    assert!(client.next_within(old_limit * 50).is_none());
    client.bytes(UPGRADE);
    assert_eq!(client.read_head().status, 101);
    assert!(client.next_within(old_limit * 50).is_none());
    client.text("still here");
    client.expect_text("still here");
    server.handle().shutdown();
    client.expect_close(1001);
    client.close(1001, "");
    client.expect_eof();
}

#[test]
fn handed_connections_count_against_all_limits() {
    let (accepting, _plain) = listen_plain("127.0.0.1:0");
    for config in [
        Config::default().max_clients(Some(1)),
        Config::default().max_clients_per_ip(Some(1)),
        Config::default().connect_rate(Some(Rate::per_second(1))),
    ] {
        let (connections, _server) = start_plain(config, echo);
        let mut clients = [accept(&accepting), accept(&accepting)].map(|(client, socket)| {
            connections.send(socket, UPGRADE).unwrap();
            client
        });
        let mut statuses = clients.each_mut().map(|client| client.read_head().status);
        statuses.sort_unstable();
        assert_eq!(statuses, [101, 503]);
    }
}

#[test]
fn connections_in_the_channel_are_answered_at_the_stop() {
    let (connections, listener) = Listener::channel(3);
    let server = Server::from_listeners(vec![listener], Config::default()).unwrap();
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let (ours, theirs) = pair();
            connections.try_send(ours, UPGRADE).unwrap();
            theirs
        })
        .collect();
    server.handle().shutdown();
    within(20, "serve to return", || server.serve(echo).unwrap());
    for client in &clients {
        assert_eq!(answer(client).status, 503);
    }
}

#[test]
fn dropped_listener_answers_and_gives_back() {
    let (connections, listener) = Listener::channel(1);
    let (ours, queued) = pair();
    connections.try_send(ours, UPGRADE).unwrap();
    let (ours, mut waiting) = pair();
    let (full, time) = (connections.clone(), Duration::from_millis(20));
    let refused = full.send_timeout(ours, "GET /", time).unwrap_err();
    assert!(matches!(refused.reason, HandOverReason::Full), "{refused}");
    // This call waits for room while the listener ends.
    let sending = thread::spawn(move || connections.send(refused.socket, refused.bytes));
    drop(listener);
    let refused = within(20, "send to return", || sending.join().unwrap()).unwrap_err();
    assert!(matches!(refused.reason, HandOverReason::Ended), "{refused}");
    assert_eq!(refused.bytes, b"GET /");
    assert_eq!(answer(&queued).status, 503);
    // The socket that came back was not written to.
    UnixStream::from(refused.socket).write_all(b"!").unwrap();
    let mut byte = [0; 1];
    waiting.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"!");
}

#[test]
fn only_connected_stream_sockets_are_taken() {
    let (connections, _listener) = Listener::channel(9);
    let listening = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.connect(udp.local_addr().unwrap()).unwrap();
    let unconnected = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let (seq, _other) = Socket::pair(Domain::UNIX, Type::SEQPACKET, None).unwrap();
    let refused: [OwnedFd; 5] = [
        File::open("/dev/null").unwrap().into(),
        listening.into(),
        udp.into(),
        unconnected.into(),
        seq.into(),
    ];
    for descriptor in refused {
        let error = connections.try_send(descriptor, UPGRADE).unwrap_err();
        let reason = error.reason.to_string();
        assert!(
            matches!(error.reason, HandOverReason::NotConnected(_)),
            "{reason}"
        );
        assert_eq!(error.bytes, UPGRADE.as_bytes());
    }
}

/// Answers with what a request tells about its connection.
struct Addresses;

impl Handler for Addresses {
    fn request(&self, request: &mut Request) -> Reply {
        let (peer, local) = (request.peer(), request.local_addr());
        Reply::text(200, format!("{:?} {peer} {local:?}", request.listener()))
    }

    fn run(&self, _: &mut Connection) -> Result<(), Failure> {
        Ok(())
    }
}

fn get(host: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
}

#[test]
fn handed_connection_is_judged_by_its_own_address() {
    let (connections, _server) = start_plain(Config::default(), Addresses);
    let (accepting, _plain) = listen_plain("0.0.0.0:0");
    let port = accepting.local_addr().unwrap().port();
    for (host, status) in [("localhost", 200), ("evil.example", 421)] {
        let mut client = Connect::to(SocketAddr::from(([127, 0, 0, 1], port))).open();
        let (socket, _) = accepting.accept().unwrap();
        connections.send(socket, get(host)).unwrap();
        let answer = client.read_answer();
        assert_eq!(answer.status, status, "{host}");
        if status == 200 {
            let peer = client.local_addr();
            let expected = format!("Some(\"handed\") {peer} Some(127.0.0.1:{port})");
            assert_eq!(answer.body, expected);
        }
    }
    let (ours, theirs) = pair();
    connections.send(ours, get("any.example")).unwrap();
    assert_eq!(answer(&theirs).body, "Some(\"handed\") unix None");
}

#[test]
fn request_knows_the_address_behind_a_wildcard_listener() {
    let listener = listen("0.0.0.0:0");
    let server = Server::from_listeners(vec![listener], Config::default()).unwrap();
    let port = server.handle().local_addr().expect("a TCP address").port();
    let _server = TestServer::of(server, Addresses);
    let mut client = Connect::to(SocketAddr::from(([127, 0, 0, 2], port))).open();
    client.bytes(get("any.example"));
    let body = client.read_answer().body;
    assert!(
        body.ends_with(&format!(" Some(127.0.0.2:{port})")),
        "{body}"
    );
}

#[test]
fn server_goes_on_without_senders() {
    let (connections, server) = start_plain(Config::default(), echo);
    let (ours, mut theirs) = pair();
    connections.send(ours, UPGRADE).unwrap();
    drop(connections);
    let mut head = [0; 12];
    theirs.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 101");
    theirs.shutdown(Shutdown::Both).unwrap();
    server.shut_down();
}

#[test]
fn peer_that_has_left_is_no_server_error() {
    let (connections, server) = start_plain(Config::default(), echo);
    let (accepting, _plain) = listen_plain("127.0.0.1:0");
    let (client, mut socket) = accept(&accepting);
    client.reset();
    let reset = socket.read(&mut [0]).unwrap_err();
    assert_eq!(reset.kind(), ErrorKind::ConnectionReset);
    let refused = connections.send(socket, UPGRADE).unwrap_err();
    assert!(matches!(refused.reason, HandOverReason::NotConnected(_)));
    let (mut client, socket) = accept(&accepting);
    connections.send(socket, UPGRADE).unwrap();
    assert_eq!(client.read_head().status, 101);
    client.leave();
    server.shut_down();
}
