//! How a shutdown treats the connected clients, and how its report counts them.

use std::thread;
use std::time::Duration;

use crossbeam_channel::{bounded, unbounded};
use standpipe::{Clock, Config, Connection, Disconnect, Message, ShutdownReport};

use crate::support::{
    DEADLINE, TestClient, TestServer, assert_only_close, echo, echo_with_outboxes, fill, until,
    with_both_flush_modes,
};

use crate::shutdown::{assert_closed_with_1001, read_to_close, report};

#[test]
fn clients_receive_the_queue_and_then_1001() {
    with_both_flush_modes(|config| {
        let message = Message::binary(vec![b'x'; 16 << 10]);
        let all = vec![message; 50];
        let queued = all.clone();
        let (outbox_sender, outboxes) = bounded(1);
        let config = config.sndbuf(Some(8192)).shutdown_timeout(DEADLINE);
        let server = TestServer::start(config, move |conn: &mut Connection| {
            for message in &queued {
                conn.outbox().try_send(message.clone())?;
            }
            outbox_sender.send(conn.outbox())?;
            while conn.recv()?.is_some() {}
            Ok(())
        });
        let client = server.client().small_rcvbuf().connect();
        let outbox = outboxes.recv_timeout(DEADLINE).unwrap();
        assert!(
            outbox.len() > 10,
            "the kernel accepted too much for this test: {outbox:?}"
        );
        server.handle().shutdown();
        let messages = assert_closed_with_1001(read_to_close(client));
        assert!(
            messages == all,
            "{} messages of {}",
            messages.len(),
            all.len()
        );
        assert_eq!(server.report(), report(1, 0));
    });
}

#[test]
fn silent_client_is_reset_at_shutdown_timeout() {
    with_both_flush_modes(|config| {
        // No other timeout may end the client.
        let config = config.close_timeout(10 * DEADLINE);
        let config = config.shutdown_timeout(Duration::from_millis(200));
        let server = TestServer::echo(config);
        let mut silent = server.connect();
        server.handle().shutdown();
        silent.expect_close(1001);
        // The client's side stays open, and the server ends nevertheless.
        let handle = server.handle().clone();
        assert_eq!(server.report(), report(0, 1));
        let disconnects = handle.disconnects();
        assert!(
            disconnects.contains(&(Disconnect::Deadline(Clock::Shutdown), 1)),
            "{disconnects:?}"
        );
    });
}

#[test]
fn report_counts_drained_and_lost_clients() {
    with_both_flush_modes(|config| {
        let (outbox_sender, outboxes) = unbounded();
        // No other timeout may end the three full clients.
        let config = config.write_timeout(10 * DEADLINE);
        let config = config.shutdown_timeout(Duration::from_secs(2));
        let server = TestServer::start(config, move |conn: &mut Connection| {
            if conn.request().path() == "/full" {
                outbox_sender.send(conn.outbox()).unwrap();
            }
            echo(conn)
        });
        let full: Vec<TestClient> = (0..3)
            .map(|_| server.client().path("/full").small_rcvbuf().connect())
            .collect();
        let fillers: Vec<_> = (full.iter())
            .map(|_| outboxes.recv_timeout(DEADLINE).unwrap())
            .map(|outbox| thread::spawn(move || fill(&outbox)))
            .collect();
        for filler in fillers {
            filler.join().unwrap();
        }
        let healthy: Vec<_> = (0..20)
            .map(|i| {
                let mut client = server.connect();
                client.text(format!("{i}"));
                client.expect_text(&format!("{i}"));
                client
            })
            .collect();
        // A client that left before the shutdown does not count.
        server.connect().leave();
        until("that client is unregistered", || {
            server.handle().clients() == 23
        });
        let healthy: Vec<_> = healthy.into_iter().map(read_to_close).collect();
        server.handle().shutdown();
        for client in healthy {
            assert_closed_with_1001(client);
        }
        let report = server.report();
        assert_eq!(report.to_string(), "drained 20, lost 3");
        drop(full);
    });
}

#[test]
fn client_that_closes_itself_is_neither_drained_nor_lost() {
    with_both_flush_modes(|config| {
        let (outbox_sender, outboxes) = unbounded();
        let (ends, ended) = bounded(1);
        let server = TestServer::start(config, move |conn: &mut Connection| {
            outbox_sender.send(conn.outbox()).unwrap();
            while conn.recv()?.is_some() {}
            ends.send(()).unwrap();
            Ok(())
        });
        let mut full = server.client().small_rcvbuf().connect();
        let outbox = outboxes.recv().unwrap();
        fill(&outbox);
        server.handle().shutdown();
        assert!(outbox.closed().recv().is_err());
        full.close(4002, "bye");
        ended
            .recv_timeout(DEADLINE)
            .expect("the server reads the Close before the deadline");
        // Our 1001 still waited behind the queue. The answer is sent immediately, and the queue is discarded.
        let rest = full.rest();
        assert_eq!(rest.closes, [(4002, "bye".to_owned())]);
        assert_eq!(rest.after_close, 0);
        assert_eq!(server.report(), report(0, 0));
    });
}

/// The report counts only what the shutdown did. Clients that ended earlier do not count, whatever their close code.
#[test]
fn report_excludes_clients_that_ended_before_shutdown() {
    let (server, outboxes) = echo_with_outboxes(Config::default());
    let mut client = server.connect();
    outboxes
        .recv()
        .unwrap()
        .close(1001, "closed by the handler");
    assert_only_close(
        &client.rest_answering_close(),
        1001,
        "closed by the handler",
    );
    server.connect().leave();
    until("both clients are unregistered", || {
        server.handle().clients() == 0
    });
    assert_eq!(server.shut_down(), ShutdownReport::default());
}
