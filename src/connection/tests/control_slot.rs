//! Pong, ping and Close against a wire that is held in `write`.

use tungstenite::Bytes;

use super::*;
use crate::connection::queue::item::{Purpose, Redeemed, TopicSource};
use crate::connection::queue::send_queue::Wait;
use crate::connection::shared::CloseCause;
use crate::connection::write::control_slot::{CloseMode, CloseReason};
use crate::connection::write::frame::Frame;

const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// A client whose first frame is in progress and has 30 data frames behind it: all in the queue, or all in the hand of
/// whoever has the wire.
fn thirty_behind_one(config: Config, taken: usize, in_flight: bool) -> FakeClient {
    if !in_flight {
        let guest = FakeClient::held(config, taken);
        for n in 0..30 {
            guest.outbox.try_send(text(n.to_string())).expect("room");
        }
        assert_eq!(guest.outbox.len(), 30);
        return guest;
    }
    // Not flushed by their sender, they are one batch of the writer's.
    let mut guest = FakeClient::without_writer(config.early_flush(false));
    guest.gate.take(taken);
    let numbers = (0..30).map(|n| n.to_string());
    for message in ["held".to_owned()].into_iter().chain(numbers) {
        let frame = Frame::data(&text(message)).expect("data");
        // Without a flush: whoever has the wire next takes all of them.
        guest.client.queue.push(frame, Wait::Never).expect("room");
    }
    guest.client.notify_writer();
    guest.start_writer();
    guest.gate.until_in_write();
    guest.gate.until_written(taken);
    assert_eq!(guest.outbox.len(), 0);
    guest
}

fn every_way(test: impl Fn(FakeClient)) {
    both_ways(|config| {
        for in_flight in [false, true] {
            for taken in [0, 1, 5] {
                test(thirty_behind_one(config.clone(), taken, in_flight));
            }
        }
    });
}

fn payload(reason: &CloseReason) -> Vec<u8> {
    reason.frame().pieces(2).0.to_vec()
}

#[test]
fn ping_and_the_latest_pong_overtake_thirty_messages() {
    every_way(|guest| {
        for n in 0..9 {
            guest.client.control.pong(Bytes::from(vec![n]));
            guest.client.flush();
        }
        guest.client.control.ping([7; 8]);
        guest.client.notify_writer();
        guest.gate.open();
        until("all is written", || guest.frames().len() >= 33);
        let frames = guest.frames();
        assert_eq!(frames[0], (TEXT, b"held".to_vec()));
        let mut control = frames[1..3].to_vec();
        control.sort();
        assert_eq!(control, [(PING, vec![7; 8]), (PONG, vec![8])]);
        for (n, frame) in frames[3..].iter().enumerate() {
            assert_eq!(*frame, (TEXT, n.to_string().into_bytes()));
        }
        assert_eq!(frames.len(), 33);
        assert_eq!(guest.end().delivered, 31);
    });
}

#[test]
fn a_close_now_comes_after_the_frame_in_progress_and_the_queue_is_discarded_and_counted() {
    every_way(|mut guest| {
        let reason = CloseReason::new(4008, "slow");
        guest.client.control.pong(Bytes::from_static(b"pong"));
        assert!(guest.client.close(CloseMode::Immediate, reason.clone()));
        assert!(
            !guest
                .client
                .close(CloseMode::Immediate, CloseReason::new(1011, ""))
        );
        assert!(
            !guest
                .client
                .close(CloseMode::AfterQueue, CloseReason::new(1000, ""))
        );
        // Once the frame in progress is out, the queue is gone, though the Close itself still waits for the peer.
        let left = "held".len() + 2 - guest.gate.written().len();
        guest.gate.take(left);
        guest.gate.until_written("held".len() + 2);
        until("the queue is gone", || guest.outbox.bytes() == 0);
        guest.gate.until_in_write();
        guest.gate.open();
        guest.join_writer();
        let frames = guest.frames();
        assert_eq!(frames[0], (TEXT, b"held".to_vec()));
        assert_eq!(frames[1..], [(CLOSE, payload(&reason))]);
        assert!(guest.gate.look(|inside| inside.no_more_writing));
        let accounts = guest.end();
        assert_eq!((accounts.delivered, accounts.discarded), (1, 30));
    });
}

#[test]
fn a_polite_close_comes_after_all_that_is_queued() {
    every_way(|mut guest| {
        guest.outbox.close(1001, "bye");
        guest.outbox.close(1000, "too late");
        guest.client.control.ping([0; 8]);
        guest.client.notify_writer();
        guest.gate.open();
        guest.join_writer();
        let mut frames = guest.frames();
        assert_eq!(
            frames.pop(),
            Some((CLOSE, payload(&CloseReason::new(1001, "bye"))))
        );
        assert_eq!(frames.len(), 31, "no ping once a Close is posted");
        assert_eq!(frames[30], (TEXT, b"29".to_vec()));
        assert_eq!(guest.end().delivered, 31);
    });
}

