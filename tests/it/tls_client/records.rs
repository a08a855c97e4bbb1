//! A peer that the test plays record by record.

use super::*;

/// The other end of a client's connection: a TLS session on a TCP socket that the test reads and writes itself.
struct Peer {
    tls: StreamOwned<ServerConnection, TcpStream>,
}

impl Peer {
    fn of(socket: TcpStream, config: ServerConfig) -> Peer {
        socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        let session = ServerConnection::new(Arc::new(config)).expect("a session");
        let tls = StreamOwned::new(session, socket);
        Peer { tls }
    }

    /// Reads the request of the client, and answers it with a 101.
    fn accept(&mut self) {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            self.tls.read_exact(&mut byte).expect("the request");
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).expect("a head is text");
        let mut lines = head.lines();
        let key = lines.find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
        let accept = derive_accept_key(key.expect("a key").as_bytes());
        self.send(
            format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n\r\n"
            )
            .as_bytes(),
        );
    }

    /// Sends data.
    fn send(&mut self, bytes: &[u8]) {
        self.tls.write_all(bytes).expect("the client reads");
        self.tls.flush().expect("the client reads");
    }

    /// Returns data as records, which are not sent.
    fn seal(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.tls.conn.writer().write_all(bytes).expect("room");
        let mut records = Vec::new();
        while self.tls.conn.wants_write() {
            self.tls.conn.write_tls(&mut records).expect("a vector");
        }
        records
    }

    /// Reads a short frame of the client. Returns its first byte and its payload.
    fn read_frame(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 6];
        self.tls.read_exact(&mut head).expect("a frame");
        let mut payload = vec![0; usize::from(head[1] & 0x7f)];
        self.tls.read_exact(&mut payload).expect("a payload");
        for (n, byte) in payload.iter_mut().enumerate() {
            *byte ^= head[2 + n % 4];
        }
        (head[0], payload)
    }
}

/// Returns a TCP connection: the client's end and the other one.
fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let ours = TcpStream::connect(address).expect("a connection");
    (ours, listener.accept().expect("the connection").0)
}

/// Returns a connected client and its peer.
fn connected(change: impl FnOnce(ClientBuilder) -> ClientBuilder) -> (Client, Peer) {
    let (ours, theirs) = sockets();
    let peer = thread::spawn(|| {
        let mut peer = Peer::of(theirs, played_server());
        peer.accept();
        peer
    });
    let builder = Client::builder("wss://localhost/").tls(client_config());
    let client = change(builder).stream(ours).connect();
    let client = client.expect("a connection");
    (client, peer.join().expect("the peer has accepted"))
}

/// Returns a binary message as a frame of a server.
fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x82, 127];
    frame.extend((payload.len() as u64).to_be_bytes());
    frame.extend(payload);
    frame
}

#[test]
fn trickled_record_does_not_prolong_a_wait() {
    let (mut client, mut peer) = connected(|builder| builder);
    let records = peer.seal(&frame(&[b'x'; 10_000]));
    let (end, ended) = crossbeam_channel::bounded::<()>(0);
    thread::scope(|scope| {
        let trickle = scope.spawn(move || {
            let mut sent = 0;
            // This cannot be an event: the peer never pauses for long.
            while ended.recv_timeout(Duration::from_millis(5)) == Err(Timeout) {
                peer.tls
                    .sock
                    .write_all(&records[sent..=sent])
                    .expect("room");
                sent += 1;
            }
            peer.tls.sock.write_all(&records[sent..]).expect("room");
            peer
        });
        let began = Instant::now();
        let received = client.recv_timeout(Duration::from_millis(300));
        assert!(
            matches!(received, Err(RecvTimeoutError::Timeout)),
            "{received:?}"
        );
        let took = began.elapsed();
        assert!(
            took >= Duration::from_millis(300) && took < Duration::from_secs(3),
            "{took:?}"
        );
        assert!(
            client.try_recv().is_err(),
            "a part of a record is not a message"
        );
        drop(end);
        let _peer = trickle.join().expect("the peer has sent everything");
        let message = client.recv_timeout(DEADLINE).expect("the message is whole");
        assert_eq!(message, Some(Message::binary(vec![b'x'; 10_000])));
    });
}

