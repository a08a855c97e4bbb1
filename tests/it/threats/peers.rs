//! T19 and T21 to T24: peers that are slow, silent, frozen or gone.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use standpipe::{Config, Connection, Message};

use crate::support::{
    DEADLINE, Failure, Frame, Seen, TestServer, let_time_pass, op, until, with_both_flush_modes,
    within,
};

const SHORT: Duration = Duration::from_millis(500);
const LONG: Duration = Duration::from_secs(60);

/// Sends 16 KiB messages until that fails.
fn pour(conn: &mut Connection) -> Result<(), Failure> {
    loop {
        conn.send(Message::binary(vec![0; 16 << 10]))?;
    }
}

/// The same with 1 KiB, so that every sip lets something go.
fn pour_small(conn: &mut Connection) -> Result<(), Failure> {
    loop {
        conn.send(Message::binary(vec![0; 1 << 10]))?;
    }
}

/// The kernel's buffers small, and every clock but the one under test far away.
fn tight(config: Config) -> Config {
    config
        .sndbuf(Some(16 << 10))
        .unsent(16 << 10)
        .write_timeout(LONG)
        .close_timeout(LONG)
        .message_timeout(LONG)
        .ping_interval(LONG)
        .ping_timeout(LONG)
}

fn ended_by(server: &TestServer, clock: &str) -> u64 {
    let endings = server.handle().disconnects();
    endings.iter().find(|(name, _)| *name == clock).unwrap().1
}

#[test]
fn t19_a_peer_that_never_answers_our_close_is_reset_at_close_timeout() {
    with_both_flush_modes(|config| {
        let server = TestServer::start(
            tight(config).close_timeout(SHORT),
            |conn: &mut Connection| {
                conn.close(4000, "enough");
                Ok(())
            },
        );
        let began = Instant::now();
        let mut client = server.connect();
        client.expect_close(4000);
        until("it is gone", || server.handle().clients() == 0);
        assert!(began.elapsed() >= SHORT);
        until("it is counted", || ended_by(&server, "close_timeout") == 1);
        drop(client);
    });
}

#[test]
fn t21_a_peer_that_never_reads_is_reset_by_the_write_rule() {
    with_both_flush_modes(|config| {
        let server = TestServer::start(tight(config).write_timeout(SHORT), pour);
        let began = Instant::now();
        let client = by_hand(&server, 2 << 10);
        until("it is gone", || server.handle().clients() == 0);
        assert!(began.elapsed() >= SHORT, "{:?}", began.elapsed());
        until("it is counted", || ended_by(&server, "write_timeout") == 1);
        // What was queued for it is not sent any more: what it finds is what its own buffer and ours held.
        let (left, ended) = within(20, "the end", move || {
            sip(&client, 16 << 10, Duration::ZERO, usize::MAX)
        });
        assert!(ended && left < 512 << 10, "{left}");
    });
}

/// Takes up to `bytes` every `pause` until the end; says how much that was, and how it ended.
fn sip(socket: &Socket, bytes: usize, pause: Duration, most: usize) -> (usize, bool) {
    let mut room = vec![0; bytes];
    let mut taken = 0;
    let mut reader = socket;
    while taken < most {
        match reader.read(&mut room) {
            Ok(0) | Err(_) => return (taken, true),
            Ok(read) => taken += read,
        }
        // The pace is what the test is about.
        let_time_pass(pause);
    }
    (taken, false)
}

/// A client after its handshake, whose receive buffer is so large, and that is read by hand.
#[track_caller]
fn by_hand(server: &TestServer, rcvbuf: usize) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(rcvbuf).unwrap();
    socket.connect(&server.addr().into()).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    (&socket)
        .write_all(server.client().head().as_bytes())
        .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        (&socket).read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{head:?}");
    socket
}

