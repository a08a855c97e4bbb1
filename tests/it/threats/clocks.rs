//! The watchdog's deadlines, seen by a client. Each deadline covers the whole request or message, and time that our own
//! handler takes does not count against the peer. `http_deadlines.rs` has those of bodies and answers.

use std::thread;
use std::time::{Duration, Instant};

use standpipe::{Config, Connection, Interest, Message, TryRecvError};

use crate::support::{
    Barrier, DEADLINE, Frame, Length, Seen, TestClient, TestServer, let_time_pass, op, until,
    with_both_flush_modes, within,
};

const SHORT: Duration = Duration::from_millis(500);

/// The pause between two bytes of a slow client. It is far shorter than every deadline in this file.
const BYTE_INTERVAL: Duration = Duration::from_millis(20);

/// Returns how many clients the server has disconnected for this cause.
fn disconnected_by(server: &TestServer, cause: &str) -> u64 {
    let counts = server.handle().disconnects();
    counts.iter().find(|(by, _)| by.name() == cause).unwrap().1
}

/// Asserts that at least `time` has passed since `began`. The watchdog counts whole milliseconds, so its timeouts may
/// be one millisecond short.
#[track_caller]
fn assert_lasted(began: Instant, time: Duration) {
    let elapsed = began.elapsed();
    assert!(
        elapsed + Duration::from_millis(1) >= time,
        "{elapsed:?} instead of {time:?}"
    );
}

/// Waits before the next byte: the slow pace is what these tests are about.
fn pause_between_bytes(began: Instant) {
    let_time_pass(BYTE_INTERVAL);
    assert!(
        began.elapsed() < DEADLINE,
        "the server never disconnected the client"
    );
}

#[test]
fn handshake_timeout_limits_the_whole_request_head() {
    let server = TestServer::echo(Config::default().handshake_timeout(SHORT));
    let stream = server.client().open();
    let began = Instant::now();
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Long: {}", "x".repeat(4000));
    for byte in head.bytes() {
        if !stream.try_bytes([byte]) {
            break;
        }
        pause_between_bytes(began);
    }
    assert_lasted(began, SHORT);
    until("the disconnect is counted", || {
        disconnected_by(&server, "handshake_timeout") == 1
    });
}

#[test]
fn slow_requests_end_in_time_without_blocking_others() {
    let timeout = SHORT * 6;
    let server = TestServer::echo(Config::default().handshake_timeout(timeout));
    let began = Instant::now();
    let mut clients: Vec<_> = (0..200).map(|_| server.client().open()).collect();
    let send_halves: Vec<_> = clients.iter().map(|client| client.send_half()).collect();
    let sender = thread::spawn(move || {
        for byte in "GET / HTTP/1.1\r\nHost: a\r\nX-Long: "
            .bytes()
            .chain([b'x'; 4000])
        {
            if send_halves
                .iter()
                .filter(|send_half| send_half.try_bytes([byte]))
                .count()
                == 0
            {
                return;
            }
            // The slow pace is what the test is about.
            let_time_pass(BYTE_INTERVAL * 5);
        }
    });
    // A client that sends its whole request does not wait for these pending handshakes.
    for _ in 0..5 {
        server.connect().leave();
    }
    assert_eq!(disconnected_by(&server, "handshake_timeout"), 0);
    until("all disconnects are counted", || {
        disconnected_by(&server, "handshake_timeout") == 200
    });
    assert_lasted(began, timeout);
    let took = began.elapsed();
    assert!(took < timeout * 3, "{took:?}");
    within(20, "every connection to refuse bytes", || {
        sender.join().unwrap();
    });
    for client in &mut clients {
        assert_eq!(
            client.next_byte(),
            None,
            "the server sent a byte instead of a reset"
        );
    }
}

#[test]
fn message_timeout_limits_a_slow_frame() {
    with_both_flush_modes(|config| {
        let server = TestServer::echo(config.message_timeout(SHORT));
        let mut large = Frame::new(op::BINARY, "");
        large.length = Length::Eight(65_536);
        // The client stalls in the payload, in the header, and in the header of the next fragment.
        let begun = Frame::new(op::TEXT, "").unfinished().bytes();
        for (start, byte) in [
            (large.bytes(), Some(0)),
            (large.bytes()[..3].to_vec(), None),
            ([&begun[..], &[0]].concat(), None),
        ] {
            let before = disconnected_by(&server, "message_timeout");
            let mut client = server.connect();
            let began = Instant::now();
            client.bytes(&start);
            while byte.is_some_and(|byte: u8| client.try_bytes([byte])) {
                // The slow pace is what the test is about.
                let_time_pass(BYTE_INTERVAL);
                assert!(
                    began.elapsed() < DEADLINE,
                    "the server never disconnected the client"
                );
            }
            let end = client.next();
            assert!(matches!(end, Seen::Reset | Seen::Eof), "{end:?}");
            assert_lasted(began, SHORT);
            until("the disconnect is counted", || {
                disconnected_by(&server, "message_timeout") == before + 1
            });
        }
    });
}