#[test]
fn stalled_and_trickled_handshakes_end_in_time() {
    for step in [None, Some(Duration::from_millis(20))] {
        let (ours, mut theirs) = sockets();
        let (end, ended) = crossbeam_channel::bounded::<()>(0);
        let peer = thread::spawn(move || {
            // The head of a handshake record, and a message in it that never ends.
            let record = [&[22, 3, 3, 0x40, 0, 2, 0, 0x3f, 0xfc][..], &[0; 4000]].concat();
            let step = step.unwrap_or(DEADLINE);
            for byte in record {
                // This cannot be an event: the peer never pauses for long.
                if ended.recv_timeout(step) != Err(Timeout) || theirs.write_all(&[byte]).is_err() {
                    return;
                }
            }
        });
        let began = Instant::now();
        let client = Client::builder("wss://localhost/")
            .tls(client_config())
            .handshake_timeout(Duration::from_millis(300))
            .stream(ours)
            .connect();
        let error = client.expect_err("no handshake");
        assert!(matches!(error, ConnectError::Timeout), "{error:?}");
        assert!(
            began.elapsed() < Duration::from_secs(3),
            "{:?}",
            began.elapsed()
        );
        drop(end);
        peer.join().expect("the peer ends");
    }
}

#[test]
fn decrypted_messages_are_received_without_the_socket() {
    let (mut client, mut peer) = connected(|builder| builder);
    // All in one record, so nothing is left in the socket after the first.
    let three = [frame(b"one"), frame(b"two"), frame(b"three")].concat();
    peer.send(&three);
    let first = client.recv_timeout(DEADLINE).expect("a message");
    assert_eq!(first, Some(Message::binary("one")));
    for expected in ["two", "three"] {
        let message = client.try_recv().expect("it has been decrypted");
        assert_eq!(message, Some(Message::binary(expected)));
    }
    assert!(client.try_recv().is_err());
}

#[test]
fn end_with_or_without_close_notify_is_no_closing_handshake() {
    for announces in [true, false] {
        let (mut client, mut peer) = connected(|builder| builder);
        peer.send(&frame(b"last"));
        if announces {
            peer.tls.conn.send_close_notify();
            peer.tls.flush().expect("room");
        }
        drop(peer);
        let last = client.recv_timeout(DEADLINE).expect("a message");
        assert_eq!(last, Some(Message::binary("last")));
        let end = client.recv();
        assert!(matches!(end, Err(RecvError::Gone)), "{announces}: {end:?}");
    }
}

#[test]
fn close_is_followed_by_close_notify() {
    let (mut client, mut peer) = connected(|builder| builder);
    let peer = thread::spawn(move || {
        let (first, close) = peer.read_frame();
        assert_eq!((first, &*close), (0x88, &[0x03, 0xe8][..]));
        peer.send(&[0x88, 2, 0x03, 0xe8]);
        // Without a close_notify, this is the error `UnexpectedEof`.
        peer.tls.read(&mut [0; 16])
    });
    client.close(1000, "").expect("a closing handshake");
    let end = peer.join().expect("the peer ends").expect("a close_notify");
    assert_eq!(end, 0);
}

#[test]
fn bad_record_is_answered_with_an_alert() {
    let (mut client, mut peer) = connected(|builder| builder);
    let mut records = peer.seal(&frame(b"x"));
    let last = records.len() - 1;
    records[last] ^= 1;
    peer.tls.sock.write_all(&records).expect("room");
    let error = client.recv();
    assert!(
        matches!(&error, Err(RecvError::Io(error)) if error.kind() == ErrorKind::InvalidData),
        "{error:?}"
    );
    let error = peer.tls.read(&mut [0; 16]).expect_err("an alert");
    assert!(error.to_string().contains("BadRecordMac"), "{error}");
}

#[test]
fn key_updates_of_the_server_are_followed() {
    let (mut client, mut peer) = connected(|builder| builder);
    for round in 0..20_u8 {
        peer.tls.conn.refresh_traffic_keys().expect("TLS 1.3");
        peer.send(&frame(&[round]));
        let message = client.recv_timeout(DEADLINE).expect("a message");
        assert_eq!(message, Some(Message::binary(vec![round])));
        client.send(Message::binary(vec![round])).expect("room");
        assert_eq!(peer.read_frame(), (0x82, vec![round]));
    }
}

