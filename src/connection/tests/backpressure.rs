//! Senders that wait while the peer accepts nothing: how long they wait, and what wakes them.

use std::io::ErrorKind;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Select;

use super::*;
use crate::connection::activity::Activity;
use crate::connection::queue::waiting::set_reader_of;
use crate::error::{SendError, SendTimeoutError, TrySendError};

/// A thread whose `send` waits for room.
struct Waiter(JoinHandle<Result<(), SendError>>);

impl Waiter {
    /// Starts the sender, and returns once it waits.
    fn sends(client: &TestClient, message: &str) -> Waiter {
        let outbox = client.outbox.clone();
        let message = text(message);
        // Only a reader thread shows what it waits for, so this thread is registered as the reader of another client.
        let other_client = TestClient::without_writer(Config::default());
        let other_shared = Arc::clone(&other_client.shared);
        let sender = thread::spawn(move || {
            // crossbeam chooses among ready operations pseudo-randomly, with the same seed in each new thread. Advance
            // its generator, so that the threads choose differently.
            for _ in 0..message.len() % 4 {
                let ready = [(); 2].map(|()| crossbeam_channel::never::<()>());
                let mut select = Select::new();
                for never in &ready {
                    select.recv(never);
                }
                let _ = select.try_select();
            }
            set_reader_of(Some(other_shared));
            outbox.send(message)
        });
        let waiting = Activity::WaitingForRoom(client.outbox.number());
        until("the sender waits for room", || {
            other_client.shared.reader.get().0 == waiting
        });
        Waiter(sender)
    }

    fn still_waits(&self) -> bool {
        !self.0.is_finished()
    }

    fn result(self) -> Result<(), SendError> {
        within("the waiting sender is woken", || {
            self.0.join().expect("the thread does not panic")
        })
    }
}

fn texts(client: &TestClient) -> Vec<String> {
    let texts = client.frames().into_iter();
    let texts = texts.filter(|(first, _)| *first == 0x81);
    texts
        .map(|(_, payload)| String::from_utf8(payload).expect("text"))
        .collect()
}

#[test]
fn full_outbox_makes_send_wait() {
    both_ways(|config| {
        let client = TestClient::held(config.queue(5), 0);
        for n in 0..5 {
            client
                .outbox
                .try_send(text(n.to_string()))
                .expect("the queue has room");
        }
        assert_eq!((client.outbox.len(), client.outbox.capacity()), (5, 5));
        match client.outbox.try_send(text("refused")) {
            Err(TrySendError::Full(message)) => assert_eq!(message, text("refused")),
            other => panic!("the queue holds exactly five: {other:?}"),
        }
        let waiter = Waiter::sends(&client, "waits");
        assert!(client.outbox.try_send(text("refused")).is_err());
        assert!(waiter.still_waits());
        assert_eq!(client.outbox.len(), 5);

        // After the first message is written, the writer takes the queued messages, so the queue has room.
        client.socket.accept("held".len() + 2);
        waiter.result().expect("the queue has room now");
        assert_eq!(texts(&client), ["held"]);
        client.socket.accept_all();
        client.socket.until_written(6 + 5 * 3 + 7);
        assert_eq!(texts(&client), ["held", "0", "1", "2", "3", "4", "waits"]);
        client.end();
    });
}

#[test]
fn a_full_byte_limit_makes_send_wait() {
    both_ways(|config| {
        // Each frame has 20 bytes. The bytes of the message in flight count until they are written.
        let twenty = "x".repeat(18);
        let client = TestClient::held(config.queue_bytes(6 + 4 * 20), 0);
        for _ in 0..4 {
            client
                .outbox
                .try_send(text(&*twenty))
                .expect("the queue has room");
        }
        assert_eq!(client.outbox.bytes(), 86);
        match client.outbox.try_send(text("")) {
            Err(TrySendError::Full(message)) => assert_eq!(message, text("")),
            other => panic!("the byte limit is reached: {other:?}"),
        }
        let waiter = Waiter::sends(&client, &twenty);
        assert!(waiter.still_waits());
        assert_eq!(client.outbox.bytes(), 86);

        // The sender still waits after 6 and after 25 bytes have been written.
        client.socket.accept(6 + 19);
        client.socket.until_written(6 + 19);
        client.socket.until_in_write();
        assert!(waiter.still_waits());
        assert_eq!(client.outbox.bytes(), 80);
        client.socket.accept_all();
        waiter.result().expect("the queue has room now");
        client.socket.until_written(6 + 5 * 20);
        client.end();
    });
}

