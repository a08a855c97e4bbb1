//! The library's own client, against its own server and against a peer that the test plays byte by byte.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use standpipe::tungstenite::handshake::derive_accept_key;
use standpipe::{
    Client, ClientBuilder, Config, ConnectError, Connection, Handler, Listener, Message, RecvError,
    RecvTimeoutError, Reply, Request, Server, TryRecvError,
};

use crate::support::{DEADLINE, Failure, TestServer, client_builder, echo, scheme, within, ws_url};

/// Reads the head of the client's request.
fn read_request(peer: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        peer.read_exact(&mut byte).expect("the client's request");
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// Returns a 101 for a request, with these further header lines.
fn accept(request: &str, lines: &str) -> String {
    let key = request
        .lines()
        .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
    let accept = derive_accept_key(key.expect("a key").as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{lines}\r\n"
    )
}

/// Connects a client to a peer that answers with what `answer` returns for the request.
fn connect_to(
    builder: ClientBuilder,
    answer: impl FnOnce(String) -> String + Send,
) -> (Result<Client, ConnectError>, UnixStream) {
    let (ours, mut peer) = UnixStream::pair().unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    thread::scope(|scope| {
        let answering = scope.spawn(|| {
            let answer = answer(read_request(&mut peer));
            peer.write_all(answer.as_bytes()).unwrap();
            peer
        });
        let client = builder.stream(ours).connect();
        (client, answering.join().unwrap())
    })
}

/// Returns a connected client and its peer.
fn connected(builder: ClientBuilder) -> (Client, UnixStream) {
    let (client, peer) = connect_to(builder, |request| accept(&request, ""));
    (client.unwrap(), peer)
}

fn builder() -> ClientBuilder {
    Client::builder("ws://localhost/")
}

/// Returns a frame of a server.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(length as u8),
        length @ 126..=0xffff => {
            frame.push(126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    frame
}

/// Reads one short frame of the client. Returns its first byte, its mask and its payload.
fn read_frame(peer: &mut UnixStream) -> (u8, [u8; 4], Vec<u8>) {
    let mut head = [0; 6];
    peer.read_exact(&mut head).expect("a frame of the client");
    assert_eq!(head[1] & 0x80, 0x80, "a frame of a client is masked");
    let mask = [head[2], head[3], head[4], head[5]];
    let mut payload = vec![0; usize::from(head[1] & 0x7f)];
    peer.read_exact(&mut payload).unwrap();
    for (n, byte) in payload.iter_mut().enumerate() {
        *byte ^= mask[n % 4];
    }
    (head[0], mask, payload)
}

fn close_code(payload: &[u8]) -> u16 {
    u16::from_be_bytes([payload[0], payload[1]])
}

fn is_timeout<T>(received: &Result<T, RecvTimeoutError>) -> bool {
    matches!(received, Err(RecvTimeoutError::Timeout))
}

#[test]
fn messages_and_close_cross_both_ways() {
    let server = TestServer::echo(Config::default());
    let url = ws_url(server.addr(), "/echo?a=b");
    let mut client = client_builder(&url).connect().unwrap();
    let large = Message::binary(vec![7; 60_000]);
    for message in [Message::text("héllo"), Message::text(""), large] {
        client.send(message.clone()).unwrap();
        assert_eq!(client.recv().unwrap(), Some(message));
    }
    client.close(4100, "done").unwrap();
    let close = client.peer_close().expect("the server has answered");
    assert_eq!((close.code, &*close.reason), (4100, "done"));
    assert_eq!(client.recv().unwrap(), None);
    assert!(client.send("late").is_err());
    assert!(client.close(1000, "").is_ok(), "closing twice is harmless");

    let mut client = client_builder(&url).connect().unwrap();
    server.handle().shutdown();
    assert_eq!(client.recv().unwrap(), None);
    assert_eq!(client.peer_close().map(|close| close.code), Some(1001));
    let report = server.report();
    assert_eq!((report.drained, report.lost), (1, 0));
}

/// Answers with what the request contains, or upgrades.
struct Mirror;

impl Handler for Mirror {
    fn request(&self, request: &mut Request) -> Reply {
        if request.path() == "/refused" {
            let all = ["origin", "x-name", "host"].map(|name| request.header(name).unwrap_or("-"));
            return Reply::text(403, all.join(" "));
        }
        Reply::upgrade().subprotocol("b")
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Failure> {
        conn.send(conn.request().path().to_owned())?;
        Ok(())
    }
}

#[test]
fn request_has_what_the_builder_says() {
    let server = TestServer::start(Config::default(), Mirror);
    let origin = format!("{}://localhost", scheme(server.addr()));
    let refused = client_builder(ws_url(server.addr(), "/refused"))
        .origin(&origin)
        .header("Host", "localhost")
        .header("X-Name", "ann")
        .connect();
    let Err(ConnectError::Refused(answer)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(answer.status(), 403);
    let body = format!("{origin} ann localhost");
    assert_eq!(answer.body(), body.as_bytes());
    assert_eq!(answer.headers()["content-length"], body.len().to_string());

    let url = ws_url(server.addr(), "/x%20y");
    let offered = client_builder(&url).subprotocol("a").subprotocol("b");
    let mut client = offered.connect().unwrap();
    assert_eq!(client.subprotocol(), Some("b"));
    assert!(client.headers().contains_key("date"));
    assert_eq!(client.recv().unwrap(), Some(Message::text("/x y")));
    assert_eq!(client.recv().unwrap(), None);
    let mut client = client_builder(&url).subprotocol("a").connect().unwrap();
    assert_eq!(client.subprotocol(), None);
    assert!(client.recv().unwrap().is_some());
}

#[test]
fn invalid_headers_are_refused_before_connecting() {
    for (builder, reason) in [
        (builder().header("a b", "c"), "a name"),
        (builder().header("X", "c\r\nd: e"), "x has"),
        (builder().header("Upgrade", "h2c"), "upgrade is written"),
        (
            builder().header("Sec-WebSocket-Key", "c"),
            "sec-websocket-key is",
        ),
        (builder().subprotocol("a, b"), "the subprotocol"),
    ] {
        let error = builder.connect().unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("invalid header: {reason}")),
            "{error}"
        );
    }
}

#[test]
fn secrets_of_a_client_are_not_shown() {
    let builder = Client::builder("ws://localhost/ws?token=hidden1").header("Cookie", "hidden2");
    let shown = format!("{builder:?}");
    assert!(
        shown.contains("localhost/ws") && !shown.contains("hidden"),
        "{shown}"
    );
    fn is_send<T: Send>(_: &T) {}
    let (client, _peer) = connected(builder);
    // A client can be moved to another thread.
    is_send(&client);
    assert!(!format!("{client:?}").contains("hidden"));
}

#[test]
fn refusal_has_a_bounded_body() {
    let head = "HTTP/1.1 302 Found\r\nLocation: ws://other.example/\r\n";
    let long = "x".repeat(100_000);
    for (lines, body, expected) in [
        ("Content-Length: 5\r\n", "helloMORE", "hello"),
        (
            "Transfer-Encoding: chunked\r\n",
            "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
            "hello",
        ),
        ("Content-Length: 100000\r\n", &*long, &long[..64 << 10]),
    ] {
        // An interim response comes first.
        let answer = format!("HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n{head}{lines}\r\n{body}");
        let (refused, _peer) = connect_to(builder(), move |_| answer);
        let Err(ConnectError::Refused(answer)) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(answer.status(), 302);
        assert_eq!(answer.headers()["location"], "ws://other.example/");
        assert!(answer.body() == expected.as_bytes(), "{lines}");
    }
}

#[test]
fn invalid_answers_are_told_apart() {
    let edits: [(&str, &str, &str); 6] = [
        ("HTTP/1.1 101", "SSH-2.0", "it is not HTTP"),
        (
            "Upgrade: websocket",
            "Upgrade: h2c",
            "Upgrade is not websocket",
        ),
        (
            "Connection: Upgrade",
            "Connection: close",
            "Connection does not",
        ),
        ("Accept: ", "Accept: x", "Sec-WebSocket-Accept is wrong"),
        (
            "\r\n\r\n",
            "\r\nSec-WebSocket-Extensions: x\r\n\r\n",
            "an extension was not",
        ),
        (
            "\r\n\r\n",
            "\r\nSec-WebSocket-Protocol: x\r\n\r\n",
            "the subprotocol was not",
        ),
    ];
    for (from, to, reason) in edits {
        let answer = |request: String| accept(&request, "").replacen(from, to, 1);
        let (refused, _peer) = connect_to(builder(), answer);
        let error = refused.unwrap_err();
        assert!(
            matches!(error, ConnectError::Answer(text) if text.starts_with(reason)),
            "{to}: {error}"
        );
    }
    let (endless, _peer) = connect_to(builder(), |_| {
        format!("HTTP/1.1 101 {}", "x".repeat(70_000))
    });
    assert!(matches!(
        endless,
        Err(ConnectError::Answer("its head is too large"))
    ));
    let (ours, peer) = UnixStream::pair().unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    let gone = builder().stream(ours).connect();
    assert!(
        matches!(gone, Err(ConnectError::Io(error)) if error.kind() == ErrorKind::UnexpectedEof)
    );
}

#[test]
fn silent_server_ends_the_handshake_at_its_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let limit = Duration::from_millis(50);
    let builder = Client::builder(url).handshake_timeout(limit);
    let error = within(20, "connect to give up", move || builder.connect()).unwrap_err();
    assert!(matches!(error, ConnectError::Timeout), "{error}");
}

#[test]
fn every_address_of_a_name_is_tried() {
    // The name usually has ::1 first, where nobody listens.
    let server = TestServer::echo(Config::default());
    let url = ws_url(server.addr(), "/").replace("127.0.0.1", "localhost");
    let mut client = client_builder(url).connect().unwrap();
    client.send("here").unwrap();
    assert!(client.recv().unwrap().is_some());
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = Client::connect(&format!("ws://{closed}/")).unwrap_err();
    let ConnectError::Dial { address, source } = error else {
        panic!("{error}");
    };
    assert_eq!(
        (address, source.kind()),
        (closed.to_string(), ErrorKind::ConnectionRefused)
    );
    let error = Client::connect("ws://no-such-name.invalid/").unwrap_err();
    assert!(matches!(error, ConnectError::Resolve { .. }), "{error}");
}

#[test]
fn client_connects_to_a_unix_socket() {
    let path = std::env::temp_dir().join(format!("standpipe-client-{}.sock", std::process::id()));
    let listener = Listener::unix(&path).unwrap();
    let server = Server::from_listeners(vec![listener], Config::default()).unwrap();
    let _server = TestServer::of(server, echo);
    let mut client = builder().unix(&path).connect().unwrap();
    client.send("here").unwrap();
    assert_eq!(client.recv().unwrap(), Some(Message::text("here")));
    client.close(1000, "").unwrap();
    let error = builder().unix("/no/such/path").connect().unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("could not connect to /no/such/path"),
        "{error}"
    );
}

