//! A member that stops reading is disconnected with 4008, and the other members are not disturbed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use standpipe::{Config, Connection, Hub, Message, Outbox, SubscribeOptions, Topic};

use crate::support::{
    Failure, Process, Rest, TestClient, TestServer, in_own_process, op, until,
    with_both_flush_modes, within,
};

const SMALL: usize = 16 << 10;
const READERS: usize = 3;

/// A topic with three members that read, and room for one that does not.
struct Room {
    topic: Topic,
    hub: Hub,
    readers: Vec<JoinHandle<Rest>>,
    /// The number of messages that each reader has received.
    received: Arc<[AtomicUsize; READERS]>,
    outboxes: Receiver<Outbox>,
    published: usize,
    server: TestServer,
}

fn message(n: usize) -> Message {
    Message::text(format!("{n} {}", "x".repeat(4000)))
}

impl Room {
    fn open(config: Config) -> Room {
        let hub = Hub::default();
        let topic = hub.topic("room").unwrap();
        let (outbox_sender, outboxes) = unbounded();
        let room = topic.clone();
        let joins = move |conn: &mut Connection| -> Result<(), Failure> {
            let _member = room.subscribe(conn.outbox(), SubscribeOptions::new())?;
            outbox_sender.send(conn.outbox())?;
            while conn.recv()?.is_some() {}
            Ok(())
        };
        let config = config.queue(64).sndbuf(Some(SMALL)).unsent(SMALL);
        let server = TestServer::start(config, joins);
        let received: Arc<[AtomicUsize; READERS]> = Arc::default();
        let readers = (0..READERS)
            .map(|reader| {
                let mut client = server.connect();
                let _ = outboxes.recv().unwrap();
                let received = Arc::clone(&received);
                thread::spawn(move || read_to_end(&mut client, &received[reader]))
            })
            .collect();
        Room {
            topic,
            hub,
            readers,
            received,
            outboxes,
            published: 0,
            server,
        }
    }

    /// Connects a member that does not read.
    fn connect_stalled(&self) -> (TestClient, Outbox) {
        let client = self.server.client().rcvbuf(SMALL).connect();
        let outbox = self.outboxes.recv().unwrap();
        (client, outbox)
    }

    /// Publishes one message, and returns how many members were too slow for it.
    ///
    /// The readers are never far behind, so no reader becomes slow on a busy machine.
    fn publish(&mut self) -> usize {
        let least = self.published.saturating_sub(16);
        until(
            "the readers have received all but the last 16 messages",
            || {
                self.received
                    .iter()
                    .all(|received| received.load(Ordering::SeqCst) >= least)
            },
        );
        let published = self.topic.publish(message(self.published)).unwrap();
        self.published += 1;
        assert!(published.receivers >= READERS, "{published:?}");
        published.dropped
    }

    /// Publishes until the stalled member is disconnected.
    fn publish_until_disconnect(&mut self) {
        until("the stalled member is disconnected", || self.publish() == 1);
    }

    /// Shuts down, and checks that the readers received everything in order and were still connected.
    fn close(self) {
        let Room {
            server,
            readers,
            hub,
            topic,
            published,
            ..
        } = self;
        assert_eq!((topic.members(), hub.len()), (READERS, 1));
        assert_eq!(server.shut_down().drained, READERS as u64);
        for reader in readers {
            let rest = within(20, "a reader to end", || reader.join()).unwrap();
            assert_eq!(rest.messages.len(), published);
            let mut numbered = rest.messages.iter().enumerate();
            assert!(numbered.all(|(n, seen)| *seen == message(n)));
            assert_eq!(rest.closes.len(), 1);
            assert_eq!(rest.closes[0].0, 1001);
        }
        drop(topic);
        assert!(hub.is_empty());
    }
}

