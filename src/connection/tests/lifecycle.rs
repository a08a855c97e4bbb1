//! The phases of a connection, its Close, and its cause.

use super::*;

fn open() -> Lifecycle {
    let lifecycle = Lifecycle::new();
    assert!(lifecycle.mark_request_received() && lifecycle.mark_upgraded());
    lifecycle
}

fn request(lifecycle: &Lifecycle, mode: CloseMode, code: u16) -> bool {
    let cause = CloseCause::Application {
        code,
        reason: String::new(),
    };
    lifecycle.request_close(mode, CloseReason::new(code, ""), cause)
}

fn code(close: Option<CloseReason>) -> Option<u16> {
    close.map(|close| close.code())
}

fn cause_code(lifecycle: &Lifecycle) -> u16 {
    match lifecycle.cause() {
        Some(CloseCause::Application { code, .. }) => code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_an_immediate_close_replaces_a_waiting_close() {
    use CloseMode::{AfterQueue, Immediate};
    let lifecycle = open();
    assert!(lifecycle.is_open());
    assert!(request(&lifecycle, AfterQueue, 1000));
    assert_eq!(lifecycle.phase(), Phase::ClosingAfterQueue);
    assert!(
        !request(&lifecycle, AfterQueue, 1001),
        "the first request wins"
    );
    assert_eq!(
        lifecycle.take_immediate_close(),
        None,
        "the Close waits for the queue"
    );
    assert!(request(&lifecycle, Immediate, 4008));
    assert!(!request(&lifecycle, Immediate, 1011));
    assert_eq!(cause_code(&lifecycle), 4008);
    assert_eq!(code(lifecycle.take_immediate_close()), Some(4008));
    assert!(
        !request(&lifecycle, Immediate, 1002),
        "the Close is being written"
    );
    assert_eq!(
        lifecycle.take_deferred_close(),
        None,
        "the Close has been taken"
    );
    assert_eq!(lifecycle.phase(), Phase::CloseTaken);
}

#[test]
fn a_later_failure_does_not_replace_the_cause() {
    let lifecycle = open();
    request(&lifecycle, CloseMode::AfterQueue, 1000);
    lifecycle.mark_reset(CloseCause::TimedOut(Clock::Close));
    lifecycle.finish(CloseCause::Gone);
    assert_eq!(cause_code(&lifecycle), 1000);
    assert_eq!(lifecycle.missed_clock(), Some(Clock::Close));
    assert!(lifecycle.is_finished() && lifecycle.was_reset());
    assert_eq!(lifecycle.take_deferred_close(), None);

    let lifecycle = open();
    lifecycle.finish(CloseCause::Gone);
    assert!(!request(&lifecycle, CloseMode::Immediate, 1011));
    assert_eq!(lifecycle.cause(), Some(CloseCause::Gone));
}

#[test]
fn a_close_during_a_reset_does_not_replace_its_cause() {
    for cause in [CloseCause::Terminated, CloseCause::TimedOut(Clock::Message)] {
        let lifecycle = open();
        lifecycle.mark_reset(cause.clone());
        assert!(!request(&lifecycle, CloseMode::AfterQueue, 1000));
        assert!(!request(&lifecycle, CloseMode::Immediate, 1011));
        assert_eq!(lifecycle.cause(), Some(cause));
    }
}

#[test]
fn a_rejected_handshake_is_never_upgraded() {
    type Reject = fn(&Lifecycle) -> bool;
    let rejects: [Reject; 3] = [
        Lifecycle::try_evict,
        Lifecycle::reject_handshake,
        |lifecycle| {
            lifecycle.finish(CloseCause::Gone);
            true
        },
    ];
    for reject in rejects {
        let lifecycle = Lifecycle::new();
        assert!(reject(&lifecycle));
        assert!(!lifecycle.try_evict() && !lifecycle.reject_handshake());
        assert!(!lifecycle.mark_request_received() && !lifecycle.mark_upgraded());
        assert!(!lifecycle.is_upgraded() && lifecycle.is_finished());
        assert_eq!(lifecycle.shutdown_outcome(), ShutdownOutcome::Other);
    }
    let received = Lifecycle::new();
    assert!(received.mark_request_received());
    assert!(!received.try_evict(), "the request is complete");
    assert!(
        received.reject_handshake(),
        "shutdown rejects it although the request is complete"
    );
}

#[test]
fn the_shutdown_outcome_tells_drained_from_lost() {
    let shut_down = |lifecycle: &Lifecycle| {
        lifecycle.mark_open_at_shutdown();
        let reason = CloseReason::new(1001, "");
        lifecycle.request_close(CloseMode::AfterQueue, reason, CloseCause::Shutdown)
    };
    let drained = open();
    assert!(shut_down(&drained));
    drained.mark_close_sent();
    assert_eq!(drained.shutdown_outcome(), ShutdownOutcome::Drained);
    drained.mark_reset(CloseCause::TimedOut(Clock::Shutdown));
    assert_eq!(drained.shutdown_outcome(), ShutdownOutcome::Lost);

    // Its handler returned during the grace, and it has not answered our Close when the grace is over.
    let twice = open();
    assert!(shut_down(&twice));
    twice.mark_close_sent();
    twice.finish(CloseCause::Gone);
    assert!(!shut_down(&twice));
    assert_eq!(twice.shutdown_outcome(), ShutdownOutcome::Drained);

    let broken = open();
    shut_down(&broken);
    broken.finish(CloseCause::Gone);
    assert_eq!(broken.shutdown_outcome(), ShutdownOutcome::Lost);

    let other_cause = open();
    request(&other_cause, CloseMode::AfterQueue, 1000);
    assert!(!shut_down(&other_cause));
    other_cause.mark_close_sent();
    assert_eq!(other_cause.shutdown_outcome(), ShutdownOutcome::Other);

    let ended_before = open();
    ended_before.finish(CloseCause::Gone);
    shut_down(&ended_before);
    assert_eq!(ended_before.shutdown_outcome(), ShutdownOutcome::Other);
}

#[test]
fn idle_connection_begins_another_request_or_ends() {
    let idle = || {
        let lifecycle = Lifecycle::new();
        assert!(lifecycle.mark_request_received() && lifecycle.mark_idle());
        lifecycle
    };
    let again = idle();
    assert!(again.is_open() && !again.is_upgraded() && !again.try_evict());
    assert!(again.mark_next_request() && !again.try_end_idle());
    assert!(again.mark_request_received() && again.mark_upgraded());
    for end in [Lifecycle::try_end_idle, Lifecycle::reject_handshake] {
        let lifecycle = idle();
        assert!(end(&lifecycle) && !end(&lifecycle));
        assert_eq!(lifecycle.phase(), Phase::Rejected);
        assert!(!lifecycle.mark_next_request());
    }
    let failed = idle();
    failed.finish(CloseCause::Gone);
    assert_eq!(failed.phase(), Phase::Rejected);
    let unreadable = Lifecycle::new();
    assert!(unreadable.mark_idle() && unreadable.try_end_idle());
}

#[test]
fn handshake_is_evicted_only_while_its_client_is_waited_for() {
    let lifecycle = Lifecycle::new();
    assert!(lifecycle.mark_request_received() && !lifecycle.try_evict());
    lifecycle.mark_awaiting_client();
    assert!(lifecycle.mark_request_received() && !lifecycle.try_evict());
    lifecycle.mark_awaiting_client();
    assert!(lifecycle.try_evict() && !lifecycle.mark_request_received());
    lifecycle.mark_awaiting_client();
    assert_eq!(lifecycle.phase(), Phase::Rejected);
}
