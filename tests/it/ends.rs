//! How a program ends a connection, and how it learns that one has ended: `close_now`, `on_end`, `cause`, `peer_close`.

use std::io::Read;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded, unbounded};
use standpipe::{Clock, CloseCause, Config, Connection, Listener, Message, Outbox, Server};

use crate::support::{
    Connect, DEADLINE, Failure, Process, TestClient, TestServer, assert_lasted, assert_only_close,
    echo_with_outboxes, fill, in_own_process, secured, until, with_both_flush_modes,
};

fn application(code: u16, reason: &str) -> CloseCause {
    let reason = reason.to_owned();
    CloseCause::Application { code, reason }
}

/// Returns the causes that an end callback of this client gets. There must be one.
fn watch(outbox: &Outbox) -> Receiver<CloseCause> {
    let (ended, causes) = unbounded();
    let added = outbox.on_end(move |cause| ended.send(cause).expect("the test waits"));
    added.expect("the client has no other callback");
    causes
}

#[track_caller]
fn the_cause(causes: &Receiver<CloseCause>) -> CloseCause {
    let cause = causes.recv_timeout(DEADLINE);
    cause.expect("waited for the end of the connection")
}

fn small(config: Config) -> Config {
    config
        .queue(64)
        .queue_bytes(1 << 20)
        .sndbuf(Some(16 << 10))
        .unsent(16 << 10)
}

#[test]
fn kicked_slow_client_reads_its_code() {
    with_both_flush_modes(|config| {
        let (server, outboxes) = echo_with_outboxes(small(config));
        let mut slow = server.client().small_rcvbuf().connect();
        let outbox = outboxes.recv_timeout(DEADLINE).expect("the handler runs");
        let causes = watch(&outbox);
        fill(&outbox);
        outbox.close_now(4100, "kicked");
        assert!(!outbox.is_open());
        assert!(outbox.try_send("late").is_err());
        assert_eq!(outbox.cause(), Some(application(4100, "kicked")));
        assert_eq!(outbox.peer_close(), None);

        // It reads again in time: what was on its way, up to the message in progress, and then the code.
        let rest = slow.rest_answering_close();
        assert_only_close(&rest, 4100, "kicked");
        let counts = outbox.counts();
        assert_eq!(rest.messages.len() as u64, counts.delivered);
        assert!(counts.discarded >= 32, "{counts:?}");
        assert_eq!(the_cause(&causes), application(4100, "kicked"));
        until("the client is unregistered", || {
            server.handle().clients() == 0
        });
        let answer = outbox.peer_close().expect("the client has answered");
        assert_eq!((answer.code, &*answer.reason), (4100, "kicked"));
        assert_eq!(server.disconnects("close_timeout"), 0);
    });
}

#[test]
fn kicked_client_that_never_reads_is_reset_in_time() {
    const TIMEOUT: Duration = Duration::from_millis(300);
    with_both_flush_modes(|config| {
        // `write_timeout` is 30 s.
        let (server, outboxes) = echo_with_outboxes(small(config).close_timeout(TIMEOUT));
        let slow = server.client().small_rcvbuf().connect();
        let outbox = outboxes.recv_timeout(DEADLINE).expect("the handler runs");
        let causes = watch(&outbox);
        fill(&outbox);
        let kicked = Instant::now();
        outbox.close_now(4100, "kicked");
        assert_eq!(the_cause(&causes), application(4100, "kicked"));
        assert_lasted(kicked, TIMEOUT);
        assert!(kicked.elapsed() < DEADLINE / 2, "{:?}", kicked.elapsed());
        until("the client is unregistered", || {
            server.handle().clients() == 0
        });
        assert_eq!(server.disconnects("close_timeout"), 1);
        assert_eq!(server.disconnects("write_timeout"), 0);
        // The message in progress was never complete, so the Close behind it was not sent.
        assert_eq!((outbox.peer_close(), outbox.bytes()), (None, 0));
        drop(slow);
    });
}

#[test]
fn handler_sees_code_and_reason_of_the_peer() {
    let (saw, seen) = bounded(1);
    let server = TestServer::start(Config::default(), move |conn: &mut Connection| {
        assert_eq!(conn.cause(), None);
        while conn.recv()?.is_some() {}
        assert!(!conn.is_open());
        saw.send((conn.cause(), conn.peer_close()))?;
        Ok(())
    });
    let mut client = server.connect();
    client.close(4321, "enough");
    assert_eq!(client.expect_close(4321), "enough");
    let (cause, close) = seen.recv_timeout(DEADLINE).expect("the handler returns");
    let close = close.expect("the peer has closed");
    assert_eq!((close.code, &*close.reason), (4321, "enough"));
    let reason = close.reason;
    assert_eq!(cause, Some(CloseCause::Peer { code: 4321, reason }));
}

/// A handler that is in the code of another library, which knows nothing of its client. Only the end callback can wake
/// it. It sends its outbox, and the causes of its end.
fn foreign(
    conn: &mut Connection,
    opened: &crossbeam_channel::Sender<(Outbox, Receiver<CloseCause>)>,
) -> Result<(), Failure> {
    let (mut ours, theirs) = UnixStream::pair()?;
    let (ended, causes) = unbounded();
    conn.outbox().on_end(move |cause| {
        let _ = theirs.shutdown(Shutdown::Both);
        let _ = ended.send(cause);
    })?;
    opened.send((conn.outbox(), causes))?;
    assert_eq!(ours.read(&mut [0])?, 0);
    Ok(())
}

