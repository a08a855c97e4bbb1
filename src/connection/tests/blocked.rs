//! The write clock of a blocked socket: what starts it, what restarts it, what stops it.

use std::time::Duration;

use super::*;
use crate::clock;
use crate::connection::deadlines::DeadlineCheck;

const TIMEOUT: u64 = 10_000;

fn config() -> Config {
    Config::default().write_timeout(Duration::from_millis(TIMEOUT))
}

/// Returns whether a refusal at the time `since` or before has lasted for `write_timeout`.
fn overdue_since(client: &TestClient, since: u64) -> bool {
    match client
        .shared
        .write
        .deadlines
        .check(since + TIMEOUT, None, &config())
    {
        DeadlineCheck::Passed(Clock::Write) => true,
        DeadlineCheck::Met => false,
        other => panic!("{other:?}"),
    }
}

/// Waits until the clock, which counts milliseconds, has moved on.
fn a_later_moment() -> u64 {
    let now = clock::now();
    until("time passes", || clock::now() > now + 1);
    clock::now()
}

#[test]
fn accepting_everything_ends_a_block() {
    both_ways(|config| {
        let client = TestClient::new(config);
        client.outbox.try_send(text("taken")).expect("room");
        client.socket.until_written(7);
        assert!(!client.shared.write.deadlines.is_blocked());

        client.socket.accept(3);
        client.outbox.try_send(text("held")).expect("room");
        client.socket.until_in_write();
        assert!(client.shared.write.deadlines.is_blocked());
        client.socket.accept_all();
        until("it is not blocked any more", || {
            !client.shared.write.deadlines.is_blocked()
        });
        assert_eq!(client.frames().len(), 2);
        client.end();
    });
}

#[test]
fn the_write_clock_restarts_after_64_kib() {
    both_ways(|config| {
        let client = TestClient::new(config);
        client.socket.accept(0);
        let message = Message::binary(vec![0; 200 << 10]);
        client.outbox.try_send(message).expect("room");
        client.socket.until_in_write();
        let first = clock::now();
        assert!(overdue_since(&client, first));

        // Trickling does not help.
        let mut written = 0;
        for bytes in [1, 10_000, 30_000, (64 << 10) - 40_002] {
            a_later_moment();
            client.socket.accept(bytes);
            written += bytes;
            client.socket.until_written(written);
            client.socket.until_in_write();
            assert!(overdue_since(&client, first), "{written} bytes");
        }
        // One more byte makes 64 KiB.
        let moment = a_later_moment();
        client.socket.accept(1);
        client.socket.until_written(written + 1);
        client.socket.until_in_write();
        assert!(!overdue_since(&client, first));
        assert!(!overdue_since(&client, moment - 1));
        assert!(overdue_since(&client, clock::now()));
        assert!(client.shared.write.deadlines.is_blocked());
        client.end();
    });
}

#[test]
fn small_messages_count_as_progress() {
    both_ways(|config| {
        let client = TestClient::new(config.queue(1000));
        client.socket.accept(0);
        for _ in 0..100 {
            let message = Message::binary(vec![0; 1020]);
            client.outbox.try_send(message).expect("room");
        }
        client.socket.until_in_write();
        let first = clock::now();
        for n in 1..=64 {
            assert!(overdue_since(&client, first), "{n} KiB");
            a_later_moment();
            client.socket.accept(1024);
            client.socket.until_written(n << 10);
            client.socket.until_in_write();
        }
        assert!(!overdue_since(&client, first));
        client.end();
    });
}

/// A blocking write returns only when the socket has accepted all of it, and only then can progress be seen.
#[test]
fn a_blocking_write_has_at_most_64_kib() {
    both_ways(|config| {
        let client = TestClient::new(config);
        client.socket.accept(0);
        let message = Message::binary(vec![0; 200 << 10]);
        client.outbox.try_send(message).expect("room");
        client.socket.until_in_write();
        client.socket.accept_per_call(1000);
        client.socket.accept_all();
        client.socket.until_written(200 << 10);
        let most = client.socket.look(|state| state.most_waited_for);
        assert!((1..=64 << 10).contains(&most), "{most} bytes");
        client.end();
    });
}
