//! Every message that was accepted has one fate, whatever ends the client and whenever.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::*;
use crate::clock::Stamp;
use crate::connection::queue::byte_limit::Admission;
use crate::connection::queue::item::{Purpose, Redeemed, TopicSource};
use crate::connection::queue::send_queue::{SendQueue, Wait};
use crate::connection::shared::CloseCause;
use crate::connection::testing::scripted_socket::Dice;
use crate::connection::write::control_slot::{CloseMode, CloseReason};
use crate::connection::write::frame::Frame;
use crate::error::TrySendError;

/// Sends `count` messages with verbs at random, and says how many were taken.
fn produce(outbox: &Outbox, name: u8, count: u8, dice: &mut Dice) -> u64 {
    let mut taken = 0;
    for n in 0..count {
        let message = Message::binary(vec![name, n, 0, 0, 0, 0]);
        let sent = match dice.below(4) {
            0 => outbox.try_send(message).is_ok(),
            1 => outbox
                .send_timeout(message, Duration::from_micros(50))
                .is_ok(),
            _ => outbox.send(message).is_ok(),
        };
        taken += u64::from(sent);
    }
    taken
}

fn end_at_random(guest: &FakeClient, dice: &mut Dice) {
    for _ in 0..dice.below(400) {
        std::hint::spin_loop();
    }
    for _ in 0..dice.below(3) {
        thread::yield_now();
    }
    match dice.below(6) {
        0 => guest.outbox.close(1000, ""),
        1 => guest.outbox.terminate(),
        2 => guest.client.give_up(),
        3 => {
            guest
                .client
                .close(CloseMode::Immediate, CloseReason::new(4008, ""));
        }
        4 => guest.client.shut_down(),
        _ => guest.gate.break_after(dice.below(200)),
    }
}

