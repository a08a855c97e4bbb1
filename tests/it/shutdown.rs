//! The shutdown of the server, step by step: no new clients, 503 for pending handshakes, no more messages are accepted,
//! 1001 after what is queued, resets at the deadline, all threads joined, and a correct report.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded, unbounded};
use standpipe::{
    Clock, Config, Connection, Disconnect, Handler, Message, Reply, Request, SendTimeoutError,
    Server, ServerHandle, ShutdownReport, TrySendError,
};

use crate::support::{
    Barrier, DEADLINE, Failure, Rest, Stream, TestClient, TestServer, bind, echo, fill, listen,
    spawn_blocked_send, with_both_flush_modes, within,
};

pub(crate) fn report(drained: u64, lost: u64) -> ShutdownReport {
    let mut report = ShutdownReport::default();
    (report.drained, report.lost) = (drained, lost);
    report
}

/// Reads to the end of the connection and answers the Close, on its own thread because shutdown waits for every client.
pub(crate) fn read_to_close(mut client: TestClient) -> thread::JoinHandle<Rest> {
    thread::spawn(move || {
        let rest = client.rest_answering_close();
        assert!(rest.after_close == 0 && !rest.reset, "{rest:?}");
        rest
    })
}

/// Checks that the client received one Close, 1001, and nothing after it. Returns the messages before the Close.
#[track_caller]
pub(crate) fn assert_closed_with_1001(client: thread::JoinHandle<Rest>) -> Vec<Message> {
    let rest = client.join().unwrap();
    let reason = "server is shutting down".to_owned();
    assert_eq!(rest.closes, [(1001, reason)]);
    rest.messages
}

#[test]
fn idle_server_and_unserved_server_end_immediately() {
    let server = TestServer::echo(Config::default());
    assert_eq!(server.shut_down(), report(0, 0));
    let server = bind("127.0.0.1:0", Config::default()).unwrap();
    server.handle().shutdown();
    let served = within(20, "serve to return", || server.serve(echo).unwrap());
    assert_eq!(served, report(0, 0));
}

#[test]
fn shutdown_refuses_new_clients_and_frees_the_port() {
    let barrier = Barrier::new();
    let at = barrier.clone();
    let config = Config::default().shutdown_timeout(Duration::from_millis(200));
    let server = TestServer::start(config, move |conn: &mut Connection| {
        at.wait(conn.number());
        Ok(())
    });
    let address = server.addr();
    let mut connected = server.connect();
    barrier.arrival();
    server.handle().shutdown();
    assert!(server.handle().is_shutting_down());
    connected.expect_close(1001);
    // The handler does not return yet, so the server is still draining.
    let refused = || Stream::connect_tcp(address).unwrap_err();
    assert_eq!(refused().kind(), std::io::ErrorKind::ConnectionRefused);
    let successor = bind(address, Config::default()).unwrap();
    drop(successor);
    barrier.open();
    server.report();
    assert_eq!(refused().kind(), std::io::ErrorKind::ConnectionRefused);
}

/// A handler that waits at a barrier while it decides about the request `/slow`.
struct SlowRequest(Barrier);

