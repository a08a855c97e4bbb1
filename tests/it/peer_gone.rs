//! A peer that goes while the handler is in its own code, so that nobody reads the socket.

use std::os::unix::net::UnixListener;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use standpipe::{Clock, CloseCause, Config, Connection, Message, RecvError, Server};

use crate::support::{
    Connect, DEADLINE, Failure, Frame, TestClient, TestServer, fill, op, spawn_blocked_send, until,
    with_both_flush_modes, within,
};

/// What a handler has seen.
#[derive(Debug, PartialEq)]
enum Saw {
    Opened,
    /// `closed()` has disconnected. The value says whether a message was accepted afterwards.
    Closed(bool),
    Received(String),
    /// `recv` has returned `None`, or this error.
    End(Option<String>),
}

/// Waits for the end of its client without receiving, then sends, and then receives.
fn waits_for_the_end(conn: &mut Connection, saw: &Sender<Saw>) -> Result<(), Failure> {
    saw.send(Saw::Opened)?;
    if conn.closed().recv_timeout(DEADLINE) == Err(RecvTimeoutError::Disconnected) {
        let accepted = conn.send(Message::text("goodbye")).is_ok();
        // `recv` discards what is queued when it reaches the end of the stream.
        until("the message is written", || conn.outbox().bytes() == 0);
        saw.send(Saw::Closed(accepted))?;
    }
    loop {
        match conn.recv() {
            Ok(Some(message)) => saw.send(Saw::Received(message.to_text()?.into()))?,
            Ok(None) => return Ok(saw.send(Saw::End(None))?),
            Err(error) => return Ok(saw.send(Saw::End(Some(error.to_string())))?),
        }
    }
}

fn start(config: Config) -> (TestServer, Receiver<Saw>) {
    let (saw, seen) = unbounded();
    let server = TestServer::start(config, move |conn: &mut Connection| {
        waits_for_the_end(conn, &saw)
    });
    (server, seen)
}

#[track_caller]
fn expect(seen: &Receiver<Saw>, expected: &Saw) {
    let saw = seen
        .recv_timeout(2 * DEADLINE)
        .unwrap_or_else(|_| panic!("waited for {expected:?}"));
    assert_eq!(saw, *expected);
}

#[test]
fn reset_fires_closed_while_the_handler_waits() {
    with_both_flush_modes(|config| {
        let (server, seen) = start(config);
        let client = server.connect();
        expect(&seen, &Saw::Opened);
        client.text("one");
        client.text("two");
        client.reset();
        expect(&seen, &Saw::Closed(false));
        // The kernel has these messages, and they are received as if the reset had not been seen.
        for text in ["one", "two"] {
            expect(&seen, &Saw::Received(text.into()));
        }
        expect(&seen, &Saw::End(Some(RecvError::Gone.to_string())));
    });
}

#[test]
fn end_of_stream_fires_closed_and_keeps_messages() {
    with_both_flush_modes(|config| {
        let (server, seen) = start(config);
        let mut client = server.connect();
        expect(&seen, &Saw::Opened);
        client.text("one");
        client.binary("two");
        client.end();
        expect(&seen, &Saw::Closed(true));
        client.expect_text("goodbye");
        for text in ["one", "two"] {
            expect(&seen, &Saw::Received(text.into()));
        }
        expect(&seen, &Saw::End(Some(RecvError::Gone.to_string())));
    });
}

#[test]
fn close_before_the_end_of_stream_is_still_answered() {
    let (server, seen) = start(Config::default());
    let mut client = server.connect();
    expect(&seen, &Saw::Opened);
    client.text("one");
    client.close(4321, "bye");
    client.end();
    expect(&seen, &Saw::Closed(true));
    expect(&seen, &Saw::Received("one".into()));
    expect(&seen, &Saw::End(None));
    client.expect_text("goodbye");
    assert_eq!(client.expect_close(4321), "bye");
}