/// The handler waits in `select!`, so each byte wakes it.
#[test]
fn message_timeout_limits_a_slow_frame_in_select() {
    let config = Config::default().message_timeout(SHORT);
    let server = TestServer::start(config, |conn: &mut Connection| {
        loop {
            conn.ready(Interest::READ)?.recv()?;
            match conn.try_recv() {
                Ok(Some(_)) | Err(TryRecvError::Empty) => {}
                Ok(None) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    });
    let mut large = Frame::new(op::BINARY, "");
    large.length = Length::Eight(65_536);
    let client = server.connect();
    let began = Instant::now();
    client.bytes(large.bytes());
    while client.try_bytes([0]) {
        pause_between_bytes(began);
    }
    assert_lasted(began, SHORT);
    until("the disconnect is counted", || {
        disconnected_by(&server, "message_timeout") == 1
    });
}

#[test]
fn message_timeout_limits_a_slow_fragmented_message() {
    with_both_flush_modes(|config| {
        let server = TestServer::echo(config.message_timeout(SHORT).max_fragments(100_000));
        let fragment = Frame::new(op::CONTINUATION, "x").unfinished().bytes();
        let mut client = server.connect();
        client.frame(&Frame::new(op::TEXT, "x").unfinished());
        let began = Instant::now();
        while client.try_bytes(&fragment) {
            // The slow pace is what the test is about.
            let_time_pass(BYTE_INTERVAL);
            assert!(
                began.elapsed() < DEADLINE,
                "the server never disconnected the client"
            );
        }
        assert_lasted(began, SHORT);
        assert!(matches!(client.next(), Seen::Reset | Seen::Eof));
        until("the disconnect is counted", || {
            disconnected_by(&server, "message_timeout") == 1
        });
    });
}

#[test]
fn message_timeout_restarts_for_each_message() {
    let server = TestServer::echo(Config::default().message_timeout(SHORT * 2));
    let message = Frame::new(op::TEXT, "a message in two pieces").bytes();
    let (front, rest) = message.split_at(10);
    let end_and_start = [rest, front].concat();
    let mut client = server.connect();
    client.bytes(front);
    let began = Instant::now();
    // Every read of the server ends inside a message, and each message takes 20 ms.
    while began.elapsed() < SHORT * 5 {
        client.bytes(&end_and_start);
        client.expect_text("a message in two pieces");
        // The duration of a message is what the test is about.
        let_time_pass(BYTE_INTERVAL);
    }
    assert_eq!(disconnected_by(&server, "message_timeout"), 0);
}

/// Answers the pings that have arrived.
fn answer_pings(client: &mut TestClient) {
    while let Some(Seen::Frame(frame)) = client.next_within(Duration::from_millis(1)) {
        assert_eq!(frame.opcode, op::PING);
        client.frame(&Frame::new(op::PONG, &frame.payload));
    }
}

#[test]
fn blocked_handler_does_not_trigger_client_timeouts() {
    with_both_flush_modes(|config| {
        let barrier = Barrier::new();
        let in_handler = barrier.clone();
        let config = config
            .message_timeout(SHORT)
            .ping_interval(SHORT)
            .ping_timeout(SHORT);
        let server = TestServer::start(config, move |conn: &mut Connection| {
            while let Some(message) = conn.recv()? {
                if message == Message::text("block") {
                    in_handler.wait(conn.number());
                }
                conn.send(message)?;
            }
            Ok(())
        });
        let mut client = server.connect();
        let (front, rest) = (
            Frame::new(op::TEXT, "half").unfinished(),
            Frame::new(op::CONTINUATION, " done"),
        );
        client.bytes([Frame::new(op::TEXT, "block").bytes(), front.bytes()].concat());
        barrier.arrival();
        // Two silent clients time out one after the other, so the timeouts have passed twice while the handler is
        // blocked.
        for count in 1..=2 {
            let _silent = server.connect();
            until("the silent client is disconnected", || {
                // Nobody reads these answers, but they show that this client is there.
                answer_pings(&mut client);
                disconnected_by(&server, "ping_timeout") == count
            });
        }
        barrier.open();
        client.frame(&rest);
        client.expect_text("block");
        client.expect_text("half done");
        assert_eq!(disconnected_by(&server, "message_timeout"), 0);
    });
}
