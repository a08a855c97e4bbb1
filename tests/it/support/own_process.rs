//! A test with the process to itself, so that threads and descriptors can be counted.

use std::env;
use std::process::Command;

const ALONE: &str = "STANDPIPE_TEST_ALONE";

/// Runs `test`, which is the whole of the test named `name` (with its module), in a process of its own.
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
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{name} by itself:\n{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
