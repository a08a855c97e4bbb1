//! The write path: senders write as far as the socket accepts their messages, and the writer continues from there.

use super::*;
use crate::error::TrySendError;

const ROUNDS: usize = 3000;

/// Returns short and longer messages, and their encoded bytes.
fn messages() -> (Vec<Message>, Vec<u8>) {
    let messages: Vec<Message> = [1, 0, 130, 3, 200]
        .into_iter()
        .enumerate()
        .map(|(n, length)| Message::binary(vec![n as u8 + 1; length]))
        .collect();
    (messages.clone(), encoded(&messages))
}

fn encoded(messages: &[Message]) -> Vec<u8> {
    let frame = |message| EncodedFrame::data(message);
    let bytes = |message| {
        let frame = frame(message);
        let (front, rest) = frame.pieces(0);
        [front, rest].concat()
    };
    messages.iter().flat_map(bytes).collect()
}

fn try_send_each(client: &TestClient, messages: &[Message]) {
    for message in messages {
        let sent = client.outbox.try_send(message.clone());
        sent.expect("the queue has room");
    }
}

#[test]
fn the_writer_continues_where_the_sender_stopped() {
    both_ways(|config| {
        let (messages, expected) = messages();
        for accepted in 0..=expected.len() {
            for then in [1, 2, 7, accepted + 1] {
                let client = TestClient::new(config.clone());
                client.socket.accept(accepted);
                try_send_each(&client, &messages);
                client.socket.until_written(accepted);
                // The writer must write the rest, without another notification.
                client.socket.accept_per_call(then);
                client.socket.accept_all();
                client.socket.until_written(expected.len());
                assert_eq!(
                    client.socket.written(),
                    expected,
                    "{accepted} bytes, then {then} at a time"
                );
                assert_eq!(client.end().delivered, 5);
            }
        }
    });
}

#[test]
fn partly_accepted_large_messages_are_completed() {
    both_ways(|config| {
        let messages = [20_000, 5, 70_000, 66_000].map(|length| {
            Message::binary(
                (0..length)
                    .map(|n: usize| (n % 251) as u8)
                    .collect::<Vec<_>>(),
            )
        });
        let expected = encoded(&messages);
        for at_most in [1, 9, 10, 11, 1_000, 19_999, 64 << 10, usize::MAX] {
            let client = TestClient::new(config.clone());
            client.socket.accept(at_most);
            try_send_each(&client, &messages);
            client.socket.until_in_write_or(expected.len());
            client.socket.accept_per_call(at_most.max(500));
            client.socket.accept_all();
            client.socket.until_written(expected.len());
            assert!(client.socket.written() == expected, "{at_most} at a time");
            client.end();
        }
    });
}

/// Calls `send_all` on another thread, because the call waits while the peer accepts little.
fn send_all(client: &TestClient, messages: &[Message]) -> JoinHandle<()> {
    let (outbox, messages) = (client.outbox.clone(), messages.to_vec());
    thread::spawn(move || outbox.send_all(messages).expect("the connection is open"))
}

#[test]
fn partly_accepted_batch_is_completed() {
    both_ways(|config| {
        let (messages, expected) = messages();
        for accepted in 0..=expected.len() {
            let client = TestClient::new(config.clone());
            client.socket.accept(accepted);
            let sender = send_all(&client, &messages);
            sender.join().expect("the queue has room for five");
            client.socket.until_written(accepted);
            client.socket.accept_per_call(1 + accepted % 7);
            client.socket.accept_all();
            client.socket.until_written(expected.len());
            assert_eq!(client.socket.written(), expected, "{accepted}");
            assert_eq!(client.end().delivered, 5);
        }
    });
}

#[test]
fn batch_needs_one_write() {
    let of = |sizes: &[usize]| -> Vec<Message> {
        let message = |size: &usize| Message::binary(vec![7; *size]);
        sizes.iter().map(message).collect()
    };
    for (messages, writes) in [
        (messages().0, 1),
        (of(&[0; 64]), 1),
        (of(&[0; 65]), 2),
        // 16 messages of 4096 bytes fill a batch: the message that reaches 64 KiB is still part of it.
        (of(&[4096; 16]), 1),
        (of(&[4096; 17]), 2),
        // A message over 64 KiB is written alone.
        (of(&[5, 70_000, 5, 5]), 3),
    ] {
        let client = TestClient::without_writer(Config::default());
        let expected = encoded(&messages);
        client
            .outbox
            .send_all(messages.clone())
            .expect("the queue has room");
        assert!(client.socket.written() == expected);
        let tries = client.socket.with_state(|state| state.tries);
        assert_eq!(tries, writes, "{} messages", messages.len());
        client.end();
    }
}

/// The messages that the socket refuses are in flight, where no policy can drop them. So a batch must not be larger
/// than the queue.
#[test]
fn a_batch_is_never_larger_than_the_queue() {
    // With the first limit, three messages are in flight and two are queued, with 348 bytes in all. With the second,
    // four are in flight, and the fifth, of 204 bytes, waits.
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
        sender.join().expect("the thread does not panic");
        client.socket.until_written(expected.len());
        assert_eq!(client.socket.written(), expected);
        assert_eq!(client.end().delivered, 5);
    }
}

