//! What waits when the peer does not take anything, for how long, and who wakes it.

use std::io::ErrorKind;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Select;

use super::*;
use crate::connection::queue::outbox::this_thread_reads_for;
use crate::connection::state::Activity;
use crate::connection::write::control_slot::{CloseMode, CloseReason};
use crate::error::{SendError, SendTimeoutError, TrySendError};

/// A `send` that waits for room.
struct Waiter(JoinHandle<Result<(), SendError>>);

impl Waiter {
    /// Sends on a thread of its own, and returns when that waits.
    fn sends(guest: &FakeClient, message: &str) -> Waiter {
        let outbox = guest.outbox.clone();
        let message = text(message);
        // A reader shows what it waits for, so the sender plays one.
        let shown = FakeClient::without_writer(Config::default());
        let reads_for = Arc::clone(&shown.client);
        let sender = thread::spawn(move || {
            // crossbeam's choice among what is ready is the same in each new thread, so let it come to another.
            for _ in 0..message.len() % 4 {
                let ready = [(); 2].map(|()| crossbeam_channel::never::<()>());
                let mut select = Select::new();
                for never in &ready {
                    select.recv(never);
                }
                let _ = select.try_select();
            }
            this_thread_reads_for(Some(reads_for));
            outbox.send(message)
        });
        until("the sender waits for room", || {
            shown.client.state.reader.get().0 == Activity::WaitingForRoom(1)
        });
        Waiter(sender)
    }

    fn still_waits(&self) -> bool {
        !self.0.is_finished()
    }

    fn result(self) -> Result<(), SendError> {
        within("the waiting sender is woken", || {
            self.0.join().expect("it does not panic")
        })
    }
}

fn texts(guest: &FakeClient) -> Vec<String> {
    let texts = guest.frames().into_iter();
    let texts = texts.filter(|(first, _)| *first == 0x81);
    texts
        .map(|(_, payload)| String::from_utf8(payload).expect("text"))
        .collect()
}

#[test]
fn full_outbox_makes_send_wait() {
    both_ways(|config| {
        let guest = FakeClient::held(config.queue(5), 0);
        for n in 0..5 {
            guest.outbox.try_send(text(n.to_string())).expect("room");
        }
        assert_eq!((guest.outbox.len(), guest.outbox.capacity()), (5, 5));
        match guest.outbox.try_send(text("refused")) {
            Err(TrySendError::Full(message)) => assert_eq!(message, text("refused")),
            other => panic!("exactly five have room: {other:?}"),
        }
        let waiter = Waiter::sends(&guest, "waits");
        assert!(guest.outbox.try_send(text("refused")).is_err());
        assert!(waiter.still_waits());
        assert_eq!(guest.outbox.len(), 5);

        // Once the held message is out, the writer takes the queue in its hand: there is room.
        guest.gate.take("held".len() + 2);
        waiter.result().expect("it has room now");
        assert_eq!(texts(&guest), ["held"]);
        guest.gate.open();
        guest.gate.until_written(6 + 5 * 3 + 7);
        assert_eq!(texts(&guest), ["held", "0", "1", "2", "3", "4", "waits"]);
        guest.end();
    });
}

#[test]
fn a_queue_full_of_bytes_makes_send_wait() {
    both_ways(|config| {
        // Each is 20 bytes on the wire; the held one's count until they are written.
        let twenty = "x".repeat(18);
        let guest = FakeClient::held(config.queue_bytes(6 + 4 * 20), 0);
        for _ in 0..4 {
            guest.outbox.try_send(text(&*twenty)).expect("room");
        }
        assert_eq!(guest.outbox.bytes(), 86);
        match guest.outbox.try_send(text("")) {
            Err(TrySendError::Full(message)) => assert_eq!(message, text("")),
            other => panic!("not one byte has room: {other:?}"),
        }
        let waiter = Waiter::sends(&guest, &twenty);
        assert!(waiter.still_waits());
        assert_eq!(guest.outbox.bytes(), 86);

        // Not for 6 bytes, nor for 25.
        guest.gate.take(6 + 19);
        guest.gate.until_written(6 + 19);
        guest.gate.until_in_write();
        assert!(waiter.still_waits());
        assert_eq!(guest.outbox.bytes(), 80);
        guest.gate.open();
        waiter.result().expect("it has room now");
        guest.gate.until_written(6 + 5 * 20);
        guest.end();
    });
}

