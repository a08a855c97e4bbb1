//! Every accepted message is counted exactly once, no matter how and when the client ends.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::*;
use crate::connection::lifecycle::Lifecycle;
use crate::connection::queue::item::{Outgoing, Purpose, TopicSource};
use crate::connection::queue::send_queue::SendQueue;
use crate::error::TrySendError;

/// Sends `count` messages with randomly chosen methods. Returns how many were accepted.
fn produce(outbox: &Outbox, name: u8, count: u8, dice: &mut Dice) -> u64 {
    let mut accepted = 0;
    for n in 0..count {
        let message = Message::binary(vec![name, n, 0, 0, 0, 0]);
        let sent = match dice.below(4) {
            0 => outbox.try_send(message).is_ok(),
            1 => outbox
                .send_timeout(message, Duration::from_micros(50))
                .is_ok(),
            _ => outbox.send(message).is_ok(),
        };
        accepted += u64::from(sent);
    }
    accepted
}

fn end_at_random(client: &TestClient, dice: &mut Dice) {
    for _ in 0..dice.below(400) {
        std::hint::spin_loop();
    }
    for _ in 0..dice.below(3) {
        thread::yield_now();
    }
    match dice.below(6) {
        0 => client.outbox.close(1000, ""),
        1 => client.outbox.terminate(),
        2 => client.shared.give_up(),
        3 => {
            close(client, CloseMode::Immediate, 4008, "");
        }
        4 => client.shared.shut_down(),
        _ => client.socket.break_after(dice.below(200)),
    }
}

#[test]
fn counts_are_exact_however_a_client_ends() {
    both_ways(|config| {
        within("two thousand clients end", move || {
            for round in 0..2000 {
                let mut dice = Dice::new(round);
                let client = TestClient::new(
                    config
                        .clone()
                        .queue(1 + dice.below(6))
                        .queue_bytes(8 + dice.below(60)),
                );
                client.socket.accept_at_random(round);
                let producers = [0, 1, 2].map(|name| {
                    let outbox = client.outbox.clone();
                    let mut dice = Dice::new(round * 3 + u64::from(name));
                    thread::spawn(move || produce(&outbox, name, 12, &mut dice))
                });
                end_at_random(&client, &mut dice);
                // A broken socket is noticed only by a thread that writes to it.
                let sent: u64 = producers
                    .into_iter()
                    .map(|producer| producer.join().expect("the thread does not panic"))
                    .sum();
                let socket = Arc::clone(&client.socket);
                let counts = client.end();
                assert_eq!(counts.accepted, sent, "round {round}: {counts:?}");
                for name in [0, 1, 2] {
                    let frames = from_server(&socket.written());
                    let sent = frames
                        .iter()
                        .filter(|(first, payload)| *first == 0x82 && payload[0] == name);
                    let numbers: Vec<u8> = sent.map(|(_, payload)| payload[1]).collect();
                    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
                }
            }
        });
    });
}

/// A sender has reserved its bytes when the queue is closed and drained, and queues its frame only afterwards. No
/// thread will take the frame, so the sender must check for the end and count the frame itself.
#[test]
fn a_frame_queued_after_the_drain_is_counted() {
    let (queue, lifecycle) = (SendQueue::new(1, 1000), Lifecycle::new());
    let frame = EncodedFrame::data(&text("x"));
    let push = |wait| queue.push(frame.clone(), wait, &lifecycle);
    assert_eq!(push(Wait::Never), Admission::Admitted);
    thread::scope(|scope| {
        // The queue is full, so this sender reserves its bytes and waits for a slot.
        let waiting = scope.spawn(|| push(Wait::Forever));
        until("the sender has reserved its bytes", || {
            queue.bytes() == 2 * frame.len()
        });
        // The steps of `WritePath::finish`, without `announce_closing`, which would make the sender give up.
        lifecycle.finish(CloseCause::Gone);
        queue.close();
        queue.drain();
        assert_eq!(
            waiting.join().expect("the thread does not panic"),
            Admission::Admitted,
            "the drain made room for the frame"
        );
    });
    let counts = queue.counts();
    assert_eq!((counts.accepted, counts.discarded), (2, 2));
    assert_eq!((queue.len(), queue.bytes()), (0, 0));
}

#[test]
fn partly_written_batch_is_counted() {
    both_ways(|config| {
        // Five messages of six bytes. The writer may write them as one batch.
        for breaks_at in 0..=5 * 6 {
            let mut client = TestClient::held(config.clone(), 0);
            for n in 0..5 {
                client
                    .outbox
                    .try_send(text(format!("{n:4}")))
                    .expect("the queue has room");
            }
            client.socket.break_after(6 + breaks_at);
            client.socket.accept_all();
            if breaks_at == 5 * 6 {
                client.socket.until_written(6 + breaks_at);
                // Only the next write fails.
                let _ = client.outbox.try_send(text("last"));
            }
            join_writer(&mut client);
            match client.outbox.send(text("late")) {
                Err(error) => assert_eq!(error.0, text("late")),
                Ok(()) => panic!("the connection has ended"),
            }
            let late = client.outbox.try_send(text("late"));
            assert!(matches!(late, Err(TrySendError::Closed(_))));
            assert_eq!(client.shared.lifecycle().cause(), Some(CloseCause::Gone));
            let counts = client.end();
            assert_eq!(
                counts.delivered,
                1 + breaks_at as u64 / 6,
                "broken after {breaks_at} bytes"
            );
        }
    });
}

