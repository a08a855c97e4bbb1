//! The end of the server, step by step as DESIGN's law 8 has it: nobody new, 503 at the door, nothing more is taken,
//! 1001 after what is queued, resets at the deadline, everything joined, and a report that counts right.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded, unbounded};
use standpipe::{
    Config, Connection, Handler, Listener, Message, Reply, Request, SendTimeoutError, Server,
    ServerHandle, ShutdownReport, TrySendError,
};

use crate::support::{
    Barrier, DEADLINE, Failure, Rest, TestClient, TestServer, echo, fill, spawn_blocked_send,
    with_both_flush_modes, within,
};

pub(crate) fn report(drained: u64, lost: u64) -> ShutdownReport {
    let mut report = ShutdownReport::default();
    (report.drained, report.lost) = (drained, lost);
    report
}

/// Reads all there is, answers the Close, and says how it ended; on a thread, because shutdown waits for all.
pub(crate) fn polite(mut client: TestClient) -> thread::JoinHandle<Rest> {
    thread::spawn(move || {
        let rest = client.rest_answering_close();
        assert!(rest.after_close == 0 && !rest.reset, "{rest:?}");
        rest
    })
}

/// It saw 1001, once, and nothing after it.
#[track_caller]
pub(crate) fn saw_1001(client: thread::JoinHandle<Rest>) -> Vec<Message> {
    let rest = client.join().unwrap();
    let reason = "server is shutting down".to_owned();
    assert_eq!(rest.closes, [(1001, reason)]);
    rest.messages
}

#[test]
fn a_server_without_clients_ends_at_once_and_so_does_one_that_never_served() {
    let server = TestServer::echo(Config::default());
    assert_eq!(server.shut_down(), report(0, 0));
    let server = Server::bind("127.0.0.1:0", Config::default()).unwrap();
    server.handle().shutdown();
    let served = within(20, "serve to return", || server.serve(echo).unwrap());
    assert_eq!(served, report(0, 0));
}

#[test]
fn after_shutdown_nobody_is_let_in_and_the_port_is_free_at_the_end() {
    let barrier = Barrier::new();
    let at = barrier.clone();
    let config = Config::default().shutdown_timeout(Duration::from_millis(200));
    let server = TestServer::start(config, move |conn: &mut Connection| {
        at.wait(conn.number());
        Ok(())
    });
    let address = server.addr();
    let mut inside = server.connect();
    barrier.arrival();
    server.handle().shutdown();
    assert!(server.handle().is_shutting_down());
    inside.expect_close(1001);
    // The handler holds the server, so this is the time of draining.
    let late = server.client();
    if TcpStream::connect(address).is_ok() {
        let mut late = late.open();
        late.try_bytes(server.client().head());
        barrier.open();
        assert_eq!(late.next_byte(), None, "somebody was let in");
    } else {
        barrier.open();
    }
    server.report();
    let refused = TcpStream::connect(address).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

/// Stands at the barrier while it judges a request.
struct SlowJudge(Barrier);

impl Handler for SlowJudge {
    fn request(&self, request: &mut Request) -> Reply {
        if request.path() == "/judge" {
            self.0.wait(0);
        }
        Reply::upgrade()
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Failure> {
        echo(conn)
    }
}

#[test]
fn heads_in_flight_are_answered_503() {
    let barrier = Barrier::new();
    let server = TestServer::start(Config::default(), SlowJudge(barrier.clone()));
    let mut silent = server.client().open();
    let mut half = server.client().open();
    half.bytes("GET / HTTP/1.1\r\nHost: loc");
    let judged = server.client().path("/judge");
    let head = judged.head();
    let mut judged = judged.open();
    judged.bytes(head);
    barrier.arrival();
    // Accepted after them: so they have been.
    let inside = server.connect();
    server.handle().shutdown();
    let inside = polite(inside);
    barrier.open();
    for (what, client) in [
        ("silent", &mut silent),
        ("half", &mut half),
        ("judged", &mut judged),
    ] {
        let answer = client.read_head();
        assert_eq!(answer.status, 503, "{what}");
        assert_eq!(answer.header("Connection"), Some("close"), "{what}");
        assert!(answer.header("Retry-After").is_some(), "{what}");
    }
    drop((silent, half, judged));
    saw_1001(inside);
    // Those at the door were no clients.
    assert_eq!(server.report(), report(1, 0));
}

#[test]
fn from_shutdown_on_nothing_is_taken_and_whoever_waits_is_woken() {
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
        assert_eq!(server.report(), report(0, 1));
        drop(full);
        let counts = outbox.counts();
        assert_eq!(counts.accepted, counts.delivered + counts.discarded);
    });
}

