//! The closing handshake: in every case, the server sends exactly one Close and nothing after it.

use std::thread;
use std::time::Duration;

use standpipe::{Config, Connection, Message};

use crate::support::{
    Frame, Seen, TestServer, assert_only_close, echo_with_outboxes, fill, op, until,
    with_both_flush_modes,
};

#[test]
fn close_is_answered_with_its_own_code_and_reason() {
    with_both_flush_modes(|config| {
        let server = TestServer::echo(config);
        for (code, reason) in [
            (1000, ""),
            (1001, "going away"),
            (1003, "ü"),
            (3000, "library"),
            (4999, &*"r".repeat(123)),
        ] {
            let mut client = server.connect();
            client.text("before");
            client.close(code, reason);
            // Messages that were queued when the Close arrived may be discarded. The answering Close may not.
            let rest = client.rest();
            assert_only_close(&rest, code, reason);
        }
        let mut client = server.connect();
        client.close_empty();
        assert_only_close(&client.rest(), 1005, "");
    });
}

#[test]
fn frames_after_the_peers_close_are_ignored() {
    with_both_flush_modes(|config| {
        let server = TestServer::echo(config);
        let mut client = server.connect();
        let frames = [
            Frame::close(1000, "bye"),
            Frame::new(op::TEXT, "late"),
            Frame::new(op::PING, "late"),
            Frame::close(1001, "again"),
        ];
        client.bytes(frames.iter().flat_map(Frame::bytes).collect::<Vec<u8>>());
        let rest = client.rest();
        assert_eq!(rest.closes, [(1000, "bye".to_owned())]);
        assert_eq!(rest.after_close, 0, "{rest:?}");
        assert!(
            rest.messages.is_empty() && rest.pongs.is_empty(),
            "{rest:?}"
        );
    });
}

#[test]
fn returning_handler_closes_with_1000_after_the_queue() {
    with_both_flush_modes(|config| {
        let server = TestServer::start(config, |conn: &mut Connection| {
            for i in 0..50 {
                conn.send(Message::text(format!("{i}")))?;
            }
            Ok(())
        });
        let mut client = server.connect();
        let rest = client.rest_answering_close();
        let all: Vec<_> = (0..50).map(|i| Message::text(format!("{i}"))).collect();
        assert_eq!(rest.messages, all);
        assert_only_close(&rest, 1000, "");
    });
}

#[test]
fn slow_reader_receives_the_queue_before_the_close() {
    with_both_flush_modes(|config| {
        let message = "x".repeat(10_000);
        let sent = message.clone();
        let server = TestServer::start(config, move |conn: &mut Connection| {
            for _ in 0..50 {
                conn.send(Message::text(&*sent))?;
            }
            Ok(())
        });
        let mut client = server.client().small_rcvbuf().connect();
        until("the client is registered", || {
            server.handle().clients() == 1
        });
        let rest = client.rest_answering_close();
        assert_eq!(rest.messages.len(), 50);
        assert!(rest.messages.iter().all(|m| *m == Message::text(&*message)));
        assert_only_close(&rest, 1000, "");
    });
}

#[test]
fn handler_failure_closes_only_its_client_with_1011() {
    with_both_flush_modes(|config| {
        let server = TestServer::start(config, |conn: &mut Connection| {
            while let Some(message) = conn.recv()? {
                match message.to_text()? {
                    "fail" => return Err("deliberate test failure".into()),
                    "panic" => panic!("deliberate test failure"),
                    _ => conn.send(message)?,
                }
            }
            Ok(())
        });
        let mut other = server.connect();
        for failure in ["fail", "panic"] {
            let mut client = server.connect();
            client.text(failure);
            let rest = client.rest_answering_close();
            assert_eq!(rest.closes.len(), 1, "{failure}: {rest:?}");
            assert_eq!(rest.closes[0].0, 1011, "{failure}");
            // The peer must not see the error of the handler.
            assert!(!rest.closes[0].1.contains("test"), "{rest:?}");
            assert!(rest.after_close == 0 && !rest.reset, "{failure}: {rest:?}");
        }
        other.text("unharmed");
        other.expect_text("unharmed");
        other.leave();
        server.connect().leave();
    });
}

