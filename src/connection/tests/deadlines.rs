//! What the watchdog is told, deadline by deadline. It sets the times of [`Deadlines`] itself.

use std::time::Duration;

use super::*;

/// The reader has waited for the peer since this time, unless a test says otherwise.
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

/// The deadlines of an upgraded client.
fn upgraded() -> Deadlines {
    let deadlines = Deadlines::new(&config());
    deadlines.stop_handshake();
    deadlines
}

/// Checks that all deadlines are met until the time before `at`, and that `expected` follows then.
#[track_caller]
fn turns(deadlines: &Deadlines, at: u64, expected: DeadlineCheck) {
    let check = |now| deadlines.check(now, READING, &config());
    assert_eq!(check(at - 1), DeadlineCheck::Met);
    assert_eq!(check(at), expected);
}

#[test]
fn each_deadline_passes_at_its_time() {
    let handshake = Deadlines::new(&config());
    handshake.handshake_by.store(1100, Relaxed);
    turns(&handshake, 1100, DeadlineCheck::Passed(Clock::Handshake));

    let close = upgraded();
    close.close_by.store(1200, Relaxed);
    turns(&close, 1200, DeadlineCheck::Passed(Clock::Close));

    let write = upgraded();
    write.blocked_since.store(1000, Relaxed);
    turns(&write, 1300, DeadlineCheck::Passed(Clock::Write));

    let message = upgraded();
    message.message_since.store(1000, Relaxed);
    turns(&message, 1400, DeadlineCheck::Passed(Clock::Message));

    let silent = upgraded();
    turns(&silent, 1500, DeadlineCheck::PingDue);
    silent.ping_sent(1500);
    turns(&silent, 1500 + 600, DeadlineCheck::Passed(Clock::Ping));
}

#[test]
fn bytes_from_the_peer_answer_a_ping() {
    let deadlines = upgraded();
    deadlines.ping_sent(1500);
    deadlines.bytes_received(false);
    let check = deadlines.check(NEVER, READING, &config());
    assert_eq!(check, DeadlineCheck::PingDue, "a new silence");
}

#[test]
fn the_peers_clocks_run_only_while_we_read() {
    let deadlines = upgraded();
    deadlines.message_since.store(1000, Relaxed);
    deadlines.ping_sent(1000);
    let check = || deadlines.check(NEVER, None, &config());
    assert_eq!(check(), DeadlineCheck::Met);
    // The write clock runs whatever the reader does.
    deadlines.blocked_since.store(1000, Relaxed);
    assert_eq!(check(), DeadlineCheck::Passed(Clock::Write));
}

#[test]
fn a_pong_is_waited_for_while_we_read() {
    let deadlines = upgraded();
    deadlines.ping_sent(700);
    turns(&deadlines, 1000 + 600, DeadlineCheck::Passed(Clock::Ping));
}

#[test]
fn progress_of_a_blocked_socket_delays_the_ping_clock() {
    let deadlines = upgraded();
    deadlines.ping_sent(1000);
    deadlines.progressed_at.store(2000, Relaxed);
    turns(&deadlines, 2000 + 600, DeadlineCheck::Passed(Clock::Ping));
}

#[test]
fn time_in_the_handler_does_not_count_for_the_message() {
    let deadlines = upgraded();
    // The message begins a little in the future, and the handler has run since the clock's first moment.
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
    assert_eq!(deadlines.message_since.load(Relaxed), 0, "its end");
}

#[test]
fn while_closing_only_the_close_clock_counts() {
    let deadlines = upgraded();
    deadlines.close_by.store(5000, Relaxed);
    deadlines.message_since.store(1, Relaxed);
    deadlines.pinged_at.store(1, Relaxed);
    deadlines.blocked_since.store(1, Relaxed);
    turns(&deadlines, 5000, DeadlineCheck::Passed(Clock::Close));
    // The first deadline stands.
    deadlines.start_closing(&config());
    assert_eq!(deadlines.close_by.load(Relaxed), 5000);
}

#[test]
fn only_progress_restarts_the_write_clock() {
    let deadlines = upgraded();
    assert_eq!(deadlines.blocked_since(), None);
    // A time that the clock does not reach in a test.
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
