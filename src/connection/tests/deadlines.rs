//! The result of [`Deadlines::check`] for each deadline. The tests set the times of [`Deadlines`] directly.

use std::time::Duration;

use super::*;

/// The time since which the reader has been waiting for the peer.
const READING: Option<u64> = Some(1000);

const NEVER: u64 = 1 << 40;

fn config() -> Config {
    let ms = Duration::from_millis;
    Config::default()
        .handshake_timeout(ms(100))
        .close_timeout(ms(200))
        .write_timeout(ms(300))
        .message_timeout(ms(400))
        .ping_interval(ms(500))
        .ping_timeout(ms(600))
}

/// Returns the deadlines of an upgraded client.
fn upgraded() -> Deadlines {
    let deadlines = Deadlines::new(&config());
    deadlines.stop_handshake();
    deadlines
}

/// Checks that no deadline has passed one millisecond before `at`, and that the result at `at` is `expected`.
#[track_caller]
fn changes_at(deadlines: &Deadlines, at: u64, expected: DeadlineCheck) {
    let check = |now| deadlines.check(now, READING, &config());
    assert_eq!(check(at - 1), DeadlineCheck::Met);
    assert_eq!(check(at), expected);
}

#[test]
fn each_deadline_passes_at_its_time() {
    let handshake = Deadlines::new(&config());
    handshake.handshake_by.store(1100, Relaxed);
    changes_at(&handshake, 1100, DeadlineCheck::Passed(Clock::Handshake));

    let body = upgraded();
    body.body_by.store(1150, Relaxed);
    changes_at(&body, 1150, DeadlineCheck::Passed(Clock::Message));

    let close = upgraded();
    close.close_by.store(1200, Relaxed);
    changes_at(&close, 1200, DeadlineCheck::Passed(Clock::Close));

    let write = upgraded();
    write.blocked_since.store(1000, Relaxed);
    changes_at(&write, 1300, DeadlineCheck::Passed(Clock::Write));

    let message = upgraded();
    message.message_since.store(1000, Relaxed);
    changes_at(&message, 1400, DeadlineCheck::Passed(Clock::Message));

    let silent = upgraded();
    changes_at(&silent, 1500, DeadlineCheck::PingDue);
    silent.ping_sent(1500, 0);
    changes_at(&silent, 1500 + 600, DeadlineCheck::Passed(Clock::Ping));
}

#[test]
fn bytes_from_the_peer_answer_a_ping() {
    let deadlines = upgraded();
    deadlines.ping_sent(1500, 0);
    deadlines.bytes_received(false);
    let check = deadlines.check(NEVER, READING, &config());
    assert_eq!(check, DeadlineCheck::PingDue, "a ping is due again");
}

#[test]
fn the_peers_clocks_run_only_while_we_read() {
    let deadlines = upgraded();
    deadlines.message_since.store(1000, Relaxed);
    deadlines.ping_sent(1000, 0);
    let check = || deadlines.check(NEVER, None, &config());
    assert_eq!(check(), DeadlineCheck::Met);
    // The write clock runs whatever the reader does.
    deadlines.blocked_since.store(1000, Relaxed);
    assert_eq!(check(), DeadlineCheck::Passed(Clock::Write));
}

#[test]
fn ping_clock_starts_when_the_reader_reads() {
    let deadlines = upgraded();
    deadlines.ping_sent(700, 0);
    changes_at(&deadlines, 1000 + 600, DeadlineCheck::Passed(Clock::Ping));
}

#[test]
fn progress_of_writing_delays_the_ping_clock() {
    let deadlines = upgraded();
    deadlines.ping_sent(1000, 0);
    deadlines.progressed_at.store(2000, Relaxed);
    changes_at(&deadlines, 2000 + 600, DeadlineCheck::Passed(Clock::Ping));
}