#[test]
fn closed_unix_peer_fires_closed_and_keeps_messages() {
    let path = std::env::temp_dir().join(format!("sp-peer-gone-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).expect("the path is free");
    let (saw, seen) = unbounded();
    let listener = listener.try_into().expect("the listener can be used");
    let server =
        Server::from_listeners(vec![listener], Config::default()).expect("the server starts");
    let server = TestServer::of(server, move |conn: &mut Connection| {
        waits_for_the_end(conn, &saw)
    });
    let client = Connect::to_unix(&path).connect();
    expect(&seen, &Saw::Opened);
    client.text("one");
    drop(client);
    let closed = seen.recv_timeout(2 * DEADLINE).expect("closed() fires");
    assert!(matches!(closed, Saw::Closed(_)), "{closed:?}");
    expect(&seen, &Saw::Received("one".into()));
    expect(&seen, &Saw::End(Some(RecvError::Gone.to_string())));
    drop(server);
    let _ = std::fs::remove_file(&path);
}

#[test]
fn reset_wakes_senders_while_the_handler_is_busy() {
    with_both_flush_modes(|config| {
        let (outboxes, outbox) = bounded(1);
        let (leave, left) = bounded::<()>(0);
        let server = TestServer::start(config, move |conn: &mut Connection| {
            outboxes.send(conn.outbox())?;
            // Its own code, which knows nothing of the client.
            let _ = left.recv_timeout(DEADLINE);
            Ok(())
        });
        let client = server.client().small_rcvbuf().connect();
        let outbox = outbox.recv_timeout(DEADLINE).expect("the handler runs");
        fill(&outbox);
        let sender = spawn_blocked_send(&outbox, Message::text("back"));
        client.reset();
        let sent = within(20, "the waiting send to be woken", || {
            sender.join().expect("the sender does not panic")
        });
        assert_eq!(sent.expect_err("the peer is gone").0, Message::text("back"));
        let closed = outbox.closed().recv_timeout(DEADLINE);
        assert_eq!(closed, Err(RecvTimeoutError::Disconnected));
        until("the queue is freed", || outbox.bytes() == 0);
        drop(leave);
    });
}

/// Nothing is queued, so no write notices the reset.
#[test]
fn reset_frees_an_idle_client_of_a_busy_handler() {
    let (outboxes, outbox) = bounded(1);
    let (leave, left) = bounded::<()>(0);
    let server = TestServer::start(Config::default(), move |conn: &mut Connection| {
        outboxes.send(conn.outbox())?;
        let _ = left.recv_timeout(2 * DEADLINE);
        Ok(())
    });
    let client: TestClient = server.connect();
    let outbox = outbox.recv_timeout(DEADLINE).expect("the handler runs");
    client.reset();
    let closed = outbox.closed().recv_timeout(DEADLINE);
    assert_eq!(closed, Err(RecvTimeoutError::Disconnected));
    let refused = outbox.send_timeout(Message::text("late"), Duration::ZERO);
    assert!(refused.is_err());
    assert_eq!(outbox.counts().accepted, 0);
    drop(leave);
}

/// Starts a server whose handler is in code that knows nothing of the client, until its client has ended. Returns the
/// cause of each end.
fn start_elsewhere() -> (TestServer, Receiver<CloseCause>) {
    let (causes, cause) = unbounded();
    let config = Config::default()
        .ping_interval(Duration::from_millis(100))
        .ping_timeout(Duration::from_millis(100));
    let server = TestServer::start(config, move |conn: &mut Connection| {
        let (wakes, elsewhere) = bounded::<()>(0);
        let causes = causes.clone();
        conn.outbox().on_end(move |cause| {
            let _ = causes.send(cause);
            drop(wakes);
        })?;
        let _ = elsewhere.recv_timeout(2 * DEADLINE);
        Ok(())
    });
    (server, cause)
}

#[test]
fn silent_peer_is_reset_while_handler_is_elsewhere() {
    let (server, cause) = start_elsewhere();
    let mut client = server.connect();
    let cause = cause.recv_timeout(DEADLINE).expect("waited for the end");
    assert_eq!(cause, CloseCause::TimedOut(Clock::Ping));
    assert_eq!(client.next_frame().opcode, op::PING);
    client.expect_reset();
}

/// Nobody reads the pongs.
#[test]
fn answering_peer_stays_while_handler_is_elsewhere() {
    let (server, cause) = start_elsewhere();
    let mut client = server.connect();
    for _ in 0..3 {
        let ping = client.next_frame();
        assert_eq!(ping.opcode, op::PING);
        assert!(cause.is_empty(), "a peer that answers was reset");
        client.frame(&Frame::new(op::PONG, &ping.payload));
    }
    // It is silent from now on, and its pongs still lie unread.
    let cause = cause.recv_timeout(DEADLINE).expect("waited for the end");
    assert_eq!(cause, CloseCause::TimedOut(Clock::Ping));
}