#[test]
fn handler_closes_with_its_own_code_after_the_queue() {
    with_both_flush_modes(|config| {
        let server = TestServer::start(config, |conn: &mut Connection| {
            conn.send(Message::text("queued"))?;
            conn.close(4321, "x");
            conn.close(4322, "the first close counts");
            // After `close`, no message is accepted and none is received.
            let refused = conn.send(Message::text("late")).unwrap_err();
            assert_eq!(refused.0, Message::text("late"));
            assert!(conn.recv()?.is_none());
            Ok(())
        });
        let mut client = server.connect();
        client.text("never read");
        let rest = client.rest_answering_close();
        assert_eq!(rest.messages, [Message::text("queued")]);
        assert_only_close(&rest, 4321, "x");
    });
}

#[test]
fn unsendable_codes_become_1000_and_long_reasons_are_truncated() {
    let (server, outboxes) = echo_with_outboxes(Config::default());
    for code in [0, 999, 1005, 1006, 1015, 2000, 5000] {
        let mut client = server.connect();
        outboxes.recv().unwrap().close(code, "");
        assert_only_close(&client.rest_answering_close(), 1000, "");
    }
    let mut client = server.connect();
    outboxes.recv().unwrap().close(1000, &"ü".repeat(100));
    assert_only_close(&client.rest_answering_close(), 1000, &"ü".repeat(61));
}

#[test]
fn outbox_close_from_another_thread_ends_the_handler() {
    with_both_flush_modes(|config| {
        let (server, outboxes) = echo_with_outboxes(config);
        let mut client = server.connect();
        let outbox = outboxes.recv().unwrap();
        thread::spawn(move || {
            outbox.send(Message::text("last")).unwrap();
            outbox.close(4000, "from elsewhere");
        });
        let rest = client.rest_answering_close();
        assert_eq!(rest.messages, [Message::text("last")]);
        assert_only_close(&rest, 4000, "from elsewhere");
        until("the reader thread has ended", || {
            server.handle().clients() == 0
        });
    });
}

#[test]
fn terminate_resets_immediately_and_discards_the_queue() {
    with_both_flush_modes(|config| {
        let (server, outboxes) = echo_with_outboxes(config);
        let mut idle = server.connect();
        outboxes.recv().unwrap().terminate();
        idle.expect_reset();
        // The same for a client whose writer waits for the socket.
        let full = server.client().small_rcvbuf().connect();
        let outbox = outboxes.recv().unwrap();
        fill(&outbox);
        outbox.terminate();
        until("both clients are unregistered", || {
            server.handle().clients() == 0
        });
        assert!(outbox.is_empty());
        let counts = outbox.counts();
        assert_eq!(counts.accepted, counts.delivered + counts.discarded);
        assert!(counts.discarded > 0);
        drop(full);
    });
}

#[test]
fn simultaneous_closes_are_one_from_each_side() {
    with_both_flush_modes(|config| {
        let (server, outboxes) = echo_with_outboxes(config);
        for _ in 0..200 {
            let mut client = server.connect();
            let outbox = outboxes.recv().unwrap();
            let ours = thread::spawn(move || outbox.close(4001, "ours"));
            client.close(4002, "theirs");
            let rest = client.rest();
            ours.join().unwrap();
            assert_eq!(rest.closes.len(), 1, "{rest:?}");
            let theirs = (4002, "theirs".to_owned());
            assert!(rest.closes[0] == (4001, "ours".to_owned()) || rest.closes[0] == theirs);
            assert!(rest.after_close == 0 && !rest.reset, "{rest:?}");
        }
        until("all clients are unregistered", || {
            server.handle().clients() == 0
        });
    });
}

#[test]
fn silent_peer_is_dropped_at_close_timeout() {
    with_both_flush_modes(|config| {
        let config = config.close_timeout(Duration::from_millis(200));
        let (server, outboxes) = echo_with_outboxes(config);
        let mut client = server.connect();
        outboxes.recv().unwrap().close(1000, "");
        client.expect_close(1000);
        assert_eq!(
            client.next(),
            Seen::Eof,
            "the server sent something after its Close"
        );
        // The test keeps the client's side open and does not answer.
        until("the silent client is unregistered", || {
            server.handle().clients() == 0
        });
        assert_eq!(server.disconnects("close_timeout"), 1);
    });
}

#[test]
fn frames_after_our_close_are_read_and_ignored() {
    with_both_flush_modes(|config| {
        let (server, outboxes) = echo_with_outboxes(config);
        let mut client = server.connect();
        let outbox = outboxes.recv().unwrap();
        outbox.close(1000, "");
        client.expect_close(1000);
        for _ in 0..100 {
            client.binary([0; 10_000]);
            client.ping("late");
        }
        client.close(1000, "");
        client.expect_eof();
        until("the client is unregistered", || {
            server.handle().clients() == 0
        });
        assert_eq!(outbox.counts().accepted, 0);
    });
}
