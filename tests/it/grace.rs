//! The grace of a shutdown: handlers are told that the server ends, and finish what they have begun.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, unbounded};
use standpipe::{Config, Connection, Message};

use crate::shutdown::{assert_closed_with_1001, read_to_close, report};
use crate::support::{
    Barrier, DEADLINE, Failure, Stream, TestClient, TestServer, assert_lasted, assert_only_close,
    echo, until, with_both_flush_modes,
};

const HOUR: Duration = Duration::from_secs(3600);

/// Waits until the server refuses connections.
#[track_caller]
fn wait_until_refused(server: &TestServer) {
    until("newcomers are refused", || {
        let connected = Stream::connect_tcp(server.addr());
        connected.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
}

/// Answers requests, each after `barrier`, until the server drains.
fn answer(conn: &mut Connection, barrier: &Barrier) -> Result<(), Failure> {
    while !conn.is_draining() {
        let Some(request) = conn.recv()? else { break };
        barrier.wait(conn.number());
        conn.send(format!("answer to {request}"))?;
    }
    Ok(())
}

#[test]
fn request_in_flight_is_answered_while_draining() {
    with_both_flush_modes(|config| {
        let barrier = Barrier::new();
        let at = barrier.clone();
        let server = TestServer::start(config, move |conn: &mut Connection| answer(conn, &at));
        let client = server.connect();
        client.text("one");
        client.text("two");
        barrier.arrival();
        server.handle().drain(HOUR);
        wait_until_refused(&server);
        assert!(server.handle().is_shutting_down());
        let client = read_to_close(client);
        barrier.open();
        // The second request is not taken any more. The server ends long before the grace is over.
        let messages = assert_closed_with_1001(client);
        assert_eq!(messages, [Message::text("answer to one")]);
        assert_eq!(server.report(), report(1, 0));
    });
}

#[test]
fn draining_is_announced_when_accepting_stops() {
    let (told_sender, told) = unbounded();
    let config = Config::default().drain_delay(Duration::from_millis(300));
    let server = TestServer::start(config, move |conn: &mut Connection| {
        let outbox = conn.outbox();
        told_sender.send((outbox.is_draining(), None))?;
        assert_eq!(
            conn.draining().recv_timeout(DEADLINE),
            Err(RecvTimeoutError::Disconnected)
        );
        told_sender.send((outbox.is_draining(), Some(Instant::now())))?;
        conn.send("still served")?;
        echo(conn)
    });
    let mut client = server.connect();
    let next = || told.recv_timeout(DEADLINE).expect("the handler goes on");
    assert_eq!(next(), (false, None));
    let begin = Instant::now();
    server.handle().drain(HOUR);
    let (draining, told_at) = next();
    let told_at = told_at.expect("the second message has the time");
    assert!(draining && told_at >= begin + Duration::from_millis(300));
    client.expect_text("still served");
    client.text("both ways");
    client.expect_text("both ways");
    client.leave();
    // The client has left by itself, and is in neither count.
    assert_eq!(server.report(), report(0, 0));
}

#[test]
fn clients_are_closed_when_the_grace_is_over() {
    let grace = Duration::from_millis(400);
    let server = TestServer::echo(Config::default());
    let mut client = server.connect();
    let begin = Instant::now();
    server.handle().drain(grace);
    client.text("still");
    client.expect_text("still");
    client.expect_close(1001);
    assert_lasted(begin, grace);
    client.close(1001, "");
    assert_eq!(server.report(), report(1, 0));
}

#[test]
fn shutdown_ends_the_grace() {
    let server = TestServer::echo(Config::default());
    let mut client = server.connect();
    server.handle().drain(HOUR);
    wait_until_refused(&server);
    client.text("still");
    client.expect_text("still");
    let client = read_to_close(client);
    // The thread that waits for the end of the grace is woken.
    server.handle().shutdown();
    assert_closed_with_1001(client);
    assert_eq!(server.report(), report(1, 0));
}

#[test]
fn stop_of_accepting_leaves_the_clients_alone() {
    let barrier = Barrier::new();
    let at = barrier.clone();
    let server = TestServer::start(Config::default(), move |conn: &mut Connection| {
        at.wait(conn.number());
        assert!(!conn.is_draining());
        echo(conn)
    });
    let mut client = server.connect();
    barrier.arrival();
    server.handle().stop_accepting();
    wait_until_refused(&server);
    barrier.open();
    client.text("still");
    client.expect_text("still");
    client.leave();
    // The server ends with its last client.
    assert_eq!(server.report(), report(0, 0));
}

#[test]
fn drain_after_the_stop_of_accepting_is_announced() {
    let server = TestServer::start(Config::default(), |conn: &mut Connection| {
        let disconnected = Err(RecvTimeoutError::Disconnected);
        assert_eq!(conn.draining().recv_timeout(DEADLINE), disconnected);
        Ok(())
    });
    let client = server.connect();
    server.handle().stop_accepting();
    wait_until_refused(&server);
    let client = read_to_close(client);
    server.handle().drain(HOUR);
    assert_closed_with_1001(client);
    assert_eq!(server.report(), report(1, 0));
}

/// A client that has connected before the stop, and sends its request during the grace.
#[test]
fn pending_handshake_gets_503_during_the_grace() {
    let server = TestServer::echo(Config::default());
    let upgraded = server.connect();
    let connect = server.client();
    let (mut silent, mut late) = (connect.open(), connect.open());
    until("both connections are accepted", || {
        server.handle().pending_handshakes() == 2
    });
    server.handle().drain(HOUR);
    late.bytes(connect.head());
    assert_eq!(late.read_head().status, 503);
    // A request that does not come is not waited for until the grace is over.
    assert_eq!(silent.read_head().status, 503);
    upgraded.leave();
    drop((silent, late));
    assert_eq!(server.report(), report(0, 0));
}

#[test]
fn handler_keeps_its_own_close_while_draining() {
    let server = TestServer::start(Config::default(), |conn: &mut Connection| {
        let _ = conn.draining().recv_timeout(DEADLINE);
        conn.close(4100, "done");
        Ok(())
    });
    let mut client: TestClient = server.connect();
    server.handle().drain(HOUR);
    assert_only_close(&client.rest_answering_close(), 4100, "done");
    assert_eq!(server.report(), report(0, 0));
}