#[test]
fn t22_a_peer_that_takes_a_little_all_the_time_is_reset_too() {
    with_both_flush_modes(|config| {
        let server = TestServer::start(tight(config).write_timeout(SHORT * 2), pour_small);
        let client = by_hand(&server, 4 << 10);
        let (sipped, ended) = within(20, "the end of a peer that sips", move || {
            // 40 KiB/s where 64 are the least; a timeout of each write would never fire.
            sip(&client, 4 << 10, Duration::from_millis(100), usize::MAX)
        });
        assert!(ended && sipped > 16 << 10, "{sipped}");
        until("it is gone", || server.handle().clients() == 0);
        until("it is counted", || ended_by(&server, "write_timeout") == 1);
    });
}

#[test]
fn t22_a_peer_that_takes_256_kib_a_second_is_served() {
    let server = TestServer::start(tight(Config::default()).write_timeout(SHORT * 2), pour);
    let client = by_hand(&server, 32 << 10);
    let most = 768 << 10;
    let (taken, ended) = within(60, "768 KiB", move || {
        sip(&client, 16 << 10, Duration::from_millis(60), most)
    });
    assert!(!ended && taken >= most, "{taken}");
    assert_eq!(ended_by(&server, "write_timeout"), 0);
}

#[test]
fn t23_a_peer_from_which_nothing_comes_after_a_ping_is_reset() {
    with_both_flush_modes(|config| {
        let config = tight(config).ping_interval(SHORT).ping_timeout(SHORT);
        let server = TestServer::echo(config);
        let began = Instant::now();
        let mut silent = server.connect();
        // Any byte is a sign of life: this one never answers a ping, and talks.
        let mut talks = server.connect();
        let send_half = talks.send_half();
        let talking = thread::spawn(move || {
            let mut said = 0;
            while send_half.try_bytes(Frame::new(op::PONG, "unasked").bytes()) && said < 25 {
                said += 1;
                // Life is what is shown here, again and again.
                let_time_pass(SHORT / 8);
            }
        });
        assert_eq!(silent.next_frame().opcode, op::PING);
        assert!(matches!(silent.next(), Seen::Reset | Seen::Eof));
        assert!(began.elapsed() >= SHORT * 2);
        until("it is counted", || ended_by(&server, "ping_timeout") == 1);
        talking.join().unwrap();
        talks.text("still here");
        talks.expect_text("still here");
    });
}

/// A process that holds the connection and answers every ping.
fn answering(server: &TestServer) -> Child {
    let script = "import os\n\
                  os.write(0, b'\\x8a\\x80\\0\\0\\0\\0')\n\
                  while True:\n\
                  \x20   ping = os.read(0, 10)\n\
                  \x20   if not ping: break\n\
                  \x20   os.write(0, b'\\x8a\\x88\\0\\0\\0\\0' + ping[2:])\n";
    Command::new("python3")
        .args(["-c", script])
        .stdin(OwnedFd::from(by_hand(server, 64 << 10)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn t24_a_frozen_process_is_reset_though_its_kernel_still_acknowledges() {
    let ping_timeout = SHORT * 8;
    let config = tight(Config::default())
        .ping_interval(SHORT)
        .ping_timeout(ping_timeout);
    let server = TestServer::echo(config);
    let mut alive = answering(&server);
    let frozen: Vec<Child> = (0..3).map(|_| answering(&server)).collect();
    for child in &frozen {
        let stop = Command::new("kill")
            .args(["-s", "STOP", &child.id().to_string()])
            .status();
        assert!(stop.unwrap().success());
    }
    until("the frozen ones are gone", || {
        ended_by(&server, "ping_timeout") >= 3
    });
    // It was asked as often, and has answered.
    assert_eq!(server.handle().clients(), 1);
    assert!(alive.try_wait().unwrap().is_none());
    for mut child in frozen {
        let go_on = Command::new("kill")
            .args(["-s", "CONT", &child.id().to_string()])
            .status();
        assert!(go_on.unwrap().success());
        within(20, "one that goes on to see the end", move || {
            child.wait().unwrap()
        });
    }
    alive.kill().unwrap();
    alive.wait().unwrap();
}
