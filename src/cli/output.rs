//! Standard output of the commands that are clients.

use std::io::{self, Write};

use super::Failure;

/// The program that reads standard output has ended, such as `head -1`. The command then ends too, without a message.
#[derive(Debug, thiserror::Error)]
#[error("standard output was closed by its reader")]
pub(crate) struct Closed;

/// Writes to standard output and flushes it.
///
/// # Errors
/// [`Closed`] when nobody reads the output any more, and a text for every other reason, such as a full disk.
pub(crate) fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(bytes).and_then(|()| out.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Closed.into(),
        _ => format!("cannot write to standard output: {error}").into(),
    })
}
