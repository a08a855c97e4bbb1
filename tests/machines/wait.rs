//! Waits with deadlines. A deadline that expires fails the test and names what the test waited for.

use std::thread;
use std::time::{Duration, Instant};

/// Far longer than anything here takes, even on a busy machine. A test that reaches it hangs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Waits until `holds` returns true, and fails the test after `limit`.
#[track_caller]
pub(crate) fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < deadline, "waited {limit:?} until {what}");
        // This cannot be an event: the conditions are answers and ends of other processes, which notify no thread.
        thread::sleep(Duration::from_millis(5));
    }
}

/// Sleeps. Only for the duration of a fault, which no event marks.
pub(crate) fn let_time_pass(time: Duration) {
    // This cannot be an event: how long the fault lasts is what the scene says.
    thread::sleep(time);
}
