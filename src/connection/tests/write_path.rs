//! Who writes: any thread as far as the socket accepts it, the writer beyond that, and the hand-over between them.

use super::*;
use crate::error::TrySendError;

const ROUNDS: usize = 3000;

/// Returns messages with every form of length, and their encoded bytes.
fn messages() -> (Vec<Message>, Vec<u8>) {
    let messages: Vec<Message> = [1, 0, 130, 3, 200]
        .into_iter()
        .enumerate()
        .map(|(n, length)| Message::binary(vec![n as u8 + 1; length]))
        .collect();
    (messages.clone(), on_the_wire(&messages))
}

fn on_the_wire(messages: &[Message]) -> Vec<u8> {
    let frame = |message| EncodedFrame::data(message).expect("data");
    let bytes = |message| {
        let frame = frame(message);
        let (front, rest) = frame.pieces(0);
        [front, rest].concat()
    };
    messages.iter().flat_map(bytes).collect()
}

#[test]
fn the_writer_continues_where_the_sender_stopped() {
    both_ways(|config| {
        let (messages, expected) = messages();
        for taken in 0..=expected.len() {
            for then in [1, 2, 7, taken + 1] {
                let client = TestClient::new(config.clone());
                client.socket.accept(taken);
                for message in &messages {
                    client.outbox.try_send(message.clone()).expect("room");
                }
                client.socket.until_written(taken);
                // It is the writer's task now, and nobody notifies the writer again.
                client.socket.accept_per_call(then);
                client.socket.accept_all();
                client.socket.until_written(expected.len());
                assert_eq!(client.socket.written(), expected, "{taken}, then {then}");
                assert_eq!(client.end().delivered, 5);
            }
        }
    });
}

#[test]
fn large_messages_may_be_cut_anywhere() {
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
            let client = TestClient::new(config.clone());
            client.socket.accept(at_most);
            for message in &messages {
                client.outbox.try_send(message.clone()).expect("room");
            }
            client.socket.until_in_write_or(expected.len());
            client.socket.accept_per_call(at_most.max(500));
            client.socket.accept_all();
            client.socket.until_written(expected.len());
            assert!(client.socket.written() == expected, "{at_most} at a time");
            client.end();
        }
    });
}

/// Sends them all on a thread of its own, because a peer that accepts little makes it wait.
fn send_all(client: &TestClient, messages: &[Message]) -> JoinHandle<()> {
    let (outbox, messages) = (client.outbox.clone(), messages.to_vec());
    thread::spawn(move || outbox.send_all(messages).expect("it is open"))
}

#[test]
fn a_batch_may_be_cut_anywhere() {
    both_ways(|config| {
        let (messages, expected) = messages();
        for taken in 0..=expected.len() {
            let client = TestClient::new(config.clone());
            client.socket.accept(taken);
            let sender = send_all(&client, &messages);
            sender.join().expect("there is room for five");
            client.socket.until_written(taken);
            client.socket.accept_per_call(1 + taken % 7);
            client.socket.accept_all();
            client.socket.until_written(expected.len());
            assert_eq!(client.socket.written(), expected, "{taken}");
            assert_eq!(client.end().delivered, 5);
        }
    });
}

#[test]
fn a_batch_is_one_write() {
    let of = |sizes: &[usize]| -> Vec<Message> {
        let message = |size: &usize| Message::binary(vec![7; *size]);
        sizes.iter().map(message).collect()
    };
    for (messages, writes) in [
        (messages().0, 1),
        (of(&[0; 64]), 1),
        (of(&[0; 65]), 2),
        // As for a batch: the message that fills it is part of it, headers included.
        (of(&[4096; 16]), 1),
        (of(&[4096; 17]), 2),
        // A larger one is written alone.
        (of(&[5, 70_000, 5, 5]), 3),
    ] {
        let client = TestClient::without_writer(Config::default());
        let expected = on_the_wire(&messages);
        client.outbox.send_all(messages.clone()).expect("room");
        assert!(client.socket.written() == expected);
        let tries = client.socket.look(|state| state.tries);
        assert_eq!(tries, writes, "{} messages", messages.len());
        client.end();
    }
}