type End = fn(TestClient, &Outbox) -> Option<TestClient>;

/// Each way in which a client can end, and the cause that the callback gets.
fn ends() -> Vec<(&'static str, End, CloseCause)> {
    vec![
        (
            "it ends its stream",
            |client, _| {
                client.end();
                Some(client)
            },
            CloseCause::Gone,
        ),
        (
            "it closes, and then ends its stream",
            |client, _| {
                client.close(1000, "");
                client.end();
                Some(client)
            },
            CloseCause::Gone,
        ),
        (
            "its socket is closed",
            |client, _| {
                drop(client);
                None
            },
            CloseCause::Gone,
        ),
        (
            "it is closed",
            |client, outbox| {
                outbox.close(1000, "enough");
                Some(client)
            },
            application(1000, "enough"),
        ),
        (
            "it is kicked",
            |client, outbox| {
                outbox.close_now(4100, "kicked");
                Some(client)
            },
            application(4100, "kicked"),
        ),
        (
            "it is kicked and does not read",
            |client, outbox| {
                fill(outbox);
                outbox.close_now(4100, "kicked");
                Some(client)
            },
            application(4100, "kicked"),
        ),
        (
            "it is terminated",
            |client, outbox| {
                outbox.terminate();
                Some(client)
            },
            CloseCause::Terminated,
        ),
        (
            "it does not read",
            |client, outbox| {
                fill(outbox);
                Some(client)
            },
            CloseCause::TimedOut(Clock::Write),
        ),
    ]
}

#[test]
fn handler_in_foreign_code_is_freed_at_every_end() {
    const NAME: &str = "ends::handler_in_foreign_code_is_freed_at_every_end";
    in_own_process(NAME, || {
        let path = std::env::temp_dir().join(format!("sp-ends-{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let unix = UnixListener::bind(&path).expect("the path is free");
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let listeners: Vec<Listener> = vec![
            secured(tcp.try_into().expect("the listener can be used")),
            unix.try_into().expect("the listener can be used"),
        ];
        let config = small(Config::default())
            .close_timeout(Duration::from_millis(300))
            .write_timeout(Duration::from_secs(1));
        let server = Server::from_listeners(listeners, config).expect("the server starts");
        let (opened, clients) = unbounded();
        let server = TestServer::of(server, move |conn: &mut Connection| foreign(conn, &opened));
        let process = Process::this();
        let (threads, descriptors) = (process.settled_client_threads(), process.descriptors());
        let reset: (&str, End, CloseCause) = (
            "it is reset",
            |client, _| {
                client.reset();
                None
            },
            CloseCause::Gone,
        );
        for over_unix in [false, true] {
            let connect = || match over_unix {
                true => Connect::to_unix(&path),
                false => server.client().small_rcvbuf(),
            };
            // A unix socket cannot be reset by its peer.
            let resets = (!over_unix).then(|| reset.clone());
            for (what, end, expected) in ends().into_iter().chain(resets) {
                eprintln!("{what}, over a unix socket: {over_unix}");
                let client = connect().connect();
                let (outbox, causes) = clients.recv_timeout(DEADLINE).expect("it has opened");
                let client = end(client, &outbox);
                assert_eq!(the_cause(&causes), expected);
                until("the client is unregistered", || {
                    server.handle().clients() == 0
                });
                assert!(!outbox.is_open() && outbox.cause().is_some());
                drop(client);
                until("its threads and its descriptors are gone", || {
                    process.client_threads().len() == threads
                        && process.descriptors() == descriptors
                });
            }
        }
        let client = server.connect();
        let (_, causes) = clients.recv_timeout(DEADLINE).expect("it has opened");
        // The client does not answer its Close.
        assert_eq!(server.shut_down().lost, 1);
        assert_eq!(the_cause(&causes), CloseCause::Shutdown);
        drop(client);
        let _ = std::fs::remove_file(&path);
    });
}

/// The publisher's flush notices the failure while it holds the publish token, which the callback needs too.
#[test]
fn end_callback_may_publish() {
    let hub = standpipe::Hub::default();
    let topic = hub.topic("room").expect("it is a valid name");
    let (opened, outboxes) = unbounded();
    let joined = topic.clone();
    let server = TestServer::start(small(Config::default()), move |conn: &mut Connection| {
        let options = standpipe::SubscribeOptions::new();
        let _member = joined.subscribe(conn.outbox(), options)?;
        opened.send(conn.outbox())?;
        // In its own code, so that the publisher notices the reset.
        let _ = conn.closed().recv_timeout(2 * DEADLINE);
        Ok(())
    });
    let mut witness = server.connect();
    let _ = outboxes.recv_timeout(DEADLINE).expect("it has joined");
    let leaver = server.client().small_rcvbuf().connect();
    let outbox = outboxes.recv_timeout(DEADLINE).expect("it has joined");
    let (farewell, number) = (topic.clone(), outbox.number());
    let added = outbox.on_end(move |_| {
        let left = Message::text(format!("{number} has left"));
        farewell.publish(left).expect("the topic exists");
    });
    added.expect("the first callback");
    leaver.reset();
    let farewell = Message::text(format!("{number} has left"));
    let deadline = Instant::now() + DEADLINE;
    loop {
        assert!(Instant::now() < deadline, "waited for the farewell");
        let noise = Message::text("noise");
        topic.publish(noise.clone()).expect("the topic exists");
        let seen = witness.read_message();
        if seen == farewell {
            break;
        }
        assert_eq!(seen, noise);
    }
}