#[test]
fn recv_gives_none_whether_it_waits_already_or_is_asked_after() {
    with_both_flush_modes(|config| {
        let barrier = Barrier::new();
        let at = barrier.clone();
        let (give, said) = unbounded();
        let server = TestServer::start(config, move |conn: &mut Connection| {
            if conn.request().path() == "/later" {
                at.wait(conn.number());
                assert!(conn.closed().recv().is_err());
            }
            give.send(conn.recv()?).unwrap();
            Ok(())
        });
        let waits = server.connect();
        let later = server.client().path("/later").connect();
        barrier.arrival();
        // It lies in the kernel when shutdown comes, and is not heard any more.
        later.text("too late");
        server.handle().shutdown();
        barrier.open();
        let clients = [polite(waits), polite(later)];
        for _ in 0..2 {
            let said = said
                .recv_timeout(DEADLINE)
                .expect("waited for recv to return");
            assert_eq!(said, None);
        }
        for client in clients {
            saw_1001(client);
        }
        assert_eq!(server.report(), report(2, 0));
    });
}

#[test]
fn a_handler_that_does_not_return_is_waited_for() {
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
    // An event that does not come can only be waited for: past the deadline, and the second that follows it.
    let early = ended.recv_timeout(Duration::from_millis(1300));
    assert_eq!(
        early,
        Err(RecvTimeoutError::Timeout),
        "serve left a handler behind"
    );
    barrier.open();
    let ended = ended
        .recv_timeout(DEADLINE)
        .expect("waited for serve to return");
    assert!(returned.load(Ordering::SeqCst));
    // It was held back by the handler and reset, whatever it had read.
    assert_eq!(ended, report(0, 1));
    waiting.join().unwrap();
}

#[test]
fn a_handler_that_waits_for_closed_is_told() {
    let server = TestServer::start(Config::default(), |conn: &mut Connection| {
        let (_never, nothing) = bounded::<()>(0);
        crossbeam_channel::select! {
            recv(nothing) -> _ => unreachable!("nobody sends"),
            recv(conn.closed()) -> _ => Ok(()),
        }
    });
    let client = polite(server.connect());
    server.handle().shutdown();
    saw_1001(client);
    assert_eq!(server.report(), report(1, 0));
}

#[test]
fn a_handler_may_shut_its_own_server_down() {
    with_both_flush_modes(|config| {
        let server = Server::bind("127.0.0.1:0", config).unwrap();
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
        for client in clients.into_iter().map(polite).collect::<Vec<_>>() {
            saw_1001(client);
        }
        assert_eq!(server.report(), report(5, 0));
    });
}

#[test]
fn both_of_two_listeners_serve_and_end() {
    let bind = || Listener::bind("127.0.0.1:0").unwrap();
    let server = Server::from_listeners(vec![bind(), bind()], Config::default()).unwrap();
    let server = TestServer::of(server, echo);
    let addresses = server.handle().local_addrs().to_vec();
    assert_eq!(addresses.len(), 2);
    let clients: Vec<_> = (addresses.iter())
        .map(|address| {
            let mut client = TestClient::connect(*address, "/");
            client.text("here");
            client.expect_text("here");
            polite(client)
        })
        .collect();
    server.handle().shutdown();
    for client in clients {
        saw_1001(client);
    }
    assert_eq!(server.report(), report(2, 0));
    for address in addresses {
        assert!(
            TcpStream::connect(address).is_err(),
            "{address} is still open"
        );
    }
}

#[test]
fn shutdown_may_be_asked_for_again_and_from_everywhere() {
    let server = TestServer::echo(Config::default());
    let client = polite(server.connect());
    let handle = server.handle().clone();
    let askers: Vec<_> = (0..4)
        .map(|_| {
            let handle = handle.clone();
            thread::spawn(move || handle.shutdown())
        })
        .collect();
    for asker in askers {
        asker.join().unwrap();
    }
    saw_1001(client);
    assert_eq!(server.report(), report(1, 0));
    // After the end too.
    handle.shutdown();
    assert!(handle.is_shutting_down());
    assert_eq!(handle.clients(), 0);
}

#[test]
fn clients_that_come_while_it_shuts_down_are_served_out_or_turned_away_and_never_left() {
    with_both_flush_modes(|config| {
        for _ in 0..5 {
            let server = TestServer::echo(config.clone());
            let (address, served) = (server.addr(), Arc::new(AtomicUsize::new(0)));
            let (first, came) = bounded(100);
            let comers: Vec<_> = (0..8)
                .map(|_| {
                    let (served, first) = (Arc::clone(&served), first.clone());
                    thread::spawn(move || {
                        while come(address, &served) {
                            let _ = first.try_send(());
                        }
                    })
                })
                .collect();
            came.recv_timeout(DEADLINE)
                .expect("waited for a first client");
            server.handle().shutdown();
            let report = server.report();
            for comer in comers {
                comer.join().unwrap();
            }
            assert_eq!(report.lost, 0, "{report}");
            assert_eq!(report.drained, served.load(Ordering::SeqCst) as u64);
        }
    });
}

/// One client's visit. False when the server is not there any more; `served` counts who saw 1001.
fn come(address: std::net::SocketAddr, served: &AtomicUsize) -> bool {
    if TcpStream::connect(address).is_err() {
        return false;
    }
    // Between the two it may be gone: then this ends as the first would have.
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
