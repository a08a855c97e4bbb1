//! Runs a test in its own process, so that the test can count threads and descriptors.

use std::env;
use std::process::Command;

const ALONE: &str = "STANDPIPE_TEST_ALONE";

/// Runs `test` in its own process. `test` must be the whole body of the test `name`, which is given with its module.
#[track_caller]
pub(crate) fn in_own_process(name: &str, test: impl FnOnce()) {
    if env::var_os(ALONE).is_some() {
        return test();
    }
    let output = Command::new(env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "{name} in its own process:\n{stdout}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
