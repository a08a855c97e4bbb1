//! Receipts, and waiting until messages are written.

use std::time::Duration;

use super::*;
use crate::connection::queue::item::QueueItem;
use crate::connection::queue::receipt::Receipt;
use crate::connection::queue::tracked::Fate;
use crate::error::WaitWrittenError;

/// Calls `wait_written` on another thread. Returns the result, and how many bytes were written when it returned.
fn wait_written(client: &TestClient) -> JoinHandle<(Result<(), WaitWrittenError>, usize)> {
    let (outbox, socket) = (client.outbox.clone(), Arc::clone(&client.socket));
    thread::spawn(move || {
        let result = outbox.wait_written();
        (result, socket.written().len())
    })
}

fn until_checkpoint_queued(client: &TestClient) {
    until("the checkpoint is queued", || {
        client.shared.write.queue.entries() == 1
    });
}

fn send_with_receipt(client: &TestClient, message: impl Into<Message>) -> Receipt {
    let sent = client.outbox.send_with_receipt(message);
    sent.expect("the queue has room")
}

/// Otherwise, every slot of every queue would use more memory.
#[test]
fn receipts_do_not_enlarge_queue_entries() {
    assert!(size_of::<QueueItem>() <= 3 * size_of::<usize>());
    assert_eq!(size_of::<EncodedFrame>(), 2 * size_of::<usize>());
}

#[test]
fn receipt_of_a_direct_write_is_delivered() {
    let client = TestClient::without_writer(Config::default());
    let receipt = send_with_receipt(&client, "a");
    assert_eq!(receipt.fate(), Some(Fate::Delivered));
    assert_eq!(receipt.wait_timeout(Duration::ZERO), Some(Fate::Delivered));
    assert_eq!(client.end().delivered, 1);
}

#[test]
fn receipt_is_open_until_the_last_byte_is_written() {
    both_ways(|config| {
        for accepted in 0..=5 {
            let client = TestClient::new(config.clone());
            client.socket.accept(accepted);
            let first = send_with_receipt(&client, "abcd");
            let second = send_with_receipt(&client, "e");
            client.socket.until_in_write();
            for receipt in [&first, &second] {
                assert_eq!(receipt.fate(), None, "{accepted} of 6 bytes are written");
                assert_eq!(receipt.wait_timeout(Duration::ZERO), None);
            }
            client.socket.accept(6 - accepted);
            let waiting = first.clone();
            let fate = within("the first message is written", move || waiting.wait());
            assert_eq!(fate, Fate::Delivered);
            assert_eq!(second.fate(), None);
            client.socket.accept_all();
            let fate = within("the second message is written", move || second.wait());
            assert_eq!(fate, Fate::Delivered);
            let sent = [(0x81, b"abcd".to_vec()), (0x81, b"e".to_vec())];
            assert_eq!(client.frames(), sent);
            assert_eq!(client.end().delivered, 2);
        }
    });
}

#[test]
fn receipt_of_a_discarded_message_says_so() {
    for immediate_close in [false, true] {
        both_ways(|config| {
            let client = TestClient::new(config);
            client.socket.accept(3);
            let in_flight = send_with_receipt(&client, "abcd");
            client.socket.until_in_write();
            let queued = send_with_receipt(&client, "e");
            if immediate_close {
                close(&client, CloseMode::Immediate, 4100, "");
                client.socket.accept_all();
            } else {
                client.shared.give_up();
            }
            let fates = within("the fates are known", move || {
                (in_flight.wait(), queued.wait())
            });
            // An immediate Close follows the frame in progress.
            let first = if immediate_close {
                Fate::Delivered
            } else {
                Fate::Discarded
            };
            assert_eq!(fates, (first, Fate::Discarded));
            let counts = client.end();
            assert_eq!(counts.discarded, 1 + u64::from(!immediate_close));
        });
    }
}

#[test]
fn refused_message_with_a_receipt_comes_back() {
    let client = TestClient::new(Config::default());
    client.outbox.close(1000, "");
    let refused = client.outbox.send_with_receipt("a");
    let refused = refused.expect_err("the connection is closing");
    assert_eq!(refused.into_message(), text("a"));
    assert_eq!(client.end().accepted, 0);
}

