//! T14, and what one client may send in all: control frames, messages, and a socket that takes nothing.

use std::time::Duration;

use crossbeam_channel::bounded;
use standpipe::{Config, Connection, Message, Rate, TrySendError};

use crate::support::{Frame, TestServer, let_time_pass, op, with_both_flush_modes, within};

#[test]
fn t14_a_flood_of_pings_ends_in_1008() {
    with_both_flush_modes(|config| {
        let server = TestServer::echo(config);
        let mut client = server.connect();
        // A million, or as many as are still taken.
        let send_half = client.send_half();
        let flood = within(60, "the flood to be refused", move || {
            let pings = Frame::new(op::PING, "p").bytes().repeat(1000);
            (0..1000)
                .take_while(|_| send_half.try_bytes(&pings))
                .count()
        });
        assert!(flood < 1000, "a million pings were taken");
        // The linger is over, so a reset may have overtaken the rest; pongs for no more than the burst and a second or
        // so, and at most one Close.
        let rest = client.rest();
        assert!(rest.pongs.len() < 1000, "{} pongs", rest.pongs.len());
        assert!(
            rest.closes.iter().all(|(code, _)| *code == 1008),
            "{rest:?}"
        );
        let mut polite = server.connect();
        polite.bytes(Frame::new(op::PING, "p").bytes().repeat(20_000));
        let rest = polite.rest();
        assert_eq!(rest.closes.len(), 1, "{rest:?}");
        assert_eq!(rest.closes[0].0, 1008);
    });
}

#[test]
fn t14_pongs_that_nobody_asked_for_are_a_flood_too_and_within_a_message() {
    with_both_flush_modes(|config| {
        let server = TestServer::echo(config);
        for opcode in [op::PONG, op::PING] {
            let mut client = server.connect();
            client.frame(&Frame::new(op::TEXT, "begun").unfinished());
            client.bytes(Frame::new(opcode, "p").bytes().repeat(20_000));
            let rest = client.rest();
            assert_eq!(rest.closes.len(), 1, "{rest:?}");
            assert_eq!(rest.closes[0].0, 1008);
        }
    });
}

#[test]
fn t14_while_the_socket_takes_nothing_one_pong_waits_and_it_is_the_latest() {
    with_both_flush_modes(|config| {
        let (filled, full) = bounded::<()>(0);
        let config = config.sndbuf(Some(16 << 10)).unsent(16 << 10).queue(8);
        let server = TestServer::start(config, move |conn: &mut Connection| {
            let outbox = conn.outbox();
            let mut refused = 0;
            // Full, and still full after it has been written as far as it goes.
            while refused < 50 {
                match outbox.try_send(Message::binary(vec![0; 8 << 10])) {
                    Ok(()) => refused = 0,
                    Err(TrySendError::Full(_)) => refused += 1,
                    Err(TrySendError::Closed(_)) => return Ok(()),
                }
                // Room is made by the kernel, which tells nobody.
                let_time_pass(Duration::from_millis(1));
            }
            filled.send(())?;
            // Reads on, though nothing can be written.
            while conn.recv()?.is_some() {
                filled.send(())?;
            }
            Ok(())
        });
        let mut client = server.client().small_rcvbuf().connect();
        full.recv_timeout(Duration::from_secs(20))
            .expect("the outbox is full");
        for n in 0..150 {
            client.ping(format!("{n}"));
        }
        client.text("all pings are read");
        full.recv_timeout(Duration::from_secs(20))
            .expect("the reader read on");
        let mut pongs = Vec::new();
        while pongs.last().is_none_or(|last| last != b"149") {
            let frame = client.next_frame();
            if frame.opcode == op::PONG {
                pongs.push(frame.payload);
            }
        }
        // One may have been half written when the socket refused; of the others the latest alone waited.
        assert!(pongs.len() <= 2, "{} pongs waited", pongs.len());
        client.leave();
    });
}

#[test]
fn t14_a_ping_now_and_then_is_no_flood() {
    let server = TestServer::echo(Config::default());
    let mut client = server.connect();
    for n in 0..100 {
        client.ping(format!("{n}"));
        assert_eq!(client.next_frame().payload, format!("{n}").into_bytes());
    }
}

#[test]
fn t31_more_messages_than_the_rate_are_refused_with_1008() {
    with_both_flush_modes(|config| {
        let rate = Rate {
            per_second: 1,
            burst: 5,
        };
        let server = TestServer::echo(config.rate(Some(rate)));
        let mut client = server.connect();
        for n in 0..5 {
            // A message in fragments is one.
            client.frame(&Frame::new(op::TEXT, format!("{n}")).unfinished());
            client.frame(&Frame::new(op::CONTINUATION, ""));
            client.expect_text(&format!("{n}"));
        }
        client.try_bytes(Frame::new(op::TEXT, "more").bytes().repeat(50));
        let rest = client.rest();
        assert_eq!(rest.closes.len(), 1, "{rest:?}");
        assert_eq!(rest.closes[0].0, 1008);
        assert!(rest.messages.len() < 50, "{}", rest.messages.len());
    });
}