/// The peer sends one byte after each call, so each call meets the connection at another byte of the message.
#[test]
fn receive_that_times_out_loses_nothing() {
    let (mut client, mut peer) = connected(builder());
    let fragments = [
        frame(0x01, "h\u{e9}".as_bytes()),
        frame(0x89, b"ping"),
        frame(0x80, b"llo"),
    ];
    for bytes in [fragments.concat(), frame(0x82, &[9; 200])] {
        let (last, others) = bytes.split_last().unwrap();
        for byte in others {
            peer.write_all(&[*byte]).unwrap();
            let received = client.recv_timeout(Duration::ZERO);
            assert!(is_timeout(&received), "{received:?}");
        }
        peer.write_all(&[*last]).unwrap();
        let message = client.recv_timeout(DEADLINE).unwrap().unwrap();
        let expected = if message.is_text() {
            "h\u{e9}llo".as_bytes()
        } else {
            &[9; 200]
        };
        assert_eq!(message.as_bytes(), expected);
    }
    assert_eq!(read_frame(&mut peer).2, b"ping");
}

#[test]
fn message_that_has_arrived_is_received_without_time() {
    let (mut client, mut peer) = connected(builder());
    let large = vec![3; 100_000];
    thread::scope(|scope| {
        scope.spawn(|| {
            peer.write_all(&frame(0x89, b"first")).unwrap();
            peer.write_all(&frame(0x82, &large)).unwrap();
            peer.write_all(&frame(0x81, b"all sent")).unwrap();
        });
        // Until the kernel has everything, the call may find only a part.
        let begin = Instant::now();
        let received = loop {
            match client.recv_timeout(Duration::ZERO) {
                Ok(message) => break message,
                Err(error) => assert!(begin.elapsed() < DEADLINE, "waited for a message: {error}"),
            }
        };
        assert_eq!(received, Some(Message::binary(large.clone())));
        let last = client.recv_timeout(DEADLINE).unwrap();
        assert_eq!(last, Some(Message::text("all sent")));
    });
}