impl Handler for SlowRequest {
    fn request(&self, request: &mut Request) -> Reply {
        if request.path() == "/slow" {
            self.0.wait(0);
        }
        Reply::upgrade()
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Failure> {
        echo(conn)
    }
}

#[test]
fn pending_handshakes_are_answered_with_503() {
    let barrier = Barrier::new();
    let server = TestServer::start(Config::default(), SlowRequest(barrier.clone()));
    let mut silent = server.client().open();
    let mut half = server.client().open();
    half.bytes("GET / HTTP/1.1\r\nHost: loc");
    let deciding = server.client().path("/slow");
    let head = deciding.head();
    let mut deciding = deciding.open();
    deciding.bytes(head);
    barrier.arrival();
    // This client is accepted after the others, so the server has accepted all of them.
    let connected = server.connect();
    server.handle().shutdown();
    let connected = read_to_close(connected);
    barrier.open();
    for (what, client) in [
        ("silent", &mut silent),
        ("half", &mut half),
        ("deciding", &mut deciding),
    ] {
        let answer = client.read_head();
        assert_eq!(answer.status, 503, "{what}");
        assert_eq!(answer.header("Connection"), Some("close"), "{what}");
        assert!(answer.header("Retry-After").is_some(), "{what}");
    }
    drop((silent, half, deciding));
    assert_closed_with_1001(connected);
    // Pending handshakes are not counted as clients.
    assert_eq!(server.report(), report(1, 0));
}

#[test]
fn shutdown_refuses_messages_and_wakes_waiting_senders() {
    with_both_flush_modes(|config| {
        let (outbox_sender, outboxes) = unbounded();
        let config = config.shutdown_timeout(Duration::from_millis(500));
        let server = TestServer::start(config, move |conn: &mut Connection| {
            outbox_sender.send(conn.outbox()).unwrap();
            echo(conn)
        });
        let full = server.client().small_rcvbuf().connect();
        let outbox = outboxes.recv().unwrap();
        fill(&outbox);
        let sender = spawn_blocked_send(&outbox, Message::text("back"));
        let waiting = outbox.clone();
        let patient =
            thread::spawn(move || waiting.send_timeout(Message::text("back"), 3 * DEADLINE));
        let open = outbox.closed().recv_timeout(Duration::ZERO);
        assert_eq!(open, Err(RecvTimeoutError::Timeout));

        server.handle().shutdown();
        let closed = outbox.closed().recv_timeout(DEADLINE);
        assert_eq!(closed, Err(RecvTimeoutError::Disconnected));
        let (sent, patient) = within(20, "the waiting sends to be woken", || {
            (sender.join().unwrap(), patient.join().unwrap())
        });
        assert_eq!(sent.unwrap_err().0, Message::text("back"));
        let patient = patient.unwrap_err();
        assert!(matches!(patient, SendTimeoutError::Closed(m) if m == Message::text("back")));
        let tried = outbox.try_send(Message::text("back")).unwrap_err();
        assert!(matches!(tried, TrySendError::Closed(m) if m == Message::text("back")));
        assert!(outbox.send(Message::text("back")).is_err());
        let handle = server.handle().clone();
        assert_eq!(server.report(), report(0, 1));
        let disconnects = handle.disconnects();
        assert!(
            disconnects.contains(&(Disconnect::Deadline(Clock::Shutdown), 1)),
            "{disconnects:?}"
        );
        drop(full);
        let counts = outbox.counts();
        assert_eq!(counts.accepted, counts.delivered + counts.discarded);
    });
}

#[test]
fn recv_returns_none_before_and_after_shutdown() {
    with_both_flush_modes(|config| {
        let barrier = Barrier::new();
        let at = barrier.clone();
        let (result_sender, results) = unbounded();
        let server = TestServer::start(config, move |conn: &mut Connection| {
            if conn.request().path() == "/later" {
                at.wait(conn.number());
                assert!(conn.closed().recv().is_err());
            }
            result_sender.send(conn.recv()?).unwrap();
            Ok(())
        });
        let waits = server.connect();
        let later = server.client().path("/later").connect();
        barrier.arrival();
        // This message is in the kernel's buffer when the shutdown begins, and is not received any more.
        later.text("too late");
        server.handle().shutdown();
        barrier.open();
        let clients = [read_to_close(waits), read_to_close(later)];
        for _ in 0..2 {
            let received = results
                .recv_timeout(DEADLINE)
                .expect("recv returns before the deadline");
            assert_eq!(received, None);
        }
        for client in clients {
            assert_closed_with_1001(client);
        }
        assert_eq!(server.report(), report(2, 0));
    });
}

#[test]
fn serve_waits_for_a_handler_that_does_not_return() {
    let barrier = Barrier::new();
    let at = barrier.clone();
    let returned = Arc::new(AtomicBool::new(false));
    let returns = Arc::clone(&returned);
    let config = Config::default().shutdown_timeout(Duration::from_millis(100));
    let server = TestServer::start(config, move |conn: &mut Connection| {
        at.wait(conn.number());
        returns.store(true, Ordering::SeqCst);
        Ok(())
    });
    let mut client = server.connect();
    barrier.arrival();
    server.handle().shutdown();
    client.expect_close(1001);
    let (end, ended) = bounded(1);
    let waiting = thread::spawn(move || {
        end.send(server.report()).unwrap();
    });
    // Only waiting shows that `serve` does not return: until after the shutdown timeout and the second that follows it.
    let early = ended.recv_timeout(Duration::from_millis(1300));
    assert_eq!(
        early,
        Err(RecvTimeoutError::Timeout),
        "serve returned before the handler"
    );
    barrier.open();
    let ended = ended
        .recv_timeout(DEADLINE)
        .expect("serve returns before the deadline");
    assert!(returned.load(Ordering::SeqCst));
    // The client was reset at the deadline because its handler did not return, so it counts as lost.
    assert_eq!(ended, report(0, 1));
    waiting.join().unwrap();
}

#[test]
fn shutdown_wakes_a_handler_that_waits_for_closed() {
    let server = TestServer::start(Config::default(), |conn: &mut Connection| {
        let (_never, nothing) = bounded::<()>(0);
        crossbeam_channel::select! {
            recv(nothing) -> _ => unreachable!("this channel has no message"),
            recv(conn.closed()) -> _ => Ok(()),
        }
    });
    let client = read_to_close(server.connect());
    server.handle().shutdown();
    assert_closed_with_1001(client);
    assert_eq!(server.report(), report(1, 0));
}

#[test]
fn handler_may_shut_down_its_own_server() {
    with_both_flush_modes(|config| {
        let server = bind("127.0.0.1:0", config).unwrap();
        let handle: ServerHandle = server.handle();
        let server = TestServer::of(server, move |conn: &mut Connection| {
            while let Some(message) = conn.recv()? {
                if message == Message::text("shut down") {
                    handle.shutdown();
                } else {
                    conn.send(message)?;
                }
            }
            Ok(())
        });
        let clients: Vec<_> = (0..5).map(|_| server.connect()).collect();
        clients[3].text("shut down");
        for client in clients.into_iter().map(read_to_close).collect::<Vec<_>>() {
            assert_closed_with_1001(client);
        }
        assert_eq!(server.report(), report(5, 0));
    });
}

#[test]
fn two_listeners_both_serve_and_end() {
    let bind = || listen("127.0.0.1:0");
    let server = Server::from_listeners(vec![bind(), bind()], Config::default()).unwrap();
    let server = TestServer::of(server, echo);
    let addresses = server.handle().local_addrs().to_vec();
    assert_eq!(addresses.len(), 2);
    let clients: Vec<_> = (addresses.iter())
        .map(|address| {
            let mut client = TestClient::connect(*address, "/");
            client.text("here");
            client.expect_text("here");
            read_to_close(client)
        })
        .collect();
    server.handle().shutdown();
    for client in clients {
        assert_closed_with_1001(client);
    }
    assert_eq!(server.report(), report(2, 0));
    for address in addresses {
        assert!(
            Stream::connect_tcp(address).is_err(),
            "{address} is still open"
        );
    }
}

#[test]
fn shutdown_may_be_called_repeatedly_from_any_thread() {
    let server = TestServer::echo(Config::default());
    let client = read_to_close(server.connect());
    let handle = server.handle().clone();
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let handle = handle.clone();
            thread::spawn(move || handle.shutdown())
        })
        .collect();
    for caller in callers {
        caller.join().unwrap();
    }
    assert_closed_with_1001(client);
    assert_eq!(server.report(), report(1, 0));
    // Shutdown may also be called after the server has ended.
    handle.shutdown();
    assert!(handle.is_shutting_down());
    assert_eq!(handle.clients(), 0);
}

