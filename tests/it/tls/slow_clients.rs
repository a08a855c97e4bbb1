//! Clients that read slowly or not at all, over TLS: every policy of a topic, every way to send into a full queue, and
//! counts that stay exact.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use rustls::SupportedProtocolVersion;
use socket2::{Domain, Socket, Type};
use standpipe::rustls;
use standpipe::{
    CloseCause, Config, Connection, Hub, HubConfig, Message, Outbox, Policy, Publication,
    SubscribeOptions, Subscription, Topic, TopicSettings, TrySendError,
};

use crate::support::tls_peer::{TLS_1_2, TLS_1_3, tls_client, tls_server};
use crate::support::{
    DEADLINE, Failure, Frame, TestServer, TlsEnd, TlsPeer, fill, op, spawn_blocked_send, until,
    within,
};

const SMALL: usize = 16 << 10;
const QUEUE: usize = 32;
/// How many messages the reading member may be behind, so that it never becomes slow on a busy machine.
const LAG: usize = 16;

type Versions = &'static [&'static SupportedProtocolVersion];

/// A server that passes the outbox of each client to the test.
fn start(config: Config) -> (TestServer, Receiver<Outbox>) {
    let (outbox_sender, outboxes) = unbounded();
    let config = config.queue(QUEUE).sndbuf(Some(SMALL)).unsent(SMALL);
    let server = tls_server(
        config,
        move |conn: &mut Connection| -> Result<(), Failure> {
            outbox_sender.send(conn.outbox())?;
            while conn.recv()?.is_some() {}
            Ok(())
        },
    );
    (server, outboxes)
}

/// Connects a client with a small receive buffer, so that its queue soon fills when it does not read.
fn small_client(
    server: &TestServer,
    outboxes: &Receiver<Outbox>,
    versions: Versions,
) -> (TlsPeer, Outbox) {
    let peer = TlsPeer::of(small_socket(server.addr()), tls_client(versions)).upgraded("/");
    (
        peer,
        outboxes
            .recv_timeout(DEADLINE)
            .expect("the handler has started"),
    )
}

fn small_socket(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(2048).expect("a small buffer");
    socket
        .connect(&address.into())
        .expect("a server that listens");
    socket.into()
}

fn message(n: usize) -> Message {
    Message::text(format!("{n} {}", "x".repeat(1000)))
}

