//! C11 to C17: cycles through the acceptor, the log, the watchdog and the end of the server.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use standpipe::{
    Clock, CloseCause, Config, Connection, Event, Handler, Listener, Message, Reply, Request,
    Server,
};

use super::{LONG, SHORT, tight};
use crate::support::{
    Barrier, Failure, Frame, Seen, TestClient, TestServer, echo, let_time_pass, op, until, within,
};

/// The end without a Close: what the watchdog's reset looks like to a peer, whether FIN or RST comes first.
fn is_cut(seen: &Seen) -> bool {
    matches!(seen, Seen::Reset | Seen::Eof)
}

#[test]
fn c11_shutdown_may_be_asked_for_while_a_request_is_judged() {
    struct Ends(Arc<Mutex<Option<standpipe::ServerHandle>>>);
    impl Handler for Ends {
        fn request(&self, _: &mut Request) -> Reply {
            if let Some(handle) = &*self.0.lock().unwrap() {
                handle.shutdown();
            }
            Reply::upgrade()
        }
        fn run(&self, conn: &mut Connection) -> Result<(), Failure> {
            while conn.recv()?.is_some() {}
            Ok(())
        }
    }
    let place = Arc::default();
    let server = TestServer::start(Config::default(), Ends(Arc::clone(&place)));
    let mut before = server.connect();
    *place.lock().unwrap() = Some(server.handle().clone());
    let mut asks = server.client().open();
    asks.bytes(server.client().head());
    before.expect_close(1001);
    before.close(1001, "");
    let status = asks.read_head().status;
    assert!(status == 503 || status == 101, "{status}");
    drop(asks);
    within(20, "the end of the server", || server.report());
}

#[test]
fn c11_a_crowd_in_line_at_a_unix_socket_does_not_keep_the_watchdog_from_ending() {
    let place = std::env::temp_dir().join(format!("standpipe-crowd-{}", std::process::id()));
    std::fs::create_dir_all(&place).unwrap();
    let listeners = (0..30).map(|n| {
        let path = place.join(format!("{n}.sock"));
        let _ = std::fs::remove_file(&path);
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        let address = SockAddr::unix(&path).unwrap();
        socket.bind(&address).unwrap();
        socket.listen(1).unwrap();
        // Until the line is full: one more would wait.
        let joins = || {
            let client = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            client.set_nonblocking(true).unwrap();
            client.connect(&address).is_ok()
        };
        while joins() {}
        Listener::try_from(UnixListener::from(OwnedFd::from(socket))).unwrap()
    });
    let server = Server::from_listeners(listeners.collect(), Config::default()).unwrap();
    // Its acceptors leave at once, and the watchdog knocks at doors behind which nobody is left.
    server.handle().shutdown();
    let report = within(20, "the end of the server", || server.serve(echo).unwrap());
    assert_eq!((report.drained, report.lost), (0, 0));
    std::fs::remove_dir_all(&place).unwrap();
}

#[test]
fn c13_who_is_refused_and_does_not_read_keeps_nobody_waiting() {
    let server = TestServer::echo(Config::default().handshake_timeout(LONG));
    // The first 256 are heads in flight; the others are refused, and read none of it.
    let crowd: Vec<_> = (0..600)
        .map(|_| server.client().small_rcvbuf().open())
        .collect();
    let mut last = server.client().open();
    assert_eq!(last.read_head().status, 503);
    drop(crowd);
    until("there is room again", || {
        let mut client = server.client().open();
        client.try_bytes(server.client().head());
        client.read_head().status == 101
    });
}

#[cfg(feature = "cli")]
#[test]
fn c14_nobody_waits_for_who_reads_the_log() {
    use crate::threats::spawned::{Spawned, standpipe};
    let mut command = standpipe(&["--handshake-timeout", "2s", "--ping-interval", "2s"]);
    command.env("RUST_LOG", "trace");
    let mut spawned = Spawned::unread(command);
    for _ in 0..5000 {
        assert_eq!(spawned.get("/nothing").status, 404);
    }
    // The watchdog, the acceptor and the readers all log, and go on.
    let mut silent = TestClient::connect(spawned.addr(), "/echo");
    assert_eq!(silent.next_frame().opcode, op::PING);
    let mut head = spawned.client("/").open();
    assert!(is_cut(&head.next()));
    spawned.connect("/ws/log").leave();
    spawned.signal(&["TERM"]);
    silent.expect_close(1001);
    silent.close(1001, "");
    assert_eq!(spawned.end().code(), Some(0));
}