#[test]
fn try_recv_returns_what_is_there() {
    let (mut client, mut peer) = connected(builder());
    assert!(matches!(client.try_recv(), Err(TryRecvError::Empty)));
    peer.write_all(&frame(0x81, b"a")).unwrap();
    assert_eq!(client.try_recv().unwrap(), Some(Message::text("a")));
    peer.write_all(&frame(0x81, b"b")).unwrap();
    // A deadline that has passed is enough for what has arrived.
    let passed = Instant::now();
    assert_eq!(
        client.recv_deadline(passed).unwrap(),
        Some(Message::text("b"))
    );
    assert!(is_timeout(&client.recv_deadline(passed)));
    peer.write_all(&frame(0x88, &1000_u16.to_be_bytes()))
        .unwrap();
    assert_eq!(client.try_recv().unwrap(), None);
    assert_eq!(client.peer_close().map(|close| close.code), Some(1000));
    assert_eq!(read_frame(&mut peer).0, 0x88);
    drop(peer);
    assert_eq!(client.try_recv().unwrap(), None);
    let (mut client, _) = connected(builder());
    assert!(matches!(
        client.try_recv(),
        Err(TryRecvError::Failed(RecvError::Gone))
    ));
}

#[test]
fn peer_that_never_stops_sending_cannot_prolong_a_call() {
    let limits = builder()
        .max_message(1000)
        .close_timeout(Duration::from_millis(30));
    for bytes in [frame(0x89, b"ping"), frame(0x02, b"").repeat(100)] {
        let (mut client, mut from) = connected(builder().max_message(1000));
        let mut writing = from.try_clone().unwrap();
        let pump = thread::spawn(move || while writing.write_all(&bytes).is_ok() {});
        let received = within(20, "the call to end", move || {
            let received = client.recv_timeout(Duration::from_millis(30));
            drop(client);
            received
        });
        assert!(received.is_err(), "{received:?}");
        let _ = from.read_to_end(&mut Vec::new());
        pump.join().unwrap();
    }
    let (mut client, from) = connected(limits);
    let mut writing = from.try_clone().unwrap();
    let pump = thread::spawn(move || while writing.write_all(&frame(0x81, b"more")).is_ok() {});
    let closed = within(20, "close to give up", move || client.close(1000, ""));
    assert!(is_timeout(&closed), "{closed:?}");
    pump.join().unwrap();
}