fn number(message: &Message) -> usize {
    let text = message.to_text().expect("a text");
    text.split(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .expect("a number")
}

/// Everything that a client has received up to the end of its connection.
struct Rest {
    numbers: Vec<usize>,
    closes: Vec<(u16, String)>,
    end: TlsEnd,
}

/// Reads to the end, and answers the server's Close.
fn read_rest(peer: &mut TlsPeer, received: &AtomicUsize) -> Rest {
    let mut rest = Rest {
        numbers: Vec::new(),
        closes: Vec::new(),
        end: TlsEnd::Fin,
    };
    loop {
        match peer.next() {
            Ok(frame) if frame.opcode == op::CLOSE => {
                rest.closes.push(frame.code());
                let answer = peer.seal(Frame::new(op::CLOSE, &frame.payload).bytes());
                peer.try_bytes(answer);
            }
            Ok(frame) if frame.opcode == op::TEXT => {
                let text = String::from_utf8(frame.payload).expect("a text");
                rest.numbers.push(number(&Message::text(text)));
                received.fetch_add(1, Ordering::SeqCst);
            }
            Ok(_) => {}
            Err(end) => {
                rest.end = end;
                return rest;
            }
        }
    }
}

/// A topic with a member that reads, and one that does not.
struct Scene {
    topic: Topic,
    _hub: Hub,
    _members: [Subscription; 2],
    server: TestServer,
    reader: JoinHandle<Rest>,
    received: Arc<AtomicUsize>,
    stalled: TlsPeer,
    stalled_outbox: Outbox,
    published: usize,
}

impl Scene {
    fn begin(policy: Policy, versions: Versions) -> Scene {
        let (server, outboxes) = start(Config::default().shutdown_timeout(DEADLINE));
        let mut config = HubConfig::default();
        config.default = TopicSettings::default().policy(policy).queue(QUEUE);
        let hub = Hub::new(config);
        let topic = hub.topic("t").expect("a topic");
        let mut reading = TlsPeer::connect_with(server.addr(), tls_client(versions));
        let outbox = outboxes
            .recv_timeout(DEADLINE)
            .expect("the handler has started");
        let join = |outbox: &Outbox| {
            let joined = topic.subscribe(outbox.clone(), SubscribeOptions::new());
            joined.expect("room for a member")
        };
        let first = join(&outbox);
        let (stalled, stalled_outbox) = small_client(&server, &outboxes, versions);
        let _members = [first, join(&stalled_outbox)];
        let received = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&received);
        let reader = thread::spawn(move || read_rest(&mut reading, &counter));
        Scene {
            topic,
            _hub: hub,
            _members,
            server,
            reader,
            received,
            stalled,
            stalled_outbox,
            published: 0,
        }
    }

    /// Publishes one message as soon as the reading member is at most [`LAG`] behind.
    fn publish(&mut self) {
        let least = (self.published + 1).saturating_sub(LAG);
        until("the reading member keeps up", || {
            self.received.load(Ordering::SeqCst) >= least
        });
        let publication = Publication::from(message(self.published)).key("k");
        self.topic.publish(publication).expect("an open topic");
        self.published += 1;
    }

    fn publish_until(&mut self, what: &str, mut holds: impl FnMut(&Scene) -> bool) {
        until(what, || {
            self.publish();
            holds(self)
        });
    }

    /// Lets the stalled member read, shuts the server down, and returns what the stalled member has received. Checks
    /// that the other one has everything.
    fn end(self) -> (Rest, Outbox) {
        let Scene {
            server,
            reader,
            mut stalled,
            stalled_outbox,
            published,
            ..
        } = self;
        let stalled = thread::spawn(move || read_rest(&mut stalled, &AtomicUsize::new(0)));
        server.shut_down();
        let rest = within(20, "the reading member to end", || reader.join()).expect("no panic");
        assert_eq!(rest.numbers, (0..published).collect::<Vec<_>>());
        assert_eq!(rest.closes, [(1001, "server is shutting down".into())]);
        assert_eq!(rest.end, TlsEnd::CloseNotify);
        let rest = within(20, "the stalled member to end", || stalled.join()).expect("no panic");
        (rest, stalled_outbox)
    }
}

/// Checks that the counts agree with what the client has received.
#[track_caller]
fn assert_counts_exact(outbox: &Outbox, rest: &Rest) {
    let counts = outbox.counts();
    assert_eq!(
        counts.accepted,
        counts.delivered + counts.dropped + counts.discarded,
        "{counts:?}"
    );
    assert_eq!(counts.delivered, rest.numbers.len() as u64, "{counts:?}");
    assert!(rest.numbers.is_sorted(), "{:?}", rest.numbers);
}

#[test]
fn dropping_policies_keep_others_undisturbed_over_tls() {
    for versions in [TLS_1_2, TLS_1_3] {
        for policy in [Policy::DropNewest, Policy::DropOldest, Policy::Conflate] {
            let mut scene = Scene::begin(policy, versions);
            scene.publish_until("messages are dropped", |scene| {
                scene.stalled_outbox.counts().dropped > 100
            });
            let last = scene.published - 1;
            let (rest, outbox) = scene.end();
            assert_counts_exact(&outbox, &rest);
            assert_eq!(rest.closes.len(), 1, "{policy:?}");
            assert_eq!(rest.end, TlsEnd::CloseNotify, "{policy:?}");
            let has_last = rest.numbers.last() == Some(&last);
            assert_eq!(
                has_last,
                policy != Policy::DropNewest,
                "{policy:?}: {:?}",
                rest.numbers
            );
        }
    }
}

