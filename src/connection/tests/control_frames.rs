//! Ping, pong and Close against a writer that is blocked in `write`.

use bytes::Bytes;

use super::*;
use crate::clock;
use crate::connection::activity::Activity;
use crate::connection::deadlines::DeadlineCheck;
use crate::connection::queue::item::{Outgoing, Purpose, TopicSource};

const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// Returns a client whose first frame is in progress, and with 30 more messages: all queued, or all in flight.
fn client_with_31_messages(config: Config, accepted: usize, in_flight: bool) -> TestClient {
    if !in_flight {
        let client = TestClient::held(config, accepted);
        for n in 0..30 {
            client
                .outbox
                .try_send(text(n.to_string()))
                .expect("the queue has room");
        }
        assert_eq!(client.outbox.len(), 30);
        return client;
    }
    // The senders do not flush, so the writer takes all messages as one batch.
    let mut client = TestClient::without_writer(config.early_flush(false));
    client.socket.accept(accepted);
    let numbers = (0..30).map(|n| n.to_string());
    for message in ["held".to_owned()].into_iter().chain(numbers) {
        push(&client, &text(message));
    }
    client.shared.write.writer.notify();
    client.start_writer();
    client.socket.until_in_write();
    client.socket.until_written(accepted);
    assert_eq!(client.outbox.len(), 0);
    client
}

fn in_every_state(test: impl Fn(TestClient)) {
    both_ways(|config| {
        for in_flight in [false, true] {
            for accepted in [0, 1, 5] {
                test(client_with_31_messages(config.clone(), accepted, in_flight));
            }
        }
    });
}

fn payload(reason: &CloseReason) -> Vec<u8> {
    reason.frame().pieces(2).0.to_vec()
}

#[test]
fn ping_and_latest_pong_overtake_the_queue() {
    in_every_state(|client| {
        for n in 0..9 {
            client.shared.send_pong(Bytes::from(vec![n]));
            client.shared.write.flush();
        }
        client.shared.send_ping(clock::now());
        client.shared.write.writer.notify();
        client.socket.accept_all();
        until("all is written", || client.frames().len() >= 33);
        let frames = client.frames();
        assert_eq!(frames[0], (TEXT, b"held".to_vec()));
        let mut control = frames[1..3].to_vec();
        control.sort();
        assert_eq!((control[0].0, control[0].1.len()), (PING, 8));
        assert_eq!(control[1], (PONG, vec![8]));
        for (n, frame) in frames[3..].iter().enumerate() {
            assert_eq!(*frame, (TEXT, n.to_string().into_bytes()));
        }
        assert_eq!(frames.len(), 33);
        assert_eq!(client.end().delivered, 31);
    });
}

#[test]
fn immediate_close_discards_the_queue() {
    in_every_state(|mut client| {
        let reason = CloseReason::new(4008, "slow");
        client.shared.send_pong(Bytes::from_static(b"pong"));
        assert!(close(&client, CloseMode::Immediate, 4008, "slow"));
        assert!(!close(&client, CloseMode::Immediate, 1011, ""));
        assert!(!close(&client, CloseMode::AfterQueue, 1000, ""));
        // The queue is discarded as soon as the frame in progress is written, although the Close is not written yet.
        let left = "held".len() + 2 - client.socket.written().len();
        client.socket.accept(left);
        client.socket.until_written("held".len() + 2);
        until("the queue is discarded", || client.outbox.bytes() == 0);
        client.socket.until_in_write();
        client.socket.accept_all();
        join_writer(&mut client);
        let frames = client.frames();
        assert_eq!(frames[0], (TEXT, b"held".to_vec()));
        assert_eq!(frames[1..], [(CLOSE, payload(&reason))]);
        assert!(client.socket.with_state(|state| state.no_more_writing));
        let counts = client.end();
        assert_eq!((counts.delivered, counts.discarded), (1, 30));
    });
}

#[test]
fn close_is_sent_after_the_queue() {
    in_every_state(|mut client| {
        client.outbox.close(1001, "bye");
        client.outbox.close(1000, "too late");
        client.shared.send_ping(clock::now());
        client.shared.write.writer.notify();
        client.socket.accept_all();
        join_writer(&mut client);
        let mut frames = client.frames();
        assert_eq!(
            frames.pop(),
            Some((CLOSE, payload(&CloseReason::new(1001, "bye"))))
        );
        assert_eq!(
            frames.len(),
            31,
            "no ping is sent after a Close is requested"
        );
        assert_eq!(frames[30], (TEXT, b"29".to_vec()));
        assert_eq!(client.end().delivered, 31);
    });
}