#[test]
fn pings_are_answered_inside_a_receive() {
    let (mut client, mut peer) = connected(builder());
    let mut masks = Vec::new();
    for payload in [&b""[..], b"a", &[b'x'; 125]] {
        peer.write_all(&frame(0x89, payload)).unwrap();
        // The call sees the ping although it has no time, and answers before it returns.
        assert!(is_timeout(&client.recv_timeout(Duration::ZERO)));
        let (first, mask, answer) = read_frame(&mut peer);
        assert_eq!((first, &*answer), (0x8a, payload));
        masks.push(mask);
    }
    masks.dedup();
    assert!(masks.len() > 1, "each frame has a mask of its own");
}

#[test]
fn pongs_never_make_a_receive_wait() {
    let (mut client, mut peer) = connected(builder());
    // The peer reads nothing, so at some time the socket accepts no pong any more.
    for number in 0..20_000_u32 {
        peer.write_all(&frame(0x89, &number.to_be_bytes().repeat(25)))
            .unwrap();
        if number % 100 == 99 {
            let received = client.recv_timeout(Duration::ZERO);
            assert!(is_timeout(&received), "{received:?}");
        }
    }
    peer.write_all(&frame(0x81, b"hello")).unwrap();
    assert_eq!(client.recv().unwrap(), Some(Message::text("hello")));
    // Everything that the client writes is read again, whole.
    let reading = thread::spawn(move || {
        let mut latest = 0;
        loop {
            match read_frame(&mut peer) {
                (0x8a, _, pong) => latest = u32::from_be_bytes(pong[..4].try_into().unwrap()),
                // The peer stays open, because the last pong may be written behind the message.
                (0x81, _, text) => return (latest, text, peer),
                other => panic!("{other:?}"),
            }
        }
    });
    client.send("bye").expect("the peer reads");
    let (latest, text, _peer) = within(20, "the peer to read", move || reading.join().unwrap());
    assert_eq!(text, b"bye");
    assert!(latest > 0);
}

