//! The watchdog's clocks from the outside: a total is a total, and time of ours is not the peer's.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use standpipe::{Config, Connection, Handler, Message, Reply, Request};

use crate::support::{
    Barrier, DEADLINE, Failure, Frame, Length, Seen, TestServer, http, let_time_pass, op, until,
    with_both_flush_modes, within,
};

const SHORT: Duration = Duration::from_millis(500);

/// Between bytes that trickle: far below every clock here.
const TRICKLE: Duration = Duration::from_millis(20);

fn ended_by(server: &TestServer, clock: &str) -> u64 {
    let endings = server.handle().disconnects();
    endings.iter().find(|(name, _)| *name == clock).unwrap().1
}

/// It took no less. The watchdog counts whole milliseconds, so a time of its may be shorter by one.
#[track_caller]
fn has_lasted(began: Instant, time: Duration) {
    let lasted = began.elapsed();
    assert!(lasted + Duration::from_millis(1) >= time, "{lasted:?}");
}

#[test]
fn a_head_that_trickles_is_cut_at_handshake_timeout_in_total() {
    let server = TestServer::echo(Config::default().handshake_timeout(SHORT));
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    let began = Instant::now();
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Long: {}", "x".repeat(4000));
    for byte in head.bytes() {
        if stream.write_all(&[byte]).is_err() {
            break;
        }
        // The trickle itself.
        let_time_pass(TRICKLE);
        assert!(began.elapsed() < DEADLINE, "it was never cut");
    }
    has_lasted(began, SHORT);
    until("it is counted", || {
        ended_by(&server, "handshake_timeout") == 1
    });
}

#[test]
fn t04_two_hundred_heads_that_trickle_are_gone_in_time_and_another_gets_in_meanwhile() {
    let timeout = SHORT * 6;
    let server = TestServer::echo(Config::default().handshake_timeout(timeout));
    let began = Instant::now();
    let mut clients: Vec<_> = (0..200).map(|_| server.client().open()).collect();
    let pens: Vec<_> = clients.iter().map(|client| client.send_half()).collect();
    let trickling = thread::spawn(move || {
        for byte in "GET / HTTP/1.1\r\nHost: a\r\nX-Long: "
            .bytes()
            .chain([b'x'; 4000])
        {
            if pens
                .iter()
                .filter(|send_half| send_half.try_bytes([byte]))
                .count()
                == 0
            {
                return;
            }
            // The trickle itself.
            let_time_pass(TRICKLE * 5);
        }
    });
    // While all of them are at the door, who says all it has to say waits for none of them.
    for _ in 0..5 {
        server.connect().leave();
    }
    assert_eq!(ended_by(&server, "handshake_timeout"), 0);
    until("all are counted", || {
        ended_by(&server, "handshake_timeout") == 200
    });
    has_lasted(began, timeout);
    let took = began.elapsed();
    assert!(took < timeout * 3, "{took:?}");
    within(20, "nobody takes a byte any more", || {
        trickling.join().unwrap();
    });
    for client in &mut clients {
        assert_eq!(client.next_byte(), None, "nothing is answered");
    }
}

/// Reads bodies, and answers with more than any buffer holds.
struct Pages;

impl Handler for Pages {
    fn request(&self, request: &mut Request) -> Reply {
        match request.path() {
            "/large" => Reply::text(200, "x".repeat(32 << 20)),
            _ => match request.read_body(1 << 20) {
                Ok(body) => Reply::text(200, format!("{} bytes", body.len())),
                Err(refusal) => refusal,
            },
        }
    }

    fn run(&self, _: &mut Connection) -> Result<(), Failure> {
        Ok(())
    }
}

#[test]
fn t04_a_body_that_trickles_is_cut_at_handshake_timeout_in_total() {
    let server = TestServer::start(Config::default().handshake_timeout(SHORT), Pages);
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n";
    let silent = server.client().open();
    silent.bytes([head, "the first of it"].concat());
    let began = Instant::now();
    let mut client = server.client().open();
    client.bytes(head);
    while client.try_bytes("x") {
        // The trickle itself.
        let_time_pass(TRICKLE);
        assert!(began.elapsed() < DEADLINE, "it was never cut");
    }
    has_lasted(began, SHORT);
    assert_eq!(client.next_byte(), None, "nothing is answered");
    until("both are counted", || {
        ended_by(&server, "handshake_timeout") == 2
    });
    // One that is whole is served.
    let answer = http(server.addr(), head.replace("100000", "3") + "abc");
    assert_eq!((answer.status, &*answer.body), (200, "3 bytes"));
}