/// The client sees why it was disconnected, behind what was sealed before.
#[test]
fn slow_consumer_sees_4008_over_tls() {
    for versions in [TLS_1_2, TLS_1_3] {
        let mut scene = Scene::begin(Policy::Disconnect { soft: None }, versions);
        scene.publish_until("the stalled member is disconnected", |scene| {
            scene.stalled_outbox.cause() == Some(CloseCause::SlowConsumer)
        });
        // It reads again immediately, and gets what the socket has accepted, and its Close.
        let rest = read_rest(&mut scene.stalled, &AtomicUsize::new(0));
        assert_eq!(rest.closes.len(), 1, "{:?}", rest.end);
        assert_eq!(rest.closes[0].0, 4008);
        assert!(
            rest.numbers.iter().copied().eq(0..rest.numbers.len()),
            "{:?}",
            rest.numbers
        );
        assert_counts_exact(&scene.stalled_outbox.clone(), &rest);
        until("the slow consumer is counted", || {
            scene.server.disconnects("slow_consumer") == 1
        });
        let _ = scene.end();
    }
}

/// The publisher waits for the stalled member, and the stalled member then gets everything.
#[test]
fn blocking_policy_waits_for_a_slow_client_over_tls() {
    const MESSAGES: usize = 300;
    for versions in [TLS_1_2, TLS_1_3] {
        let scene = Scene::begin(Policy::Block { timeout: None }, versions);
        let Scene {
            topic,
            mut stalled,
            stalled_outbox,
            server,
            reader,
            ..
        } = scene;
        let publisher = thread::spawn(move || {
            for n in 0..MESSAGES {
                topic.publish(message(n)).expect("an open topic");
            }
        });
        until("the queue of the stalled member is full", || {
            stalled_outbox.len() == QUEUE
        });
        assert!(!publisher.is_finished(), "the publisher waits");
        for n in 0..MESSAGES {
            assert_eq!(number(&stalled.read_message()), n);
        }
        within(20, "the publisher to end", || publisher.join()).expect("no panic");
        let stalled = thread::spawn(move || read_rest(&mut stalled, &AtomicUsize::new(0)));
        server.shut_down();
        assert_eq!(stalled.join().expect("no panic").end, TlsEnd::CloseNotify);
        let rest = reader.join().expect("no panic");
        assert_eq!(rest.numbers.len(), MESSAGES);
        let counts = stalled_outbox.counts();
        assert_eq!(
            (counts.accepted, counts.delivered),
            (MESSAGES as u64, MESSAGES as u64)
        );
    }
}

/// `try_send` fails, `send_timeout` gives up, and `send` waits for the client. None of them loses a message.
#[test]
fn full_queue_waits_or_fails_over_tls() {
    for versions in [TLS_1_2, TLS_1_3] {
        let (server, outboxes) = start(Config::default());
        let (mut client, outbox) = small_client(&server, &outboxes, versions);
        fill(&outbox);
        match outbox.try_send(message(1)) {
            Err(TrySendError::Full(returned)) => assert_eq!(returned, message(1)),
            other => panic!("{other:?}"),
        }
        let timed_out = outbox.send_timeout(message(2), Duration::from_millis(50));
        assert!(timed_out.is_err(), "the queue is full");
        let sender = spawn_blocked_send(&outbox, message(3));
        assert!(!sender.is_finished(), "send waits");
        // Now the client reads, and the message arrives as the last one.
        let mut received = 1;
        while client.read_message() != message(3) {
            received += 1;
        }
        sender
            .join()
            .expect("no panic")
            .expect("the message is accepted");
        // The client may read a message before the thread that has written it counts it.
        until("every message is counted as delivered", || {
            let counts = outbox.counts();
            (counts.accepted, counts.delivered) == (received, received)
        });
        client.leave();
    }
}