/// Reads to the end of the connection and counts the messages.
fn read_to_end(client: &mut TestClient, received: &AtomicUsize) -> Rest {
    let mut messages = Vec::new();
    let close = loop {
        let frame = client.next_frame();
        match frame.opcode {
            op::TEXT => {
                messages.push(Message::text(String::from_utf8(frame.payload).unwrap()));
                received.fetch_add(1, Ordering::SeqCst);
            }
            op::CLOSE => break frame,
            _ => {}
        }
    };
    client.close(close.code().0, "");
    let mut rest = client.rest();
    assert!(rest.closes.is_empty() && rest.messages.is_empty());
    rest.closes.push(close.code());
    rest.messages = messages;
    rest
}

fn assert_counts_exact(outbox: &Outbox) {
    let counts = outbox.counts();
    let ended = counts.delivered + counts.dropped + counts.discarded;
    assert_eq!(counts.accepted, ended);
    assert_eq!((outbox.len(), outbox.bytes()), (0, 0));
}

#[test]
fn stalled_member_is_closed_with_4008() {
    with_both_flush_modes(|config| {
        let mut room = Room::open(config);
        let (mut slow, outbox) = room.connect_stalled();
        room.publish_until_disconnect();
        // No other member is too slow for any of these messages.
        for _ in 0..100 {
            assert_eq!(room.publish(), 0);
        }

        let rest = slow.rest_answering_close();
        assert!(!rest.reset && rest.after_close == 0, "{:?}", rest.closes);
        for (n, seen) in rest.messages.iter().enumerate() {
            assert_eq!(
                *seen,
                message(n),
                "message {n} is missing, changed or out of order"
            );
        }
        let [(code, reason)] = &rest.closes[..] else {
            panic!("not exactly one Close: {:?}", rest.closes);
        };
        assert_eq!(*code, 4008);
        let figures: Vec<usize> = reason
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|figure| figure.parse().ok())
            .collect();
        let [messages, capacity, bytes] = figures[..] else {
            panic!("the reason does not contain the three figures of the queue: {reason}");
        };
        assert!(reason.starts_with("slow consumer: "), "{reason}");
        assert_eq!((messages, capacity), (64, 64), "{reason}");
        assert!(bytes >= 64 * 4000, "{reason}");

        until("the slow client is unregistered", || {
            room.server.handle().clients() == READERS
        });
        assert_eq!(room.server.disconnects("slow_consumer"), 1);
        assert_counts_exact(&outbox);
        let delivered = outbox.counts().delivered;
        assert_eq!(delivered, rest.messages.len() as u64);
        assert!(outbox.counts().discarded >= 64);
        drop(slow);
        room.close();
    });
}

#[test]
fn member_that_never_reads_is_reset_at_close_timeout() {
    const NAME: &str = "slow_consumer::member_that_never_reads_is_reset_at_close_timeout";
    const TIMEOUT: Duration = Duration::from_millis(300);
    let test = |config: Config| {
        let mut room = Room::open(config.close_timeout(TIMEOUT));
        let process = Process::this();
        let (threads, descriptors) = (process.settled_client_threads(), process.descriptors());
        let (mut slow, outbox) = room.connect_stalled();
        assert_eq!(process.settled_client_threads(), threads + 2);
        assert_eq!(room.topic.members(), READERS + 1);
        room.publish_until_disconnect();
        let disconnected = Instant::now();
        until("the stalled client is unregistered", || {
            assert_eq!(room.publish(), 0);
            room.server.handle().clients() == READERS
        });
        let waited = disconnected.elapsed();
        assert!(waited >= TIMEOUT, "reset after only {waited:?}");
        assert_eq!(room.server.disconnects("close_timeout"), 1);

        // The client's side of the socket is still open and counts as one descriptor.
        until("the server has closed the descriptor", || {
            process.descriptors() == descriptors + 1
        });
        until("the threads of the client have ended", || {
            process.client_threads().len() == threads
        });
        // The socket never accepted all of the frame in flight, so the Close behind that frame was not sent either.
        let rest = slow.rest();
        assert!(rest.reset && rest.closes.is_empty(), "{:?}", rest.closes);
        drop(slow);
        assert_eq!(process.descriptors(), descriptors);
        assert_eq!(room.topic.members(), READERS);
        assert_counts_exact(&outbox);
        room.close();
    };
    in_own_process(NAME, || with_both_flush_modes(test));
}