#[test]
fn t04_an_answer_that_trickles_away_is_cut_at_handshake_timeout_in_total() {
    let config = Config::default().handshake_timeout(SHORT);
    let server = TestServer::start(config.sndbuf(Some(16 << 10)), Pages);
    let head = "GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let untaken = server.client().small_rcvbuf().open();
    untaken.bytes(head);
    let mut client = server.client().small_rcvbuf().open();
    let began = Instant::now();
    client.bytes(head);
    let mut taken = 0;
    while client.next_byte().is_some() {
        taken += 1;
        if taken % 4096 == 0 {
            // The trickle itself.
            let_time_pass(TRICKLE);
        }
        assert!(began.elapsed() < DEADLINE, "it was never cut");
    }
    has_lasted(began, SHORT);
    assert!(taken < 32 << 20, "{taken}");
    until("both are counted", || {
        ended_by(&server, "handshake_timeout") == 2
    });
    drop(untaken);
}

#[test]
fn t09_a_frame_that_trickles_is_cut_at_message_timeout_in_total() {
    with_both_flush_modes(|config| {
        let server = TestServer::echo(config.message_timeout(SHORT));
        let mut large = Frame::new(op::BINARY, "");
        large.length = Length::Eight(65_536);
        // Within its payload, within its header, and within that of the next fragment.
        let begun = Frame::new(op::TEXT, "").unfinished().bytes();
        for (start, byte) in [
            (large.bytes(), Some(0)),
            (large.bytes()[..3].to_vec(), None),
            ([&begun[..], &[0]].concat(), None),
        ] {
            let before = ended_by(&server, "message_timeout");
            let mut client = server.connect();
            let began = Instant::now();
            client.bytes(&start);
            while byte.is_some_and(|byte: u8| client.try_bytes([byte])) {
                // The trickle itself.
                let_time_pass(TRICKLE);
                assert!(began.elapsed() < DEADLINE, "it was never cut");
            }
            let end = client.next();
            assert!(matches!(end, Seen::Reset | Seen::Eof), "{end:?}");
            has_lasted(began, SHORT);
            until("it is counted", || {
                ended_by(&server, "message_timeout") == before + 1
            });
        }
    });
}

#[test]
fn t09_a_message_that_trickles_is_cut_at_message_timeout_in_total() {
    with_both_flush_modes(|config| {
        let server = TestServer::echo(config.message_timeout(SHORT).max_fragments(100_000));
        let fragment = Frame::new(op::CONTINUATION, "x").unfinished().bytes();
        let mut client = server.connect();
        client.frame(&Frame::new(op::TEXT, "x").unfinished());
        let began = Instant::now();
        while client.try_bytes(&fragment) {
            // The trickle itself.
            let_time_pass(TRICKLE);
            assert!(began.elapsed() < DEADLINE, "it was never cut");
        }
        has_lasted(began, SHORT);
        assert!(matches!(client.next(), Seen::Reset | Seen::Eof));
        until("it is counted", || {
            ended_by(&server, "message_timeout") == 1
        });
    });
}

#[test]
fn a_client_in_the_middle_of_one_message_after_another_is_not_late_with_any() {
    let server = TestServer::echo(Config::default().message_timeout(SHORT * 2));
    let message = Frame::new(op::TEXT, "as long as the others").bytes();
    let (front, rest) = message.split_at(10);
    let seam = [rest, front].concat();
    let mut client = server.connect();
    client.bytes(front);
    let began = Instant::now();
    // Every read of the server ends inside a message, and each of them takes 20 ms.
    while began.elapsed() < SHORT * 5 {
        client.bytes(&seam);
        client.expect_text("as long as the others");
        // How long a message takes is what the test is about.
        let_time_pass(TRICKLE);
    }
    assert_eq!(ended_by(&server, "message_timeout"), 0);
}

#[test]
fn a_handler_that_holds_the_reader_costs_nobody_anything() {
    with_both_flush_modes(|config| {
        let barrier = Barrier::new();
        let held = barrier.clone();
        let config = config
            .message_timeout(SHORT)
            .ping_interval(SHORT)
            .ping_timeout(SHORT);
        let server = TestServer::start(config, move |conn: &mut Connection| {
            while let Some(message) = conn.recv()? {
                if message == Message::text("hold") {
                    held.wait(conn.number());
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
        client.bytes([Frame::new(op::TEXT, "hold").bytes(), front.bytes()].concat());
        barrier.arrival();
        // Who is judged meanwhile, and dead, shows that the clocks have run out twice for one that is held.
        for dead in 1..=2 {
            let _silent = server.connect();
            until("a silent one is gone", || {
                ended_by(&server, "ping_timeout") == dead
            });
        }
        barrier.open();
        client.frame(&rest);
        client.expect_text("hold");
        client.expect_text("half done");
        assert_eq!(ended_by(&server, "message_timeout"), 0);
    });
}
