//! What the watchdog is told, clock by clock. A part of `state`, whose moments it sets.

use std::time::Duration;

use super::*;

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

/// An upgraded client whose reader has done `doing` since the moment 1000.
fn state(doing: Activity) -> State {
    let state = State::new(&config());
    state.head_answered();
    state.reader.set(doing);
    let kind = state.reader.what.load(Relaxed) >> KIND_SHIFT;
    state.reader.what.store(kind << KIND_SHIFT | 1000, Relaxed);
    state
}

/// Well until the moment before `at`, and then `expected`.
#[track_caller]
fn turns(state: &State, at: u64, expected: DeadlineCheck) {
    assert_eq!(state.judge(at - 1, &config()), DeadlineCheck::Met);
    assert_eq!(state.judge(at, &config()), expected);
}

const NEVER: u64 = 1 << 40;

#[test]
fn each_clock_runs_out_at_its_moment() {
    let head = State::new(&config());
    head.head_by.store(1100, Relaxed);
    turns(&head, 1100, DeadlineCheck::Overdue("handshake_timeout"));

    let close = state(Activity::Closing);
    close.close_by.store(1200, Relaxed);
    turns(&close, 1200, DeadlineCheck::Overdue("close_timeout"));

    let write = state(Activity::Reading);
    write.blocked_since.store(1000, Relaxed);
    turns(&write, 1300, DeadlineCheck::Overdue("write_timeout"));

    let message = state(Activity::Reading);
    message.message_since.store(1000, Relaxed);
    turns(&message, 1400, DeadlineCheck::Overdue("message_timeout"));

    let silent = state(Activity::Reading);
    turns(&silent, 1500, DeadlineCheck::PingDue);
    // It was pinged then, and once.
    turns(&silent, 1500 + 600, DeadlineCheck::Overdue("ping_timeout"));

    let heard = state(Activity::Reading);
    assert_eq!(heard.judge(1500, &config()), DeadlineCheck::PingDue);
    heard.heard(false);
    assert_eq!(
        heard.judge(1501, &config()),
        DeadlineCheck::PingDue,
        "a new silence"
    );
}

#[test]
fn the_peers_clocks_run_only_while_we_read() {
    for doing in [
        Activity::InHandler,
        Activity::WaitingForRoom(7),
        Activity::Closing,
    ] {
        let state = state(doing);
        state.message_since.store(1000, Relaxed);
        state.pinged.store(1000, Relaxed);
        assert_eq!(
            state.judge(NEVER, &config()),
            DeadlineCheck::Met,
            "{doing:?}"
        );
        // The write rule runs whatever the reader does.
        state.blocked_since.store(1000, Relaxed);
        let overdue = DeadlineCheck::Overdue("write_timeout");
        assert_eq!(state.judge(NEVER, &config()), overdue, "{doing:?}");
    }
}

#[test]
fn a_pong_is_waited_for_from_the_moment_we_read_again() {
    let state = state(Activity::Reading);
    state.pinged.store(700, Relaxed);
    turns(&state, 1000 + 600, DeadlineCheck::Overdue("ping_timeout"));
}

#[test]
fn time_in_the_handler_is_not_the_messages() {
    let state = state(Activity::InHandler);
    // It began a little in the future, and the handler has had the thread since the clock's first moment.
    let began = clock::now() + 1000;
    state.message_since.store(began, Relaxed);
    while clock::now() < 5 {
        std::thread::yield_now();
    }
    state.begins_to_read(1);
    let shifted = state.message_since.load(Relaxed);
    assert!((began + 4..=began + clock::now()).contains(&shifted));
    assert_eq!(state.reader.get().0, Activity::Reading);
    state.heard(true);
    assert!(
        state.message_since.load(Relaxed) >= began,
        "still the same message"
    );
    state.heard(false);
    assert_eq!(state.message_since.load(Relaxed), 0, "its end");
}

#[test]
fn while_closing_only_the_closing_clock_counts() {
    let state = state(Activity::Reading);
    state.close_by.store(5000, Relaxed);
    state.message_since.store(1, Relaxed);
    state.pinged.store(1, Relaxed);
    state.blocked_since.store(1, Relaxed);
    turns(&state, 5000, DeadlineCheck::Overdue("close_timeout"));
    // The first deadline stands.
    state.closing(&config());
    assert_eq!(state.close_by.load(Relaxed), 5000);
}

#[test]
fn the_first_refusal_starts_the_clock_and_only_progress_starts_it_anew() {
    let state = state(Activity::Reading);
    assert!(!state.is_blocked());
    state.blocked_since.store(17, Relaxed);
    state.refused(false, 5);
    assert_eq!(state.blocked_since.load(Relaxed), 17);
    state.refused(true, 5);
    assert!(state.blocked_since.load(Relaxed) != 17 || clock::now() == 17);
    state.took_all();
    assert!(!state.is_blocked());
    state.refused(false, 5);
    assert!(state.is_blocked());
}

#[test]
fn an_activity_keeps_kind_client_and_moment() {
    for doing in [
        Activity::Head,
        Activity::Reading,
        Activity::InHandler,
        Activity::WaitingForRoom(u64::MAX),
        Activity::Closing,
        Activity::Idle,
        Activity::Writing,
        Activity::Blocked,
    ] {
        let before = clock::now();
        let (seen, since) = ThreadActivity::new(doing).get();
        assert_eq!(seen, doing);
        assert!((before..=clock::now()).contains(&since));
    }
}