/// The connection ends while a sender is in the middle of a write. The writer has ended already, so the release must
/// count what is in flight.
#[test]
fn frames_in_flight_at_the_end_are_counted() {
    for accepted in [0, 1, 6, 7, 12] {
        for session_ends_first in [false, true] {
            let mut client = TestClient::without_writer(Config::default());
            for message in ["1234", "5678"] {
                push(&client, &text(message));
            }
            client.socket.hold_try_write(true);
            let shared = Arc::clone(&client.shared);
            let sender = thread::spawn(move || shared.write.flush());
            client.socket.until_in_try_write();
            client.start_writer();
            client.socket.accept(accepted);
            let socket = Arc::clone(&client.socket);
            let release_sender = move || {
                socket.hold_try_write(false);
                sender.join().expect("the thread does not panic");
            };
            // What `give_up` does, but without the shutdown of the socket, which would make the sender's write fail.
            client.shared.write.finish(CloseCause::Gone);
            join_writer(&mut client);
            if session_ends_first {
                client.shared.write.close_slot();
                release_sender();
            } else {
                release_sender();
            }
            assert_eq!(client.end().delivered, accepted as u64 / 6);
        }
    }
}

/// A topic that stops the draining thread after it has taken a message and before it counts the message.
#[derive(Debug)]
struct HeldTopic {
    taken: Sender<()>,
    continue_drain: Receiver<()>,
}

impl TopicSource for HeldTopic {
    fn take_next(self: Arc<Self>, purpose: Purpose) -> Option<Outgoing> {
        assert_eq!(purpose, Purpose::Discard);
        self.taken.send(()).expect("the test is waiting");
        self.continue_drain
            .recv()
            .expect("the test continues the drain");
        Some(Outgoing {
            notice: None,
            message: Some(EncodedFrame::data(&text("x"))),
            source: Some(self),
        })
    }

    fn take_overflow(self: Arc<Self>, _: Purpose) -> (Option<Outgoing>, bool) {
        (None, false)
    }

    fn finished(&self, delivered: bool) {
        assert!(!delivered);
    }
}

/// The watchdog resets a client and is interrupted while it drains the queue. Another thread that ends the client must
/// not see a message that is neither queued nor counted. So its own `drain` must wait for the first one.
#[test]
fn drain_waits_for_another_thread_that_drains() {
    let (taken, taken_received) = bounded(1);
    let (continue_drain, continue_received) = bounded(1);
    let topic = HeldTopic {
        taken,
        continue_drain: continue_received,
    };
    let queue = SendQueue::new(8, 1000);
    assert_eq!(queue.admit(3, Wait::Never), Admission::Admitted);
    assert!(queue.push_ticket(Arc::new(topic)));
    queue.add_pending(1);
    queue.count_accepted(1);
    assert!(!queue.is_draining());
    thread::scope(|scope| {
        scope.spawn(|| queue.drain());
        taken_received
            .recv()
            .expect("the first drain takes the message");
        assert!(queue.is_draining(), "a second drain would not wait");
        continue_drain.send(()).expect("the first drain is waiting");
        queue.drain();
        let counts = queue.counts();
        assert_eq!((counts.accepted, counts.discarded), (1, 1));
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
    });
}

/// A topic with one message. When the message is discarded, it tries to send another.
#[derive(Debug)]
struct SendsWhenDiscarded {
    outbox: Outbox,
    late: Sender<Result<(), TrySendError>>,
}

impl TopicSource for SendsWhenDiscarded {
    fn take_next(self: Arc<Self>, _: Purpose) -> Option<Outgoing> {
        Some(Outgoing {
            notice: None,
            message: Some(EncodedFrame::data(&text("x".repeat(60)))),
            source: Some(self),
        })
    }

    fn take_overflow(self: Arc<Self>, _: Purpose) -> (Option<Outgoing>, bool) {
        (None, false)
    }

    fn finished(&self, delivered: bool) {
        assert!(!delivered);
        let late = self.outbox.try_send(text("late"));
        self.late.send(late).expect("the test waits for it");
    }
}

/// The bytes of a frame in flight are released when it is discarded. They must not admit another message, which would be
/// discarded as well.
#[test]
fn nothing_is_admitted_when_frames_in_flight_are_discarded() {
    both_ways(|config| {
        let mut client = TestClient::new(config.queue_bytes(62));
        client.socket.accept(0);
        let (late, is_late) = bounded(1);
        let topic = SendsWhenDiscarded {
            outbox: client.outbox.clone(),
            late,
        };
        let queue = &client.shared.write.queue;
        assert_eq!(queue.admit(62, Wait::Never), Admission::Admitted);
        assert!(queue.push_ticket(Arc::new(topic)));
        queue.add_pending(1);
        queue.count_accepted(1);
        client.shared.write.flush();
        client.socket.until_in_write();
        client.socket.break_after(0);
        let late = within("the frame is discarded", move || is_late.recv());
        let late = late.expect("the topic sends it");
        assert!(matches!(late, Err(TrySendError::Closed(_))), "{late:?}");
        join_writer(&mut client);
        assert_eq!(client.end().accepted, 1);
    });
}
