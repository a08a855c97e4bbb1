//! The clock of a blocked socket: what starts it, what starts it anew, what stops it.

use std::time::Duration;

use super::*;
use crate::clock;
use crate::connection::state::DeadlineCheck;

const TIMEOUT: u64 = 10_000;

fn config() -> Config {
    Config::default().write_timeout(Duration::from_millis(TIMEOUT))
}

/// Whether a refusal at the moment `since` or before has lasted for `write_timeout`.
fn overdue_since(guest: &FakeClient, since: u64) -> bool {
    match guest.client.state.judge(since + TIMEOUT, &config()) {
        DeadlineCheck::Overdue("write_timeout") => true,
        DeadlineCheck::Met => false,
        other => panic!("{other:?}"),
    }
}

/// Lets the clock, which counts milliseconds, move on.
fn a_later_moment() -> u64 {
    let now = clock::now();
    until("time passes", || clock::now() > now + 1);
    clock::now()
}

#[test]
fn a_refusal_blocks_and_taking_all_unblocks() {
    both_ways(|config| {
        let guest = FakeClient::new(config);
        guest.outbox.try_send(text("taken")).expect("room");
        guest.gate.until_written(7);
        assert!(!guest.client.state.is_blocked());

        guest.gate.take(3);
        guest.outbox.try_send(text("held")).expect("room");
        guest.gate.until_in_write();
        assert!(guest.client.state.is_blocked());
        guest.gate.open();
        until("it is not blocked any more", || {
            !guest.client.state.is_blocked()
        });
        assert_eq!(guest.frames().len(), 2);
        guest.end();
    });
}

#[test]
fn the_clock_runs_from_the_first_refusal_until_64_kib_are_taken() {
    both_ways(|config| {
        let guest = FakeClient::new(config);
        guest.gate.take(0);
        let message = Message::binary(vec![0; 200 << 10]);
        guest.outbox.try_send(message).expect("room");
        guest.gate.until_in_write();
        let first = clock::now();
        assert!(overdue_since(&guest, first));

        // Trickling does not help.
        let mut written = 0;
        for bytes in [1, 10_000, 30_000, (64 << 10) - 40_002] {
            a_later_moment();
            guest.gate.take(bytes);
            written += bytes;
            guest.gate.until_written(written);
            guest.gate.until_in_write();
            assert!(overdue_since(&guest, first), "{written} bytes");
        }
        // One byte more is 64 KiB.
        let moment = a_later_moment();
        guest.gate.take(1);
        guest.gate.until_written(written + 1);
        guest.gate.until_in_write();
        assert!(!overdue_since(&guest, first));
        assert!(!overdue_since(&guest, moment - 1));
        assert!(overdue_since(&guest, clock::now()));
        assert!(guest.client.state.is_blocked());
        guest.end();
    });
}

#[test]
fn many_small_messages_are_progress_too() {
    both_ways(|config| {
        let guest = FakeClient::new(config.queue(1000));
        guest.gate.take(0);
        for _ in 0..100 {
            let message = Message::binary(vec![0; 1020]);
            guest.outbox.try_send(message).expect("room");
        }
        guest.gate.until_in_write();
        let first = clock::now();
        for n in 1..=64 {
            assert!(overdue_since(&guest, first), "{n} KiB");
            a_later_moment();
            guest.gate.take(1024);
            guest.gate.until_written(n << 10);
            guest.gate.until_in_write();
        }
        assert!(!overdue_since(&guest, first));
        guest.end();
    });
}

/// A socket takes all of what a blocking write gives it, and only then is there progress to be seen.
#[test]
fn nobody_waits_for_more_than_64_kib_at_once() {
    both_ways(|config| {
        let guest = FakeClient::new(config);
        guest.gate.take(0);
        let message = Message::binary(vec![0; 200 << 10]);
        guest.outbox.try_send(message).expect("room");
        guest.gate.until_in_write();
        guest.gate.take_at_most(1000);
        guest.gate.open();
        guest.gate.until_written(200 << 10);
        let most = guest.gate.look(|inside| inside.most_waited_for);
        assert!((1..=64 << 10).contains(&most), "{most} bytes");
        guest.end();
    });
}