#[test]
fn message_over_the_byte_limit_is_sent_alone() {
    both_ways(|config| {
        let client = TestClient::new(config.queue_bytes(100));
        client.socket.accept(0);
        let large = text("x".repeat(1000));
        client
            .outbox
            .try_send(large.clone())
            .expect("nothing else is queued");
        assert!(client.outbox.bytes() > 1000);
        for message in [text(""), large.clone()] {
            let refused = client.outbox.try_send(message.clone());
            assert!(matches!(refused, Err(TrySendError::Full(back)) if back == message));
        }
        client.socket.accept_all();
        until("no bytes are in use", || client.outbox.bytes() == 0);
        client.socket.accept(0);
        client
            .outbox
            .try_send(text("small"))
            .expect("the queue has room");
        let refused = client.outbox.try_send(large.clone());
        assert!(matches!(refused, Err(TrySendError::Full(back)) if back == large));
        client.end();
    });
}

#[test]
fn send_timeout_returns_the_message() {
    both_ways(|config| {
        // First the slots are full, then the bytes.
        for config in [
            config.clone().queue(1),
            config.clone().queue_bytes("held".len() + 2 + 3),
        ] {
            let client = TestClient::held(config, 0);
            client
                .outbox
                .try_send(text("1"))
                .expect("the queue has room");
            let timeout = Duration::from_millis(20);
            let began = Instant::now();
            match client.outbox.send_timeout(text("2"), timeout) {
                Err(SendTimeoutError::Timeout(message)) => assert_eq!(message, text("2")),
                other => panic!("the queue was full: {other:?}"),
            }
            assert!(began.elapsed() >= timeout);
            assert_eq!(client.end().accepted, 2);
        }
    });
}

#[test]
fn every_end_wakes_waiting_senders() {
    type End = fn(&TestClient);
    let ends: [(&str, End); 7] = [
        ("close", |client| client.outbox.close(1000, "")),
        ("immediate close", |client| {
            assert!(close(client, CloseMode::Immediate, 4008, "slow"));
        }),
        ("terminate", |client| client.outbox.terminate()),
        ("give up", |client| client.shared.give_up()),
        ("shutdown", |client| client.shared.shut_down()),
        ("a failed write", |client| client.socket.break_after(0)),
        ("the end of the peer's stream", |client| {
            client.socket.fail_read(ErrorKind::ConnectionReset);
            let mut reader = client.reader(&[]);
            assert!(within("the reader notices it", move || reader.recv()).is_err());
        }),
    ];
    both_ways(|config| {
        for (what, end) in ends {
            // First they wait for a slot, then for bytes.
            for config in [
                config.clone().queue(1),
                config.clone().queue_bytes("held".len() + 2 + 3),
            ] {
                let client = TestClient::held(config, 0);
                client
                    .outbox
                    .try_send(text("1"))
                    .expect("the queue has room");
                let waiters = ["a", "aa", "aaa"].map(|name| (name, Waiter::sends(&client, name)));
                let closed = client.outbox.closed().clone();
                end(&client);
                for (name, waiter) in waiters {
                    match waiter.result() {
                        Err(SendError(message)) => assert_eq!(message, text(name)),
                        Ok(()) => panic!("{what}: the message was queued after the end"),
                    }
                }
                within("closed() ends", move || closed.recv()).expect_err("nothing is ever sent");
                match client.outbox.try_send(text("late")) {
                    Err(TrySendError::Closed(message)) => assert_eq!(message, text("late")),
                    other => panic!("{what}: the connection has ended: {other:?}"),
                }
                assert_eq!(client.end().accepted, 2, "{what}");
            }
        }
    });
}
