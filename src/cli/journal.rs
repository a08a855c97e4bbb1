//! [`is_journal`]: whether a stream of this process goes to the journal of systemd.

use std::env;
use std::os::fd::AsFd;

/// Returns whether the stream goes to the journal of systemd, which other users may read. systemd names the device and the
/// inode of the stream in `JOURNAL_STREAM` (systemd.exec(5)). A child that writes elsewhere inherits the variable, so
/// the variable alone proves nothing.
pub(crate) fn is_journal(stream: impl AsFd) -> bool {
    let Ok(named) = env::var("JOURNAL_STREAM") else {
        return false;
    };
    let stream = rustix::fs::fstat(stream);
    stream.is_ok_and(|stream| named == format!("{}:{}", stream.st_dev, stream.st_ino))
}
