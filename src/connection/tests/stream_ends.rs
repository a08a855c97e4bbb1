//! How messages that are sent as streams end early.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use super::message_writer::{CLOSE, FRAGMENT, TEXT, TEXT_BEGINS, first_bytes, text_stream, write};
use super::*;
use crate::clock;
use crate::connection::deadlines::DeadlineCheck;

const CONTINUES: u8 = 0x00;
const ENDS: u8 = 0x80;

#[test]
fn dropped_stream_closes_with_1011() {
    both_ways(|config| {
        let client = TestClient::new(config);
        let mut stream = text_stream(&client);
        write(&mut stream, "ab");
        client.socket.until_written(4);
        client.outbox.send("after").expect("the queue has room");
        drop(stream);
        client.socket.until_written(4 + 2 + 2);
        let frames = client.frames();
        assert_eq!(frames[1].0, CLOSE);
        assert_eq!(frames[1].1[..2], 1011_u16.to_be_bytes());
        let cause = client.shared.lifecycle().cause();
        assert_eq!(cause, Some(CloseCause::Unfinished));
        let refused = client.outbox.send_text_stream();
        let error = refused.expect_err("the connection is closing");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let counts = client.end();
        assert_eq!((counts.accepted, counts.discarded), (2, 2));
    });
}

#[test]
fn stream_of_which_nothing_was_sent_is_withdrawn() {
    both_ways(|config| {
        for is_behind in [false, true] {
            let client = TestClient::new(config.clone());
            client.socket.accept(0);
            if is_behind {
                client.outbox.send("held").expect("the queue has room");
                client.socket.until_in_write();
            }
            let mut stream = text_stream(&client);
            stream.write_all(b"ab").expect("it is a text");
            if is_behind {
                stream.flush().expect("the connection is open");
            }
            client.outbox.send("after").expect("the queue has room");
            drop(stream);
            client.socket.accept_all();
            let held = 6 * usize::from(is_behind);
            client.socket.until_written(held + 7);
            assert!(client.shared.lifecycle().is_open());
            assert_eq!(client.frames().last(), Some(&(TEXT, b"after".to_vec())));
            assert_eq!(client.end().discarded, 1);
        }
    });
}

#[test]
fn close_after_queue_waits_for_the_stream() {
    both_ways(|config| {
        let client = TestClient::new(config);
        let mut stream = text_stream(&client);
        write(&mut stream, "ab");
        client.outbox.send("after").expect("the queue has room");
        client.outbox.close(1000, "");
        write(&mut stream, "cd");
        stream
            .finish()
            .expect("the message was begun before the Close");
        client.socket.until_written(4 + 4 + 2 + 7 + 4);
        let expected = [TEXT_BEGINS, CONTINUES, ENDS, TEXT, CLOSE];
        assert_eq!(first_bytes(&client), expected);
        assert_eq!(client.end().delivered, 2);
    });
}

#[test]
fn immediate_close_ends_the_stream() {
    both_ways(|config| {
        let client = TestClient::new(config);
        let mut stream = text_stream(&client);
        write(&mut stream, "ab");
        client.socket.until_written(4);
        close(&client, CloseMode::Immediate, 4100, "");
        client.socket.until_written(4 + 4);
        let failed = stream.write_all(&[b'x'; 2 * FRAGMENT]);
        let error = failed.expect_err("the message has ended");
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        let error = stream.finish().expect_err("the message has ended");
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        assert_eq!(first_bytes(&client), [TEXT_BEGINS, CLOSE]);
        assert_eq!(client.end().discarded, 1);
    });
}

#[test]
fn end_of_the_connection_wakes_a_waiting_stream() {
    both_ways(|config| {
        // The stream's turn has not come, or its first fragment is in flight.
        for has_begun in [false, true] {
            let client = TestClient::new(config.clone());
            client.socket.accept(0);
            if !has_begun {
                client.outbox.send("held").expect("the queue has room");
                client.socket.until_in_write();
            }
            let mut stream = client.outbox.send_binary_stream().expect("it is open");
            let sender = thread::spawn(move || stream.write_all(&[0; 10 * FRAGMENT]));
            client.socket.until_in_write();
            client.shared.give_up();
            let result = within("the stream is woken", || sender.join()).expect("no panic");
            let error = result.expect_err("the connection has ended");
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
            client.end();
        }
    });
}

#[test]
fn idle_stream_is_ended_after_message_timeout() {
    both_ways(|config| {
        let client = TestClient::new(config.message_timeout(Duration::from_secs(10)));
        let check_in = |seconds: u64| {
            let now = clock::now() + seconds * 1000;
            client.shared.check_deadlines(now)
        };
        let mut stream = text_stream(&client);
        until("the stream has its turn", || client.outbox.is_empty());
        until("the clock runs", || {
            check_in(11) == DeadlineCheck::StreamIdle
        });
        assert_eq!(check_in(9), DeadlineCheck::Met);
        // While a fragment is unwritten, the peer is slow, and the write clock runs instead.
        client.socket.accept(0);
        write(&mut stream, "ab");
        assert_eq!(check_in(11), DeadlineCheck::Met);
        client.socket.accept_all();
        client.socket.until_written(4);
        until("the clock runs", || {
            check_in(11) == DeadlineCheck::StreamIdle
        });
        client.shared.close_unfinished();
        client.socket.until_written(4 + 4);
        let error = stream.finish().expect_err("the stream has ended");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        client.end();
    });
}

/// However the connection ends, every message is counted once, and no message stands between fragments. `end` checks both.
#[test]
fn streams_and_messages_are_counted_however_a_client_ends() {
    both_ways(|config| {
        for round in 0..400 {
            let mut dice = Dice::new(round);
            let client = TestClient::new(config.clone().queue(1 + dice.below(6)));
            client.socket.accept_at_random(round);
            let senders = [1, 2, 3].map(|kind| {
                let (outbox, mut dice) = (client.outbox.clone(), Dice::new(7 * round + kind));
                thread::spawn(move || {
                    for _ in 0..10 {
                        if kind == 1 {
                            let _ = outbox.send("message");
                            continue;
                        }
                        let Ok(mut stream) = outbox.send_binary_stream() else {
                            return;
                        };
                        for _ in 0..dice.below(4) {
                            let part = vec![7; dice.below(300)];
                            if stream.write_all(&part).and(stream.flush()).is_err() {
                                return;
                            }
                        }
                        if dice.below(30) > 0 {
                            let _ = stream.finish();
                        }
                    }
                })
            });
            for _ in 0..dice.below(2000) {
                std::hint::spin_loop();
            }
            match dice.below(6) {
                0 => client.outbox.close(1000, ""),
                1 => client.outbox.terminate(),
                2 => client.socket.break_after(dice.below(2000)),
                3 => {
                    close(&client, CloseMode::Immediate, 4100, "");
                }
                _ => {}
            }
            for sender in senders {
                within("the sender ends", || sender.join()).expect("no panic");
            }
            if dice.below(2) == 0 {
                // If a wake-up was missed, this times out.
                let outbox = client.outbox.clone();
                let _ = within("all is written", move || outbox.wait_written());
            }
            client.end();
        }
    });
}
