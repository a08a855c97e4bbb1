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

mod policies;

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