#[test]
fn a_polite_close_that_waits_hardens_into_one_now() {
    every_way(|mut guest| {
        guest.outbox.close(1001, "bye");
        let reason = CloseReason::new(4008, "slow");
        assert!(guest.client.close(CloseMode::Immediate, reason.clone()));
        guest.gate.open();
        guest.join_writer();
        let frames = guest.frames();
        assert_eq!(frames[1..], [(CLOSE, payload(&reason))]);
        assert_eq!(guest.end().discarded, 30);
    });
}

#[test]
fn nothing_is_written_after_a_close() {
    both_ways(|config| {
        let mut guest = FakeClient::new(config);
        guest.outbox.close(1000, "");
        guest.join_writer();
        let written = guest.gate.written();
        guest.client.control.pong(Bytes::from_static(b"late"));
        guest.client.control.ping([0; 8]);
        assert!(
            !guest
                .client
                .close(CloseMode::Immediate, CloseReason::new(1011, ""))
        );
        guest.outbox.send(text("late")).expect_err("it is closed");
        guest.client.flush();
        assert_eq!(guest.gate.written(), written);
        assert_eq!(guest.frames().len(), 1);
        assert_eq!(
            guest.client.why(),
            Some(CloseCause::Server {
                code: 1000,
                reason: String::new()
            })
        );
        guest.end();
    });
}

/// A client that sends pings while it reads slowly would fill the writer's hand.
#[test]
fn pongs_never_queue_behind_a_large_frame_in_progress() {
    both_ways(|config| {
        let guest = FakeClient::new(config);
        guest.gate.take(0);
        let large = 40 * (64 << 10);
        let message = Message::binary(vec![0; large]);
        guest.outbox.try_send(message).expect("room");
        for n in 0..40 {
            guest.gate.until_in_write();
            guest.client.control.pong(Bytes::from(vec![n]));
            guest.client.flush();
            guest.gate.take(64 << 10);
            guest.gate.until_written((usize::from(n) + 1) * (64 << 10));
        }
        guest.gate.open();
        until("the last pong is written", || {
            guest.frames().contains(&(PONG, vec![39]))
        });
        let frames = guest.frames();
        let pongs = frames.iter().filter(|(first, _)| *first == PONG).count();
        assert!(pongs <= 2, "{pongs} pongs waited");
        guest.end();
    });
}

/// Whoever is woken by the end and says goodbye in turn must find the first goodbye in place, or a handler that a
/// shutdown woke out of `send` would be closed with 1011 now, instead of with 1001 after what is queued.
#[test]
fn a_close_is_posted_before_anybody_is_woken_by_it() {
    for round in 0..1000 {
        let guest = FakeClient::without_writer(Config::default());
        let woken = [(); 4].map(|()| {
            let client = Arc::clone(&guest.client);
            thread::spawn(move || {
                let _ = client.queue.closed().recv();
                client.is_open()
            })
        });
        guest
            .client
            .close(CloseMode::AfterQueue, CloseReason::new(1001, ""));
        for woken in woken {
            let found_open = woken.join().expect("it does not panic");
            assert!(!found_open, "round {round}: woken, and no Close was there");
        }
        guest.end();
    }
}

/// A lane with nothing to send, which is asked after the channel was found empty: the moment between the empty queue and
/// the slot, in the thread that has the wire.
#[derive(Debug)]
struct Between(Outbox);

impl TopicSource for Between {
    fn redeem(&self, _: Purpose) -> Option<Redeemed> {
        None
    }

    fn redeem_owed(&self, _: Purpose) -> (Option<Redeemed>, bool) {
        self.0.try_send(text("last word")).expect("there is room");
        self.0.close(1000, "");
        (None, false)
    }

    fn settled(&self, _: bool) {}
}

#[test]
fn a_polite_close_does_not_overtake_a_message_that_the_batch_missed() {
    both_ways(|config| {
        let mut guest = FakeClient::without_writer(config);
        guest.gate.open();
        let lane: Arc<dyn TopicSource> = Arc::new(Between(guest.outbox.clone()));
        guest.client.queue.owe(&lane);
        guest.start_writer();
        guest.client.notify_writer();
        guest.join_writer();
        let frames = guest.frames();
        let first: Vec<u8> = frames.iter().map(|(first, _)| *first).collect();
        assert_eq!(first, [TEXT, CLOSE], "{frames:?}");
        assert_eq!(frames[0].1, b"last word");
        assert_eq!(guest.end().discarded, 0);
    });
}
