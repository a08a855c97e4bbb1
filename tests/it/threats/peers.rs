//! Peers that are slow, silent, stopped or gone (SECURITY.md, T19 and T21 to T24).

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use standpipe::{Config, Connection, Message};

use crate::support::{
    Failure, Frame, Seen, Stream, StreamOptions, TestServer, assert_lasted, echo, let_time_pass,
    op, until, with_both_flush_modes, within,
};

const SHORT: Duration = Duration::from_millis(500);
const LONG: Duration = Duration::from_secs(60);

/// Sends 16 KiB messages until a send fails.
fn send_large(conn: &mut Connection) -> Result<(), Failure> {
    loop {
        conn.send(Message::binary(vec![0; 16 << 10]))?;
    }
}

/// Sends 1 KiB messages until a send fails. Every small read of the peer lets the server write some of them.
fn send_small(conn: &mut Connection) -> Result<(), Failure> {
    loop {
        conn.send(Message::binary(vec![0; 1 << 10]))?;
    }
}

/// Sets small kernel buffers and long timeouts. A test shortens only the timeout that it is about.
fn slow_timeouts(config: Config) -> Config {
    config
        .sndbuf(Some(16 << 10))
        .unsent(16 << 10)
        .write_timeout(LONG)
        .close_timeout(LONG)
        .message_timeout(LONG)
        .ping_interval(LONG)
        .ping_timeout(LONG)
}

/// Returns how many clients the server has disconnected for this cause.
fn disconnected_by(server: &TestServer, cause: &str) -> u64 {
    let counts = server.handle().disconnects();
    counts.iter().find(|(by, _)| by.name() == cause).unwrap().1
}

#[test]
fn unanswered_close_is_reset_at_close_timeout() {
    with_both_flush_modes(|config| {
        let server = TestServer::start(
            slow_timeouts(config).close_timeout(SHORT),
            |conn: &mut Connection| {
                conn.close(4000, "enough");
                Ok(())
            },
        );
        let began = Instant::now();
        let mut client = server.connect();
        client.expect_close(4000);
        until("the client is gone", || server.handle().clients() == 0);
        assert_lasted(began, SHORT);
        until("the disconnect is counted", || {
            disconnected_by(&server, "close_timeout") == 1
        });
        drop(client);
    });
}

#[test]
fn peer_that_never_reads_is_reset() {
    with_both_flush_modes(|config| {
        let server = TestServer::start(slow_timeouts(config).write_timeout(SHORT), send_large);
        let began = Instant::now();
        let client = connect_manually(&server, 2 << 10);
        until("the client is gone", || server.handle().clients() == 0);
        assert_lasted(began, SHORT);
        until("the disconnect is counted", || {
            disconnected_by(&server, "write_timeout") == 1
        });
        // Queued messages are no longer sent. The client can read only what both kernel buffers held.
        let (left, ended) = within(20, "the end of the stream", move || {
            read_slowly(&client, 16 << 10, Duration::ZERO, usize::MAX)
        });
        assert!(ended && left < 512 << 10, "{left} bytes");
    });
}

/// Reads up to `bytes` every `pause`, and `limit` bytes in all. Returns how much was read and whether the connection
/// ended.
fn read_slowly(stream: &Stream, bytes: usize, pause: Duration, limit: usize) -> (usize, bool) {
    let mut buffer = vec![0; bytes];
    let mut received = 0;
    let mut reader = stream;
    while received < limit {
        match reader.read(&mut buffer) {
            Ok(0) | Err(_) => return (received, true),
            Ok(read) => received += read,
        }
        // The slow pace is what the test is about.
        let_time_pass(pause);
    }
    (received, false)
}

/// Connects a client with this receive buffer. Only the test reads from it, so it answers nothing by itself.
#[track_caller]
fn connect_manually(server: &TestServer, rcvbuf: usize) -> Stream {
    let options = StreamOptions {
        rcvbuf: Some(rcvbuf),
        ..StreamOptions::default()
    };
    let stream = Stream::connect_with(&server.addr().into(), &options).unwrap();
    (&stream)
        .write_all(server.client().head().as_bytes())
        .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        (&stream).read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{head:?}");
    stream
}