#[test]
fn clients_that_connect_during_shutdown_are_drained_or_refused() {
    with_both_flush_modes(|config| {
        for _ in 0..5 {
            let server = TestServer::echo(config.clone());
            let (address, served) = (server.addr(), Arc::new(AtomicUsize::new(0)));
            let (connected_sender, connections) = bounded(100);
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    let (served, connected_sender) =
                        (Arc::clone(&served), connected_sender.clone());
                    thread::spawn(move || {
                        while connect_and_close(address, &served) {
                            let _ = connected_sender.try_send(());
                        }
                    })
                })
                .collect();
            connections
                .recv_timeout(DEADLINE)
                .expect("the first client connects before the deadline");
            server.handle().shutdown();
            let report = server.report();
            for thread in threads {
                thread.join().unwrap();
            }
            assert_eq!(report.lost, 0, "{report}");
            assert_eq!(report.drained, served.load(Ordering::SeqCst) as u64);
        }
    });
}

/// Connects one client. Returns false if the server refuses it. `served` counts the clients that received 1001.
fn connect_and_close(address: std::net::SocketAddr, served: &AtomicUsize) -> bool {
    if Stream::connect_tcp(address).is_err() {
        return false;
    }
    // The server may end between the two connects. The second then fails like the first would have.
    let Ok((mut client, answer)) = std::panic::catch_unwind(|| {
        let client = crate::support::Connect::to(address);
        client.request()
    }) else {
        return false;
    };
    match answer.status {
        101 => {
            client.close(1000, "");
            let rest = client.rest_answering_close();
            assert_eq!(rest.closes.len(), 1, "{rest:?}");
            if rest.closes[0].0 == 1001 {
                served.fetch_add(1, Ordering::SeqCst);
            }
            true
        }
        status => {
            assert_eq!(status, 503);
            false
        }
    }
}
