//! Who writes: helpers as far as the peer takes it at once, the writer beyond that, and the hand-over between them.

use super::*;
use crate::connection::queue::byte_limit::Admission;
use crate::connection::queue::send_queue::Wait;
use crate::connection::testing::scripted_socket::Dice;
use crate::connection::write::frame::Frame;
use crate::error::TrySendError;

const ROUNDS: usize = 3000;

/// Messages of every form of length, and the bytes that they are on the wire.
fn messages() -> (Vec<Message>, Vec<u8>) {
    let messages: Vec<Message> = [1, 0, 130, 3, 200]
        .into_iter()
        .enumerate()
        .map(|(n, length)| Message::binary(vec![n as u8 + 1; length]))
        .collect();
    (messages.clone(), on_the_wire(&messages))
}

fn on_the_wire(messages: &[Message]) -> Vec<u8> {
    let frame = |message| Frame::data(message).expect("data");
    let bytes = |message| {
        let frame = frame(message);
        let (front, rest) = frame.pieces(0);
        [front, rest].concat()
    };
    messages.iter().flat_map(bytes).collect()
}

#[test]
fn a_full_socket_is_handed_over_to_the_writer_whatever_it_took() {
    both_ways(|config| {
        let (messages, expected) = messages();
        for taken in 0..=expected.len() {
            for then in [1, 2, 7, taken + 1] {
                let guest = FakeClient::new(config.clone());
                guest.gate.take(taken);
                for message in &messages {
                    guest.outbox.try_send(message.clone()).expect("room");
                }
                guest.gate.until_written(taken);
                // It is the writer's now, and nobody rings for it again.
                guest.gate.take_at_most(then);
                guest.gate.open();
                guest.gate.until_written(expected.len());
                assert_eq!(guest.gate.written(), expected, "{taken}, then {then}");
                assert_eq!(guest.end().delivered, 5);
            }
        }
    });
}

#[test]
fn large_messages_in_two_pieces_are_cut_anywhere() {
    both_ways(|config| {
        let messages = [20_000, 5, 70_000, 66_000].map(|length| {
            Message::binary(
                (0..length)
                    .map(|n: usize| (n % 251) as u8)
                    .collect::<Vec<_>>(),
            )
        });
        let expected = on_the_wire(&messages);
        for at_most in [1, 9, 10, 11, 1_000, 19_999, 64 << 10, usize::MAX] {
            let guest = FakeClient::new(config.clone());
            guest.gate.take(at_most);
            for message in &messages {
                guest.outbox.try_send(message.clone()).expect("room");
            }
            guest.gate.until_in_write_or(expected.len());
            guest.gate.take_at_most(at_most.max(500));
            guest.gate.open();
            guest.gate.until_written(expected.len());
            assert!(guest.gate.written() == expected, "{at_most} at a time");
            guest.end();
        }
    });
}

/// Sends them all on a thread of its own: a peer that takes little makes it wait.
fn send_all(guest: &FakeClient, messages: &[Message]) -> JoinHandle<()> {
    let (outbox, messages) = (guest.outbox.clone(), messages.to_vec());
    thread::spawn(move || outbox.send_all(messages).expect("it is open"))
}

#[test]
fn messages_that_go_together_are_cut_anywhere_and_none_is_lost() {
    both_ways(|config| {
        let (messages, expected) = messages();
        for taken in 0..=expected.len() {
            let guest = FakeClient::new(config.clone());
            guest.gate.take(taken);
            let sender = send_all(&guest, &messages);
            sender.join().expect("there is room for five");
            guest.gate.until_written(taken);
            guest.gate.take_at_most(1 + taken % 7);
            guest.gate.open();
            guest.gate.until_written(expected.len());
            assert_eq!(guest.gate.written(), expected, "{taken}");
            assert_eq!(guest.end().delivered, 5);
        }
    });
}