#[test]
fn message_clock_excludes_time_in_the_handler() {
    let deadlines = upgraded();
    // The message begins in the future, so that nothing else changes its time. The last read returned at time 1.
    let began = clock::now() + 1000;
    deadlines.message_since.store(began, Relaxed);
    while clock::now() < 5 {
        std::thread::yield_now();
    }
    deadlines.start_read(1);
    let shifted = deadlines.message_since.load(Relaxed);
    assert!((began + 4..=began + clock::now()).contains(&shifted));
    deadlines.bytes_received(true);
    assert_eq!(
        deadlines.message_since.load(Relaxed),
        shifted,
        "still the same message"
    );
    deadlines.bytes_received(false);
    assert_eq!(
        deadlines.message_since.load(Relaxed),
        0,
        "the message has ended"
    );
}

#[test]
fn while_closing_only_the_close_clock_counts() {
    let deadlines = upgraded();
    deadlines.close_by.store(5000, Relaxed);
    deadlines.message_since.store(1, Relaxed);
    deadlines.pinged_at.store(1, Relaxed);
    deadlines.blocked_since.store(1, Relaxed);
    changes_at(&deadlines, 5000, DeadlineCheck::Passed(Clock::Close));
    // A second close deadline does not replace the first.
    deadlines.start_closing(&config());
    assert_eq!(deadlines.close_by.load(Relaxed), 5000);
}

#[test]
fn only_progress_restarts_the_write_clock() {
    let deadlines = upgraded();
    assert_eq!(deadlines.blocked_since(), None);
    // A time that the clock never reaches during a test.
    deadlines.blocked_since.store(NEVER, Relaxed);
    deadlines.socket_refused(false);
    assert_eq!(deadlines.blocked_since(), Some(NEVER));
    deadlines.socket_refused(true);
    assert!(deadlines.blocked_since().is_some_and(|since| since < NEVER));
    deadlines.socket_accepted_all();
    assert!(!deadlines.is_blocked());
    deadlines.socket_refused(false);
    assert!(deadlines.is_blocked());
}

#[test]
fn any_change_of_the_unread_bytes_is_a_sign_of_life() {
    let deadlines = upgraded();
    let check = |now, unread| deadlines.check_unread(now, 1000, unread, &config());
    assert_eq!(check(1400, 0), DeadlineCheck::Met);
    assert_eq!(check(1500, 0), DeadlineCheck::PingDue);
    deadlines.ping_sent(1500, 0);
    assert_eq!(check(2000, 14), DeadlineCheck::Met);
    assert!(!deadlines.is_pinged(), "the pong lies unread");
    assert_eq!(check(2499, 14), DeadlineCheck::Met);
    assert_eq!(check(2500, 14), DeadlineCheck::PingDue);
    deadlines.ping_sent(2500, 14);
    assert_eq!(check(3099, 14), DeadlineCheck::Met);
    assert_eq!(check(3100, 14), DeadlineCheck::Passed(Clock::Ping));
}

/// The first pong lay unread at the first look, and has been read since. So has nothing else. Then the second one arrives.
#[test]
fn pong_of_the_same_size_as_the_last_one_is_a_sign_of_life() {
    let deadlines = upgraded();
    let check = |now, since, unread| deadlines.check_unread(now, since, unread, &config());
    assert_eq!(check(1000, 900, 14), DeadlineCheck::Met);
    deadlines.bytes_received(false);
    deadlines.ping_sent(1600, 0);
    assert_eq!(check(2300, 1100, 14), DeadlineCheck::Met);
}

#[test]
fn peer_that_cannot_answer_is_not_judged_by_unread_bytes() {
    let full = upgraded();
    for now in [1000, 2000, 9000] {
        let check = full.check_unread(now, 1000, MOST_UNREAD + 1, &config());
        assert_eq!(check, DeadlineCheck::Met);
    }
    let blocked = upgraded();
    blocked.blocked_since.store(1000, Relaxed);
    assert_eq!(
        blocked.check_unread(9000, 1000, 0, &config()),
        DeadlineCheck::Met
    );
    let closing = upgraded();
    closing.close_by.store(NEVER, Relaxed);
    assert_eq!(
        closing.check_unread(9000, 1000, 0, &config()),
        DeadlineCheck::Met
    );
    let opening = upgraded();
    opening.handshake_by.store(NEVER, Relaxed);
    assert_eq!(
        opening.check_unread(9000, 1000, 0, &config()),
        DeadlineCheck::Met
    );
}