/// What the socket refuses is in flight, where no policy can drop it. So a batch is never larger than the queue.
#[test]
fn a_batch_is_never_larger_than_the_queue() {
    // Three in flight and the other two fit; or four in flight, and the fifth waits for 204 bytes of 348 in all.
    for (config, waiting, bytes) in [
        (Config::default().queue(3), 2, 348),
        (Config::default().queue_bytes(300), 0, 144),
    ] {
        let client = TestClient::new(config);
        client.socket.accept(0);
        let (messages, expected) = messages();
        let sender = send_all(&client, &messages);
        client.socket.until_in_write();
        until("nothing more fits", || {
            (client.outbox.len(), client.outbox.bytes()) == (waiting, bytes)
        });
        client.socket.accept_all();
        sender.join().expect("it does not panic");
        client.socket.until_written(expected.len());
        assert_eq!(client.socket.written(), expected);
        assert_eq!(client.end().delivered, 5);
    }
}

#[test]
fn send_all_stops_at_the_first_refused_message() {
    let client = TestClient::new(Config::default());
    let refused = client
        .outbox
        .send_all(vec![text("a"), Message::Ping(vec![1].into()), text("b")])
        .expect_err("a ping cannot be queued");
    assert_eq!(refused.0, Message::Ping(vec![1].into()));
    client.socket.until_written(3);
    client.outbox.close(1000, "");
    let refused = client.outbox.send_all(vec![text("c"), text("d")]);
    assert_eq!(refused.expect_err("it is closing").0, text("c"));
    assert_eq!(client.end().delivered, 1);
}

/// With early flush, the sender itself writes to a peer that accepts everything; no writer is needed.
#[test]
fn send_writes_to_an_open_peer_itself() {
    let client = TestClient::without_writer(Config::default());
    let (messages, expected) = messages();
    for message in &messages {
        client.outbox.send(message.clone()).expect("room");
    }
    assert_eq!(client.socket.written(), expected);
    client.end();
}

#[test]
fn without_early_flush_only_the_writer_writes() {
    let mut client = TestClient::without_writer(Config::default().early_flush(false));
    let (messages, expected) = messages();
    for message in &messages {
        client.outbox.send(message.clone()).expect("room");
    }
    assert_eq!(client.socket.written(), b"");
    client.start_writer();
    client.socket.until_written(expected.len());
    assert_eq!(client.socket.written(), expected);
    client.end();
}

#[test]
fn two_senders_lose_and_reorder_nothing() {
    const EACH: usize = 20;
    both_ways(|config| {
        for round in 0..500 {
            let client = TestClient::new(config.clone());
            client.socket.accept_at_random(round);
            let senders = [b'a', b'b'].map(|name| {
                let (shared, outbox) = (Arc::clone(&client.shared), client.outbox.clone());
                thread::spawn(move || {
                    for n in 0..EACH {
                        let message = Message::binary(vec![name, n as u8]);
                        // In turn by direct write, where nothing is ahead, and through the queue.
                        if (n + round as usize) % 2 == 0 {
                            outbox.try_send(message).expect("room");
                            continue;
                        }
                        let frame = EncodedFrame::data(&message).expect("data");
                        let write = &shared.write;
                        let pushed = write.queue.push(frame, Wait::Never, &write.lifecycle);
                        assert_eq!(pushed, Admission::Admitted);
                        write.flush();
                    }
                })
            });
            for sender in senders {
                sender.join().expect("it does not panic");
            }
            // No thread does anything any more: what is queued is on its way, or never will be.
            client.socket.until_written(2 * EACH * 4);
            let frames = client.frames();
            for name in [b'a', b'b'] {
                let sent = frames.iter().filter(|(_, payload)| payload[0] == name);
                let numbers: Vec<usize> = sent.map(|(_, payload)| payload[1].into()).collect();
                assert_eq!(numbers, (0..EACH).collect::<Vec<_>>());
            }
            assert_eq!(client.end().delivered, 2 * EACH as u64);
        }
    });
}