#[test]
fn round_trip_is_known_after_the_pong() {
    let (mut client, mut peer) = connected(builder());
    assert_eq!(client.round_trip(), None);
    client.ping().unwrap();
    client.ping().unwrap();
    let (first, _, old) = read_frame(&mut peer);
    let (_, _, payload) = read_frame(&mut peer);
    assert_eq!(first, 0x89);
    peer.write_all(&frame(0x8a, &old)).unwrap();
    assert!(is_timeout(&client.recv_timeout(Duration::ZERO)));
    assert_eq!(
        client.round_trip(),
        None,
        "it was the pong of an earlier ping"
    );
    peer.write_all(&frame(0x8a, &payload)).unwrap();
    assert!(is_timeout(&client.recv_timeout(Duration::ZERO)));
    assert!(client.round_trip().is_some());
}

#[test]
fn violations_of_the_server_are_answered_with_a_close() {
    let masked = [0x81, 0x80, 1, 2, 3, 4];
    for (bytes, code) in [
        (masked.to_vec(), 1002),
        (frame(0x83, b""), 1002),
        (frame(0xc1, b""), 1002),
        (frame(0x80, b""), 1002),
        (frame(0x09, b""), 1002),
        (frame(0x89, &[0; 126]), 1002),
        (frame(0x81, &[0xff]), 1007),
        (frame(0x82, &[0; 1001]), 1009),
        (
            [frame(0x02, &[0; 999]), frame(0x80, &[0; 2])].concat(),
            1009,
        ),
    ] {
        let (mut client, mut peer) = connected(builder().max_message(1000));
        peer.write_all(&bytes).unwrap();
        for _ in 0..2 {
            let error = client.recv().unwrap_err();
            assert!(
                matches!(error, RecvError::Violation { code: found, .. } if found == code),
                "{code}: {error}"
            );
        }
        let (first, _, payload) = read_frame(&mut peer);
        assert_eq!((first, close_code(&payload)), (0x88, code));
        assert!(client.send("late").is_err());
        assert!(client.ping().is_err());
    }
}

