//! A member that really stops reading: the others do not notice, and it is cut.

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

/// A topic with three members that read and one that does not.
struct Room {
    topic: Topic,
    hub: Hub,
    readers: Vec<JoinHandle<Rest>>,
    /// What each of them has got.
    got: Arc<[AtomicUsize; READERS]>,
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
        let got: Arc<[AtomicUsize; READERS]> = Arc::default();
        let readers = (0..READERS)
            .map(|reader| {
                let mut client = server.connect();
                let _ = outboxes.recv().unwrap();
                let got = Arc::clone(&got);
                thread::spawn(move || reads(&mut client, &got[reader]))
            })
            .collect();
        Room {
            topic,
            hub,
            readers,
            got,
            outboxes,
            published: 0,
            server,
        }
    }

    /// A member that does not read.
    fn join_and_stop(&self) -> (TestClient, Outbox) {
        let client = self.server.client().rcvbuf(SMALL).connect();
        let outbox = self.outboxes.recv().unwrap();
        (client, outbox)
    }

    /// Publishes one message, and says how many members were too slow for it.
    ///
    /// The readers are never far behind, so that none of *them* is slow on a busy machine.
    fn publish(&mut self) -> usize {
        let least = self.published.saturating_sub(16);
        until("the others have got what was published", || {
            self.got
                .iter()
                .all(|got| got.load(Ordering::SeqCst) >= least)
        });
        let published = self.topic.publish(message(self.published)).unwrap();
        self.published += 1;
        assert!(published.receivers >= READERS, "{published:?}");
        published.dropped
    }

    /// Publishes until the one that does not read is cut.
    fn publish_until_cut(&mut self) {
        until("the one that does not read is cut", || self.publish() == 1);
    }

    /// The others got everything in order, and are still there to be told goodbye.
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
            let right = rest.messages.iter().enumerate();
            assert!(right.into_iter().all(|(n, seen)| *seen == message(n)));
            assert_eq!(rest.closes.len(), 1);
            assert_eq!(rest.closes[0].0, 1001);
        }
        drop(topic);
        assert!(hub.is_empty());
    }
}

/// Reads to the end, counting.
fn reads(client: &mut TestClient, got: &AtomicUsize) -> Rest {
    let mut messages = Vec::new();
    let close = loop {
        let frame = client.next_frame();
        match frame.opcode {
            op::TEXT => {
                messages.push(Message::text(String::from_utf8(frame.payload).unwrap()));
                got.fetch_add(1, Ordering::SeqCst);
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

fn assert_exact(outbox: &Outbox) {
    let counts = outbox.counts();
    let ended = counts.delivered + counts.dropped + counts.discarded;
    assert_eq!(counts.accepted, ended);
    assert_eq!((outbox.len(), outbox.bytes()), (0, 0));
}

#[test]
fn a_member_that_stops_reading_is_cut_with_4008_and_sees_it_when_it_reads_on() {
    with_both_flush_modes(|config| {
        let mut room = Room::open(config);
        let (mut slow, outbox) = room.join_and_stop();
        room.publish_until_cut();
        // The others do not even slow down.
        for _ in 0..100 {
            assert_eq!(room.publish(), 0);
        }

        let rest = slow.rest_answering_close();
        assert!(!rest.reset && rest.after_close == 0, "{:?}", rest.closes);
        for (n, seen) in rest.messages.iter().enumerate() {
            assert_eq!(*seen, message(n), "what came before is whole, and in order");
        }
        let [(code, reason)] = &rest.closes[..] else {
            panic!("one Close: {:?}", rest.closes);
        };
        assert_eq!(*code, 4008);
        let figures: Vec<usize> = reason
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|figure| figure.parse().ok())
            .collect();
        let [messages, capacity, bytes] = figures[..] else {
            panic!("the queue's figures: {reason}");
        };
        assert!(reason.starts_with("slow consumer: "), "{reason}");
        assert_eq!((messages, capacity), (64, 64), "{reason}");
        assert!(bytes >= 64 * 4000, "{reason}");

        until("it is gone", || room.server.handle().clients() == READERS);
        assert_exact(&outbox);
        let delivered = outbox.counts().delivered;
        assert_eq!(delivered, rest.messages.len() as u64);
        assert!(outbox.counts().discarded >= 64);
        drop(slow);
        room.close();
    });
}

#[test]
fn a_member_that_never_reads_again_is_reset_after_close_timeout_and_leaves_nothing() {
    const NAME: &str = "slow_consumer::a_member_that_never_reads_again_is_reset_after_close_timeout_and_leaves_nothing";
    const TIMEOUT: Duration = Duration::from_millis(300);
    let test = |config: Config| {
        let mut room = Room::open(config.close_timeout(TIMEOUT));
        let process = Process::this();
        let (threads, descriptors) = (process.settled_client_threads(), process.descriptors());
        let (mut slow, outbox) = room.join_and_stop();
        assert_eq!(process.settled_client_threads(), threads + 2);
        assert_eq!(room.topic.members(), READERS + 1);
        room.publish_until_cut();
        let cut = Instant::now();
        until("it is gone", || {
            assert_eq!(room.publish(), 0);
            room.server.handle().clients() == READERS
        });
        assert!(cut.elapsed() >= TIMEOUT, "after {:?}", cut.elapsed());

        // The client's own end is open still.
        until("its descriptor is gone", || {
            process.descriptors() == descriptors + 1
        });
        until("its threads are gone", || {
            process.client_threads().len() == threads
        });
        // The frame in progress was never taken, so that the Close behind it was not either.
        let rest = slow.rest();
        assert!(rest.reset && rest.closes.is_empty(), "{:?}", rest.closes);
        drop(slow);
        assert_eq!(process.descriptors(), descriptors);
        assert_eq!(room.topic.members(), READERS);
        assert_exact(&outbox);
        room.close();
    };
    in_own_process(NAME, || with_both_flush_modes(test));
}