#[test]
fn a_message_larger_than_all_the_bytes_goes_alone() {
    both_ways(|config| {
        let guest = FakeClient::new(config.queue_bytes(100));
        guest.gate.take(0);
        let large = text("x".repeat(1000));
        guest
            .outbox
            .try_send(large.clone())
            .expect("it goes when nothing is in use");
        assert!(guest.outbox.bytes() > 1000);
        for message in [text(""), large.clone()] {
            let refused = guest.outbox.try_send(message.clone());
            assert!(matches!(refused, Err(TrySendError::Full(back)) if back == message));
        }
        guest.gate.open();
        until("nothing is in use", || guest.outbox.bytes() == 0);
        guest.gate.take(0);
        guest.outbox.try_send(text("small")).expect("room");
        let refused = guest.outbox.try_send(large.clone());
        assert!(matches!(refused, Err(TrySendError::Full(back)) if back == large));
        guest.end();
    });
}

#[test]
fn send_timeout_gives_up_in_time_and_gives_the_message_back() {
    both_ways(|config| {
        // Once for want of a place, once for want of bytes.
        for config in [
            config.clone().queue(1),
            config.clone().queue_bytes("held".len() + 2 + 3),
        ] {
            let guest = FakeClient::held(config, 0);
            guest.outbox.try_send(text("1")).expect("room");
            let timeout = Duration::from_millis(20);
            let began = Instant::now();
            match guest.outbox.send_timeout(text("2"), timeout) {
                Err(SendTimeoutError::Timeout(message)) => assert_eq!(message, text("2")),
                other => panic!("there was no room: {other:?}"),
            }
            assert!(began.elapsed() >= timeout);
            assert_eq!(guest.end().accepted, 2);
        }
    });
}

#[test]
fn every_end_wakes_waiting_senders_and_gives_their_messages_back() {
    type End = fn(&FakeClient);
    let ends: [(&str, End); 7] = [
        ("close", |guest| guest.outbox.close(1000, "")),
        ("close now", |guest| {
            let goodbye = CloseReason::new(4008, "slow");
            assert!(guest.client.close(CloseMode::Immediate, goodbye));
        }),
        ("terminate", |guest| guest.outbox.terminate()),
        ("give up", |guest| guest.client.give_up()),
        ("shutdown", |guest| guest.client.shut_down()),
        ("a failed write", |guest| guest.gate.break_after(0)),
        ("the peer's end", |guest| {
            guest.gate.fail_read(ErrorKind::ConnectionReset);
            let mut reader = guest.reader(&[]);
            assert!(within("the reader sees it", move || reader.recv()).is_err());
        }),
    ];
    both_ways(|config| {
        for (what, end) in ends {
            // Once they wait for a place, once for bytes.
            for config in [
                config.clone().queue(1),
                config.clone().queue_bytes("held".len() + 2 + 3),
            ] {
                let guest = FakeClient::held(config, 0);
                guest.outbox.try_send(text("1")).expect("room");
                let waiters = ["a", "aa", "aaa"].map(|name| (name, Waiter::sends(&guest, name)));
                let closed = guest.outbox.closed().clone();
                end(&guest);
                for (name, waiter) in waiters {
                    match waiter.result() {
                        Err(SendError(message)) => assert_eq!(message, text(name)),
                        Ok(()) => panic!("{what}: it was queued, and nobody will send it"),
                    }
                }
                within("closed() ends", move || closed.recv()).expect_err("nothing is ever sent");
                match guest.outbox.try_send(text("late")) {
                    Err(TrySendError::Closed(message)) => assert_eq!(message, text("late")),
                    other => panic!("{what}: it is closed: {other:?}"),
                }
                assert_eq!(guest.end().accepted, 2, "{what}");
            }
        }
    });
}

#[test]
fn what_is_not_text_or_binary_is_never_queued() {
    let guest = FakeClient::new(Config::default());
    for message in [
        Message::Ping(vec![1].into()),
        Message::Pong(vec![1].into()),
        Message::Close(None),
    ] {
        let refused = guest.outbox.send(message.clone());
        assert!(matches!(refused, Err(SendError(back)) if back == message));
    }
    assert_eq!(guest.end().accepted, 0);
}