#[test]
fn immediate_close_replaces_a_waiting_one() {
    in_every_state(|mut client| {
        client.outbox.close(1001, "bye");
        let reason = CloseReason::new(4008, "slow");
        assert!(close(&client, CloseMode::Immediate, 4008, "slow"));
        client.socket.accept_all();
        join_writer(&mut client);
        let frames = client.frames();
        assert_eq!(frames[1..], [(CLOSE, payload(&reason))]);
        assert_eq!(client.end().discarded, 30);
    });
}

#[test]
fn nothing_is_written_after_a_close() {
    both_ways(|config| {
        let mut client = TestClient::new(config);
        client.outbox.close(1000, "");
        join_writer(&mut client);
        let written = client.socket.written();
        client.shared.send_pong(Bytes::from_static(b"late"));
        client.shared.send_ping(clock::now());
        assert!(!close(&client, CloseMode::Immediate, 1011, ""));
        client
            .outbox
            .send(text("late"))
            .expect_err("the connection is closing");
        client.shared.write.flush();
        assert_eq!(client.socket.written(), written);
        assert_eq!(client.frames().len(), 1);
        assert_eq!(
            client.shared.lifecycle().cause(),
            Some(application(1000, ""))
        );
        client.end();
    });
}

/// Otherwise, a client that sends pings while it reads slowly would fill the frames in flight with pongs.
#[test]
fn pongs_behind_a_large_frame_are_bounded() {
    both_ways(|config| {
        let client = TestClient::new(config);
        client.socket.accept(0);
        let large = 40 * (64 << 10);
        let message = Message::binary(vec![0; large]);
        client.outbox.try_send(message).expect("the queue has room");
        for n in 0..40 {
            client.socket.until_in_write();
            client.shared.send_pong(Bytes::from(vec![n]));
            client.shared.write.flush();
            client.socket.accept(64 << 10);
            client
                .socket
                .until_written((usize::from(n) + 1) * (64 << 10));
        }
        client.socket.accept_all();
        until("the last pong is written", || {
            client.frames().contains(&(PONG, vec![39]))
        });
        let frames = client.frames();
        let pongs = frames.iter().filter(|(first, _)| *first == PONG).count();
        assert!(pongs <= 2, "{pongs} pongs waited");
        client.end();
    });
}

/// A thread that a Close wakes may request another Close, and must find the first one recorded. Otherwise, a handler
/// that a shutdown woke in `send` would fail and be closed with 1011, instead of with 1001 after the queued messages.
#[test]
fn close_is_recorded_before_it_wakes_threads() {
    for round in 0..1000 {
        let client = TestClient::without_writer(Config::default());
        let woken = [(); 4].map(|()| {
            let client = Arc::clone(&client.shared);
            thread::spawn(move || {
                let _ = client.lifecycle().closing().recv();
                client.lifecycle().is_open()
            })
        });
        close(&client, CloseMode::AfterQueue, 1001, "");
        for woken in woken {
            let found_open = woken.join().expect("the thread does not panic");
            assert!(
                !found_open,
                "round {round}: woken before the Close was recorded"
            );
        }
        client.end();
    }
}

/// A topic without messages. The holder of the write half asks it after the channel was found empty and before the
/// Close is taken. At that moment, the topic queues a message and requests a Close.
#[derive(Debug)]
struct LateMessage(Outbox);

impl TopicSource for LateMessage {
    fn take_next(self: Arc<Self>, _: Purpose) -> Option<Outgoing> {
        None
    }

    fn take_overflow(self: Arc<Self>, _: Purpose) -> (Option<Outgoing>, bool) {
        self.0.try_send(text("last")).expect("the queue has room");
        self.0.close(1000, "");
        (None, false)
    }

    fn finished(&self, _: bool) {}
}

#[test]
fn close_does_not_overtake_a_late_message() {
    both_ways(|config| {
        let mut client = TestClient::without_writer(config);
        client.socket.accept_all();
        let topic = Arc::new(LateMessage(client.outbox.clone()));
        client.shared.write.queue.push_overflow(topic);
        client.start_writer();
        client.shared.write.writer.notify();
        join_writer(&mut client);
        let frames = client.frames();
        let first: Vec<u8> = frames.iter().map(|(first, _)| *first).collect();
        assert_eq!(first, [TEXT, CLOSE], "{frames:?}");
        assert_eq!(frames[0].1, b"last");
        assert_eq!(client.end().discarded, 0);
    });
}

#[test]
fn no_ping_is_due_once_a_close_is_requested() {
    let config = Config::default().ping_interval(std::time::Duration::ZERO);
    let client = TestClient::held(config, 0);
    client.shared.reader.set(Activity::Reading);
    let check = || client.shared.check_deadlines(clock::now());
    assert_eq!(check(), DeadlineCheck::PingDue);
    client.outbox.close(1000, "");
    assert_eq!(check(), DeadlineCheck::Met);
    client.end();
}
