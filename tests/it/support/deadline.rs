//! Deadlines that say what they waited for.

use std::panic::resume_unwind;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;

/// Far beyond what anything here takes, on a machine that does much else: meeting it means hanging.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Runs `work` on a thread of its own, and fails the test if it has not ended in time.
#[track_caller]
pub(crate) fn within<T: Send + 'static>(
    seconds: u64,
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (ended, end) = crossbeam_channel::bounded::<()>(1);
    let worker = thread::spawn(move || {
        // Dropped however the work ends.
        let _ended = ended;
        work()
    });
    match end.recv_timeout(Duration::from_secs(seconds)) {
        Err(RecvTimeoutError::Timeout) => panic!("waited {seconds} s for: {what}"),
        _ => worker.join().unwrap_or_else(|panic| resume_unwind(panic)),
    }
}

/// Waits until `holds`, and fails the test if that does not come.
#[track_caller]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(
            Instant::now() < deadline,
            "waited {DEADLINE:?} until {what}"
        );
        // What is looked at (counters, /proc) tells nobody when it changes, so it has to be looked at again.
        thread::sleep(Duration::from_millis(2));
    }
}

/// Lets time pass where time itself is the subject: a peer's pace, a clock's periods. Nothing happens at the end of it that
/// could be waited for; what has an event is for [`until`] and [`within`].
pub(crate) fn let_time_pass(time: Duration) {
    thread::sleep(time);
}
