//! The watchdog's clocks from the outside: a total is a total, and time of ours is not the peer's.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use standpipe::{Config, Connection, Message};

use crate::support::{DEADLINE, Frame, Gate, Seen, TestServer, both_ways, op, until};

const SHORT: Duration = Duration::from_millis(500);

/// Between bytes that trickle: far below every clock here.
const TRICKLE: Duration = Duration::from_millis(20);

fn ended_by(server: &TestServer, clock: &str) -> u64 {
    let endings = server.handle().endings();
    endings.iter().find(|(name, _)| *name == clock).unwrap().1
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
        thread::sleep(TRICKLE);
        assert!(began.elapsed() < DEADLINE, "it was never cut");
    }
    assert!(began.elapsed() >= SHORT);
    until("it is counted", || {
        ended_by(&server, "handshake_timeout") == 1
    });
}

#[test]
fn t09_a_message_that_trickles_is_cut_at_message_timeout_in_total() {
    both_ways(|config| {
        let server = TestServer::echo(config.message_timeout(SHORT).max_fragments(100_000));
        let fragment = Frame::new(op::CONTINUATION, "x").unfinished().bytes();
        let mut client = server.connect();
        client.frame(&Frame::new(op::TEXT, "x").unfinished());
        let began = Instant::now();
        while client.try_bytes(&fragment) {
            // The trickle itself.
            thread::sleep(TRICKLE);
            assert!(began.elapsed() < DEADLINE, "it was never cut");
        }
        assert!(began.elapsed() >= SHORT);
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
        thread::sleep(TRICKLE);
    }
    assert_eq!(ended_by(&server, "message_timeout"), 0);
}

#[test]
fn a_handler_that_holds_the_reader_costs_nobody_anything() {
    both_ways(|config| {
        let gate = Gate::new();
        let held = gate.clone();
        let config = config
            .message_timeout(SHORT)
            .ping_interval(SHORT)
            .ping_timeout(SHORT);
        let server = TestServer::start(config, move |conn: &mut Connection| {
            while let Some(message) = conn.recv()? {
                if message == Message::text("hold") {
                    held.pass(conn.number());
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
        gate.arrival();
        // Who is judged meanwhile, and dead, shows that the clocks have run out twice for one that is held.
        for dead in 1..=2 {
            let _silent = server.connect();
            until("a silent one is gone", || {
                ended_by(&server, "ping_timeout") == dead
            });
        }
        gate.open();
        client.frame(&rest);
        client.expect_text("hold");
        client.expect_text("half done");
        assert_eq!(ended_by(&server, "message_timeout"), 0);
    });
}