#[test]
fn end_without_a_close_is_gone() {
    let (mut client, peer) = connected(builder());
    drop(peer);
    for _ in 0..2 {
        assert!(matches!(client.recv(), Err(RecvError::Gone)));
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    let connecting = thread::spawn(move || builder().stream(ours).connect().unwrap());
    let request = read_request(&mut peer);
    peer.write_all(accept(&request, "").as_bytes()).unwrap();
    let mut client = connecting.join().unwrap();
    let peer = socket2::Socket::from(peer);
    peer.set_linger(Some(Duration::ZERO)).unwrap();
    drop(peer);
    assert!(matches!(client.recv(), Err(RecvError::Gone)));
}

#[test]
fn close_without_an_answer_ends_at_its_timeout() {
    let limit = Duration::from_millis(30);
    let (mut client, mut peer) = connected(builder().close_timeout(limit));
    let closed = within(20, "close to give up", move || {
        let closed = client.close(1005, &"é".repeat(100));
        (closed, client.recv())
    });
    assert!(is_timeout(&closed.0), "{:?}", closed.0);
    assert!(matches!(closed.1, Err(RecvError::Io(error)) if error.kind() == ErrorKind::TimedOut));
    let (first, _, payload) = read_frame(&mut peer);
    // 1005 must not be sent, and a reason has at most 123 bytes.
    assert_eq!(
        (first, close_code(&payload), payload.len()),
        (0x88, 1000, 124)
    );
}

#[test]
fn peer_that_does_not_read_ends_a_send() {
    let limit = Duration::from_millis(30);
    let (mut client, _peer) = connected(builder().write_timeout(limit));
    let message = Message::binary(vec![1; 8 << 20]);
    let sent = within(20, "send to give up", move || {
        let sent = client.send(message.clone());
        assert_eq!(sent.unwrap_err().into_message(), message);
        client.recv()
    });
    assert!(matches!(sent, Err(RecvError::Io(error)) if error.kind() == ErrorKind::TimedOut));
}

/// Runs the client against the fuzzing server of Autobahn, whose address is in `AUTOBAHN_URL`: see `.ci/autobahn`. Each
/// receive has one millisecond.
#[test]
#[ignore = "needs the fuzzing server of Autobahn"]
fn autobahn_cases_are_echoed() {
    let server = std::env::var("AUTOBAHN_URL").expect("AUTOBAHN_URL");
    let connect = |path: String| {
        let builder = Client::builder(format!("{server}{path}")).max_message(17 << 20);
        builder.connect().unwrap()
    };
    let mut client = connect("/getCaseCount".to_owned());
    let count = client.recv().unwrap().expect("the number of cases");
    let _ = client.recv();
    for case in 1..=count.to_text().unwrap().parse::<usize>().unwrap() {
        let mut client = connect(format!("/runCase?case={case}&agent=standpipe-client"));
        loop {
            match client.recv_timeout(Duration::from_millis(1)) {
                Ok(Some(message)) => {
                    if client.send(message).is_err() {
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                _ => break,
            }
        }
    }
    let path = "/updateReports?agent=standpipe-client&shutdownOnComplete=true";
    // The server may end before it answers.
    let _ = Client::connect(&format!("{server}{path}"));
}

/// Copies `from` to `to` in pieces of these sizes, one after the other, until the end of the stream.
fn copy_in_pieces(mut from: UnixStream, mut to: UnixStream, sizes: &[usize]) {
    let mut buffer = vec![0; 20_000];
    for size in sizes.iter().cycle() {
        match from.read(&mut buffer[..*size]) {
            Ok(0) | Err(_) => break,
            Ok(count) if to.write_all(&buffer[..count]).is_err() => break,
            Ok(_) => {}
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    /// Bytes arrive in random pieces, and each receive has one millisecond.
    #[test]
    fn random_pieces_and_short_receives_lose_nothing(
        lengths in prop::collection::vec(0_usize..3000, 1..40),
        sizes in prop::collection::vec(1_usize..20_000, 1..20),
        small in 1_usize..40,
    ) {
        let (connections, listener) = Listener::channel(1);
        let server = Server::from_listeners(vec![listener], Config::default()).unwrap();
        let _server = TestServer::of(server, echo);
        let (ours, near) = UnixStream::pair().unwrap();
        let (far, theirs) = UnixStream::pair().unwrap();
        connections.send(theirs, Vec::new()).unwrap();
        let sizes = [sizes, vec![small]].concat();
        thread::scope(|scope| {
            let ends = [(near.try_clone(), far.try_clone()), (far.try_clone(), near.try_clone())];
            for (from, to) in ends {
                let sizes = &sizes;
                scope.spawn(move || copy_in_pieces(from.unwrap(), to.unwrap(), sizes));
            }
            let mut client = builder().stream(ours).connect().unwrap();
            let begin = Instant::now();
            let (mut sent, mut received) = (Vec::new(), Vec::new());
            for (n, length) in lengths.iter().enumerate() {
                let message = Message::binary(vec![n as u8; *length]);
                client.send(message.clone()).unwrap();
                sent.push(message);
                if let Ok(message) = client.recv_timeout(Duration::from_millis(1)) {
                    received.push(message.expect("nobody closes"));
                }
            }
            while received.len() < sent.len() {
                assert!(begin.elapsed() < DEADLINE, "waited for {} messages", sent.len());
                match client.recv_timeout(Duration::from_millis(1)) {
                    Ok(message) => received.push(message.expect("nobody closes")),
                    Err(error) => assert!(is_timeout(&Err::<(), _>(error))),
                }
            }
            assert!(received == sent, "messages were changed");
            client.close(1000, "").unwrap();
        });
    }
}