#[test]
fn peer_that_reads_too_slowly_is_reset() {
    with_both_flush_modes(|config| {
        let server = TestServer::start(slow_timeouts(config).write_timeout(SHORT * 2), send_small);
        let client = connect_manually(&server, 4 << 10);
        let (received, ended) = within(20, "the slow reader to be reset", move || {
            // 40 KiB/s, where the write rule demands 64 KiB/s. A timeout for each single write would never expire.
            read_slowly(&client, 4 << 10, Duration::from_millis(100), usize::MAX)
        });
        assert!(ended && received > 16 << 10, "{received} bytes");
        until("the client is gone", || server.handle().clients() == 0);
        until("the disconnect is counted", || {
            disconnected_by(&server, "write_timeout") == 1
        });
    });
}

#[test]
fn peer_that_reads_256_kib_per_second_is_served() {
    let server = TestServer::start(
        slow_timeouts(Config::default()).write_timeout(SHORT * 2),
        send_large,
    );
    let client = connect_manually(&server, 32 << 10);
    let limit = 768 << 10;
    let (received, ended) = within(60, "768 KiB to arrive", move || {
        read_slowly(&client, 16 << 10, Duration::from_millis(60), limit)
    });
    assert!(!ended && received >= limit, "{received} bytes");
    assert_eq!(disconnected_by(&server, "write_timeout"), 0);
}

#[test]
fn peer_silent_after_a_ping_is_reset() {
    with_both_flush_modes(|config| {
        let config = slow_timeouts(config)
            .ping_interval(SHORT)
            .ping_timeout(SHORT);
        let server = TestServer::echo(config);
        let began = Instant::now();
        let mut silent = server.connect();
        // Any byte shows that a peer is alive. This client never answers a ping, but it sends pongs of its own.
        let mut active = server.connect();
        let send_half = active.send_half();
        let sender = thread::spawn(move || {
            let mut sent = 0;
            while send_half.try_bytes(Frame::new(op::PONG, "unsolicited").bytes()) && sent < 25 {
                sent += 1;
                // The client shows repeatedly that it is alive.
                let_time_pass(SHORT / 8);
            }
        });
        assert_eq!(silent.next_frame().opcode, op::PING);
        assert!(matches!(silent.next(), Seen::Reset | Seen::Eof));
        assert_lasted(began, SHORT * 2);
        until("the disconnect is counted", || {
            disconnected_by(&server, "ping_timeout") == 1
        });
        sender.join().unwrap();
        active.text("still connected");
        active.expect_text("still connected");
    });
}

/// Starts a process that holds the connection and answers every ping.
fn spawn_answering_client(server: &TestServer) -> Child {
    let script = "import os\n\
                  os.write(0, b'\\x8a\\x80\\0\\0\\0\\0')\n\
                  while True:\n\
                  \x20   ping = os.read(0, 10)\n\
                  \x20   if not ping: break\n\
                  \x20   os.write(0, b'\\x8a\\x88\\0\\0\\0\\0' + ping[2:])\n";
    let stream = connect_manually(server, 64 << 10);
    let socket = stream.socket().as_fd().try_clone_to_owned();
    Command::new("python3")
        .args(["-c", script])
        .stdin(socket.unwrap())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn stopped_process_is_reset() {
    let ping_timeout = SHORT * 8;
    let config = slow_timeouts(Config::default())
        .ping_interval(SHORT)
        .ping_timeout(ping_timeout);
    // The process that gets the socket has no TLS session.
    let server = TestServer::plain(config, echo);
    let mut alive = spawn_answering_client(&server);
    let stopped: Vec<Child> = (0..3).map(|_| spawn_answering_client(&server)).collect();
    for child in &stopped {
        let stop = Command::new("kill")
            .args(["-s", "STOP", &child.id().to_string()])
            .status();
        assert!(stop.unwrap().success());
    }
    until("the stopped processes are disconnected", || {
        disconnected_by(&server, "ping_timeout") >= 3
    });
    // The running process was pinged as often, and it answered.
    assert_eq!(server.handle().clients(), 1);
    assert!(alive.try_wait().unwrap().is_none());
    for mut child in stopped {
        let resume = Command::new("kill")
            .args(["-s", "CONT", &child.id().to_string()])
            .status();
        assert!(resume.unwrap().success());
        within(20, "the resumed process to see the end", move || {
            child.wait().unwrap()
        });
    }
    alive.kill().unwrap();
    alive.wait().unwrap();
}