#[test]
fn whatever_ends_a_client_accounts_are_exact_and_nobody_hangs() {
    both_ways(|config| {
        within("two thousand clients end", move || {
            for round in 0..2000 {
                let mut dice = Dice::new(round);
                let guest = FakeClient::new(
                    config
                        .clone()
                        .queue(1 + dice.below(6))
                        .queue_bytes(8 + dice.below(60)),
                );
                guest.gate.take_at_whim(round);
                let producers = [0, 1, 2].map(|name| {
                    let outbox = guest.outbox.clone();
                    let mut dice = Dice::new(round * 3 + u64::from(name));
                    thread::spawn(move || produce(&outbox, name, 12, &mut dice))
                });
                end_at_random(&guest, &mut dice);
                // A peer that broke only ends whoever writes to it.
                let taken: u64 = producers
                    .into_iter()
                    .map(|producer| producer.join().expect("it does not panic"))
                    .sum();
                let gate = Arc::clone(&guest.gate);
                let accounts = guest.end();
                assert_eq!(accounts.accepted, taken, "round {round}: {accounts:?}");
                for name in [0, 1, 2] {
                    let frames = frames(&gate.written());
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

/// A sender passes the gate, the queue ends and is drained, and only then does its frame come to lie there: nobody will
/// take it, so it looks, and counts it itself.
#[test]
fn a_sender_that_slips_in_after_the_end_is_counted() {
    let mut slipped = 0;
    // How often somebody slips in is the scheduler's choice: at least so many rounds, and more until somebody has.
    for round in 0..30_000 {
        let queue = SendQueue::new(1000, 1 << 20);
        let frame = Frame::data(&text("x")).expect("data");
        let mut drained = 0;
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| while queue.push(frame.clone(), Wait::Never).is_ok() {});
            }
            while queue.is_empty() {
                std::hint::spin_loop();
            }
            queue.end();
            drained = queue.counts().discarded;
        });
        let accounts = queue.counts();
        assert_eq!(accounts.accepted, accounts.discarded);
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
        slipped += accounts.discarded - drained;
        if round >= 1000 && slipped > 0 {
            break;
        }
    }
}

#[test]
fn a_peer_that_dies_in_mid_batch_closes_the_outbox_and_is_accounted_for() {
    both_ways(|config| {
        // Five messages of six bytes, in one batch where the writer finds them together.
        for dies_at in 0..=5 * 6 {
            let mut guest = FakeClient::held(config.clone(), 0);
            for n in 0..5 {
                guest.outbox.try_send(text(format!("{n:4}"))).expect("room");
            }
            guest.gate.break_after(6 + dies_at);
            guest.gate.open();
            if dies_at == 5 * 6 {
                guest.gate.until_written(6 + dies_at);
                // The end is met by the next write.
                let _ = guest.outbox.try_send(text("last"));
            }
            guest.join_writer();
            match guest.outbox.send(text("late")) {
                Err(error) => assert_eq!(error.0, text("late")),
                Ok(()) => panic!("nobody is there to take it"),
            }
            let late = guest.outbox.try_send(text("late"));
            assert!(matches!(late, Err(TrySendError::Closed(_))));
            assert_eq!(guest.client.why(), Some(CloseCause::Gone));
            let accounts = guest.end();
            assert_eq!(accounts.delivered, 1 + dies_at as u64 / 6, "at {dies_at}");
        }
    });
}

/// The reader finds the peer gone while a helper is in the middle of a write: the writer leaves, and what the helper
/// gives back is nobody's.
#[test]
fn what_a_helper_has_in_hand_at_the_end_is_accounted_for() {
    for taken in [0, 1, 6, 7, 12] {
        for life_ends_first in [false, true] {
            let mut guest = FakeClient::without_writer(Config::default());
            // It has two in hand.
            for message in ["1234", "5678"] {
                let frame = Frame::data(&text(message)).expect("data");
                guest.client.queue.push(frame, Wait::Never).expect("room");
            }
            guest.gate.hold_helpers(true);
            let client = Arc::clone(&guest.client);
            let helper = thread::spawn(move || client.flush());
            guest.gate.until_a_helper_is_held();
            guest.start_writer();
            guest.gate.take(taken);
            let gate = Arc::clone(&guest.gate);
            let let_go = move || {
                gate.hold_helpers(false);
                helper.join().expect("it does not panic");
            };
            // What `give_up` does, but for the shutdown of the socket, which the helper's write may precede.
            guest.client.end_of_writing();
            guest.join_writer();
            if life_ends_first {
                guest.client.write_slot.end(&guest.client);
                let_go();
            } else {
                let_go();
            }
            let accounts = guest.end();
            assert_eq!(accounts.delivered, taken as u64 / 6);
        }
    }
}

/// A lane whose message is taken out and held still, before it is counted as discarded.
#[derive(Debug)]
struct Still {
    taken: Sender<()>,
    go_on: Receiver<()>,
}

impl TopicSource for Still {
    fn redeem(&self, purpose: Purpose) -> Option<Redeemed> {
        assert_eq!(purpose, Purpose::Discard);
        self.taken.send(()).expect("the test waits for it");
        self.go_on.recv().expect("the test says so");
        let frame = Frame::data(&text("x")).expect("data");
        Some(Redeemed {
            notice: None,
            message: Some((frame, Stamp::lately())),
        })
    }

    fn redeem_owed(&self, _: Purpose) -> (Option<Redeemed>, bool) {
        (None, false)
    }

    fn settled(&self, delivered: bool) {
        assert!(!delivered);
    }
}

/// The watchdog resets a client, and is stopped while it discards. Whoever finds the client's threads gone then must
/// not find a message that is neither here nor there.
#[test]
fn whoever_has_drained_a_queue_finds_its_books_closed_though_another_took_the_message_out() {
    // Whether the second is there before the first goes on is the scheduler's choice, at each round anew.
    for round in 0..300 {
        let (taken, is_taken) = bounded(1);
        let (go_on, goes_on) = bounded(1);
        let still = Still {
            taken,
            go_on: goes_on,
        };
        let queue = SendQueue::new(8, 1000);
        assert_eq!(queue.admit(3, false), Admission::In);
        assert!(queue.ticket(Arc::new(still)));
        queue.waits(1);
        queue.count_accepted(1);
        thread::scope(|scope| {
            scope.spawn(|| queue.end());
            is_taken.recv().expect("the first takes it");
            let (begins, begun) = bounded(1);
            scope.spawn(|| {
                let begins = begins;
                begins.send(()).expect("the test waits for it");
                queue.drain();
                let MessageCounts {
                    accepted,
                    discarded,
                    ..
                } = queue.counts();
                assert_eq!((accepted, discarded), (1, 1), "round {round}");
                assert_eq!((queue.len(), queue.bytes()), (0, 0), "round {round}");
            });
            begun.recv().expect("the second begins");
            go_on.send(()).expect("the first waits for it");
        });
    }
}
