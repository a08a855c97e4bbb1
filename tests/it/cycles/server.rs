//! Cycles through the acceptor, the log, the watchdog and the shutdown.

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

use super::{LONG, SHORT, slow_timeouts};
use crate::support::{
    Barrier, Failure, Frame, Seen, TestClient, TestServer, bind, echo, let_time_pass, op,
    unread_refusal, until, within,
};

/// Returns whether the connection ended without a Close. The watchdog's reset looks like this to a peer, which may see
/// the FIN or the RST first.
fn is_reset(seen: &Seen) -> bool {
    matches!(seen, Seen::Reset | Seen::Eof)
}

#[test]
fn request_callback_may_call_shutdown() {
    struct ShutsDown(Arc<Mutex<Option<standpipe::ServerHandle>>>);
    impl Handler for ShutsDown {
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
    let handle = Arc::default();
    let server = TestServer::start(Config::default(), ShutsDown(Arc::clone(&handle)));
    let mut earlier = server.connect();
    *handle.lock().unwrap() = Some(server.handle().clone());
    let mut upgrading = server.client().open();
    upgrading.bytes(server.client().head());
    earlier.expect_close(1001);
    earlier.close(1001, "");
    let status = upgrading.read_head().status;
    assert!(status == 503 || status == 101, "{status}");
    drop(upgrading);
    within(20, "the server to end", || server.report());
}

#[test]
fn full_unix_backlogs_do_not_block_shutdown() {
    let directory = std::env::temp_dir().join(format!("standpipe-backlog-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let listeners = (0..30).map(|n| {
        let path = directory.join(format!("{n}.sock"));
        let _ = std::fs::remove_file(&path);
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        let address = SockAddr::unix(&path).unwrap();
        socket.bind(&address).unwrap();
        socket.listen(1).unwrap();
        // Fills the backlog, so that one more connect would wait.
        let connects = || {
            let client = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            client.set_nonblocking(true).unwrap();
            client.connect(&address).is_ok()
        };
        while connects() {}
        Listener::try_from(UnixListener::from(OwnedFd::from(socket))).unwrap()
    });
    let server = Server::from_listeners(listeners.collect(), Config::default()).unwrap();
    // The acceptors find their backlogs full, and end when they have answered them.
    server.handle().shutdown();
    let report = within(20, "the server to end", || server.serve(echo).unwrap());
    assert_eq!((report.drained, report.lost), (0, 0));
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn refused_clients_that_never_read_block_no_others() {
    let server = TestServer::echo(Config::default().handshake_timeout(LONG));
    // The first 256 are pending handshakes. The others are refused and do not read the answer.
    let crowd: Vec<_> = (0..600)
        .map(|_| server.client().small_rcvbuf().open())
        .collect();
    let mut last = server.client().open();
    assert_eq!(last.read_status(), unread_refusal());
    drop(crowd);
    until("a client is admitted again", || {
        let mut client = server.client().open();
        client.try_bytes(server.client().head());
        client.read_status() == Some(101)
    });
}

#[cfg(feature = "cli")]
#[test]
fn unread_log_blocks_no_thread() {
    use crate::threats::spawned::{Spawned, standpipe};
    let mut command = standpipe(&["--handshake-timeout", "2s", "--ping-interval", "2s"]);
    command.env("RUST_LOG", "trace");
    let mut spawned = Spawned::unread(command);
    for _ in 0..5000 {
        assert_eq!(spawned.get("/nothing").status, 404);
    }
    // The watchdog, the acceptor and the readers all log, and none of them blocks.
    let mut silent = TestClient::connect(spawned.addr(), "/echo");
    assert_eq!(silent.next_frame().opcode, op::PING);
    let mut pending = spawned.client("/").open();
    assert!(is_reset(&pending.next()));
    spawned.connect("/ws/log").leave();
    spawned.signal(&["TERM"]);
    silent.expect_close(1001);
    silent.close(1001, "");
    assert_eq!(spawned.end().code(), Some(0));
}

#[test]
fn blocked_handlers_do_not_stop_the_watchdog() {
    struct Blocks(Barrier);
    impl Handler for Blocks {
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
            // This send waits forever for room in the queue.
            while conn.request().path() == "/room" {
                conn.send(Message::binary(vec![0; 8 << 10]))?;
            }
            while conn.recv()?.is_some() {}
            Ok(())
        }
    }
    let barrier = Barrier::new();
    let config = slow_timeouts(Config::default())
        .ping_interval(SHORT)
        .ping_timeout(SHORT);
    let server = TestServer::start(config, Blocks(barrier.clone()));
    let in_request = server.client().path("/request").open();
    in_request.bytes(server.client().path("/request").head());
    let _in_run = server.client().path("/run").connect();
    barrier.arrival();
    barrier.arrival();
    let mut in_send = server.client().path("/room").small_rcvbuf().connect();
    for _ in 0..2 {
        let mut silent = server.connect();
        assert_eq!(silent.next_frame().opcode, op::PING);
        assert!(is_reset(&silent.next()));
    }
    barrier.open();
    assert_eq!(in_send.next_frame().opcode, op::BINARY);
    in_send.reset();
}

#[test]
fn client_closes_once_when_racing_its_deadline() {
    let config = slow_timeouts(Config::default())
        .ping_interval(SHORT / 5)
        .ping_timeout(SHORT / 5);
    let server = bind("127.0.0.1:0", config).unwrap();
    let address = server.handle().local_addr().expect("a TCP address");
    let events = server.events(16).unwrap();
    let receiver = events.receiver().clone();
    let collector = thread::spawn(move || {
        let (mut all, mut closed) = (Vec::new(), 0);
        while closed < 30 {
            let event = receiver.recv().unwrap();
            closed += usize::from(matches!(event, Event::Closed { .. }));
            all.push(event);
        }
        all
    });
    let clients: Vec<_> = (0..30_u64)
        .map(|n| {
            thread::spawn(move || {
                let client = TestClient::connect(address, "/");
                let mut sent = 0;
                // Each client sends around the moment of the reset, a little later than the client before.
                let pause = Duration::from_millis(150 + 4 * n);
                while client.try_bytes(Frame::new(op::TEXT, "in time?").bytes()) && sent < 4 {
                    sent += 1;
                    // The test deliberately races with the deadline.
                    let_time_pass(pause);
                }
            })
        })
        .collect();
    clients
        .into_iter()
        .for_each(|client| client.join().unwrap());
    let events_seen = within(20, "a Closed event of each client", || {
        collector.join().unwrap()
    });
    let handle = events.handle();
    until("all clients are gone", || handle.clients() == 0);
    assert!(
        events.receiver().is_empty(),
        "an event arrived after the last Closed"
    );
    handle.shutdown();
    within(20, "the server to end", || events.join().unwrap());
    let (mut open, mut ended) = (HashMap::new(), 0);
    for event in events_seen {
        match event {
            Event::Opened { number: client, .. } => assert!(open.insert(client, 0).is_none()),
            Event::Message { number: client, .. } => *open.get_mut(&client).unwrap() += 1,
            Event::Closed {
                number: client,
                cause,
            } => {
                let messages = open
                    .remove(&client)
                    .expect("a client closes once, after it was opened");
                assert!(messages <= 5, "{messages} messages");
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