#[test]
fn messages_that_go_together_are_one_write() {
    let of = |sizes: &[usize]| -> Vec<Message> {
        let message = |size: &usize| Message::binary(vec![7; *size]);
        sizes.iter().map(message).collect()
    };
    for (messages, writes) in [
        (messages().0, 1),
        (of(&[0; 64]), 1),
        (of(&[0; 65]), 2),
        // As a batch: the message that fills it is in it, headers and all.
        (of(&[4096; 16]), 1),
        (of(&[4096; 17]), 2),
        // A larger one goes alone.
        (of(&[5, 70_000, 5, 5]), 3),
    ] {
        let guest = FakeClient::without_writer(Config::default());
        let expected = on_the_wire(&messages);
        guest.outbox.send_all(messages.clone()).expect("room");
        assert!(guest.gate.written() == expected);
        let tries = guest.gate.look(|inside| inside.tries);
        assert_eq!(tries, writes, "{} messages", messages.len());
        guest.end();
    }
}

/// What the socket refuses of them is in hand, where no policy can reach it: so it is never more than may be queued.
#[test]
fn more_than_may_be_queued_does_not_go_together() {
    // Three in hand, and the other two fit; or four in hand, and the fifth waits for 204 bytes of 348 in all.
    for (config, waiting, bytes) in [
        (Config::default().queue(3), 2, 348),
        (Config::default().queue_bytes(300), 0, 144),
    ] {
        let guest = FakeClient::new(config);
        guest.gate.take(0);
        let (messages, expected) = messages();
        let sender = send_all(&guest, &messages);
        guest.gate.until_in_write();
        until("no more is taken", || {
            (guest.outbox.len(), guest.outbox.bytes()) == (waiting, bytes)
        });
        guest.gate.open();
        sender.join().expect("it does not panic");
        guest.gate.until_written(expected.len());
        assert_eq!(guest.gate.written(), expected);
        assert_eq!(guest.end().delivered, 5);
    }
}

#[test]
fn messages_after_the_first_that_is_refused_are_not_sent() {
    let guest = FakeClient::new(Config::default());
    let refused = guest
        .outbox
        .send_all(vec![text("a"), Message::Ping(vec![1].into()), text("b")])
        .expect_err("a ping is the server's");
    assert_eq!(refused.0, Message::Ping(vec![1].into()));
    guest.gate.until_written(3);
    guest.outbox.close(1000, "");
    let refused = guest.outbox.send_all(vec![text("c"), text("d")]);
    assert_eq!(refused.expect_err("it is closing").0, text("c"));
    assert_eq!(guest.end().delivered, 1);
}

/// With early flush, an open peer is written to by the sender itself: it takes no writer at all.
#[test]
fn when_send_returns_an_open_peer_has_the_message() {
    let guest = FakeClient::without_writer(Config::default());
    let (messages, expected) = messages();
    for message in &messages {
        guest.outbox.send(message.clone()).expect("room");
    }
    assert_eq!(guest.gate.written(), expected);
    guest.end();
}

#[test]
fn without_early_flush_the_writer_alone_writes() {
    let mut guest = FakeClient::without_writer(Config::default().early_flush(false));
    let (messages, expected) = messages();
    for message in &messages {
        guest.outbox.send(message.clone()).expect("room");
    }
    assert_eq!(guest.gate.written(), b"");
    guest.start_writer();
    guest.gate.until_written(expected.len());
    assert_eq!(guest.gate.written(), expected);
    guest.end();
}

#[test]
fn two_threads_flush_one_outbox_and_nothing_is_left_lost_or_reordered() {
    const EACH: usize = 20;
    both_ways(|config| {
        for round in 0..500 {
            let guest = FakeClient::new(config.clone());
            guest.gate.take_at_whim(round);
            let senders = [b'a', b'b'].map(|name| {
                let (client, outbox) = (Arc::clone(&guest.client), guest.outbox.clone());
                thread::spawn(move || {
                    for n in 0..EACH {
                        let message = Message::binary(vec![name, n as u8]);
                        // By turns past the queue, where nothing is before it, and through the queue.
                        if (n + round as usize) % 2 == 0 {
                            outbox.try_send(message).expect("room");
                            continue;
                        }
                        let frame = Frame::data(&message).expect("data");
                        client.queue.push(frame, Wait::Never).expect("room");
                        client.flush();
                    }
                })
            });
            for sender in senders {
                sender.join().expect("it does not panic");
            }
            // Nobody does anything any more: what is queued is on its way, or never will be.
            guest.gate.until_written(2 * EACH * 4);
            let frames = guest.frames();
            for name in [b'a', b'b'] {
                let sent = frames.iter().filter(|(_, payload)| payload[0] == name);
                let numbers: Vec<usize> = sent.map(|(_, payload)| payload[1].into()).collect();
                assert_eq!(numbers, (0..EACH).collect::<Vec<_>>());
            }
            assert_eq!(guest.end().delivered, 2 * EACH as u64);
        }
    });
}

