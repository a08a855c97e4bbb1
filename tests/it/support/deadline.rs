//! Waits with deadlines. A deadline that expires fails the test and names what the test waited for.

use std::panic::resume_unwind;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;

/// Far longer than anything here takes, even on a busy machine. A test that reaches it hangs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Runs `work` on its own thread, and fails the test if it has not ended after `seconds`.
#[track_caller]
pub(crate) fn within<T: Send + 'static>(
    seconds: u64,
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (ended, end) = crossbeam_channel::bounded::<()>(1);
    let worker = thread::spawn(move || {
        // Dropped also when `work` panics.
        let _ended = ended;
        work()
    });
    match end.recv_timeout(Duration::from_secs(seconds)) {
        Err(RecvTimeoutError::Timeout) => panic!("waited {seconds} s for: {what}"),
        _ => worker.join().unwrap_or_else(|panic| resume_unwind(panic)),
    }
}

/// Waits until `holds` returns true, and fails the test at the [`DEADLINE`].
#[track_caller]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(
            Instant::now() < deadline,
            "waited {DEADLINE:?} until {what}"
        );
        // This cannot be an event: the conditions are counters, logs of other processes and files in /proc, which notify
        // no thread. A test that has an event waits for it with a channel.
        thread::sleep(Duration::from_millis(2));
    }
}

/// Sleeps. Only for tests whose subject is time itself: a peer that sends or reads at a fixed pace, or a clock that must
/// not run out meanwhile. No event marks such a moment. Where there is one, use [`until`] or [`within`].
pub(crate) fn let_time_pass(time: Duration) {
    // This cannot be an event: the passing of the time is what the caller tests, and each caller says why.
    thread::sleep(time);
}

/// Checks that a time of the server has passed since `began`. Its clock counts whole milliseconds.
#[track_caller]
pub(crate) fn assert_lasted(began: Instant, limit: Duration) {
    let elapsed = began.elapsed();
    assert!(
        elapsed >= limit.saturating_sub(Duration::from_millis(1)),
        "only {elapsed:?} of {limit:?}"
    );
}
