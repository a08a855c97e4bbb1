//! The deadlines of bodies and answers: a transfer that progresses is never cut, and one that stalls is reset.

use std::time::{Duration, Instant};

use standpipe::{Config, Connection, Handler, Reply, Request};

use crate::support::{DEADLINE, Failure, TestServer, let_time_pass, until};

const SHORT: Duration = Duration::from_millis(500);

/// The size of the answer to `/large`: more than all socket buffers hold.
const LARGE: usize = 16 << 20;

/// Reads request bodies, and answers `/large` with [`LARGE`] bytes.
struct Pages;

impl Handler for Pages {
    fn request(&self, request: &mut Request) -> Reply {
        match request.path() {
            "/large" => Reply::text(200, "x".repeat(LARGE)),
            _ => match request.read_body(64 << 20) {
                Ok(body) => Reply::text(200, format!("{} bytes", body.len())),
                Err(refusal) => refusal,
            },
        }
    }

    fn run(&self, _: &mut Connection) -> Result<(), Failure> {
        Ok(())
    }
}

/// A server whose heads must arrive at once, and whose bodies and answers must progress within [`SHORT`].
fn server() -> TestServer {
    let config = Config::default()
        .handshake_timeout(SHORT * 6)
        .message_timeout(SHORT)
        .write_timeout(SHORT)
        .sndbuf(Some(16 << 10));
    TestServer::start(config, Pages)
}

#[test]
fn stalled_body_is_reset_at_message_timeout() {
    for framing in [
        "Content-Length: 100000\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n186a0\r\n",
    ] {
        let server = server();
        let head = format!("POST / HTTP/1.1\r\nHost: localhost\r\n{framing}");
        let mut silent = server.client().open();
        silent.bytes([&head, "the beginning of the body"].concat());
        let began = Instant::now();
        let mut slow = server.client().open();
        slow.bytes(&head);
        while slow.try_bytes("x") {
            // The slow pace is what the test is about: one byte is no progress.
            let_time_pass(Duration::from_millis(20));
            assert!(
                began.elapsed() < DEADLINE,
                "the server never reset the client"
            );
        }
        silent.expect_reset();
        assert_eq!(
            slow.next_byte(),
            None,
            "the server sent a byte instead of a reset"
        );
        until("both are counted", || {
            server.disconnects("message_timeout") == 2
        });
        assert!(began.elapsed() + Duration::from_millis(20) >= SHORT);
    }
}

#[test]
fn body_that_progresses_is_not_cut() {
    let server = server();
    let began = Instant::now();
    let mut client = server.client().open();
    let piece = vec![b'x'; 100_000];
    let count = 40;
    client.bytes(format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
        piece.len() * count
    ));
    for _ in 0..count {
        client.bytes(&piece);
        // The pace is what the test is about: 64 KiB arrive within each timeout, and all of it takes longer than both.
        let_time_pass(Duration::from_millis(100));
    }
    let answer = client.read_answer();
    assert_eq!((answer.status, &*answer.body), (200, "4000000 bytes"));
    assert!(began.elapsed() > SHORT * 6, "{:?}", began.elapsed());
}

#[test]
fn stalled_answer_is_reset_at_write_timeout() {
    let server = server();
    let head = "GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let never_reads = server.client().small_rcvbuf().open();
    never_reads.bytes(head);
    let mut slow = server.client().small_rcvbuf().open();
    let began = Instant::now();
    slow.bytes(head);
    let mut received = 0;
    while slow.next_byte().is_some() {
        received += 1;
        if received % 1024 == 0 {
            // The slow pace is what the test is about: 10 KiB/s is no progress.
            let_time_pass(Duration::from_millis(100));
        }
        assert!(
            began.elapsed() < DEADLINE,
            "the server never reset the client"
        );
    }
    assert!(received < LARGE, "{received} bytes");
    until("both are counted", || {
        server.disconnects("write_timeout") == 2
    });
}

#[test]
fn answer_that_progresses_is_not_cut() {
    let server = server();
    let mut client = server.client().rcvbuf(64 << 10).open();
    let began = Instant::now();
    client.bytes("GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.read_head().status, 200);
    let mut received = 0;
    while received < LARGE {
        received += client.read_available();
        // The pace is what the test is about: 64 KiB are read within each timeout, and all of it takes longer.
        let_time_pass(Duration::from_millis(15));
    }
    assert_eq!(received, LARGE);
    assert!(began.elapsed() > SHORT * 3, "{:?}", began.elapsed());
    assert_eq!(server.disconnects("write_timeout"), 0);
}