#[test]
fn every_receipt_gets_its_fate() {
    both_ways(|config| {
        for round in 0..300 {
            let mut dice = Dice::new(round);
            let config = config.clone().queue(1 + dice.below(6));
            let client = TestClient::new(config.queue_bytes(8 + dice.below(60)));
            client.socket.accept_at_random(round);
            let outbox = client.outbox.clone();
            let sender = thread::spawn(move || {
                let messages = (0..20).map(|n| Message::binary(vec![n; 4]));
                let receipts = messages.map_while(|message| outbox.send_with_receipt(message).ok());
                receipts.collect::<Vec<_>>()
            });
            for _ in 0..dice.below(400) {
                std::hint::spin_loop();
            }
            match dice.below(4) {
                0 => client.outbox.close(1000, ""),
                1 => client.outbox.terminate(),
                2 => client.socket.break_after(dice.below(80)),
                _ => {}
            }
            let receipts = sender.join().expect("the thread does not panic");
            let ended = dice.below(2) == 0;
            let counts = ended.then(|| client.end());
            let fates = within("every fate is known", move || {
                receipts.iter().map(Receipt::wait).collect::<Vec<_>>()
            });
            if let Some(counts) = counts {
                let delivered = fates.iter().filter(|fate| **fate == Fate::Delivered);
                assert_eq!(delivered.count() as u64, counts.delivered);
                assert_eq!(fates.len() as u64, counts.accepted);
            }
        }
    });
}

#[test]
fn wait_written_returns_when_all_before_is_written() {
    both_ways(|config| {
        let client = TestClient::held(config, 1);
        client.outbox.send("abc").expect("the queue has room");
        let waiter = wait_written(&client);
        until("the checkpoint is queued", || {
            client.shared.write.queue.entries() == 2
        });
        // A message after the call is not waited for.
        client.outbox.send("later").expect("the queue has room");
        let early = client.outbox.wait_written_timeout(Duration::ZERO);
        assert_eq!(early, Err(WaitWrittenError::Timeout));
        client.socket.accept(5 + 5);
        let (result, written) = within("all is written", || waiter.join()).expect("no panic");
        assert_eq!((result, written), (Ok(()), 6 + 5));
        client.socket.accept_all();
        client.socket.until_written(6 + 5 + 7);
        assert_eq!(client.outbox.wait_written(), Ok(()), "nothing is queued");
        assert_eq!(client.end().delivered, 3);
    });
}

/// The thread that waits finds the write half held, and leaves its checkpoint in the queue. If the holder did not check
/// the queue again, nobody would wake the waiting thread.
#[test]
fn wait_written_during_a_direct_write_is_woken() {
    let client = TestClient::new(Config::default());
    client.socket.hold_try_write(true);
    let outbox = client.outbox.clone();
    let sender = thread::spawn(move || outbox.send(text("first")));
    client.socket.until_in_try_write();
    let waiter = wait_written(&client);
    until_checkpoint_queued(&client);
    client.socket.hold_try_write(false);
    let (result, written) = within("the message is written", || waiter.join()).expect("no panic");
    assert_eq!((result, written), (Ok(()), 7));
    let sent = sender.join().expect("the thread does not panic");
    sent.expect("the connection is open");
    assert_eq!(client.end().delivered, 1);
}

#[test]
fn wait_written_waits_for_room_in_a_full_queue() {
    both_ways(|config| {
        let client = TestClient::held(config.queue(1), 0);
        client.outbox.send("a").expect("the queue has room");
        let timeout = client.outbox.wait_written_timeout(Duration::ZERO);
        assert_eq!(timeout, Err(WaitWrittenError::Timeout));
        let waiter = wait_written(&client);
        client.socket.accept_all();
        let (result, written) = within("all is written", || waiter.join()).expect("no panic");
        assert_eq!((result, written), (Ok(()), 6 + 3));
        client.end();
    });
}

#[test]
fn wait_written_fails_when_the_connection_ends() {
    both_ways(|config| {
        for queue in [1, 8] {
            let client = TestClient::held(config.clone().queue(queue), 0);
            client.outbox.send("a").expect("the queue has room");
            let waiter = wait_written(&client);
            until("the checkpoint is queued or waits", || {
                queue == 1 || client.shared.write.queue.entries() == 2
            });
            client.shared.give_up();
            let (result, _) = within("the waiter is woken", || waiter.join()).expect("no panic");
            assert_eq!(result, Err(WaitWrittenError::Ended));
            let outbox = client.outbox.clone();
            client.end();
            assert_eq!(outbox.wait_written(), Err(WaitWrittenError::Ended));
        }
    });
}

#[test]
fn wait_written_succeeds_while_a_close_waits_for_the_queue() {
    both_ways(|config| {
        let client = TestClient::held(config, 0);
        client.outbox.close(1000, "");
        let waiter = wait_written(&client);
        until_checkpoint_queued(&client);
        client.socket.accept_all();
        let (result, written) = within("all is written", || waiter.join()).expect("no panic");
        assert_eq!(result, Ok(()));
        assert!(written >= 6, "{written}");
        client.socket.until_written(6 + 4);
        assert_eq!(client.outbox.wait_written(), Ok(()), "nothing was lost");
        client.end();
    });
}