#[test]
fn send_all_returns_every_unsent_message() {
    let client = TestClient::new(Config::default());
    client.outbox.send(text("a")).expect("the client is open");
    client.socket.until_written(3);
    client.outbox.close(1000, "");
    let unsent = vec![text("c"), text("d")];
    let refused = client.outbox.send_all(unsent.clone());
    let refused = refused.expect_err("the connection is closing");
    assert_eq!(refused.into_unsent(), unsent);
    assert_eq!(client.end().delivered, 1);
}

/// The connection closes while the call waits for room: the first messages are queued, and the rest comes back.
#[test]
fn send_all_interrupted_by_a_close_loses_nothing() {
    both_ways(|config| {
        // A message of 5 bytes is in flight, so 45 of 100 messages of 3 bytes fit. The next one waits.
        let client = TestClient::held(config.queue(200).queue_bytes(6 + 45 * 3), 0);
        let outbox = client.outbox.clone();
        let messages: Vec<Message> = (0..100).map(|n| Message::binary(vec![n])).collect();
        let sent = messages.clone();
        let sender = thread::spawn(move || outbox.send_all(sent));
        until("the queue is full", || client.outbox.len() == 45);
        client.outbox.close(1000, "");
        let refused = within("send_all returns", || sender.join())
            .expect("the thread does not panic")
            .expect_err("the connection is closing");
        assert_eq!(refused.into_unsent(), messages[45..]);
        client.socket.accept_all();
        client.socket.until_written(6 + 45 * 3);
        let frames = client.frames();
        let queued = frames[1..46].iter().map(|(_, payload)| payload[0]);
        assert!(queued.eq(0..45));
        assert_eq!(client.end().delivered, 46);
    });
}

/// With early flush, the sender itself writes to a peer that accepts everything. The writer is not needed.
#[test]
fn send_itself_writes_to_a_fast_peer() {
    let client = TestClient::without_writer(Config::default());
    let (messages, expected) = messages();
    for message in &messages {
        client
            .outbox
            .send(message.clone())
            .expect("the queue has room");
    }
    assert_eq!(client.socket.written(), expected);
    client.end();
}

#[test]
fn without_early_flush_only_the_writer_writes() {
    let mut client = TestClient::without_writer(Config::default().early_flush(false));
    let (messages, expected) = messages();
    for message in &messages {
        client
            .outbox
            .send(message.clone())
            .expect("the queue has room");
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
                        // Alternately with a direct write, if nothing is ahead, and through the queue.
                        if (n + round as usize).is_multiple_of(2) {
                            outbox.try_send(message).expect("the queue has room");
                            continue;
                        }
                        let frame = EncodedFrame::data(&message);
                        let write = &shared.write;
                        let pushed = write.queue.push(frame, Wait::Never, &write.lifecycle);
                        assert_eq!(pushed, Admission::Admitted);
                        write.flush();
                    }
                })
            });
            for sender in senders {
                sender.join().expect("the thread does not panic");
            }
            // No sender is left that could flush. If a flush was missed, this wait times out.
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

/// Otherwise, the rest of this message and the messages that others queue meanwhile could exceed `queue_bytes`
/// together.
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
    sender
        .join()
        .expect("the thread does not panic")
        .expect("the queue has room");
    client.socket.until_written(63);
    assert_eq!(client.end().delivered, 2);
}

/// A sender has reserved its bytes and has not queued its message yet. The bytes are in use although the queue is
/// empty.
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
    client
        .outbox
        .try_send(text("x".repeat(58)))
        .expect("the queue has room");
    assert_eq!(client.socket.written().len(), 60);
    client.end();
}

/// A sender checks the queue again after it has released the write half. Otherwise, messages that were queued meanwhile
/// would stay in the queue.
#[test]
fn message_queued_during_a_direct_write_is_sent() {
    let client = TestClient::new(Config::default());
    client.socket.hold_try_write(true);
    let outbox = client.outbox.clone();
    let sender = thread::spawn(move || outbox.send(text("first")));
    client.socket.until_in_try_write();
    // This thread finds the write half held by the other thread, and leaves its message in the queue.
    client
        .outbox
        .send(text("second"))
        .expect("the queue has room");
    assert_eq!(client.outbox.len(), 1);
    client.socket.hold_try_write(false);
    sender
        .join()
        .expect("the thread does not panic")
        .expect("the queue has room");
    client.socket.until_written(2 + 5 + 2 + 6);
    assert_eq!(client.end().delivered, 2);
}

/// The writer, too, checks the queue again after it has released the write half. A test cannot stop the writer between
/// its last check and the release, so this test sends thousands of messages at about that moment.
#[test]
fn message_queued_as_the_writer_stops_is_sent() {
    let client = TestClient::new(Config::default());
    let mut dice = Dice::new(1);
    let mut written = 0;
    for _ in 0..ROUNDS {
        client.socket.accept(0);
        client
            .outbox
            .send(text("to the writer"))
            .expect("the queue has room");
        written += 2 + 13;
        client.socket.until_in_write();
        client.socket.accept_all();
        // The next message is sent while the writer is still awake.
        until("the writer has written", || {
            client.socket.with_state(|state| state.accepted()) == written
        });
        for _ in 0..dice.below(200) {
            std::hint::spin_loop();
        }
        client.outbox.send(text("now")).expect("the queue has room");
        written += 2 + 3;
        client.socket.until_written(written);
    }
    client.end();
}