#[test]
fn c15_the_watchdog_judges_the_others_while_handlers_are_stuck() {
    struct Stuck(Barrier);
    impl Handler for Stuck {
        fn request(&self, request: &mut Request) -> Reply {
            if request.path() == "/request" {
                self.0.wait(0);
            }
            Reply::upgrade()
        }
        fn run(&self, conn: &mut Connection) -> Result<(), Failure> {
            if conn.request().path() == "/run" {
                self.0.wait(conn.number());
            }
            // Waits for room for ever.
            while conn.request().path() == "/room" {
                conn.send(Message::binary(vec![0; 8 << 10]))?;
            }
            while conn.recv()?.is_some() {}
            Ok(())
        }
    }
    let barrier = Barrier::new();
    let config = tight(Config::default())
        .ping_interval(SHORT)
        .ping_timeout(SHORT);
    let server = TestServer::start(config, Stuck(barrier.clone()));
    let asks = server.client().path("/request").open();
    asks.bytes(server.client().path("/request").head());
    let _runs = server.client().path("/run").connect();
    barrier.arrival();
    barrier.arrival();
    let mut room = server.client().path("/room").small_rcvbuf().connect();
    for _ in 0..2 {
        let mut silent = server.connect();
        assert_eq!(silent.next_frame().opcode, op::PING);
        assert!(is_cut(&silent.next()));
    }
    barrier.open();
    assert_eq!(room.next_frame().opcode, op::BINARY);
    room.reset();
}

#[test]
fn c17_who_speaks_at_the_moment_of_its_deadline_ends_once_and_for_one_reason() {
    let config = tight(Config::default())
        .ping_interval(SHORT / 5)
        .ping_timeout(SHORT / 5);
    let server = Server::bind("127.0.0.1:0", config).unwrap();
    let address = server.handle().local_addr();
    let events = server.events(16).unwrap();
    let told = events.receiver().clone();
    let telling = thread::spawn(move || {
        let (mut all, mut ends) = (Vec::new(), 0);
        while ends < 30 {
            let event = told.recv().unwrap();
            ends += usize::from(matches!(event, Event::Closed { .. }));
            all.push(event);
        }
        all
    });
    let talkers: Vec<_> = (0..30_u64)
        .map(|n| {
            thread::spawn(move || {
                let client = TestClient::connect(address, "/");
                let mut sent = 0;
                // Around the moment of the reset, a little later with each.
                let pause = Duration::from_millis(150 + 4 * n);
                while client.try_bytes(Frame::new(op::TEXT, "in time?").bytes()) && sent < 4 {
                    sent += 1;
                    // The race is with the clock itself.
                    let_time_pass(pause);
                }
            })
        })
        .collect();
    talkers
        .into_iter()
        .for_each(|talker| talker.join().unwrap());
    let told = within(20, "an end for each", || telling.join().unwrap());
    let handle = events.handle();
    until("all are gone", || handle.clients() == 0);
    assert!(events.receiver().is_empty(), "more was told after the ends");
    handle.shutdown();
    within(20, "the end of the server", || events.join().unwrap());
    let (mut open, mut ended) = (HashMap::new(), 0);
    for event in told {
        match event {
            Event::Opened { number: client, .. } => assert!(open.insert(client, 0).is_none()),
            Event::Message { number: client, .. } => *open.get_mut(&client).unwrap() += 1,
            Event::Closed {
                number: client,
                cause,
            } => {
                let heard = open
                    .remove(&client)
                    .expect("closed once, after it was opened");
                assert!(heard <= 5, "{heard} messages");
                assert!(
                    matches!(cause, CloseCause::Gone | CloseCause::TimedOut(Clock::Ping)),
                    "{cause:?}"
                );
                ended += 1;
            }
            _ => {}
        }
    }
    assert!(open.is_empty(), "never closed: {open:?}");
    assert_eq!(ended, 30);
}
