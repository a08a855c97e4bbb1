//! The write clock of a blocked socket: when it starts, restarts and stops.

use std::time::Duration;

use super::*;
use crate::clock;
use crate::connection::deadlines::DeadlineCheck;

const TIMEOUT: u64 = 10_000;

fn config() -> Config {
    Config::default().write_timeout(Duration::from_millis(TIMEOUT))
}

/// Returns whether the write clock, `write_timeout` after `since`, has expired.
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

/// Waits until the clock shows a later millisecond.
fn wait_for_a_later_millisecond() -> u64 {
    let now = clock::now();
    until("time passes", || clock::now() > now + 1);
    clock::now()
}

#[test]
fn accepting_everything_stops_the_write_clock() {
    both_ways(|config| {
        let client = TestClient::new(config);
        client
            .outbox
            .try_send(text("taken"))
            .expect("the queue has room");
        client.socket.until_written(7);
        assert!(!client.shared.write.deadlines.is_blocked());

        client.socket.accept(3);
        client
            .outbox
            .try_send(text("held"))
            .expect("the queue has room");
        client.socket.until_in_write();
        assert!(client.shared.write.deadlines.is_blocked());
        until("the time counts while the socket is blocked", || {
            !client.shared.write.deadlines.blocked_time().is_zero()
        });
        client.socket.accept_all();
        until("the socket is not blocked any more", || {
            !client.shared.write.deadlines.is_blocked()
        });
        let blocked_time = client.shared.write.deadlines.blocked_time();
        wait_for_a_later_millisecond();
        let later = client.shared.write.deadlines.blocked_time();
        assert_eq!(blocked_time, later, "the time stands still");
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
        client.outbox.try_send(message).expect("the queue has room");
        client.socket.until_in_write();
        let first = clock::now();
        assert!(overdue_since(&client, first));

        // Accepting fewer bytes than 64 KiB does not restart the clock.
        let mut written = 0;
        for bytes in [1, 10_000, 30_000, (64 << 10) - 40_002] {
            wait_for_a_later_millisecond();
            client.socket.accept(bytes);
            written += bytes;
            client.socket.until_written(written);
            client.socket.until_in_write();
            assert!(overdue_since(&client, first), "{written} bytes");
        }
        // With one more byte, the socket has accepted 64 KiB.
        let moment = wait_for_a_later_millisecond();
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
            client.outbox.try_send(message).expect("the queue has room");
        }
        client.socket.until_in_write();
        let first = clock::now();
        for n in 1..=64 {
            assert!(overdue_since(&client, first), "{n} KiB");
            wait_for_a_later_millisecond();
            client.socket.accept(1024);
            client.socket.until_written(n << 10);
            client.socket.until_in_write();
        }
        assert!(!overdue_since(&client, first));
        client.end();
    });
}

/// A blocking write may return only after the socket has accepted all its bytes. So with a larger write, progress would
/// be noticed too late.
#[test]
fn a_blocking_write_has_at_most_64_kib() {
    both_ways(|config| {
        let client = TestClient::new(config);
        client.socket.accept(0);
        let message = Message::binary(vec![0; 200 << 10]);
        client.outbox.try_send(message).expect("the queue has room");
        client.socket.until_in_write();
        client.socket.accept_per_call(1000);
        client.socket.accept_all();
        client.socket.until_written(200 << 10);
        let most = client
            .socket
            .with_state(|state| state.largest_blocking_write);
        assert!((1..=64 << 10).contains(&most), "{most} bytes");
        client.end();
    });
}
