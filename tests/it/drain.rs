//! What a shutdown means for newcomers and for a successor: the drain delay, the backlog, the closed port, and the
//! Closes that are spread over time.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use standpipe::{Config, Listener, Message, Server};

use crate::shutdown::report;
use crate::support::{
    Connect, Stream, TestClient, TestServer, assert_lasted, bind, echo, op, secured, until,
    with_both_flush_modes, within,
};

const HOUR: Duration = Duration::from_secs(3600);

fn is_refused(address: SocketAddr) -> bool {
    let connected = Stream::connect_tcp(address);
    connected.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

/// Connects and sends the whole request, without waiting for `accept`.
fn sent_request(address: SocketAddr) -> TestClient {
    let connect = Connect::to(address).handshake_later();
    let client = connect.open();
    client.bytes(connect.head());
    client
}

#[test]
fn clients_are_served_until_the_drain_delay_is_over() {
    let delay = Duration::from_millis(400);
    let server = TestServer::echo(Config::default().drain_delay(delay));
    let address = server.addr();
    let mut earlier = server.connect();
    let begin = Instant::now();
    server.handle().shutdown();
    assert!(server.handle().is_shutting_down());
    // Served in the meantime, however many clients come.
    let mut served = 0;
    while begin.elapsed() < delay / 2 {
        let mut client = server.connect();
        client.text("here");
        client.expect_text("here");
        client.leave();
        served += 1;
    }
    assert!(served > 0);
    earlier.text("still");
    earlier.expect_text("still");
    earlier.expect_close(1001);
    assert_lasted(begin, delay);
    earlier.close(1001, "");
    assert_eq!(server.report(), report(1, 0));
    assert!(is_refused(address));
}

/// Connects before anybody serves, so that the clients wait in the backlog when the server stops.
#[test]
fn backlog_of_an_own_listener_is_answered() {
    let server = bind("127.0.0.1:0", Config::default()).unwrap();
    let handle = server.handle();
    let address = handle.local_addr().expect("a TCP address");
    let mut waiting: Vec<_> = (0..20).map(|_| sent_request(address)).collect();
    waiting.push(Connect::to(address).handshake_later().open());
    handle.shutdown();
    let server = TestServer::of(server, echo);
    for client in &mut waiting {
        assert_eq!(client.read_head().status, 503);
    }
    drop(waiting);
    assert_eq!(server.report(), report(0, 0));
    assert!(is_refused(address));
}

#[test]
fn backlog_of_an_inherited_listener_waits_for_the_successor() {
    let parent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = parent.local_addr().unwrap();
    let inherited = || {
        let listener = secured(Listener::try_from(parent.try_clone().unwrap()).unwrap());
        Server::from_listeners(vec![listener.inherited()], Config::default()).unwrap()
    };
    let server = TestServer::of(inherited(), echo);
    TestClient::connect(address, "/").leave();
    server.shut_down();

    let mut waiting: Vec<_> = (0..20).map(|_| sent_request(address)).collect();
    let server = inherited();
    server.handle().shutdown();
    let served = within(20, "serve to return", || server.serve(echo).unwrap());
    assert_eq!(served, report(0, 0));

    let successor = TestServer::of(inherited(), echo);
    for client in &mut waiting {
        assert_eq!(client.read_head().status, 101);
    }
    drop(waiting);
    successor.shut_down();
}

/// Two servers share a socket, as during a restart by socket activation. Neither waits in `accept` for a client that
/// the other one has taken.
#[test]
fn servers_that_share_a_socket_both_end() {
    let parent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = parent.local_addr().unwrap();
    let inherited = || {
        let listener = secured(Listener::try_from(parent.try_clone().unwrap()).unwrap());
        Server::from_listeners(vec![listener.inherited()], Config::default()).unwrap()
    };
    for _ in 0..20 {
        let (first, second) = (
            TestServer::of(inherited(), echo),
            TestServer::of(inherited(), echo),
        );
        let clients: Vec<_> = (0..8)
            .map(|_| thread::spawn(move || TestClient::connect(address, "/").leave()))
            .collect();
        for client in clients {
            client.join().unwrap();
        }
        first.shut_down();
        TestClient::connect(address, "/").leave();
        second.shut_down();
    }
}

#[test]
fn successor_binds_the_port_while_a_client_is_waited_for() {
    with_both_flush_modes(|config| {
        let patient = config.clone().shutdown_timeout(HOUR).close_timeout(HOUR);
        let old = TestServer::echo(patient);
        let address = old.addr();
        let mut silent = old.connect();
        old.handle().shutdown();
        silent.expect_close(1001);
        // The listener is closed before any client is.
        assert!(is_refused(address));
        let successor = TestServer::of(bind(address, config).unwrap(), echo);
        let mut client = successor.connect();
        client.text("here");
        client.expect_text("here");
        silent.close(1001, "");
        assert_eq!(old.report(), report(1, 0));
        client.text("still here");
        client.expect_text("still here");
        drop(client);
    });
}

/// What became of one attempt to connect.
#[derive(Debug, PartialEq, Eq)]
enum Attempt {
    Answered,
    Refused,
    Dropped(String),
}

fn attempt(address: SocketAddr, head: &str) -> Attempt {
    let stream = match Stream::connect(address) {
        Ok(stream) => stream,
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Attempt::Refused,
        Err(error) => return Attempt::Dropped(format!("connecting: {error}")),
    };
    // The answer may come before the request.
    let _ = (&stream).write_all(head.as_bytes());
    match (&stream).read(&mut [0; 12]) {
        Ok(12) => Attempt::Answered,
        read => Attempt::Dropped(format!("{read:?}")),
    }
}

#[test]
fn client_that_connects_at_the_stop_is_answered_or_refused() {
    with_both_flush_modes(|config| {
        for address in ["127.0.0.1:0", "[::1]:0"].repeat(5) {
            let Ok(server) = bind(address, config.clone()) else {
                assert!(address.starts_with('['), "only IPv6 may be missing");
                continue;
            };
            let server = TestServer::of(server, echo);
            let address = server.addr();
            let connecting = || {
                let head = server.client().head();
                thread::spawn(move || {
                    let mut answered = 0;
                    loop {
                        match attempt(address, &head) {
                            Attempt::Answered => answered += 1,
                            Attempt::Refused => return answered,
                            dropped => panic!("{dropped:?} after {answered} answers"),
                        }
                    }
                })
            };
            let clients: Vec<_> = (0..6).map(|_| connecting()).collect();
            until("clients have connected", || server.handle().clients() > 0);
            server.shut_down();
            let answered: usize = clients.into_iter().map(|c| c.join().unwrap()).sum();
            assert!(answered > 0);
        }
    });
}

/// Returns the time from `begin` to the Close of each client, in order. Each client answers its Close.
fn times_of_closes(clients: Vec<TestClient>, begin: Instant) -> Vec<Duration> {
    let closed = clients.into_iter().map(|mut client| {
        thread::spawn(move || {
            client.expect_close(1001);
            let time = begin.elapsed();
            client.close(1001, "");
            client.expect_eof();
            time
        })
    });
    let closed: Vec<_> = closed.collect();
    let mut times: Vec<_> = closed.into_iter().map(|c| c.join().unwrap()).collect();
    times.sort();
    times
}

#[test]
fn closes_are_spread_evenly_over_the_close_spread() {
    let spread = Duration::from_secs(1);
    let server = TestServer::echo(Config::default().close_spread(spread));
    let clients: Vec<_> = (0..5).map(|_| server.connect()).collect();
    let begin = Instant::now();
    server.handle().shutdown();
    let times = times_of_closes(clients, begin);
    for (turn, time) in (0..).zip(&times) {
        assert!(*time >= spread * turn / 5, "{times:?}");
    }
    // A client whose turn has not come is not closed with the first one, even on a busy machine.
    assert!(times[0] < times[4], "{times:?}");
    assert_eq!(server.report(), report(5, 0));
}

#[test]
fn client_is_served_until_its_turn_to_close() {
    let server = TestServer::echo(Config::default().close_spread(HOUR));
    let address = server.addr();
    let mut clients = [server.connect(), server.connect()];
    server.handle().shutdown();
    let mut closed = None;
    until("one client gets its Close", || {
        closed = clients.iter_mut().position(|client| {
            client.text("here");
            client.next_frame().opcode == op::CLOSE
        });
        closed.is_some()
    });
    let closed = closed.expect("the loop ends with a Close");
    clients[closed].close(1001, "");
    assert!(is_refused(address));
    let other = &mut clients[1 - closed];
    other.text("after the first Close");
    other.expect_text("after the first Close");
    // The spread does not go on once every client has left.
    drop(clients);
    within(20, "the server to end", || server.report());
}

#[test]
fn shutdown_timeout_begins_with_the_last_close() {
    let (spread, timeout) = (Duration::from_millis(600), Duration::from_millis(300));
    let config = Config::default().close_timeout(HOUR);
    let server = TestServer::echo(config.close_spread(spread).shutdown_timeout(timeout));
    let silent = [server.connect(), server.connect()];
    let begin = Instant::now();
    server.handle().shutdown();
    let silent = silent.map(|mut client| {
        client.expect_close(1001);
        client
    });
    assert_eq!(server.report(), report(0, 2));
    // The second client has its turn in the middle of the spread.
    assert_lasted(begin, spread / 2 + timeout);
    drop(silent);
}

#[test]
fn failed_listener_ends_the_drain_delay() {
    let parent = TcpListener::bind("127.0.0.1:0").unwrap();
    let listener = secured(Listener::try_from(parent.try_clone().unwrap()).unwrap());
    let config = Config::default().drain_delay(HOUR);
    let server = Server::from_listeners(vec![listener.inherited()], config).unwrap();
    let handle = server.handle();
    let running = server.spawn(echo).unwrap();
    let client = TestClient::connect(handle.local_addr().expect("a TCP address"), "/");
    handle.shutdown();
    socket2::SockRef::from(&parent)
        .shutdown(std::net::Shutdown::Both)
        .unwrap();
    let client = crate::shutdown::read_to_close(client);
    let ended = within(20, "the server to end", move || running.join());
    assert!(
        matches!(ended, Err(standpipe::Error::Accept { .. })),
        "{ended:?}"
    );
    let messages: Vec<Message> = crate::shutdown::assert_closed_with_1001(client);
    assert!(messages.is_empty());
}

#[cfg(feature = "cli")]
#[test]
fn ready_check_fails_while_upgrades_still_succeed() {
    use crate::binary::Binary;
    let binary = Binary::start(&["--drain-delay", "10m"]);
    let mut earlier = binary.connect("/echo");
    assert_eq!(binary.get("/readyz").status, 200);
    binary.signal("TERM");
    until("/readyz answers 503", || {
        binary.get("/readyz").status == 503
    });
    assert_eq!(binary.get("/healthz").status, 200);
    let mut newcomer = binary.connect("/echo");
    for client in [&mut earlier, &mut newcomer] {
        client.text("here");
        client.expect_text("here");
    }
    // A second signal ends the process in every step of the shutdown.
    binary.signal("TERM");
    let (status, _, log) = binary.end();
    assert_eq!(status.code(), Some(130), "{log}");
}
