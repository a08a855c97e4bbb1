//! Limits on the rate of control frames and messages, and the pongs of a client whose socket refuses bytes
//! (SECURITY.md, T14 and T31).

use std::time::Duration;

use crossbeam_channel::bounded;
use standpipe::{Config, Connection, Message, Rate, TrySendError};

use crate::support::{Frame, TestServer, let_time_pass, op, with_both_flush_modes, within};

#[test]
fn ping_flood_is_closed_with_1008() {
    with_both_flush_modes(|config| {
        let server = TestServer::echo(config);
        let mut client = server.connect();
        // One million pings, or fewer if the server closes the connection earlier.
        let send_half = client.send_half();
        let thousands = within(60, "the flood to be refused", move || {
            let pings = Frame::new(op::PING, "p").bytes().repeat(1000);
            (0..1000)
                .take_while(|_| send_half.try_bytes(&pings))
                .count()
        });
        assert!(thousands < 1000, "the server accepted a million pings");
        // The lingering close has ended by now, so a reset may have discarded what was still unread. There are pongs
        // for the burst and about one second, and at most one Close.
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
fn control_frame_flood_inside_a_message_gets_1008() {
    with_both_flush_modes(|config| {
        let server = TestServer::echo(config);
        for opcode in [op::PONG, op::PING] {
            let mut client = server.connect();
            client.frame(&Frame::new(op::TEXT, "unfinished").unfinished());
            client.bytes(Frame::new(opcode, "p").bytes().repeat(20_000));
            let rest = client.rest();
            assert_eq!(rest.closes.len(), 1, "{rest:?}");
            assert_eq!(rest.closes[0].0, 1008);
        }
    });
}

#[test]
fn blocked_socket_keeps_only_the_latest_pong() {
    with_both_flush_modes(|config| {
        let (filled, full) = bounded::<()>(0);
        let config = config.sndbuf(Some(16 << 10)).unsent(16 << 10).queue(8);
        let server = TestServer::start(config, move |conn: &mut Connection| {
            let outbox = conn.outbox();
            let mut refused = 0;
            // The queue stays full after the writer has written as much as the socket accepts.
            while refused < 50 {
                match outbox.try_send(Message::binary(vec![0; 8 << 10])) {
                    Ok(()) => refused = 0,
                    Err(TrySendError::Full(_)) => refused += 1,
                    Err(TrySendError::Closed(_)) => return Ok(()),
                }
                // Polled, because no event reports that the kernel has freed space.
                let_time_pass(Duration::from_millis(1));
            }
            filled.send(())?;
            // The reader goes on reading although nothing can be written.
            while conn.recv()?.is_some() {
                filled.send(())?;
            }
            Ok(())
        });
        let mut client = server.client().small_rcvbuf().connect();
        full.recv_timeout(Duration::from_secs(20))
            .expect("the outbox should become full");
        for n in 0..150 {
            client.ping(format!("{n}"));
        }
        client.text("sent after all pings");
        full.recv_timeout(Duration::from_secs(20))
            .expect("the reader should go on reading");
        let mut pongs = Vec::new();
        while pongs.last().is_none_or(|last| last != b"149") {
            let frame = client.next_frame();
            if frame.opcode == op::PONG {
                pongs.push(frame.payload);
            }
        }
        // One pong may have been partly written when the socket refused bytes. Of the others only the latest was kept.
        assert!(pongs.len() <= 2, "{} pongs were kept", pongs.len());
        client.leave();
    });
}

#[test]
fn each_ping_below_the_rate_is_answered() {
    let server = TestServer::echo(Config::default());
    let mut client = server.connect();
    for n in 0..100 {
        client.ping(format!("{n}"));
        assert_eq!(client.next_frame().payload, format!("{n}").into_bytes());
    }
}

#[test]
fn messages_above_the_rate_get_1008() {
    with_both_flush_modes(|config| {
        let rate = Rate::per_second(1).burst(5);
        let server = TestServer::echo(config.rate(Some(rate)));
        let mut client = server.connect();
        for n in 0..5 {
            // A message in fragments counts once.
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