/// Otherwise what others queue meanwhile, and the rest of this message, would exceed `queue_bytes`.
#[test]
fn a_direct_write_reserves_its_bytes() {
    let client = TestClient::new(Config::default().queue_bytes(100));
    client.socket.hold_try_write(true);
    let outbox = client.outbox.clone();
    let sender = thread::spawn(move || outbox.send(text("x".repeat(58))));
    client.socket.until_in_try_write();
    assert_eq!((client.outbox.len(), client.outbox.bytes()), (0, 60));
    assert_eq!(client.outbox.counts().accepted, 1, "the peer may have it");
    let more = client.outbox.try_send(text("y".repeat(58)));
    assert!(matches!(more, Err(TrySendError::Full(_))), "{more:?}");
    client.outbox.try_send(text("z")).expect("3 bytes fit");
    client.socket.hold_try_write(false);
    sender.join().expect("it does not panic").expect("room");
    client.socket.until_written(63);
    assert_eq!(client.end().delivered, 2);
}

/// A sender has reserved its bytes and has not queued yet: they are in use although the queue is empty.
#[test]
fn a_direct_write_respects_reserved_bytes() {
    let client = TestClient::without_writer(Config::default().queue_bytes(100));
    assert_eq!(
        client.shared.write.queue.admit(60, Wait::Never),
        Admission::Admitted
    );
    let refused = client.outbox.try_send(text("x".repeat(58)));
    assert!(matches!(refused, Err(TrySendError::Full(_))), "{refused:?}");
    assert_eq!(
        (client.socket.written(), client.outbox.bytes()),
        (vec![], 60)
    );
    client.shared.write.queue.cancel(60);
    client.outbox.try_send(text("x".repeat(58))).expect("room");
    assert_eq!(client.socket.written().len(), 60);
    client.end();
}

/// A sender looks at the queue again after it has released the write half. Otherwise what was queued meanwhile would stay.
#[test]
fn a_message_queued_during_a_direct_write_is_sent() {
    let client = TestClient::new(Config::default());
    client.socket.hold_try_write(true);
    let outbox = client.outbox.clone();
    let sender = thread::spawn(move || outbox.send(text("first")));
    client.socket.until_in_try_write();
    // It finds the write half held by another thread, and leaves its message in the queue.
    client.outbox.send(text("second")).expect("room");
    assert_eq!(client.outbox.len(), 1);
    client.socket.hold_try_write(false);
    sender.join().expect("it does not panic").expect("room");
    client.socket.until_written(2 + 5 + 2 + 6);
    assert_eq!(client.end().delivered, 2);
}

/// The writer, too, looks at the queue again after it has released the write half. No test can hold it between its last look
/// and the release, so thousands of senders come at about that moment.
#[test]
fn a_message_queued_as_the_writer_stops_is_sent() {
    let client = TestClient::new(Config::default());
    let mut dice = Dice::new(1);
    let mut written = 0;
    for _ in 0..ROUNDS {
        client.socket.accept(0);
        client.outbox.send(text("to the writer")).expect("room");
        written += 2 + 13;
        client.socket.until_in_write();
        client.socket.accept_all();
        // The writer must still be awake when the sender comes.
        until("the writer has written", || {
            client.socket.look(|state| state.accepted()) == written
        });
        for _ in 0..dice.below(200) {
            std::hint::spin_loop();
        }
        client.outbox.send(text("now")).expect("room");
        written += 2 + 3;
        client.socket.until_written(written);
    }
    client.end();
}