/// Otherwise what others queue meanwhile and the rest of this would be more than `queue_bytes`.
#[test]
fn what_goes_straight_counts_as_queued_bytes_while_it_is_written() {
    let guest = FakeClient::new(Config::default().queue_bytes(100));
    guest.gate.hold_helpers(true);
    let outbox = guest.outbox.clone();
    let helper = thread::spawn(move || outbox.send(text("x".repeat(58))));
    guest.gate.until_a_helper_is_held();
    assert_eq!((guest.outbox.len(), guest.outbox.bytes()), (0, 60));
    let more = guest.outbox.try_send(text("y".repeat(58)));
    assert!(matches!(more, Err(TrySendError::Full(_))), "{more:?}");
    guest.outbox.try_send(text("z")).expect("3 bytes fit");
    guest.gate.hold_helpers(false);
    helper.join().expect("it does not panic").expect("room");
    guest.gate.until_written(63);
    assert_eq!(guest.end().delivered, 2);
}

/// A sender is past the byte gate and not yet in the queue: its bytes are in use though nothing can be seen of them.
#[test]
fn who_would_go_straight_finds_no_room_while_another_has_it() {
    let guest = FakeClient::without_writer(Config::default().queue_bytes(100));
    assert_eq!(guest.client.queue.admit(60, false), Admission::In);
    let refused = guest.outbox.try_send(text("x".repeat(58)));
    assert!(matches!(refused, Err(TrySendError::Full(_))), "{refused:?}");
    assert_eq!((guest.gate.written(), guest.outbox.bytes()), (vec![], 60));
    guest.client.queue.return_bytes(60);
    guest.outbox.try_send(text("x".repeat(58))).expect("room");
    assert_eq!(guest.gate.written().len(), 60);
    guest.end();
}

/// The helper looks again after it has given the wire back; what came while it had it is not left to nobody.
#[test]
fn what_is_queued_while_a_helper_has_the_wire_is_not_forgotten() {
    let guest = FakeClient::new(Config::default());
    guest.gate.hold_helpers(true);
    let outbox = guest.outbox.clone();
    let helper = thread::spawn(move || outbox.send(text("first")));
    guest.gate.until_a_helper_is_held();
    // It finds the wire lent, and leaves.
    guest.outbox.send(text("second")).expect("room");
    assert_eq!(guest.outbox.len(), 1);
    guest.gate.hold_helpers(false);
    helper.join().expect("it does not panic").expect("room");
    guest.gate.until_written(2 + 5 + 2 + 6);
    assert_eq!(guest.end().delivered, 2);
}

/// The writer, too, looks again after it has given the wire back. There is no standing still between its last look and
/// that, so thousands of senders come by at about that moment.
#[test]
fn what_is_queued_while_the_writer_comes_to_rest_is_not_forgotten() {
    let guest = FakeClient::new(Config::default());
    let mut dice = Dice::new(1);
    let mut written = 0;
    for _ in 0..ROUNDS {
        guest.gate.take(0);
        guest.outbox.send(text("to the writer")).expect("room");
        written += 2 + 13;
        guest.gate.until_in_write();
        guest.gate.open();
        // Not asleep when it comes, or it would be over.
        until("the writer has written", || {
            guest.gate.look(|inside| inside.taken()) == written
        });
        for _ in 0..dice.below(200) {
            std::hint::spin_loop();
        }
        guest.outbox.send(text("now")).expect("room");
        written += 2 + 3;
        guest.gate.until_written(written);
    }
    guest.end();
}