/// Bytes of which each place can be recognized.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * 31 / 7 % 251) as u8).collect()
}

#[test]
fn large_messages_are_whole_whatever_the_socket_accepts() {
    let size = 6 << 20;
    let config = Config::default()
        .max_message(8 << 20)
        .rcvbuf(Some(64 << 10));
    let server = tls_server(config, |conn: &mut Connection| {
        while let Some(message) = conn.recv()? {
            conn.send(message.clone())?;
        }
        Ok(())
    });
    let socket = TcpStream::connect(server.addr()).expect("the server listens");
    socket.set_nodelay(true).expect("an option of TCP");
    let socket = socket2::Socket::from(socket);
    socket.set_send_buffer_size(16 << 10).expect("a buffer");
    let mut client = Client::builder("wss://localhost/")
        .tls(client_config())
        .max_message(8 << 20)
        .stream(socket)
        .connect()
        .expect("a connection");
    for length in [size, 1, 65_536, size + 1] {
        let message = Message::binary(pattern(length));
        client.send(message.clone()).expect("the server reads");
        let echo = client.recv_timeout(DEADLINE).expect("an echo");
        assert!(echo == Some(message), "{length} bytes");
    }
}

#[test]
fn send_to_a_server_that_does_not_read_ends_in_time() {
    let limit = Duration::from_millis(300);
    let (mut client, mut peer) = connected(|builder| builder.write_timeout(limit));
    let began = Instant::now();
    client
        .send(Message::binary(vec![0; 32 << 20]))
        .expect_err("nobody reads");
    let took = began.elapsed();
    assert!(took >= limit && took < Duration::from_secs(10), "{took:?}");
    let error = client.recv().expect_err("the connection has been reset");
    assert!(
        matches!(&error, RecvError::Io(error) if error.kind() == ErrorKind::TimedOut),
        "{error:?}"
    );
    drop(client);
    let read = within(10, "the peer to see the reset", move || {
        std::io::copy(&mut peer.tls, &mut std::io::sink())
    });
    assert!(read.is_err());
}

#[test]
fn pings_are_answered_between_messages() {
    let config = Config::default()
        .ping_interval(Duration::from_millis(20))
        .ping_timeout(Duration::from_millis(500));
    let server = tls_server(config, echo);
    let mut client = connect(&server);
    let end = Instant::now() + Duration::from_secs(1);
    let message = Message::binary(pattern(50_000));
    let mut rounds = 0;
    while Instant::now() < end {
        client.send(message.clone()).expect("the server reads");
        let echo = client.recv_timeout(DEADLINE).expect("an echo");
        assert!(echo.as_ref() == Some(&message));
        rounds += 1;
    }
    client.ping().expect("the server reads");
    let none = client.recv_timeout(Duration::from_millis(200));
    assert!(matches!(none, Err(RecvTimeoutError::Timeout)), "{none:?}");
    assert!(client.round_trip().is_some(), "after {rounds} rounds");
    client.close(1000, "").expect("a closing handshake");
}

#[test]
fn refusal_is_read_over_tls() {
    struct Refusing;
    impl standpipe::Handler for Refusing {
        fn request(&self, _: &mut Request) -> Reply {
            Reply::text(403, "not you\n")
        }

        fn run(&self, _: &mut Connection) -> standpipe::HandlerResult {
            Ok(())
        }
    }
    let server = tls_server(Config::default(), Refusing);
    let error = builder(&server).connect().expect_err("refused");
    let ConnectError::Refused(answer) = error else {
        panic!("{error}");
    };
    assert_eq!(
        (answer.status().as_u16(), &**answer.body()),
        (403, &b"not you\n"[..])
    );
}

#[test]
fn tls_works_on_a_socket_that_is_handed_over() {
    let server = tls_server(Config::default(), echo);
    let socket = TcpStream::connect(server.addr()).expect("the server listens");
    // The name is the one of the URL, and no name is resolved.
    let client = Client::builder("wss://standpipe.test/").tls(client_config());
    let client = client.header("Host", "localhost");
    let mut client = client.stream(socket).connect().expect("a connection");
    client.send("here").expect("room");
    assert_eq!(client.recv().expect("an echo"), Some(Message::text("here")));
}
