//! The end of a client as a program sees it: waiting threads are woken, new messages are refused, nothing is kept.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, unbounded};
use standpipe::{Config, Connection, Handler, Message, Outbox, SendTimeoutError, TrySendError};

use crate::support::{
    Barrier, DEADLINE, Failure, TestClient, TestServer, assert_only_close, echo,
    echo_with_outboxes, fill, spawn_blocked_send, until, with_both_flush_modes, within,
};

#[test]
fn closed_fires_for_every_cause() {
    type End = fn(&Outbox, TestClient) -> Option<TestClient>;
    let ways: [(&str, End); 6] = [
        ("the peer closes", |_, client| {
            client.close(1000, "");
            Some(client)
        }),
        ("the peer resets", |_, client| {
            client.reset();
            None
        }),
        ("a violation", |_, client| {
            client.bytes([0xff, 0xff]);
            Some(client)
        }),
        ("close", |outbox, client| {
            outbox.close(1000, "");
            Some(client)
        }),
        ("terminate", |outbox, client| {
            outbox.terminate();
            Some(client)
        }),
        ("a message that fails the handler", |_, client| {
            client.text("");
            Some(client)
        }),
    ];
    with_both_flush_modes(|config| {
        let (outbox_sender, outboxes) = unbounded();
        let server = TestServer::start(config, move |conn: &mut Connection| {
            outbox_sender.send(conn.outbox()).unwrap();
            match conn.recv()? {
                Some(_) => Err("deliberate test failure".into()),
                None => Ok(()),
            }
        });
        for (name, end) in &ways {
            let client = server.connect();
            let outbox = outboxes.recv().unwrap();
            let open = outbox.closed().recv_timeout(Duration::ZERO);
            assert_eq!(
                open,
                Err(RecvTimeoutError::Timeout),
                "{name}: closed too early"
            );
            let client = end(&outbox, client);
            let closed = outbox.closed().recv_timeout(DEADLINE);
            assert_eq!(closed, Err(RecvTimeoutError::Disconnected), "{name}");
            drop(client);
            // From now on, each sending method returns its message.
            let message = || Message::text("back");
            assert_eq!(outbox.send(message()).unwrap_err().0, message());
            let refused = outbox.try_send(message()).unwrap_err();
            assert!(matches!(refused, TrySendError::Closed(m) if m == message()));
            let refused = outbox.send_timeout(message(), DEADLINE).unwrap_err();
            assert!(matches!(refused, SendTimeoutError::Closed(m) if m == message()));
        }
    });
}

#[test]
fn blocked_send_returns_its_message_when_the_client_ends() {
    let ways: [fn(&Outbox, TestClient); 3] = [
        |outbox, _client| outbox.terminate(),
        |_, client| client.reset(),
        // `close` immediately refuses new messages, although the queue is still sent before the Close.
        |outbox, _client| outbox.close(1000, ""),
    ];
    with_both_flush_modes(|config| {
        let config = config.close_timeout(Duration::from_millis(200));
        let (server, outboxes) = echo_with_outboxes(config);
        for end in ways {
            let client = server.client().small_rcvbuf().connect();
            let outbox = outboxes.recv().unwrap();
            fill(&outbox);
            let sender = spawn_blocked_send(&outbox, Message::text("back"));
            end(&outbox, client);
            let sent = within(20, "the waiting send to be woken", || {
                sender.join().unwrap()
            });
            assert_eq!(sent.unwrap_err().0, Message::text("back"));
        }
    });
}

#[test]
fn handler_return_does_not_replace_an_earlier_close() {
    with_both_flush_modes(|config| {
        let (outbox_sender, outboxes) = unbounded();
        let server = TestServer::start(config, move |conn: &mut Connection| {
            outbox_sender.send(conn.outbox())?;
            assert!(conn.closed().recv().is_err());
            Ok(())
        });
        for _ in 0..200 {
            let mut client = server.connect();
            let outbox = outboxes.recv_timeout(DEADLINE).unwrap();
            outbox.close(4321, "x");
            assert_only_close(&client.rest_answering_close(), 4321, "x");
        }
    });
}

#[test]
fn recv_keeps_returning_none_after_the_end() {
    with_both_flush_modes(|config| {
        let (result_sender, results) = unbounded();
        let server = TestServer::start(config, move |conn: &mut Connection| {
            while conn.recv()?.is_some() {}
            let again = [conn.recv()?, conn.recv()?];
            result_sender.send(again).unwrap();
            Ok(())
        });
        let client = server.connect();
        client.text("one");
        client.leave();
        let again = results
            .recv_timeout(DEADLINE)
            .expect("the handler reports before the deadline");
        assert_eq!(again, [None, None]);
    });
}

#[test]
fn panic_with_a_full_outbox_ends_only_that_client() {
    with_both_flush_modes(|config| {
        let barrier = Barrier::new();
        let at = barrier.clone();
        let config = config.close_timeout(Duration::from_millis(200));
        let server = TestServer::start(config, move |conn: &mut Connection| {
            if conn.request().path() == "/full" {
                fill(&conn.outbox());
                at.wait(conn.number());
                panic!("deliberate test failure");
            }
            echo(conn)
        });
        let full = server.client().path("/full").small_rcvbuf().connect();
        barrier.arrival();
        barrier.open();
        let mut other = server.connect();
        other.text("unharmed");
        other.expect_text("unharmed");
        other.leave();
        until("the client with the full outbox is unregistered", || {
            server.handle().clients() == 0
        });
        // The Close 1011 cannot be written, because the peer reads nothing.
        assert_eq!(server.disconnects("close_timeout"), 1);
        drop(full);
    });
}

/// A handler that keeps the outbox of every client.
struct KeepsOutboxes(Arc<std::sync::Mutex<Vec<Outbox>>>);

impl Handler for KeepsOutboxes {
    fn run(&self, conn: &mut Connection) -> Result<(), Failure> {
        self.0.lock().unwrap().push(conn.outbox());
        echo(conn)
    }
}

#[test]
fn kept_outbox_does_not_keep_its_client() {
    let kept = Arc::default();
    let server = TestServer::start(Config::default(), KeepsOutboxes(Arc::clone(&kept)));
    let mut clients: Vec<TestClient> = (0..10).map(|_| server.connect()).collect();
    let last = clients.pop().unwrap();
    for client in clients {
        client.leave();
    }
    until("nine clients are unregistered", || {
        server.handle().clients() == 1
    });
    last.leave();
    let outboxes = std::mem::take(&mut *kept.lock().unwrap());
    assert_eq!(outboxes.len(), 10);
    for outbox in outboxes {
        assert!(outbox.try_send(Message::text("x")).is_err());
        let counts = outbox.counts();
        assert_eq!((counts.accepted, counts.delivered), (0, 0));
    }
}