/// A pong overtakes the queue, and goes between whole messages. Unit tests hold it back behind sealed records.
#[test]
fn pong_overtakes_the_queue_over_tls() {
    for versions in [TLS_1_2, TLS_1_3] {
        let (seen, marks) = unbounded();
        let (outbox_sender, outboxes) = unbounded();
        // Only the writer writes, so that it takes many messages in one call and seals them in records that have several.
        let config = Config::default()
            .early_flush(false)
            .sndbuf(Some(SMALL))
            .unsent(SMALL);
        let server = tls_server(
            config,
            move |conn: &mut Connection| -> Result<(), Failure> {
                outbox_sender.send(conn.outbox())?;
                while conn.recv()?.is_some() {
                    seen.send(())?;
                }
                Ok(())
            },
        );
        let (mut client, outbox) = small_client(&server, &outboxes, versions);
        let still = Duration::from_millis(200);
        let sent = (0..).find(|n| outbox.send_timeout(message(*n), still).is_err());
        let sent = sent.expect("an end");
        let ping = Frame::new(op::PING, "ahead").bytes();
        client.send([ping, Frame::new(op::TEXT, "mark").bytes()].concat());
        let marked = marks.recv_timeout(DEADLINE);
        marked.expect("the server has received the ping");
        let (mut next, mut pong_at) = (0, None);
        while next < sent {
            let frame = client.next().expect("a whole frame");
            match frame.opcode {
                op::PONG => pong_at = Some(next),
                _ => {
                    let text = String::from_utf8(frame.payload).expect("a text");
                    assert_eq!(number(&Message::text(text)), next);
                    next += 1;
                }
            }
        }
        let pong_at = pong_at.expect("the pong overtakes the queue");
        assert!(
            pong_at + QUEUE / 2 < sent,
            "after message {pong_at} of {sent}"
        );
        client.leave();
    }
}

/// A client that reads nothing for `write_timeout`. Some of its messages are in records that the socket has accepted in
/// part.
#[test]
fn counts_are_exact_after_a_reset_over_tls() {
    let timeout = Duration::from_millis(300);
    for versions in [TLS_1_2, TLS_1_3] {
        let (server, outboxes) = start(Config::default().write_timeout(timeout));
        let (mut client, outbox) = small_client(&server, &outboxes, versions);
        let sender = outbox.clone();
        let accepted = within(20, "a blocked send to fail", move || {
            (0..)
                .find(|n| sender.send(message(*n)).is_err())
                .expect("an end")
        });
        until("the client is gone", || server.handle().clients() == 0);
        until("the disconnect is counted", || {
            server.disconnects("write_timeout") == 1
        });
        let counts = outbox.counts();
        assert_eq!(counts.accepted, accepted as u64);
        assert_eq!(
            counts.accepted,
            counts.delivered + counts.discarded,
            "{counts:?}"
        );
        let rest = read_rest(&mut client, &AtomicUsize::new(0));
        assert_eq!(rest.closes, []);
        assert!(
            rest.numbers.iter().copied().eq(0..rest.numbers.len()),
            "{:?}",
            rest.numbers
        );
        assert!(
            rest.numbers.len() as u64 <= counts.delivered,
            "{} {counts:?}",
            rest.numbers.len()
        );
        assert!(
            matches!(rest.end, TlsEnd::Reset | TlsEnd::Fin),
            "{:?}",
            rest.end
        );
    }
}

/// The handler does not read while it waits for room, so that the client cannot send either.
#[test]
fn back_pressure_reaches_the_client_over_tls() {
    // More than the buffers of the kernel hold.
    const MESSAGES: usize = 10_000;
    for versions in [TLS_1_2, TLS_1_3] {
        let received = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&received);
        let config = Config::default()
            .queue(8)
            .sndbuf(Some(SMALL))
            .unsent(SMALL)
            .rcvbuf(Some(SMALL));
        let server = tls_server(
            config,
            move |conn: &mut Connection| -> Result<(), Failure> {
                while let Some(message) = conn.recv()? {
                    counter.fetch_add(1, Ordering::SeqCst);
                    conn.send(message)?;
                }
                Ok(())
            },
        );
        let mut client =
            TlsPeer::of(small_socket(server.addr()), tls_client(versions)).upgraded("/");
        let mut records = Vec::new();
        for n in 0..MESSAGES {
            let message = message(n);
            records.extend(
                client.seal(Frame::new(op::TEXT, message.to_text().expect("a text")).bytes()),
            );
        }
        let sender = crate::support::tls_peer::sender_of(&client, records);
        until("the handler waits for room", || {
            let states = server.handle().client_states();
            let state = states.first().expect("a client");
            state
                .reader
                .activity
                .to_string()
                .starts_with("waiting for room")
        });
        assert!(!sender.is_finished(), "the client waits");
        assert!(received.load(Ordering::SeqCst) < MESSAGES);
        for n in 0..MESSAGES {
            assert_eq!(number(&client.read_message()), n);
        }
        within(20, "the client's send to end", || sender.join()).expect("all is sent");
        client.leave();
    }
}
